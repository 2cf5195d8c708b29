//! The speakers that the adversary meets, each at an address of its own on lo.

use crate::cases::CASES;
use crate::{OUR_AS, THEIR_AS};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Number in 10.9.0.0/24, name, program.
pub const TARGETS: [(u8, &str, &str); 5] = [
    (1, "selvedge", ""),
    (2, "bird", "/usr/sbin/bird"),
    (3, "frr", "/usr/lib/frr/bgpd"),
    (4, "gobgp", "/usr/bin/gobgpd"),
    (5, "openbgpd", "/usr/sbin/bgpd"),
];

/// Where the watcher and the two clients of the update group are.
pub const WATCHER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 250);
pub const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 1, 251), Ipv4Addr::new(10, 9, 1, 252)];

pub fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 9, 0, number], 179))
}

/// Where the adversary of a case is.
pub fn source(case: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 1, case as u8 + 1)
}

/// Address, AS, reflection client.
fn neighbors() -> Vec<(Ipv4Addr, u32, bool)> {
    let cases = CASES.iter().enumerate();
    let mut all: Vec<_> = cases
        .map(|(i, case)| (source(i), if case.ibgp { OUR_AS } else { THEIR_AS }, false))
        .collect();
    all.push((WATCHER, 65999, false));
    all.extend(CLIENTS.map(|client| (client, OUR_AS, true)));
    all
}

/// Starts ours for the scenarios: eBGP and iBGP ranges, and two peers to dial.
pub fn start_for_scenarios(dir: &Path) -> Child {
    let control = dir.join("scenarios.ctl");
    let mut text = format!(
        "router_id = \"10.9.0.1\"\nlocal_as = {OUR_AS}\nlisten = [\"10.9.0.1:179\"]\n\
         control = \"{}\"\n",
        control.display()
    );
    for last in [200, 201] {
        text += &format!(
            "[[neighbor]]\naddress = \"10.9.2.{last}\"\nport = 1790\nas = {THEIR_AS}\nconnect_retry = 1\n"
        );
    }
    text += &format!(
        "[[neighbor]]\nrange = \"10.9.2.0/24\"\nas = {THEIR_AS}\ngraceful_restart = 0\nlimit = 100\n\
         [[neighbor]]\nrange = \"10.9.8.0/21\"\nas = {OUR_AS}\nrr_client = true\ngraceful_restart = 0\nlimit = 1000\n"
    );
    let config = dir.join("scenarios.toml");
    std::fs::write(&config, text).expect("the folder is ours");
    let own = std::env::current_exe().expect("this program has a path");
    let log = std::fs::File::create(dir.join("scenarios.out")).expect("a log");
    Command::new(own)
        .arg("speaker")
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it is this program")
}

/// Starts a target; its files are in `dir`.
pub fn start(number: u8, name: &str, dir: &Path) -> Child {
    let write = |file: &str, text: &str| {
        let path = dir.join(file);
        std::fs::write(&path, text).expect("the folder is ours");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("it is ours");
        path.to_str().expect("plain").to_owned()
    };
    let at = dir.display().to_string();
    let file = |suffix: &str| format!("{at}/{name}.{suffix}");
    let mut command = match name {
        "bird" => {
            let config = write("bird.conf", &bird(number));
            command(&[
                "bird",
                "-f",
                "-c",
                &config,
                "-s",
                &file("ctl"),
                "-P",
                &file("pid"),
            ])
        }
        "frr" => {
            let config = write("frr.conf", &frr(number));
            let own = format!("10.9.0.{number}");
            command(&[
                "/usr/lib/frr/bgpd",
                "-f",
                &config,
                "-i",
                &file("pid"),
                "-S",
                "-n",
                "-Z",
                "--vty_socket",
                &at,
                "-P",
                "0",
                "-l",
                &own,
            ])
        }
        "gobgp" => {
            let config = write("gobgp.toml", &gobgp(number));
            command(&[
                "gobgpd",
                "-f",
                &config,
                "--api-hosts",
                "127.0.0.1:50051",
                "--pprof-disable",
            ])
        }
        "openbgpd" => {
            std::fs::create_dir_all("/run/openbgpd").expect("our /run");
            let config = write("bgpd.conf", &openbgpd(number));
            command(&["/usr/sbin/bgpd", "-d", "-f", &config])
        }
        _ => {
            let control = file("ctl");
            let config = write("speaker.toml", &selvedge(number, &control));
            let own = std::env::current_exe().expect("this program has a path");
            command(&[own.to_str().expect("plain"), "speaker", &config])
        }
    };
    let log = std::fs::File::create(dir.join(format!("{name}.out"))).expect("a log");
    command
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a second handle"))
        .stdout(log)
        .spawn()
        .expect("the program is there")
}

fn command(argv: &[&str]) -> Command {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    command
}

fn selvedge(number: u8, control: &str) -> String {
    let mut out = format!(
        "router_id = \"10.9.0.{number}\"\nlocal_as = {OUR_AS}\nlisten = [\"10.9.0.{number}:179\"]\n\
         cluster_id = \"244.0.0.1\"\ncontrol = \"{control}\"\n"
    );
    for (address, asn, client) in neighbors() {
        out += &format!(
            "[[neighbor]]\naddress = \"{address}\"\nas = {asn}\npassive = true\n\
             rr_client = {client}\ngraceful_restart = 0\n"
        );
    }
    out
}

fn bird(number: u8) -> String {
    let mut out = format!("log stderr all;\nrouter id 10.9.0.{number};\nprotocol device {{}}\n");
    for (i, (address, asn, client)) in neighbors().into_iter().enumerate() {
        let client = if client {
            "rr client; rr cluster id 244.0.0.1;"
        } else {
            ""
        };
        out += &format!(
            "protocol bgp p{i} {{ local 10.9.0.{number} as {OUR_AS}; neighbor {address} as {asn};\n\
             multihop; passive; strict bind on; error wait time 1, 2; {client}\n\
             ipv4 {{ import all; export all; }}; ipv6 {{ import all; export all; }}; }}\n"
        );
    }
    out
}

fn frr(number: u8) -> String {
    let mut out = format!(
        "frr defaults traditional\nrouter bgp {OUR_AS}\n bgp router-id 10.9.0.{number}\n \
         no bgp ebgp-requires-policy\n bgp cluster-id 244.0.0.1\n \
         bgp disable-ebgp-connected-route-check\n"
    );
    let mut six = String::from(" address-family ipv6 unicast\n");
    let mut four = String::from(" address-family ipv4 unicast\n");
    for (address, asn, client) in neighbors() {
        let n = format!("neighbor {address}");
        out += &format!(
            " {n} remote-as {asn}\n {n} passive\n {n} update-source 10.9.0.{number}\n {n} advertisement-interval 0\n"
        );
        if asn != OUR_AS {
            out += &format!(" {n} ebgp-multihop 5\n");
        }
        six += &format!("  {n} activate\n");
        four += &format!("  {n} activate\n");
        if client {
            four += &format!("  {n} route-reflector-client\n");
        }
    }
    out + &four + " exit-address-family\n" + &six + " exit-address-family\n"
}

fn gobgp(number: u8) -> String {
    let mut out = format!(
        "[global.config]\n  as = {OUR_AS}\n  router-id = \"10.9.0.{number}\"\n  \
         local-address-list = [\"10.9.0.{number}\"]\n"
    );
    for (address, asn, client) in neighbors() {
        out += &format!(
            "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{address}\"\n    \
             peer-as = {asn}\n  [neighbors.transport.config]\n    passive-mode = true\n    \
             local-address = \"10.9.0.{number}\"\n  [neighbors.error-handling.config]\n    \
             treat-as-withdraw = true\n"
        );
        if client {
            out += "  [neighbors.route-reflector.config]\n    route-reflector-client = true\n    \
                    route-reflector-cluster-id = \"244.0.0.1\"\n";
        }
        for family in ["ipv4-unicast", "ipv6-unicast"] {
            out += &format!(
                "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      \
                 afi-safi-name = \"{family}\"\n"
            );
        }
    }
    out
}

fn openbgpd(number: u8) -> String {
    let mut out = format!(
        "AS {OUR_AS}\nrouter-id 10.9.0.{number}\nlisten on 10.9.0.{number}\nfib-update no\n\
         nexthop qualify via default\nsocket \"/run/openbgpd/adversary.sock\"\n"
    );
    for (address, asn, client) in neighbors() {
        out += &format!(
            "neighbor {address} {{\n remote-as {asn}\n passive\n local-address 10.9.0.{number}\n"
        );
        out += " announce IPv4 unicast\n announce IPv6 unicast\n";
        if asn != OUR_AS {
            out += " multihop 5\n";
        }
        if client {
            out += " route-reflector 244.0.0.1\n";
        }
        out += "}\n";
    }
    out + "allow from any\nallow to any\n"
}
