//! Long-lived graceful restart (RFC 9494): what is kept beyond the restart time, for how long, how
//! it is chosen, and who is told.
#![allow(missing_docs)]

mod script;
mod world;

use bgp::{
    Action, Bfd, Community, CommunityKind, Config, Family, Filter, GracefulRestart, Input,
    LongLived, Operation, Origin, PathInfo, PathStanding, PathState, PeerConfig, PeerState, Rule,
};
use script::{CONN, EMPTY_PATH, HOP, NET, ORIGIN, PREF, Script, keepalive, notification, open};
use script::{message, update};
use std::time::Duration;
use world::{AS, World, net};

const PREFIX: &str = "10.1.2.0/24";
const IPV6: &[u8] = &[1, 4, 0, 2, 0, 1];
/// LLGR_STALE, as communities are shown.
const MARK: &str = "65535:6";

/// Graceful restart for IPv4 with the F bit; with the N bit too.
fn restart(seconds: u8) -> Vec<u8> {
    vec![64, 6, 0x40, seconds, 0, 1, 1, 0x80]
}

/// Long-lived graceful restart: family, F bit, seconds.
fn long_lived(families: &[(u8, bool, u8)]) -> Vec<u8> {
    let mut out = vec![71, 7 * families.len() as u8];
    for (afi, forwarding, seconds) in families {
        out.extend_from_slice(&[0, *afi, 1, if *forwarding { 0x80 } else { 0 }]);
        out.extend_from_slice(&[0, 0, *seconds]);
    }
    out
}

fn wanted(peer: &mut PeerConfig) {
    peer.graceful_restart = Some(GracefulRestart::default());
    peer.long_lived = Some(LongLived {
        stale_times: Family::ALL
            .map(|family| (family, Duration::from_secs(3600)))
            .into(),
        limit: None,
    });
}

fn announce(communities: &[u32], nlri: &[u8]) -> Vec<u8> {
    let value: Vec<u8> = communities.iter().flat_map(|c| c.to_be_bytes()).collect();
    let mut attribute = vec![0xc0, 8, value.len() as u8];
    attribute.extend_from_slice(&value);
    let mut attributes = vec![ORIGIN, EMPTY_PATH, HOP, PREF];
    if !communities.is_empty() {
        attributes.push(&attribute);
    }
    update(&attributes, nlri)
}

fn end_of_rib() -> Vec<u8> {
    message(2, &[0, 0, 0, 0])
}

/// Up with one route, the peer having said these capabilities.
fn up_with(config: Config, capabilities: &[Vec<u8>]) -> Script {
    let list: Vec<&[u8]> = capabilities.iter().map(Vec::as_slice).collect();
    let mut script = Script::up(config, &open(AS, 90, &list));
    script.receive(&announce(&[], NET));
    assert_eq!(look(&script), "best");
    script
}

fn up(capabilities: &[Vec<u8>]) -> Script {
    up_with(script::config(AS, wanted), capabilities)
}

/// Restart time 2 s, long-lived stale time 10 s.
fn two_and_ten() -> Vec<Vec<u8>> {
    vec![restart(2), long_lived(&[(1, true, 10)])]
}

fn lose(script: &mut Script) {
    script.give(Input::Closed {
        conn: CONN,
        error: None,
    });
    assert_ne!(script.state(), PeerState::Established);
}

/// The peer comes back and says these capabilities.
fn back(script: &mut Script, capabilities: &[Vec<u8>]) {
    let list: Vec<&[u8]> = capabilities.iter().map(Vec::as_slice).collect();
    script.accept();
    script.receive(&open(AS, 90, &list));
    script.receive(&keepalive());
    assert_eq!(script.state(), PeerState::Established, "{}", script.error());
}

fn describe(path: &PathInfo) -> String {
    let mut text = match path.standing {
        PathStanding::Best => "best".to_owned(),
        PathStanding::Lost(why) => why.to_owned(),
    };
    if path.stale {
        text += ", stale";
    }
    // What is shown as long-lived stale has the community, and from this peer nothing else has.
    let marked = path.communities.iter().any(|c| c == MARK);
    assert_eq!(path.long_lived_stale, marked, "{path:?}");
    if marked {
        text += ", long-lived";
    }
    text
}

fn look_at(script: &Script, prefix: &str) -> String {
    let explained = script.speaker.explain(net(prefix));
    let paths: Vec<String> = explained.paths.iter().map(describe).collect();
    paths.join("; ")
}

/// How the path of the prefix stands; empty without one.
fn look(script: &Script) -> String {
    look_at(script, PREFIX)
}

const STALE: &str = "best, stale";
const LONG_LIVED: &str = "best, stale, long-lived";

#[test]
fn our_open_says_each_family() {
    let seven_one = |change: &dyn Fn(&mut PeerConfig)| {
        let mut script = Script::new(script::config(AS, |peer| {
            wanted(peer);
            change(peer);
        }));
        script.accept();
        let opened = script.messages()[0].1.clone();
        let at = opened
            .windows(2)
            .position(|w| w == [71, 14] || w == [71, 7]);
        at.map(|at| opened[at..at + 2 + usize::from(opened[at + 1])].to_vec())
    };
    let hour = 3600u32.to_be_bytes();
    let entry = |afi, flags, time: [u8; 4]| vec![0, afi, 1, flags, time[1], time[2], time[3]];
    let both = [vec![71, 14], entry(1, 0, hour), entry(2, 0, hour)].concat();
    assert_eq!(seven_one(&|_| {}), Some(both));
    let only = |peer: &mut PeerConfig| {
        let stale_times = [(Family::Ipv6, Duration::from_secs(0x0100_0000))].into();
        let limit = None;
        peer.long_lived = Some(LongLived { stale_times, limit });
    };
    let greatest = entry(2, 0, [0, 0xff, 0xff, 0xff]);
    assert_eq!(seven_one(&only), Some([vec![71, 7], greatest].concat()));
    // It is nothing without graceful restart, and off when nobody asks for it.
    assert_eq!(seven_one(&|peer| peer.graceful_restart = None), None);
    assert_eq!(seven_one(&|peer| peer.long_lived = None), None);
    // After the first session forwarding has gone on: F bits.
    let mut script = up(&two_and_ten());
    lose(&mut script);
    script.sent.clear();
    script.accept();
    let opened = &script.messages()[0].1;
    let wanted = [vec![71, 14], entry(1, 0x80, hour), entry(2, 0x80, hour)].concat();
    assert!(
        opened.windows(wanted.len()).any(|w| w == wanted),
        "{opened:?}"
    );
}

#[test]
fn routes_stay_for_both_times_one_after_the_other() {
    let mut script = up(&two_and_ten());
    let notes = |script: &Script| script.speaker.peers()[0].notes.clone();
    lose(&mut script);
    script.wait(1);
    assert_eq!(look(&script), STALE);
    assert!(notes(&script).is_empty());
    script.wait(2);
    assert_eq!(look(&script), LONG_LIVED);
    assert_eq!(notes(&script), ["long-lived-stale"]);
    assert_eq!(script.speaker.peers()[0].stale, 1);
    script.wait(8);
    assert_eq!(look(&script), LONG_LIVED);
    script.wait(2);
    assert_eq!((look(&script).as_str(), notes(&script).len()), ("", 0));
    // The controls: either side without it, or the peer without graceful restart beside it.
    let short = script::config(AS, |peer| {
        wanted(peer);
        peer.long_lived = None;
    });
    for (config, capabilities, after_1, after_3) in [
        (short, two_and_ten(), STALE, ""),
        (script::config(AS, wanted), vec![restart(2)], STALE, ""),
        (
            script::config(AS, wanted),
            vec![long_lived(&[(1, true, 10)])],
            "",
            "",
        ),
        (
            script::config(AS, wanted),
            vec![restart(2), long_lived(&[(1, true, 0)])],
            STALE,
            "",
        ),
        (
            script::config(AS, wanted),
            vec![restart(2), long_lived(&[])],
            STALE,
            "",
        ),
    ] {
        let mut script = up_with(config, &capabilities);
        lose(&mut script);
        script.wait(1);
        assert_eq!(look(&script), after_1, "{capabilities:?}");
        script.wait(2);
        assert_eq!(look(&script), after_3, "{capabilities:?}");
    }
}

#[test]
fn without_a_restart_time_it_begins_at_once() {
    let ten = long_lived(&[(1, true, 10)]);
    // Zero for the family, and no family at all.
    for restart in [restart(0), vec![64, 2, 0, 120]] {
        let mut script = up(&[restart, ten.clone()]);
        lose(&mut script);
        assert_eq!(look(&script), LONG_LIVED);
        script.wait(9);
        assert_eq!(look(&script), LONG_LIVED);
        script.wait(2);
        assert_eq!(look(&script), "");
    }
}

#[test]
fn no_llgr_is_not_kept() {
    const NO_LLGR: u32 = 0xffff_0007;
    const OTHER: &[u8] = &[24, 10, 1, 3];
    let mut script = up(&two_and_ten());
    script.receive(&announce(&[7, NO_LLGR], NET));
    script.receive(&announce(&[7, 9], OTHER));
    lose(&mut script);
    assert_eq!(look(&script), STALE, "graceful restart knows nothing of it");
    script.wait(3);
    assert_eq!(look(&script), "");
    assert_eq!(look_at(&script, "10.1.3.0/24"), LONG_LIVED);
    assert_eq!(script.speaker.peers()[0].stale, 1);
    // Put there by a rule, or taken away by one.
    for operation in [
        Operation::AddCommunity(Community::Standard(NO_LLGR)),
        Operation::ClearCommunities(CommunityKind::Standard),
    ] {
        let config = script::config(AS, |peer| {
            wanted(peer);
            peer.import.rules.push(Rule {
                operations: vec![operation.clone()],
                ..Rule::default()
            });
        });
        let mut script = up_with(config, &two_and_ten());
        script.receive(&announce(&[NO_LLGR], NET));
        lose(&mut script);
        assert_eq!(look(&script), STALE);
        script.wait(3);
        assert_eq!(look(&script), "", "{operation:?}");
    }
}

#[test]
fn each_family_has_its_time() {
    let capabilities = [
        IPV6.to_vec(),
        restart(2),
        long_lived(&[(1, true, 5), (2, true, 20)]),
    ];
    let mut script = up(&capabilities);
    let mut reach = vec![0x80, 14, 30, 0, 2, 1, 16];
    reach.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    reach.extend_from_slice(&[64, 0xfd, 0, 2, 0, 0, 0, 0, 0]);
    script.receive(&update(&[&reach, ORIGIN, EMPTY_PATH, PREF], &[]));
    let ipv6 = |script: &Script| look_at(script, "fd00:200::/64");
    assert_eq!(ipv6(&script), "best");
    lose(&mut script);
    // IPv6 is not in the graceful restart capability: its restart time is zero.
    assert_eq!(
        (look(&script), ipv6(&script)),
        (STALE.to_owned(), LONG_LIVED.to_owned())
    );
    script.wait(6);
    assert_eq!(
        (look(&script), ipv6(&script)),
        (LONG_LIVED.to_owned(), LONG_LIVED.to_owned())
    );
    script.wait(2);
    assert_eq!(
        (look(&script), ipv6(&script)),
        (String::new(), LONG_LIVED.to_owned())
    );
    script.wait(13);
    assert_eq!(ipv6(&script), "");
}

#[test]
fn our_limit_is_the_greatest_time() {
    for (limit, gone) in [(4, true), (40, false)] {
        let config = script::config(AS, |peer| {
            wanted(peer);
            let long_lived = peer.long_lived.as_mut().expect("on");
            long_lived.limit = Some(Duration::from_secs(limit));
        });
        let mut script = up_with(config, &two_and_ten());
        lose(&mut script);
        script.wait(5);
        assert_eq!(look(&script), LONG_LIVED);
        script.wait(2);
        assert_eq!(look(&script).is_empty(), gone, "{limit}");
        script.wait(6);
        assert_eq!(look(&script), "");
    }
}

#[test]
fn what_the_peer_sends_again_is_fresh() {
    const OTHER: &[u8] = &[24, 10, 1, 3];
    let mut script = up(&two_and_ten());
    script.receive(&announce(&[], OTHER));
    lose(&mut script);
    script.wait(5);
    back(&mut script, &two_and_ten());
    assert_eq!(look(&script), LONG_LIVED);
    script.receive(&announce(&[], NET));
    assert_eq!(look(&script), "best");
    assert_eq!(look_at(&script, "10.1.3.0/24"), LONG_LIVED);
    script.receive(&end_of_rib());
    assert_eq!(look_at(&script, "10.1.3.0/24"), "");
    script.wait_alive(30);
    assert_eq!(look(&script), "best");
    assert!(script.speaker.peers()[0].notes.is_empty());
}

#[test]
fn the_f_bit_of_its_own_capability_counts() {
    let ten = |forwarding| long_lived(&[(1, forwarding, 10)]);
    let no_f = vec![64, 6, 0x40, 2, 0, 1, 1, 0];
    for (capabilities, kept) in [
        (vec![restart(2), ten(true)], true),
        // Once the restart time is over graceful restart's does not matter.
        (vec![no_f.clone(), ten(true)], true),
        (vec![restart(2), ten(false)], false),
        (vec![restart(2), long_lived(&[(2, true, 10)])], false),
        (vec![restart(2)], false),
        (vec![ten(true)], false),
        (vec![], false),
    ] {
        let mut script = up(&two_and_ten());
        lose(&mut script);
        script.wait(5);
        back(&mut script, &capabilities);
        let expected = if kept { LONG_LIVED } else { "" };
        assert_eq!(look(&script), expected, "{capabilities:?}");
    }
    // Within the restart time it does.
    for (capabilities, expected) in [
        (vec![restart(2), ten(false)], STALE),
        (vec![no_f, ten(true)], ""),
    ] {
        let mut script = up(&two_and_ten());
        lose(&mut script);
        script.wait(1);
        back(&mut script, &capabilities);
        assert_eq!(look(&script), expected, "{capabilities:?}");
    }
}

/// The time runs on until the peer has sent all it has.
#[test]
fn a_second_loss_sets_no_new_time() {
    for (synchronized, lasts) in [(false, 12), (true, 19)] {
        let mut script = up(&two_and_ten());
        lose(&mut script);
        script.wait(5);
        back(&mut script, &two_and_ten());
        if synchronized {
            script.receive(&announce(&[], NET));
            script.receive(&end_of_rib());
        }
        script.wait(2);
        lose(&mut script);
        let expected = if synchronized { STALE } else { LONG_LIVED };
        assert_eq!(look(&script), expected, "not deleted");
        // 7 s are over.
        script.wait(lasts - 8);
        assert_eq!(look(&script), LONG_LIVED, "{synchronized}");
        script.wait(2);
        assert_eq!(look(&script), "", "{synchronized}");
    }
    // What came again before the second loss has its restart time, and no more than the rest.
    let mut script = up(&two_and_ten());
    lose(&mut script);
    script.wait(5);
    back(&mut script, &two_and_ten());
    script.receive(&announce(&[], NET));
    lose(&mut script);
    script.wait(1);
    assert_eq!(look(&script), STALE);
    script.wait(2);
    assert_eq!(look(&script), LONG_LIVED);
    script.wait(5);
    assert_eq!(look(&script), "");
}

#[test]
fn when_it_ends_before_all_came_again_nothing_more_is_kept() {
    const OTHER: &[u8] = &[24, 10, 1, 3];
    for synchronized in [false, true] {
        let mut script = up(&two_and_ten());
        script.receive(&announce(&[], OTHER));
        lose(&mut script);
        script.wait(5);
        back(&mut script, &two_and_ten());
        script.receive(&announce(&[], NET));
        if synchronized {
            script.receive(&end_of_rib());
        }
        script.wait_alive(8);
        assert_eq!(look(&script), "best");
        assert_eq!(look_at(&script, "10.1.3.0/24"), "", "its time is over");
        lose(&mut script);
        let expected = if synchronized { STALE } else { "" };
        assert_eq!(look(&script), expected);
    }
}

/// Without End-of-RIB the peer counts as synchronized after `stale_time`.
#[test]
fn a_peer_that_never_ends_is_not_waited_for_longer() {
    const OTHER: &[u8] = &[24, 10, 1, 3];
    let config = script::config(AS, |peer| {
        wanted(peer);
        let restart = peer.graceful_restart.as_mut().expect("on");
        restart.stale_time = Duration::from_secs(3);
    });
    let minute = vec![restart(2), long_lived(&[(1, true, 60)])];
    let mut script = up_with(config, &minute);
    script.receive(&announce(&[], OTHER));
    lose(&mut script);
    script.wait(5);
    back(&mut script, &minute);
    script.receive(&announce(&[], NET));
    script.wait_alive(2);
    assert_eq!(look_at(&script, "10.1.3.0/24"), LONG_LIVED);
    script.wait_alive(2);
    assert_eq!(look_at(&script, "10.1.3.0/24"), "");
    // A new time begins: 9 s are over, and the old one ends after 62.
    lose(&mut script);
    script.wait(60);
    assert_eq!(look(&script), LONG_LIVED);
    script.wait(3);
    assert_eq!(look(&script), "");
}

#[test]
fn several_paths_of_a_prefix() {
    let config = script::config(AS, |peer| {
        wanted(peer);
        peer.add_path.receive = true;
    });
    let mut list = two_and_ten();
    list.push(vec![69, 4, 0, 1, 1, 2]);
    let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
    let mut script = Script::up(config, &open(AS, 90, &list));
    for id in 1..=3 {
        let communities: &[u32] = if id == 1 { &[0xffff_0007] } else { &[] };
        script.receive(&announce(communities, &[0, 0, 0, id, 24, 10, 1, 2]));
    }
    assert_eq!(look(&script), "best; path-id; path-id");
    lose(&mut script);
    script.wait(3);
    assert_eq!(
        look(&script),
        format!("{LONG_LIVED}; path-id, stale, long-lived")
    );
    script.wait(10);
    assert_eq!(look(&script), "");
}

/// RFC 4724 §4.2 deletes at the second restart what was stale before it; RFC 9494 §4.2 does not.
#[test]
fn a_second_loss_within_the_restart_time() {
    for (capabilities, expected) in [(two_and_ten(), STALE), (vec![restart(2)], "")] {
        let mut script = up(&capabilities);
        lose(&mut script);
        script.wait(1);
        back(&mut script, &capabilities);
        assert_eq!(look(&script), STALE);
        lose(&mut script);
        assert_eq!(look(&script), expected, "{capabilities:?}");
        script.wait(13);
        assert_eq!(look(&script), "");
    }
}

#[test]
fn notifications_keep_them_as_graceful_restart_has_it() {
    let hard = notification(6, 9, &[6, 2]);
    for (message, kept) in [(notification(6, 4, &[]), true), (hard, false)] {
        let mut script = up(&two_and_ten());
        script.receive(&message);
        script.wait(3);
        let expected = if kept { LONG_LIVED } else { "" };
        assert_eq!(look(&script), expected);
    }
    // A hard reset while what was kept is still there takes it along.
    let mut script = up(&two_and_ten());
    lose(&mut script);
    script.wait(5);
    back(&mut script, &two_and_ten());
    assert_eq!(look(&script), LONG_LIVED);
    script.receive(&notification(6, 9, &[6, 2]));
    assert_eq!(look(&script), "");
}

#[test]
fn a_lost_path_takes_them_along() {
    for (forwarding, expected) in [(true, ""), (false, LONG_LIVED)] {
        let config = script::config(AS, |peer| {
            wanted(peer);
            peer.bfd = Some(Bfd {
                interval: Duration::from_millis(50),
                multiplier: 3,
                multihop: false,
                strict: None,
            });
        });
        let mut script = up_with(config, &two_and_ten());
        lose(&mut script);
        script.wait(3);
        assert_eq!(look(&script), LONG_LIVED);
        script.give(Input::Path {
            remote: [10, 0, 0, 2].into(),
            scope: 0,
            state: PathState::Lost { forwarding },
        });
        assert_eq!(look(&script), expected);
    }
}

#[test]
fn a_reset_takes_them_along() {
    let mut script = up(&two_and_ten());
    lose(&mut script);
    script.wait(3);
    assert_eq!(look(&script), LONG_LIVED);
    script.give(Input::Reset {
        peer: "peer",
        text: "",
    });
    assert_eq!(look(&script), "");
    assert!(script.speaker.peers()[0].notes.is_empty());
}

#[test]
fn a_changed_import_filter_leaves_the_mark() {
    let communities = |script: &Script| {
        let explained = script.speaker.explain(net(PREFIX));
        explained.paths[0].communities.join(" ")
    };
    let mut script = up(&two_and_ten());
    script.receive(&announce(&[64512 << 16 | 7], NET));
    lose(&mut script);
    script.wait(3);
    assert_eq!(communities(&script), format!("64512:7 {MARK}"));
    let set = |operations: Vec<Operation>| Filter {
        rules: vec![Rule {
            operations,
            ..Rule::default()
        }],
        otherwise: Action::Reject,
    };
    let clear = Operation::ClearCommunities(CommunityKind::Standard);
    let nine = Operation::AddCommunity(Community::Standard(64512 << 16 | 9));
    script.configure(|config| config.peers[0].import = set(vec![clear.clone(), nine]));
    assert_eq!(communities(&script), format!("64512:9 {MARK}"));
    assert_eq!(look(&script), LONG_LIVED);
    // Kept out and let in again.
    script.configure(|config| config.peers[0].import = Filter::reject_all());
    assert_eq!(look(&script), "import-filter, stale, long-lived");
    script.configure(|config| config.peers[0].import = Filter::accept_all());
    assert_eq!(look(&script), LONG_LIVED);
    // A rule that now says NO_LLGR ends it.
    let no_llgr = Operation::AddCommunity(Community::Standard(0xffff_0007));
    script.configure(|config| config.peers[0].import = set(vec![no_llgr]));
    assert_eq!(look(&script), "");
    assert_eq!(script.speaker.peers()[0].received, 0);
}

#[test]
fn times_change_in_place_and_families_do_not() {
    let change = |change: fn(&mut LongLived)| {
        let mut script = up(&two_and_ten());
        script.configure(|config| change(config.peers[0].long_lived.as_mut().expect("on")));
        script.state() == PeerState::Established
    };
    assert!(change(|_| {}));
    assert!(change(|l| l.limit = Some(Duration::from_secs(5))));
    let minute = Duration::from_secs(60);
    assert!(!change(|l| {
        l.stale_times.remove(&Family::Ipv4);
    }));
    let mut script = up(&two_and_ten());
    script.configure(|config| {
        let long_lived = config.peers[0].long_lived.as_mut().expect("on");
        long_lived.stale_times.insert(Family::Ipv4, minute);
    });
    assert_eq!(look(&script), "best");
    // The next OPEN says it.
    lose(&mut script);
    script.sent.clear();
    script.accept();
    let opened = &script.messages()[0].1;
    let said = [71, 14, 0, 1, 1, 0x80, 0, 0, 60];
    assert!(opened.windows(9).any(|w| w == said), "{opened:?}");
    // On or off is another session.
    let mut script = up(&two_and_ten());
    script.configure(|config| config.peers[0].long_lived = None);
    assert_ne!(script.state(), PeerState::Established);
    assert_eq!(look(&script), "");
}

/// A peer's own LLGR_STALE counts where we have told it that we know it, and nowhere else.
#[test]
fn a_received_mark_counts_between_those_who_know_it() {
    const STALE_COMMUNITY: u32 = 0xffff_0006;
    for (known, expected) in [(true, "long-lived-stale"), (false, "locally-originated")] {
        let mut config = script::config(AS, |peer| {
            wanted(peer);
            if !known {
                peer.long_lived = None;
            }
        });
        config.origins.insert(net(PREFIX), Origin::default());
        let list = two_and_ten();
        let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
        let mut script = Script::up(config, &open(AS, 90, &list));
        script.receive(&announce(&[STALE_COMMUNITY], NET));
        let explained = script.speaker.explain(net(PREFIX));
        let lost = &explained.paths[1];
        assert_eq!(lost.standing, PathStanding::Lost(expected));
        assert_eq!((lost.long_lived_stale, lost.stale), (known, false));
    }
}

/// A reflector (0) with clients: 1 is killed, 2 knows long-lived stale routes, 3 does not, 4 does
/// not either and is told all the same. Restart time 5 s, long-lived stale time 60 s.
fn star() -> (World, Config) {
    let mut configs = world::star(4);
    let restart = Some(GracefulRestart {
        restart_time: Duration::from_secs(5),
        ..GracefulRestart::default()
    });
    let times = LongLived {
        stale_times: [(Family::Ipv4, Duration::from_secs(60))].into(),
        limit: None,
    };
    for (client, config) in configs.iter_mut().enumerate().skip(1) {
        config.peers[0].graceful_restart = restart;
        config.peers[0].long_lived = (client <= 2).then(|| times.clone());
    }
    for (i, peer) in configs[0].peers.iter_mut().enumerate() {
        peer.graceful_restart = restart;
        peer.long_lived = Some(times.clone());
        peer.long_lived_partial = i == 3;
    }
    let origin = Origin {
        local_pref: Some(300),
        ..Origin::default()
    };
    configs[1].origins.insert(net(PREFIX), origin);
    let first = configs[1].clone();
    (World::new(configs, 1), first)
}

fn standing(world: &mut World, node: usize) -> Vec<String> {
    let explained = world.speaker(node).explain(net(PREFIX));
    let lines = explained.paths.iter().map(|path| {
        let mut words = describe(path);
        if path.communities.iter().any(|c| c == "65535:65281") {
            words += ", no-export";
        }
        format!("{words}, {}", path.local_pref)
    });
    lines.collect()
}

/// As [`standing`], of a node that does not count the mark.
fn plain(world: &mut World, node: usize) -> Vec<(u32, String)> {
    let explained = world.speaker(node).explain(net(PREFIX));
    let line = |path: &PathInfo| (path.local_pref, path.communities.join(" "));
    explained.paths.iter().map(line).collect()
}

#[test]
fn only_those_who_know_them_are_told() {
    let (mut world, mut again) = star();
    world.seconds(5);
    for node in [2, 3, 4] {
        assert_eq!(standing(&mut world, node), ["best, 300"], "{node}");
    }
    world.kill(1);
    world.seconds(4);
    assert_eq!(standing(&mut world, 0), ["best, stale, 300"]);
    assert_eq!(standing(&mut world, 3), ["best, 300"], "not yet");
    world.seconds(2);
    assert_eq!(standing(&mut world, 0), ["best, stale, long-lived, 300"]);
    assert_eq!(standing(&mut world, 2), ["best, long-lived, 300"]);
    assert!(standing(&mut world, 3).is_empty(), "withdrawn");
    assert_eq!(
        plain(&mut world, 4),
        [(0, "65535:6 65535:65281".to_owned())]
    );
    // Who comes later is told the same.
    for node in [3, 4] {
        let peer = world::name(node);
        let text = "";
        world.handle(0, Input::Reset { peer: &peer, text });
    }
    world.seconds(10);
    assert!(standing(&mut world, 3).is_empty());
    assert_eq!(
        plain(&mut world, 4),
        [(0, "65535:6 65535:65281".to_owned())]
    );
    // That 4 is told is changed in place, and back.
    let mut config = world.speaker(0).config().clone();
    config.peers[3].long_lived_partial = false;
    config.peers[2].long_lived_partial = true;
    world.configure(0, config.clone());
    world.seconds(1);
    assert!(plain(&mut world, 4).is_empty());
    assert_eq!(
        plain(&mut world, 3),
        [(0, "65535:6 65535:65281".to_owned())]
    );
    assert!(world.is_up(0, 3) && world.is_up(0, 4));
    config.peers[2].long_lived_partial = false;
    world.configure(0, config);
    world.seconds(1);
    assert!(plain(&mut world, 3).is_empty());
    // It comes back, and all have it again as it was.
    again.restarting = true;
    world.start(1, again, 9);
    world.seconds(10);
    assert_eq!(standing(&mut world, 0), ["best, 300"]);
    for node in [2, 3, 4] {
        assert_eq!(standing(&mut world, node), ["best, 300"], "{node}");
    }
    world.check_reports();
    // It goes for good.
    world.kill(1);
    world.seconds(64);
    assert_eq!(standing(&mut world, 2), ["best, long-lived, 300"]);
    world.seconds(2);
    for node in [0, 2, 3, 4] {
        assert!(standing(&mut world, node).is_empty(), "{node}");
    }
    world.check_reports();
}

#[test]
fn any_other_path_is_better() {
    let (mut world, again) = star();
    // A worse one, that steps in.
    let mut other = world.speaker(3).config().clone();
    let origin = Origin {
        local_pref: Some(10),
        ..Origin::default()
    };
    other.origins.insert(net(PREFIX), origin);
    world.configure(3, other);
    world.seconds(5);
    assert_eq!(
        standing(&mut world, 0),
        ["best, 300", "local-pref, 10"],
        "the control"
    );
    world.kill(1);
    world.seconds(3);
    assert_eq!(
        standing(&mut world, 0),
        ["best, stale, 300", "local-pref, 10"],
        "while it may restart it is as good as ever"
    );
    world.seconds(4);
    assert_eq!(
        standing(&mut world, 0),
        ["best, 10", "long-lived-stale, stale, long-lived, 300"]
    );
    for node in [2, 4] {
        assert_eq!(standing(&mut world, node), ["best, 10"], "{node}");
    }
    world.start(1, again, 9);
    world.seconds(10);
    assert_eq!(standing(&mut world, 0), ["best, 300", "local-pref, 10"]);
    world.check_reports();
}
