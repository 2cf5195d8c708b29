//! `create`, `apply`, `replace` and `delete`.

use resource::validate::{validate, validate_alone};
use resource::{Kind, Store};

use crate::args::Args;
use crate::client::{self, Client};
use crate::documents::Document;
use crate::target::{self, Target, named_kind};
use crate::world::{Failure, World};

/// What is done to each resource of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It must not be there.
    Create,
    /// It may be there.
    Apply,
    /// It must be there.
    Replace,
    /// It is only looked at.
    Validate,
}

impl Verb {
    fn present(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Apply => "apply",
            Verb::Replace => "replace",
            Verb::Validate => "validate",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Verb::Create => "created",
            Verb::Apply => "applied",
            Verb::Replace => "replaced",
            Verb::Validate => "validated",
        }
    }
}

/// Writes the resources of a file. All documents are read before the first is written; each is written whole or not at
/// all. `replace` stops at the first that fails, the others go on.
///
/// # Errors
/// calicoctl's summary of what failed.
pub fn write<S: Store + Sync>(
    verb: Verb,
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let documents = target::load(args, args.get("filename").unwrap_or("-"), world)?;
    if documents.is_empty() {
        return Ok(());
    }
    let objects = documents
        .iter()
        .map(client::object)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::message(format!("failed to execute command: {error}")))?;
    client.initialise(world)?;
    let mut handled = 0;
    let mut errors = Vec::new();
    for (document, object) in documents.iter().zip(objects) {
        let outcome = Target::of_document(document)
            .namespace(args)
            .and_then(|namespace| {
                let mut object = object?;
                object.metadata_mut().namespace = namespace;
                match verb {
                    Verb::Create => client.create(object, args.has("skip-exists"), world),
                    Verb::Apply => client.apply(object, world),
                    Verb::Replace => client.update(object),
                    Verb::Validate => validate(&object).map_err(|error| error.to_string()),
                }
            });
        match outcome {
            Ok(()) => handled += 1,
            Err(error) if verb == Verb::Replace => {
                // calicoctl counts the one that failed.
                return stopped(handled + 1, &documents, &error, world);
            }
            Err(error) => errors.push(error),
        }
    }
    report(verb, handled, &documents, &errors, world)
}

/// Checks the resources of a file, without a datastore.
///
/// # Errors
/// What is wrong with them.
pub fn check(args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    let documents = target::load(args, args.get("filename").unwrap_or("-"), world)?;
    if documents.is_empty() {
        return Ok(());
    }
    let mut handled = 0;
    let mut errors = Vec::new();
    for document in &documents {
        let object = client::object(document)
            .map_err(|error| Failure::message(format!("failed to execute command: {error}")))?;
        let outcome = object.and_then(|mut object| {
            // Where it would be written to is not looked at.
            if document.kind.namespaced() && object.metadata().namespace.is_none() {
                object.metadata_mut().namespace = Some("default".to_string());
            }
            validate_alone(&object).map_err(|error| error.to_string())
        });
        match outcome {
            Ok(()) => handled += 1,
            Err(error) => errors.push(error),
        }
    }
    report(Verb::Validate, handled, &documents, &errors, world)
}

/// The kind of all documents, if they have the same.
fn single_kind(documents: &[Document]) -> Option<Kind> {
    let first = documents.first()?.kind;
    documents.iter().all(|d| d.kind == first).then_some(first)
}

fn quoted(kind: Option<Kind>) -> String {
    kind.map_or(String::new(), |kind| format!("'{kind}' "))
}

fn stopped(
    handled: usize,
    documents: &[Document],
    error: &str,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    world.print(format_args!(
        "Partial success: replaced the first {handled} out of {} {}resources:\n",
        documents.len(),
        quoted(single_kind(documents))
    ))?;
    Err(Failure::message(format!("hit error: {error}")))
}

fn report(
    verb: Verb,
    handled: usize,
    documents: &[Document],
    errors: &[String],
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let kind = quoted(single_kind(documents));
    if errors.is_empty() {
        return world.print(format_args!(
            "Successfully {} {handled} {kind}resource(s)\n",
            verb.past()
        ));
    }
    let list = errors.join(" ");
    if handled == 0 {
        let which = match documents.len() {
            1 => format!("{kind}resource"),
            _ => format!("any {kind}resources"),
        };
        return Err(Failure::message(format!(
            "failed to {} {which}: [{list}]",
            verb.present()
        )));
    }
    if handled > errors.len() {
        world.print(format_args!(
            "Partial success: {} the first {handled} out of {} {kind}resources:\n",
            verb.past(),
            documents.len()
        ))?;
    }
    Err(Failure::message(format!("hit error: [{list}]")))
}

/// Deletes resources, by kind and names or as a file names them.
///
/// # Errors
/// A line for each that could not be deleted.
pub fn delete<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let targets = match args.get("filename") {
        Some(filename) => target::load_targets(args, filename, world)?,
        None => {
            let kind = named_kind(&args.positionals[0], world.persona)?;
            match &args.positionals[1..] {
                [] => vec![Target::new(kind, "")],
                names => names.iter().map(|name| Target::new(kind, name)).collect(),
            }
        }
    };
    let Some(first) = targets.first() else {
        return Ok(());
    };
    let kind = quoted(
        targets
            .iter()
            .all(|t| t.kind == first.kind)
            .then_some(first.kind),
    );
    let mut handled = 0;
    let mut errors = String::new();
    for target in &targets {
        let outcome = target.namespace(args).and_then(|namespace| {
            client.delete(
                target,
                namespace.as_deref(),
                args.has("skip-not-exists"),
                world,
            )
        });
        match outcome {
            Ok(()) => handled += 1,
            Err(error) => errors += &format!("Failed to delete {kind}resource: {error}\n"),
        }
    }
    if handled > 0 {
        world.print(format_args!(
            "Successfully deleted {handled} {kind}resource(s)\n"
        ))?;
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::message(errors))
    }
}
