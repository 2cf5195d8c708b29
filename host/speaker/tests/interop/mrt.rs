//! MRT: a BIRD's table in ours, dumped, read by others, and played to another BIRD.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, stays, wait};
use bgp::Asn;
use monitor::mrt::{PeerIndexTable, Record, Records, StateChange};
use monitor::replay::{Terms, plan};
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
    Case {
        peer: "bird",
        name: "bird_mrt_updates",
        shows: "MRT updates of what BIRD sends and tables every second, read by bgpdump where it is installed; the updates played to another BIRD, which then has the same table (RFC 6396)",
        run: updates,
    },
    Case {
        peer: "bird",
        name: "bird_mrt_killed",
        shows: "MRT updates: kill -9 leaves at most the last record torn, and recording goes on behind the last whole one",
        run: killed,
    },
    Case {
        peer: "bird",
        name: "bird_mrt_full",
        shows: "MRT updates onto a full disk and into a folder that is not there: said once, sessions stay, and recording goes on when there is room",
        run: full,
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
    for attribute in ATTRIBUTES.iter().chain(&["BGP.next_hop: fd09::2"]) {
        assert!(got.contains(attribute), "{attribute} in\n{got}");
    }
}

/// As BIRD shows what was announced to it of the four routes.
const ATTRIBUTES: &[&str] = &[
    "BGP.community: (64512,7)",
    "BGP.med: 5",
    "BGP.local_pref: 300",
    "BGP.large_community: (64512, 7, 9)",
    "BGP.next_hop: 10.9.0.2",
];

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

/// The records of a file, which are all whole.
fn records(file: &[u8]) -> Vec<Record<'_>> {
    Records::new(file)
        .map(|record| record.expect("whole"))
        .collect()
}

/// What a file played as it is gives: the prefixes that are there in the end are in the last
/// announcements.
fn announced(file: &[u8]) -> usize {
    let terms = Terms {
        local_as: 64512,
        remote_as: 64512,
        own: (None, None),
        replace_next_hop: false,
    };
    plan(file, &terms).expect("well-formed").announced
}

fn neighbor(mrt: &str) -> String {
    format!("[mrt]\n{mrt}[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\n")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn log(lab: &Lab) -> String {
    String::from_utf8_lossy(&read(&lab.path("ours.out"))).into_owned()
}

fn updates(lab: &Lab) {
    let session = "neighbor 10.9.0.1 as 64512; hold time 90;";
    bird::start(lab, 2, 64512, STATICS, session);
    let (file, table_file) = (lab.path("u.mrt"), lab.path("t.mrt"));
    lab.ours(
        64512,
        &neighbor(&format!(
            "updates = \"{}\"\ntable = \"{}\"\ntable_interval = 1\n",
            file.display(),
            table_file.display()
        )),
    );
    wait("all is recorded", 30, || announced(&read(&file)) == 4);
    bird::birdc(lab, 2, "disable s4");
    wait("ours has none of them", 10, || {
        lab.explain("10.204.0.0/16").contains("no path")
    });
    bird::birdc(lab, 2, "enable s4");
    wait("all is recorded again", 10, || announced(&read(&file)) == 7);
    let octets = read(&file);
    let change = |record: &Record<'_>| match record {
        Record::StateChange(StateChange { old, new, ends, .. }) => Some((*old, *new, ends.remote)),
        _ => None,
    };
    let changes: Vec<_> = records(&octets).iter().filter_map(change).collect();
    assert_eq!(changes, [(5, 6, IpAddr::from([10, 9, 0, 2]))]);
    let from = IpAddr::from([10, 9, 0, 2]);
    wait("a table was written with all", 10, || {
        let octets = read(&table_file);
        !octets.is_empty() && entries(&octets).iter().filter(|e| e.1 == from).count() == 4
    });
    assert_eq!(entries(&read(&table_file)), entries(&dump(lab)));
    if let Ok(output) = Command::new("bgpdump").arg("-m").arg(&file).output() {
        let text = String::from_utf8_lossy(&output.stdout);
        for wanted in [
            "|STATE|10.9.0.2|64512|5|6",
            "|A|10.9.0.2|64512|10.203.0.0/26||IGP|10.9.0.2|100|5|64512:7|",
            "|W|10.9.0.2|64512|10.203.0.0/26",
            "|A|10.9.0.2|64512|fd00:203::/64||IGP|",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
    } else {
        println!("bird_mrt_updates: without bgpdump, which is not installed");
    }
    lab.signal("ours", "TERM");
    let whole = read(&file);
    let last = records(&whole).last().and_then(change);
    assert_eq!(last.map(|(old, new, _)| (old, new)), Some((6, 1)));
    bird::start(lab, 3, 64512, "", "neighbor 10.9.0.1 as 64512; passive on;");
    wait("BIRD listens", 10, || {
        bird::birdc(lab, 3, "show status").contains("up and running")
    });
    let own = std::env::current_exe().expect("this program has a path");
    let (own, file) = (own.to_str().expect("plain"), file.to_str().expect("plain"));
    lab.start("us", "replay", &[own, "replay", file, "10.9.0.3:179"]);
    let exported = |text: String| -> Vec<String> {
        let prefix = |line: &str| line.split_whitespace().next().map(str::to_owned);
        let mut all: Vec<String> = text.lines().filter_map(prefix).collect();
        all.retain(|word| word.contains('/') || word.starts_with("BGP."));
        all.sort();
        all
    };
    let wanted = exported(bird::birdc(lab, 2, "show route where source = RTS_STATIC"));
    assert_eq!(wanted.len(), 4);
    wait("the other BIRD has the same table", 20, || {
        exported(bird::birdc(lab, 3, "show route protocol ours")) == wanted
    });
    let got = table(lab, 3);
    for attribute in ATTRIBUTES {
        assert!(got.contains(attribute), "{attribute} in\n{got}");
    }
}

/// A thousand prefixes, each with attributes of its own.
fn thousand() -> String {
    let mut statics = "protocol static s4 { ipv4;".to_owned();
    for n in 0..1000 {
        let prefix = format!("10.{}.{}.0/24", 100 + n / 250, n % 250);
        statics += &format!(" route {prefix} blackhole {{ bgp_community.add((64512,{n})); }};");
    }
    statics + " }\n"
}

fn killed(lab: &Lab) {
    let session = "neighbor 10.9.0.1 as 64512; hold time 90;";
    bird::start(lab, 2, 64512, &thousand(), session);
    let file = lab.path("u.mrt");
    lab.ours(
        64512,
        &neighbor(&format!("updates = \"{}\"\n", file.display())),
    );
    wait("something is recorded", 30, || {
        announced(&read(&file)) >= 1000
    });
    bird::birdc(lab, 2, "disable s4");
    bird::birdc(lab, 2, "enable s4");
    wait("it goes on", 10, || announced(&read(&file)) > 1000);
    lab.signal("ours", "KILL");
    let octets = read(&file);
    let torn = |octets: &[u8]| Records::new(octets).filter_map(Result::err).count();
    assert!(torn(&octets) <= 1, "all but the last record are whole");
    // A kill amid a write leaves this, wherever it fell.
    let whole = octets.len() - octets.len() / 3;
    std::fs::write(&file, &octets[..whole]).expect("it is ours");
    let cut = read(&file);
    let records_left = Records::new(&cut).filter(Result::is_ok).count();
    lab.restart_ours();
    wait("it records on", 30, || {
        announced(&read(&file)) > announced(&cut) + 999
    });
    let after = read(&file);
    assert_eq!(
        torn(&after),
        0,
        "nothing torn stands before what came later"
    );
    let left: Vec<Record<'_>> = Records::new(&cut).filter_map(Result::ok).collect();
    assert_eq!(
        records(&after)[..records_left],
        left[..],
        "what was whole stays"
    );
    if torn(&cut) == 1 {
        assert!(
            log(lab).contains("of a torn record off the end"),
            "{}",
            log(lab)
        );
    }
}

fn full(lab: &Lab) {
    let folder = lab.path("small");
    std::fs::create_dir_all(&folder).expect("a folder");
    let small = folder.to_str().expect("plain");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none", small])
        .status();
    assert!(mounted.expect("mount is installed").success());
    let filler = folder.join("filler");
    std::fs::write(&filler, vec![0; 48 << 10]).expect("there is room for that");
    let file = folder.join("u.mrt");
    let session = "neighbor 10.9.0.1 as 64512; hold time 90;";
    bird::start(lab, 2, 64512, &thousand(), session);
    lab.ours(
        64512,
        &neighbor(&format!("updates = \"{}\"\n", file.display())),
    );
    let failures = |log: &str| log.matches("MRT updates: cannot write").count();
    wait("there is no room", 30, || failures(&log(lab)) > 0);
    let has_all = || lab.explain("10.103.249.0/24").contains("best");
    wait("the session has all the same", 10, has_all);
    for command in ["disable s4", "enable s4"] {
        bird::birdc(lab, 2, command);
        let there = command == "enable s4";
        wait("it follows", 10, || has_all() == there);
    }
    stays("the session is up", 2, || bird::established(lab));
    assert_eq!(failures(&log(lab)), 1, "said once");
    assert!(log(lab).contains("make room"), "{}", log(lab));
    let before = read(&file);
    records(&before);
    std::fs::remove_file(&filler).expect("it is ours");
    bird::birdc(lab, 2, "disable s4");
    wait("it is written again", 10, || {
        log(lab).contains("is written again")
    });
    assert_eq!(failures(&log(lab)), 1, "said once");
    let after = read(&file);
    assert!(records(&after).len() > records(&before).len());
    assert_eq!(lab.neighbors().matches("Established").count(), 1);
    // Into a folder that is not there, by another file at the next SIGHUP.
    let missing = lab.path("missing");
    let path = missing.join("u.mrt");
    bird::rewrite(
        lab,
        64512,
        &neighbor(&format!("updates = \"{}\"\n", path.display())),
    );
    lab.signal("ours", "HUP");
    wait("it is said", 10, || failures(&log(lab)) == 2);
    assert!(log(lab).contains("make the folder"), "{}", log(lab));
    std::fs::create_dir(&missing).expect("a folder");
    wait("there is a file", 10, || path.exists());
    bird::birdc(lab, 2, "enable s4");
    wait("it is recorded there", 10, || {
        announced(&read(&path)) == 1000
    });
    assert_eq!(failures(&log(lab)), 2);
    lab.signal("ours", "TERM");
    let unmounted = Command::new("umount").arg(small).status();
    assert!(unmounted.expect("umount is installed").success());
    std::fs::remove_dir_all(&missing).expect("it is ours");
}
