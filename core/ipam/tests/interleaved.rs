//! Two and three allocators on one store, run in every order that matters, and killed at any of their store calls.
//!
//! A store call is where one allocator may be overtaken by another, or die. The executor here polls whom the script says.
//! After each step the store must hold what the crate promises: a block's addresses are free or owned, never both; nobody's
//! confirmed claim is on a block that is not theirs; and an owned address can be found by its handle.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ipam::{Family, Ipam, IpamError, Owner, PoolChoice, Refusal, Release, Request, Use, block};
use ipnet::IpNet;
use resource::kinds::{AffinityState, Block, BlockAffinity, Handle, IpPoolSpec, NodeSpec};
use resource::{
    Changes, Entry, Key, KeyPrefix, Listing, MemoryStore, Metadata, Object, Spec, Store,
    StoreResult,
};

/// Gives way once before each call. `blind` writes without comparing: the planted fault that the checks must find.
#[derive(Clone)]
struct Stepped {
    inner: MemoryStore,
    blind: bool,
}

async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut given, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl Store for Stepped {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        give_way().await;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        give_way().await;
        self.inner.list(prefix).await
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        give_way().await;
        self.inner.create(key, value).await
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        give_way().await;
        let expected = match self.inner.get(key).await? {
            Some(entry) if self.blind => entry.revision,
            Some(_) | None => expected,
        };
        self.inner.update(key, value, expected).await
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        give_way().await;
        self.inner.delete(key, expected).await
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        self.inner.changes(cursor).await
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        self.inner.wait(cursor).await
    }
}

fn finish<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return output;
        }
    }
}

fn put<S: Spec>(store: &MemoryStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    finish(store.create(&object.key(), &object.to_stored())).unwrap();
}

/// Nodes a, b, c and a pool of `blocks` blocks of four addresses.
fn world(blocks: u8) -> MemoryStore {
    let store = MemoryStore::new();
    for node in ["a", "b", "c"] {
        put(&store, node, NodeSpec::default());
    }
    let cidr = format!("10.0.0.0/{}", 30 - blocks.ilog2());
    put(
        &store,
        "p",
        IpPoolSpec {
            cidr,
            block_size: Some(30),
            ..IpPoolSpec::default()
        },
    );
    store
}

const NOW: u64 = 1_795_386_348_000_222_491;

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Add {
        host: &'static str,
        pod: u8,
    },
    Del {
        pod: u8,
    },
    ReleaseHost(&'static str),
    /// A minute later, so that empty blocks of others may be taken over.
    AddLater {
        host: &'static str,
        pod: u8,
    },
    /// As many addresses as there are, so that the host comes to each of its claims.
    AddAll {
        host: &'static str,
        pod: u8,
    },
}

/// Who believes to have which address.
type Given = Rc<RefCell<BTreeMap<IpAddr, u8>>>;
type Process = Pin<Box<dyn Future<Output = Result<(), String>>>>;

fn handle(pod: u8) -> String {
    format!("net.c{pod}")
}

fn start(job: Job, store: Stepped, given: Given) -> Process {
    Box::pin(async move {
        let ipam = Ipam::new(&store);
        match job {
            Job::Add { host, pod } | Job::AddLater { host, pod } | Job::AddAll { host, pod } => {
                let count = if matches!(job, Job::AddAll { .. }) {
                    32
                } else {
                    1
                };
                let later = if matches!(job, Job::AddLater { .. }) {
                    61_000_000_000
                } else {
                    0
                };
                let owner = Owner {
                    handle: Some(handle(pod)),
                    attributes: BTreeMap::from([("node".to_string(), host.to_string())]),
                };
                let request = Request {
                    count,
                    family: Family::V4,
                    owner: &owner,
                    host,
                    pools: PoolChoice::Automatic {
                        namespace_labels: None,
                    },
                    intended: Use::Workload,
                    max_blocks: None,
                    reserved: &[],
                    windows: false,
                };
                match ipam.auto_assign(&request, NOW + later).await {
                    Ok(assignment) => {
                        for x in assignment.addresses {
                            if let Some(other) = given.borrow_mut().insert(x.address, pod) {
                                return Err(format!("{} given to {other} and to {pod}", x.address));
                            }
                        }
                        Ok(())
                    }
                    Err(IpamError::Refused(Refusal::ConflictLimit)) => Ok(()),
                    Err(error) => Err(format!("ADD: {error}")),
                }
            }
            Job::Del { pod } => {
                given.borrow_mut().retain(|_, p| *p != pod);
                ipam.release_by_handle(&handle(pod))
                    .await
                    .map(drop)
                    .map_err(|e| format!("DEL: {e}"))
            }
            Job::ReleaseHost(host) => ipam
                .release_host_affinities(host)
                .await
                .map_err(|e| format!("release: {e}")),
        }
    })
}

struct Seen {
    blocks: BTreeMap<IpNet, Block>,
    affinities: Vec<(String, IpNet, AffinityState)>,
    handles: BTreeMap<String, Handle>,
}

fn see(store: &MemoryStore) -> Seen {
    let mut seen = Seen {
        blocks: BTreeMap::new(),
        affinities: Vec::new(),
        handles: BTreeMap::new(),
    };
    for entry in finish(store.list(&KeyPrefix::All)).unwrap().entries {
        match entry.key {
            Key::Block(cidr) => {
                seen.blocks
                    .insert(cidr, serde_json::from_str(&entry.value).unwrap());
            }
            Key::BlockAffinity { host, cidr } => {
                let affinity: BlockAffinity = serde_json::from_str(&entry.value).unwrap();
                seen.affinities.push((host, cidr, affinity.state));
            }
            Key::Handle(id) => {
                seen.handles
                    .insert(id, serde_json::from_str(&entry.value).unwrap());
            }
            Key::Resource { .. } | Key::IpamConfig => {}
            #[allow(
                unreachable_patterns,
                reason = "a key of another part of the store may be added"
            )]
            _ => {}
        }
    }
    seen
}

/// What must hold after every single store call.
fn check(store: &MemoryStore) -> Result<(), String> {
    let seen = see(store);
    for (cidr, b) in &seen.blocks {
        let free: BTreeSet<usize> = b.unallocated.iter().copied().collect();
        let free_or_owned = (0..4).all(|o| free.contains(&o) != b.allocations[o].is_some());
        if free.len() != b.unallocated.len() || !free_or_owned {
            return Err(format!(
                "{cidr}: unallocated {:?}, allocations {:?}",
                b.unallocated, b.allocations
            ));
        }
        let mut owned: BTreeMap<&str, u32> = BTreeMap::new();
        for index in b.allocations.iter().flatten() {
            *owned
                .entry(b.attributes[*index].handle_id.as_deref().unwrap())
                .or_default() += 1;
        }
        for (id, n) in owned {
            let known = seen
                .handles
                .get(id)
                .and_then(|h| h.block.get(cidr))
                .copied()
                .unwrap_or(0);
            if known < n {
                return Err(format!(
                    "{id} has {n} addresses in {cidr}, its handle knows {known}"
                ));
            }
        }
    }
    for (host, cidr, state) in &seen.affinities {
        let theirs = seen.blocks.get(cidr).is_some_and(|b| block::is_of(b, host));
        if *state == AffinityState::Confirmed && !theirs {
            return Err(format!(
                "{host}'s confirmed claim on {cidr}, whose block says otherwise"
            ));
        }
    }
    Ok(())
}

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
        let owner = b
            .affinity
            .as_deref()
            .unwrap_or("nobody")
            .replace("host:", "");
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

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % below
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
            let job = match random.next(12) {
                0 => Job::ReleaseHost(host),
                1 => Job::AddLater { host, pod },
                2..=6 => Job::Del { pod },
                _ => Job::Add { host, pod },
            };
            // A runtime does one thing at a time with one container.
            let one_at_a_time = match job {
                Job::Add { pod, .. }
                | Job::AddLater { pod, .. }
                | Job::AddAll { pod, .. }
                | Job::Del { pod } => busy.insert(pod),
                Job::ReleaseHost(_) => true,
            };
            if one_at_a_time {
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
        if done {
            let (job, _) = running.remove(who);
            if let Job::Add { pod, .. } | Job::AddLater { pod, .. } | Job::Del { pod } = job {
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
            [("a".to_string(), cidr, AffinityState::Confirmed)]
        );
        finish(start(Job::Del { pod: 1 }, store.clone(), given)).unwrap();
        check(&memory).unwrap();
    }
}
