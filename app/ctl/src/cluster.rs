//! `cluster diags`: what the datastore, Kubernetes and this machine say of the cluster, in one archive.
//!
//! Calico's command asks Kubernetes by kubectl, and so does this one where kubectl is there; what is in the datastore it reads itself,
//! so that a cluster without Kubernetes has an archive too.

use std::fs;
use std::path::{Path, PathBuf};

use resource::kinds::parse_go_duration;
use resource::{Kind, Store};
use serde_json::Value;

use crate::args::Args;
use crate::client::Client;
use crate::world::{Failure, World};
use crate::{diags, ipam, programs, sessions, yaml};

/// Where Calico's parts run.
const NAMESPACES: [&str; 4] = [
    "calico-system",
    "kube-system",
    "calico-apiserver",
    "tigera-operator",
];
const LOGS: usize = 5;
const ARCHIVE: &str = "calico-diagnostics.tar.gz";

/// What the options say.
struct Wanted {
    /// `--since=0s`: all of it.
    since: String,
    /// So many pods' logs of each namespace, those of nodes in focus beside them.
    most_logs: usize,
    nodes: Vec<String>,
    keep: bool,
}

impl Wanted {
    fn read(args: &Args) -> Result<Wanted, Failure> {
        let number = |option: &str, usual: usize| match args.get(option) {
            None => Ok(usual),
            Some(text) => text.parse().map_err(|_| {
                Failure::message(format!("--{option} is '{text}'; write a whole number"))
            }),
        };
        let since = args.get("since").unwrap_or("0s").to_string();
        parse_go_duration(&since).map_err(|error| {
            Failure::message(format!(
                "--since: {error}; write a duration such as 30m or 2h"
            ))
        })?;
        // One after the other: the archive is the same.
        number("max-parallelism", 10)?;
        let nodes = args.get("focus-nodes").unwrap_or_default().split(',');
        Ok(Wanted {
            since,
            most_logs: number("max-logs", LOGS)?,
            nodes: nodes
                .map(str::trim)
                .filter(|n| !n.is_empty())
                .map(String::from)
                .collect(),
            keep: args.has("skip-temp-dir-cleanup"),
        })
    }
}

/// Collects it and writes the archive into the folder in which the command runs. What cannot be had is said, and its reason is in the
/// archive.
///
/// # Errors
/// An option's value; the store cannot be read at all; the archive cannot be written.
pub fn diags<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let wanted = Wanted::read(args)?;
    client
        .list(Kind::ClusterInformation, None)
        .map_err(Failure::message)?;
    world.print("==== Begin collecting diagnostics. ====\n")?;
    let place = diags::temporary(world)?;
    let folder = place.join("calico-diagnostics");
    diags::write(|| fs::create_dir(&folder), &folder)?;
    from_store(client, &folder.join("datastore"), world)?;
    from_kubernetes(&wanted, &folder.join("kubernetes"), world)?;
    let here = folder.join("this-machine");
    diags::write(|| fs::create_dir(&here), &here)?;
    world.print("Collecting what this machine says\n")?;
    let steps = diags::captured(world, |inner| diags::collect(None, &here, inner));
    diags::write(|| fs::write(here.join("steps"), &steps), &here)?;
    let archive = std::env::current_dir()
        .unwrap_or_else(|_| PathBuf::from("."))
        .join(ARCHIVE);
    let (file, parent) = (archive.to_string_lossy(), place.to_string_lossy());
    let tar = ["tar", "-C", &*parent, "-czf", &*file, "calico-diagnostics"];
    programs::output(world, &tar).map_err(|error| {
        Failure::message(format!(
            "cannot write {file}: {error}; what was collected is in {}",
            folder.display()
        ))
    })?;
    if wanted.keep {
        world.print(format_args!(
            "What was collected stays in {}\n",
            folder.display()
        ))?;
    } else {
        // The archive has all of it.
        let _ = fs::remove_dir_all(&place);
    }
    world.print(format_args!("==== Diagnostics are in {file}. ====\n"))
}

/// Every kind as YAML, and the tables that people ask for first. Passwords are not in the datastore, only where they are.
fn from_store<S: Store + Sync>(
    client: &Client<'_, S>,
    folder: &Path,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    world.print("Collecting what the datastore says\n")?;
    diags::write(|| fs::create_dir(folder), folder)?;
    for kind in Kind::ALL.iter().copied() {
        let text = match client.list(kind, None) {
            Ok((items, _)) if items.is_empty() => continue,
            Ok((items, _)) => yaml::write(&Value::Array(items)),
            Err(error) => {
                world.print(format_args!("{}: {error}\n", kind.plural()))?;
                format!("{error}\n")
            }
        };
        let file = folder.join(format!("{}.yaml", kind.plural()));
        diags::write(|| fs::write(&file, text), folder)?;
    }
    let status = diags::captured(world, |inner| {
        sessions::show(sessions::Form::Table, client, inner)
    });
    diags::write(|| fs::write(folder.join("node-status"), status), folder)?;
    let blocks = diags::captured(world, |inner| ipam::show_usage(true, client, inner));
    diags::write(|| fs::write(folder.join("ipam-blocks"), blocks), folder)
}

fn from_kubernetes(wanted: &Wanted, folder: &Path, world: &mut World<'_>) -> Result<(), Failure> {
    if !programs::found(world, "kubectl") {
        return world.print(
            "kubectl is not on the PATH: what Kubernetes says, and its pods' logs, are left out\n",
        );
    }
    world.print("Collecting what Kubernetes says\n")?;
    diags::write(|| fs::create_dir(folder), folder)?;
    let version = ["kubectl", "--request-timeout=20s", "version", "-o", "yaml"];
    if let Err(error) = programs::output(world, &version) {
        let first = error.lines().next_back().unwrap_or_default();
        world.print(format_args!(
            "Kubernetes does not answer, and is left out: {first}\n"
        ))?;
        return diags::write(|| fs::write(folder.join("version.yaml"), &error), folder);
    }
    for (name, words) in [
        ("version.yaml", vec!["version", "-o", "yaml"]),
        ("nodes.yaml", vec!["get", "nodes", "-o", "yaml"]),
        ("pods.txt", vec!["get", "pods", "-A", "-o", "wide"]),
        ("services.txt", vec!["get", "services", "-A", "-o", "wide"]),
        ("events.txt", vec!["get", "events", "-A"]),
        (
            "tigerastatus.yaml",
            vec!["get", "tigerastatus", "-o", "yaml"],
        ),
        (
            "installations.yaml",
            vec!["get", "installations", "-o", "yaml"],
        ),
    ] {
        kubectl(&words, &folder.join(name), world)?;
    }
    for namespace in NAMESPACES {
        logs(wanted, namespace, folder, world)?;
    }
    Ok(())
}

/// Runs kubectl into a file; what it says against it is printed, and is the file then.
fn kubectl(words: &[&str], file: &Path, world: &mut World<'_>) -> Result<(), Failure> {
    // One that waits for an API that is away must end.
    let command: Vec<&str> = ["kubectl", "--request-timeout=20s"]
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    let text = match programs::output(world, &command) {
        Ok(text) => text,
        Err(error) => {
            let first = error.lines().next_back().unwrap_or_default().to_string();
            world.print(format_args!("kubectl {}: {first}\n", words.join(" ")))?;
            error.into_bytes()
        }
    };
    diags::write(|| fs::write(file, text), file)
}

fn logs(
    wanted: &Wanted,
    namespace: &str,
    folder: &Path,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let form = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
    let list = [
        "kubectl",
        "--request-timeout=20s",
        "get",
        "pods",
        "-n",
        namespace,
        "-o",
        form,
    ];
    let Ok(text) = programs::output(world, &list) else {
        // There is no such namespace, or no API: said before.
        return Ok(());
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let pods = text.lines().filter_map(|line| line.split_once(' '));
    let (focus, others): (Vec<_>, Vec<_>) =
        pods.partition(|(_, node)| wanted.nodes.iter().any(|n| n == node));
    for (pod, _) in focus.iter().chain(others.iter().take(wanted.most_logs)) {
        let since = format!("--since={}", wanted.since);
        let words = [
            "logs",
            "-n",
            namespace,
            pod,
            "--all-containers",
            "--prefix",
            &since,
        ];
        kubectl(
            &words,
            &folder.join(format!("{namespace}_{pod}.log")),
            world,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage;

    #[test]
    fn options_are_read_before_anything_is_done() {
        let read = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            Wanted::read(&usage::CLUSTER_DIAGS.read(&words).unwrap()).map_err(|f| f.to_string())
        };
        let wanted = read("--since=2h --max-logs=1 --focus-nodes=a,b").unwrap();
        assert_eq!((wanted.most_logs, wanted.nodes.len()), (1, 2));
        for line in ["--since=soon", "--max-logs=-1", "--max-parallelism=x"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
