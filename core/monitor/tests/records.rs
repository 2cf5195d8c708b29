//! Records written and read back, and files that are cut.
#![allow(missing_docs)]

use bgp::{NextHop, RibAttributes, RibPath, RibSlice, SessionView};
use monitor::mrt::{self, Ends, PeerIndex, Record, Records};
use monitor::replay::{self, Terms};
use std::time::Duration;

const BLOCK: [u8; 14] = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100];

fn session(number: u16, address: &str) -> SessionView {
    SessionView {
        number,
        name: address.into(),
        remote: format!("{address}:179").parse().expect("an address"),
        remote_as: 4_200_000_001,
        remote_id: [10, 9, 0, 2].into(),
        opens: None,
    }
}

/// Three paths: an IPv4 prefix plain and with an identifier, an IPv6 one, and one that is kept out.
fn slice() -> RibSlice {
    let set = |address: &str| RibAttributes {
        octets: BLOCK.to_vec(),
        next_hop: NextHop {
            address: address.parse().expect("an address"),
            link_local: None,
        },
    };
    let path = |prefix: &str, path_id, used| RibPath {
        prefix: prefix.parse().expect("a prefix"),
        peer: 7,
        path_id,
        received: 0,
        used,
        best: path_id == 0,
        stale: false,
    };
    RibSlice {
        sets: vec![set("10.9.0.2"), set("fd09::2")],
        paths: vec![
            path("10.0.0.0/9", 0, Some(0)),
            path("10.0.0.0/9", 3, Some(0)),
            path("fd00::/33", 0, Some(1)),
            path("10.64.0.0/10", 0, None),
        ],
        next: None,
    }
}

fn table() -> Vec<u8> {
    let index = PeerIndex::new([10, 9, 0, 1].into(), 64512, &[session(7, "10.9.0.2")]);
    let mut out = Vec::new();
    index.write(1_700_000_000, &mut out);
    assert_eq!(
        index.write_slice(&slice(), 1_700_000_000, 0, &mut out),
        3,
        "records, and the path that is kept out is in none"
    );
    out
}

#[test]
fn a_table_is_read_back() {
    let octets = table();
    let records: Vec<_> = Records::new(&octets)
        .map(|record| record.expect("well-formed"))
        .collect();
    let Record::PeerIndexTable(index) = &records[0] else {
        panic!("{records:?}");
    };
    assert_eq!(index.peers[1].asn, 4_200_000_001);
    let mut seen = Vec::new();
    for record in &records[1..] {
        let Record::Rib(rib) = record else {
            panic!("{record:?}");
        };
        let entry = rib.entries[0];
        seen.push((rib.prefix.to_string(), entry.peer, entry.path_id));
    }
    let prefix = |text: &str| text.to_owned();
    let wanted = [
        (prefix("10.0.0.0/9"), 1, None),
        (prefix("10.0.0.0/9"), 1, Some(3)),
        (prefix("fd00::/33"), 1, None),
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn a_cut_file_says_where() {
    let octets = table();
    let mut errors = 0;
    for length in 0..octets.len() {
        let mut last = 0;
        for record in Records::new(&octets[..length]) {
            match record {
                Ok(_) => last += 1,
                Err(error) => {
                    assert!(error.truncated && error.at <= length, "{error}");
                    errors += 1;
                }
            }
        }
        assert!(last < 4);
    }
    // All but the lengths at which a record ends.
    assert_eq!(errors, octets.len() - 4);
}

#[test]
fn messages_are_read_back_and_played() {
    let ends = Ends {
        remote_as: 64512,
        local_as: 64512,
        remote: [10, 9, 0, 2].into(),
        local: [10, 9, 0, 1].into(),
    };
    let at = Duration::new(1_700_000_000, 123_456_000);
    let mut update = vec![0xff; 16];
    let body = [
        0, 2, 8, 11, 0, 11, 0x40, 1, 1, 0, 0x40, 3, 4, 10, 9, 0, 2, 8, 10,
    ];
    update.extend_from_slice(&[0, 19 + body.len() as u8, 2]);
    update.extend_from_slice(&body);
    let mut out = Vec::new();
    mrt::write_state_change(at, &ends, (5, 6), &mut out);
    for kind in [(true, false), (true, true), (false, false)] {
        mrt::write_message(at, &ends, kind, &update, &mut out);
    }
    let records: Vec<_> = Records::new(&out).map(Result::unwrap).collect();
    let Record::StateChange(change) = records[0] else {
        panic!("{records:?}");
    };
    assert_eq!((change.at, change.ends, change.new), (at, ends, 6));
    let Record::Message(said) = records[2] else {
        panic!("{records:?}");
    };
    assert_eq!(
        (said.as4, said.ids, said.message),
        (true, true, &update[..])
    );
    let terms = Terms {
        local_as: 64512,
        remote_as: 64512,
        own: (None, None),
        replace_next_hop: false,
    };
    let plan = replay::plan(&out, &terms).expect("well-formed");
    // Twice a withdrawal and an announcement, two ends; no identifiers are where they should be.
    assert_eq!((plan.messages.len(), plan.announced), (6, 2));
    assert_eq!(plan.left_out, [("malformed", 1)].into());
}

fn ends() -> Ends {
    Ends {
        remote_as: 64512,
        local_as: 64512,
        remote: [10, 9, 0, 2].into(),
        local: [10, 9, 0, 1].into(),
    }
}

fn terms() -> Terms {
    Terms {
        local_as: 64512,
        remote_as: 64512,
        own: (None, None),
        replace_next_hop: false,
    }
}

fn update(withdrawn: &[u8], block: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    let length = 23 + withdrawn.len() + block.len() + nlri.len();
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.push(2);
    for part in [withdrawn, block] {
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(nlri);
    out
}

/// A session without four-octet AS numbers: what is played has them.
#[test]
fn short_as_numbers_are_made_long() {
    let block = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 2, 0, 9, 0x5b, 0xa0, 0x40, 3, 4, 10, 9, 0, 2, 0xc0, 17, 6, 2,
        1, 0xfa, 0x56, 0xea, 1,
    ];
    let mut file = Vec::new();
    let said = update(&[], &block, &[8, 10]);
    mrt::write_message(Duration::ZERO, &ends(), (false, false), &said, &mut file);
    let plan = replay::plan(&file, &terms()).expect("well-formed");
    assert_eq!((plan.messages.len(), plan.left_out.len()), (3, 0));
    let path = [2, 1, 0, 0, 0, 9, 2, 1, 0xfa, 0x56, 0xea, 1];
    assert!(plan.messages[0].windows(12).any(|part| part == path));
    assert!(!plan.messages[0].contains(&17), "AS4_PATH has gone");
    // A path that becomes too long for one message with all its prefixes gets a second one.
    let mut long = vec![0x40, 1, 1, 0, 0x50, 2, 3, 0xc6];
    for _ in 0..2 {
        long.extend_from_slice(&[2, 241]);
        long.extend([0, 7].repeat(241));
    }
    long[6..8].copy_from_slice(&968u16.to_be_bytes());
    long.extend_from_slice(&[0x40, 3, 4, 10, 9, 0, 2]);
    let nlri: Vec<u8> = (0..740u16)
        .flat_map(|n| [24, 10, (n >> 8) as u8, n as u8])
        .collect();
    let said = update(&[], &long, &nlri);
    let mut file = Vec::new();
    mrt::write_message(Duration::ZERO, &ends(), (false, false), &said, &mut file);
    let plan = replay::plan(&file, &terms()).expect("well-formed");
    assert_eq!((plan.announced, plan.messages.len()), (740, 4));
    assert!(plan.messages.iter().all(|message| message.len() <= 4096));
}

/// Of paths with identifiers the first of a prefix is played, and when it goes the next.
#[test]
fn of_several_paths_one_is_played() {
    let block = |last| [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 9, 0, last];
    let id = |id, nlri: &[u8]| [&[0, 0, 0, id], nlri].concat();
    let net: &[u8] = &[8, 10];
    let both = [id(1, net), id(1, &[8, 11])].concat();
    let said = [
        update(&[], &block(2), &both),
        update(&[], &block(3), &id(2, net)),
        update(&id(2, net), &[], &[]),
        update(&[], &block(4), &id(3, net)),
        update(&id(1, net), &[], &[]),
        update(&[], &block(5), &id(3, net)),
        update(&id(3, net), &[], &[]),
        update(&id(9, net), &[], &[]),
    ];
    let mut file = Vec::new();
    for message in &said {
        mrt::write_message(Duration::ZERO, &ends(), (true, true), message, &mut file);
    }
    let plan = replay::plan(&file, &terms()).expect("well-formed");
    // With LOCAL_PREF; a hop tells which path it is.
    let told: Vec<(u8, &[u8])> = plan.messages[..plan.messages.len() - 2]
        .iter()
        .map(
            |m| match m.windows(7).find(|w| w[..6] == [0x40, 3, 4, 10, 9, 0]) {
                Some(hop) => (hop[6], &m[m.len() - 2..]),
                None => (0, &m[21..23]),
            },
        )
        .collect();
    assert_eq!(told, [(2, &[8, 11][..]), (4, net), (5, net), (0, net)]);
    assert_eq!(plan.left_out, [("add-path", 2)].into());
}

/// The end of a file whose writer was killed.
#[test]
fn a_torn_end_is_left_out_by_name() {
    let block = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 9, 0, 2];
    let mut file = Vec::new();
    for net in [10, 11] {
        let said = update(&[], &block, &[8, net]);
        mrt::write_message(Duration::ZERO, &ends(), (true, false), &said, &mut file);
    }
    let whole = replay::plan(&file, &terms()).expect("well-formed");
    assert_eq!(
        (whole.announced, whole.left_out.len()),
        (2, 0),
        "the control"
    );
    for length in file.len() / 2 + 1..file.len() {
        let torn = replay::plan(&file[..length], &terms()).expect("all but the last");
        assert_eq!((torn.announced, torn.left_out["torn-end"]), (1, 1));
    }
}

/// The families in which a session has identifiers decide, by what an UPDATE is about.
#[test]
fn which_updates_have_identifiers() {
    use bgp::Family::{Ipv4, Ipv6};
    let v6 = |kind| [0x80, kind, 4, 0, 2, 1, 0];
    let plain = update(&[], &[0x40, 1, 1, 0], &[0, 0, 0, 1, 8, 10]);
    for (message, v4_only, v6_only) in [
        (plain, true, false),
        (update(&[0, 0, 0, 1, 8, 10], &[], &[]), true, false),
        (update(&[], &v6(14), &[]), false, true),
        (update(&[], &v6(15), &[]), false, true),
    ] {
        let has = |families: &[bgp::Family]| mrt::has_ids(&message, families);
        assert_eq!((has(&[Ipv4]), has(&[Ipv6])), (v4_only, v6_only));
        assert!(has(&[Ipv4, Ipv6]) && !has(&[]));
    }
    assert!(!mrt::has_ids(&[0xff; 19], &[Ipv6]));
}

#[test]
fn a_table_is_packed() {
    let terms = |own| Terms {
        local_as: 64512,
        remote_as: 64512,
        own,
        replace_next_hop: false,
    };
    let plan = replay::plan(&table(), &terms((None, None))).expect("well-formed");
    // Of the prefix with two records the first path; two ends.
    assert_eq!((plan.messages.len(), plan.announced), (4, 2));
    assert!(plan.messages.iter().all(|message| message.len() <= 4096));
}

/// A session with extended messages (RFC 8654) was recorded; a sender without them cannot play them.
#[test]
fn what_is_too_long_is_left_out() {
    let ends = Ends {
        remote_as: 64512,
        local_as: 64512,
        remote: [10, 9, 0, 2].into(),
        local: [10, 9, 0, 1].into(),
    };
    let play = |withdrawn: u16| {
        let mut update = vec![0xff; 16];
        update.extend_from_slice(&(withdrawn.saturating_add(23)).to_be_bytes());
        update.push(2);
        update.extend_from_slice(&withdrawn.to_be_bytes());
        update.resize(update.len() + usize::from(withdrawn), 0);
        update.extend_from_slice(&[0, 0]);
        let mut file = Vec::new();
        mrt::write_message(Duration::ZERO, &ends, (true, false), &update, &mut file);
        let terms = Terms {
            local_as: 64512,
            remote_as: 64512,
            own: (None, None),
            replace_next_hop: false,
        };
        let plan = replay::plan(&file, &terms).expect("well-formed");
        (plan.messages.len(), plan.left_out.get("too-long").copied())
    };
    assert_eq!(play(65535), (2, Some(1)));
    assert_eq!(play(1000), (3, None), "the control");
}
