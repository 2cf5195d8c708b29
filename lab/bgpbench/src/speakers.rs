//! The speakers that can be measured, and how each is configured: everything is accepted and told on, the peers connect,
//! hold time 90, no graceful restart, no waiting before routes are told, and no kernel routes unless they are the work.

use crate::peers::Peer;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

/// What a speaker is asked to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub asn: u32,
    pub address: Ipv4Addr,
    /// The peers of its own AS are its clients.
    pub reflector: bool,
    /// Routes go into the kernel of its namespace.
    pub kernel: bool,
}

/// The files and programs of a speaker.
pub struct Plan {
    /// Name and text, in the run's folder.
    pub files: Vec<(&'static str, String)>,
    /// Started in order; each stays in the foreground.
    pub commands: Vec<Vec<String>>,
}

/// One row of the table of speakers.
pub struct Speaker {
    pub name: &'static str,
    /// The program, for a look whether it is there.
    pub program: fn() -> String,
    /// What prints its version; nothing where the program is this one.
    pub version: &'static [&'static str],
    /// Works that it cannot do, each with the reason.
    pub cannot: &'static [(&'static str, &'static str)],
    /// It changes to a user of its own, which an ordinary user's namespace does not have.
    pub needs_root: bool,
    pub plan: fn(&Setup, &Path, &[Peer]) -> Plan,
}

/// All that can be measured; `relay` is no speaker but the harness's own ceiling.
pub const ALL: [Speaker; 3] = [
    Speaker {
        name: "selvedge",
        program: selvedge_program,
        version: &["--version"],
        cannot: &[],
        needs_root: false,
        plan: selvedge,
    },
    Speaker {
        name: "bird",
        program: || "bird".into(),
        version: &["--version"],
        cannot: &[],
        needs_root: false,
        plan: bird,
    },
    Speaker {
        name: "relay",
        program: own_program,
        version: &[],
        cannot: &[("multi", "it chooses no path"), ("fib", "it has no routes")],
        needs_root: false,
        plan: relay,
    },
];

fn own_program() -> String {
    std::env::current_exe().map_or_else(|_| "bgpbench".into(), |path| path.display().to_string())
}

/// `SELVEDGE`, else the release build beside this program.
fn selvedge_program() -> String {
    std::env::var("SELVEDGE").unwrap_or_else(|_| {
        let own = std::env::current_exe().unwrap_or_default();
        own.with_file_name("selvedge").display().to_string()
    })
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Adds lines to a text; writing to one cannot fail.
macro_rules! add {
    ($text:expr, $($rest:tt)*) => {
        writeln!($text, $($rest)*).expect("a String takes all")
    };
}

fn selvedge(setup: &Setup, dir: &Path, peers: &[Peer]) -> Plan {
    let mut text = String::new();
    let address = setup.address;
    add!(
        text,
        "router_id = \"{address}\"\nlocal_as = {}\nlisten = [\"{address}:179\"]",
        setup.asn
    );
    add!(text, "control = \"{}/speaker.ctl\"", dir.display());
    if setup.kernel {
        add!(text, "kernel = true");
    }
    for peer in peers {
        add!(
            text,
            "[[neighbor]]\nname = \"{}\"\naddress = \"{}\"\nas = {}",
            peer.name,
            peer.address,
            peer.asn
        );
        add!(
            text,
            "passive = true\nhold_time = 90\nfamilies = [\"ipv4\"]\ngraceful_restart = 0"
        );
        if setup.reflector {
            add!(text, "rr_client = true");
        }
    }
    let command = format!(
        "{} speaker run --config {}/speaker.toml",
        selvedge_program(),
        dir.display()
    );
    Plan {
        files: vec![("speaker.toml", text)],
        commands: vec![words(&command)],
    }
}

fn bird(setup: &Setup, dir: &Path, peers: &[Peer]) -> Plan {
    let mut text = String::new();
    add!(
        text,
        "log stderr {{ warning, error, fatal, bug }};\nrouter id {};",
        setup.address
    );
    // Next hops are resolved in BIRD's own table: the connected network has to be in it.
    add!(
        text,
        "protocol device {{ scan time 60; }}\nprotocol direct {{ ipv4; }}"
    );
    if setup.kernel {
        add!(
            text,
            "protocol kernel {{ scan time 60; ipv4 {{ import none; export where source = RTS_BGP; }}; }}"
        );
    }
    let (address, asn) = (setup.address, setup.asn);
    add!(
        text,
        "template bgp peer {{ local {address} as {asn}; passive on; hold time 90;"
    );
    add!(
        text,
        "  ipv4 {{ import all; export where source = RTS_BGP; }}; }}"
    );
    for peer in peers {
        let client = if setup.reflector { " rr client;" } else { "" };
        let Peer {
            name, address, asn, ..
        } = peer;
        add!(
            text,
            "protocol bgp {name} from peer {{ neighbor {address} as {asn};{client} }}"
        );
    }
    let dir = dir.display();
    let command = format!("bird -f -c {dir}/bird.conf -s {dir}/bird.ctl -P {dir}/bird.pid");
    Plan {
        files: vec![("bird.conf", text)],
        commands: vec![words(&command)],
    }
}

fn relay(setup: &Setup, _: &Path, _: &[Peer]) -> Plan {
    let command = format!(
        "{} relay --listen {} --local-as {}",
        own_program(),
        setup.address,
        setup.asn
    );
    Plan {
        files: Vec::new(),
        commands: vec![words(&command)],
    }
}
