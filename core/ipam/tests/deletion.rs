//! What deleting a node and a pool through the client leaves of their addresses.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ipam::{Family, Ipam, Owner, PoolChoice, Request, Use};
use resource::kinds::{IpPool, IpPoolSpec, Node, NodeSpec, WorkloadEndpoint, WorkloadEndpointSpec};
use resource::{Client, Key, KeyPrefix, Kind, MemoryStore, Metadata, Stamp, Store};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

const NOW: u64 = 1_795_386_347_988_257_369;

fn stamp() -> Stamp {
    Stamp {
        uid: "u".to_string(),
        now_rfc3339: "2026-11-22T22:20:03Z".to_string(),
    }
}

/// A workload on a node, with an address from IPAM.
fn workload(store: &MemoryStore, node: &str, container: &str) -> IpAddr {
    let owner = Owner {
        handle: Some(format!("net.{container}")),
        attributes: BTreeMap::from([("node".to_string(), node.to_string())]),
    };
    let request = Request {
        count: 1,
        family: Family::V4,
        owner: &owner,
        host: node,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: None,
        windows: false,
    };
    let given = now(Ipam::new(store).auto_assign(&request, NOW)).unwrap();
    let address = given.addresses[0].address;
    let spec = WorkloadEndpointSpec {
        orchestrator: "cni".to_string(),
        node: node.to_string(),
        container_id: container.to_string(),
        endpoint: "eth0".to_string(),
        interface_name: format!("cali{container}"),
        ip_networks: vec![format!("{address}/32")],
        ..WorkloadEndpointSpec::default()
    };
    let endpoint = WorkloadEndpoint::new(Metadata::namespaced("default", ""), spec);
    now(Client::new(store).create(endpoint.into(), &stamp())).unwrap();
    address
}

fn paths(store: &MemoryStore, prefix: &KeyPrefix) -> Vec<String> {
    let listing = now(store.list(prefix)).unwrap();
    listing.entries.iter().map(|e| e.key.path()).collect()
}

#[test]
fn a_deleted_node_gives_back_its_addresses_and_blocks() {
    let store = MemoryStore::new();
    let client = Client::with_allocations(&store, Ipam::new(&store));
    for name in ["a", "b"] {
        let node = Node::new(Metadata::named(name), NodeSpec::default());
        now(client.create(node.into(), &stamp())).unwrap();
    }
    let pool = IpPoolSpec {
        cidr: "10.244.0.0/24".to_string(),
        ..IpPoolSpec::default()
    };
    let pool = IpPool::new(Metadata::named("p"), pool);
    now(client.create(pool.into(), &stamp())).unwrap();
    let first = workload(&store, "a", "c1");
    let second = workload(&store, "b", "c2");
    let owner = |address| now(Ipam::new(&store).owner_of(address)).unwrap();
    assert!(owner(first).is_some() && owner(second).is_some());

    now(client.delete(&Key::cluster(Kind::Node, "a"), None)).unwrap();
    assert!(owner(first).is_none(), "given back");
    assert!(owner(second).is_some(), "the other node's stays");
    assert_eq!(
        paths(&store, &KeyPrefix::Handles),
        ["/calico/ipam/v2/handle/net.c2"]
    );
    assert_eq!(
        paths(&store, &KeyPrefix::HostAffinities("a".to_string())).len(),
        0
    );
    assert_eq!(
        paths(&store, &KeyPrefix::Blocks).len(),
        1,
        "an empty block goes"
    );
    assert_eq!(
        paths(&store, &KeyPrefix::Kind(Kind::WorkloadEndpoint)).len(),
        1
    );

    now(client.delete(&Key::cluster(Kind::IpPool, "p"), None)).unwrap();
    assert_eq!(paths(&store, &KeyPrefix::BlockAffinities).len(), 0);
    assert_eq!(
        paths(&store, &KeyPrefix::Blocks).len(),
        1,
        "a block in use stays"
    );
    assert!(owner(second).is_some(), "with its address");
}
