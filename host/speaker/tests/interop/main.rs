//! Interoperation with other speakers as real processes, in network namespaces of its own.
//!
//! A file is a subject: a daemon (`bird.rs`) or a capability, with its cases in `CASES`, which
//! [`SUITES`] lists. Runs as root or as an ordinary user with user namespaces. A case whose daemon
//! is not installed is skipped, said and counted. An argument runs the cases whose name holds it.
//! `INTEROP_TABLE=docs/interop.md` writes the results between that file's markers; a run without
//! it fails when the committed table has other cases.

mod add_path;
mod ao;
mod bfd;
mod bird;
mod bmp;
mod capabilities;
mod exabgp;
mod frr;
mod gobgp;
mod guarded;
mod lab;
mod large;
mod long_lived;
mod md5;
mod mrt;
mod next_hop;
mod openbgpd;
mod policy;
mod restart;
#[path = "../../../../core/monitor/tests/station/mod.rs"]
mod station;
mod table;
mod unnumbered;

use lab::Lab;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

/// One test.
pub struct Case {
    /// The daemon that it needs, as [`PEERS`] has it.
    pub peer: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// What it shows, for the table.
    pub shows: &'static str,
    /// Panics when it does not hold.
    pub run: fn(&Lab),
}

/// Each daemon and the program that must be there.
const PEERS: &[(&str, &str)] = &[
    ("selvedge", "/proc/self/exe"),
    ("bird", "/usr/sbin/bird"),
    ("frr", "/usr/lib/frr/bgpd"),
    ("gobgp", "/usr/bin/gobgpd"),
    ("exabgp", "/usr/sbin/exabgp"),
    ("openbgpd", "/usr/sbin/bgpctl"),
    ("pmacct", "/usr/sbin/pmbmpd"),
];

/// Daemons that give their rights up for those of a user of their own, which a user namespace
/// does not have, and cases in which one does.
const NEEDS_ROOT: [&str; 2] = ["openbgpd", "frr_unnumbered"];

/// Root outside too, where all users are.
fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace()
        .nth(2)
        .is_some_and(|count| count != "1")
}

/// All cases, in the order of the table. A new file adds its line here.
const SUITES: &[&[Case]] = &[
    bird::CASES,
    frr::CASES,
    gobgp::CASES,
    openbgpd::CASES,
    exabgp::CASES,
    guarded::CASES,
    policy::CASES,
    bfd::CASES,
    add_path::CASES,
    next_hop::CASES,
    md5::CASES,
    ao::CASES,
    restart::CASES,
    long_lived::CASES,
    capabilities::CASES,
    large::CASES,
    mrt::CASES,
    bmp::CASES,
    unnumbered::CASES,
];

/// Set inside the namespaces: which of the cases to run, as in [`SHARES`], or `all`.
const INSIDE: &str = "INTEROP_INSIDE";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, config] = &args[..]
        && mode == "speaker"
    {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .init();
        return match speaker::main_run(Path::new(config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if let [first, _, _, socket] = &args[..]
        && first == "liveness"
    {
        return match liveness::run(&liveness::Options::new(socket.into())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if let [first, device, source] = &args[..]
        && first == "advertise"
    {
        unnumbered::advertise(device, source);
        return ExitCode::SUCCESS;
    }
    if let [first, listen, file] = &args[..]
        && first == "station"
    {
        return bmp::station(listen, file);
    }
    if let [first, file, to] = &args[..]
        && first == "replay"
    {
        return mrt::play(file, to);
    }
    let filter = args
        .iter()
        .find(|arg| !arg.starts_with('-'))
        .cloned()
        .unwrap_or_default();
    if std::env::var_os(INSIDE).is_none() {
        if std::env::var_os("INTEROP_TABLE").is_none()
            && let Err(difference) = table::check(SUITES)
        {
            println!("{difference}");
            return ExitCode::FAILURE;
        }
        enter(&filter)
    } else {
        run(&filter)
    }
}

/// Runs this program again in namespaces that end with it.
fn enter(filter: &str) -> ExitCode {
    let own = std::env::current_exe().expect("this program has a path");
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
    let start = |share: &str| {
        Command::new("unshare")
            .args(flags)
            .args(["--kill-child", "--fork", "-p", "--mount-proc"])
            .arg(&own)
            .arg(filter)
            .env(INSIDE, share)
            .spawn()
            .expect("unshare ran a moment ago")
    };
    let ended_well = |mut child: Child| child.wait().is_ok_and(|status| status.success());
    // The table is written by one process, and few cases need no company.
    let at_once = filter.is_empty() && std::env::var_os("INTEROP_TABLE").is_none();
    let shares: &[&[&str]] = if at_once { &SHARES } else { &[&["all"]] };
    let mut well = true;
    for together in shares {
        let children: Vec<Child> = together.iter().map(|share| start(share)).collect();
        for child in children {
            well &= ended_well(child);
        }
    }
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Most of a case is waiting for timers of the daemons, so three go at a time, each in namespaces of its own; those that
/// measure time or take the machine's CPU (BFD) come after them, alone.
const SHARES: [&[&str]; 2] = [&["0", "1", "2"], &["timed"]];

fn is_of(share: &str, place: usize, case: &Case) -> bool {
    let timed = case.name.contains("_bfd");
    match share.parse::<usize>() {
        Ok(share) => !timed && place % SHARES[0].len() == share,
        Err(_) => share == "all" || timed,
    }
}

/// Why a case cannot run here.
fn lacks(case: &Case) -> Option<String> {
    let program = PEERS.iter().find(|(peer, _)| *peer == case.peer);
    let (_, program) = program.expect("the peer of a case is in PEERS");
    let needs_root = [case.peer, case.name]
        .iter()
        .any(|n| NEEDS_ROOT.contains(n));
    if needs_root && !is_root() {
        return Some(format!("{} needs root", case.peer));
    }
    if !Path::new(program).exists() {
        return Some(format!("{} is not installed", case.peer));
    }
    ao::lacks(case)
}

fn run(filter: &str) -> ExitCode {
    let lab = Lab::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut rows = Vec::new();
    let share = std::env::var(INSIDE).unwrap_or_default();
    for (place, case) in SUITES.iter().copied().flatten().enumerate() {
        if !case.name.contains(filter) || !is_of(&share, place, case) {
            continue;
        }
        let result = if let Some(why) = lacks(case) {
            println!("{}: skipped: {why}", case.name);
            skipped += 1;
            "skipped"
        } else {
            let started = Instant::now();
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (case.run)(&lab)));
            lab.clean(outcome.is_err());
            let took = started.elapsed().as_secs_f32();
            if outcome.is_ok() {
                println!("{}: ok ({took:.1} s)", case.name);
                passed += 1;
                "ok"
            } else {
                println!("{}: FAILED ({took:.1} s)", case.name);
                failed += 1;
                "FAILED"
            }
        };
        rows.push((case, result));
    }
    println!("interop: {passed} passed, {failed} failed, {skipped} skipped");
    if let Some(file) = std::env::var_os("INTEROP_TABLE") {
        table::write(Path::new(&file), &rows);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
