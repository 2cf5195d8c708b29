//! Namespaces of a test's own: a LAN with hosts, made as an ordinary user or as root.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dataplane::{Actual, Desired, plan, unmet};
use linux::Kernel;
use rustix::thread::LinkNameSpaceType;

const INSIDE: &str = "SELVEDGE_TEST_INSIDE";

/// Runs a test's body in user, network and mount namespaces of its own, by starting the test anew in them.
pub fn in_own_namespaces(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("mount -t tmpfs none /run");
        run("mkdir -p /run/netns");
        run("ip link set lo up");
        return body();
    }
    let exe = std::env::current_exe().expect("the test's own program");
    let output = Command::new("unshare")
        .arg("-Urnm")
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{test} in its namespaces:\n{text}");
    assert!(
        text.contains("1 passed"),
        "{test} did not run in its namespaces:\n{text}"
    );
    println!("{text}");
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

/// Feeds text to `nft -f -` in a host's namespace.
pub fn nft(host: &str, text: &str) {
    let path = format!("/run/test-{host}.nft");
    std::fs::write(&path, text).expect("written");
    run(&format!("ip netns exec {host} nft -f {path}"));
}

/// A host on the LAN switch `lan`, by its interface `ens192`.
pub fn host(name: &str, address: &str) {
    run(&format!("ip netns add {name}"));
    run(&format!(
        "ip link add sw-{name} type veth peer name ens192 netns {name}"
    ));
    run(&format!("ip link set sw-{name} master lan up"));
    run(&format!("ip -n {name} link set lo up"));
    run(&format!("ip -n {name} address add {address} dev ens192"));
    run(&format!("ip -n {name} link set ens192 up"));
}

/// The switch that hosts are plugged into.
pub fn lan() {
    run("ip link add lan type bridge");
    run("ip link set lan up");
}

/// A pod of a host, as the CNI plugin makes it.
pub fn pod(host: &str, name: &str, interface: &str, address: &str) {
    run(&format!("ip netns add {name}"));
    run(&format!(
        "ip -n {host} link add {interface} type veth peer name eth0 netns {name}"
    ));
    run(&format!("ip -n {host} link set {interface} up"));
    run(&format!("ip -n {name} link set lo up"));
    run(&format!("ip -n {name} link set eth0 up"));
    run(&format!("ip -n {name} address add {address}/32 dev eth0"));
    run(&format!(
        "ip -n {name} route add 169.254.1.1 dev eth0 scope link"
    ));
    run(&format!(
        "ip -n {name} route add default via 169.254.1.1 dev eth0"
    ));
    run(&format!(
        "ip -n {host} route add {address} dev {interface} scope link"
    ));
}

/// Does something in a host's network namespace, on a thread of its own.
pub fn on<T: Send + 'static>(host: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    start_on(host, body).join().expect("the thread ends well")
}

/// The same, without waiting.
pub fn start_on<T: Send + 'static>(
    host: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let path = format!("/run/netns/{host}");
    std::thread::spawn(move || {
        linux::namespace::join(Path::new(&path), LinkNameSpaceType::Network).expect("joined");
        body()
    })
}

/// Plans and applies until nothing is left to do; every operation must succeed.
pub fn converge(kernel: &mut Kernel, desired: &Desired) -> Actual {
    for _ in 0..4 {
        let actual = kernel.read().expect("read");
        let batches = plan(desired, &actual, true);
        if batches.is_empty() {
            assert_eq!(unmet(desired, &actual), []);
            return actual;
        }
        for batch in &batches {
            for (operation, result) in batch.operations.iter().zip(kernel.apply(batch)) {
                result.unwrap_or_else(|error| panic!("{operation}: {error}"));
            }
        }
    }
    let actual = kernel.read().expect("read");
    panic!(
        "it does not come to rest: {:#?}",
        plan(desired, &actual, true)
    );
}

/// Waits until a condition holds.
pub fn eventually(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < at_most, "not within {at_most:?}: {what}");
        std::thread::yield_now();
    }
    start.elapsed()
}

pub fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse::<Ipv4Addr>().expect("an address"))
}

pub fn socket(text: &str) -> SocketAddr {
    text.parse().expect("address:port")
}
