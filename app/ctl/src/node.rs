//! `node status`.

use std::fs;
use std::path::Path;

use crate::bird::{Control, Peer};
use crate::grid;
use crate::world::{Failure, World};

const HEADINGS: &[&str] = &["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"];

/// How our own agent names itself in the greeting on its control socket.
pub const OUR_GREETING: &str = "selvedge";

struct Family {
    number: u8,
    daemon: &'static str,
    separator: char,
}

const V4: Family = Family {
    number: 4,
    daemon: "bird",
    separator: '.',
};
const V6: Family = Family {
    number: 6,
    daemon: "bird6",
    separator: ':',
};

/// Prints whether the node runs, and its BGP sessions.
///
/// Our own agent is known by its greeting on the control socket: in a lab many nodes share one process table, but each
/// has its own `/var/run`. Calico's own processes are known by their argv, as calicoctl knows them.
///
/// # Errors
/// `Calico process is not running.`
pub fn status(world: &mut World<'_>) -> Result<(), Failure> {
    let agent = control(world, &V4)
        .ok()
        .filter(|control| control.greeting.to_ascii_lowercase().contains(OUR_GREETING));
    if agent.is_some() {
        world.print("Calico process is running.\n")?;
        print_peers(world, &V4, agent)?;
        let ipv6 = control(world, &V6).ok();
        if ipv6.is_some() {
            print_peers(world, &V6, ipv6)?;
        } else {
            world.print("\nIPv6 BGP status\nNo IPv6 peers found.\n")?;
        }
        return world.print("\n");
    }
    let processes = processes(&world.path("/proc"));
    let runs = |words: &[&str]| processes.iter().any(|argv| starts_with(argv, words));
    if !runs(&["calico-node", "-felix"]) && !runs(&["calico-felix"]) {
        return Err(Failure::message("Calico process is not running."));
    }
    world.print("Calico process is running.\n")?;
    if !runs(&[V4.daemon]) && !runs(&[V6.daemon]) {
        world.print("\nThe BGP backend process (BIRD) is not running.\n")?;
        return world.print("\n");
    }
    for family in [V4, V6] {
        if runs(&[family.daemon]) {
            let opened = control(world, &family);
            match opened {
                Ok(control) => print_peers(world, &family, Some(control))?,
                Err(error) => {
                    world.print(format_args!("\nIPv{} BGP status\n", family.number))?;
                    world.print(format_args!(
                        "Error querying BIRD: unable to connect to BIRDv{} socket: {error}\n",
                        family.number
                    ))?;
                }
            }
        } else {
            world.print(format_args!(
                "\nINFO: BIRDv{} process: '{}' is not running.\n",
                family.number, family.daemon
            ))?;
        }
    }
    world.print("\n")
}

/// The socket of a family's daemon: Calico's own place, then BIRD's.
fn control(world: &World<'_>, family: &Family) -> Result<Control, String> {
    let calico = world.path(&format!("/var/run/calico/{}.ctl", family.daemon));
    let path = format!("/var/run/bird/{}.ctl", family.daemon);
    Control::open(&calico).or_else(|_| {
        Control::open(&world.path(&path))
            .map_err(|error| format!("dial unix {path}: connect: {}", words_of(&error)))
    })
}

/// The system's words, without the number that Rust adds.
fn words_of(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}

fn print_peers(
    world: &mut World<'_>,
    family: &Family,
    control: Option<Control>,
) -> Result<(), Failure> {
    world.print(format_args!("\nIPv{} BGP status\n", family.number))?;
    let Some(mut control) = control else {
        return Ok(());
    };
    match control.peers(family.separator) {
        Err(error) => world.print(format_args!("Error querying BIRD: {}\n", words_of(&error))),
        Ok(peers) if peers.is_empty() => {
            world.print(format_args!("No IPv{} peers found.\n", family.number))
        }
        Ok(peers) => {
            let rows: Vec<Vec<String>> = peers.into_iter().map(row).collect();
            world.print(grid::draw(HEADINGS, &rows))
        }
    }
}

fn row(peer: Peer) -> Vec<String> {
    vec![
        peer.address,
        peer.kind.to_string(),
        peer.state,
        peer.since,
        peer.info,
    ]
}

/// The argv of every process.
fn processes(proc: &Path) -> Vec<Vec<String>> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|b| b.is_ascii_digit())
        })
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|cmdline| {
            cmdline
                .split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect()
        })
        .collect()
}

fn starts_with(argv: &[String], words: &[&str]) -> bool {
    argv.len() >= words.len() && argv.iter().zip(words).all(|(have, want)| have == want)
}
