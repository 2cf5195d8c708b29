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
    // A withdrawal, an announcement, two ends.
    assert_eq!((plan.messages.len(), plan.announced), (4, 1));
    assert_eq!(plan.left_out["add-path"], 1);
    assert_eq!(plan.left_out["two-octet-as"], 1);
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
