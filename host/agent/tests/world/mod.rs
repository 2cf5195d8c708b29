//! Nodes on a LAN in namespaces of the test's own, on one store file; each agent is a process.

#![allow(dead_code, reason = "each test file uses some of it")]

pub mod bird;
pub mod ping;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use agent::{AgentConfig, Flags, Paths};
use resource::kinds::{IpPool, IpPoolSpec, WorkloadEndpoint, WorkloadEndpointSpec};
use resource::{AnyObject, Client, Key, Metadata, Object, Spec, Stamp, Store};
use store::{AnyStore, Datastore, block_on};

const INSIDE: &str = "SELVEDGE_TEST_INSIDE";
const AGENT: &str = "SELVEDGE_TEST_AGENT";
const LIVENESS: &str = "SELVEDGE_TEST_LIVENESS";

/// Runs a test's body in user, network and mount namespaces of its own, by starting the test anew in them; in such a
/// process that is meant to be an agent, runs the agent.
pub fn in_own_namespaces(test: &str, body: impl FnOnce(&Path)) {
    if std::env::var_os(LIVENESS).is_some() {
        return liveness_process();
    }
    if std::env::var_os(AGENT).is_some() {
        return agent_process(test);
    }
    if std::env::var_os(INSIDE).is_some() {
        run("mount -t tmpfs none /run");
        run("mkdir -p /run/netns");
        run("ip link set lo up");
        run("ip link add lan type bridge");
        run("ip link set lan up");
        let directory = tempfile::tempdir().expect("a directory");
        return body(directory.path());
    }
    // In a user namespace nobody may ask for real-time priority, but a limit from outside holds in it.
    let limit = ["--rtprio=99:99", "unshare"];
    let is_allowed = Command::new("prlimit")
        .args([limit[0], "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut command = if is_allowed {
        let mut command = Command::new("prlimit");
        command.args(limit);
        command
    } else {
        Command::new("unshare")
    };
    let output = command
        .args(["-Urnm", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().expect("the test's own program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .expect("unshare runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} in its namespaces:\n{text}"
    );
    println!("{text}");
}

/// The process that drives BFD; its socket is the last argument.
fn liveness_process() {
    let socket = std::env::args_os().next_back().expect("a socket");
    if let Err(error) = liveness::run(&liveness::Options::new(socket.into())) {
        eprintln!("liveness: {error:#}");
        std::process::exit(1);
    }
}

fn agent_process(test: &str) {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let directory = PathBuf::from(&env["SELVEDGE_TEST_DIRECTORY"]);
    let mut config = AgentConfig::read(Flags::default(), &env, "host").expect("a configuration");
    config.paths = Paths {
        lib: directory.join("lib"),
        run: directory.join("run"),
        secrets: directory.join("secrets"),
    };
    let own = std::env::current_exe().expect("the test's own program");
    let own = own.to_str().expect("text").to_owned();
    let variable = format!("{LIVENESS}=1");
    let words = ["env", &variable, &own, "--exact", "--nocapture", test];
    config.liveness_command = Some(words.map(Into::into).into());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .init();
    if let Err(error) = agent::run(&config, &store_config(&env["SELVEDGE_TEST_STORE"])) {
        eprintln!("agent: {error:#}");
        std::process::exit(1);
    }
}

/// The store at a path, at etcd's endpoints, or that a kubeconfig names.
pub fn store_config(place: &str) -> store::Config {
    if place.starts_with("http") {
        let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| place.to_string());
        return store::Config::from_variables(variable).expect("endpoints");
    }
    if place.ends_with("kubeconfig") {
        let variable = |name: &str| match name {
            "DATASTORE_TYPE" => Some("kubernetes".to_string()),
            "KUBECONFIG" => Some(place.to_string()),
            _ => None,
        };
        return store::Config::from_variables(variable).expect("a kubeconfig");
    }
    let datastore = Datastore::Sqlite { path: place.into() };
    store::Config {
        datastore,
        origin: "the test".to_string(),
    }
}

/// Runs one command line, split at spaces; it must succeed.
pub fn run(line: &str) -> String {
    let output = attempt(line);
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Runs one command line and gives what came of it.
pub fn attempt(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Waits for a condition; panics with what there is when it does not come.
#[track_caller]
pub fn wait_for(
    what: &str,
    at_most: Duration,
    mut there: impl FnMut() -> bool,
    state: impl Fn() -> String,
) {
    let start = Instant::now();
    while !there() {
        assert!(
            start.elapsed() < at_most,
            "no {what} within {at_most:?}:\n{}",
            state()
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The machines and the store of one test.
pub struct World {
    directory: PathBuf,
    test: &'static str,
    /// The store that all nodes share.
    pub store: AnyStore,
    place: String,
    agents: BTreeMap<String, Child>,
}

impl World {
    pub fn new(directory: &Path, test: &'static str) -> World {
        let path = directory.join("store.db");
        World::on(directory, test, path.to_str().expect("text"))
    }

    /// A world on the store at a path, or at etcd's endpoints.
    pub fn on(directory: &Path, test: &'static str, place: &str) -> World {
        World {
            directory: directory.to_path_buf(),
            test,
            store: store::open(&store_config(place)).expect("a store"),
            place: place.to_string(),
            agents: BTreeMap::new(),
        }
    }

    /// Agents that are started from now on have their store here.
    pub fn move_to(&mut self, place: &str) {
        self.store = store::open(&store_config(place)).expect("a store");
        self.place = place.to_string();
    }

    /// A host on the LAN, by its interface `ens192`.
    pub fn host(&self, name: &str, address: &str) {
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip link add sw-{name} type veth peer name ens192 netns {name}"
        ));
        run(&format!("ip link set sw-{name} master lan up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} address add {address} dev ens192"));
        run(&format!("ip -n {name} link set ens192 up"));
        // Proxy ARP answers for 169.254.1.1 only where a route leads to it.
        run(&format!("ip -n {name} route add default via 10.20.0.1"));
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The command of a node's agent.
    pub fn agent_command(&self, name: &str, env: &[(&str, &str)]) -> Command {
        let directory = self.directory(name);
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", name])
            .arg(std::env::current_exe().expect("the test's own program"))
            .args(["--exact", self.test, "--nocapture", "--test-threads=1"])
            .env_remove(INSIDE)
            .env(AGENT, "1")
            .env("NODENAME", name)
            .env("SELVEDGE_TEST_DIRECTORY", &directory)
            .env("SELVEDGE_TEST_STORE", &self.place)
            .env(
                "SELVEDGE_RECORD",
                self.directory(&format!("{name}.recording")),
            )
            .envs(env.iter().copied());
        command
    }

    /// Starts a node's agent and waits until it is in sync.
    pub fn start(&mut self, name: &str) {
        self.spawn(name, &[]);
        self.wait_ready(name);
    }

    /// Starts a node's agent.
    pub fn spawn(&mut self, name: &str, env: &[(&str, &str)]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path(name))
            .expect("a log");
        let child = self
            .agent_command(name, env)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("an agent");
        self.agents.insert(name.to_string(), child);
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.directory(&format!("{name}.log"))
    }

    /// What the agent said so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_ready(&self, name: &str) {
        let pid = self.agents[name].id();
        let file = self.directory(name).join("run").join(agent::HEALTH_FILE);
        let ready = || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.contains("\"ready\": true") && text.contains(&format!("\"pid\": {pid},"))
        };
        wait_for("readiness", Duration::from_secs(40), ready, || {
            self.log(name)
        });
    }

    /// SIGTERM (planned) or SIGKILL, and waits for the end.
    pub fn end(&mut self, name: &str, signal: rustix::process::Signal) {
        let mut child = self.agents.remove(name).expect("an agent");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("a signal");
        let status = child.wait().expect("an end");
        if signal == rustix::process::Signal::TERM {
            assert!(status.success(), "{status}\n{}", self.log(name));
        }
    }

    /// Writes an object.
    pub fn create<S: Spec>(&self, object: &Object<S>) {
        block_on(self.store.create(&object.key(), &object.to_stored())).expect("created");
    }

    /// Writes an object as calicoctl's apply does.
    pub fn apply(&self, object: impl Into<AnyObject>) {
        let stamp = Stamp {
            uid: "5c8f8a38-0000-4000-8000-000000000000".into(),
            now_rfc3339: "2026-11-24T00:00:00Z".into(),
        };
        block_on(Client::new(&self.store).apply(object.into(), &stamp)).expect("applied");
    }

    pub fn delete(&self, key: &Key) {
        block_on(Client::new(&self.store).delete(key, None)).expect("deleted");
    }

    pub fn pool(&self, name: &str, cidr: &str, set: impl FnOnce(&mut IpPoolSpec)) {
        let mut spec = IpPoolSpec {
            cidr: cidr.into(),
            block_size: Some(26),
            ..IpPoolSpec::default()
        };
        set(&mut spec);
        self.create(&IpPool::new(Metadata::named(name), spec));
    }

    /// A block of a node's own.
    pub fn block(&self, host: &str, cidr: &str) {
        let cidr = cidr.parse().expect("a CIDR");
        let key = resource::Key::BlockAffinity {
            host: host.to_string(),
            cidr,
        };
        block_on(
            self.store
                .create(&key, r#"{"state":"confirmed","deleted":false}"#),
        )
        .expect("created");
    }

    /// A pod of a node, as the CNI plugin leaves it.
    pub fn pod(&self, node: &str, name: &str, address: &str) {
        let interface = format!("cali{name}");
        let mac = self.plug(node, name, address, &interface);
        let spec = WorkloadEndpointSpec {
            mac,
            node: node.into(),
            interface_name: interface,
            ip_networks: vec![format!("{address}/32")],
            ..WorkloadEndpointSpec::default()
        };
        self.create(&WorkloadEndpoint::new(
            Metadata::namespaced("default", name),
            spec,
        ));
    }

    /// A pod's namespace, interface and routes; its hardware address.
    pub fn plug(&self, node: &str, name: &str, address: &str, interface: &str) -> String {
        run(&format!("ip netns add {name}"));
        run(&format!(
            "ip -n {node} link add {interface} type veth peer name eth0 netns {name}"
        ));
        run(&format!("ip -n {node} link set {interface} up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} address add {address}/32 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
        run(&format!("ip -n {name} route add 169.254.1.1 dev eth0"));
        run(&format!(
            "ip -n {name} route add default via 169.254.1.1 dev eth0"
        ));
        run(&format!(
            "ip -n {node} route add {address} dev {interface} scope link"
        ));
        let shown = run(&format!("ip -n {name} -o link show eth0"));
        let mac = shown
            .split("link/ether ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        mac.expect("a hardware address").to_string()
    }

    pub fn routes(&self, host: &str) -> String {
        run(&format!("ip -n {host} route"))
    }

    /// Waits until a host has a route, as `ip route` prints it.
    #[track_caller]
    pub fn wait_route(&self, host: &str, route: &str) {
        let has = || {
            self.routes(host)
                .lines()
                .any(|line| line.trim_end() == route)
        };
        wait_for(route, Duration::from_secs(40), has, || {
            format!("{}\n{}", self.routes(host), self.log(host))
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, mut child) in std::mem::take(&mut self.agents) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
