//! etcd's members by DNS SRV records, asked of a real dnsmasq as the system's resolver is: in namespaces of the test's own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use resource::{Key, Kind, Store};
use store::testing::Etcd;
use store::{Config, block_on};

const INSIDE: &str = "SELVEDGE_TEST_INSIDE";
const TEST: &str = "members_by_dns";

/// It ends with this value.
struct Dnsmasq(Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(line: &str) {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().expect("a program"))
        .args(words)
        .status();
    assert!(status.expect("it runs").success(), "{line}");
}

fn is_there(program: &str) -> bool {
    let found = |folder: &str| std::path::Path::new(folder).join(program).is_file();
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin"]).any(found)
}

/// A server that knows these records, and that the system's configuration names.
fn dnsmasq(records: &[String]) -> Dnsmasq {
    let child = Command::new("dnsmasq")
        .args(["-d", "-C", "/dev/null", "--no-resolv", "--no-hosts"])
        .args([
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--pid-file=",
        ])
        .args(["--local=/test/", "--host-record=e1.example.test,127.0.0.1"])
        .args(records)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdout(Stdio::null())
        .spawn()
        .expect("dnsmasq");
    let server = Dnsmasq(child);
    let end = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect("127.0.0.1:53").is_err() {
        assert!(Instant::now() < end, "dnsmasq does not listen");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    server
}

fn open(domain: &str) -> Result<store::AnyStore, String> {
    let config = Config::from_variables(|name| match name {
        "DATASTORE_TYPE" => Some("etcdv3".to_string()),
        "ETCD_DISCOVERY_SRV" => Some(domain.to_string()),
        _ => None,
    });
    let config = config.map_err(|error| error.to_string())?;
    store::open(&config).map_err(|error| error.to_string())
}

/// A value goes to etcd and comes back.
fn works(domain: &str) {
    let store = open(domain).expect("members");
    let key = Key::cluster(Kind::IpPool, domain);
    block_on(store.create(&key, "{}")).expect("written");
    let read = block_on(store.get(&key)).expect("read");
    assert_eq!(read.expect("it is there").value, "{}");
}

fn inside() {
    run("ip link set lo up");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    std::fs::write(
        &file,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .expect("written");
    run(&format!("mount --bind {} /etc/resolv.conf", file.display()));
    let etcd = Etcd::start();
    let port: u16 = etcd
        .endpoints()
        .rsplit(':')
        .next()
        .and_then(|port| port.trim_end_matches('/').parse().ok())
        .expect("a port");
    let member = |domain: &str, port: u16, priority: u16| {
        format!("--srv-host=_etcd-client._tcp.{domain},e1.example.test,{port},{priority},1")
    };
    let mut records = vec![member("example.test", port, 0)];
    // Too many for a UDP answer; none but one of them lives.
    records.extend((0..40).map(|i| member("many.test", 1 + i, 1)));
    records.push(member("many.test", port, 0));
    // A service that is not offered (RFC 2782).
    records.push("--srv-host=_etcd-client._tcp.none.test".to_string());
    {
        let _server = dnsmasq(&records);
        works("example.test");
        works("many.test");
        let why = |domain: &str| open(domain).expect_err("nothing is there");
        for domain in ["other.test", "none.test"] {
            let text = why(domain);
            for part in [
                "cannot find etcd's members by DNS",
                &format!("_etcd-client-ssl._tcp.{domain}"),
                &format!("_etcd-client._tcp.{domain}"),
            ] {
                assert!(text.contains(part), "{text}");
            }
        }
        println!("{}", why("other.test"));
    }
    // Without a server the reason is another one.
    let text = open("example.test").expect_err("nobody answers");
    assert!(text.contains("127.0.0.1: "), "{text}");
    println!("{text}");
}

#[test]
fn members_by_dns() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    for program in ["dnsmasq", "etcd", "unshare", "ip"] {
        if !is_there(program) {
            println!("skipped: there is no {program}");
            return;
        }
    }
    let output = Command::new("unshare")
        .args(["-Urnm", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().expect("the test's own program"))
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if text.contains("unshare failed") {
        println!("skipped: no user namespaces: {text}");
        return;
    }
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    println!("{text}");
}
