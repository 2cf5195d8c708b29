//! The CustomResourceDefinitions that a cluster needs, for `kubectl apply -f -`.

use kubernetes::Group;

use crate::command::read;
use crate::usage;
use crate::world::{Failure, World};
use crate::yaml;

/// Prints one YAML document for each definition.
///
/// # Errors
/// An API group that is not known.
pub fn run(rest: &[String], world: &mut World<'_>) -> Result<(), Failure> {
    let Some(args) = read(&usage::DATASTORE_CRDS, rest, world)? else {
        return Ok(());
    };
    let group = match args.get("api-group") {
        None => Group::default(),
        Some(text) => Group::parse(text).ok_or_else(|| {
            Failure::message(format!(
                "the API group '{text}' is not known: expected {} or {}",
                Group::Crd,
                Group::Native
            ))
        })?,
    };
    for definition in kubernetes::definitions(group) {
        world.print(format_args!("---\n{}", yaml::write(&definition)))?;
    }
    Ok(())
}
