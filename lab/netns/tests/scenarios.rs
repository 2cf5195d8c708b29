//! The scenarios inside the binary, on this machine's kernel. What is not installed is said, and its scenario skipped.

use std::process::{Command, Stdio};

mod place;
use place::Place;

/// The checks and their controls on other people's daemons: that the checks are sound.
#[test]
fn howto_on_bird_passes() {
    scenario_passes(
        "howto-bird",
        &["bird", "nginx", "dnsmasq", "nft", "dig", "curl"],
        8,
    );
}

/// The same on our own parts.
#[test]
fn howto_passes() {
    scenario_passes("howto", &["nginx", "dnsmasq", "nft", "dig", "curl"], 8);
}

/// And with an etcd that the nodes share. It stays up for a look, that it was etcd.
#[test]
fn howto_passes_on_etcd() {
    let programs = ["nginx", "dnsmasq", "nft", "dig", "curl", "etcd", "etcdctl"];
    let Some(place) = place_with(&programs) else {
        return;
    };
    passes(
        &place,
        &["run", "howto", "--store", "etcd", "--keep", "-o", "json"],
        8,
    );
    let etcdctl = "etcdctl --endpoints=http://10.20.1.81:2379 get --prefix --keys-only /calico/";
    let on = |script: &str| place.said(&["exec", "ip-10-20-1-81", "--", "sh", "-c", script]);
    let keys = on(etcdctl);
    for kind in [
        "nodes/ip-10-20-1-85",
        "bgppeers/rrs-to-rrs",
        "workloadendpoints/default/",
    ] {
        assert!(keys.contains(kind), "{kind}: {keys}");
    }
    let files = on("ls /var/lib/selvedge");
    assert!(!files.contains("selvedge.db"), "{files}");
    place.said(&["down"]);
    place.wait_until_nothing_is_left("no such word");
}

/// The datastore moves to etcd and back while a VM outside asks ten times a second.
#[test]
fn move_datastore_passes() {
    scenario_passes(
        "move-datastore",
        &["nginx", "nft", "dig", "curl", "etcd", "etcdctl"],
        3,
    );
}

/// A BGPFilter, applied with calicoctl, changes what a BIRD has within a second.
#[test]
fn bgpfilter_passes() {
    scenario_passes("bgpfilter", &["bird", "nft"], 2);
}

fn scenario_passes(scenario: &str, programs: &[&str], least_controls: usize) {
    let Some(place) = place_with(programs) else {
        return;
    };
    passes(&place, &["run", scenario, "-o", "json"], least_controls);
    place.wait_until_nothing_is_left("no such word");
}

/// A place, where all these programs are installed.
fn place_with(programs: &[&str]) -> Option<Place> {
    let place = Place::new()?;
    for program in programs {
        let script = format!("PATH=$PATH:/usr/sbin command -v {program}");
        let there = Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::null())
            .status();
        if !there.expect("sh runs").success() {
            println!("skipped: {program} is not installed");
            return None;
        }
    }
    Some(place)
}

/// Every step of a run is as expected, and so many of them are controls.
fn passes(place: &Place, run: &[&str], least_controls: usize) {
    let output = place.lab(run);
    let said = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let steps = report["steps"].as_array().expect("steps");
    let failed: Vec<_> = steps.iter().filter(|step| step["ok"] != true).collect();
    assert!(
        failed.is_empty() && output.status.success(),
        "{said}{failed:#?}"
    );
    let controls = steps.iter().filter(|step| step["control"] == true).count();
    assert!(
        controls >= least_controls,
        "each check of what the how-to could not do has its control: {controls}"
    );
}
