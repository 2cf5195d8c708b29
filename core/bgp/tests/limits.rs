//! The limit of prefixes: a warning before it, and each of the three things that are done at it.
#![allow(missing_docs)]

mod script;

use bgp::{Config, LimitAction, NoticeReason, Output, PeerState};
use script::{AS, EMPTY_PATH, HOP, ORIGIN, PREF, Script, config, open, update};
use std::time::Duration;

fn limited(limit: u32, action: LimitAction) -> Config {
    config(AS, |peer| {
        peer.max_prefixes = Some(limit);
        peer.max_prefixes_action = action;
        peer.max_prefixes_warning = Some(60);
    })
}

fn up(limit: u32, action: LimitAction) -> Script {
    Script::up(limited(limit, action), &open(AS, 90, &[]))
}

/// Announces 10.1.N.0/24 for each N, in one UPDATE.
fn announce(script: &mut Script, prefixes: impl IntoIterator<Item = u8>) {
    let nlri = prefixes.into_iter().flat_map(|n| [24, 10, 1, n]);
    let nlri: Vec<u8> = nlri.collect();
    script.receive(&update(&[ORIGIN, EMPTY_PATH, HOP, PREF], &nlri));
}

fn withdraw(script: &mut Script, n: u8) {
    let body = [0, 4, 24, 10, 1, n, 0, 0];
    script.receive(&script::message(2, &body));
}

fn standing(script: &Script, n: u8) -> String {
    script.standings(&format!("10.1.{n}.0/24")).join(",")
}

fn notices(script: &Script) -> Vec<NoticeReason> {
    let said = script.outputs.iter().filter_map(|output| match output {
        Output::Notice(notice) => Some(notice.reason),
        _ => None,
    });
    said.collect()
}

#[test]
fn one_warning_before_the_limit() {
    let mut script = up(10, LimitAction::End);
    announce(&mut script, 0..5);
    assert!(notices(&script).is_empty());
    announce(&mut script, 5..6);
    assert_eq!(notices(&script), [NoticeReason::MaxPrefixesWarning]);
    assert_eq!(script.speaker.peers()[0].notes, ["max-prefixes-warning"]);
    announce(&mut script, 6..10);
    assert_eq!(notices(&script).len(), 1, "once");
    assert_eq!(
        script.state(),
        PeerState::Established,
        "the limit itself is fine"
    );
}

#[test]
fn the_session_ends_or_rests() {
    let ended = |action, seconds: u64| {
        let mut wanted = limited(3, action);
        wanted.peers[0].passive = false;
        let mut script = Script::up(wanted, &open(AS, 90, &[]));
        announce(&mut script, 0..4);
        let limit = vec![0, 1, 1, 0, 0, 0, 3];
        assert_eq!(script.notified(), Some((6, 1, limit)));
        assert_eq!(script.state(), PeerState::Idle);
        script.accept();
        assert!(script.closed, "not yet");
        script.wait(seconds);
        script.state()
    };
    assert_ne!(ended(LimitAction::End, 6), PeerState::Idle);
    let restart = LimitAction::Restart(Duration::from_secs(300));
    assert_eq!(ended(restart, 290), PeerState::Idle);
    assert_ne!(ended(restart, 301), PeerState::Idle);
}

#[test]
fn what_is_more_is_discarded_by_name() {
    let mut script = up(3, LimitAction::Discard);
    announce(&mut script, 0..5);
    assert_eq!(script.state(), PeerState::Established);
    let all = |script: &Script| (0..5).map(|n| standing(script, n)).collect::<Vec<_>>();
    assert_eq!(all(&script)[2..], ["best", "max-prefixes", "max-prefixes"]);
    announce(&mut script, 5..6);
    let said = [NoticeReason::MaxPrefixesWarning, NoticeReason::MaxPrefixes];
    assert_eq!(notices(&script), said, "once each");
    // What is accepted may change; what goes makes room for the next.
    announce(&mut script, 0..3);
    assert_eq!(standing(&script, 0), "best");
    withdraw(&mut script, 0);
    announce(&mut script, 4..5);
    assert_eq!(
        (standing(&script, 3), standing(&script, 4)),
        ("max-prefixes".into(), "best".into())
    );
    // A higher limit lets in what waits.
    script.configure(|config| config.peers[0].max_prefixes = Some(100));
    for n in 1..6 {
        assert_eq!(standing(&script, n), "best");
    }
    // A lower one takes nothing away.
    script.configure(|config| config.peers[0].max_prefixes = Some(1));
    announce(&mut script, 6..7);
    assert_eq!(
        (standing(&script, 5), standing(&script, 6)),
        ("best".into(), "max-prefixes".into())
    );
    assert_eq!(script.state(), PeerState::Established);
}

#[test]
fn what_a_filter_rejects_takes_no_room() {
    let mut wanted = limited(2, LimitAction::Discard);
    wanted.peers[0].import.otherwise = bgp::Action::Reject;
    let mut script = Script::up(wanted, &open(AS, 90, &[]));
    announce(&mut script, 0..4);
    assert_eq!(standing(&script, 0), "import-filter");
    assert!(notices(&script).is_empty());
    script.configure(|config| config.peers[0].import.otherwise = bgp::Action::Accept);
    let best = (0..4).filter(|n| standing(&script, *n) == "best").count();
    assert_eq!(best, 2);
}
