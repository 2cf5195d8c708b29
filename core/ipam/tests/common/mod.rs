//! What the tests of address management begin with: a store with pools and nodes, owners and requests.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod steps;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ipam::{Family, Owner, PoolChoice, Request, Use, time};
use resource::kinds::IpPoolSpec;
use resource::{KeyPrefix, MemoryStore, Metadata, Object, Spec, Store};

pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

pub fn put<S: Spec>(store: &MemoryStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    now(store.create(&object.key(), &object.to_stored())).unwrap();
}

pub fn pool(store: &MemoryStore, name: &str, cidr: &str, change: impl FnOnce(&mut IpPoolSpec)) {
    let mut spec = IpPoolSpec {
        cidr: cidr.to_string(),
        ..IpPoolSpec::default()
    };
    change(&mut spec);
    put(store, name, spec);
}

pub fn dump(store: &MemoryStore) -> String {
    let listing = now(store.list(&KeyPrefix::All)).unwrap();
    let ours = listing
        .entries
        .iter()
        .filter(|e| e.key.path().starts_with("/calico/ipam/"));
    ours.map(|e| format!("{}\n{}\n", e.key.path(), e.value))
        .collect()
}

pub const ADDED: u64 = 1_795_386_347_988_257_369;

pub const CLAIMED: u64 = 1_795_386_348_000_222_491;

pub fn pod(network: &str, container: &str, node: &str, added: u64) -> Owner {
    Owner {
        handle: Some(format!("{network}.{container}")),
        attributes: BTreeMap::from([
            ("node".to_string(), node.to_string()),
            ("timestamp".to_string(), time::go_string(added)),
        ]),
    }
}

pub fn request<'a>(owner: &'a Owner, host: &'a str) -> Request<'a> {
    Request {
        count: 1,
        family: Family::V4,
        owner,
        host,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: None,
        windows: false,
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
