//! Runs seeds: `bgpsim [--seeds N] [--first N] [--seed N] [--trace] [--bug NAME]`.

use bgpsim::bug::Bug;
use bgpsim::run::{Report, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let number = |name: &str| value(name).map(|text| text.parse::<u64>().expect("a number"));
    let bug = value("--bug").map(|name| Bug::named(&name).expect("a bug of src/bug.rs"));
    let trace = args.iter().any(|arg| arg == "--trace");
    let first = number("--seed").or(number("--first")).unwrap_or(0);
    let count = if number("--seed").is_some() {
        1
    } else {
        number("--seeds").unwrap_or(200)
    };
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let work = || {
        let mut own: Vec<(u64, Report)> = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return own;
            }
            own.push((seed, run(seed, bug, trace)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let reports: Vec<(u64, Report)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"));
        joined.flatten().collect()
    });
    let mut audits = [0; 3];
    let mut failed = 0;
    for (seed, report) in &reports {
        for (sum, one) in audits.iter_mut().zip(report.audits) {
            *sum += one;
        }
        if let Some(failure) = &report.failure {
            failed += 1;
            println!("seed {seed}: {failure}");
            println!("  again: cargo run --release -p bgpsim -- --seed {seed} --trace");
        }
    }
    let [equal, consistent, restless] = audits;
    println!(
        "bgpsim: {count} seeds, {failed} failed, {:.0} s; audits: {equal} equal to the model, \
         {consistent} consistent (the model has several ends), {restless} restless (so is the model)",
        started.elapsed().as_secs_f32()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
