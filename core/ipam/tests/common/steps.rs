//! Processes as futures over a store that gives way before each call, and what must hold after each of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ipam::collect::{Collector, GRACE_NS};
use ipam::{
    Claimant, Family, Ipam, IpamError, LOAD_BALANCER, Owner, PoolChoice, Refusal, Request, Use,
    block,
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
pub struct Stepped {
    pub inner: MemoryStore,
    pub blind: bool,
}

pub async fn give_way() {
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

pub fn finish<F: Future>(future: F) -> F::Output {
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

pub fn put<S: Spec>(store: &MemoryStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    finish(store.create(&object.key(), &object.to_stored())).unwrap();
}

/// Nodes a, b, c and a pool of `blocks` blocks of four addresses.
pub fn world(blocks: u8) -> MemoryStore {
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

pub const NOW: u64 = 1_795_386_348_000_222_491;

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
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
    pub fn pod(self) -> Option<u8> {
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
pub type Given = Rc<RefCell<BTreeMap<IpAddr, u8>>>;
/// The collector's memory, and the time that it sees.
pub type Collecting = Rc<RefCell<(Collector, u64)>>;
pub type Process = Pin<Box<dyn Future<Output = Result<(), String>>>>;

pub fn handle(pod: u8) -> String {
    format!("net.c{pod}")
}

pub fn endpoint(pod: u8) -> Key {
    Key::in_namespace(Kind::WorkloadEndpoint, "default", format!("c{pod}"))
}

pub fn collecting(grace: u64) -> Collecting {
    Rc::new(RefCell::new((Collector::new(grace), NOW)))
}

pub fn start(job: Job, store: Stepped, given: Given) -> Process {
    start_with(job, store, given, collecting(GRACE_NS))
}

pub fn start_with(job: Job, store: Stepped, given: Given, collecting: Collecting) -> Process {
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
pub const SERVICE: u8 = 200;

pub fn owner(host: &str, pod: u8) -> Owner {
    Owner {
        handle: Some(handle(pod)),
        attributes: BTreeMap::from([("node".to_string(), host.to_string())]),
    }
}

pub fn believe(given: &Given, address: IpAddr, pod: u8) -> Result<(), String> {
    match given.borrow_mut().insert(address, pod) {
        Some(other) => Err(format!("{address} given to {other} and to {pod}")),
        None => Ok(()),
    }
}

pub async fn add(
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

pub async fn del<S: Store>(ipam: &Ipam<'_, S>, given: &Given, pod: u8) -> Result<(), String> {
    given.borrow_mut().retain(|_, p| *p != pod);
    ipam.release_by_handle(&handle(pod))
        .await
        .map(drop)
        .map_err(|e| format!("DEL: {e}"))
}

pub struct Seen {
    pub blocks: BTreeMap<IpNet, Block>,
    pub affinities: Vec<(String, IpNet, AffinityState)>,
    pub handles: BTreeMap<String, Handle>,
}

pub fn see(store: &MemoryStore) -> Seen {
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
pub fn check(store: &MemoryStore) -> Result<(), String> {
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
pub fn check_given(store: &MemoryStore, given: &Given) -> Result<(), String> {
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

pub struct Random(pub u64);

impl Random {
    /// SplitMix64.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % below
    }
}
