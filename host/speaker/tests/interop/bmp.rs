//! BMP: what a BIRD says reaches a station, also one that comes back.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, wait};
use crate::station::{NOBODY, Station, Table, Which};
use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::process::ExitCode;

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_bmp",
        shows: "BMP: Peer Up with both OPENs, what BIRD announces and withdraws, Peer Down with its NOTIFICATION; a station that comes back gets all anew (RFC 7854)",
        run: told,
    },
    Case {
        peer: "bird",
        name: "bird_bmp_views",
        shows: "BMP: a station's tables are what one BIRD says, what import makes of it, what is chosen, and what another BIRD has, also when only a filter changes; Statistics Reports, Termination (RFC 7854, 8671, 9069)",
        run: views,
    },
    Case {
        peer: "bird",
        name: "bird_bmp_deaf",
        shows: "BMP: a station that reads nothing is let go; BIRDs and another station notice nothing",
        run: deaf,
    },
    Case {
        peer: "pmacct",
        name: "pmacct_bmp",
        shows: "BMP: pmbmpd as the station reads sessions, a route in each RIB and its withdrawal, a Statistics Report and Termination (RFC 7854, 8671, 9069)",
        run: pmacct,
    },
];

/// Another process is a station: what the first speaker to come says goes to a file. To the file
/// `-` nothing goes: it does not read.
pub fn station(listen: &str, file: &str) -> ExitCode {
    let address: std::net::SocketAddr = listen.parse().expect("an address");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    if file == "-" {
        socket.set_recv_buffer_size(4096).expect("a small buffer");
    }
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(1).expect("it listens");
    let listener = TcpListener::from(socket);
    let (mut stream, _) = listener.accept().expect("somebody comes");
    if file == "-" {
        eprintln!("deaf");
        loop {
            std::thread::park();
        }
    }
    let mut out = std::fs::File::create(file).expect("a file");
    std::io::copy(&mut stream, &mut out).expect("copied");
    ExitCode::SUCCESS
}

/// Type and body of each message; the last one may not be whole yet.
fn messages(lab: &Lab, file: &str) -> Vec<(u8, Vec<u8>)> {
    let octets = std::fs::read(lab.path(file)).unwrap_or_default();
    let mut rest = &octets[..];
    let mut out = Vec::new();
    while let [3, a, b, c, d, kind, ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(body) = rest.get(6..length) else {
            break;
        };
        out.push((*kind, body.to_vec()));
        rest = &rest[length..];
    }
    out
}

/// Whether an UPDATE of 10.9.0.2 ends with these octets.
fn has_update(messages: &[(u8, Vec<u8>)], end: &[u8]) -> bool {
    let from = |body: &[u8]| body[..2] == [0, 0] && body[22..26] == [10, 9, 0, 2];
    let mut updates = messages.iter().filter(|(kind, _)| *kind == 0);
    updates.any(|(_, body)| from(body) && body[60] == 2 && body.ends_with(end))
}

fn start_station(lab: &Lab, file: &str) {
    station_at(lab, "station", 1790, file);
}

fn station_at(lab: &Lab, name: &str, port: u16, file: &str) {
    let own = std::env::current_exe().expect("this program has a path");
    let path = lab.path(file);
    let path = if file == "-" {
        file
    } else {
        path.to_str().expect("plain")
    };
    let own = own.to_str().expect("plain");
    let listen = format!("10.9.0.4:{port}");
    lab.start("them", name, &[own, "station", &listen, path]);
}

/// What a station was told until now.
fn read(lab: &Lab, file: &str) -> Station {
    let mut station = Station::default();
    station.take(&std::fs::read(lab.path(file)).unwrap_or_default());
    station
}

fn told(lab: &Lab) {
    start_station(lab, "first.bmp");
    bird::start_client(lab, 2, &["10.203.0.0/26", "fd00:203::/64"]);
    lab.ours(
        64512,
        "[[bmp]]\nstation = \"10.9.0.4:1790\"\n[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\n\
         import = [{ action = \"reject\", prefix = \"10.203.0.0/26\" }, { action = \"accept\" }]\n",
    );
    let v4 = [26, 10, 203, 0, 0];
    let v6 = [64, 0xfd, 0, 0x02, 0x03, 0, 0, 0, 0];
    let both = |file: &str| {
        let said = messages(lab, file);
        let holds = |prefix: &[u8]| {
            let mut updates = said.iter().filter(|(kind, _)| *kind == 0);
            updates.any(|(_, body)| body.windows(prefix.len()).any(|w| w == prefix))
        };
        holds(&v4) && holds(&v6)
    };
    wait("the station has both, before import", 30, || {
        both("first.bmp")
    });
    let said = messages(lab, "first.bmp");
    assert_eq!(said[0].0, 4, "Initiation comes first");
    let (_, up) = said.iter().find(|(kind, _)| *kind == 3).expect("Peer Up");
    // Behind the header and both ends: our OPEN and BIRD's, each with its marker, AS and identifier.
    assert_eq!(up[22..30], [10, 9, 0, 2, 0, 0, 0xfc, 0]);
    assert_eq!(up[54..58], [10, 9, 0, 1]);
    let opens: Vec<&[u8]> = up[62..]
        .split(|octet| *octet == 0xff)
        .filter(|o| !o.is_empty())
        .collect();
    assert_eq!(opens.len(), 2, "{up:?}");
    assert_eq!((opens[0][2], &opens[0][8..12]), (1, &[10, 9, 0, 1][..]));
    assert_eq!((opens[1][2], &opens[1][8..12]), (1, &[10, 9, 0, 2][..]));
    let withdrawn = [&[0, 5], &v4[..], &[0, 0]].concat();
    assert!(!has_update(&said, &withdrawn), "the control");
    bird::birdc(lab, 2, "disable s4");
    wait("the withdrawal is told", 10, || {
        has_update(&messages(lab, "first.bmp"), &withdrawn)
    });
    bird::birdc(lab, 2, "enable s4");
    lab.signal("station", "TERM");
    start_station(lab, "second.bmp");
    wait("the one that came back has all", 30, || both("second.bmp"));
    bird::birdc(lab, 2, "disable ours");
    wait("Peer Down with a NOTIFICATION of the peer's", 10, || {
        let said = messages(lab, "second.bmp");
        let down = said.iter().find(|(kind, _)| *kind == 2);
        down.is_some_and(|(_, body)| body[42] == 3 && body[61] == 3 && body[62] == 6)
    });
}

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2));
const TO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 3));
const ALL: &str =
    "tell = [\"adj-in-pre\", \"adj-in-post\", \"loc-rib\", \"adj-out-pre\", \"adj-out-post\"]\n";

fn keys(table: &Table) -> BTreeSet<&str> {
    table.keys().map(|(prefix, _)| prefix.as_str()).collect()
}

/// The prefixes that a BIRD has from us.
fn has(lab: &Lab, n: u8) -> BTreeSet<String> {
    let text = bird::birdc(lab, n, "show route protocol ours");
    let first = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let prefixes = first.filter(|word| word.contains('/'));
    prefixes.map(str::to_owned).collect()
}

/// The prefixes that our speaker has chosen a path for.
fn chosen(lab: &Lab) -> BTreeSet<String> {
    let text = lab.ask(&speaker::Query::Routes);
    let first = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let prefixes = first.filter(|word| word.contains('/'));
    prefixes.map(str::to_owned).collect()
}

fn same(told: &Table, wanted: &BTreeSet<String>) -> bool {
    keys(told).into_iter().eq(wanted.iter().map(String::as_str))
}

fn views(lab: &Lab) {
    station_at(lab, "station", 1790, "all.bmp");
    station_at(lab, "second", 1791, "loc.bmp");
    let prefixes = ["10.203.0.0/26", "10.203.1.0/24", "fd00:203::/64"];
    bird::start_client(lab, 2, &prefixes);
    bird::start(lab, 3, 65003, "", "neighbor 10.9.0.1 as 64512;");
    let config = |import: &str, export: &str, second: bool| {
        let second = if second {
            "[[bmp]]\nstation = \"10.9.0.4:1791\"\ntell = [\"loc-rib\"]\nstatistics = 1\n"
        } else {
            ""
        };
        format!(
            "[[bmp]]\nstation = \"10.9.0.4:1790\"\nstatistics = 1\n{ALL}{second}\
             [[originate]]\nprefix = \"10.210.0.0/24\"\n\
             [[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\nimport = [{import}]\n\
             [[neighbor]]\naddress = \"10.9.0.3\"\nas = 65003\nown_next_hop = \"fd09::1\"\nexport = [{export}]\n"
        )
    };
    let accept = "{ action = \"accept\" }";
    lab.ours(64512, &config(accept, accept, true));
    let all: BTreeSet<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    let with_own: BTreeSet<String> = all
        .iter()
        .cloned()
        .chain(["10.210.0.0/24".into()])
        .collect();
    wait("all tables are the same", 30, || {
        let all_told = read(lab, "all.bmp");
        same(&all_told.table(Which::InPre, FROM), &all)
            && same(&all_told.table(Which::InPost, FROM), &all)
            && same(&all_told.table(Which::LocRib, NOBODY), &with_own)
            && same(&all_told.table(Which::OutPre, TO), &with_own)
            && same(&all_told.table(Which::OutPost, TO), &with_own)
            && same(
                &read(lab, "loc.bmp").table(Which::LocRib, NOBODY),
                &with_own,
            )
            && has(lab, 3) == with_own
            && chosen(lab) == with_own
    });
    let told = read(lab, "all.bmp");
    let ribs = [
        Which::InPre,
        Which::InPost,
        Which::LocRib,
        Which::OutPre,
        Which::OutPost,
    ];
    for rib in ribs {
        let ends = |afi| {
            told.ends
                .iter()
                .any(|(which, _, end)| (*which, *end) == (rib, afi))
        };
        assert!(ends(1) && ends(2), "End-of-RIB of {rib:?}");
    }
    let out = told.table(Which::OutPost, TO);
    let path = &out[&("10.203.0.0/26".to_owned(), 0)].attributes[&2];
    assert_eq!(path[..], [2, 1, 0, 0, 0xfc, 0], "our AS is before the path");
    let second = read(lab, "loc.bmp");
    assert!(
        second.table(Which::InPre, FROM).is_empty(),
        "it is not told that"
    );
    // Only the filters change: no UPDATE comes.
    let import = "{ action = \"reject\", prefix = \"10.203.0.0/26\" }, \
         { action = \"accept\", set = { local_pref = 300 } }";
    let export = format!("{{ action = \"reject\", prefix = \"10.210.0.0/24\" }}, {accept}");
    let updates = |station: &Station| station.kinds.iter().filter(|kind| **kind == 0).count();
    let before = updates(&read(lab, "loc.bmp"));
    bird::rewrite(lab, 64512, &config(import, &export, false));
    lab.signal("ours", "HUP");
    let without = |set: &BTreeSet<String>, gone: &str| {
        let rest = set.iter().filter(|prefix| *prefix != gone);
        rest.cloned().collect::<BTreeSet<String>>()
    };
    let (post, loc) = (
        without(&all, "10.203.0.0/26"),
        without(&with_own, "10.203.0.0/26"),
    );
    let out_post = without(&loc, "10.210.0.0/24");
    wait("the tables follow the filters", 15, || {
        let told = read(lab, "all.bmp");
        same(&told.table(Which::InPre, FROM), &all)
            && same(&told.table(Which::InPost, FROM), &post)
            && same(&told.table(Which::LocRib, NOBODY), &loc)
            && same(&told.table(Which::OutPre, TO), &loc)
            && same(&told.table(Which::OutPost, TO), &out_post)
            && has(lab, 3) == out_post
    });
    let told = read(lab, "all.bmp");
    let key = ("10.203.1.0/24".to_owned(), 0);
    let pref = |which, peer| told.table(which, peer)[&key].attributes[&5].clone();
    assert_eq!(pref(Which::InPre, FROM), [0, 0, 0, 100]);
    assert_eq!(pref(Which::InPost, FROM), [0, 0, 1, 44]);
    assert_eq!(pref(Which::LocRib, NOBODY), [0, 0, 1, 44]);
    // The second station is not wanted any more, and was told so; the sessions stay.
    wait("the second station is told the end", 10, || {
        read(lab, "loc.bmp").terminated == Some(0)
    });
    let second = read(lab, "loc.bmp");
    assert_eq!(second.downs, [(NOBODY, 6)], "no session ended");
    assert!(updates(&second) >= before);
    // BIRD withdraws; then what is counted is what there is.
    bird::birdc(lab, 2, "disable s4");
    wait("the withdrawals and the counts are told", 15, || {
        let told = read(lab, "all.bmp");
        let stat = |peer, kind, afi| told.statistics.get(&(peer, kind, afi)).copied();
        same(
            &told.table(Which::InPre, FROM),
            &["fd00:203::/64".into()].into(),
        ) && stat(FROM, 7, 0) == Some(1)
            && (stat(FROM, 9, 1), stat(FROM, 9, 2)) == (Some(0), Some(1))
            && stat(FROM, 11, 0) == Some(0)
            && stat(NOBODY, 8, 0) == Some(chosen(lab).len() as u64)
            && (stat(NOBODY, 10, 1), stat(NOBODY, 10, 2)) == (Some(1), Some(1))
    });
    assert_eq!(read(lab, "all.bmp").terminated, None, "the control");
    lab.signal("ours", "TERM");
    wait("the first station is told the end", 10, || {
        read(lab, "all.bmp").terminated == Some(0)
    });
    let told = read(lab, "all.bmp");
    assert!(
        told.up.is_empty() && !told.loc_rib,
        "Peer Down of all before it"
    );
}

/// Two thousand prefixes of a BIRD, each with attributes of its own, again and again, and a station
/// that reads nothing.
fn deaf(lab: &Lab) {
    station_at(lab, "deaf", 1790, "-");
    station_at(lab, "station", 1791, "loc.bmp");
    let mut statics = "protocol static s4 { ipv4;".to_owned();
    for n in 0..2000 {
        let prefix = format!("10.{}.{}.0/24", 100 + n / 250, n % 250);
        statics += &format!(" route {prefix} blackhole {{ bgp_community.add((64512,{n})); }};");
    }
    statics += " }\n";
    bird::start(
        lab,
        2,
        64512,
        &statics,
        "neighbor 10.9.0.1 as 64512; hold time 90;",
    );
    bird::start(lab, 3, 65003, "", "neighbor 10.9.0.1 as 64512;");
    lab.ours(
        64512,
        &format!(
            "[[bmp]]\nstation = \"10.9.0.4:1790\"\n{ALL}\
             [[bmp]]\nstation = \"10.9.0.4:1791\"\ntell = [\"loc-rib\", \"adj-out-post\"]\n\
             [[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\n\
             [[neighbor]]\naddress = \"10.9.0.3\"\nas = 65003\n"
        ),
    );
    let log = || std::fs::read_to_string(lab.path("ours.out")).unwrap_or_default();
    wait("it is connected", 15, || {
        let text = std::fs::read_to_string(lab.path("deaf.out"));
        text.unwrap_or_default().contains("deaf")
    });
    let mut rounds = 0;
    let let_go = || log().contains("WARN BMP station 10.9.0.4:1790: it read nothing for 10 s");
    while !let_go() {
        for (command, count) in [("enable s4", 2000), ("disable s4", 0)] {
            bird::birdc(lab, 2, command);
            wait("the other BIRD and the other station have it", 20, || {
                let told = read(lab, "loc.bmp");
                has(lab, 3).len() == count
                    && told.table(Which::LocRib, NOBODY).len() == count
                    && told.table(Which::OutPost, TO).len() == count
            });
        }
        rounds += 1;
        assert!(rounds < 60, "it is not let go");
    }
    assert!(!log().contains("WARN BMP station 10.9.0.4:1791"));
    assert_eq!(lab.neighbors().matches("Established").count(), 2);
    assert!(read(lab, "loc.bmp").downs.is_empty(), "no session ended");
}

/// A station of others' making, with a BIRD that announces and withdraws, and one that listens.
fn pmacct(lab: &Lab) {
    let (log, said) = (lab.path("pmacct.json"), lab.path("pmacct.said"));
    let config = lab.write(
        "pmacct.conf",
        &format!(
            "bmp_daemon_ip: 10.9.0.4\nbmp_daemon_port: 1790\nbmp_daemon_msglog_file: {}\nlogfile: {}\n",
            log.display(),
            said.display()
        ),
    );
    lab.start("them", "pmbmpd", &["/usr/sbin/pmbmpd", "-f", &config]);
    bird::start_client(lab, 2, &["10.203.0.0/26", "fd00:203::/64"]);
    bird::start(lab, 3, 65003, "", "neighbor 10.9.0.1 as 64512;");
    lab.ours(
        64512,
        &format!(
            "[[bmp]]\nstation = \"10.9.0.4:1790\"\nstatistics = 1\n{ALL}\
             [[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\n\
             [[neighbor]]\naddress = \"10.9.0.3\"\nas = 65003\n"
        ),
    );
    let has = |wanted: &[&str]| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut lines = text.lines();
        lines.any(|line| wanted.iter().all(|part| line.contains(part)))
    };
    let ribs: [&[&str]; 5] = [
        &[
            "\"is_in\": 1",
            "\"is_post\": 0",
            "\"peer_ip\": \"10.9.0.2\"",
        ],
        &[
            "\"is_in\": 1",
            "\"is_post\": 1",
            "\"peer_ip\": \"10.9.0.2\"",
        ],
        &[
            "\"is_out\": 1",
            "\"is_post\": 0",
            "\"peer_ip\": \"10.9.0.3\"",
        ],
        &[
            "\"is_out\": 1",
            "\"is_post\": 1",
            "\"peer_ip\": \"10.9.0.3\"",
        ],
        &["\"is_loc\": 1"],
    ];
    let each = |kind: &str, prefix: &str| {
        let route = [format!("\"log_type\": \"{kind}\""), format!("\"{prefix}\"")];
        ribs.iter().all(|rib| {
            let parts: Vec<&str> = rib
                .iter()
                .copied()
                .chain(route.iter().map(String::as_str))
                .collect();
            has(&parts)
        })
    };
    wait("each RIB has the route", 60, || {
        each("update", "10.203.0.0/26") && has(&["\"is_loc\": 1", "\"fd00:203::/64\""])
    });
    let kind = |kind: &str| has(&[&format!("\"bmp_msg_type\": \"{kind}\"")]);
    assert!(kind("init") && kind("peer_up") && !kind("term"));
    assert!(!each("withdraw", "10.203.0.0/26"), "the control");
    bird::birdc(lab, 2, "disable s4");
    wait("it has gone from each", 15, || {
        each("withdraw", "10.203.0.0/26") && kind("stats")
    });
    lab.signal("ours", "TERM");
    wait("it heard the end", 10, || kind("term") && kind("peer_down"));
}
