//! Eight processes give and take addresses on one SQLite file while they are killed at random.
//!
//! Each process has eight places. It fills an empty one (ADD) or empties a full one (DEL), a thousand times each. Who gets
//! an address puts a file of its name into a directory; two owners of one address meet there. What a killed process left
//! is deleted by the next one in its place, as a runtime does. The control does the same on a store that does not compare.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ipam::{Family, Ipam, IpamError, Owner, PoolChoice, Refusal, Request, Use, block};
use resource::kinds::{AffinityState, Block, BlockAffinity, Handle, IpPoolSpec, NodeSpec};
use resource::{
    Changes, Entry, Key, KeyPrefix, Listing, Metadata, Object, Spec, Store, StoreResult,
};
use store::{SqliteStore, block_on};

const PROCESSES: usize = 8;
const PLACES: u64 = 8;

/// The store; `blind` writes blocks without comparing.
struct Careless {
    inner: SqliteStore,
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
        let now = if self.blind {
            self.inner.get(key).await?
        } else {
            None
        };
        let expected = now.map_or(expected, |entry| entry.revision);
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

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// One process: its number, the directory, how many ADDs and DELs in all. Progress is a file, so that it outlives a kill.
fn work(number: usize, dir: &Path, goal: usize, blind: bool) -> Result<(), String> {
    let store = Careless {
        inner: open(dir),
        blind,
    };
    let ipam = Ipam::new(&store);
    let host = format!("node-{}", number / 2);
    let progress = dir.join(format!("progress-{number}"));
    let mut log = fs::File::options()
        .create(true)
        .append(true)
        .open(&progress)
        .unwrap();
    let handle = |place: u64| format!("net.p{number}-{place}");
    let owned = dir.join("owned");
    let mut full: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let del = |place: u64| -> Result<(), String> {
        for entry in fs::read_dir(&owned).unwrap().map(Result::unwrap) {
            if fs::read_to_string(entry.path()).is_ok_and(|text| text == handle(place)) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        block_on(ipam.release_by_handle(&handle(place)))
            .map(drop)
            .map_err(|e| format!("DEL: {e}"))
    };
    for place in 0..PLACES {
        del(place)?;
    }
    let done = |progress: &Path| {
        fs::read(progress)
            .unwrap()
            .iter()
            .filter(|b| **b == b'A')
            .count()
    };
    let mut random = Random(now() ^ number as u64);
    let mut added = done(&progress);
    while added < goal {
        let place = random.below(PLACES);
        if full.remove(&place).is_some() {
            del(place)?;
            log.write_all(b"D").unwrap();
            continue;
        }
        let owner = Owner {
            handle: Some(handle(place)),
            attributes: BTreeMap::from([("node".to_string(), host.clone())]),
        };
        let request = Request {
            count: 1,
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
        let assignment = match block_on(ipam.auto_assign(&request, now())) {
            Ok(assignment) => assignment,
            Err(IpamError::Refused(Refusal::ConflictLimit)) => {
                del(place)?;
                continue;
            }
            Err(e) => return Err(format!("ADD: {e}")),
        };
        let address = assignment.addresses.first().ok_or("no address")?.address;
        let path = owned.join(address.to_string());
        match fs::File::create_new(&path) {
            Ok(mut file) => file.write_all(handle(place).as_bytes()).unwrap(),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                // A file without text is of a process that was killed between making and filling it; it is not counted.
                let other = fs::read_to_string(&path).unwrap_or_default();
                if !other.is_empty() {
                    return Err(format!("{address} is {other}'s and {}'s", handle(place)));
                }
                fs::write(&path, handle(place)).unwrap();
            }
            Err(e) => panic!("{e}"),
        }
        full.insert(place, path);
        log.write_all(b"A").unwrap();
        added += 1;
    }
    for place in 0..PLACES {
        del(place)?;
    }
    Ok(())
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir.join("store.db")).unwrap()
}

fn put<S: Spec>(store: &SqliteStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    block_on(store.create(&object.key(), &object.to_stored())).unwrap();
}

fn spawn(number: usize, dir: &Path, goal: usize, blind: bool) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "work",
            &number.to_string(),
            dir.to_str().unwrap(),
            &goal.to_string(),
            &blind.to_string(),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

struct Outcome {
    kills: usize,
    failures: Vec<String>,
    took: Duration,
}

/// Runs all processes to their goal; one in `kill_every` looks (2 ms apart) kills one of them.
fn run(dir: &Path, goal: usize, kill_every: u64, blind: bool) -> Outcome {
    fs::create_dir(dir.join("owned")).unwrap();
    let store = open(dir);
    for node in 0..PROCESSES / 2 {
        put(&store, &format!("node-{node}"), NodeSpec::default());
    }
    let spec = IpPoolSpec {
        cidr: "10.200.0.0/23".to_string(),
        block_size: Some(26),
        ..IpPoolSpec::default()
    };
    put(&store, "pool", spec);
    let started = Instant::now();
    let mut random = Random(now());
    let mut outcome = Outcome {
        kills: 0,
        failures: Vec::new(),
        took: Duration::ZERO,
    };
    let mut running: BTreeMap<usize, Child> = (0..PROCESSES)
        .map(|n| (n, spawn(n, dir, goal, blind)))
        .collect();
    while !running.is_empty() {
        std::thread::sleep(Duration::from_millis(2));
        if random.below(kill_every) == 0 {
            let victim = *running
                .keys()
                .nth(random.below(running.len() as u64) as usize)
                .unwrap();
            let child = running.get_mut(&victim).unwrap();
            // SIGKILL to the one process that was started here.
            child.kill().unwrap();
            child.wait().unwrap();
            outcome.kills += 1;
            running.insert(victim, spawn(victim, dir, goal, blind));
        }
        let ended: Vec<usize> = running
            .iter_mut()
            .filter_map(|(n, child)| child.try_wait().unwrap().map(|_| *n))
            .collect();
        for number in ended {
            let output = running.remove(&number).unwrap().wait_with_output().unwrap();
            if !output.status.success() {
                outcome
                    .failures
                    .push(String::from_utf8_lossy(&output.stderr).trim().to_string());
            }
        }
    }
    outcome.took = started.elapsed();
    outcome
}

/// Nobody has anything, and every block is of the one host whose confirmed claim it is.
fn check_end(dir: &Path) -> Result<usize, String> {
    let store = open(dir);
    let mut blocks: Vec<Block> = Vec::new();
    let mut claims = Vec::new();
    for entry in block_on(store.list(&KeyPrefix::All)).unwrap().entries {
        match entry.key {
            Key::Block(_) => blocks.push(serde_json::from_str(&entry.value).unwrap()),
            Key::BlockAffinity { host, cidr } => {
                let claim: BlockAffinity = serde_json::from_str(&entry.value).unwrap();
                claims.push((host, cidr, claim.state));
            }
            Key::Handle(id) => {
                let handle: Handle = serde_json::from_str(&entry.value).unwrap();
                return Err(format!("handle {id} is left: {handle:?}"));
            }
            _ => {}
        }
    }
    for b in &blocks {
        if !block::is_empty(b) || b.unallocated.len() != 64 {
            return Err(format!("{} is not empty: {:?}", b.cidr, b.attributes));
        }
        let of: Vec<_> = claims
            .iter()
            .filter(|(host, cidr, _)| *cidr == b.cidr && block::is_of(b, host))
            .collect();
        if of.len() != 1 || of[0].2 != AffinityState::Confirmed {
            return Err(format!(
                "{} is of {:?}, claims {claims:?}",
                b.cidr, b.affinity
            ));
        }
    }
    let stale = claims.iter().find(|(_, cidr, state)| {
        *state == AffinityState::Confirmed && !blocks.iter().any(|b| b.cidr == *cidr)
    });
    match stale {
        Some(claim) => Err(format!("a confirmed claim without a block: {claim:?}")),
        None => Ok(blocks.len()),
    }
}

fn directory() -> tempfile::TempDir {
    // In memory where there is such a place: what is tested is the order of writes, not the disk.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some("work") {
        let (number, goal) = (args[2].parse().unwrap(), args[4].parse().unwrap());
        return match work(number, Path::new(&args[3]), goal, args[5] == "true") {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                eprintln!("{text}");
                ExitCode::FAILURE
            }
        };
    }
    if args.iter().any(|a| a == "--list") {
        println!("no_address_owned_twice: test\na_store_that_does_not_compare_is_found_out: test");
        return ExitCode::SUCCESS;
    }
    let dir = directory();
    let outcome = run(dir.path(), 1000, 10, false);
    assert_eq!(outcome.failures, Vec::<String>::new());
    let blocks = check_end(dir.path()).unwrap();
    assert!(outcome.kills > 20, "only {} kills", outcome.kills);
    println!(
        "test no_address_owned_twice ... ok ({PROCESSES} processes x 1000 ADD and DEL, {} kills, {blocks} blocks, {:.1} s)",
        outcome.kills,
        outcome.took.as_secs_f64()
    );

    let dir = directory();
    let outcome = run(dir.path(), 300, 1_000_000, true);
    let found = outcome.failures.len() + usize::from(check_end(dir.path()).is_err());
    assert!(
        found > 0,
        "eight processes on a store that does not compare did no harm"
    );
    println!("test a_store_that_does_not_compare_is_found_out ... ok ({found} times)");
    ExitCode::SUCCESS
}
