//! A minute of it holds, and each planted fault is found.

use serde_json::Value;
use std::process::Command;

fn soak(arguments: &str) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    command
        .args(arguments.split_whitespace())
        .args(["-o", "json"]);
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.success(),
        report.unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}

#[test]
fn a_minute_holds() {
    let (holds, report) = soak("--seconds 60 --sessions 300 --seed 1");
    println!("{report:#}");
    assert!(holds, "{}\nagain: {}", report["failure"], report["again"]);
    // What could not have failed shows nothing.
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let kills = report["kills"].as_object().expect("kills by kind");
    assert_eq!(kills.len(), 5, "each way to die: {kills:?}");
    assert!(kills.values().map(count).sum::<u64>() >= 30, "{kills:?}");
    for what in ["reloads", "refreshes", "malformed", "deaf"] {
        assert!(count(&report[what]) > 0, "{what} in {report:#}");
    }
    let audits = report["audits"].as_array().expect("audits");
    assert!(audits.len() >= 4, "{audits:?}");
    assert!(count(&report["compared"]["paths"]) > 10_000);
    assert!(count(&report["compared"]["routes"]) > 100_000);
}

#[track_caller]
fn found(arguments: &str, what: &str) {
    let (holds, report) = soak(arguments);
    let failure = report["failure"].as_str().unwrap_or_default();
    assert!(!holds && failure.contains(what), "{what}: {report:#}");
}

#[test]
fn a_route_that_only_the_model_has_is_found() {
    found(
        "--seconds 2 --sessions 20 --seed 2 --plant route",
        "table: 10.66.66.0/24: expected Some",
    );
}

#[test]
fn a_view_that_lacks_a_route_is_found() {
    found(
        "--seconds 2 --sessions 20 --seed 3 --plant view",
        "still view: peer ",
    );
}

#[test]
fn memory_that_grows_is_found() {
    found(
        "--seconds 24 --sessions 20 --seed 4 --plant memory",
        "KiB after the warm-up, ",
    );
}

#[test]
fn descriptors_that_stay_open_are_found() {
    found(
        "--seconds 24 --sessions 20 --seed 5 --plant descriptors",
        "descriptors: ",
    );
}
