//! Writers that say each write once it is acknowledged, and what a store must have of it afterwards.
//!
//! Writers collide on one counter and on the blocks of one pool, and have keys of their own. A line is one thing:
//!
//! ```text
//! put REVISION RUN WRITER ROUND    a value that can be made again from the last three numbers
//! del REVISION WRITER ROUND        of the value that was deleted
//! count NUMBER                     the counter's
//! given ADDRESS HANDLE             an address, with its handle and its block
//! back HANDLE                      it will be given back
//! gone HANDLE                      it was
//! seen REVISION HASH               what a reader was told
//! ```
//!
//! Each ends in ` .`, so that one that was cut off is known. The store promises atomicity a key: an address is two writes, its
//! handle, then its block.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use ipam::{Family, Ipam, Owner, PoolChoice, Request, Use};
use resource::conformance::{Values, increment};
use resource::kinds::{IpPoolSpec, NodeSpec};
use resource::{Change, Key, KeyPrefix, Kind, Metadata, Object, Spec, Store, StoreError};
use store::block_on;

/// How many keys of its own a writer has.
const OWN: u64 = 7;

/// A writer: which of several, in which run.
#[derive(Clone, Copy)]
pub struct Writer {
    pub run: u64,
    pub number: u64,
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn key(writer: u64, round: u64) -> Key {
    Key::cluster(Kind::GlobalNetworkSet, format!("w{writer}-{}", round % OWN))
}

/// Not a node: those are read when addresses are given.
pub fn counter() -> Key {
    Key::cluster(Kind::Profile, "counter")
}

/// A text of a few octets or of several pages, which its first three numbers tell.
fn whole(run: u64, writer: u64, round: u64) -> String {
    let item = format!("{run},{writer},{round}");
    let times = usize::try_from(round % 4 * 700 + 1).unwrap();
    format!("[{}]", vec![item; times].join(","))
}

fn is_whole(value: &str) -> bool {
    match serde_json::from_str::<Vec<u64>>(value) {
        Ok(numbers) if numbers.len() >= 3 => value == whole(numbers[0], numbers[1], numbers[2]),
        Ok(_) | Err(_) => false,
    }
}

fn put_once<S: Spec>(store: &impl Store, metadata: Metadata, spec: S) {
    let object = Object::new(metadata, spec);
    match block_on(store.create(&object.key(), &object.to_stored())) {
        Ok(_) | Err(StoreError::Exists(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// What addresses are given from.
pub fn prepare(store: &impl Store, writers: u64) {
    for number in 0..writers {
        put_once(
            store,
            Metadata::named(format!("n{number}")),
            NodeSpec::default(),
        );
    }
    let pool = IpPoolSpec {
        cidr: "10.0.0.0/16".to_string(),
        ..IpPoolSpec::default()
    };
    put_once(store, Metadata::named("p"), pool);
}

impl Writer {
    /// Writes for `rounds` rounds.
    pub fn write(self, store: &(impl Store + Sync), rounds: u64, say: impl Fn(&str)) {
        let Writer { run, number } = self;
        let mut held: Option<String> = None;
        for round in 0..rounds {
            match round % 5 {
                3 => say(&format!(
                    "count {} .",
                    block_on(increment(Values::Texts, store, &counter()))
                )),
                4 => held = self.address(store, round, held, &say),
                _ => {
                    let key = key(number, round);
                    let there = block_on(store.get(&key)).unwrap();
                    if let (Some(entry), 0) = (&there, round % 3) {
                        block_on(store.delete(&key, Some(entry.revision))).unwrap();
                        say(&format!("del {} {number} {round} .", entry.revision));
                        continue;
                    }
                    let value = whole(run, number, round);
                    let written = match there {
                        Some(entry) => block_on(store.update(&key, &value, entry.revision)),
                        None => block_on(store.create(&key, &value)),
                    };
                    let revision = written.unwrap().revision;
                    say(&format!("put {revision} {run} {number} {round} ."));
                }
            }
        }
    }

    /// Takes an address, or gives back the one before.
    fn address(
        self,
        store: &(impl Store + Sync),
        round: u64,
        held: Option<String>,
        say: impl Fn(&str),
    ) -> Option<String> {
        let ipam = Ipam::new(store);
        if let (Some(handle), 0) = (&held, round % 2) {
            say(&format!("back {handle} ."));
            block_on(ipam.release_by_handle(handle)).unwrap();
            say(&format!("gone {handle} ."));
            return None;
        }
        let handle = format!("{}-{}-{round}", self.run, self.number);
        let owner = Owner {
            handle: Some(handle.clone()),
            attributes: BTreeMap::new(),
        };
        let request = Request {
            count: 1,
            family: Family::V4,
            owner: &owner,
            host: &format!("n{}", self.number),
            pools: PoolChoice::Automatic {
                namespace_labels: None,
            },
            intended: Use::Workload,
            max_blocks: None,
            windows: false,
        };
        let assignment = block_on(ipam.auto_assign(&request, now())).unwrap();
        let address = assignment
            .addresses
            .first()
            .expect("a free address")
            .address;
        say(&format!("given {address} {handle} ."));
        Some(handle)
    }
}

fn hash(change: &Change) -> u64 {
    let mut hasher = DefaultHasher::new();
    match change {
        Change::Put(entry) => (entry.key.path(), Some(&entry.value)).hash(&mut hasher),
        Change::Delete { key, .. } => (key.path(), None::<&String>).hash(&mut hasher),
    }
    hasher.finish()
}

fn revision(change: &Change) -> u64 {
    match change {
        Change::Put(entry) => entry.revision,
        Change::Delete { revision, .. } => *revision,
    }
}

/// Says what happens after a revision, for ever.
#[cfg_attr(not(test), expect(dead_code, reason = "of the test only"))]
pub fn follow(store: &impl Store, mut cursor: u64, say: impl Fn(&str)) {
    loop {
        block_on(store.wait(cursor)).unwrap();
        let told = block_on(store.changes(cursor)).unwrap();
        for change in &told.changes {
            say(&format!("seen {} {} .", revision(change), hash(change)));
        }
        cursor = told.revision;
    }
}

/// What a store has at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub revision: u64,
    values: BTreeMap<String, String>,
}

impl Content {
    pub fn of(store: &impl Store) -> Content {
        let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
        let values = listing.entries.into_iter();
        Content {
            revision: listing.revision,
            values: values.map(|e| (e.key.path(), e.value)).collect(),
        }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Writes that were said to be done.
    pub acknowledged: usize,
    /// What readers were told.
    pub seen: usize,
    /// Writes that the store has.
    pub written: usize,
    /// What was acknowledged, or told to a reader, and is not there.
    pub lost: Vec<String>,
    /// What is there and not whole, or fits nothing that was written.
    pub half: Vec<String>,
}

/// Holds what was said against what the store has written since `before`.
pub fn check(store: &(impl Store + Sync), before: Content, said: &[String]) -> Verdict {
    let mut verdict = Verdict::default();
    let there = Content::of(store);
    let (mut log, mut cursor) = (BTreeMap::new(), before.revision);
    while cursor < there.revision {
        block_on(store.wait(cursor)).unwrap();
        let told = block_on(store.changes(cursor)).unwrap();
        log.extend(told.changes.into_iter().map(|c| (revision(&c), c)));
        cursor = told.revision;
    }
    verdict.written = log.len();
    if log
        .keys()
        .copied()
        .ne(before.revision + 1..there.revision + 1)
    {
        verdict.half.push("a revision is missing".to_string());
    }
    let mut values = before.values;
    for change in log.values() {
        match change {
            Change::Put(entry) => {
                let own = matches!(
                    &entry.key,
                    Key::Resource {
                        kind: Kind::GlobalNetworkSet,
                        ..
                    }
                );
                if own && !is_whole(&entry.value) {
                    verdict.half.push(format!("{change:?}"));
                }
                values.insert(entry.key.path(), entry.value.clone());
            }
            Change::Delete { key, .. } => drop(values.remove(&key.path())),
        }
    }
    if values != there.values {
        verdict
            .half
            .push("the log leads to other values".to_string());
    }
    verdict.half.extend(addresses_without_handle(store));
    let mut found = Found {
        log: &log,
        counted: BTreeSet::new(),
        given: BTreeMap::new(),
        verdict,
    };
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        if let [words @ .., "."] = &words[..] {
            found.line(words, line);
        }
    }
    found.end(store)
}

/// An address is given in two writes, the handle's first, so that none is without.
fn addresses_without_handle(store: &(impl Store + Sync)) -> Vec<String> {
    let survey = block_on(Ipam::new(store).survey()).unwrap();
    let allocations = survey.allocations();
    let without = allocations
        .iter()
        .filter(|a| a.handle().is_none_or(|h| !survey.handles.contains_key(h)));
    without.map(|a| format!("no handle: {a:?}")).collect()
}

struct Found<'a> {
    log: &'a BTreeMap<u64, Change>,
    counted: BTreeSet<u64>,
    given: BTreeMap<String, Option<String>>,
    verdict: Verdict,
}

impl Found<'_> {
    fn line(&mut self, words: &[&str], line: &str) {
        let number = |word: &str| word.parse::<u64>().expect("a number");
        let acknowledged = match words {
            ["put", at, run, writer, round] => {
                let (writer, round) = (number(writer), number(round));
                let value = whole(number(run), writer, round);
                let there = self.log.get(&number(at));
                matches!(there, Some(Change::Put(e)) if e.key == key(writer, round) && e.value == value)
            }
            ["del", of, writer, round] => {
                let deleted = key(number(writer), number(round));
                let mut later = self.log.range(number(of) + 1..).map(|(_, c)| c);
                let next = later.find(|c| match c {
                    Change::Put(entry) => entry.key == deleted,
                    Change::Delete { key, .. } => *key == deleted,
                });
                matches!(next, Some(Change::Delete { .. }))
            }
            ["count", at] => {
                if !self.counted.insert(number(at)) {
                    self.verdict.half.push(format!("{line}: twice"));
                }
                let mut all = self.log.values();
                all.any(|c| matches!(c, Change::Put(e) if e.key == counter() && e.value == *at))
            }
            ["given", address, handle] => {
                let address = Some((*address).to_string());
                self.given.insert((*handle).to_string(), address);
                true
            }
            // Whether it is there is not known until it is gone.
            ["back", handle] => {
                self.given.remove(*handle);
                return;
            }
            ["gone", handle] => {
                self.given.insert((*handle).to_string(), None);
                true
            }
            ["seen", at, told] => {
                self.verdict.seen += 1;
                if self.log.get(&number(at)).map(hash) != Some(number(told)) {
                    self.verdict.lost.push(line.to_string());
                }
                return;
            }
            _ => return,
        };
        self.verdict.acknowledged += 1;
        if !acknowledged {
            self.verdict.lost.push(line.to_string());
        }
    }

    fn end(mut self, store: &(impl Store + Sync)) -> Verdict {
        let ipam = Ipam::new(store);
        for (handle, address) in self.given {
            let there = match block_on(ipam.ips_by_handle(&handle)) {
                Ok(there) => there,
                Err(StoreError::NotFound(_)) => Vec::new(),
                Err(error) => panic!("{error}"),
            };
            let there: Vec<String> = there.iter().map(ToString::to_string).collect();
            if there != Vec::from_iter(address.clone()) {
                let text = format!("{handle} had {address:?}, and has {there:?}");
                self.verdict.lost.push(text);
            }
        }
        self.verdict
    }
}
