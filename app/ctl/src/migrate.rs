//! `datastore migrate`: lock and unlock, and a store's whole content into a file and out of it.
//!
//! The file is text: a line of JSON that says what it is, one line for each value with its key, byte for byte as it is stored,
//! and a last line with their number, so that a file that was cut off is known. calicoctl's own export is another file,
//! which is read too (`migrate_kubernetes`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use resource::kinds::ClusterInformation;
use resource::{Entry, Key, KeyPrefix, Kind, Object, Store, StoreError, StoreResult};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::block_on;

use crate::args::Args;
use crate::migrate_kubernetes;
use crate::world::{Failure, World};

/// What the first line says; the number changes with the form of the lines.
const FORMAT: &str = "selvedge datastore export";
const VERSION: u32 = 1;

/// How many of many are named.
const NAMED: usize = 10;

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    /// The store's revision at which all this was so.
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: usize,
}

fn cluster() -> Key {
    Key::cluster(Kind::ClusterInformation, "default")
}

/// Locks the datastore, or unlocks it: `datastoreReady` of ClusterInformation.
///
/// # Errors
/// There is no ClusterInformation; the store's.
pub fn set_ready<S: Store + Sync>(
    store: &S,
    ready: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    loop {
        let entry = information(store)?;
        let mut object: ClusterInformation =
            Object::from_entry(&entry).map_err(Failure::message)?;
        if object.spec.datastore_ready == Some(ready) {
            break;
        }
        object.spec.datastore_ready = Some(ready);
        let text = object.to_stored();
        match block_on(store.update(&entry.key, &text, entry.revision)) {
            Ok(_) => break,
            // A node has written its version meanwhile.
            Err(StoreError::Conflict(_)) => (),
            Err(error) => return Err(Failure::message(error)),
        }
    }
    world.print(match ready {
        true => "Datastore unlocked.\n",
        false => "Datastore locked.\n",
    })
}

fn information<S: Store>(store: &S) -> Result<Entry, Failure> {
    let key = cluster();
    match block_on(store.get(&key)).map_err(Failure::message)? {
        Some(entry) => Ok(entry),
        None => Err(Failure::message(format!(
            "{} with error: <nil>",
            StoreError::NotFound(key)
        ))),
    }
}

const NOT_LOCKED: &str = "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to begin migration";

/// Refuses to go on with a datastore that may change meanwhile.
///
/// # Errors
/// It is not locked; the store's.
pub fn check_locked<S: Store>(store: &S) -> Result<(), Failure> {
    let entry = information(store).map_err(|error| {
        error.prefixed(
            "error while checking if datastore was locked: error retrieving ClusterInformation: ",
        )
    })?;
    match is_locked(&entry.value) {
        true => Ok(()),
        false => Err(Failure::message(NOT_LOCKED)),
    }
}

fn is_locked(value: &str) -> bool {
    let document: Value = serde_json::from_str(value).unwrap_or_default();
    document["spec"]["datastoreReady"] == Value::Bool(false)
}

/// Writes all that is in the store to stdout.
///
/// # Errors
/// The datastore is not locked; the store's.
pub fn export<S: Store + Sync>(store: &S, world: &mut World<'_>) -> Result<(), Failure> {
    // One list, so that everything is of one moment, the lock too.
    let listing = block_on(store.list(&KeyPrefix::All)).map_err(Failure::message)?;
    let information = listing.entries.iter().find(|e| e.key == cluster());
    if !information.is_some_and(|e| is_locked(&e.value)) {
        return Err(Failure::message(NOT_LOCKED));
    }
    let unknown = block_on(store.unknown_paths()).map_err(Failure::message)?;
    if !unknown.is_empty() {
        let _ = writeln!(
            world.stderr,
            "not exported, since this version does not know what it is:\n{}",
            some_of(&unknown)
        );
    }
    let head = Head {
        format: FORMAT.to_string(),
        version: VERSION,
        revision: listing.revision,
    };
    print_line(&head, world)?;
    let count = listing.entries.len();
    for entry in listing.entries {
        let line = Line {
            key: entry.key.path(),
            value: entry.value,
        };
        print_line(&line, world)?;
    }
    print_line(&End { end: count }, world)
}

fn print_line<T: Serialize>(line: &T, world: &mut World<'_>) -> Result<(), Failure> {
    let text = serde_json::to_string(line).expect("texts and numbers are JSON");
    world.print(format_args!("{text}\n"))
}

/// One a line, and how many there are beyond those.
fn some_of(lines: &[String]) -> String {
    let mut text: Vec<String> = lines.iter().take(NAMED).map(|l| format!("  {l}")).collect();
    if lines.len() > NAMED {
        text.push(format!("  and {} more", lines.len() - NAMED));
    }
    text.join("\n")
}

/// Reads the file that [`export`] or calicoctl's export wrote into a store that is empty. One that was interrupted may be repeated.
///
/// # Errors
/// What is wrong with the file, before anything is written; what the store has already; what it cannot hold; the store's.
pub fn import<S: Store + Sync>(
    args: &Args,
    store: &S,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let file = args.get("filename").unwrap_or_default();
    let mut text = String::new();
    match file {
        "-" => {
            world
                .stdin
                .read_to_string(&mut text)
                .map_err(|e| Failure::message(format!("stdin: {e}")))?;
        }
        _ => {
            text = fs::read_to_string(file)
                .map_err(|e| Failure::message(format!("open {file}: {e}")))?;
        }
    }
    let of_calicoctl = migrate_kubernetes::is_calicoctl(&text);
    let parsed = match of_calicoctl {
        true => migrate_kubernetes::read(&text, world).and_then(whole),
        false => read(&text),
    };
    let mut entries = parsed.map_err(|why| Failure::Message {
        text: format!("Imported file: {file} is improperly formatted: {why}"),
        hint: Some("make it anew with `selvedge datastore migrate export`".to_string()),
    })?;
    let there = already_there(store, &entries)?;
    let mut skipped = Vec::new();
    if of_calicoctl {
        skipped = migrate_kubernetes::onto_nodes(store, &mut entries, &there);
    }
    let registered = registered(store)?;
    let holds = |e: &Entry| registered.contains(&e.key) || store.cannot_hold(e).is_none();
    let refused: Vec<String> = entries
        .iter()
        .filter(|e| !holds(e))
        .filter_map(|e| Some(format!("{}: {}", e.key, store.cannot_hold(e)?)))
        .collect();
    if !refused.is_empty() {
        let text = format!("the datastore cannot hold:\n{}", some_of(&refused));
        if !args.has("leave-out") {
            return Err(Failure::Message {
                text: format!("{text}\nnothing was written"),
                hint: Some("--leave-out imports the rest".to_string()),
            });
        }
        let _ = writeln!(world.stderr, "{text}");
        entries.retain(holds);
    }
    // The lock first: whoever looks at a store that is half full must see it.
    entries.sort_by_key(|e| e.key != cluster());
    let is_ipam = |entry: &Entry| !matches!(entry.key, Key::Resource { .. });
    let (ipam, resources): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_ipam);
    write_all(store, &resources, &there)?;
    match (of_calicoctl, skipped.is_empty()) {
        (false, _) => world.print(format_args!(
            "Successfully applied {} resource(s)\n",
            resources.len()
        ))?,
        // calicoctl does not count the lock, which it says first, and does not end a warning's line.
        (true, true) => world.print(format_args!(
            "Datastore locked.\nSuccessfully applied {} resource(s)\n",
            resources.len() - 1
        ))?,
        (true, false) => world.print(format_args!("Datastore locked.\n{}", skipped.concat()))?,
    }
    world.print("Importing IPAM resources\n")?;
    write_all(store, &ipam, &there)?;
    world.print(format_args!(
        "Successfully applied {} IPAM resource(s)\nDatastore information successfully imported. Please refer to the datastore migration documentation for next steps.\n",
        ipam.len()
    ))
}

/// The values of a file, and that it is whole.
fn read(text: &str) -> Result<Vec<Entry>, String> {
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or("it is empty")?;
    let head: Head =
        serde_json::from_str(first).map_err(|_| "its first line does not say what it is")?;
    if head.format != FORMAT || head.version != VERSION {
        return Err(format!(
            "it is {:?} of version {}, and this version reads {FORMAT:?} of version {VERSION}",
            head.format, head.version
        ));
    }
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in lines.by_ref() {
        if let Ok(End { end }) = serde_json::from_str(line) {
            if end != entries.len() {
                return Err(format!(
                    "it says that it has {end} values, and has {}",
                    entries.len()
                ));
            }
            if let Some((number, _)) = lines.next() {
                return Err(format!("line {}: there is more after its end", number + 1));
            }
            return whole(entries);
        }
        let line: Line =
            serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
        let key = Key::from_path(&line.key).ok_or_else(|| {
            format!(
                "line {}: this version does not know what {} is",
                number + 1,
                line.key
            )
        })?;
        entries.push(Entry {
            key,
            value: line.value,
            revision: 0,
        });
    }
    Err("its end is missing: it was cut off".to_string())
}

fn whole(entries: Vec<Entry>) -> Result<Vec<Entry>, String> {
    let paths: BTreeMap<String, ()> = entries.iter().map(|e| (e.key.path(), ())).collect();
    if paths.len() != entries.len() {
        return Err("it has a key twice".to_string());
    }
    match entries.iter().find(|e| e.key == cluster()) {
        Some(entry) if is_locked(&entry.value) => Ok(entries),
        Some(_) | None => Err("it is not of a datastore that was locked".to_string()),
    }
}

/// The Nodes that a kubelet made: Calico's part is written onto them.
fn registered<S: Store>(store: &S) -> Result<BTreeSet<Key>, Failure> {
    if !store.is_kubernetes() {
        return Ok(BTreeSet::new());
    }
    let listing = block_on(store.list(&KeyPrefix::Kind(Kind::Node))).map_err(Failure::message)?;
    Ok(listing.entries.into_iter().map(|e| e.key).collect())
}

/// Whether two values are one; the API server gives what is created a uid and a time of its own, and keeps no status that is empty.
fn is_same<S: Store>(store: &S, one: &str, other: &str) -> bool {
    let without = |text: &str| {
        let mut document: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("uid");
            metadata.remove("creationTimestamp");
        }
        if let Some(fields) = document.as_object_mut() {
            fields.retain(|name, value| name != "status" || *value != json!({}));
        }
        document
    };
    one == other || store.is_kubernetes() && without(one) == without(other)
}

/// Whether it is the cluster's own, which it has with Calico and without.
fn is_the_clusters<S: Store>(store: &S, entry: &Entry, is_wanted: bool) -> bool {
    if !store.is_kubernetes() {
        return false;
    }
    match &entry.key {
        Key::Lease(_) => true,
        Key::Resource {
            kind: Kind::Service | Kind::EndpointSlice,
            ..
        } => !is_wanted,
        _ => store.cannot_hold(entry).is_some(),
    }
}

/// What the store has of it; anything else is a reason to refuse.
fn already_there<S: Store>(
    store: &S,
    wanted: &[Entry],
) -> Result<BTreeMap<String, Entry>, Failure> {
    let listing = block_on(store.list(&KeyPrefix::All)).map_err(Failure::message)?;
    let wanted: BTreeMap<String, &str> = wanted
        .iter()
        .map(|e| (e.key.path(), e.value.as_str()))
        .collect();
    // The first command on an empty store makes it, and so it is no sign of life.
    let foreign: Vec<String> = listing
        .entries
        .iter()
        .filter(|e| {
            let there = wanted.get(&e.key.path());
            e.key != cluster()
                && !there.is_some_and(|value| is_same(store, value, &e.value))
                && !is_the_clusters(store, e, there.is_some())
        })
        .map(|e| e.key.to_string())
        .collect();
    if !foreign.is_empty() {
        return Err(Failure::Message {
            text: format!(
                "the datastore to import to is not empty. It has, and the file has not, or has otherwise:\n{}\nnothing was written",
                some_of(&foreign)
            ),
            hint: Some("name another datastore, or delete these first".to_string()),
        });
    }
    Ok(listing
        .entries
        .into_iter()
        .map(|e| (e.key.path(), e))
        .collect())
}

/// Kubelets write their Nodes all the time; those are changed as they then are.
async fn update<S: Store>(store: &S, entry: &Entry, mut revision: u64) -> StoreResult<Entry> {
    loop {
        let result = store.update(&entry.key, &entry.value, revision).await;
        match (result, &entry.key) {
            (
                Err(StoreError::Conflict(_)),
                Key::Resource {
                    kind: Kind::Node, ..
                },
            ) if store.is_kubernetes() => {
                let there = store.get(&entry.key).await?;
                revision = there
                    .ok_or_else(|| StoreError::NotFound(entry.key.clone()))?
                    .revision;
            }
            (result, _) => return result,
        }
    }
}

fn write_all<S: Store>(
    store: &S,
    entries: &[Entry],
    there: &BTreeMap<String, Entry>,
) -> Result<(), Failure> {
    for (done, entry) in entries.iter().enumerate() {
        let written = match there.get(&entry.key.path()) {
            Some(old) if is_same(store, &old.value, &entry.value) => continue,
            Some(old) => block_on(update(store, entry, old.revision)),
            None => block_on(store.create(&entry.key, &entry.value)),
        };
        written.map_err(|error| Failure::Message {
            text: format!("{error} (after {done} of {} were written)", entries.len()),
            hint: Some(
                "the same command goes on where this one stopped; the datastore is locked until then"
                    .to_string(),
            ),
        })?;
    }
    Ok(())
}
