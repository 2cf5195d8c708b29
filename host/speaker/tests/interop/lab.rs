//! Two namespaces joined by a cable: `us` at 10.9.0.1, `them` at 10.9.0.2 to .4.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Lab {
    pub dir: tempfile::TempDir,
    processes: RefCell<Vec<(String, Child)>>,
}

/// Runs a command line that must succeed.
pub fn must(line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program)
        .args(words)
        .output()
        .expect("it is installed");
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Lab {
    pub fn new() -> Self {
        must("mount -t tmpfs none /run");
        for (space, device, host) in [("us", "c0", [1].as_slice()), ("them", "c1", &[2, 3, 4])] {
            must(&format!("ip netns add {space}"));
            if device == "c1" {
                must("ip link add c0 netns us type veth peer name c1 netns them");
            }
            for n in host {
                if device == "c1" {
                    must(&format!("ip -n them addr add 10.9.0.{n}/24 dev c1"));
                    must(&format!("ip -n them addr add fd09::{n}/64 dev c1 nodad"));
                }
            }
        }
        must("ip -n us addr add 10.9.0.1/24 dev c0");
        must("ip -n us addr add fd09::1/64 dev c0 nodad");
        for (space, device) in [("us", "c0"), ("them", "c1")] {
            must(&format!("ip -n {space} link set lo up"));
            must(&format!("ip -n {space} link set {device} up"));
        }
        let dir = tempfile::tempdir().expect("a folder");
        Lab {
            dir,
            processes: RefCell::new(Vec::new()),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.to_str().expect("plain names").to_owned()
    }

    /// Starts a program in a namespace; `name` is what it is stopped by.
    pub fn start(&self, space: &str, name: &str, argv: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("{name}.out"))).expect("a log");
        let child = Command::new("ip")
            .args(["netns", "exec", space])
            .args(argv)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a second handle"))
            .stdout(log)
            .spawn()
            .expect("ip is installed");
        self.processes.borrow_mut().push((name.to_owned(), child));
    }

    /// Our speaker, with the head of its configuration given.
    pub fn ours(&self, asn: u32, rest: &str) {
        self.ours_at("10.9.0.1:179", asn, rest);
    }

    pub fn ours_at(&self, listen: &str, asn: u32, rest: &str) {
        self.speaker("us", "ours", listen, asn, rest);
    }

    /// A speaker of ours in a namespace; its files have its name.
    pub fn speaker(&self, space: &str, name: &str, listen: &str, asn: u32, rest: &str) {
        let control = self.path(&format!("{name}.ctl"));
        let id = if space == "us" {
            "10.9.0.1"
        } else {
            "10.9.0.2"
        };
        let text = format!(
            "router_id = \"{id}\"\nlocal_as = {asn}\nlisten = [\"{listen}\"]\n\
             control = \"{}\"\n{rest}",
            control.display()
        );
        let config = self.write(&format!("{name}.toml"), &text);
        let own = std::env::current_exe().expect("this program has a path");
        let own = own.to_str().expect("plain");
        self.start(space, name, &[own, "speaker", &config]);
    }

    /// Ours again, after its end.
    pub fn restart_ours(&self) {
        let own = std::env::current_exe().expect("this program has a path");
        let config = self.path("ours.toml");
        let config = config.to_str().expect("plain");
        self.start(
            "us",
            "ours",
            &[own.to_str().expect("plain"), "speaker", config],
        );
    }

    /// The liveness processes outlive their owners.
    fn end_liveness(&self) {
        for name in ["ours", "other"] {
            let socket = self.path(&format!("{name}.liveness"));
            if let Ok(report) = liveness::show(&socket) {
                must(&format!("kill -KILL {}", report.pid));
                wait("the liveness process has ended", 5, || {
                    std::os::unix::net::UnixStream::connect(&socket).is_err()
                });
            }
        }
    }

    pub fn ask(&self, query: &speaker::Query) -> String {
        speaker::show(&self.path("ours.ctl"), query, speaker::Form::Text).unwrap_or_default()
    }

    pub fn neighbors(&self) -> String {
        self.ask(&speaker::Query::Neighbors)
    }

    pub fn explain(&self, prefix: &str) -> String {
        self.ask(&speaker::Query::Explain(prefix.parse().expect("a prefix")))
    }

    /// The process that was started under `name`.
    pub fn pid(&self, name: &str) -> u32 {
        let processes = self.processes.borrow();
        let named = processes.iter().find(|(n, _)| n == name);
        named.expect("it was started").1.id()
    }

    /// Sends a signal to what was started under `name`, and for those that end waits for that.
    pub fn signal(&self, name: &str, signal: &str) {
        let mut processes = self.processes.borrow_mut();
        let at = processes
            .iter()
            .position(|(n, _)| n == name)
            .expect("it was started");
        must(&format!("kill -{signal} {}", processes[at].1.id()));
        if matches!(signal, "KILL" | "TERM") {
            let (_, mut child) = processes.remove(at);
            child.wait().expect("it can be waited for");
        }
    }

    /// Ends everything; after a failure shows what was said.
    pub fn clean(&self, failed: bool) {
        if failed {
            println!("--- neighbors\n{}", self.neighbors());
        }
        for (name, mut child) in self.processes.borrow_mut().drain(..) {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().expect("it can be waited for");
            if failed {
                for suffix in ["out", "log"] {
                    let path = self.path(&format!("{name}.{suffix}"));
                    let text = std::fs::read_to_string(path).unwrap_or_default();
                    let lines: Vec<&str> = text.lines().collect();
                    let tail = &lines[lines.len().saturating_sub(15)..];
                    println!("--- {name}.{suffix}\n{}", tail.join("\n"));
                }
            }
        }
        self.end_liveness();
        must("ip -n them link set c1 up");
        for entry in std::fs::read_dir(self.dir.path()).expect("ours").flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Waits until `holds`.
#[track_caller]
pub fn wait(what: &str, seconds: u64, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "after {seconds} s still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Watches that `holds` does not cease to for a time.
#[track_caller]
pub fn stays(what: &str, seconds: u64, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        assert!(holds(), "no longer: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
