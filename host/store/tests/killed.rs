//! kill -9 of every process amid 1,000 writes: writers and readers of a file, and with etcd its server too.
//! What was acknowledged is there, and nothing is half written. The processes are this test program again.
//!
//! A few times each in `cargo test`; a hundred times, with figures:
//!
//! ```text
//! STORE_TEST_KILLS=100 cargo test -p store --test killed -- --nocapture
//! ```

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use resource::{Store, StoreError};
use store::testing::{Etcd, skipped};
use store::{AnyStore, Endpoint, EtcdOptions, EtcdStore, SqliteStore, block_on};

mod acknowledged;
use acknowledged::{Content, Verdict, Writer, check, counter, follow, prepare};

const WRITERS: u64 = 4;
const READERS: u64 = 2;
/// The kill comes after one to so many writes.
const WRITES: u64 = 1000;

const ROLE: &str = "STORE_TEST_ROLE";
const STORE: &str = "STORE_TEST_STORE";
const RUN: &str = "STORE_TEST_RUN";
const NUMBER: &str = "STORE_TEST_NUMBER";

/// A store, named by a file or by an URL of etcd's.
fn open(name: &str) -> AnyStore {
    if !name.starts_with("http") {
        return AnyStore::Sqlite(SqliteStore::open(name).unwrap());
    }
    let options = EtcdOptions {
        endpoints: vec![Endpoint::parse(name).unwrap()],
        discovery_srv: String::new(),
        login: None,
        ca: None,
        certificate: None,
        key: None,
        origin: "the test".to_string(),
    };
    AnyStore::Etcd(EtcdStore::open(options).unwrap())
}

#[test]
#[ignore = "the other process of the tests here"]
fn child() {
    let (Ok(role), Ok(name)) = (std::env::var(ROLE), std::env::var(STORE)) else {
        return;
    };
    let variable = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    let store = open(&name);
    // The test harness has stdout. One write a line, so that none is cut but by the kill.
    let say = |line: &str| {
        let line = format!("{line}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    match role.as_str() {
        "write" => {
            let (run, number) = (variable(RUN), variable(NUMBER));
            Writer { run, number }.write(&store, u64::MAX, say);
        }
        // Its number is where it begins.
        "read" => follow(&store, variable(NUMBER), say),
        other => panic!("no role {other}"),
    }
}

fn start(role: &str, store: &str, run: u64, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .env(STORE, store)
        .env(RUN, run.to_string())
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(()) % below
}

/// Starts writers and readers, and kills all of them after some writes, with whatever `kill` ends. What they said.
fn run(store: &str, run: u64, since: u64, kill: impl FnOnce()) -> Vec<String> {
    let mut children: Vec<Child> = (0..WRITERS)
        .map(|number| start("write", store, run, number))
        .chain((0..READERS).map(|_| start("read", store, run, since)))
        .collect();
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        let listeners: Vec<_> = children
            .iter_mut()
            .map(|child| {
                let (said, written) = (child.stderr.take().unwrap(), &written);
                scope.spawn(move || {
                    let lines = BufReader::new(said).lines();
                    let lines = lines.map(|line| line.unwrap());
                    let counted = lines.inspect(|line| {
                        let write = !line.starts_with("seen");
                        written.fetch_add(u64::from(write), Ordering::Relaxed);
                    });
                    counted.collect::<Vec<String>>()
                })
            })
            .collect();
        let (after, until) = (
            1 + random(WRITES),
            Instant::now() + Duration::from_secs(120),
        );
        while written.load(Ordering::Relaxed) < after {
            let ended = children.iter_mut().any(|c| c.try_wait().unwrap().is_some());
            assert!(!ended && Instant::now() < until, "no {after} writes");
            thread::park_timeout(Duration::from_micros(random(2000)));
        }
        for child in &mut children {
            child.kill().unwrap();
        }
        kill();
        for child in &mut children {
            child.wait().unwrap();
        }
        listeners
            .into_iter()
            .flat_map(|listener| listener.join().unwrap())
            .collect()
    })
}

fn kills() -> u64 {
    let kills = std::env::var("STORE_TEST_KILLS").ok();
    kills.map_or(5, |text| text.parse().unwrap())
}

/// Nothing is lost, nothing half; adds up what there was.
fn hold(what: &str, kill: u64, sum: &mut Verdict, verdict: Verdict, said: &[String]) {
    assert!(
        verdict.lost.is_empty() && verdict.half.is_empty(),
        "{what}, kill {kill}: lost {:?}, half {:?}; they said {:?}",
        verdict.lost,
        verdict.half,
        said.iter()
            .filter(|l| !l.ends_with(" ."))
            .collect::<Vec<_>>()
    );
    sum.acknowledged += verdict.acknowledged;
    sum.seen += verdict.seen;
    sum.written += verdict.written;
}

fn print(what: &str, sum: &Verdict) {
    println!(
        "{what}: {} kills; of {} writes {} were acknowledged, all are there and whole; {} times a reader was told of one",
        kills(),
        sum.written,
        sum.acknowledged,
        sum.seen
    );
}

#[test]
fn every_process_of_a_file_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("selvedge.db");
    let name = file.to_str().unwrap();
    // One that stays, and one that opens the file anew after each kill.
    let stays = open(name);
    prepare(&stays, WRITERS);
    let mut sum = Verdict::default();
    for kill in 0..kills() {
        let before = Content::of(&stays);
        let said = run(name, kill, before.revision, || {});
        // Whoever comes first recovers the file.
        if kill % 2 == 0 {
            drop(Content::of(&open(name)));
        }
        let verdict = check(&stays, before, &said);
        hold("SQLite", kill, &mut sum, verdict, &said);
        assert_eq!(Content::of(&open(name)), Content::of(&stays));
    }
    print("SQLite", &sum);
}

/// Tries until the server that was started again answers.
fn answers(store: &AnyStore) {
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = block_on(store.get(&counter())) {
        assert!(matches!(error, StoreError::Backend(_)), "{error}");
        assert!(Instant::now() < until, "{error}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn every_process_of_an_etcd_is_killed_and_etcd_too() {
    if skipped() {
        return;
    }
    let mut etcd = Etcd::start_on_disk();
    let name = etcd.endpoint(0);
    prepare(&open(&name), WRITERS);
    let stays = open(&name);
    let mut sum = Verdict::default();
    for kill in 0..kills() {
        let before = Content::of(&stays);
        let said = run(&name, kill, before.revision, || etcd.kill(0));
        etcd.restart(0);
        let fresh = open(&name);
        answers(&fresh);
        let verdict = check(&fresh, before, &said);
        hold("etcd", kill, &mut sum, verdict, &said);
        answers(&stays);
        assert_eq!(Content::of(&fresh), Content::of(&stays));
    }
    print("etcd", &sum);
}

/// The control: what is said to be there and is not, and what is half, is found.
#[test]
fn what_is_lost_or_half_is_found() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path().join("selvedge.db").to_str().unwrap());
    prepare(&store, 1);
    let said = std::sync::Mutex::new(Vec::new());
    Writer { run: 0, number: 0 }.write(&store, 100, |line| {
        said.lock().unwrap().push(line.to_string());
    });
    let said = said.into_inner().unwrap();
    let verdict = check(&store, Content::default(), &said);
    assert!(
        verdict.lost.is_empty() && verdict.half.is_empty(),
        "{verdict:?}"
    );
    let listing = block_on(store.list(&resource::KeyPrefix::All)).unwrap();
    let kinds = [
        "put 9999 0 0 1 .",
        "del 9999 0 0 .",
        "count 9999 .",
        "given 10.0.0.99 x .",
    ];
    for false_line in kinds {
        let said = [false_line.to_string()];
        assert_eq!(
            check(&store, Content::default(), &said).lost.len(),
            1,
            "{false_line}"
        );
    }
    let own = listing
        .entries
        .iter()
        .find(|e| e.value.starts_with("[0,0,"));
    let own = own.unwrap();
    let half = &own.value[..own.value.len() / 2];
    block_on(store.update(&own.key, half, own.revision)).unwrap();
    assert_eq!(check(&store, Content::default(), &said).half.len(), 1);
}
