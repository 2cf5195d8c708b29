//! How sessions end and begin: notifications that keep routes (RFC 8538), texts (RFC 9003), an
//! OPEN that waits (RFC 4271 §8.1.1), ranges that are full, and what a change of the
//! configuration does to a session.
#![allow(missing_docs)]

mod script;

use bgp::{
    Config, ConnId, GracefulRestart, Input, NoticeReason, Output, PathState, PeerConfig, PeerState,
    RangeConfig,
};
use script::{
    AS, CONN, EMPTY_PATH, HOP, NET, ORIGIN, PREF, Script, config, keepalive, message, notification,
    open, update,
};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Graceful restart for IPv4, 120 s, without and with the N bit.
const PLAIN: &[u8] = &[64, 6, 0, 120, 0, 1, 1, 0x80];
const WITH_N: &[u8] = &[64, 6, 0x40, 120, 0, 1, 1, 0x80];

/// Up, with one route of the peer's.
fn restarting(capability: &[u8]) -> Script {
    let wanted = config(AS, |peer| {
        peer.graceful_restart = Some(GracefulRestart::default());
    });
    let mut script = Script::up(wanted, &open(AS, 90, &[capability]));
    script.receive(&update(&[ORIGIN, EMPTY_PATH, HOP, PREF], NET));
    assert_eq!(routes(&script), ["best"], "the control");
    script
}

fn routes(script: &Script) -> Vec<String> {
    script.standings("10.1.2.0/24")
}

#[test]
fn our_open_has_the_n_bit() {
    let mut script = Script::new(config(AS, |peer| {
        peer.graceful_restart = Some(GracefulRestart::default());
    }));
    script.accept();
    let opened = &script.messages()[0].1;
    assert!(
        opened.windows(4).any(|w| w == [64, 10, 0x40, 120]),
        "{opened:?}"
    );
}

#[test]
fn a_notification_keeps_the_routes_of_peers_with_n() {
    for (capability, kept) in [(WITH_N, true), (PLAIN, false)] {
        let expected: &[&str] = if kept { &["best, stale"] } else { &[] };
        // Received.
        let mut script = restarting(capability);
        script.receive(&notification(6, 4, &[]));
        assert_eq!(routes(&script), expected, "received, N {kept}");
        // The hold timer.
        let mut script = restarting(capability);
        script.wait(91);
        assert_eq!(script.error(), "Error: Hold timer expired");
        assert_eq!(routes(&script), expected, "hold timer, N {kept}");
        // An error that we find.
        let mut script = restarting(capability);
        script.receive(&[0; 19]);
        assert_eq!(routes(&script), expected, "error, N {kept}");
        // And they go when the peer does not come back.
        script.wait(121);
        assert!(routes(&script).is_empty());
    }
}

#[test]
fn a_hard_reset_takes_the_routes_along() {
    let mut script = restarting(WITH_N);
    script.receive(&notification(6, 9, &[6, 2, 3, b'b', b'y', b'e']));
    assert!(routes(&script).is_empty());
    assert_eq!(
        script.error(),
        "Received: Administrative shutdown: \"bye\" (hard reset)"
    );
}

#[test]
fn what_is_for_good_is_said_as_a_hard_reset() {
    type Act = fn(&mut Script);
    let acts: &[(Act, u8)] = &[
        (
            |s| {
                s.give(Input::Reset {
                    peer: "peer",
                    text: "",
                })
            },
            4,
        ),
        (
            |s| {
                s.give(Input::Stop {
                    cease: true,
                    text: "",
                })
            },
            2,
        ),
        (
            |s| {
                s.give(Input::Path {
                    scope: 0,
                    remote: [10, 0, 0, 2].into(),
                    state: PathState::Lost { forwarding: true },
                })
            },
            10,
        ),
        (|s| s.configure(|config| config.peers.clear()), 3),
    ];
    for (act, subcode) in acts {
        let mut script = restarting(WITH_N);
        act(&mut script);
        assert_eq!(script.notified(), Some((6, 9, vec![6, *subcode])));
        // Without the N bit on the other side it is said as ever.
        let mut script = restarting(PLAIN);
        act(&mut script);
        assert_eq!(script.notified(), Some((6, *subcode, vec![])));
    }
    // A change of the configuration brings the session back: no hard reset.
    let mut script = restarting(WITH_N);
    script.configure(|config| config.peers[0].allow_own_as = 1);
    assert_eq!(script.notified(), Some((6, 6, vec![])));
}

#[test]
fn texts_are_said_and_shown() {
    let mut script = restarting(PLAIN);
    let text = "new cable";
    script.give(Input::Reset { peer: "peer", text });
    let (_, subcode, data) = script.notified().expect("said");
    assert_eq!((subcode, data[0], &data[1..]), (4, 9, text.as_bytes()));
    let mut script = restarting(PLAIN);
    script.give(Input::Stop { cease: true, text });
    assert_eq!(script.notified().expect("said").2[1..], *text.as_bytes());
    let mut script = restarting(PLAIN);
    script.receive(&notification(6, 2, b"\x04soon"));
    assert_eq!(
        script.error(),
        "Received: Administrative shutdown: \"soon\""
    );
}

fn delayed() -> Script {
    let mut script = Script::new(config(AS, |peer| {
        peer.delay_open = Some(Duration::from_secs(30));
    }));
    script.accept();
    assert!(script.sent.is_empty(), "it waits");
    assert_eq!(script.state(), PeerState::Active);
    script
}

#[test]
fn our_open_waits_for_the_peers() {
    let mut script = delayed();
    script.receive(&open(AS, 90, &[]));
    let kinds: Vec<u8> = script.messages().iter().map(|m| m.0).collect();
    assert_eq!(
        (kinds, script.state()),
        (vec![1, 4], PeerState::OpenConfirm)
    );
    script.receive(&keepalive());
    assert_eq!(script.state(), PeerState::Established);
    // Not for longer than was said.
    let mut script = delayed();
    script.wait(29);
    assert!(script.sent.is_empty());
    script.wait(1);
    assert_eq!(script.state(), PeerState::OpenSent);
    assert_eq!(script.messages().len(), 1);
}

#[test]
fn nothing_is_said_before_our_open() {
    let version = message(1, &[3, 0xfc, 0, 0, 90, 10, 0, 0, 2, 0]);
    for bytes in [keepalive(), version, vec![0; 19]] {
        let mut script = delayed();
        script.receive(&bytes);
        assert!(script.closed && script.sent.is_empty(), "{bytes:?}");
        assert_eq!(script.state(), PeerState::Idle);
    }
    // An OPEN that is well-formed and not the one expected: ours was its answer.
    let mut script = delayed();
    script.receive(&open(7, 90, &[]));
    assert_eq!(script.notified().map(|n| (n.0, n.1)), Some((2, 2)));
}

#[test]
fn a_full_range_says_so_once() {
    let mut wanted = Config::new(AS.into(), [10, 0, 0, 1].into());
    let mut template = config(AS, |_| {}).peers.remove(0);
    template.name = "rack".to_owned();
    wanted.ranges.push(RangeConfig {
        prefix: "10.0.0.0/24".parse().expect("prefix"),
        template,
        limit: 1,
    });
    let mut script = Script::new(wanted);
    let notices = |script: &Script| {
        let said = script.outputs.iter().filter_map(|output| match output {
            Output::Notice(notice) => Some(notice.clone()),
            _ => None,
        });
        said.collect::<Vec<_>>()
    };
    script.accept();
    assert!(notices(&script).is_empty());
    for (conn, last) in [(2, 3), (3, 4)] {
        script.accept_from(ConnId::Accepted(conn), [10, 0, 0, last]);
        assert!(script.closed, "turned away");
    }
    let [notice] = &notices(&script)[..] else {
        panic!("once: {:?}", notices(&script));
    };
    assert_eq!(notice.reason, NoticeReason::RangeFull);
    assert_eq!(
        notice.to_string(),
        "rack: range-full: 10.0.0.3 was turned away, 1 are there"
    );
    // The one that is there leaves: room for another, and then it is full again.
    script.give(Input::Closed {
        conn: CONN,
        error: None,
    });
    script.accept_from(ConnId::Accepted(4), [10, 0, 0, 4]);
    assert!(!script.closed);
    script.accept_from(ConnId::Accepted(5), [10, 0, 0, 5]);
    assert_eq!(notices(&script).len(), 2);
}

/// A setting, whether its change ends the session, and what to look at then.
type Setting = (&'static str, bool, fn(&mut PeerConfig));

const SETTINGS: &[Setting] = &[
    ("keepalive", false, |p| {
        p.keepalive = Some(Duration::from_secs(2))
    }),
    ("hold_time", false, |p| {
        p.hold_time = Duration::from_secs(30)
    }),
    ("send_hold_time", false, |p| {
        p.send_hold_time = Some(Duration::ZERO)
    }),
    ("connect_retry", false, |p| {
        p.connect_retry = Duration::from_secs(9)
    }),
    ("delay_open", false, |p| {
        p.delay_open = Some(Duration::from_secs(9))
    }),
    ("error_wait", false, |p| {
        p.error_wait.0 = Duration::from_secs(1)
    }),
    ("passive", false, |p| p.passive = false),
    ("max_prefixes", false, |p| p.max_prefixes = Some(10)),
    ("graceful_restart time", false, |p| {
        let changed = p.graceful_restart.as_mut().expect("on");
        changed.restart_time = Duration::from_secs(9);
    }),
    ("graceful_restart off", true, |p| p.graceful_restart = None),
    ("rr_client", true, |p| {
        p.rr_client = Some(Ipv4Addr::new(1, 1, 1, 1))
    }),
    ("families", true, |p| p.families.truncate(1)),
    ("local_as", true, |p| p.local_as = Some(7.into())),
    ("as", true, |p| p.remote_as = 7.into()),
    ("ttl", true, |p| p.ttl = 9),
    ("ttl_security", true, |p| p.min_ttl = Some(255)),
    ("source", true, |p| p.source = Some([10, 0, 0, 1].into())),
    ("port", true, |p| p.remote.set_port(1)),
];

#[test]
fn which_changes_end_the_session_and_whose() {
    for (name, ends, change) in SETTINGS {
        let mut wanted = config(AS, |peer| {
            peer.graceful_restart = Some(GracefulRestart::default());
        });
        let mut other = PeerConfig::new("other", [10, 0, 0, 9].into(), AS.into());
        other.passive = true;
        wanted.peers.push(other);
        let mut script = Script::new(wanted);
        script.accept();
        script.receive(&open(AS, 90, &[]));
        script.receive(&keepalive());
        let second = ConnId::Accepted(2);
        script.accept_from(second, [10, 0, 0, 9]);
        let mut open = open(AS, 90, &[]);
        open[27] = 9;
        script.receive_on(second, &open);
        script.receive_on(second, &keepalive());
        let states = |script: &Script| {
            let peers = script.speaker.peers();
            peers.iter().map(|p| p.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&script), [PeerState::Established; 2], "{name}");
        script.configure(|config| change(&mut config.peers[0]));
        assert_eq!(script.closed, *ends, "{name}");
        assert_eq!(
            states(&script)[0],
            PeerState::Established,
            "{name}: the other"
        );
        assert_eq!(
            states(&script)[1] == PeerState::Established,
            !ends,
            "{name}"
        );
    }
}

#[test]
fn a_new_keepalive_interval_holds_at_once() {
    let mut script = Script::up(config(AS, |_| {}), &open(AS, 90, &[]));
    let sent = |script: &mut Script| {
        script.sent.clear();
        script.wait_alive(60);
        script.messages().len()
    };
    let slow = sent(&mut script);
    assert!((1..=4).contains(&slow), "{slow}");
    script.configure(|config| config.peers[0].keepalive = Some(Duration::from_secs(2)));
    let quick = sent(&mut script);
    assert!((29..=41).contains(&quick), "{quick}");
}

#[test]
fn a_new_hold_time_holds_with_the_next_session() {
    let mut script = Script::up(config(AS, |_| {}), &open(AS, 90, &[]));
    script.configure(|config| config.peers[0].hold_time = Duration::from_secs(9));
    assert_eq!(script.speaker.peers()[0].hold_time_s, 90);
    script.give(Input::Closed {
        conn: CONN,
        error: None,
    });
    let next = ConnId::Accepted(2);
    script.accept_from(next, [10, 0, 0, 2]);
    script.receive_on(next, &open(AS, 90, &[]));
    script.receive_on(next, &keepalive());
    assert_eq!(script.speaker.peers()[0].hold_time_s, 9);
}

#[test]
fn the_common_as_concerns_those_without_their_own() {
    for (own, ends) in [(None, true), (Some(AS.into()), false)] {
        let wanted = config(AS, |peer| peer.local_as = own);
        let mut script = Script::up(wanted, &open(AS, 90, &[]));
        script.configure(|config| config.local_as = 7.into());
        assert_eq!(script.closed, ends);
    }
}
