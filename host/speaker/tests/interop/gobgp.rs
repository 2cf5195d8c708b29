//! With GoBGP.

use crate::Case;
use crate::lab::{Lab, wait};
use std::process::Command;

pub const CASES: &[Case] = &[
    Case {
        peer: "gobgp",
        name: "gobgp_routes",
        shows: "IPv4 and IPv6 routes both ways, withdrawal (RFC 4271, 4760)",
        run: routes,
    },
    Case {
        peer: "gobgp",
        name: "gobgp_reflection",
        shows: "a route of BIRD's, reflected, with ORIGINATOR_ID and CLUSTER_LIST (RFC 4456)",
        run: reflection,
    },
];

/// Starts a gobgpd at 10.9.0.2.
fn start(lab: &Lab) {
    start_with(lab, &config(64512, 64512, ""));
}

/// A configuration with one neighbor, us, of both families, and more sections of that neighbor's.
pub fn config(asn: u32, remote: u32, sections: &str) -> String {
    let family = |name: &str| {
        format!(
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}-unicast\"\n\
             [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
        )
    };
    format!(
        "[global.config]\nas = {asn}\nrouter-id = \"10.9.0.2\"\nlocal-address-list = [\"10.9.0.2\"]\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.9.0.1\"\npeer-as = {remote}\n{sections}{}{}",
        family("ipv4"),
        family("ipv6")
    )
}

/// Starts a gobgpd with this configuration.
pub fn start_with(lab: &Lab, text: &str) {
    let config = lab.write("gobgp.toml", text);
    let argv = [
        "gobgpd",
        "-f",
        &config,
        "--api-hosts",
        "127.0.0.1:50051",
        "--pprof-disable",
    ];
    lab.start("them", "gobgp", &argv);
}

pub fn gobgp(line: &str) -> String {
    let output = Command::new("ip")
        .args(["netns", "exec", "them", "gobgp"])
        .args(line.split(' '))
        .output()
        .expect("gobgp is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn has(family: &str, prefix: &str) -> bool {
    gobgp(&format!("global rib -a {family} {prefix}")).contains("*>")
}

fn routes(lab: &Lab) {
    start(lab);
    let own =
        "[[originate]]\nprefix = \"10.200.0.0/26\"\n[[originate]]\nprefix = \"fd00:200::/64\"\n";
    let neighbor = "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\nown_next_hop = \"fd09::1\"\n";
    lab.ours(64512, &format!("{neighbor}{own}"));
    wait("GoBGP has our routes", 20, || {
        has("ipv4", "10.200.0.0/26") && has("ipv6", "fd00:200::/64")
    });
    gobgp("global rib add -a ipv4 10.201.0.0/26 nexthop 10.9.0.2");
    gobgp("global rib add -a ipv6 fd00:201::/64 nexthop fd09::2");
    wait("we have GoBGP's routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via 10.9.0.2")
            && lab
                .explain("fd00:201::/64")
                .contains("best\n    via fd09::2")
    });
    gobgp("global rib del -a ipv4 10.201.0.0/26");
    wait("GoBGP withdrew", 10, || {
        lab.explain("10.201.0.0/26").contains("no path")
    });
    assert!(
        lab.explain("fd00:201::/64").contains("best"),
        "the other one stays"
    );
}

fn reflection(lab: &Lab) {
    start(lab);
    crate::bird::start_client(lab, 3, &["10.203.0.0/26"]);
    let client =
        |n: u8| format!("[[neighbor]]\naddress = \"10.9.0.{n}\"\nas = 64512\nrr_client = true\n");
    lab.ours(
        64512,
        &format!("cluster_id = \"244.0.0.1\"\n{}{}", client(2), client(3)),
    );
    wait("GoBGP has BIRD's route", 20, || {
        has("ipv4", "10.203.0.0/26")
    });
    let text = gobgp("global rib -a ipv4 10.203.0.0/26");
    assert!(text.contains("Originator: 10.9.0.3"), "{text}");
    assert!(text.contains("ClusterList: [244.0.0.1]"), "{text}");
}
