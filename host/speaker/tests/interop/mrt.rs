//! MRT: a BIRD's table in ours, dumped, read by others, and played to another BIRD.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, wait};
use bgp::Asn;
use monitor::mrt::{PeerIndexTable, Record, Records};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, ExitCode};

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_mrt",
        shows: "MRT table dump of what BIRD sent, read by bgpdump where it is installed; played to another BIRD, which then has the same table (RFC 6396)",
        run: same_table,
    },
    Case {
        peer: "bird",
        name: "bird_mrt_add_path",
        shows: "MRT table dump of two paths with identifiers (RFC 8050)",
        run: add_path,
    },
];

/// Another process plays a file from 10.9.0.1.
pub fn play(file: &str, to: &str) -> ExitCode {
    let replay = speaker::Replay {
        file: file.into(),
        to: to.parse().expect("an address"),
        local_as: Asn(64512),
        router_id: None,
        source: None,
        next_hops: (None, None),
        once: false,
    };
    let result = speaker::replay(&replay, |_| {});
    eprintln!(
        "{:#}",
        result.expect_err("a session that stays ends with an error")
    );
    ExitCode::FAILURE
}

fn dump(lab: &Lab) -> Vec<u8> {
    let file = lab.path("table.mrt");
    let size = speaker::dump(&lab.path("ours.ctl"), &file, |_| {}).expect("it answers");
    let octets = std::fs::read(&file).expect("it is there");
    assert_eq!(octets.len() as u64, size);
    octets
}

/// Of each entry: its prefix, the address of its peer, its path identifier.
fn entries(octets: &[u8]) -> Vec<(String, IpAddr, Option<u32>)> {
    let mut records = Records::new(octets).map(|record| record.expect("well-formed"));
    let Some(Record::PeerIndexTable(PeerIndexTable { peers, .. })) = records.next() else {
        panic!("the index comes first");
    };
    let mut out = Vec::new();
    for record in records {
        let Record::Rib(rib) = record else {
            panic!("{record:?}");
        };
        let entry = |e: &monitor::mrt::RibEntry<'_>| {
            let peer = peers[usize::from(e.peer)].address;
            (rib.prefix.to_string(), peer, e.path_id)
        };
        out.extend(rib.entries.iter().map(entry));
    }
    out.sort();
    out
}

const STATICS: &str = "protocol static s4 { ipv4; route 10.203.0.0/26 blackhole { bgp_community.add((64512,7)); bgp_med = 5; }; \
     route 10.203.1.0/24 blackhole; route 10.204.0.0/16 blackhole { bgp_local_pref = 300; }; }\n\
     protocol static s6 { ipv6; route fd00:203::/64 blackhole { bgp_large_community.add((64512,7,9)); }; }";

fn same_table(lab: &Lab) {
    let session = "neighbor 10.9.0.1 as 64512; hold time 90;";
    bird::start(lab, 2, 64512, STATICS, session);
    lab.ours(64512, "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\n");
    let prefixes = [
        "10.203.0.0/26",
        "10.203.1.0/24",
        "10.204.0.0/16",
        "fd00:203::/64",
    ];
    wait("ours has all", 30, || {
        prefixes
            .iter()
            .all(|prefix| lab.explain(prefix).contains("best"))
    });
    let octets = dump(lab);
    let from = IpAddr::from([10, 9, 0, 2]);
    let wanted = prefixes.map(|prefix| (prefix.to_owned(), from, None));
    assert_eq!(entries(&octets), wanted);
    read_by_bgpdump(&lab.path("table.mrt"));
    // Ours leaves 10.9.0.1 to the sender.
    lab.signal("ours", "TERM");
    bird::start(lab, 3, 64512, "", "neighbor 10.9.0.1 as 64512; passive on;");
    bird::birdc(lab, 3, "show status");
    assert!(!table(lab, 3).contains("10.203.0.0/26"), "the control");
    let own = std::env::current_exe().expect("this program has a path");
    let file = lab.path("table.mrt");
    let (own, file) = (own.to_str().expect("plain"), file.to_str().expect("plain"));
    wait("BIRD listens", 10, || {
        bird::birdc(lab, 3, "show status").contains("up and running")
    });
    lab.start("us", "replay", &[own, "replay", file, "10.9.0.3:179"]);
    wait("the other BIRD has all", 20, || {
        prefixes.iter().all(|prefix| table(lab, 3).contains(prefix))
    });
    let got = table(lab, 3);
    for attribute in [
        "BGP.community: (64512,7)",
        "BGP.med: 5",
        "BGP.local_pref: 300",
        "BGP.large_community: (64512, 7, 9)",
        "BGP.next_hop: 10.9.0.2",
        "BGP.next_hop: fd09::2",
    ] {
        assert!(got.contains(attribute), "{attribute} in\n{got}");
    }
}

fn table(lab: &Lab, n: u8) -> String {
    bird::birdc(lab, n, "show route protocol ours all")
}

fn read_by_bgpdump(file: &Path) {
    let output = Command::new("bgpdump").arg("-m").arg(file).output();
    let Ok(output) = output else {
        println!("bird_mrt: skipped: bgpdump is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 4, "{text}");
    for wanted in [
        "|10.9.0.2|64512|10.203.0.0/26||IGP|10.9.0.2|100|5|64512:7|",
        "|10.9.0.2|64512|10.204.0.0/16||IGP|10.9.0.2|300|0||",
        "|10.9.0.2|64512|fd00:203::/64||IGP|fd09::2|",
    ] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
}

/// A BIRD that reflects the same prefix of two others with identifiers.
fn add_path(lab: &Lab) {
    let dir = lab.dir.path().display();
    let text = format!(
        "log \"{dir}/bird2.log\" all;\nrouter id 10.9.0.2;\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n\
         ipv4 table second;\n\
         protocol static s4 {{ ipv4; route 10.203.0.0/26 blackhole; }}\n\
         protocol static t4 {{ ipv4 {{ table second; }}; route 10.203.0.0/26 blackhole; }}\n\
         protocol pipe {{ table master4; peer table second; import all; export none; }}\n\
         protocol bgp ours {{ local 10.9.0.2 as 64512; strict bind; neighbor 10.9.0.1 as 64512;\n\
         connect delay time 1; error wait time 1, 2; ipv4 {{ import all; export where source = RTS_STATIC; add paths tx; }}; }}\n"
    );
    let config = lab.write("bird2.conf", &text);
    let (socket, pid) = (format!("{dir}/bird2.ctl"), format!("{dir}/bird2.pid"));
    let argv = ["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
    lab.start("them", "bird2", &argv);
    let neighbor = "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\nadd_path = \"receive\"\n";
    lab.ours(64512, neighbor);
    wait("ours has both paths", 30, || {
        lab.explain("10.203.0.0/26").matches("path id").count() == 2
    });
    let entries = entries(&dump(lab));
    let ids: Vec<u32> = entries.iter().filter_map(|entry| entry.2).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{entries:?}");
}
