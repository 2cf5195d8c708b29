//! Two and three allocators on one store, run in every order that matters, and killed at any of their store calls.
//!
//! A store call is where one allocator may be overtaken by another, or die. The executor here polls whom the script says.
//! After each step the store must hold what the crate promises: a block's addresses are free or owned, never both; nobody's
//! confirmed claim is on a block that is not theirs; an owned address can be found by its handle; and whoever was told that an
//! address is his owns it.

mod common;

use std::collections::BTreeSet;
use std::task::{Context, Poll, Waker};

use common::steps::{
    Given, Job, NOW, Process, Random, Stepped, check, check_given, finish, see, start, world,
};
use ipam::{Ipam, Release, block};
use resource::MemoryStore;
use resource::kinds::AffinityState;

/// After all pods are deleted and each host has been at work once more: nothing is left over.
fn check_end(store: &MemoryStore, given: &Given) -> Result<(), String> {
    let stepped = Stepped {
        inner: store.clone(),
        blind: false,
    };
    for pod in 0..20 {
        finish(start(Job::Del { pod }, stepped.clone(), given.clone()))?;
    }
    for host in ["a", "b", "c"] {
        finish(start(
            Job::AddAll { host, pod: 99 },
            stepped.clone(),
            given.clone(),
        ))?;
        finish(start(Job::Del { pod: 99 }, stepped.clone(), given.clone()))?;
    }
    check(store)?;
    let seen = see(store);
    if !seen.handles.is_empty() {
        return Err(format!("handles left: {:?}", seen.handles));
    }
    for (cidr, b) in &seen.blocks {
        if !block::is_empty(b) {
            return Err(format!("{cidr} still has {:?}", b.attributes));
        }
        let owner = b.affinity.clone().unwrap_or_else(|| "nobody".to_string());
        let confirmed = seen
            .affinities
            .iter()
            .any(|(h, c, s)| *h == owner && c == cidr && *s == AffinityState::Confirmed);
        if owner != "nobody" && !confirmed {
            return Err(format!(
                "{cidr} is of {owner}, who has no confirmed claim: {:?}",
                seen.affinities
            ));
        }
    }
    match seen
        .affinities
        .iter()
        .find(|(_, _, s)| *s != AffinityState::Confirmed)
    {
        Some(half) => Err(format!("a claim is half made: {half:?}")),
        None => Ok(()),
    }
}

/// Three processes at a time in an order drawn from the seed, one in 40 steps a kill.
fn run_seed(seed: u64, blind: bool) -> Result<(), String> {
    let mut random = Random(seed);
    let memory = world(if seed.is_multiple_of(2) { 2 } else { 8 });
    let store = Stepped {
        inner: memory.clone(),
        blind,
    };
    let given = Given::default();
    let mut running: Vec<(Job, Process)> = Vec::new();
    let mut busy: BTreeSet<u8> = BTreeSet::new();
    for step in 0..500 {
        if running.len() < 3 && step < 400 {
            let host = ["a", "b", "c"][random.next(3) as usize];
            let pod = random.next(20) as u8;
            let last = random.next(16) as u8;
            let job = match random.next(13) {
                0 => Job::ReleaseHost(host),
                1 => Job::AddLater { host, pod },
                2..=6 => Job::Del { pod },
                7 => Job::AddSpecific { host, pod, last },
                _ => Job::Add { host, pod },
            };
            if job.pod().is_none_or(|pod| busy.insert(pod)) {
                running.push((job, start(job, store.clone(), given.clone())));
            }
        }
        if running.is_empty() {
            continue;
        }
        let who = random.next(running.len() as u64) as usize;
        let done = if random.next(40) == 0 {
            true
        } else {
            match running[who]
                .1
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(result) => {
                    result.map_err(|e| format!("step {step}: {e}"))?;
                    true
                }
                Poll::Pending => false,
            }
        };
        check(&memory).map_err(|e| format!("step {step}: {e}"))?;
        check_given(&memory, &given).map_err(|e| format!("step {step}: {e}"))?;
        if done {
            let (job, _) = running.remove(who);
            if let Some(pod) = job.pod() {
                busy.remove(&pod);
            }
        }
    }
    drop(running);
    check_end(&memory, &given)
}

#[test]
fn three_processes_in_any_order_with_kills() {
    for seed in 0..300 {
        run_seed(seed, false).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn the_checks_find_a_store_that_does_not_compare() {
    let found = (0..50)
        .filter(|seed| run_seed(*seed, true).is_err())
        .count();
    assert!(found > 25, "found in {found} of 50 seeds");
}

/// Runs a job for a number of store calls; true when it came to its end.
fn run_for(process: &mut Process, calls: usize, store: &MemoryStore) -> bool {
    for _ in 0..=calls {
        if let Poll::Ready(result) = process
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            result.unwrap();
            return true;
        }
        check(store).unwrap();
    }
    false
}

/// One stops after each of its store calls; another is killed after each of its own; the first goes on.
#[test]
fn one_overtaken_at_every_point_by_one_killed_at_every_point() {
    let add = |host, pod| Job::Add { host, pod };
    let pairs = [
        (add("a", 1), add("b", 2)),
        (add("a", 1), add("a", 2)),
        (add("a", 1), Job::ReleaseHost("a")),
        (Job::ReleaseHost("a"), add("a", 1)),
        (add("a", 1), Job::AddLater { host: "b", pod: 2 }),
        (Job::AddLater { host: "b", pod: 2 }, add("a", 1)),
        // A runtime that gave up waiting for ADD sends DEL while ADD still runs.
        (add("a", 1), Job::Del { pod: 1 }),
        (Job::Del { pod: 1 }, add("a", 1)),
        (add("a", 1), Job::Collect),
        (Job::Collect, add("a", 1)),
        (Job::Collect, Job::ReleaseHost("a")),
        (Job::Serve { service: 1 }, add("a", 1)),
    ];
    let mut cases = 0;
    for (first, second) in pairs {
        for prepared in [false, true] {
            'stop: for stop in 0.. {
                for kill in 0.. {
                    let memory = world(1);
                    let store = Stepped {
                        inner: memory.clone(),
                        blind: false,
                    };
                    let given = Given::default();
                    if prepared {
                        finish(Ipam::new(&memory).claim_block(
                            "a",
                            "10.0.0.0/30".parse().unwrap(),
                            NOW,
                        ))
                        .unwrap();
                    }
                    let mut one = start(first, store.clone(), given.clone());
                    if run_for(&mut one, stop, &memory) {
                        break 'stop;
                    }
                    let mut other = start(second, store.clone(), given.clone());
                    let whole = run_for(&mut other, kill, &memory);
                    drop(other);
                    run_for(&mut one, 10_000, &memory);
                    check_end(&memory, &given).unwrap_or_else(|e| {
                        panic!("{first:?} at {stop}, {second:?} at {kill}, {prepared}: {e}")
                    });
                    cases += 1;
                    if whole {
                        break;
                    }
                }
            }
        }
    }
    assert!(cases > 1000, "{cases}");
}

#[test]
fn a_release_that_loses_its_block_to_an_allocation_is_undone() {
    let memory = world(1);
    let store = Stepped {
        inner: memory.clone(),
        blind: false,
    };
    let cidr = "10.0.0.0/30".parse().unwrap();
    finish(Ipam::new(&memory).claim_block("a", cidr, NOW)).unwrap();
    for stop in 0..8 {
        let ipam = Ipam::new(&store);
        let mut release = Box::pin(ipam.release_affinity("a", cidr, Release::IfEmpty));
        for _ in 0..stop {
            assert!(
                release
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
                    || stop > 5
            );
            if see(&memory).affinities.is_empty() {
                return; // the release is through: there was nothing to undo from here on
            }
        }
        let given = Given::default();
        finish(start(
            Job::Add { host: "a", pod: 1 },
            store.clone(),
            given.clone(),
        ))
        .unwrap();
        assert_eq!(
            finish(release).unwrap(),
            ipam::Outcome::Kept,
            "stopped at {stop}"
        );
        assert_eq!(
            see(&memory).affinities,
            [("host:a".to_string(), cidr, AffinityState::Confirmed)]
        );
        finish(start(Job::Del { pod: 1 }, store.clone(), given)).unwrap();
        check(&memory).unwrap();
    }
}
