//! Interoperation with BIRD, FRR and GoBGP as real processes, in network namespaces of its own.
//!
//! Runs as root or as an ordinary user with user namespaces. A test whose daemon is not installed
//! is skipped, said and counted. `INTEROP_TABLE=FILE` writes the results as a table.

mod bird;
mod frr;
mod gobgp;
mod lab;

use lab::Lab;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, ExitCode};

/// One test.
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// What it shows, for the table.
    pub shows: &'static str,
    /// Panics when it does not hold.
    pub run: fn(&Lab),
}

const INSIDE: &str = "INTEROP_INSIDE";

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
    let filter = args
        .iter()
        .find(|arg| !arg.starts_with('-'))
        .cloned()
        .unwrap_or_default();
    if std::env::var_os(INSIDE).is_none() {
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
    let status = Command::new("unshare")
        .args(flags)
        .args(["--kill-child", "--fork", "-p", "--mount-proc"])
        .arg(own)
        .arg(filter)
        .env(INSIDE, "1")
        .status()
        .expect("unshare ran a moment ago");
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn run(filter: &str) -> ExitCode {
    let lab = Lab::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut table = String::from("| peer | test | shows | result |\n|---|---|---|---|\n");
    let daemons = [
        ("bird", "/usr/sbin/bird", bird::CASES),
        ("frr", "/usr/lib/frr/bgpd", frr::CASES),
        ("gobgp", "/usr/bin/gobgpd", gobgp::CASES),
    ];
    for (daemon, path, cases) in daemons {
        for case in cases.iter().filter(|case| case.name.contains(filter)) {
            let result = if !Path::new(path).exists() {
                println!("{}: skipped: {daemon} is not installed", case.name);
                skipped += 1;
                "skipped"
            } else {
                let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (case.run)(&lab)));
                lab.clean(outcome.is_err());
                if outcome.is_ok() {
                    println!("{}: ok", case.name);
                    passed += 1;
                    "ok"
                } else {
                    println!("{}: FAILED", case.name);
                    failed += 1;
                    "FAILED"
                }
            };
            table += &format!("| {daemon} | {} | {} | {result} |\n", case.name, case.shows);
        }
    }
    println!("interop: {passed} passed, {failed} failed, {skipped} skipped");
    if let Some(file) = std::env::var_os("INTEROP_TABLE") {
        std::fs::write(file, table).expect("the table can be written");
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
