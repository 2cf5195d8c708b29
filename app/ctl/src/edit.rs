//! `patch` and `label`: read, change, write.

use std::time::Duration;

use resource::Store;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::client::{self, Client, key};
use crate::documents::Document;
use crate::patch::merge;
use crate::target::{Target, named_kind};
use crate::world::{Failure, World};

/// How often a resource is read anew when somebody else wrote it in between.
const TRIES: usize = 5;
/// How long to wait before that.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Merges a patch into a resource.
///
/// # Errors
/// calicoctl's text.
pub fn patch<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let kind = named_kind(&args.positionals[0], world.persona)?;
    let target = Target::new(kind, &args.positionals[1]);
    patched(args, client, &target, world)
        .map_err(|error| Failure::message(format!("hit error: {error}")))?;
    world.print(format_args!("Successfully patched 1 '{kind}' resource\n"))
}

fn patched<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    target: &Target,
    world: &World<'_>,
) -> Result<(), String> {
    let namespace = target.namespace(args)?;
    let updating = |error: String| format!("updating existing resource: {error}");
    for _ in 0..TRIES {
        let mut value = client.get(target.kind, namespace.as_deref(), &target.name)?;
        let patch: Value = serde_json::from_str(args.get("patch").unwrap_or_default())
            .ok()
            .filter(Value::is_object)
            .ok_or("performing strategic merge patch: invalid JSON document")?;
        merge(&mut value, patch);
        let document = Document {
            kind: target.kind,
            value,
        };
        let object = client::object(&document)
            .map_err(|error| format!("creating resource from patched data: {error}"))?
            .map_err(updating)?;
        if client.update_unless_changed(object).map_err(updating)? {
            return Ok(());
        }
        (world.pause)(BETWEEN_TRIES);
    }
    Err(updating(conflict(target, namespace.as_deref())))
}

/// What is said when others wrote the resource again and again.
fn conflict(target: &Target, namespace: Option<&str>) -> String {
    let key = key(target.kind, namespace, &target.name);
    format!("update conflict: {key}")
}

/// Sets, changes or removes one label.
///
/// # Errors
/// calicoctl's text.
pub fn label<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let [word, name, label] = args.positionals.as_slice() else {
        return Err(Failure::message("expected a kind, a name and a label"));
    };
    let (key, value) = if args.has("remove") {
        (label.as_str(), None)
    } else {
        match label.split('=').collect::<Vec<_>>().as_slice() {
            [key, value] => (*key, Some(*value)),
            _ => return Err(Failure::message(format!("invalid label {label}"))),
        }
    };
    let kind = named_kind(word, world.persona)
        .map_err(|error| error.prefixed(&format!("failed to get {word} {name}, error ")))?;
    let target = Target::new(kind, name);
    let namespace = target.namespace(args).map_err(Failure::message)?;
    let done = labelled(client, &target, namespace.as_deref(), world, |document| {
        change(document, key, value, args.has("overwrite"))
    })
    .map_err(|unchanged| match unchanged {
        Unchanged::NotFound(error) => Failure::Message {
            text: format!("{word} {name} not found"),
            hint: Some(error),
        },
        Unchanged::Refused(refusal) => Failure::message(refusal.text(word, name, key)),
        Unchanged::Failed(error) => Failure::Message {
            text: format!("failed to update {word} {name}, label not changed"),
            hint: Some(error),
        },
    })?;
    let preposition = if done == "removed" { "from" } else { "on" };
    world.print(format_args!(
        "Successfully {done} label {key} {preposition} {word} {name}\n"
    ))
}

/// Why a label was not changed.
enum Unchanged {
    NotFound(String),
    Refused(Refusal),
    Failed(String),
}

fn labelled<S: Store + Sync>(
    client: &Client<'_, S>,
    target: &Target,
    namespace: Option<&str>,
    world: &World<'_>,
    change: impl Fn(&mut Value) -> Result<&'static str, Refusal>,
) -> Result<&'static str, Unchanged> {
    for _ in 0..TRIES {
        let mut value = client
            .get(target.kind, namespace, &target.name)
            .map_err(Unchanged::NotFound)?;
        let done = change(&mut value).map_err(Unchanged::Refused)?;
        let document = Document {
            kind: target.kind,
            value,
        };
        let updated = client::object(&document)
            .flatten()
            .and_then(|object| client.update_unless_changed(object))
            .map_err(Unchanged::Failed)?;
        if updated {
            return Ok(done);
        }
        (world.pause)(BETWEEN_TRIES);
    }
    Err(Unchanged::Failed(conflict(target, namespace)))
}

enum Refusal {
    Present,
    Absent,
}

impl Refusal {
    fn text(&self, word: &str, name: &str, key: &str) -> String {
        match self {
            Refusal::Present => format!(
                "failed to update label of {word} {name}, key {key} is already present. please use '--overwrite' to set a new value"
            ),
            Refusal::Absent => {
                format!("cannot remove label of {word} {name}, key {key} does not exist")
            }
        }
    }
}

/// Changes the label; returns what was done with it.
fn change(
    document: &mut Value,
    key: &str,
    value: Option<&str>,
    overwrite: bool,
) -> Result<&'static str, Refusal> {
    let Some(Value::Object(metadata)) = document.get_mut("metadata") else {
        return Err(Refusal::Absent);
    };
    let labels = metadata
        .entry("labels")
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(labels) = labels else {
        return Err(Refusal::Absent);
    };
    let Some(value) = value else {
        return labels
            .shift_remove(key)
            .map(|_| "removed")
            .ok_or(Refusal::Absent);
    };
    let before = labels.get(key).and_then(Value::as_str).map(String::from);
    if before.as_deref().is_some_and(|before| before != value) && !overwrite {
        return Err(Refusal::Present);
    }
    labels.insert(key.to_string(), Value::from(value));
    Ok(if before.is_some() { "updated" } else { "set" })
}
