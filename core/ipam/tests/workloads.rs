//! Workloads that come and go, the load balancer and a collector, in an order drawn from a seed, and killed at any of their
//! store calls. What must hold after each step is in `common/steps.rs`; in the end, after collections, nothing is given that
//! no workload uses, and nothing is half done.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

use common::steps::{
    Given, Job, Process, Random, Stepped, check, check_given, collecting, finish, put, start_with,
    world,
};
use ipam::collect::GRACE_NS;
use ipam::{Ipam, block};
use resource::MemoryStore;
use resource::kinds::{AffinityState, IpPoolSpec};

/// What is planted in [`run_workloads`], for its checks to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// The collector does not wait.
    NoGrace,
    /// Nobody collects.
    NoCollector,
}

const TEN_MINUTES: u64 = 600_000_000_000;

/// Workloads that come and go, the load balancer, and a collector, with kills. Ten minutes pass only while no workload is
/// on its way: nobody takes that long.
fn run_workloads(seed: u64, planted: Planted) -> Result<(), String> {
    let mut random = Random(seed);
    let memory = world(8);
    put(
        &memory,
        "services",
        IpPoolSpec {
            cidr: "10.0.9.0/29".to_string(),
            block_size: Some(30),
            allowed_uses: vec!["LoadBalancer".to_string()],
            ..IpPoolSpec::default()
        },
    );
    let store = Stepped {
        inner: memory.clone(),
        blind: false,
    };
    let given = Given::default();
    let grace = match planted {
        Planted::NoGrace => 0,
        Planted::Nothing | Planted::NoCollector => GRACE_NS,
    };
    let memory_of_collector = collecting(grace);
    let start = |job| {
        if planted == Planted::NoGrace {
            memory_of_collector.borrow_mut().0.set_grace(0);
        }
        start_with(
            job,
            store.clone(),
            given.clone(),
            memory_of_collector.clone(),
        )
    };
    // One workload stays, so that the network is known to have endpoints.
    finish(start(Job::Attach {
        host: "a",
        pod: 199,
    }))?;
    let (mut next, mut attached) = (0u8, Vec::new());
    let mut running: Vec<(Job, Process)> = Vec::new();
    let mut busy: BTreeSet<u8> = BTreeSet::new();
    for step in 0..1500 {
        if running.len() < 3 && step < 1400 {
            let host = ["a", "b", "c"][random.next(3) as usize];
            let service = random.next(8) as u8;
            let job = match random.next(12) {
                0 => Job::ReleaseHost(host),
                1..=3 if planted != Planted::NoCollector => Job::Collect,
                4 => Job::Serve { service },
                5..=7 if !attached.is_empty() => {
                    let one = random.next(attached.len() as u64) as usize;
                    Job::Detach {
                        pod: attached.swap_remove(one),
                    }
                }
                // No container has the name of one before it.
                _ if next < 190 => {
                    attached.push(next);
                    next += 1;
                    Job::Attach {
                        host,
                        pod: next - 1,
                    }
                }
                _ => Job::Collect,
            };
            let moving = running.iter().any(|(job, _)| job.pod().is_some());
            if !moving && random.next(4) == 0 {
                memory_of_collector.borrow_mut().1 += TEN_MINUTES;
            }
            if job.pod().is_none_or(|pod| busy.insert(pod)) {
                running.push((job, start(job)));
            }
        }
        if running.is_empty() {
            continue;
        }
        let who = random.next(running.len() as u64) as usize;
        let killed = random.next(40) == 0;
        let polled = if killed {
            None
        } else {
            let context = &mut Context::from_waker(Waker::noop());
            Some(running[who].1.as_mut().poll(context))
        };
        check(&memory).map_err(|e| format!("step {step}: {e}"))?;
        match polled {
            Some(Poll::Pending) => {}
            Some(Poll::Ready(result)) => {
                result.map_err(|e| format!("step {step}: {e}"))?;
                let (job, _) = running.remove(who);
                if let Some(pod) = job.pod() {
                    busy.remove(&pod);
                }
            }
            None => {
                let (job, _) = running.remove(who);
                if let Some(pod) = job.pod() {
                    // Nobody was told of an address of his; what he had before may be gone, or not.
                    given.borrow_mut().retain(|_, p| *p != pod);
                    busy.remove(&pod);
                }
            }
        }
        check_given(&memory, &given).map_err(|e| format!("step {step}: {e}"))?;
    }
    for (job, _) in running.drain(..) {
        given.borrow_mut().retain(|_, p| Some(*p) != job.pod());
    }
    if planted != Planted::NoCollector {
        for _ in 0..6 {
            memory_of_collector.borrow_mut().1 += TEN_MINUTES;
            finish(start(Job::Collect))?;
        }
    }
    check(&memory)?;
    check_given(&memory, &given)?;
    nothing_is_leaked(&memory)
}

/// Each address that is given is a workload's or a service's; no handle, claim or block is left over.
fn nothing_is_leaked(store: &MemoryStore) -> Result<(), String> {
    let survey = finish(Ipam::new(store).survey()).unwrap();
    let used: BTreeSet<IpAddr> = survey
        .workloads
        .iter()
        .flat_map(ipam::survey::workload_addresses)
        .collect();
    for allocation in survey.allocations() {
        let service = allocation
            .handle()
            .is_some_and(|h| h.starts_with("service"));
        if !service && !used.contains(&allocation.address) {
            return Err(format!("leaked: {allocation:?}"));
        }
    }
    for (id, (handle, _)) in &survey.handles {
        let known = survey.allocations().iter().any(|a| a.handle() == Some(id));
        if !known {
            return Err(format!("handle {id} has no address: {handle:?}"));
        }
    }
    for claim in &survey.claims {
        let owner = survey.blocks.iter().find(|b| b.cidr == claim.cidr);
        let stands = owner.and_then(|b| b.affinity.as_ref()) == Some(&claim.claimant);
        if claim.state != AffinityState::Confirmed || !stands {
            return Err(format!("a claim is half made: {claim:?}"));
        }
    }
    let mut empty: BTreeMap<&str, usize> = BTreeMap::new();
    for b in survey.blocks.iter().filter(|b| block::is_empty(b)) {
        *empty
            .entry(b.affinity.as_deref().unwrap_or("nobody"))
            .or_default() += 1;
    }
    let left = empty
        .iter()
        .find(|(claimant, n)| **claimant == "nobody" || **n > 1);
    match left.filter(|(claimant, _)| !claimant.starts_with("virtual:")) {
        Some(left) => Err(format!("empty blocks are left: {left:?}")),
        None => Ok(()),
    }
}

#[test]
fn workloads_and_a_collector_in_any_order_with_kills() {
    for seed in 0..60 {
        run_workloads(seed, Planted::Nothing).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn the_checks_find_a_collector_that_does_not_wait_and_one_that_does_not_work() {
    for (planted, says) in [
        (Planted::NoGrace, "was given to"),
        (Planted::NoCollector, "leaked"),
    ] {
        let found: Vec<String> = (0..20)
            .filter_map(|seed| run_workloads(seed, planted).err())
            .collect();
        assert!(found.len() > 10, "{planted:?}: {found:?}");
        assert!(
            found.iter().any(|e| e.contains(says)),
            "{planted:?}: {found:?}"
        );
    }
}
