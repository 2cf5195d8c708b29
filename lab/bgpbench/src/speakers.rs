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
pub const ALL: [Speaker; 6] = [
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
        name: "frr",
        program: || "/usr/lib/frr/bgpd".into(),
        version: &["--version"],
        cannot: &[],
        needs_root: false,
        plan: frr,
    },
    Speaker {
        name: "openbgpd",
        program: || "/usr/sbin/bgpd".into(),
        version: &["-V"],
        cannot: &[(
            "fib",
            "with fib-update it stops by itself in a network namespace of its own",
        )],
        needs_root: true,
        plan: openbgpd,
    },
    Speaker {
        name: "gobgp",
        program: || "gobgpd".into(),
        version: &["--version"],
        cannot: &[("fib", "it installs routes by way of FRR's zebra")],
        needs_root: false,
        plan: gobgp,
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

/// Without zebra every next hop counts as reachable.
fn frr(setup: &Setup, dir: &Path, peers: &[Peer]) -> Plan {
    let mut text = String::new();
    add!(
        text,
        "frr defaults traditional\nrouter bgp {}\n bgp router-id {}",
        setup.asn,
        setup.address
    );
    add!(
        text,
        " no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check"
    );
    add!(
        text,
        " bgp cluster-id {}\n neighbor any peer-group\n neighbor any passive",
        setup.address
    );
    add!(
        text,
        " neighbor any advertisement-interval 0\n neighbor any timers 30 90"
    );
    for Peer { address, asn, .. } in peers {
        add!(
            text,
            " neighbor {address} remote-as {asn}\n neighbor {address} peer-group any"
        );
    }
    add!(
        text,
        " address-family ipv4 unicast\n  neighbor any activate"
    );
    if setup.reflector {
        add!(text, "  neighbor any route-reflector-client");
    }
    add!(text, " exit-address-family");
    let dir = dir.display();
    let common = format!("-P 0 --vty_socket {dir} --log file:{dir}/frr.log --log-level errors");
    let to_zebra = if setup.kernel {
        format!("-z {dir}/zserv")
    } else {
        "-n -Z".into()
    };
    let bgpd = format!(
        "/usr/lib/frr/bgpd -S -f {dir}/bgpd.conf -i {dir}/bgpd.pid {to_zebra} --limit-fds 10000 {common}"
    );
    let mut commands = vec![words(&bgpd)];
    if setup.kernel {
        // zebra changes to FRR's user, which has to reach the folder of its socket.
        let zebra =
            format!("/usr/lib/frr/zebra -i {dir}/zebra.pid -z {dir}/zserv -s 90000000 {common}");
        let line = format!("chmod 777 {dir} && exec {zebra}");
        commands.insert(0, vec!["sh".into(), "-c".into(), line]);
    }
    Plan {
        files: vec![("bgpd.conf", text)],
        commands,
    }
}

/// Three processes, which chroot to /run/openbgpd.
fn openbgpd(setup: &Setup, dir: &Path, peers: &[Peer]) -> Plan {
    let mut text = String::new();
    let fib = if setup.kernel { "yes" } else { "no" };
    add!(
        text,
        "AS {}\nrouter-id {}\nlisten on {}",
        setup.asn,
        setup.address,
        setup.address
    );
    add!(
        text,
        "socket \"{}/bgpd.sock\"\nfib-update {fib}\nnexthop qualify via default",
        dir.display()
    );
    add!(text, "holdtime 90");
    for Peer {
        name, address, asn, ..
    } in peers
    {
        let client = if setup.reflector {
            "route-reflector\n"
        } else {
            ""
        };
        add!(
            text,
            "neighbor {address} {{\nremote-as {asn}\ndescr \"{name}\"\npassive\nannounce IPv4 unicast\n{client}}}"
        );
    }
    add!(text, "allow from any\nallow to any");
    let line = format!(
        "mkdir -p /run/openbgpd && exec /usr/sbin/bgpd -d -f {}/bgpd.conf",
        dir.display()
    );
    Plan {
        files: vec![("bgpd.conf", text)],
        commands: vec![vec!["sh".into(), "-c".into(), line]],
    }
}

/// A reflector's clients are dynamic neighbours: configured ones take it minutes.
fn gobgp(setup: &Setup, dir: &Path, peers: &[Peer]) -> Plan {
    let mut text = String::new();
    let (address, asn) = (setup.address, setup.asn);
    add!(
        text,
        "[global.config]\nas = {asn}\nrouter-id = \"{address}\"\nlocal-address-list = [\"{address}\"]"
    );
    if setup.reflector {
        add!(
            text,
            "[[peer-groups]]\n[peer-groups.config]\npeer-group-name = \"clients\"\npeer-as = {asn}"
        );
        add!(
            text,
            "[peer-groups.route-reflector.config]\nroute-reflector-client = true"
        );
        add!(
            text,
            "route-reflector-cluster-id = \"{address}\"\n[[peer-groups.afi-safis]]"
        );
        add!(
            text,
            "[peer-groups.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\""
        );
        add!(
            text,
            "[[dynamic-neighbors]]\n[dynamic-neighbors.config]\nprefix = \"10.0.0.0/16\""
        );
        add!(text, "peer-group = \"clients\"");
    } else {
        for Peer { address, asn, .. } in peers {
            add!(
                text,
                "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}"
            );
            add!(
                text,
                "[neighbors.transport.config]\npassive-mode = true\n[[neighbors.afi-safis]]"
            );
            add!(
                text,
                "[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\""
            );
        }
    }
    let command = format!(
        "gobgpd -f {}/gobgpd.conf --api-hosts 127.0.0.1:50051 -l error --pprof-disable",
        dir.display()
    );
    Plan {
        files: vec![("gobgpd.conf", text)],
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
