//! With FRR's bgpd.

use crate::Case;
use crate::lab::{Lab, stays, wait};
use std::process::Command;

pub const CASES: &[Case] = &[
    Case {
        peer: "frr",
        name: "frr_routes",
        shows: "IPv4 and IPv6 routes both ways, attributes, withdrawal (RFC 4271, 4760)",
        run: routes,
    },
    Case {
        peer: "frr",
        name: "frr_reflection",
        shows: "a client sees ORIGINATOR_ID and CLUSTER_LIST (RFC 4456)",
        run: reflection,
    },
    Case {
        peer: "frr",
        name: "frr_as4",
        shows: "four-octet AS numbers on both sides (RFC 6793)",
        run: as4,
    },
    Case {
        peer: "frr",
        name: "frr_wrong_as",
        shows: "OPEN with a wrong AS is answered 2/2",
        run: wrong_as,
    },
    Case {
        peer: "frr",
        name: "frr_we_are_killed",
        shows: "kill -9 of us: FRR keeps our routes until we are back (RFC 4724)",
        run: we_are_killed,
    },
    Case {
        peer: "frr",
        name: "frr_is_killed",
        shows: "kill -9 of FRR: we keep its routes as stale (RFC 4724)",
        run: frr_is_killed,
    },
];

const NEIGHBOR: &str = "[[neighbor]]\naddress = \"10.9.0.2\"\nown_next_hop = \"fd09::1\"\n";
const OWN: &str = "[[originate]]\nprefix = \"10.200.0.0/26\"\ncommunities = [\"64512:7\"]\n[[originate]]\nprefix = \"fd00:200::/64\"\n";

/// Starts a bgpd at 10.9.0.N.
pub fn start(lab: &Lab, n: u8, asn: u32, remote: u32, networks: &[&str], extra: &str) {
    let dir = lab.dir.path().display();
    let family = |name: &str, colon: bool| {
        let mut out = format!(" address-family {name} unicast\n  neighbor 10.9.0.1 activate\n");
        for network in networks.iter().filter(|p| p.contains(':') == colon) {
            out += &format!("  network {network}\n");
        }
        out + " exit-address-family\n"
    };
    let text = format!(
        "frr version 8.4.4\nfrr defaults traditional\nlog file {dir}/frr{n}.log\nrouter bgp {asn}\n \
         bgp router-id 10.9.0.{n}\n no bgp ebgp-requires-policy\n bgp log-neighbor-changes\n no bgp network import-check\n{extra} \
         neighbor 10.9.0.1 remote-as {remote}\n neighbor 10.9.0.1 update-source 10.9.0.{n}\n \
         neighbor 10.9.0.1 timers connect 1\n neighbor 10.9.0.1 advertisement-interval 0\n{}{}",
        family("ipv4", false),
        family("ipv6", true),
    );
    start_with(lab, n, &text, &format!("10.9.0.{n}"));
}

/// Starts a bgpd with this configuration that listens at `address`.
pub fn start_with(lab: &Lab, n: u8, text: &str, address: &str) {
    let dir = lab.dir.path().display();
    let config = lab.write(&format!("frr{n}.conf"), text);
    let pid = format!("{dir}/frr{n}.pid");
    let vty = lab.path(&format!("vty{n}"));
    std::fs::create_dir_all(&vty).expect("a folder");
    let vty = vty.to_str().expect("plain").to_owned();
    let name = format!("frr{n}");
    let argv = [
        "/usr/lib/frr/bgpd",
        "-f",
        &config,
        "-i",
        &pid,
        "-S",
        "-n",
        "-Z",
        "--vty_socket",
        &vty,
        "-P",
        "0",
        "-l",
        address,
    ];
    lab.start("them", &name, &argv);
}

pub fn vtysh(lab: &Lab, n: u8, command: &str) -> String {
    let output = Command::new("vtysh")
        .arg("--vty_socket")
        .arg(lab.path(&format!("vty{n}")))
        .args(["-d", "bgpd", "-c", command])
        .output();
    String::from_utf8_lossy(&output.expect("vtysh is installed").stdout).into_owned()
}

fn configure(lab: &Lab, n: u8, asn: u32, family: &str, line: &str) {
    Command::new("vtysh")
        .arg("--vty_socket")
        .arg(lab.path(&format!("vty{n}")))
        .args(["-d", "bgpd", "-c", "configure terminal", "-c"])
        .arg(format!("router bgp {asn}"))
        .args([
            "-c",
            &format!("address-family {family} unicast"),
            "-c",
            line,
        ])
        .output()
        .expect("vtysh is installed");
}

pub fn detail(lab: &Lab, n: u8, prefix: &str) -> String {
    let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
    vtysh(lab, n, &format!("show bgp {family} unicast {prefix}"))
}

pub fn has(lab: &Lab, n: u8, prefix: &str) -> bool {
    detail(lab, n, prefix).contains("from 10.9.0.1")
}

fn routes(lab: &Lab) {
    start(
        lab,
        2,
        64512,
        64512,
        &["10.201.0.0/26", "fd00:201::/64"],
        "",
    );
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("FRR has our routes", 20, || {
        has(lab, 2, "10.200.0.0/26") && has(lab, 2, "fd00:200::/64")
    });
    let text = detail(lab, 2, "10.200.0.0/26");
    for expected in [
        "Origin IGP",
        "localpref 100",
        "Community: 64512:7",
        "10.9.0.1",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    assert!(detail(lab, 2, "fd00:200::/64").contains("fd09::1"));
    wait("we have FRR's routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via 10.9.0.2")
            && lab.explain("fd00:201::/64").contains("best")
    });
    configure(lab, 2, 64512, "ipv4", "no network 10.201.0.0/26");
    wait("FRR withdrew", 5, || {
        lab.explain("10.201.0.0/26").contains("no path")
    });
    assert!(
        lab.explain("fd00:201::/64").contains("best"),
        "the other one stays"
    );
}

fn reflection(lab: &Lab) {
    start(lab, 2, 64512, 64512, &["10.201.0.0/26"], "");
    start(lab, 3, 64512, 64512, &[], "");
    let client =
        |n: u8| format!("[[neighbor]]\naddress = \"10.9.0.{n}\"\nas = 64512\nrr_client = true\n");
    lab.ours(
        64512,
        &format!("cluster_id = \"244.0.0.1\"\n{}{}", client(2), client(3)),
    );
    wait("the other client has it", 20, || {
        has(lab, 3, "10.201.0.0/26")
    });
    let text = detail(lab, 3, "10.201.0.0/26");
    assert!(
        text.contains("Originator: 10.9.0.2, Cluster list: 244.0.0.1"),
        "{text}"
    );
}

fn as4(lab: &Lab) {
    start(lab, 2, 4_200_000_002, 4_200_000_001, &["10.201.0.0/26"], "");
    lab.ours(4_200_000_001, &format!("{NEIGHBOR}as = 4200000002\n{OWN}"));
    wait("we have the path", 20, || {
        lab.explain("10.201.0.0/26")
            .contains("as_path [4200000002]")
    });
    wait("FRR has the path", 5, || {
        detail(lab, 2, "10.200.0.0/26").contains("4200000001")
    });
}

fn wrong_as(lab: &Lab) {
    start(lab, 2, 64513, 64512, &[], "");
    lab.ours(64512, &format!("{NEIGHBOR}as = 64999\n"));
    wait("we say why", 20, || {
        lab.neighbors().contains("Error: Bad peer AS")
    });
    wait("FRR was told", 10, || {
        let log = std::fs::read_to_string(lab.path("frr2.log")).unwrap_or_default();
        log.contains("received from neighbor 10.9.0.1 2/2")
    });
}

fn we_are_killed(lab: &Lab) {
    start(lab, 2, 64512, 64512, &[], "");
    let config = format!("{NEIGHBOR}as = 64512\n{OWN}");
    lab.ours(64512, &config);
    wait("FRR has our route", 20, || has(lab, 2, "10.200.0.0/26"));
    lab.signal("ours", "KILL");
    stays("kept", 2, || has(lab, 2, "10.200.0.0/26"));
    lab.ours(64512, &format!("restarting = true\n{config}"));
    wait("up again, never without the route", 20, || {
        assert!(has(lab, 2, "10.200.0.0/26"), "lost");
        lab.neighbors().contains("Established")
            && !detail(lab, 2, "10.200.0.0/26").contains("Stale")
    });
}

fn frr_is_killed(lab: &Lab) {
    let restart = " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n";
    start(lab, 2, 64512, 64512, &["10.201.0.0/26"], restart);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\nconnect_retry = 1\n"));
    wait("we have its route", 20, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
    lab.signal("frr2", "KILL");
    wait("stale", 5, || {
        lab.explain("10.201.0.0/26").contains(", stale")
    });
    start(lab, 2, 64512, 64512, &["10.201.0.0/26"], restart);
    wait("refreshed", 30, || {
        let text = lab.explain("10.201.0.0/26");
        text.contains("best") && !text.contains(", stale")
    });
}
