//! Which addresses and blocks are given to whom: pools, reservations, limits, borrowing, tunnels, services, Windows.

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::{ADDED, CLAIMED, dump, ip, now, pod, pool, put, request};
use ipam::{
    Claimant, Ipam, LOAD_BALANCER, Owner, PoolChoice, Refusal, Release, ReleaseRequest, Request,
    TunnelKind, Use,
};
use resource::kinds::{EncapMode, IpReservationSpec, Node, NodeSpec};
use resource::{Key, Kind, MemoryStore, Store};

#[test]
fn the_load_balancer_s_blocks_are_no_node_s() {
    let store = MemoryStore::new();
    pool(&store, "pods", "10.244.0.0/16", |_| ());
    let ipam = Ipam::new(&store);
    let owner = Owner {
        handle: Some(ipam::load_balancer::handle("web", "default", "u")),
        attributes: BTreeMap::new(),
    };
    let asked = Request {
        intended: Use::LoadBalancer,
        ..request(&owner, LOAD_BALANCER)
    };
    let refused = now(ipam.auto_assign(&asked, CLAIMED)).unwrap_err();
    assert_eq!(refused, Refusal::NoPoolForUse("LoadBalancer").into());
    pool(&store, "services", "10.9.0.0/24", |p| {
        p.allowed_uses = vec!["LoadBalancer".to_string()]
    });
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    let block = given.addresses[0].block;
    let text = dump(&store);
    assert!(
        text.contains("\"affinity\":\"virtual:load-balancer\""),
        "{text}"
    );
    let segment = block.to_string().replace('/', "-");
    assert!(
        text.contains(&format!(
            "/calico/ipam/v2/virtual/load-balancer/ipv4/block/{segment}\n{{\"state\":\"confirmed\",\"deleted\":false}}"
        )),
        "{text}"
    );
    // A workload gets none of them, and does not count them.
    put(&store, "load-balancer", NodeSpec::default());
    let pod = pod("net", "c", "load-balancer", ADDED);
    let given = now(ipam.auto_assign(&request(&pod, "load-balancer"), CLAIMED)).unwrap();
    assert!(given.addresses[0].block.to_string().starts_with("10.244."));
    let wanted = ip("10.9.0.200");
    let claimant = Claimant::Virtual(LOAD_BALANCER);
    now(ipam.assign_ip(wanted, &owner, claimant, CLAIMED)).unwrap();
    assert_eq!(
        now(ipam.ips_by_handle(owner.handle.as_ref().unwrap()))
            .unwrap()
            .len(),
        2
    );
    now(ipam.release_pool_affinities("10.9.0.0/24".parse().unwrap())).unwrap();
    assert!(!dump(&store).contains("/virtual/"));
}

#[test]
fn windows_keeps_four_addresses_of_a_block() {
    let store = MemoryStore::new();
    put(&store, "w", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/28", |p| p.block_size = Some(29));
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "w", ADDED);
    let asked = Request {
        count: 16,
        windows: true,
        ..request(&owner, "w")
    };
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 8);
    assert!(given.addresses.iter().all(|a| [3, 4, 5, 6].contains(
        &(u32::from_be_bytes(match a.address {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => panic!("IPv4"),
        }) % 8)
    )));
    assert!(dump(&store).contains("windows-reserved-ipam-handle"));
    // Empty but for them is empty.
    now(ipam.release_by_handle("net.c")).unwrap();
    now(ipam.release_host("w")).unwrap();
    assert_eq!(dump(&store), "");
}

#[test]
fn a_block_of_nobody_goes_with_its_last_address() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    for (container, by_address) in [("c1", false), ("c2", true)] {
        let owner = pod("net", container, "a", ADDED);
        let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
        let block = given.addresses[0].block;
        now(ipam.release_affinity("a", block, Release::Any)).unwrap();
        assert!(dump(&store).contains("\"affinity\":null"));
        if by_address {
            now(ipam.release_ips(&[ReleaseRequest::of(given.addresses[0].address)])).unwrap();
        } else {
            now(ipam.release_by_handle(&format!("net.{container}"))).unwrap();
        }
        assert_eq!(dump(&store), "", "nobody could claim it again");
    }
}

#[test]
fn old_handles_are_compared_without_what_stands_behind_them() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/30", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c\r\neth0", "a", ADDED);
    let address = ip("10.0.0.1");
    now(ipam.assign_ip(address, &owner, "a", CLAIMED)).unwrap();
    let plain = ReleaseRequest {
        handle: Some("net.c".to_string()),
        ..ReleaseRequest::of(address)
    };
    assert_eq!(now(ipam.release_ips(&[plain])).unwrap().released, [address]);
    assert!(!dump(&store).contains("/handle/"), "{}", dump(&store));
}

#[test]
fn without_new_blocks_of_its_own_a_node_borrows() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    put(&store, "b", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/28", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let none = ipam::Config {
        auto_allocate_blocks: false,
        ..ipam::Config::default()
    };
    now(ipam.set_config(&none)).unwrap();
    let owner = pod("net", "c", "a", ADDED);
    let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
    assert_eq!(given.shortfall.map(|r| r.name()), Some("exhausted"));
    now(ipam.claim_block("b", "10.0.0.4/30".parse().unwrap(), CLAIMED)).unwrap();
    let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
    assert_eq!(given.addresses[0].address, ip("10.0.0.4"));
    assert!(!dump(&store).contains("/host/a/"));
}

#[test]
fn a_tunnel_of_wireguard_is_for_nodes_with_a_key() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "four", "10.0.0.0/24", |_| ());
    pool(&store, "six", "fd00::/64", |_| ());
    let ipam = Ipam::new(&store);
    let ensure = |kind| now(ipam.ensure_tunnel_address("a", kind, None, CLAIMED)).unwrap();
    assert_eq!(ensure(TunnelKind::Wireguard), None, "no key");
    let entry = now(store.get(&Key::cluster(Kind::Node, "a")))
        .unwrap()
        .unwrap();
    let mut node = Node::from_entry(&entry).unwrap();
    node.status.wireguard_public_key = "k".to_string();
    node.status.wireguard_public_key_v6 = "k".to_string();
    now(store.update(&entry.key, &node.to_stored(), entry.revision)).unwrap();
    assert!(ensure(TunnelKind::Wireguard).unwrap().is_ipv4());
    assert!(ensure(TunnelKind::WireguardV6).unwrap().is_ipv6());
    for (kind, handle, attribute) in [
        (
            TunnelKind::Wireguard,
            "wireguard-tunnel-addr-a",
            "wireguardTunnelAddress",
        ),
        (
            TunnelKind::WireguardV6,
            "wireguard-v6-tunnel-addr-a",
            "wireguardV6TunnelAddress",
        ),
        (
            TunnelKind::Vxlan,
            "vxlan-tunnel-addr-a",
            "vxlanTunnelAddress",
        ),
        (
            TunnelKind::VxlanV6,
            "vxlan-v6-tunnel-addr-a",
            "vxlanV6TunnelAddress",
        ),
    ] {
        assert_eq!(
            (kind.handle("a").as_str(), kind.attribute()),
            (handle, attribute)
        );
    }
    now(ipam.release_host("a")).unwrap();
    assert_eq!(dump(&store), "");
}

/// What the how-to shows: five nodes, each with its own /26 of 10.200.0.0/23.
#[test]
fn five_nodes_share_the_how_to_s_pool() {
    let store = MemoryStore::new();
    pool(&store, "default-ipv4-ippool", "10.200.0.0/23", |_| ());
    let ipam = Ipam::new(&store);
    let mut blocks = Vec::new();
    for n in 81..86 {
        let host = format!("ip-10-20-1-{n}");
        put(&store, &host, NodeSpec::default());
        let owner = pod("net", &format!("c{n}"), &host, ADDED);
        blocks.push(
            now(ipam.auto_assign(&request(&owner, &host), CLAIMED))
                .unwrap()
                .addresses[0]
                .block,
        );
    }
    blocks.sort();
    blocks.dedup();
    assert_eq!(blocks.len(), 5);
    assert!(blocks.iter().all(|b| b.prefix_len() == 26));
}

#[test]
fn every_refusal_has_its_name_and_calico_s_words() {
    let store = MemoryStore::new();
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "n", ADDED);
    let refused = |choice: PoolChoice<'static>, intended: Use| {
        let request = Request {
            pools: choice,
            intended,
            ..request(&owner, "n")
        };
        match now(ipam.auto_assign(&request, CLAIMED)) {
            Err(ipam::IpamError::Refused(refusal)) => (refusal.name(), refusal.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let automatic = PoolChoice::Automatic {
        namespace_labels: None,
    };
    let workload = |choice| refused(choice, Use::Workload);
    assert_eq!(workload(automatic).0, "node-unknown");
    put(&store, "n", NodeSpec::default());
    let none = "cannot find a qualified ippool".to_string();
    assert_eq!(workload(automatic), ("no-pool", none.clone()));
    pool(&store, "off", "10.0.0.0/24", |p| p.disabled = true);
    assert_eq!(workload(automatic), ("pools-disabled", none.clone()));
    pool(&store, "elsewhere", "10.0.1.0/24", |p| {
        p.node_selector = "has(gpu)".to_string()
    });
    pool(&store, "manual", "10.0.3.0/24", |p| {
        p.assignment_mode = Some("Manual".to_string())
    });
    assert_eq!(workload(automatic), ("no-pool-selects-node", none));
    static WANTED: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| vec!["off".to_string()]);
    let text = "the given pool (off) does not exist, or is not enabled".to_string();
    assert_eq!(
        workload(PoolChoice::Requested(&WANTED)),
        ("requested-pool", text)
    );
    pool(&store, "work", "10.0.2.0/30", |p| {
        p.allowed_uses = vec!["Workload".to_string()];
        p.block_size = Some(31);
    });
    let text =
        "cannot find a qualified ippool, no pools match the required use (Tunnel)".to_string();
    assert_eq!(refused(automatic, Use::Tunnel), ("no-pool-for-use", text));

    // Controls: the same call with a pool gives an address, and so does a pool that is asked for, whatever it selects.
    let four = Request {
        count: 5,
        ..request(&owner, "n")
    };
    let given = now(ipam.auto_assign(&four, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 4);
    assert_eq!(
        given.shortfall.as_ref().map(Refusal::name),
        Some("exhausted")
    );
    let text =
        "Assigned 4 out of 5 requested IPv4 addresses; No IPs available in pools: [10.0.2.0/30]";
    assert_eq!(given.shortfall_text().as_deref(), Some(text));
    static ELSEWHERE: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| vec!["10.0.1.0/24".to_string()]);
    let asked = Request {
        pools: PoolChoice::Requested(&ELSEWHERE),
        ..request(&owner, "n")
    };
    assert_eq!(
        now(ipam.auto_assign(&asked, CLAIMED)).unwrap().shortfall,
        None
    );
}

#[test]
fn limits_strict_affinity_and_borrowing() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    put(&store, "b", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let ask = |host: &'static str, count| {
        now(ipam.auto_assign(
            &Request {
                count,
                ..request(&owner, host)
            },
            CLAIMED,
        ))
        .unwrap()
    };
    let given = now(ipam.auto_assign(
        &Request {
            count: 5,
            max_blocks: Some(1),
            ..request(&owner, "a")
        },
        CLAIMED,
    ))
    .unwrap();
    assert_eq!(
        (given.addresses.len(), given.shortfall),
        (4, Some(Refusal::BlockLimit))
    );
    let other = ask("b", 1);
    assert_ne!(other.addresses[0].block, given.addresses[0].block);
    // Both blocks are taken now; a borrows from b's, unless that is forbidden.
    let mut config = now(ipam.config()).unwrap();
    config.strict_affinity = true;
    now(ipam.set_config(&config)).unwrap();
    let strict = ask("a", 1);
    let text = "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled";
    assert_eq!(strict.shortfall_text().as_deref(), Some(text));
    let wanted = ipam::block::address(&other.addresses[0].block, 3);
    let refused = now(ipam.assign_ip(wanted, &owner, "a", CLAIMED)).unwrap_err();
    assert_eq!(
        refused,
        Refusal::BlockOfAnother(other.addresses[0].block).into()
    );
    config.strict_affinity = false;
    now(ipam.set_config(&config)).unwrap();
    let borrowed = ask("a", 4);
    assert_eq!(borrowed.addresses.len(), 3);
    assert!(
        borrowed
            .addresses
            .iter()
            .all(|x| x.block == other.addresses[0].block)
    );
    assert_eq!(borrowed.shortfall.map(|r| r.name()), Some("exhausted"));
}

#[test]
fn a_specific_address_is_given_once() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/24", |_| ());
    pool(&store, "off", "10.0.1.0/24", |p| p.disabled = true);
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let given = now(ipam.assign_ip(ip("10.0.0.200"), &owner, "a", CLAIMED)).unwrap();
    assert_eq!(given.block.to_string(), "10.0.0.192/26");
    assert_eq!(
        now(ipam.ips_by_handle("net.c")).unwrap(),
        [ip("10.0.0.200")]
    );
    let again = now(ipam.assign_ip(ip("10.0.0.200"), &owner, "a", CLAIMED));
    assert_eq!(again, Err(Refusal::AddressTaken(ip("10.0.0.200")).into()));
    assert_eq!(
        now(ipam.ips_by_handle("net.c")).unwrap().len(),
        1,
        "the handle was put back"
    );
    for outside in ["10.0.1.1", "10.9.9.9", "fd00::1"] {
        let refused = now(ipam.assign_ip(ip(outside), &owner, "a", CLAIMED));
        assert_eq!(refused, Err(Refusal::AddressNotInPool.into()), "{outside}");
    }
    let mut wrong = ReleaseRequest::of(ip("10.0.0.200"));
    wrong.handle = Some("net.other".to_string());
    assert_eq!(
        now(ipam.release_ips(&[wrong])),
        Err(Refusal::HandleMismatch(ip("10.0.0.200")).into())
    );
    let stale = ReleaseRequest {
        sequence: Some(7),
        ..ReleaseRequest::of(ip("10.0.0.200"))
    };
    assert_eq!(
        now(ipam.release_ips(&[stale])),
        Err(Refusal::SequenceMismatch(ip("10.0.0.200")).into())
    );
    let outcome = now(ipam.release_ips(&[
        ReleaseRequest::of(ip("10.0.0.200")),
        ReleaseRequest::of(ip("10.0.0.1")),
    ]))
    .unwrap();
    assert_eq!(
        (outcome.released, outcome.unallocated),
        (vec![ip("10.0.0.200")], vec![ip("10.0.0.1")])
    );
    assert!(!dump(&store).contains("/handle/"));
}

#[test]
fn a_block_whose_pool_no_longer_selects_the_node_is_given_up_when_empty() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "here", "10.0.0.0/24", |_| ());
    pool(&store, "there", "10.0.1.0/24", |p| {
        p.node_selector = "has(gpu)".to_string()
    });
    let ipam = Ipam::new(&store);
    for (cidr, used) in [("10.0.1.0/26", true), ("10.0.1.64/26", false)] {
        let cidr = cidr.parse().unwrap();
        assert!(now(ipam.claim_block("a", cidr, CLAIMED)).unwrap());
        if used {
            now(ipam.assign_ip(cidr.addr(), &pod("net", "old", "a", ADDED), "a", CLAIMED)).unwrap();
        }
    }
    let given =
        now(ipam.auto_assign(&request(&pod("net", "new", "a", ADDED), "a"), CLAIMED)).unwrap();
    assert!(given.addresses[0].block.to_string().starts_with("10.0.0."));
    let text = dump(&store);
    assert!(text.contains("/host/a/ipv4/block/10.0.1.0-26"), "{text}");
    assert!(!text.contains("10.0.1.64"), "{text}");
}

#[test]
fn an_empty_block_of_another_host_is_taken_over_after_a_minute() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    put(&store, "b", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/26", |_| ());
    let ipam = Ipam::new(&store);
    assert!(now(ipam.claim_block("b", "10.0.0.0/26".parse().unwrap(), CLAIMED)).unwrap());
    let owner = pod("net", "c", "a", ADDED);
    now(ipam.auto_assign(&request(&owner, "a"), CLAIMED + 59_000_000_000)).unwrap();
    assert!(
        dump(&store).contains("\"affinity\":\"host:b\""),
        "too early: the address is borrowed"
    );
    now(ipam.release_by_handle("net.c")).unwrap();
    now(ipam.auto_assign(&request(&owner, "a"), CLAIMED + 61_000_000_000)).unwrap();
    let text = dump(&store);
    assert!(
        text.contains("\"affinity\":\"host:a\"") && !text.contains("/host/b/"),
        "{text}"
    );
}

#[test]
fn a_tunnel_address_is_kept_moved_and_released() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/24", |p| {
        p.ipip_mode = Some(EncapMode::CrossSubnet)
    });
    let ipam = Ipam::new(&store);
    let ensure =
        |kind, current| now(ipam.ensure_tunnel_address("a", kind, current, CLAIMED)).unwrap();
    assert_eq!(ensure(TunnelKind::Vxlan, None), None, "no pool has VXLAN");
    let first = ensure(TunnelKind::Ipip, None);
    assert!(first.is_some());
    assert_eq!(ensure(TunnelKind::Ipip, first), first, "kept");
    let owner = now(ipam.owner_of(first.unwrap())).unwrap().unwrap();
    assert_eq!(owner.handle_id.as_deref(), Some("ipip-tunnel-addr-a"));
    let text = "{\"node\":\"a\",\"type\":\"ipipTunnelAddress\"}";
    assert!(dump(&store).contains(text));
    let moved = ensure(TunnelKind::Ipip, Some(ip("10.0.0.99")));
    assert!(
        moved.is_some() && moved != Some(ip("10.0.0.99")),
        "an address that is not ours is not kept"
    );
    assert_eq!(
        now(ipam.ips_by_handle("ipip-tunnel-addr-a")).unwrap().len(),
        1
    );
    now(ipam.release_host("a")).unwrap();
    assert_eq!(dump(&store), "", "nothing is left of the host");
}

#[test]
fn reserved_addresses_are_not_given_by_chance() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let reserve = |name: &str, cidrs: &[&str]| {
        let reserved_cidrs = cidrs.iter().map(ToString::to_string).collect();
        put(&store, name, IpReservationSpec { reserved_cidrs });
    };
    // One block wholly, by two reservations; of the other two addresses, one of them bare.
    reserve(
        "r1",
        &["10.0.0.0/31", "10.0.0.4/32", "10.0.0.5", "2001:db8::/64"],
    );
    reserve("r2", &["10.0.0.2/31"]);
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let asked = Request {
        count: 8,
        ..request(&owner, "a")
    };
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    let addresses: Vec<IpAddr> = given.addresses.iter().map(|x| x.address).collect();
    assert_eq!(addresses, [ip("10.0.0.6"), ip("10.0.0.7")]);
    assert!(
        !dump(&store).contains("10.0.0.0-30"),
        "no use in claiming it"
    );
    // Asked for by name, it is given.
    let wanted = ip("10.0.0.1");
    let given = now(ipam.assign_ip(wanted, &owner, "a", CLAIMED)).unwrap();
    assert_eq!(given.address, wanted);
    // The control: without the reservations the rest is given too.
    for name in ["r1", "r2"] {
        now(store.delete(&Key::cluster(Kind::IpReservation, name), None)).unwrap();
    }
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 5);
    reserve("r3", &["ten"]);
    let refused = now(ipam.auto_assign(&asked, CLAIMED)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the IPReservation r3 cannot be read: \"ten\" is no CIDR"
    );
}
