//! 64 allocators in 8 processes on one real store, killed with kill -9 at random: no address is ever two containers', and after
//! a collection nothing is leaked. The processes are this test program again.
//!
//! Who has which address is told by a journal that all of them append to: a line after an address was given, a line before it
//! is given back. The order of lines is the order of their writes, so that an address that stands in it twice, with nothing
//! between, was given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipam::collect::{Collector, GRACE_NS};
use ipam::{Family, Ipam, IpamError, Owner, PoolChoice, Refusal, Request, Use, block};
use resource::kinds::{AffinityState, IpPoolSpec, NodeSpec, WorkloadEndpointSpec};
use resource::{
    Changes, Entry, Key, KeyPrefix, Kind, Listing, Metadata, Object, Spec, Store, StoreError,
    StoreResult,
};
use store::testing::{Etcd, skipped};
use store::{AnyStore, Endpoint, EtcdOptions, EtcdStore, SqliteStore, block_on};

const STORE: &str = "ALLOCATORS_STORE";
const JOURNAL: &str = "ALLOCATORS_JOURNAL";
const NUMBER: &str = "ALLOCATORS_NUMBER";
const NODE: &str = "ALLOCATORS_NODE";
const BLIND: &str = "ALLOCATORS_BLIND";

/// A storm takes seconds; this is for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(300);
const PROCESSES: u64 = 8;
const THREADS: u64 = 8;
/// How many containers an allocator has at most: together fewer than there are addresses, so that nodes borrow.
const CONTAINERS: usize = 3;
const POOL: &str = "10.0.0.0/24";

/// A store, named by a file or by an URL of etcd's.
fn open(name: &str) -> AnyStore {
    if !name.starts_with("http") {
        return AnyStore::Sqlite(SqliteStore::open(Path::new(name)).unwrap());
    }
    let options = EtcdOptions {
        discovery_srv: String::new(),
        endpoints: vec![Endpoint::parse(name).unwrap()],
        login: None,
        ca: None,
        certificate: None,
        key: None,
        origin: "the test".to_string(),
    };
    AnyStore::Etcd(EtcdStore::open(options).unwrap())
}

/// Writes without comparing, where the environment says so: the fault that the journal must show.
struct Careless {
    inner: AnyStore,
    blind: bool,
}

impl Store for Careless {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        self.inner.list(prefix).await
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        self.inner.create(key, value).await
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let expected = match (self.blind, key) {
            (true, Key::Block(_)) => self.inner.get(key).await?.map_or(expected, |e| e.revision),
            (true | false, _) => expected,
        };
        self.inner.update(key, value, expected).await
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        self.inner.delete(key, expected).await
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        self.inner.changes(cursor).await
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        self.inner.wait(cursor).await
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn put<S: Spec>(store: &impl Store, metadata: Metadata, spec: S) -> StoreResult<Entry> {
    let object = Object::new(metadata, spec);
    block_on(store.create(&object.key(), &object.to_stored()))
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

/// One allocator: adds and deletes containers on its node until it is killed.
struct Allocator {
    store: Careless,
    journal: PathBuf,
    name: String,
    node: String,
    random: Random,
    containers: Vec<String>,
    made: u64,
}

fn endpoint(container: &str) -> Metadata {
    Metadata::namespaced("default", container)
}

fn endpoint_key(container: &str) -> Key {
    Key::in_namespace(Kind::WorkloadEndpoint, "default", container)
}

impl Allocator {
    /// One write, at the end of what all have written.
    fn tell(&self, line: &str) {
        let mut journal = File::options().append(true).open(&self.journal).unwrap();
        journal.write_all(line.as_bytes()).unwrap();
    }

    fn run(mut self) {
        loop {
            let full = self.containers.len() == CONTAINERS;
            if full || !self.containers.is_empty() && self.random.next(2) == 0 {
                let which = self.random.next(self.containers.len() as u64);
                let container = self.containers.swap_remove(usize::try_from(which).unwrap());
                self.delete(&container);
            } else {
                self.add();
            }
        }
    }

    fn add(&mut self) {
        self.made += 1;
        let container = format!("{}-{}", self.name, self.made);
        let owner = Owner {
            handle: Some(format!("net.{container}")),
            attributes: BTreeMap::from([("node".to_string(), self.node.clone())]),
        };
        let request = Request {
            count: 1,
            family: Family::V4,
            owner: &owner,
            host: &self.node,
            pools: PoolChoice::Automatic {
                namespace_labels: None,
            },
            intended: Use::Workload,
            max_blocks: None,
            windows: false,
        };
        let assignment = match block_on(Ipam::new(&self.store).auto_assign(&request, now())) {
            Ok(assignment) => assignment,
            // The runtime would try again.
            Err(IpamError::Refused(Refusal::ConflictLimit)) => return,
            Err(error) => panic!("{error}"),
        };
        // Leaks of those that were killed fill the pool.
        let Some(assigned) = assignment.addresses.first() else {
            return;
        };
        self.tell(&format!("given {} {container}\n", assigned.address));
        let spec = WorkloadEndpointSpec {
            orchestrator: "cni".to_string(),
            node: self.node.clone(),
            container_id: container.clone(),
            ip_networks: vec![format!("{}/32", assigned.address)],
            ..WorkloadEndpointSpec::default()
        };
        put(&self.store, endpoint(&container), spec).unwrap();
        self.containers.push(container);
    }

    fn delete(&self, container: &str) {
        self.tell(&format!("back {container}\n"));
        let handle = format!("net.{container}");
        match block_on(Ipam::new(&self.store).release_by_handle(&handle)) {
            Ok(_) | Err(IpamError::Refused(Refusal::ConflictLimit)) => {}
            Err(error) => panic!("{error}"),
        }
        match block_on(self.store.delete(&endpoint_key(container), None)) {
            Ok(_) | Err(StoreError::NotFound(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let number: u64 = variable(NUMBER).parse().unwrap();
    let store = open(&variable(STORE));
    let blind = std::env::var(BLIND).is_ok();
    let node = variable(NODE);
    let allocator = |name: String, seed: u64| Allocator {
        store: Careless {
            inner: store.clone(),
            blind,
        },
        journal: variable(JOURNAL).into(),
        name,
        node: node.clone(),
        random: Random(seed),
        containers: Vec::new(),
        made: 0,
    };
    // As a runtime that starts again clears away the containers of before.
    let survey = block_on(Ipam::new(&store).survey()).unwrap();
    for workload in survey.workloads.iter().filter(|w| w.spec.node == node) {
        allocator(String::new(), 0).delete(&workload.metadata.name);
    }
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let allocator = allocator(format!("{number}-{thread}"), number * 1000 + thread);
            thread::spawn(move || allocator.run())
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

struct Storm {
    store: String,
    journal: PathBuf,
    blind: bool,
    children: Vec<Child>,
    started: u64,
}

impl Storm {
    fn spawn(&mut self, node: u64) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env(STORE, &self.store)
            .env(JOURNAL, &self.journal)
            .env(NUMBER, self.started.to_string())
            .env(NODE, format!("n{node}"))
            .stdout(Stdio::null());
        if self.blind {
            command.env(BLIND, "1");
        }
        self.started += 1;
        command.spawn().unwrap()
    }

    /// Runs all processes, killing one after another, until the journal has what is waited for.
    fn rage(&mut self, until: impl Fn(&Journal) -> bool) -> Journal {
        let mut random = Random(7);
        for node in 0..PROCESSES {
            let child = self.spawn(node);
            self.children.push(child);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            thread::park_timeout(Duration::from_millis(50 + random.next(300)));
            let journal = Journal::read(&self.journal);
            if Instant::now() >= end || self.started > 4 * PROCESSES && until(&journal) {
                break;
            }
            let node = random.next(PROCESSES);
            let which = usize::try_from(node).unwrap();
            // What ended by itself has failed.
            assert_eq!(self.children[which].try_wait().unwrap(), None);
            self.children[which].kill().unwrap();
            self.children[which].wait().unwrap();
            self.children[which] = self.spawn(node);
        }
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self.children.clear();
        Journal::read(&self.journal)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Who has what by the journal.
struct Journal {
    owners: BTreeMap<IpAddr, String>,
    given: usize,
    twice: Vec<String>,
}

impl Journal {
    fn read(path: &Path) -> Journal {
        let text = fs::read_to_string(path).unwrap();
        let mut journal = Journal {
            owners: BTreeMap::new(),
            given: 0,
            twice: Vec::new(),
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["given", address, container] => {
                    journal.given += 1;
                    let address = address.parse().unwrap();
                    let before = journal.owners.insert(address, container.to_string());
                    if let Some(before) = before {
                        journal
                            .twice
                            .push(format!("{address}: {before} and {container}"));
                    }
                }
                ["back", container] => journal.owners.retain(|_, owner| owner != container),
                _ => panic!("{line:?}"),
            }
        }
        journal
    }
}

fn storm(store: &str, journal: &Path, blind: bool) -> Storm {
    File::create(journal).unwrap();
    let opened = open(store);
    for node in 0..PROCESSES {
        put(
            &opened,
            Metadata::named(format!("n{node}")),
            NodeSpec::default(),
        )
        .unwrap();
    }
    let pool = IpPoolSpec {
        cidr: POOL.to_string(),
        block_size: Some(28),
        ..IpPoolSpec::default()
    };
    put(&opened, Metadata::named("p"), pool).unwrap();
    Storm {
        store: store.to_string(),
        journal: journal.to_path_buf(),
        blind,
        children: Vec::new(),
        started: 0,
    }
}

/// What the store says must be what the journal says, and each address is free or somebody's.
fn check(store: &AnyStore, journal: &Journal) {
    assert_eq!(journal.twice, [""; 0], "given twice");
    let blocks = block_on(Ipam::new(store).all_blocks()).unwrap();
    for b in &blocks {
        let free: BTreeSet<usize> = b.unallocated.iter().copied().collect();
        assert_eq!(free.len(), b.unallocated.len(), "{}", b.cidr);
        for (ordinal, index) in b.allocations.iter().enumerate() {
            assert_ne!(
                free.contains(&ordinal),
                index.is_some(),
                "{} {ordinal}",
                b.cidr
            );
        }
    }
    for (address, container) in &journal.owners {
        let owner = blocks.iter().find_map(|b| block::owner(b, *address));
        let owner = owner.and_then(|o| o.handle_id.clone());
        assert_eq!(owner, Some(format!("net.{container}")), "{address}");
    }
}

/// After half an hour of looks, as the collector sees it, each address is a workload's, and nothing is half done.
fn collect(store: &AnyStore) -> (usize, usize) {
    let ipam = Ipam::new(store);
    let before = block_on(ipam.survey()).unwrap();
    // One workload must be there, or nothing would tell whether the network's addresses are used.
    assert!(!before.workloads.is_empty());
    let mut collector = Collector::new(GRACE_NS);
    let start = now();
    for look in 0..4 {
        block_on(ipam.collect(&mut collector, start + look * GRACE_NS)).unwrap();
    }
    let after = block_on(ipam.survey()).unwrap();
    let used: BTreeSet<IpAddr> = after
        .workloads
        .iter()
        .flat_map(ipam::survey::workload_addresses)
        .collect();
    let allocations = after.allocations();
    let mut handles = BTreeSet::new();
    for allocation in &allocations {
        assert!(used.contains(&allocation.address), "leaked: {allocation:?}");
        handles.insert(allocation.handle().unwrap());
    }
    assert!(after.handles.keys().all(|id| handles.contains(id.as_str())));
    for claim in &after.claims {
        assert_eq!(claim.state, AffinityState::Confirmed, "{claim:?}");
        let block = after.blocks.iter().find(|b| b.cidr == claim.cidr).unwrap();
        assert_eq!(block.affinity.as_deref(), Some(claim.claimant.as_str()));
    }
    (before.allocations().len(), allocations.len())
}

fn run(store: &str, place: &Path) {
    let mut storm = storm(store, &place.join("journal"), false);
    let started = Instant::now();
    let wanted = wanted();
    let journal = storm.rage(|journal| journal.given >= wanted);
    let seconds = started.elapsed().as_secs();
    let opened = open(store);
    check(&opened, &journal);
    let killed = storm.started - PROCESSES;
    let (before, after) = collect(&opened);
    println!(
        "{} addresses given in {seconds} s, {killed} processes killed; {before} addresses held, {after} after the collection",
        journal.given
    );
    assert!(journal.given >= wanted, "{} given", journal.given);
    // One kill in three leaves an address behind on SQLite, one in eleven on etcd: few kills may leave none.
    assert!(
        before > after || killed < ENOUGH,
        "the control: {killed} kills do leak, {before}"
    );
}

/// So many kills leave something behind, but for one run in ten thousand; it takes `ALLOCATORS_GIVEN=3000`.
const ENOUGH: u64 = 100;

/// How many addresses are given in a storm; more by hand.
fn wanted() -> usize {
    let given = std::env::var("ALLOCATORS_GIVEN").ok();
    given.map_or(300, |text| text.parse().unwrap())
}

#[test]
fn on_sqlite() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("store.db");
    run(file.to_str().unwrap(), place.path());
}

#[test]
fn on_etcd() {
    if skipped() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start();
    run(&etcd.endpoint(0), place.path());
}

#[test]
fn the_journal_shows_a_store_that_does_not_compare() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("store.db");
    let mut storm = storm(file.to_str().unwrap(), &place.path().join("journal"), true);
    let journal = storm.rage(|journal| !journal.twice.is_empty());
    assert!(!journal.twice.is_empty(), "{} addresses", journal.given);
}
