//! What guards a session: the send hold timer (RFC 9687), GTSM (RFC 5082), TCP-MD5 (RFC 2385), TCP-AO (RFC 5925).
#![allow(missing_docs)]

mod script;

use bgp::{
    AoAlgorithm, AoKey, Authentication, AuthenticationRefusal, Config, ConnId, Input, Keys, Origin,
    Output, PeerConfig, PeerState, RangeConfig, Secret,
};
use script::{AS, CONN, Script, config, keepalive, open};
use std::time::Duration;

fn plain_open() -> Vec<u8> {
    open(AS, 90, &[])
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut script = Script::up(config(AS, |_| {}), &plain_open());
    script.wait_alive(1000);
    assert_eq!(
        script.state(),
        PeerState::Established,
        "the control: it reads"
    );
    script.full = true;
    // The next keepalive waits within 30 s; 8 minutes later it is over.
    script.wait_alive(480);
    assert_eq!(script.state(), PeerState::Established);
    script.wait_alive(31);
    assert_ne!(script.state(), PeerState::Established);
    assert_eq!(script.error(), "Error: Send hold timer expired");
    assert_eq!(script.notified().expect("said").0, 8);
    assert!(script.closed);
}

#[test]
fn any_progress_counts_and_the_time_can_be_set() {
    let change = |p: &mut PeerConfig| p.send_hold_time = Some(Duration::from_secs(40));
    let mut script = Script::up(config(AS, change), &plain_open());
    script.full = true;
    for _ in 0..20 {
        script.wait_alive(35);
        script.speaker.transmitted(CONN, 1, script.now);
        assert_eq!(script.state(), PeerState::Established);
    }
    script.wait_alive(41);
    assert_eq!(script.error(), "Error: Send hold timer expired");
    // Turned off.
    let change = |p: &mut PeerConfig| p.send_hold_time = Some(Duration::ZERO);
    let mut script = Script::up(config(AS, change), &plain_open());
    script.full = true;
    script.wait_alive(3000);
    assert_eq!(script.state(), PeerState::Established);
}

#[test]
fn a_long_hold_time_doubles_the_send_hold_time() {
    let change = |p: &mut PeerConfig| p.hold_time = Duration::from_secs(600);
    let mut script = Script::up(config(AS, change), &open(AS, 600, &[]));
    script.configure(|config| {
        let prefix = "10.9.0.0/24".parse().expect("a prefix");
        config.origins.insert(prefix, Origin::default());
    });
    script.full = true;
    script.configure(|config| config.origins.clear());
    script.wait_alive(1190);
    assert_eq!(script.state(), PeerState::Established);
    script.wait_alive(20);
    assert_eq!(script.error(), "Error: Send hold timer expired");
}

fn keyed(key: &[u8]) -> Config {
    config(AS, |peer| {
        peer.authentication = Authentication::Md5(Secret::new(key));
        peer.min_ttl = Some(255);
        peer.ttl = 255;
    })
}

#[test]
fn sockets_are_told_keys_and_limits_first() {
    let mut wanted = keyed(b"one");
    wanted.listen.push("10.0.0.1:179".parse().expect("address"));
    wanted.peers[0].passive = false;
    let mut script = Script::new(wanted);
    let [Output::Secure(security), Output::Listen(_)] = &script.outputs[..2] else {
        panic!("{:?}", script.outputs);
    };
    assert_eq!(security.keys.len(), 1);
    assert_eq!(
        (security.min_ttl, security.checks_first_ttl),
        (Some(255), true)
    );
    script.wait(2);
    let options = script.outputs.iter().find_map(|output| match output {
        Output::Connect { options, .. } => Some(options.clone()),
        _ => None,
    });
    let options = options.expect("it dials");
    assert_eq!((options.ttl, options.min_ttl), (255, Some(255)));
    assert_eq!(options.keys, Some(Keys::Md5(Secret::new(b"one"))));
    // Nobody answers: the name says what may be wrong.
    script.wait(6);
    assert!(
        script.error().contains("(tcp-md5-unanswered)"),
        "{}",
        script.error()
    );
}

#[test]
fn another_key_needs_no_new_session() {
    let mut script = Script::up(keyed(b"one"), &plain_open());
    script.outputs.clear();
    script.configure(|config| *config = keyed(b"two"));
    let [Output::Secure(security), Output::Rekey { conn: CONN, keys }] = &script.outputs[..] else {
        panic!("{:?}", script.outputs);
    };
    let two = Keys::Md5(Secret::new(b"two"));
    assert_eq!((&security.keys[0].1, keys), (keys, &two));
    assert_eq!(script.state(), PeerState::Established);
    // The control: a key that goes is another session.
    script.configure(|config| config.peers[0].authentication = Authentication::None);
    assert_eq!(script.notified().map(|n| (n.0, n.1)), Some((6, 6)));
}

/// Keys with these IDs and secrets.
fn ao(keys: &[(u8, u8, &[u8])]) -> Authentication {
    let key = |&(send_id, recv_id, secret): &(u8, u8, &[u8])| AoKey {
        send_id,
        recv_id,
        algorithm: AoAlgorithm::Aes128Cmac,
        secret: Secret::new(secret),
    };
    Authentication::Ao(keys.iter().map(key).collect())
}

#[test]
fn tcp_ao_keys_follow_each_other_without_a_new_session() {
    let with = |keys: &[(u8, u8, &[u8])]| config(AS, |peer| peer.authentication = ao(keys));
    let old = (1, 2, &b"old"[..]);
    let new = (3, 4, &b"new"[..]);
    let mut script = Script::up(with(&[old]), &plain_open());
    for keys in [&[old, new][..], &[new, old], &[new]] {
        script.outputs.clear();
        script.configure(|config| *config = with(keys));
        let [
            Output::Secure(security),
            Output::Rekey {
                conn: CONN,
                keys: told,
            },
        ] = &script.outputs[..]
        else {
            panic!("{:?}", script.outputs);
        };
        assert_eq!(Some(told), ao(keys).keys().as_ref());
        assert_eq!(&security.keys[0].1, told);
        assert_eq!(script.state(), PeerState::Established);
    }
    // The controls: another secret under an ID in use, or another kind, is another session.
    for keys in [
        ao(&[(5, 4, b"x")]),
        ao(&[(3, 5, b"x")]),
        ao(&[(3, 4, b"x")]),
    ] {
        let mut script = Script::up(with(&[new]), &plain_open());
        script.configure(|config| config.peers[0].authentication = keys.clone());
        assert_eq!(
            script.notified().map(|n| (n.0, n.1)),
            Some((6, 6)),
            "{keys:?}"
        );
    }
    script.configure(|config| *config = keyed(b"md5"));
    assert_eq!(script.notified().map(|n| (n.0, n.1)), Some((6, 6)));
}

#[test]
fn tcp_ao_that_is_not_answered_has_its_name() {
    let mut script = Script::new(config(AS, |peer| {
        peer.passive = false;
        peer.authentication = ao(&[(1, 2, b"one")]);
    }));
    script.wait(2);
    let dialled = script.outputs.iter().find_map(|output| match output {
        Output::Connect { options, .. } => options.keys.clone(),
        _ => None,
    });
    assert_eq!(dialled, ao(&[(1, 2, b"one")]).keys());
    script.wait(6);
    assert!(
        script.error().contains("(tcp-ao-unanswered)"),
        "{}",
        script.error()
    );
}

#[test]
fn no_session_without_the_password_that_shall_be() {
    let refusal = AuthenticationRefusal::PasswordUnavailable;
    let mut script = Script::new(config(AS, |peer| {
        peer.passive = false;
        peer.authentication = Authentication::Refused(refusal);
    }));
    script.wait(60);
    script.accept();
    assert!(script.closed, "nor does anybody come in");
    assert_eq!(
        script.speaker.peers()[0].info(),
        "Idle Error: password-unavailable"
    );
    let dialled = |script: &Script| {
        let mut outputs = script.outputs.iter();
        outputs.any(|output| matches!(output, Output::Connect { .. }))
    };
    assert!(!dialled(&script));
    // The control: the file is there again.
    script.configure(|config| {
        config.peers[0].authentication = Authentication::Md5(Secret::new(b"x"));
    });
    script.wait(2);
    assert!(dialled(&script));
}

#[test]
fn a_range_has_one_key() {
    let mut wanted = Config::new(AS.into(), [10, 0, 0, 1].into());
    wanted.ranges.push(RangeConfig {
        prefix: "10.0.0.0/24".parse().expect("prefix"),
        template: keyed(b"one").peers.remove(0),
        limit: 5,
    });
    let mut script = Script::new(wanted);
    script.accept();
    script.receive(&plain_open());
    script.receive(&keepalive());
    assert_eq!(script.state(), PeerState::Established);
    script.configure(|config| {
        config.ranges[0].template.authentication = Authentication::Md5(Secret::new(b"two"));
    });
    assert!(
        script
            .outputs
            .iter()
            .any(|output| matches!(output, Output::Rekey { .. }))
    );
    assert_eq!(script.state(), PeerState::Established);
}

#[test]
fn what_the_driver_refuses_is_shown_by_name() {
    let mut script = Script::new(keyed(b"one"));
    script.accept_from(ConnId::Accepted(7), [10, 0, 0, 2]);
    script.give(Input::Closed {
        conn: ConnId::Accepted(7),
        error: Some("ttl-too-low"),
    });
    assert_eq!(script.error(), "Socket: ttl-too-low");
}
