//! `ipam release`: one address, or what reports of `ipam check` call leaked.

use std::collections::BTreeSet;
use std::fs;

use ipam::{IpamError, Refusal, ReleaseRequest};
use resource::Store;
use resource::kinds::ClusterInformation;
use store::block_on;

use super::address;
use super::report::{Allocated, LeakedHandle, Report};
use crate::args::Args;
use crate::client::Client;
use crate::documents;
use crate::version::{self, CALICO_VERSION};
use crate::world::{Failure, World};

/// Takes addresses back.
///
/// # Errors
/// Nobody has the address; a report that is not of this cluster as it is now. Nothing is released then.
pub fn run<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let files = args.all("from-report");
    if !files.is_empty() {
        return from_reports(&files, args.has("force"), client, world);
    }
    // As calicoctl: nothing is asked for, and nothing done.
    let Some(text) = args.get("ip") else {
        return Ok(());
    };
    let address = address(text, world)?;
    let outcome = block_on(client.ipam.release_ips(&[ReleaseRequest::of(address)]))
        .map_err(Failure::message)?;
    if outcome.released.is_empty() {
        return Err(Failure::message(format!(
            "IP address {address} is not assigned"
        )));
    }
    world.print(format_args!("Successfully released IP address {address}\n"))
}

fn from_reports<S: Store + Sync>(
    files: &[&str],
    force: bool,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let information = version::information(client).map_err(Failure::message)?;
    let mut reports = Vec::new();
    for file in files {
        let report = read(file)?;
        check(file, &report, &information, force, world)?;
        reports.push(report);
    }
    let revision = information.metadata.resource_version.as_deref();
    let current = |report: &Report| Some(report.cluster_information_revision.as_str()) == revision;
    if !reports.iter().any(current) {
        return Err(Failure::Message {
            text: "The provided report is stale: the cluster information has changed since. Refusing to release."
                .to_string(),
            hint: Some(
                "lock the datastore, make a new report with `ipam check -o FILE`, release from it, then unlock"
                    .to_string(),
            ),
        });
    }
    if information.spec.datastore_ready != Some(false) {
        if !force {
            return Err(Failure::Message {
                text: "Datastore is not locked. Refusing to release.".to_string(),
                hint: Some("`calicoctl datastore migrate lock` locks it".to_string()),
            });
        }
        world.print("WARNING: Datastore is not locked. Ignoring due to --force option\n")?;
    }
    release_leaked(&reports, client, world)?;
    world.print("You may now unlock the data store.\n")
}

fn read(file: &str) -> Result<Report, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::message(documents::open_error(file.as_ref(), &error)))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::message(format!("{file} is no report of ipam check: {error}")))
}

/// Whether a report is of this cluster and of this version.
fn check(
    file: &str,
    report: &Report,
    information: &ClusterInformation,
    force: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    if report.cluster_guid != information.spec.cluster_guid {
        return Err(Failure::message(format!(
            "Cluster does not match the provided report ({file}): mismatched cluster GUID. Refusing to release."
        )));
    }
    if report.version != CALICO_VERSION {
        if !force {
            return Err(Failure::message(format!(
                "The provided report ({file}) was produced using a different version ({}) of calicoctl. Refusing to release.",
                report.version
            )));
        }
        world.print(
            "WARNING: Report was produced using a different version of calicoctl. Ignoring due to --force option\n",
        )?;
    }
    Ok(())
}

/// Releases what every report calls leaked. What was given anew since is left, and said.
fn release_leaked<S: Store + Sync>(
    reports: &[Report],
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let (first, others) = reports.split_first().expect("at least one report is named");
    let leaked = |report: &Report| -> BTreeSet<(String, String, Option<u64>)> {
        let unused = report.allocations.values().flatten().filter(|a| !a.in_use);
        let identity = |a: &Allocated| {
            let (ip, handle, sequence) = a.identity();
            (ip.to_string(), handle.to_string(), sequence)
        };
        unused.map(identity).collect()
    };
    let mut addresses = leaked(first);
    let mut handles: BTreeSet<LeakedHandle> = first.leaked_handles.iter().cloned().collect();
    for report in others {
        let theirs = leaked(report);
        addresses.retain(|address| theirs.contains(address));
        handles.retain(|handle| report.leaked_handles.contains(handle));
    }
    world.print(format_args!("Releasing {} old IPs...\n", addresses.len()))?;
    let mut released = 0;
    for (ip, handle, sequence) in addresses {
        let address = ip
            .parse()
            .map_err(|_| Failure::message(format!("the report has no address in {ip:?}")))?;
        let request = ReleaseRequest {
            address,
            handle: (!handle.is_empty()).then_some(handle),
            sequence,
        };
        match block_on(client.ipam.release_ips(&[request])) {
            Ok(outcome) => released += outcome.released.len(),
            Err(IpamError::Refused(Refusal::HandleMismatch(_) | Refusal::SequenceMismatch(_))) => {
                world.print(format_args!("  {ip} has been allocated anew; it stays\n"))?
            }
            Err(error) => return Err(Failure::message(error)),
        }
    }
    world.print(format_args!("Successfully released {released} old IPs\n"))?;
    release_handles(&handles, client, world)
}

fn release_handles<S: Store + Sync>(
    handles: &BTreeSet<LeakedHandle>,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    if handles.is_empty() {
        return Ok(());
    }
    world.print(format_args!("Releasing {} old handles...\n", handles.len()))?;
    let survey = block_on(client.ipam.survey()).map_err(Failure::message)?;
    let mut released = 0;
    for handle in handles {
        let unchanged = survey.handles.get(&handle.id).is_some_and(|(_, revision)| {
            handle.revision.is_empty() || handle.revision == revision.to_string()
        });
        if unchanged {
            block_on(client.ipam.release_by_handle(&handle.id)).map_err(Failure::message)?;
            released += 1;
        }
    }
    world.print(format_args!(
        "Successfully released {released} old handles\n"
    ))
}
