//! The harness against its own relay, small: works are done, figures come out, and what cannot be done is said.

use serde_json::Value;
use std::process::Command;

/// Runs the program; nothing where this machine does not allow namespaces.
fn bench(arguments: &[&str]) -> Option<Value> {
    let probe = [
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "true",
    ];
    if !Command::new("unshare")
        .args(probe)
        .output()
        .is_ok_and(|o| o.status.success())
    {
        println!("skipped: this machine does not allow namespaces");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_bgpbench"));
    command.args(arguments).args([
        "--dut", "relay", "--runs", "1", "--noise", "off", "-o", "json",
    ]);
    let output = command
        .args(["--prefixes", "2000", "--clients", "20"])
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn value(whole: &Value, work: usize, measure: &str) -> Option<f64> {
    let measures = whole["works"][work]["measures"].as_array()?;
    let found = measures.iter().find(|m| m["name"] == measure)?;
    found["speakers"]["relay"]["median"].as_f64()
}

#[test]
fn a_table_a_reflector_and_single_prefixes_cross() {
    let Some(whole) = bench(&["full", "rr", "latency"]) else {
        return;
    };
    let positive = [
        (0, "until the receiver has all"),
        (0, "a second receiver joins"),
        (0, "sender drops, all withdrawn"),
        (1, "first connect until all have all"),
        (1, "one block more: all told, p50"),
        (2, "quiet, p50"),
        (2, "under load, p99"),
    ];
    for (work, name) in positive {
        let value = value(&whole, work, name);
        assert!(
            value.is_some_and(|v| v > 0.0 && v < 60_000.0),
            "{name}: {value:?} in {whole:#}"
        );
    }
}

#[test]
fn what_a_speaker_cannot_do_is_said() {
    let Some(whole) = bench(&["multi"]) else {
        return;
    };
    assert_eq!(
        whole["works"][0]["speakers"][0]["missing"],
        "it chooses no path"
    );
    assert_eq!(value(&whole, 0, "resident memory then"), None);
}
