//! Routes of `kernel = true` in a real kernel: adopted, kept, shared between next hops, mended, refused, left, removed;
//! and `next_hop_tracking`: which path wins as links and routes come and go.
//!
//! Runs in namespaces of its own, as root or as an ordinary user, by starting itself again there.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

const INSIDE: &str = "KERNEL_TEST_INSIDE";
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, config] = &args[..]
        && mode == "speaker"
    {
        return match speaker::main_run(Path::new(config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if std::env::var_os(INSIDE).is_some() {
        scenario();
        tracking();
        println!("kernel routes: ok");
        return ExitCode::SUCCESS;
    }
    let flags: &[&str] = if rustix::process::getuid().is_root() {
        &["-nm"]
    } else {
        &["-Urnm"]
    };
    let allowed = Command::new("unshare").args(flags).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: namespaces are refused here (unshare {})",
            flags[0]
        );
        return ExitCode::SUCCESS;
    }
    let own = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("unshare");
    command
        .args(flags)
        .args(["--kill-child", "--fork", "-p", "--mount-proc"])
        .arg(own);
    let status = command
        .env(INSIDE, "1")
        .status()
        .expect("unshare ran a moment ago");
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a command line that must succeed.
fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    let output = command.args(words).output().expect("it starts");
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The route to a prefix, on one line; nothing when there is none.
fn route(prefix: &str) -> String {
    run(&format!("ip -o route show {prefix}"))
        .trim()
        .replace(['\\', '\t'], " ")
}

/// Asks again until the route is as wanted.
#[track_caller]
fn await_route(prefix: &str, what: &str, wanted: impl Fn(&str) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = route(prefix);
        if wanted(&found) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {prefix} is {found:?}");
    }
}

struct Speaker {
    child: Child,
}

impl Speaker {
    fn start(config: &Path) -> Speaker {
        let own = std::env::current_exe().expect("this program has a path");
        let child = Command::new(own)
            .arg("speaker")
            .arg(config)
            .spawn()
            .expect("it starts");
        Speaker { child }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    fn end(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// A sender that originates these prefixes with a next hop.
fn sender(dir: &Path, number: u8, next_hop: &str, prefixes: &[&str]) -> PathBuf {
    let mut text = format!(
        "router_id = \"127.0.0.{number}\"\nlocal_as = 64512\nlisten = []\ncontrol = \"{0}/{number}.ctl\"\n\
         [[neighbor]]\naddress = \"127.0.0.1\"\nport = 1790\nas = 64512\nsource = \"127.0.0.{number}\"\nconnect_retry = 1\n",
        dir.display()
    );
    for prefix in prefixes {
        text += &format!("[[originate]]\nprefix = \"{prefix}\"\nnext_hop = \"{next_hop}\"\n");
    }
    let path = dir.join(format!("{number}.toml"));
    std::fs::write(&path, text).expect("written");
    path
}

fn receiver(dir: &Path, graceful_restart: u16) -> PathBuf {
    let mut text = format!(
        "router_id = \"127.0.0.1\"\nlocal_as = 64512\nlisten = [\"127.0.0.1:1790\"]\ncontrol = \"{}/1.ctl\"\nkernel = true\n",
        dir.display()
    );
    for number in [2, 3] {
        text += &format!(
            "[[neighbor]]\naddress = \"127.0.0.{number}\"\nas = 64512\npassive = true\ngraceful_restart = {graceful_restart}\n"
        );
    }
    let path = dir.join("1.toml");
    std::fs::write(&path, text).expect("written");
    path
}

fn scenario() {
    run("ip link set lo up");
    run("ip link add v0 type veth peer name v1");
    run("ip link set v1 up");
    run("ip link set v0 up");
    run("ip address add 192.0.2.1/24 dev v0");
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    // What an earlier life left: one that will be announced again, one that will not; and one of somebody else.
    run("ip route add 10.1.0.0/24 via 192.0.2.9 proto bird metric 32");
    run("ip route add 10.9.0.0/24 via 192.0.2.9 proto bird metric 32");
    run("ip route add 10.2.0.0/24 via 192.0.2.77 proto static metric 32");
    run("ip route add 10.9.1.0/24 via 192.0.2.9 proto bird metric 7");

    let first = ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"];
    let dut = Speaker::start(&receiver(dir, 120));
    let two = Speaker::start(&sender(dir, 2, "192.0.2.9", &first));
    await_route("10.4.0.0/24", "it comes", |found| {
        found.contains("via 192.0.2.9 dev v0 proto bird")
    });
    assert!(
        route("10.9.0.0/24").contains("192.0.2.9"),
        "before in-sync nothing goes: one neighbor is not there yet"
    );
    // The last one covers its own next hop.
    let prefixes = ["10.3.0.0/24", "10.5.0.0/24", "198.51.100.0/25"];
    let unreachable = sender(dir, 3, "198.51.100.1", &prefixes);
    let three = Speaker::start(&unreachable);
    await_route(
        "10.9.0.0/24",
        "in sync, what nobody announced goes",
        str::is_empty,
    );
    assert!(route("10.1.0.0/24").contains("via 192.0.2.9"), "adopted");
    assert!(
        route("10.9.1.0/24").contains("metric 7"),
        "another metric is somebody else's"
    );
    assert!(
        route("10.2.0.0/24").contains("192.0.2.77"),
        "route-key-taken: theirs stays"
    );
    assert_eq!(route("10.5.0.0/24"), "", "next-hop-unreachable");
    run("ip route add 198.51.100.0/24 via 192.0.2.10");
    await_route("10.5.0.0/24", "a way to the next hop", |found| {
        found.contains("via 192.0.2.10")
    });
    await_route("198.51.100.0/25", "the next hop itself is in it", |found| {
        found.contains("via 192.0.2.10")
    });
    let both = |found: &str| found.contains("via 192.0.2.9") && found.contains("via 192.0.2.10");
    await_route("10.3.0.0/24", "two equal paths share", both);
    mending(both);

    // With graceful restart the routes stay; the next life adopts them.
    dut.end();
    assert!(both(&route("10.3.0.0/24")), "left for the next life");
    let dut = Speaker::start(&receiver(dir, 0));
    let fewer = ["10.2.0.0/24", "10.3.0.0/24"];
    sender(dir, 2, "192.0.2.9", &fewer);
    two.signal(Signal::HUP);
    await_route("10.1.0.0/24", "no longer announced", str::is_empty);
    assert!(both(&route("10.3.0.0/24")), "control: the others stay");
    three.end();
    await_route("10.5.0.0/24", "its only sender is gone", str::is_empty);
    await_route("10.3.0.0/24", "one path is left", |found| {
        found.contains("via 192.0.2.9 dev v0")
    });
    dut.end();
    for prefix in ["10.2.0.0/24", "10.3.0.0/24"] {
        assert_eq!(
            route(prefix),
            "",
            "without graceful restart they go with us"
        );
    }
    assert!(
        route("10.9.1.0/24").contains("metric 7"),
        "what is not ours stays to the end"
    );
    two.end();
}

/// What others take away comes back.
fn mending(both: impl Fn(&str) -> bool) {
    run("ip route del 10.3.0.0/24");
    await_route("10.3.0.0/24", "removed by somebody", &both);
    assert!(
        route("198.51.100.0/25").contains("via 192.0.2.10"),
        "ways were asked for again, and ours hides none"
    );
    run("ip route del 10.2.0.0/24 proto static");
    await_route("10.2.0.0/24", "the key is free", |found| {
        found.contains("via 192.0.2.9 dev v0 proto bird")
    });
    run("ip link set v0 down");
    assert_eq!(
        route("10.3.0.0/24"),
        "",
        "control: the kernel takes routes with the link, unsaid"
    );
    run("ip link set v0 up");
    run("ip route add 10.9.1.0/24 via 192.0.2.9 proto bird metric 7");
    run("ip route replace 198.51.100.0/24 via 192.0.2.10");
    await_route("10.3.0.0/24", "the link is back", both);
    await_route("10.5.0.0/24", "and the way by another route", |found| {
        found.contains("via 192.0.2.10")
    });
}

/// What is known of a prefix to the speaker under test.
fn explain(dir: &Path, prefix: &str) -> String {
    let query = speaker::Query::Explain(prefix.parse().expect("a prefix"));
    speaker::show(&dir.join("1.ctl"), &query, speaker::Form::Text).unwrap_or_default()
}

/// Asks again until what is known of the prefix is as wanted; returns how long that took.
#[track_caller]
fn await_choice(dir: &Path, what: &str, wanted: &[&str]) -> Duration {
    await_choice_of(dir, SHARED, what, wanted)
}

#[track_caller]
fn await_choice_of(dir: &Path, prefix: &str, what: &str, wanted: &[&str]) -> Duration {
    let begin = Instant::now();
    loop {
        let found = explain(dir, prefix);
        if wanted.iter().all(|part| found.contains(part)) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {found}");
    }
}

/// Both senders originate it.
const SHARED: &str = "10.7.0.0/24";
/// What `show explain` says while the next hop behind one of the links is the better one.
const BY_V0: [&str; 2] = ["best\n    via 192.0.2.9", "lost: router-id"];
const BY_W0: [&str; 2] = ["best\n    via 198.18.0.9", "lost: next-hop-unreachable"];

/// The sessions are on the loopback interface, as with a reflector elsewhere: they see nothing of the links.
fn tracking() {
    run("ip link add w0 type veth peer name w1");
    for link in ["w0", "w1"] {
        run(&format!("ip link set {link} up"));
    }
    run("ip address add 198.18.0.1/24 dev w0");
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let config = receiver(dir, 0);
    let text = std::fs::read_to_string(&config).expect("written before");
    let set = |settings: &str| {
        std::fs::write(&config, text.replace("kernel = true\n", settings)).expect("written");
    };
    let two = Speaker::start(&sender(dir, 2, "192.0.2.9", &[SHARED]));
    let three = Speaker::start(&sender(dir, 3, "198.18.0.9", &[SHARED]));

    set("next_hop_tracking = true\n");
    let dut = Speaker::start(&config);
    await_choice(dir, "both can be reached", &BY_V0);
    for (down, up, what) in [
        ("v0 down", "v0 up", "the link is down"),
        ("v1 down", "v1 up", "the link has no carrier"),
    ] {
        run(&format!("ip link set {down}"));
        let took = await_choice(dir, what, &BY_W0);
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
        run(&format!("ip link set {up}"));
        await_choice(dir, "it is back", &BY_V0);
    }
    run("ip address del 192.0.2.1/24 dev v0");
    let took = await_choice(dir, "the network went with its address", &BY_W0);
    assert!(took < Duration::from_secs(1), "{took:?}");
    run("ip address add 192.0.2.1/24 dev v0");
    await_choice(dir, "it is back", &BY_V0);
    metrics(dir, &two);
    ipv6(dir, [&two, &three]);
    let neighbors = speaker::Query::Neighbors;
    let neighbors = speaker::show(&dir.join("1.ctl"), &neighbors, speaker::Form::Text);
    let neighbors = neighbors.expect("it runs");
    assert_eq!(neighbors.matches("Established").count(), 2, "{neighbors}");
    assert_eq!(route(SHARED), "", "no routes of ours unless asked for");
    dut.end();

    // The control: the speaker alone knows nothing of links.
    set("");
    sender(dir, 2, "192.0.2.9", &[SHARED]);
    two.signal(Signal::HUP);
    let dut = Speaker::start(&config);
    await_choice(dir, "without tracking", &BY_V0);
    run("ip link set v0 down");
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let found = explain(dir, SHARED);
        assert!(BY_V0.iter().all(|part| found.contains(part)), "{found}");
    }
    run("ip link set v0 up");
    for speaker in [dut, two, three] {
        speaker.end();
    }
}

/// A next hop behind a router costs the metric of the route there.
fn metrics(dir: &Path, two: &Speaker) {
    sender(dir, 2, "203.0.113.1", &[SHARED]);
    two.signal(Signal::HUP);
    await_choice(dir, "no route", &BY_W0);
    run("ip route add 203.0.113.0/24 via 192.0.2.10 metric 50");
    let farther = ["best\n    via 198.18.0.9", "lost: next-hop-cost"];
    await_choice(dir, "a route at a cost", &farther);
    run("ip route add 203.0.113.0/24 via 192.0.2.10");
    let as_near = ["best\n    via 203.0.113.1", "lost: router-id"];
    await_choice(dir, "a route at no cost", &as_near);
    run("ip route del 203.0.113.0/24 metric 0");
    await_choice(dir, "it is gone", &farther);
    run("ip route add unreachable 203.0.113.1 metric 7");
    await_choice(dir, "a route that leads nowhere", &BY_W0);
    run("ip route del unreachable 203.0.113.1 metric 7");
    run("ip route del 203.0.113.0/24");
    sender(dir, 2, "192.0.2.9", &[SHARED]);
    two.signal(Signal::HUP);
    await_choice(dir, "as before", &BY_V0);
}

/// The same of IPv6, which takes its addresses along with the link.
fn ipv6(dir: &Path, senders: [&Speaker; 2]) {
    for (link, network, number) in [("v0", "fd00:a", 2), ("w0", "fd00:b", 3)] {
        run(&format!("ip address add {network}::1/64 dev {link} nodad"));
        let path = dir.join(format!("{number}.toml"));
        let text = std::fs::read_to_string(&path).expect("written before");
        let more =
            format!("[[originate]]\nprefix = \"fd00:7::/64\"\nnext_hop = \"{network}::9\"\n");
        std::fs::write(&path, text + &more).expect("written");
    }
    senders.iter().for_each(|sender| sender.signal(Signal::HUP));
    let choice = |what, wanted: &[&str]| await_choice_of(dir, "fd00:7::/64", what, wanted);
    choice(
        "both can be reached",
        &["best\n    via fd00:a::9", "lost: router-id"],
    );
    run("ip link set v0 down");
    let other = ["best\n    via fd00:b::9", "lost: next-hop-unreachable"];
    let took = choice("the link is down", &other);
    assert!(took < Duration::from_secs(1), "{took:?}");
    run("ip link set v0 up");
    await_choice(dir, "it is back", &BY_V0);
    choice("its address is not", &other);
}
