//! With ExaBGP.

use crate::Case;
use crate::lab::{Lab, wait};
use std::io::Write;

const fn case(name: &'static str, shows: &'static str, run: fn(&Lab)) -> Case {
    Case {
        peer: "exabgp",
        name,
        shows,
        run,
    }
}

pub const CASES: &[Case] = &[
    case(
        "exabgp_routes",
        "IPv4 and IPv6 routes both ways, communities, large communities, withdrawal (RFC 4271, 4760, 8092)",
        routes,
    ),
    case(
        "exabgp_as4",
        "four-octet AS numbers on both sides (RFC 6793)",
        as4,
    ),
    case(
        "exabgp_odd_attributes",
        "AGGREGATOR, ATOMIC_AGGREGATE, extended communities and an unknown attribute pass through us",
        odd_attributes,
    ),
];

const NEIGHBOR: &str =
    "[[neighbor]]\naddress = \"10.9.0.2\"\nown_next_hop = \"fd09::1\"\nconnect_retry = 1\n";
const OWN: &str = "[[originate]]\nprefix = \"10.200.0.0/26\"\ncommunities = [\"64512:7\"]\nlarge_communities = [\"1:2:3\"]\n[[originate]]\nprefix = \"fd00:200::/64\"\n";

/// Starts an ExaBGP at 10.9.0.2 that writes what it hears to exabgp.heard and does what is
/// appended to exabgp.orders.
fn start(lab: &Lab, asn: u32, remote: u32) {
    start_with(lab, asn, remote, "", "");
}

/// As [`start`], with more settings of the neighbor, us, and more capabilities.
pub fn start_with(lab: &Lab, asn: u32, remote: u32, settings: &str, capabilities: &str) {
    let heard = lab.path("exabgp.heard").display().to_string();
    let orders = lab.write("exabgp.orders", "");
    let script = format!("#!/bin/sh\nexec 3<&0\ncat <&3 >{heard} &\nexec tail -n +1 -f {orders}\n");
    let script = lab.write("exabgp.sh", &script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&script, mode).expect("it is ours");
    let text = format!(
        "process api {{\n run {script};\n encoder json;\n}}\nneighbor 10.9.0.1 {{\n \
         router-id 10.9.0.2;\n local-address 10.9.0.2;\n local-as {asn};\n peer-as {remote};\n {settings}\n \
         capability {{ asn4 enable; route-refresh enable; graceful-restart 30; extended-message enable; {capabilities} }}\n \
         family {{ ipv4 unicast; ipv6 unicast; }}\n \
         api {{ processes [ api ]; receive {{ parsed; update; }} }}\n}}\n"
    );
    let config = lab.write("exabgp.conf", &text);
    let argv = [
        "env",
        "exabgp.daemon.user=root",
        "exabgp.daemon.drop=false",
        "exabgp.api.cli=false",
        "exabgp.api.ack=false",
        "exabgp",
        &config,
    ];
    lab.start("them", "exabgp", &argv);
}

pub fn order(lab: &Lab, line: &str) {
    let path = lab.path("exabgp.orders");
    let file = std::fs::OpenOptions::new().append(true).open(path);
    writeln!(file.expect("it was started"), "{line}").expect("it can be written");
}

/// The last line that names a prefix under `what` (`announce` or `withdraw`).
pub fn heard(lab: &Lab, what: &str, prefix: &str) -> Option<String> {
    let text = std::fs::read_to_string(lab.path("exabgp.heard")).unwrap_or_default();
    let both = |line: &&str| line.contains(prefix) && line.contains(what);
    text.lines().rev().find(both).map(str::to_owned)
}

fn routes(lab: &Lab) {
    start(lab, 64512, 64512);
    order(lab, "announce route 10.201.0.0/26 next-hop 10.9.0.2");
    order(lab, "announce route fd00:201::/64 next-hop fd09::2");
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("ExaBGP has our routes", 30, || {
        heard(lab, "announce", "10.200.0.0/26").is_some()
            && heard(lab, "announce", "fd00:200::/64").is_some()
    });
    let line = heard(lab, "announce", "10.200.0.0/26").expect("seen");
    for expected in [
        "10.9.0.1",
        "[ 64512, 7 ]",
        "[ 1, 2 , 3 ]",
        "\"local-preference\": 100",
    ] {
        assert!(line.contains(expected), "{expected} is not in {line}");
    }
    wait("we have its routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via 10.9.0.2")
            && lab
                .explain("fd00:201::/64")
                .contains("best\n    via fd09::2")
    });
    order(lab, "withdraw route 10.201.0.0/26 next-hop 10.9.0.2");
    wait("ExaBGP withdrew", 10, || {
        lab.explain("10.201.0.0/26").contains("no path")
    });
    assert!(
        lab.explain("fd00:201::/64").contains("best"),
        "that one stays"
    );
    lab.write(
        "ours.toml",
        std::fs::read_to_string(lab.path("ours.toml"))
            .expect("ours")
            .split("[[originate]]")
            .next()
            .expect("a head"),
    );
    lab.signal("ours", "HUP");
    wait("we withdrew", 10, || {
        heard(lab, "withdraw", "10.200.0.0/26").is_some()
    });
}

fn as4(lab: &Lab) {
    start(lab, 4_200_000_002, 4_200_000_001);
    order(lab, "announce route 10.201.0.0/26 next-hop 10.9.0.2");
    lab.ours(4_200_000_001, &format!("{NEIGHBOR}as = 4200000002\n{OWN}"));
    wait("we have the path", 30, || {
        lab.explain("10.201.0.0/26")
            .contains("as_path [4200000002]")
    });
    wait("ExaBGP has the path", 10, || {
        heard(lab, "announce", "10.200.0.0/26").is_some_and(|line| line.contains("4200000001"))
    });
}

fn odd_attributes(lab: &Lab) {
    start(lab, 64513, 64512);
    crate::bird::start_client(lab, 3, &[]);
    order(
        lab,
        "announce route 10.201.0.0/26 next-hop 10.9.0.2 origin egp as-path [ 64513 65010 65011 ] \
         med 77 atomic-aggregate aggregator ( 65010:9.9.9.9 ) community [ 64513:1 no-peer ] \
         extended-community [ target:64513:5 ] attribute [ 0x63 0xc0 0x01020304 ]",
    );
    let client = "[[neighbor]]\naddress = \"10.9.0.3\"\nas = 64512\nnext_hop = \"self\"\n";
    lab.ours(64512, &format!("{NEIGHBOR}as = 64513\n{client}"));
    wait("BIRD has it", 30, || {
        crate::bird::detail(lab, 3, "10.201.0.0/26").contains("as_path")
    });
    let text = crate::bird::detail(lab, 3, "10.201.0.0/26");
    for expected in [
        "BGP.origin: EGP",
        "BGP.as_path: 64513 65010 65011",
        "BGP.atomic_aggr:",
        "BGP.aggregator: 9.9.9.9 AS65010",
        "(64513,1)",
        "(rt, 64513, 5)",
        "BGP.63 [t]: 01 02 03 04",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}
