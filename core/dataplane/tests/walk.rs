//! Packets through node .84, each refusal with the state in which it does not happen.

mod node;

use std::collections::BTreeSet;

use dataplane::{
    Actual, Answer, Packet, Payload, Protocol, Reason, Route, RouteKind, Scope, Verdict, Walk,
    remove_link, walk,
};
use node::{CALI, converge, input, ip, kernel, net, programmed};

fn transport(protocol: Protocol, source_port: u16, destination_port: u16) -> Payload {
    Payload::Transport {
        protocol,
        source_port,
        destination_port,
    }
}

fn packet(input: Option<&str>, source: &str, destination: &str, payload: Payload) -> Packet {
    Packet {
        input: input.map(str::to_owned),
        source: ip(source),
        destination: ip(destination),
        payload,
        ttl: 64,
    }
}

/// From harbor on the LAN, TCP.
fn harbor(state: &Actual, destination: &str, port: u16) -> Walk {
    walk(
        &packet(
            Some("ens192"),
            "10.20.1.222",
            destination,
            transport(Protocol::Tcp, 40000, port),
        ),
        state,
    )
}

/// From the pod on this node.
fn pod(state: &Actual, destination: &str, port: u16) -> Walk {
    walk(
        &packet(
            Some(CALI),
            "10.200.0.193",
            destination,
            transport(Protocol::Tcp, 40000, port),
        ),
        state,
    )
}

/// From a process of this node.
fn process(state: &Actual, destination: &str, port: u16) -> Walk {
    walk(
        &packet(
            None,
            "0.0.0.0",
            destination,
            transport(Protocol::Tcp, 40000, port),
        ),
        state,
    )
}

fn sent(oif: &str, next_hop: &str) -> Verdict {
    Verdict::Sent {
        oif: oif.to_owned(),
        next_hop: ip(next_hop),
    }
}

fn refused(reason: Reason, answer: Answer) -> Verdict {
    Verdict::Refused { reason, answer }
}

#[test]
fn pods_are_reached_and_transit_is_untracked() {
    let state = programmed();
    let local = harbor(&state, "10.200.0.193", 80);
    assert_eq!(local.verdict, sent(CALI, "10.200.0.193"));
    assert!(local.tracked);
    let transit = harbor(&state, "10.200.1.193", 80);
    assert_eq!(transit.verdict, sent("ens192", "10.20.1.85"));
    assert!(!transit.tracked && !transit.redirect, "{transit:?}");
    assert_eq!(transit.packet.source, ip("10.20.1.222"));
    assert_eq!(transit.packet.ttl, 63);
    // Control: without our rules it is tracked, and without our parameter a redirect tells the short way.
    let mut bare = state.clone();
    bare.tables.clear();
    bare.sysctls.insert(
        "net/ipv4/conf/ens192/send_redirects".to_owned(),
        "1".to_owned(),
    );
    let transit = harbor(&bare, "10.200.1.193", 80);
    assert!(transit.tracked && transit.redirect);
    // A pod's own way to another node stays tracked.
    assert!(pod(&state, "10.200.1.193", 80).tracked);
}

#[test]
fn nobody_s_addresses_are_refused_from_everywhere() {
    let state = programmed();
    let unallocated = refused(Reason::AddressUnallocated, Answer::HostUnreachable);
    for destination in ["10.200.0.200", "10.200.0.7"] {
        assert_eq!(harbor(&state, destination, 80).verdict, unallocated);
        assert_eq!(pod(&state, destination, 80).verdict, unallocated);
    }
    assert_eq!(
        process(&state, "10.200.0.7", 80).verdict,
        refused(Reason::Unreachable, Answer::HostUnreachable)
    );
    assert_eq!(
        process(&state, "10.200.0.200", 80).verdict,
        refused(Reason::Blackhole, Answer::Invalid)
    );
    // Control: routes alone are silent in an own block, and with nothing at all it goes back to the router.
    let mut no_rules = state.clone();
    no_rules.tables.clear();
    assert_eq!(
        harbor(&no_rules, "10.200.0.200", 80).verdict,
        Verdict::Dropped {
            reason: Reason::Blackhole
        }
    );
    let mut bare = kernel();
    bare.sysctls
        .insert("net/ipv4/conf/ens192/forwarding".to_owned(), "1".to_owned());
    assert_eq!(
        harbor(&bare, "10.200.0.7", 80).verdict,
        sent("ens192", "10.20.0.1")
    );
    // A pod whose device is gone is nobody, with no help from rules.
    let mut gone = state;
    remove_link(&mut gone, CALI);
    assert_eq!(harbor(&gone, "10.200.0.193", 80).verdict, unallocated);
}

#[test]
fn unused_services_are_refused_and_used_ones_answer_ping() {
    let state = programmed();
    let reset = refused(Reason::ServicePortUnused, Answer::Reset);
    for ask in [harbor, pod, process] {
        assert_eq!(
            ask(&state, "10.210.0.99", 80).verdict,
            refused(Reason::ServiceAddressUnused, Answer::HostUnreachable)
        );
        assert_eq!(
            ask(&state, "10.210.0.10", 81).verdict,
            reset,
            "another port"
        );
        assert_eq!(ask(&state, "10.210.0.13", 80).verdict, reset, "no backends");
    }
    let udp = packet(
        Some("ens192"),
        "10.20.1.222",
        "10.210.0.10",
        transport(Protocol::Udp, 4000, 80),
    );
    assert_eq!(
        walk(&udp, &state).verdict,
        refused(Reason::ServicePortUnused, Answer::PortUnreachable)
    );
    let gre = packet(
        Some("ens192"),
        "10.20.1.222",
        "10.210.0.10",
        Payload::Other(47),
    );
    assert_eq!(
        walk(&gre, &state).verdict,
        refused(Reason::ServicePortUnused, Answer::ProtocolUnreachable)
    );
    for (input, source) in [
        (Some("ens192"), "10.20.1.222"),
        (Some(CALI), "10.200.0.193"),
        (None, "0.0.0.0"),
    ] {
        let echo = walk(&packet(input, source, "10.210.0.10", Payload::Echo), &state);
        assert_eq!(echo.verdict, Verdict::Delivered, "{echo:?}");
        let unused = walk(&packet(input, source, "10.210.0.99", Payload::Echo), &state);
        assert_eq!(
            unused.verdict,
            refused(Reason::ServiceAddressUnused, Answer::HostUnreachable)
        );
    }
    // Control: without our rules it leaves for the LAN.
    let mut bare = state;
    bare.tables.clear();
    assert_eq!(
        harbor(&bare, "10.210.0.99", 80).verdict,
        sent("ens192", "10.210.0.99")
    );
}

/// Verdict and source of one client's connections from many ports.
fn outcomes(
    state: &Actual,
    input: Option<&str>,
    source: &str,
) -> BTreeSet<(String, String, String)> {
    (40000..40100)
        .map(|port| {
            let walk = walk(
                &packet(
                    input,
                    source,
                    "10.210.0.10",
                    transport(Protocol::Tcp, port, 80),
                ),
                state,
            );
            let Verdict::Sent { oif, .. } = &walk.verdict else {
                panic!("{walk:?}")
            };
            assert!(matches!(
                walk.packet.payload,
                Payload::Transport {
                    destination_port: 8080,
                    ..
                }
            ));
            (
                walk.packet.destination.to_string(),
                oif.clone(),
                walk.packet.source.to_string(),
            )
        })
        .collect()
}

#[test]
fn services_translate_and_masquerade_only_where_the_way_back_needs_it() {
    let state = programmed();
    let expect = |local: &str, remote: &str| {
        BTreeSet::from([
            ("10.200.0.193".to_owned(), CALI.to_owned(), local.to_owned()),
            (
                "10.200.1.193".to_owned(),
                "ens192".to_owned(),
                remote.to_owned(),
            ),
        ])
    };
    assert_eq!(
        outcomes(&state, Some("ens192"), "10.20.1.222"),
        expect("10.20.1.222", "10.20.1.84")
    );
    // The pod itself: through the service to itself it must look like somebody else.
    assert_eq!(
        outcomes(&state, Some(CALI), "10.200.0.193"),
        expect("10.20.1.84", "10.200.0.193")
    );
    assert_eq!(
        outcomes(&state, None, "0.0.0.0"),
        expect("10.20.1.84", "10.20.1.84")
    );
}

#[test]
fn one_client_keeps_its_backend_with_affinity() {
    let mut wanted = input();
    for backends in wanted.services.values_mut() {
        backends.client_ip_affinity = true;
    }
    let mut state = kernel();
    converge(&wanted, &mut state);
    assert_eq!(outcomes(&state, Some("ens192"), "10.20.1.222").len(), 1);
    // Control: another client may well have another.
    let all: BTreeSet<_> = (1..100)
        .flat_map(|last| outcomes(&state, Some("ens192"), &format!("10.20.1.{last}")))
        .map(|one| one.0)
        .collect();
    assert_eq!(all.len(), 2);
}

#[test]
fn outgoing_nat_is_for_pods_towards_the_world() {
    let state = programmed();
    assert_eq!(
        pod(&state, "198.51.100.1", 443).packet.source,
        ip("10.20.1.84")
    );
    assert_eq!(
        pod(&state, "10.200.1.193", 80).packet.source,
        ip("10.200.0.193")
    );
    assert_eq!(
        harbor(&state, "10.200.0.193", 80).packet.source,
        ip("10.20.1.222")
    );
    let mut without = input();
    without
        .pools
        .values_mut()
        .for_each(|pool| pool.nat_outgoing = false);
    let mut state = kernel();
    converge(&without, &mut state);
    assert_eq!(
        pod(&state, "198.51.100.1", 443).packet.source,
        ip("10.200.0.193")
    );
}

#[test]
fn other_reasons_not_to_arrive() {
    let state = programmed();
    let dropped = |reason| Verdict::Dropped { reason };
    // A pod may not speak for another: strict reverse path on its device.
    let spoofed = packet(
        Some(CALI),
        "10.200.0.200",
        "10.200.1.193",
        transport(Protocol::Tcp, 1, 80),
    );
    assert_eq!(walk(&spoofed, &state).verdict, dropped(Reason::ReversePath));
    let mut loose = state.clone();
    loose
        .sysctls
        .insert(format!("net/ipv4/conf/{CALI}/rp_filter"), "0".to_owned());
    assert_eq!(walk(&spoofed, &loose).verdict, sent("ens192", "10.20.1.85"));

    let mut old = packet(Some("ens192"), "10.20.1.222", "10.200.1.193", Payload::Echo);
    old.ttl = 1;
    assert_eq!(
        walk(&old, &state).verdict,
        refused(Reason::TtlExceeded, Answer::TimeExceeded)
    );
    let mut still = state.clone();
    still
        .sysctls
        .insert("net/ipv4/conf/ens192/forwarding".to_owned(), "0".to_owned());
    assert_eq!(
        harbor(&still, "10.200.1.193", 80).verdict,
        dropped(Reason::ForwardingOff)
    );
    let mut down = state.clone();
    down.links.get_mut("ens192").expect("there").up = false;
    assert_eq!(
        harbor(&down, "10.200.1.193", 80).verdict,
        dropped(Reason::LinkDown)
    );
    assert_eq!(
        pod(&down, "10.200.1.193", 80).verdict,
        dropped(Reason::LinkDown)
    );
    let mut no_default = state.clone();
    no_default.routes.retain(|route| route.dst.prefix_len() > 0);
    assert_eq!(
        pod(&no_default, "198.51.100.1", 443).verdict,
        refused(Reason::NoRoute, Answer::NetworkUnreachable)
    );
    assert_eq!(harbor(&state, "10.20.1.84", 22).verdict, Verdict::Delivered);
}

#[test]
fn the_longest_prefix_and_then_the_lowest_metric_decide() {
    let mut state = programmed();
    let better = Route {
        scope: Scope::Link,
        ..Route::bird(
            net("10.200.1.193/32"),
            RouteKind::Device {
                oif: "ens192".to_owned(),
            },
        )
    };
    state.routes.insert(Route {
        metric: 20,
        ..Route::bird(net("10.200.1.193/32"), RouteKind::Unreachable)
    });
    state.routes.insert(better);
    assert_eq!(
        harbor(&state, "10.200.1.193", 80).verdict,
        sent("ens192", "10.200.1.193")
    );
}
