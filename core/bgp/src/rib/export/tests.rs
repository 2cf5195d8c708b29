use super::*;

fn plain(address: IpAddr) -> NextHop {
    NextHop {
        address,
        link_local: None,
    }
}

fn policy() -> Policy {
    Policy {
        ebgp: false,
        cluster: None,
        local_as: 64512,
        as4: true,
        max_message: 4096,
        add_paths: None,
        own_address: Some(plain(IpAddr::from([10, 0, 0, 1]))),
        extended_next_hop: false,
        next_hop: NextHopMode::Auto,
        network: None,
        role: None,
        tell_stale: TellStale::Not,
        filter: Filter::accept_all(),
        interfaces: None,
        loc_rib: false,
    }
}

fn from_ibgp() -> Origin {
    Origin {
        local: false,
        ibgp: true,
        cluster: None,
        router_id: Ipv4Addr::new(10, 0, 0, 9),
        address: IpAddr::from([10, 0, 0, 9]),
        long_lived: false,
        scope: 0,
    }
}

fn block(parts: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (flags, kind, value) in parts {
        put(&mut out, *flags, *kind, value);
    }
    out
}

#[track_caller]
fn check(
    policy: &Policy,
    origin: &Origin,
    input: &[(u8, u8, &[u8])],
    expected: &[(u8, u8, &[u8])],
) {
    let mut made = Attributes::default();
    made.write(policy, &block(input), origin, &[]);
    assert_eq!([made.head, made.tail].concat(), block(expected));
}

const PATH: &[u8] = &[2, 1, 0, 0, 0xfd, 0xe9];

#[test]
fn own_route_to_ibgp_and_ebgp() {
    let own: &[(u8, u8, &[u8])] = &[(0x40, 1, &[0]), (0x40, 2, &[]), (0x80, 4, &[0, 0, 0, 9])];
    check(
        &policy(),
        &Origin::LOCAL,
        own,
        &[own[0], own[1], own[2], (0x40, 5, &[0, 0, 0, 100])],
    );
    let ebgp = Policy {
        ebgp: true,
        ..policy()
    };
    check(
        &ebgp,
        &Origin::LOCAL,
        own,
        &[own[0], (0x40, 2, &[2, 1, 0, 0, 0xfc, 0]), own[2]],
    );
}

#[test]
fn reflection_adds_originator_and_cluster() {
    let cluster = Some(Ipv4Addr::new(244, 0, 0, 1));
    let clients = Policy {
        cluster,
        ..policy()
    };
    let path = &[
        (0x40, 1, &[0][..]),
        (0x40, 2, &[]),
        (0x40, 5, &[0, 0, 0, 7]),
    ];
    let mut expected = path.to_vec();
    expected.push((0x80, 9, &[10, 0, 0, 9]));
    expected.push((0x80, 10, &[244, 0, 0, 1]));
    check(&clients, &from_ibgp(), path, &expected);
    // Reflected before: the originator stays, the list grows in front.
    let mut again = expected.clone();
    again[3] = (0x80, 9, &[10, 0, 0, 3]);
    again[4] = (0x80, 10, &[9, 9, 9, 9]);
    again.push((0xc0, 16, &[1; 8]));
    let mut twice = again.clone();
    twice[4] = (0x80, 10, &[244, 0, 0, 1, 9, 9, 9, 9]);
    check(&clients, &from_ibgp(), &again, &twice);
    // To eBGP none of it goes out.
    let ebgp = Policy {
        ebgp: true,
        ..policy()
    };
    let short = [again[0], (0x40, 2, &[2, 1, 0, 0, 0xfc, 0][..]), again[5]];
    check(&ebgp, &from_ibgp(), &again, &short);
}

#[test]
fn reflection_rules() {
    let client = Origin {
        cluster: Some(Ipv4Addr::new(1, 1, 1, 1)),
        ..from_ibgp()
    };
    let clients = Policy {
        cluster: client.cluster,
        ..policy()
    };
    let ebgp = Policy {
        ebgp: true,
        ..policy()
    };
    assert!(
        !policy().admits_origin(&from_ibgp()),
        "non-client to non-client"
    );
    assert!(policy().admits_origin(&client), "client to non-client");
    assert!(clients.admits_origin(&from_ibgp()), "non-client to client");
    assert!(clients.admits_origin(&client), "client to client");
    assert!(policy().admits_origin(&Origin::LOCAL) && ebgp.admits_origin(&from_ibgp()));
}

#[test]
fn next_hops() {
    let kept = NextHop {
        address: IpAddr::from([10, 9, 9, 9]),
        link_local: None,
    };
    let unset = NextHop {
        address: IpAddr::from([0, 0, 0, 0]),
        link_local: None,
    };
    let own = policy().own_address;
    let ebgp = Policy {
        ebgp: true,
        ..policy()
    };
    let keep = Policy {
        next_hop: NextHopMode::Keep,
        ..ebgp.clone()
    };
    let self_ = Policy {
        next_hop: NextHopMode::SelfAddress,
        ..policy()
    };
    assert_eq!(
        policy().next_hop(kept, &from_ibgp(), Family::Ipv4, &[]),
        Some(kept)
    );
    assert_eq!(
        policy().next_hop(unset, &Origin::LOCAL, Family::Ipv4, &[]),
        own
    );
    assert_eq!(ebgp.next_hop(kept, &from_ibgp(), Family::Ipv4, &[]), own);
    assert_eq!(
        ebgp.next_hop(kept, &Origin::LOCAL, Family::Ipv4, &[]),
        Some(kept),
        "a configured one"
    );
    assert_eq!(
        keep.next_hop(kept, &from_ibgp(), Family::Ipv4, &[]),
        Some(kept)
    );
    assert_eq!(self_.next_hop(kept, &from_ibgp(), Family::Ipv4, &[]), own);
}

#[test]
fn third_party_next_hops() {
    let hop = |text: &str| plain(text.parse().expect("an address"));
    let check = |family, network: &str, given: &str, kept: bool| {
        let third = Policy {
            ebgp: true,
            next_hop: NextHopMode::ThirdParty,
            network: Some(network.parse().expect("a network")),
            ..policy()
        };
        let told = third.next_hop(hop(given), &from_ibgp(), family, &[]);
        let expected = if kept { hop(given) } else { hop("10.0.0.1") };
        assert_eq!(told, Some(expected), "{given} in {network}");
        assert!(!kept || third.spares(hop(given), family, &[]));
        let set = [Operation::SetNextHop(hop(given).address)];
        assert!(!third.spares(hop(given), family, &set), "what a rule says");
    };
    check(Family::Ipv4, "10.9.0.0/24", "10.9.0.7", true);
    check(Family::Ipv4, "10.9.0.0/24", "10.9.1.7", false);
    check(Family::Ipv6, "fd09::/64", "fd09::7", true);
    check(Family::Ipv6, "fd09::/64", "fd0a::7", false);
    check(Family::Ipv6, "fe80::/64", "fe80::7", false);
}

#[test]
fn only_to_customer() {
    let to = |role| Policy {
        ebgp: true,
        role: Some(role),
        ..policy()
    };
    let path = [(0x40, 1, &[0][..]), (0x40, 2, PATH)];
    let own_path = &[2, 2, 0, 0, 0xfc, 0, 0, 0, 0xfd, 0xe9];
    let mark = (0xc0, 35, &[0, 0, 0xfc, 0][..]);
    let theirs = (0xc0, 35, &[0, 0, 0xfd, 0xe9][..]);
    let large = (0xc0, 32, &[1; 12][..]);
    let later = (0xe0, 99, &[1][..]);
    let ibgp = &from_ibgp();
    // It goes where its type says, and once.
    let sent = [path[0], (0x40, 2, own_path), large, mark, later];
    check(
        &to(Role::Provider),
        ibgp,
        &[path[0], path[1], large, later],
        &sent,
    );
    check(&to(Role::Provider), ibgp, &path, &[sent[0], sent[1], mark]);
    let marked = [path[0], path[1], theirs];
    check(
        &to(Role::Provider),
        ibgp,
        &marked,
        &[sent[0], sent[1], theirs],
    );
    // A provider is told nothing with it, and gets it on nothing.
    check(&to(Role::Customer), ibgp, &path, &sent[..2]);
    for (role, up) in [
        (Role::Customer, true),
        (Role::Peer, true),
        (Role::Provider, false),
    ] {
        let passes = |input| to(role).admits_communities(&Record::read(&block(input)));
        assert!(passes(&path), "the control");
        assert_eq!(passes(&marked), !up, "{role:?}");
    }
}

#[test]
fn long_lived_stale() {
    let from = Origin {
        ibgp: false,
        long_lived: true,
        ..from_ibgp()
    };
    let to = |tell_stale| Policy {
        tell_stale,
        ..policy()
    };
    const STALE: &[u8] = &[0xff, 0xff, 0, 6];
    let fresh = [
        (0x40, 1, &[0][..]),
        (0x40, 2, PATH),
        (0x40, 5, &[0, 0, 0, 100]),
    ];
    let stale = [fresh[0], fresh[1], fresh[2], (0xc0, 8, STALE)];
    let admits = |tell_stale, origin: &Origin, input: &[_]| {
        to(tell_stale).admits_stale(&Record::read(&block(input)), origin)
    };
    assert!(!admits(TellStale::Not, &from, &stale));
    for (tell, origin, input) in [
        (TellStale::Not, &from, &fresh[..]),
        (TellStale::Not, &from_ibgp(), &stale),
        (TellStale::Marked, &from, &stale),
        (TellStale::Depreferenced, &from, &stale),
    ] {
        assert!(admits(tell, origin, input), "{tell:?}");
    }
    check(&to(TellStale::Marked), &from, &stale, &stale);
    let least = [
        fresh[0],
        fresh[1],
        (0x40, 5, &[0; 4][..]),
        (0xc0, 8, &[0xff, 0xff, 0, 6, 0xff, 0xff, 0xff, 1]),
    ];
    check(&to(TellStale::Depreferenced), &from, &stale, &least);
    check(&to(TellStale::Depreferenced), &from, &fresh, &fresh);
    // A rule that clears communities leaves the mark, where it is one.
    let clear = [Operation::ClearCommunities(filter::CommunityKind::Standard)];
    for (origin, expected) in [(from, &stale[..]), (from_ibgp(), &fresh)] {
        let client = Policy {
            cluster: origin.cluster,
            ebgp: false,
            ..to(TellStale::Marked)
        };
        let mut made = Attributes::default();
        let origin = Origin {
            ibgp: false,
            ..origin
        };
        made.write(&client, &block(&stale), &origin, &clear);
        assert_eq!([made.head, made.tail].concat(), block(expected));
    }
}

#[test]
fn two_octet_peer() {
    let old = Policy {
        ebgp: true,
        as4: false,
        local_as: 4_200_000_000,
        ..policy()
    };
    let aggregator = &[0xfa, 0x56, 0xea, 1, 10, 0, 0, 1];
    check(
        &old,
        &from_ibgp(),
        &[(0x40, 1, &[0]), (0x40, 2, PATH), (0xc0, 7, aggregator)],
        &[
            (0x40, 1, &[0]),
            (0x40, 2, &[2, 2, 0x5b, 0xa0, 0xfd, 0xe9]),
            (0xc0, 7, &[0x5b, 0xa0, 10, 0, 0, 1]),
            (0xc0, 18, aggregator),
            (0xc0, 17, &[2, 2, 0xfa, 0x56, 0xea, 0, 0, 0, 0xfd, 0xe9]),
        ],
    );
}
