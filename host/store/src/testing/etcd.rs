//! A real etcd.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Endpoint, EtcdOptions, EtcdStore, Pem};

/// A cold member on a busy machine takes some seconds.
pub(super) const STARTS_IN: Duration = Duration::from_secs(60);

/// What a member is started with, beyond its addresses.
#[derive(Clone, Debug, Default)]
pub struct EtcdArgs {
    /// Words of the command line.
    pub words: Vec<String>,
    /// The address that clients reach it at, an own one of this network namespace; loopback where none is given.
    pub address: Option<String>,
    /// Where its certificates are, when it speaks TLS to clients.
    pub tls: Option<PathBuf>,
}

/// One or more members of an etcd cluster.
#[derive(Debug)]
pub struct Etcd {
    directory: TempDir,
    members: Vec<Member>,
    address: String,
    tls: Option<PathBuf>,
}

#[derive(Debug)]
struct Member {
    command: Vec<String>,
    port: u16,
    child: Option<Child>,
}

/// Why tests with etcd cannot run here; `None` where they can.
pub fn missing() -> Option<String> {
    ["etcd", "etcdctl"].iter().find_map(|program| {
        let found = Command::new(program)
            .arg(if *program == "etcd" {
                "--version"
            } else {
                "version"
            })
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match found {
            Ok(_) => None,
            Err(_) => Some(format!("{program} is not installed")),
        }
    })
}

/// Whether tests with etcd can run here; says so where not.
pub fn skipped() -> bool {
    match missing() {
        Some(reason) => {
            println!("skipped: {reason}");
            true
        }
        None => false,
    }
}

/// Memory where there is such a place, since kill -9 loses nothing there and each write is flushed.
pub(super) fn directory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
}

/// Ports that nobody listens on now.
pub(super) fn ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    listeners
        .iter()
        .map(|l| l.local_addr().map(|a| a.port()))
        .collect()
}

impl Etcd {
    /// One member without TLS.
    ///
    /// # Panics
    /// When it does not start; so do all functions here.
    pub fn start() -> Etcd {
        Etcd::start_with(1, &EtcdArgs::default())
    }

    /// One member whose data is on the disk, as it is in production; for what is timed.
    pub fn start_on_disk() -> Etcd {
        Etcd::start_in(tempfile::tempdir, 1, &EtcdArgs::default())
    }

    /// A cluster of `count` members.
    pub fn start_with(count: usize, args: &EtcdArgs) -> Etcd {
        Etcd::start_in(directory, count, args)
    }

    fn start_in(place: fn() -> io::Result<TempDir>, count: usize, args: &EtcdArgs) -> Etcd {
        // Somebody may have taken a port in between.
        for _ in 0..5 {
            if let Some(etcd) = Etcd::try_start(place, count, args) {
                return etcd;
            }
        }
        panic!("etcd did not start in five tries");
    }

    fn try_start(
        place: fn() -> io::Result<TempDir>,
        count: usize,
        args: &EtcdArgs,
    ) -> Option<Etcd> {
        let directory = place().expect("a directory");
        let ports = ports(2 * count).expect("ports");
        let (clients, peers) = ports.split_at(count);
        let cluster: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(i, port)| format!("m{i}=http://127.0.0.1:{port}"))
            .collect();
        let scheme = if args.tls.is_some() { "https" } else { "http" };
        let address = args
            .address
            .clone()
            .unwrap_or_else(|| "127.0.0.1".to_string());
        let members = (0..count).map(|i| {
            let client = format!("{scheme}://{address}:{}", clients[i]);
            let peer = format!("http://127.0.0.1:{}", peers[i]);
            let data = directory.path().join(format!("m{i}"));
            let mut command: Vec<String> = [
                "--name",
                &format!("m{i}"),
                "--data-dir",
                data.to_str().expect("text"),
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
                "--initial-cluster",
                &cluster.join(","),
                "--initial-cluster-token",
                directory.path().to_str().expect("text"),
            ]
            .map(str::to_string)
            .to_vec();
            command.extend(args.words.iter().cloned());
            Member {
                command,
                port: clients[i],
                child: None,
            }
        });
        let members = members.collect();
        let mut etcd = Etcd {
            directory,
            members,
            address,
            tls: args.tls.clone(),
        };
        for member in 0..count {
            etcd.spawn(member);
        }
        (0..count)
            .all(|member| etcd.listens(member))
            .then_some(etcd)
    }

    fn spawn(&mut self, member: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("m{member}.log")))
            .expect("a log");
        let child = Command::new("etcd")
            .args(&self.members[member].command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        self.members[member].child = Some(child);
    }

    /// Whether the member listens before it ends or the time is over.
    fn listens(&mut self, member: usize) -> bool {
        let until = Instant::now() + STARTS_IN;
        let member = &mut self.members[member];
        let Some(child) = &mut member.child else {
            return false;
        };
        while Instant::now() < until {
            if child.try_wait().expect("a state").is_some() {
                return false;
            }
            if TcpStream::connect((self.address.as_str(), member.port)).is_ok() {
                return true;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        false
    }

    /// Ends a member as kill -9 does.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].child.take() {
            child.kill().expect("kill");
            child.wait().expect("its end");
        }
    }

    /// The member's process.
    pub fn pid(&self, member: usize) -> u32 {
        let child = self.members[member].child.as_ref();
        child.expect("a member that runs").id()
    }

    /// Starts a member that was killed, with what it had on disk.
    pub fn restart(&mut self, member: usize) {
        self.spawn(member);
        assert!(self.listens(member), "{}", self.log(member));
    }

    /// Where a member keeps its data.
    pub fn data(&self, member: usize) -> PathBuf {
        self.directory.path().join(format!("m{member}"))
    }

    /// What `etcdctl snapshot restore` has to be told for a member's place.
    pub fn restore_words(&self, member: usize) -> Vec<String> {
        let command = &self.members[member].command;
        let wanted = [
            "--name",
            "--data-dir",
            "--initial-advertise-peer-urls",
            "--initial-cluster",
            "--initial-cluster-token",
        ];
        let pairs = command
            .windows(2)
            .filter(|p| wanted.contains(&p[0].as_str()));
        pairs.flat_map(<[String]>::to_vec).collect()
    }

    /// What a member has said.
    pub fn log(&self, member: usize) -> String {
        let file = self.directory.path().join(format!("m{member}.log"));
        fs::read_to_string(file).unwrap_or_default()
    }

    /// A member's client URL.
    pub fn endpoint(&self, member: usize) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.address, self.members[member].port)
    }

    /// All members' client URLs, comma separated.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.members.len()).map(|i| self.endpoint(i)).collect();
        all.join(",")
    }

    /// What a store is opened with.
    pub fn options(&self) -> EtcdOptions {
        let endpoints = self.endpoints();
        let endpoints = endpoints.split(',').map(Endpoint::parse);
        EtcdOptions {
            discovery_srv: String::new(),
            endpoints: endpoints.collect::<Result<_, _>>().expect("endpoints"),
            login: None,
            ca: self.tls.as_ref().map(|d| Pem::File(d.join("ca.pem"))),
            certificate: None,
            key: None,
            origin: "the test".to_string(),
        }
    }

    /// A store of its own connection.
    pub fn store(&self) -> EtcdStore {
        EtcdStore::open(self.options()).expect("a store")
    }

    /// Runs etcdctl on all members; it must succeed.
    pub fn ctl(&self, words: &[&str]) -> String {
        let output = self.try_ctl(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {words:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs etcdctl on all members.
    pub fn try_ctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.arg(format!("--endpoints={}", self.endpoints()));
        if let Some(tls) = &self.tls {
            command.arg(format!("--cacert={}", tls.join("ca.pem").display()));
            command.arg(format!("--cert={}", tls.join("client.pem").display()));
            command.arg(format!("--key={}", tls.join("client.key").display()));
        }
        command.args(words).output().expect("etcdctl runs")
    }

    /// Deletes every key.
    pub fn wipe(&self) {
        self.ctl(&["del", "", "--from-key"]);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
    }
}

/// Makes `ca.pem`, and for `server` and `client` a certificate and a key that it signed, and for `stranger` ones of another
/// authority, in a directory; false where openssl is not installed, which is said.
pub fn certificates(directory: &Path) -> bool {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return false;
    }
    let make = |words: &str| {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(directory)
            .output()
            .expect("openssl runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}: {error}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    for ca in ["ca", "other"] {
        make(&format!(
            "req -x509 {key} -keyout {ca}.key -out {ca}.pem -subj /CN={ca}"
        ));
    }
    let extensions =
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n";
    fs::write(directory.join("extensions"), extensions).expect("a file");
    for (name, ca) in [("server", "ca"), ("client", "ca"), ("stranger", "other")] {
        make(
            &format!("req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
                .replace(" -days 2", ""),
        );
        make(&format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
    }
    true
}
