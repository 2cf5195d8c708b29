//! `version`.

use std::time::Duration;

use resource::kinds::{ClusterInformation, parse_go_duration};
use resource::{Kind, Object, Store};

use crate::args::Args;
use crate::client::Client;
use crate::world::{Failure, World};

/// The version of calicoctl whose words are spoken here.
pub const CALICO_VERSION: &str = "v3.32.1";
/// The commit that calicoctl of that version names.
const CALICO_COMMIT: &str = "0ca9d1b936";

/// Prints what needs no datastore.
///
/// # Errors
/// Only where nobody reads stdout.
pub fn client(world: &mut World<'_>) -> Result<(), Failure> {
    world.print(format_args!(
        "Client Version:    {CALICO_VERSION}\nGit commit:        {CALICO_COMMIT}\n"
    ))
}

/// How often to ask again, where `--poll` says so.
///
/// # Errors
/// What is no duration.
pub fn interval(args: &Args) -> Result<Option<Duration>, Failure> {
    let Some(text) = args.get("poll") else {
        return Ok(None);
    };
    let every = parse_go_duration(text)
        .map_err(|error| Failure::message(format!("invalid poll frequency: {error}")))?;
    Ok(Some(every).filter(|every| !every.is_zero()))
}

/// Prints what the cluster says of itself; with an interval again whenever that has changed, without end.
///
/// # Errors
/// There is no ClusterInformation.
pub fn cluster<S: Store + Sync>(
    client: &Client<'_, S>,
    every: Option<Duration>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let mut before = None;
    loop {
        let information = information(client).map_err(|error| {
            Failure::message(format!(
                "unable to retrieve Cluster Version or Type: {error}"
            ))
        })?;
        let known = |text: &str| if text.is_empty() { "unknown" } else { text }.to_string();
        let now = (
            known(&information.spec.calico_version),
            known(&information.spec.cluster_type),
        );
        if before.as_ref() != Some(&now) {
            world.print(format_args!(
                "Cluster Version:   {}\nCluster Type:      {}\n",
                now.0, now.1
            ))?;
            before = Some(now);
        }
        let Some(every) = every else {
            return Ok(());
        };
        (world.pause)(every);
    }
}

pub fn information<S: Store + Sync>(client: &Client<'_, S>) -> Result<ClusterInformation, String> {
    let value = client.get(Kind::ClusterInformation, None, "default")?;
    Object::from_value(value).map_err(|error| error.to_string())
}

/// Refuses to work on a cluster whose nodes run another version.
///
/// # Errors
/// calicoctl's text, unless `--allow-version-mismatch` is given.
pub fn check<S: Store + Sync>(args: &Args, client: &Client<'_, S>) -> Result<(), Failure> {
    if args.has("allow-version-mismatch") {
        return Ok(());
    }
    let plain = |version: &str| {
        let version = version.strip_prefix('v').unwrap_or(version);
        version.split('-').next().unwrap_or(version).to_string()
    };
    let Ok(information) = information(client) else {
        return Ok(());
    };
    let (ours, theirs) = (
        plain(CALICO_VERSION),
        plain(&information.spec.calico_version),
    );
    if theirs.is_empty() || theirs == ours {
        return Ok(());
    }
    Err(Failure::message(format!(
        "version mismatch.\nClient Version:   {ours}\nCluster Version:  {theirs}\nUse --allow-version-mismatch to override"
    )))
}
