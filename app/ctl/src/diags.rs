//! `node diags`: what a person who helps wants to see of a node, in one archive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::node;
use crate::programs;
use crate::world::{Failure, World};

/// A program's output as a file of the archive; of several programs the first that is there is run.
struct Dump {
    says: &'static str,
    file: &'static str,
    commands: &'static [&'static [&'static str]],
}

/// Calico's, in its order.
const DUMPS: &[Dump] = &[
    Dump {
        says: "Dumping netstat",
        file: "netstat",
        commands: &[&["netstat", "-a", "-n"], &["ss", "-a", "-n"]],
    },
    Dump {
        says: "Dumping routes (IPv4)",
        file: "ipv4_route",
        commands: &[&["ip", "-4", "route", "show", "table", "all"]],
    },
    Dump {
        says: "Dumping routes (IPv6)",
        file: "ipv6_route",
        commands: &[&["ip", "-6", "route", "show", "table", "all"]],
    },
    Dump {
        says: "Dumping interface info (IPv4)",
        file: "ipv4_addr",
        commands: &[&["ip", "-4", "addr"]],
    },
    Dump {
        says: "Dumping interface info (IPv6)",
        file: "ipv6_addr",
        commands: &[&["ip", "-6", "addr"]],
    },
    Dump {
        says: "Dumping iptables (IPv4)",
        file: "ipv4_tables",
        commands: &[&["iptables-save", "-c"]],
    },
    Dump {
        says: "Dumping iptables (IPv6)",
        file: "ipv6_tables",
        commands: &[&["ip6tables-save", "-c"]],
    },
    Dump {
        says: "Dumping ipsets",
        file: "ipsets",
        commands: &[&["ipset", "list"]],
    },
    Dump {
        says: "Copying journal for calico-node.service",
        file: "journalctl_calico_node",
        commands: &[&["journalctl", "-u", "calico-node.service", "--no-pager"]],
    },
];

/// What our own dataplane is made of.
const OWN_DUMPS: &[Dump] = &[
    Dump {
        says: "Dumping nftables",
        file: "nftables",
        commands: &[&["nft", "list", "ruleset"]],
    },
    Dump {
        says: "Dumping links",
        file: "links",
        commands: &[&["ip", "-s", "-d", "link"]],
    },
    Dump {
        says: "Dumping neighbours",
        file: "neighbours",
        commands: &[&["ip", "neigh"]],
    },
    Dump {
        says: "Dumping routing rules",
        file: "rules",
        commands: &[&["ip", "rule"]],
    },
];

/// Small files that say how the node is.
const STATE: &[&str] = &[
    "/var/run/calico/health.json",
    "/var/lib/calico/nodename",
    "/var/lib/calico/mtu",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/osrelease",
    "/proc/net/snmp",
    "/proc/net/stat/nf_conntrack",
];

/// Collects it in a new folder of the system's temporary one, and says where the archive is. What cannot be had is said and left out.
///
/// # Errors
/// The folder or the archive cannot be written.
pub fn run(args: &Args, world: &mut World<'_>) -> Result<(), Failure> {
    world.print("Collecting diagnostics\n")?;
    let place = temporary(world)?;
    world.print(format_args!("Using temp dir: {}\n", place.display()))?;
    let folder = place.join("diagnostics");
    write(|| fs::create_dir(&folder), &folder)?;
    let date = world.now.strftime("%Y%m%d_%H%M%S").to_string();
    write(
        || fs::write(folder.join("date"), format!("{}\n", world.now)),
        &folder,
    )?;
    collect(args.get("log-dir"), &folder, world)?;
    let archive = place.join(format!("diags-{date}.tar.gz"));
    let (file, parent) = (archive.to_string_lossy(), place.to_string_lossy());
    let tar = ["tar", "-C", &*parent, "-czf", &*file, "diagnostics"];
    programs::output(world, &tar).map_err(|error| {
        Failure::message(format!(
            "cannot write {file}: {error}; what was collected is in {}",
            folder.display()
        ))
    })?;
    // The archive has all of it.
    let _ = fs::remove_dir_all(&folder);
    world.print(format_args!(
        "\nDiags saved to {file}\nIf required, you can upload the diagnostics bundle to a file sharing service\n\
         such as transfer.sh using curl or similar.  For example:\n\n    curl --upload-file {file} https://transfer.sh/{file}\n"
    ))
}

/// Puts what this machine says into a folder.
///
/// # Errors
/// The folder cannot be written.
pub fn collect(log_dir: Option<&str>, folder: &Path, world: &mut World<'_>) -> Result<(), Failure> {
    for dump in DUMPS.iter().chain(OWN_DUMPS) {
        take(dump, folder, world)?;
    }
    world.print("Dumping BGP sessions\n")?;
    let status = captured(world, node::status);
    write(|| fs::write(folder.join("node_status"), &status), folder)?;
    for path in STATE {
        let name = path.trim_start_matches('/').replace('/', "_");
        // One that is not there tells by its absence.
        let _ = fs::copy(world.path(path), folder.join(name));
    }
    world.print("Copying Calico logs\n")?;
    let logs = match log_dir {
        Some(folder) => PathBuf::from(folder),
        None => world.path("/var/log/calico"),
    };
    if let Err(error) = copy(&logs, &folder.join("logs")) {
        world.print(format_args!(
            "Error copying the logs in {}: {error}\n",
            logs.display()
        ))?;
    }
    Ok(())
}

/// A new folder of the system's temporary one.
///
/// # Errors
/// It cannot be made.
pub fn temporary(world: &World<'_>) -> Result<PathBuf, Failure> {
    let bytes = world.random_bytes()?;
    let number = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let place = std::env::temp_dir().join(format!("calico{number}"));
    write(|| fs::create_dir(&place), &place)?;
    Ok(place)
}

/// Does something to a file.
///
/// # Errors
/// Where, and the system's words.
pub fn write(what: impl FnOnce() -> io::Result<()>, place: &Path) -> Result<(), Failure> {
    what()
        .map_err(|error| Failure::message(format!("cannot write to {}: {error}", place.display())))
}

fn take(dump: &Dump, folder: &Path, world: &mut World<'_>) -> Result<(), Failure> {
    world.print(format_args!("{}\n", dump.says))?;
    let there = |command: &&&[&str]| programs::found(world, command[0]);
    let command = dump.commands.iter().find(there);
    let command = command.unwrap_or(&dump.commands[0]);
    match programs::output(world, command) {
        Ok(text) => write(|| fs::write(folder.join(dump.file), text), folder),
        Err(error) => world.print(format_args!(
            "Failed to run command: {}\nError: {error}\n",
            command.join(" ")
        )),
    }
}

/// What a command prints, and why it failed if it did.
pub fn captured(
    world: &World<'_>,
    command: impl FnOnce(&mut World<'_>) -> Result<(), Failure>,
) -> Vec<u8> {
    let mut text = Vec::new();
    let mut inner = World {
        persona: world.persona,
        stdin: &mut io::empty(),
        stdout: &mut text,
        stderr: &mut io::sink(),
        now: world.now,
        random: world.random,
        pause: world.pause,
        root: world.root.clone(),
        environment: world.environment,
        etcd: world.etcd,
    };
    if let Err(failure) = command(&mut inner) {
        text.extend(failure.to_string().bytes());
    }
    text
}

/// Files and folders; a link's target is not followed out of the folder.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir(to)?;
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
