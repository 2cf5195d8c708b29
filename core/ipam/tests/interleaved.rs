//! Two and three allocators on one store, run in every order that matters, and killed at any of their store calls.
//!
//! A store call is where one allocator may be overtaken by another, or die. The executor here polls whom the script says.
//! After each step the store must hold what the crate promises: a block's addresses are free or owned, never both; nobody's
//! confirmed claim is on a block that is not theirs; an owned address can be found by its handle; and whoever was told that an
//! address is his owns it. In the end, after collections, nothing is owned that no workload uses.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ipam::collect::{Collector, GRACE_NS};
use ipam::{
    Claimant, Family, Ipam, IpamError, LOAD_BALANCER, Owner, PoolChoice, Refusal, Release, Request,
    Use, block,
};
use ipnet::IpNet;
use resource::kinds::{
    AffinityState, Block, BlockAffinity, Handle, IpPoolSpec, NodeSpec, WorkloadEndpointSpec,
};
use resource::{
    Changes, Entry, Key, KeyPrefix, Kind, Listing, MemoryStore, Metadata, Object, Spec, Store,
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
    /// This very address.
    AddSpecific {
        host: &'static str,
        pod: u8,
        last: u8,
    },
    /// As the plugin does it: an address, then the workload's endpoint.
    Attach {
        host: &'static str,
        pod: u8,
    },
    /// And back.
    Detach {
        pod: u8,
    },
    /// The load balancer takes an address for a service.
    Serve {
        service: u8,
    },
    /// One look of the collector.
    Collect,
}

impl Job {
    /// Whom it is about: a runtime does one thing at a time with one container.
    fn pod(self) -> Option<u8> {
        match self {
            Job::Add { pod, .. }
            | Job::AddLater { pod, .. }
            | Job::AddAll { pod, .. }
            | Job::AddSpecific { pod, .. }
            | Job::Attach { pod, .. }
            | Job::Detach { pod }
            | Job::Del { pod } => Some(pod),
            Job::ReleaseHost(_) | Job::Serve { .. } | Job::Collect => None,
        }
    }
}

/// Who believes to have which address.
type Given = Rc<RefCell<BTreeMap<IpAddr, u8>>>;
/// The collector's memory, and the time that it sees.
type Collecting = Rc<RefCell<(Collector, u64)>>;
type Process = Pin<Box<dyn Future<Output = Result<(), String>>>>;

fn handle(pod: u8) -> String {
    format!("net.c{pod}")
}

fn endpoint(pod: u8) -> Key {
    Key::in_namespace(Kind::WorkloadEndpoint, "default", format!("c{pod}"))
}

fn collecting(grace: u64) -> Collecting {
    Rc::new(RefCell::new((Collector::new(grace), NOW)))
}

fn start(job: Job, store: Stepped, given: Given) -> Process {
    start_with(job, store, given, collecting(GRACE_NS))
}

fn start_with(job: Job, store: Stepped, given: Given, collecting: Collecting) -> Process {
    Box::pin(async move {
        let ipam = Ipam::new(&store);
        match job {
            Job::Add { host, pod } => add(&store, &given, host, pod, 1, 0).await.map(drop),
            Job::AddLater { host, pod } => {
                let later = 61_000_000_000;
                add(&store, &given, host, pod, 1, later).await.map(drop)
            }
            Job::AddAll { host, pod } => add(&store, &given, host, pod, 32, 0).await.map(drop),
            Job::AddSpecific { host, pod, last } => {
                let address = IpAddr::from([10, 0, 0, last]);
                let owner = owner(host, pod);
                match ipam.assign_ip(address, &owner, host, NOW).await {
                    Ok(_) => believe(&given, address, pod),
                    Err(IpamError::Refused(_)) => Ok(()),
                    Err(error) => Err(format!("ADD of {address}: {error}")),
                }
            }
            Job::Attach { host, pod } => {
                let addresses = add(&store, &given, host, pod, 1, 0).await?;
                let spec = WorkloadEndpointSpec {
                    orchestrator: "cni".to_string(),
                    node: host.to_string(),
                    container_id: format!("c{pod}"),
                    ip_networks: addresses.iter().map(|a| format!("{a}/32")).collect(),
                    ..WorkloadEndpointSpec::default()
                };
                let name = Metadata::namespaced("default", format!("c{pod}"));
                // The interface is made meanwhile.
                for _ in 0..20 {
                    give_way().await;
                }
                let text = Object::new(name, spec).to_stored();
                let key = endpoint(pod);
                match store.get(&key).await.map_err(|e| e.to_string())? {
                    Some(entry) => store.update(&key, &text, entry.revision).await,
                    None => store.create(&key, &text).await,
                }
                .map(drop)
                .map_err(|e| e.to_string())
            }
            Job::Del { pod } => del(&ipam, &given, pod).await,
            Job::Detach { pod } => {
                del(&ipam, &given, pod).await?;
                // Nothing there is no error.
                let _ = store.delete(&endpoint(pod), None).await;
                Ok(())
            }
            Job::ReleaseHost(host) => ipam
                .release_host_affinities(host)
                .await
                .map_err(|e| format!("release: {e}")),
            Job::Serve { service } => {
                let owner = Owner {
                    handle: Some(format!("service{service}")),
                    attributes: BTreeMap::new(),
                };
                let claimant = Claimant::Virtual(LOAD_BALANCER);
                let address = IpAddr::from([10, 0, 9, service]);
                match ipam.assign_ip(address, &owner, claimant, NOW).await {
                    Ok(_) => believe(&given, address, SERVICE + service),
                    Err(IpamError::Refused(_)) => Ok(()),
                    Err(error) => Err(format!("service: {error}")),
                }
            }
            Job::Collect => {
                // One that is killed forgets what it saw.
                let (mut collector, now) = {
                    let mut memory = collecting.borrow_mut();
                    (
                        std::mem::replace(&mut memory.0, Collector::new(GRACE_NS)),
                        memory.1,
                    )
                };
                let collected = ipam.collect(&mut collector, now).await;
                collecting.borrow_mut().0 = collector;
                match collected {
                    Ok(_) | Err(IpamError::Refused(Refusal::ConflictLimit)) => Ok(()),
                    Err(error) => Err(format!("collect: {error}")),
                }
            }
        }
    })
}

/// Numbers above the pods'.
const SERVICE: u8 = 200;

fn owner(host: &str, pod: u8) -> Owner {
    Owner {
        handle: Some(handle(pod)),
        attributes: BTreeMap::from([("node".to_string(), host.to_string())]),
    }
}

fn believe(given: &Given, address: IpAddr, pod: u8) -> Result<(), String> {
    match given.borrow_mut().insert(address, pod) {
        Some(other) => Err(format!("{address} given to {other} and to {pod}")),
        None => Ok(()),
    }
}

async fn add(
    store: &Stepped,
    given: &Given,
    host: &str,
    pod: u8,
    count: usize,
    later: u64,
) -> Result<Vec<IpAddr>, String> {
    let owner = owner(host, pod);
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
        windows: false,
    };
    match Ipam::new(store).auto_assign(&request, NOW + later).await {
        Ok(assignment) => {
            for x in &assignment.addresses {
                believe(given, x.address, pod)?;
            }
            Ok(assignment.addresses.iter().map(|x| x.address).collect())
        }
        Err(IpamError::Refused(Refusal::ConflictLimit)) => Ok(Vec::new()),
        Err(error) => Err(format!("ADD: {error}")),
    }
}

async fn del<S: Store>(ipam: &Ipam<'_, S>, given: &Given, pod: u8) -> Result<(), String> {
    given.borrow_mut().retain(|_, p| *p != pod);
    ipam.release_by_handle(&handle(pod))
        .await
        .map(drop)
        .map_err(|e| format!("DEL: {e}"))
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
                let claimant = Claimant::Host(&host).to_string();
                seen.affinities.push((claimant, cidr, affinity.state));
            }
            Key::Handle(id) => {
                seen.handles
                    .insert(id, serde_json::from_str(&entry.value).unwrap());
            }
            Key::VirtualAffinity { name, cidr } => {
                let affinity: BlockAffinity = serde_json::from_str(&entry.value).unwrap();
                let claimant = Claimant::Virtual(&name).to_string();
                seen.affinities.push((claimant, cidr, affinity.state));
            }
            Key::Resource { .. } | Key::IpamConfig | Key::Lease(_) => {}
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
    for (claimant, cidr, state) in &seen.affinities {
        let theirs = seen.blocks.get(cidr).and_then(|b| b.affinity.as_ref()) == Some(claimant);
        if *state == AffinityState::Confirmed && !theirs {
            return Err(format!(
                "{claimant}'s confirmed claim on {cidr}, whose block says otherwise"
            ));
        }
    }
    Ok(())
}

/// Whoever was told that an address is his has it.
fn check_given(store: &MemoryStore, given: &Given) -> Result<(), String> {
    let seen = see(store);
    for (address, pod) in given.borrow().iter().filter(|(_, pod)| **pod < SERVICE) {
        let owner = seen.blocks.values().find_map(|b| block::owner(b, *address));
        let owner = owner.and_then(|o| o.handle_id.clone());
        if owner != Some(handle(*pod)) {
            return Err(format!(
                "{address} was given to {pod}, and {owner:?} has it"
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
