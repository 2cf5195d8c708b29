//! Which resource a word or a document means.

use resource::Kind;
use serde_json::Value;

use crate::args::Args;
use crate::client;
use crate::command::Persona;
use crate::documents::{self, Document};
use crate::names;
use crate::world::{Failure, World};

/// A resource that a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// The namespace that its document names.
    pub own_namespace: Option<String>,
    /// Its name; empty for all of the kind.
    pub name: String,
    /// The resourceVersion that its document names.
    pub resource_version: Option<String>,
}

impl Target {
    /// A resource named on the command line.
    pub fn new(kind: Kind, name: &str) -> Target {
        Target {
            kind,
            own_namespace: None,
            name: name.to_string(),
            resource_version: None,
        }
    }

    /// The resource that a document is about.
    pub fn of_document(document: &Document) -> Target {
        let text = |field: &str| {
            document
                .value
                .pointer(field)
                .and_then(Value::as_str)
                .map(String::from)
        };
        Target {
            kind: document.kind,
            own_namespace: text("/metadata/namespace").filter(|n| !n.is_empty()),
            name: text("/metadata/name").unwrap_or_default(),
            resource_version: text("/metadata/resourceVersion").filter(|v| !v.is_empty()),
        }
    }

    /// The namespace in which it is: the document's, the command line's, else `default`; none for kinds without.
    ///
    /// # Errors
    /// calicoctl's text when these do not go together.
    pub fn namespace(&self, args: &Args) -> Result<Option<String>, String> {
        let everywhere = args.has("all-namespaces");
        let given = args.get("namespace");
        if !self.kind.namespaced() {
            if self.own_namespace.is_some() {
                return Err(format!(
                    "namespace should not be specified for a non-namespaced resource. {} is not a namespaced resource",
                    self.kind
                ));
            }
            if everywhere || given.is_some() {
                return Err(format!("{} is not namespaced", self.kind));
            }
            return Ok(None);
        }
        match (given, self.own_namespace.as_deref()) {
            (Some(_), _) if everywhere => Err(
                "cannot use both --namespace and --all-namespaces flags at the same time"
                    .to_string(),
            ),
            (Some(given), Some(own)) if given != own => Err(format!(
                "resource namespace does not match client namespace. {own} != {given}"
            )),
            (Some(namespace), _) | (None, Some(namespace)) => Ok(Some(namespace.to_string())),
            (None, None) => Ok(Some("default".to_string())),
        }
    }
}

/// The kind that a word names.
///
/// # Errors
/// calicoctl's text for a kind that there is not.
pub fn named_kind(word: &str, persona: Persona) -> Result<Kind, Failure> {
    names::kind(word, persona).ok_or_else(|| Failure::Message {
        text: format!("resource type '{word}' is not supported"),
        hint: names::nearest(word).map(|kind| format!("did you mean {kind}?")),
    })
}

/// The resources that `-f` names, read strictly though only their names matter.
///
/// # Errors
/// As [`load`].
pub fn load_targets(
    args: &Args,
    filename: &str,
    world: &mut World<'_>,
) -> Result<Vec<Target>, Failure> {
    let documents = load(args, filename, world)?;
    for document in &documents {
        // What its values are refused for does not matter here.
        let _ = client::object(document)
            .map_err(|error| Failure::message(format!("failed to execute command: {error}")))?;
    }
    Ok(documents.iter().map(Target::of_document).collect())
}

/// The documents that `-f` names.
///
/// # Errors
/// What cannot be read; nothing at all, unless `--skip-empty` is given, which is said on stdout.
pub fn load(args: &Args, filename: &str, world: &mut World<'_>) -> Result<Vec<Document>, Failure> {
    let loaded =
        documents::load(world, filename, args.has("recursive")).map_err(|(text, file)| {
            Failure::Message {
                text: format!("failed to execute command: {text}"),
                hint: file.map(|file| format!("this is about {}", file.display())),
            }
        })?;
    if !loaded.documents.is_empty() {
        return Ok(loaded.documents);
    }
    if args.has("skip-empty") {
        world.print("No resources specified\n")?;
        return Ok(Vec::new());
    }
    let place = if loaded.directory {
        "directory"
    } else {
        "file"
    };
    Err(Failure::message(format!(
        "no resources specified in {place} {filename}"
    )))
}
