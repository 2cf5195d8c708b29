//! A peer that completes the handshake over real TCP and then does one bad thing.
//!
//! Each of [`cases`] runs against our speaker, which must do what the RFCs say, and against BIRD,
//! FRR, GoBGP and OpenBGPD where they are installed: a table says who does what, and where all of
//! them agree, ours must do the same or the RFC must say otherwise. [`scenarios`] are for ours
//! alone. Runs in namespaces of its own, as root or with user namespaces. An argument runs the
//! cases and scenarios whose name holds it.

mod cases;
mod crowd;
mod message;
mod scenarios;
mod session;
mod targets;

use cases::{Act, CASES, Case};
use session::{Watcher, connect, establish};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use targets::TARGETS;

/// The AS of the speakers.
pub const OUR_AS: u32 = 65000;
/// That of an eBGP adversary.
pub const THEIR_AS: u32 = 65001;

const INSIDE: &str = "ADVERSARY_INSIDE";

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
    let filter = args.iter().find(|arg| !arg.starts_with('-')).cloned();
    let filter = filter.unwrap_or_default();
    if std::env::var_os(INSIDE).is_some() {
        run(&filter)
    } else {
        enter(&filter)
    }
}

/// Runs this program again in namespaces that end with it.
fn enter(filter: &str) -> ExitCode {
    let own = std::env::current_exe().expect("this program has a path");
    let flags = if rustix::process::getuid().is_root() {
        "-nm"
    } else {
        "-Urnm"
    };
    let allowed = Command::new("unshare").args([flags, "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("skipped: namespaces are refused here (unshare {flags})");
        return ExitCode::SUCCESS;
    }
    // A thousand sessions are more than the usual 1,024 descriptors.
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 4096; exec \"$@\"", "sh", "unshare"])
        .args([flags, "--kill-child", "--fork", "-p", "--mount-proc"])
        .arg(own)
        .arg(filter)
        .env(INSIDE, "1")
        .status()
        .expect("unshare ran a moment ago");
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn must(line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    let status = Command::new(program).args(words).status();
    assert!(status.is_ok_and(|s| s.success()), "{line}");
}

fn run(filter: &str) -> ExitCode {
    must("mount -t tmpfs none /run");
    must("ip link set lo up");
    for own in ["10.9.0.0/24", "10.9.1.0/24", "10.9.2.0/24", "10.9.8.0/21"] {
        must(&format!("ip addr add {own} dev lo"));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut columns: BTreeMap<u8, BTreeMap<usize, String>> = BTreeMap::new();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, name, program) in TARGETS {
            if !program.is_empty() && !Path::new(program).exists() {
                println!("skipped: {name} is not installed");
                continue;
            }
            let dir = dir.path().to_owned();
            running.push((
                number,
                scope.spawn(move || against(number, name, &dir, filter)),
            ));
        }
        for (number, handle) in running {
            columns.insert(number, handle.join().expect("no panic"));
        }
    });
    let mut failed = table(&columns, filter);
    let (passed, scenario_failures) = scenarios::run(dir.path(), filter);
    failed += scenario_failures;
    let passed = passed + columns.get(&1).map_or(0, BTreeMap::len) - failed.min(1);
    println!("adversary: {passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// All cases against one speaker.
fn against(number: u8, name: &str, dir: &Path, filter: &str) -> BTreeMap<usize, String> {
    let mut child = targets::start(number, name, dir);
    let mut results = BTreeMap::new();
    let mut in_vain = 0;
    let target = targets::address(number);
    let watcher = establish(targets::WATCHER, target, 65999).map(Watcher::new);
    if let Some(mut watcher) = watcher {
        for (i, case) in CASES.iter().enumerate() {
            if case.name.contains(filter) {
                let mut outcome = outcome(i, case, target, &mut watcher);
                if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    outcome = "dies".into();
                    child = targets::start(number, name, dir);
                    let again = establish(targets::WATCHER, target, 65999);
                    watcher = Watcher::new(again.expect("it took a session before"));
                }
                let lost = outcome == "no session" || outcome == "not passed on";
                results.insert(i, outcome);
                in_vain = if lost { in_vain + 1 } else { 0 };
                if in_vain == 3 {
                    println!("{name}: given up at {:?}", case.name);
                    break;
                }
            }
        }
        if "moves between clients".contains(filter) {
            results.insert(CASES.len(), scenarios::moves(target));
        }
    } else {
        let log = std::fs::read_to_string(dir.join(format!("{name}.out"))).unwrap_or_default();
        println!(
            "{name} does not take a session: {}",
            log.lines().last().unwrap_or("")
        );
    }
    child.kill().expect("it was started");
    child.wait().expect("it can be waited for");
    results
}

fn outcome(i: usize, case: &Case, target: std::net::SocketAddr, watcher: &mut Watcher) -> String {
    let local = targets::source(i);
    let asn = if case.ibgp { OUR_AS } else { THEIR_AS };
    let patience = Duration::from_secs(3);
    if let Act::Before(act) = case.act {
        let Some(mut session) = connect(local, target, patience) else {
            return "refused".into();
        };
        act(&mut session);
        return session.end(patience).unwrap_or("silence".into());
    }
    let Some(mut session) = establish(local, target, asn) else {
        return "no session".into();
    };
    let prefix = Ipv4Addr::new(10, 10, i as u8, 0);
    let marker = Ipv4Addr::new(10, 11, i as u8, 0);
    let announce = |prefix: Ipv4Addr, community: u16| {
        let list = message::attributes(case.ibgp, local, community);
        message::update(&[], &message::encode(&list), &message::nlri(prefix))
    };
    session.send(&announce(prefix, 1));
    if !watcher.until(patience, |w| w.routes.contains_key(&prefix)) {
        return "not passed on".into();
    }
    session.send(&cases::octets(case, local, prefix));
    session.send(&announce(marker, 3));
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(end) = session.end(Duration::from_millis(5)) {
            return end;
        }
        let settled = |w: &Watcher| w.routes.contains_key(&marker);
        if watcher.until(Duration::from_millis(20), settled) {
            break;
        }
    }
    // What was to be withdrawn may come after the marker.
    watcher.until(Duration::from_millis(60), |_| false);
    if let Some(end) = session.end(Duration::from_millis(20)) {
        return end;
    }
    let marked = watcher.routes.contains_key(&marker);
    match watcher.routes.get(&prefix).map(Vec::as_slice) {
        _ if !marked => "silence".into(),
        None => "withdrawn".into(),
        Some([1]) => "ignored".into(),
        Some(_) => "accepted".into(),
    }
}

/// Prints who does what; returns how many of ours are wrong.
fn table(columns: &BTreeMap<u8, BTreeMap<usize, String>>, filter: &str) -> usize {
    let mut failed = 0;
    let name = |number: &u8| TARGETS.iter().find(|t| t.0 == *number).map_or("", |t| t.1);
    let head: Vec<&str> = columns.keys().map(name).collect();
    println!("| case | section | {} |", head.join(" | "));
    println!("|---|---|{}", "---|".repeat(columns.len()));
    for i in 0..=CASES.len() {
        let (what, section, expected) = match CASES.get(i) {
            Some(case) => (case.name, case.section, case.expected),
            None => ("best path moves between clients", "4456 §6", &["right"][..]),
        };
        if !what.contains(filter) {
            continue;
        }
        let results: Vec<&str> = (columns.values())
            .map(|column| column.get(&i).map_or("-", String::as_str))
            .collect();
        println!("| {what} | {section} | {} |", results.join(" | "));
        let others: Vec<&&str> = results[1..].iter().filter(|r| **r != "-").collect();
        let agree = others.len() > 2 && others.iter().all(|r| *r == others[0]);
        if !expected.contains(&results[0]) {
            failed += 1;
            println!(
                "FAILED: {what}: ours: {}, not {}",
                results[0],
                expected.join(" or ")
            );
        }
        if agree && *others[0] != results[0] {
            println!("  note: all others agree on {}", others[0]);
        }
    }
    failed
}
