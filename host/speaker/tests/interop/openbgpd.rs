//! With OpenBGPD.

use crate::Case;
use crate::lab::{Lab, stays, wait};
use std::process::Command;

const fn case(name: &'static str, shows: &'static str, run: fn(&Lab)) -> Case {
    Case {
        peer: "openbgpd",
        name,
        shows,
        run,
    }
}

pub const CASES: &[Case] = &[
    case(
        "openbgpd_routes",
        "IPv4 and IPv6 routes both ways, communities, large communities, withdrawal (RFC 4271, 4760, 8092)",
        routes,
    ),
    case(
        "openbgpd_reflection",
        "a route of BIRD's, reflected, with ORIGINATOR_ID and CLUSTER_LIST (RFC 4456)",
        reflection,
    ),
    case(
        "openbgpd_as4",
        "four-octet AS numbers on both sides (RFC 6793)",
        as4,
    ),
    case(
        "openbgpd_refresh",
        "`neighbor refresh` is answered (RFC 2918, 7313)",
        refresh,
    ),
    case(
        "openbgpd_is_killed",
        "kill -9 of OpenBGPD: its routes go, as it keeps no forwarding state, and come back (RFC 4724)",
        is_killed,
    ),
    case(
        "openbgpd_we_are_killed",
        "kill -9 of us: OpenBGPD keeps our routes until we are back (RFC 4724)",
        we_are_killed,
    ),
];

const NEIGHBOR: &str =
    "[[neighbor]]\naddress = \"10.9.0.2\"\nown_next_hop = \"fd09::1\"\nconnect_retry = 1\n";
const OWN: &str = "[[originate]]\nprefix = \"10.200.0.0/26\"\ncommunities = [\"64512:7\"]\nlarge_communities = [\"1:2:3\"]\n[[originate]]\nprefix = \"fd00:200::/64\"\n";
const SOCKET: &str = "/run/openbgpd/interop.sock";

/// Starts a bgpd at 10.9.0.2.
fn start(lab: &Lab, asn: u32, remote: u32, networks: &[&str]) {
    start_with(lab, asn, remote, networks, "");
}

/// Starts a bgpd at 10.9.0.2 with more settings of its neighbor, us.
pub fn start_with(lab: &Lab, asn: u32, remote: u32, networks: &[&str], settings: &str) {
    std::fs::create_dir_all("/run/openbgpd").expect("our /run");
    let mut text = format!(
        "AS {asn}\nrouter-id 10.9.0.2\nlisten on 10.9.0.2\nfib-update no\nsocket \"{SOCKET}\"\n\
         nexthop qualify via default\nconnect-retry 1\n"
    );
    for network in networks {
        text += &format!("network {network}\n");
    }
    text += &format!(
        "neighbor 10.9.0.1 {{\n remote-as {remote}\n local-address 10.9.0.2\n \
         announce IPv4 unicast\n announce IPv6 unicast\n announce refresh yes\n announce enhanced refresh yes\n \
         announce restart yes\n{settings}}}\nallow from any\nallow to any\n"
    );
    let config = lab.write("bgpd.conf", &text);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&config, mode).expect("it is ours");
    lab.start("them", "openbgpd", &["/usr/sbin/bgpd", "-d", "-f", &config]);
}

pub fn ctl(line: &str) -> String {
    let output = Command::new("bgpctl")
        .args(["-s", SOCKET])
        .args(line.split(' '))
        .output()
        .expect("bgpctl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn has(prefix: &str) -> bool {
    ctl(&format!("show rib {prefix}")).contains(prefix)
}

fn routes(lab: &Lab) {
    start(lab, 64512, 64512, &["10.201.0.0/26", "fd00:201::/64"]);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("OpenBGPD has our routes", 20, || {
        has("10.200.0.0/26") && has("fd00:200::/64")
    });
    let detail = ctl("show rib detail 10.200.0.0/26");
    for expected in ["10.9.0.1", "64512:7", "1:2:3", "Localpref 100"] {
        let found = detail.to_lowercase().contains(&expected.to_lowercase());
        assert!(found, "{expected} is not in {detail}");
    }
    wait("we have its IPv4 route", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via 10.9.0.2")
    });
    wait("we have its IPv6 route", 10, || {
        lab.explain("fd00:201::/64").contains("best\n")
    });
    ctl("network delete 10.201.0.0/26");
    wait("OpenBGPD withdrew", 10, || {
        lab.explain("10.201.0.0/26").contains("no path")
    });
    assert!(
        lab.explain("fd00:201::/64").contains("best"),
        "that one stays"
    );
}

fn reflection(lab: &Lab) {
    start(lab, 64512, 64512, &[]);
    crate::bird::start_client(lab, 3, &["10.203.0.0/26"]);
    let client =
        |n: u8| format!("[[neighbor]]\naddress = \"10.9.0.{n}\"\nas = 64512\nrr_client = true\n");
    let clients = format!("cluster_id = \"244.0.0.1\"\n{}{}", client(2), client(3));
    lab.ours(64512, &clients);
    wait("OpenBGPD has BIRD's route", 20, || has("10.203.0.0/26"));
    let text = ctl("show rib detail 10.203.0.0/26");
    assert!(text.contains("Originator Id: 10.9.0.3"), "{text}");
    assert!(text.contains("Cluster Id List:  244.0.0.1"), "{text}");
}

fn as4(lab: &Lab) {
    start(lab, 4_200_000_002, 4_200_000_001, &["10.201.0.0/26"]);
    lab.ours(4_200_000_001, &format!("{NEIGHBOR}as = 4200000002\n{OWN}"));
    wait("we have the path", 20, || {
        lab.explain("10.201.0.0/26")
            .contains("as_path [4200000002]")
    });
    wait("OpenBGPD has the path", 10, || {
        ctl("show rib 10.200.0.0/26").contains("4200000001")
    });
}

fn refresh(lab: &Lab) {
    start(lab, 64512, 64512, &[]);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("OpenBGPD has our routes", 20, || has("10.200.0.0/26"));
    // What we said at the end of the answer, for both families; sent and received.
    let ended = || {
        let text = ctl("show neighbor 10.9.0.1");
        let line = text.lines().find(|line| line.contains("End-of-RR"));
        line.is_some_and(|line| line.split_whitespace().last() == Some("2"))
    };
    assert!(!ended(), "not yet");
    ctl("neighbor 10.9.0.1 refresh");
    wait("it asked and was answered", 5, ended);
    stays("nothing is lost", 1, || {
        has("10.200.0.0/26") && has("fd00:200::/64")
    });
}

fn is_killed(lab: &Lab) {
    start(lab, 64512, 64512, &["10.201.0.0/26"]);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("we have its route", 20, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
    lab.signal("openbgpd", "KILL");
    wait("gone, or kept as stale", 10, || {
        let text = lab.explain("10.201.0.0/26");
        text.contains("no path") || text.contains("stale")
    });
    start(lab, 64512, 64512, &["10.201.0.0/26"]);
    wait("back", 30, || {
        let text = lab.explain("10.201.0.0/26");
        text.contains("best") && !text.contains("stale")
    });
}

fn we_are_killed(lab: &Lab) {
    start(lab, 64512, 64512, &[]);
    let config = format!("{NEIGHBOR}as = 64512\n{OWN}");
    lab.ours(64512, &config);
    wait("OpenBGPD has our route", 20, || has("10.200.0.0/26"));
    lab.signal("ours", "KILL");
    stays("kept", 2, || has("10.200.0.0/26"));
    lab.ours(64512, &format!("restarting = true\n{config}"));
    wait("up again, never without the route", 30, || {
        assert!(has("10.200.0.0/26"), "lost");
        lab.neighbors().contains("Established")
    });
    stays("kept after End-of-RIB", 2, || has("10.200.0.0/26"));
}
