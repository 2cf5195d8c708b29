//! Sequences of calls against the obvious model: a map from address to handle.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ipam::collect::{Collector, GRACE_NS};
use ipam::{
    Family, Ipam, IpamError, Owner, PoolChoice, Refusal, ReleaseRequest, Request, Use, block,
};
use proptest::prelude::*;
use resource::kinds::{IpPoolSpec, NodeSpec};
use resource::{KeyPrefix, MemoryStore, Metadata, Object, Spec, Store};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

fn put<S: Spec>(store: &MemoryStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    now(store.create(&object.key(), &object.to_stored())).unwrap();
}

#[derive(Clone, Debug)]
enum Call {
    Auto {
        host: u8,
        handle: u8,
        count: usize,
    },
    Specific {
        host: u8,
        handle: u8,
        last: u8,
    },
    Handle(u8),
    Address(u8),
    Host(u8),
    /// Looks twice, a long time apart. No workload has an endpoint, so that no address may go.
    Collect,
}

fn call() -> impl Strategy<Value = Call> {
    let (host, handle, last) = (0..3u8, 0..6u8, 0..20u8);
    prop_oneof![
        4 => (host.clone(), handle.clone(), 0..6usize).prop_map(|(host, handle, count)| Call::Auto { host, handle, count }),
        2 => (host.clone(), handle.clone(), last.clone()).prop_map(|(host, handle, last)| Call::Specific { host, handle, last }),
        2 => handle.prop_map(Call::Handle),
        2 => last.prop_map(Call::Address),
        1 => host.prop_map(Call::Host),
        1 => Just(Call::Collect),
    ]
}

/// The pool's 16 addresses, four blocks of four.
const POOL: &str = "10.0.0.0/28";

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn owner(handle: u8) -> Owner {
    Owner {
        handle: Some(format!("h{handle}")),
        attributes: BTreeMap::new(),
    }
}

fn run(calls: &[Call]) {
    let store = MemoryStore::new();
    for host in 0..3 {
        put(&store, &format!("n{host}"), NodeSpec::default());
    }
    let spec = IpPoolSpec {
        cidr: POOL.to_string(),
        block_size: Some(30),
        ..IpPoolSpec::default()
    };
    put(&store, "p", spec);
    let ipam = Ipam::new(&store);
    let mut model: BTreeMap<IpAddr, u8> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        let time = 1_795_386_348_000_000_000 + at as u64;
        match *call {
            Call::Auto {
                host,
                handle,
                count,
            } => {
                let (owner, host) = (owner(handle), format!("n{host}"));
                let request = Request {
                    count,
                    family: Family::V4,
                    owner: &owner,
                    host: &host,
                    pools: PoolChoice::Automatic {
                        namespace_labels: None,
                    },
                    intended: Use::Workload,
                    max_blocks: None,
                    windows: false,
                };
                let given = now(ipam.auto_assign(&request, time)).unwrap();
                assert_eq!(
                    given.addresses.len(),
                    count.min(16 - model.len()),
                    "{call:?}"
                );
                assert_eq!(given.shortfall.is_some(), given.addresses.len() < count);
                for x in given.addresses {
                    assert!(
                        x.block.contains(&x.address)
                            && address(0) <= x.address
                            && x.address <= address(15)
                    );
                    assert_eq!(
                        model.insert(x.address, handle),
                        None,
                        "{} was taken",
                        x.address
                    );
                }
            }
            Call::Specific { host, handle, last } => {
                let wanted = address(last);
                let result = now(ipam.assign_ip(wanted, &owner(handle), &format!("n{host}"), time));
                let expected = match model.get(&wanted) {
                    _ if last > 15 => Err(IpamError::Refused(Refusal::AddressNotInPool)),
                    Some(_) => Err(IpamError::Refused(Refusal::AddressTaken(wanted))),
                    None => Ok(wanted),
                };
                assert_eq!(result.map(|x| x.address), expected);
                if last <= 15 {
                    model.entry(wanted).or_insert(handle);
                }
            }
            Call::Handle(handle) => {
                let released = now(ipam.release_by_handle(&format!("h{handle}"))).unwrap();
                let released: BTreeSet<IpAddr> = released.into_iter().collect();
                let had: BTreeSet<IpAddr> = model
                    .iter()
                    .filter(|(_, h)| **h == handle)
                    .map(|(a, _)| *a)
                    .collect();
                assert_eq!(released, had);
                model.retain(|_, h| *h != handle);
            }
            Call::Address(last) => {
                let outcome = now(ipam.release_ips(&[ReleaseRequest::of(address(last))])).unwrap();
                assert_eq!(
                    outcome.released.len(),
                    usize::from(model.remove(&address(last)).is_some())
                );
            }
            Call::Host(host) => now(ipam.release_host(&format!("n{host}"))).unwrap(),
            Call::Collect => {
                let mut collector = Collector::new(GRACE_NS);
                for look in [0, GRACE_NS, 2 * GRACE_NS] {
                    now(ipam.collect(&mut collector, time + look)).unwrap();
                }
                let blocks = now(ipam.all_blocks()).unwrap();
                for host in 0..3 {
                    let of = blocks
                        .iter()
                        .filter(|b| block::is_of(b, &format!("n{host}")));
                    let (empty, all) = (of.clone().filter(|b| block::is_empty(b)), of);
                    assert!(empty.count() <= 1 || all.count() == 1, "{blocks:?}");
                }
            }
        }
        for handle in 0..6 {
            let known: BTreeSet<IpAddr> = now(ipam.ips_by_handle(&format!("h{handle}")))
                .unwrap()
                .into_iter()
                .collect();
            let had: BTreeSet<IpAddr> = model
                .iter()
                .filter(|(_, h)| **h == handle)
                .map(|(a, _)| *a)
                .collect();
            assert_eq!(known, had, "after {call:?}");
        }
    }
    let handles = now(store.list(&KeyPrefix::Handles)).unwrap().entries.len();
    assert_eq!(
        handles,
        model.values().collect::<BTreeSet<_>>().len(),
        "no handle without an address"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_do_what_the_model_says(calls in prop::collection::vec(call(), 0..60)) {
        run(&calls);
    }
}
