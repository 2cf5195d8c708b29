//! 200 seeds hold, and each planted bug is found. `SEEDS=N` runs others.

use bgpsim::bug::Bug;
use bgpsim::run::run;

fn seeds() -> u64 {
    let wanted = std::env::var("SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    wanted.unwrap_or(200)
}

#[test]
fn machines_equal_the_model() {
    let mut audits = [0; 3];
    let mut updates = 0;
    for seed in 0..seeds() {
        let report = run(seed, None, false);
        if let Some(failure) = report.failure {
            panic!("seed {seed}: {failure}\nagain: cargo run -p bgpsim -- --seed {seed} --trace");
        }
        for (sum, one) in audits.iter_mut().zip(report.audits) {
            *sum += one;
        }
        updates += report.updates;
    }
    let [equal, consistent, restless] = audits;
    println!("{equal} equal, {consistent} consistent, {restless} restless, {updates} updates");
    // Networks with several ends, or none, are rare, or the comparison would say little.
    assert!((consistent + restless) * 20 < equal, "{audits:?}");
    assert!(updates > equal * 20, "routes went round: {updates} updates");
}

#[test]
fn planted_bugs_are_found() {
    for bug in Bug::ALL {
        let found = (0..60).find_map(|seed| Some((seed, run(seed, Some(bug), false).failure?)));
        let (seed, failure) = found.unwrap_or_else(|| panic!("{} is not found", bug.name()));
        println!("{}: seed {seed}: {failure:.100}", bug.name());
    }
}

#[test]
fn a_seed_repeats() {
    for seed in 0..5 {
        assert_eq!(run(seed, None, false), run(seed, None, false));
    }
}
