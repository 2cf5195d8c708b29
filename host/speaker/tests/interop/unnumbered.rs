//! Neighbors of an interface, found by router advertisements (RFC 4861), and their routes in the kernel (RFC 8950).

use crate::Case;
use crate::lab::{Lab, stays, wait};
use crate::{bird, gobgp};
use linux::RouterMessage;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::process::Command;

pub const CASES: &[Case] = &[
    Case {
        peer: "selvedge",
        name: "selvedge_unnumbered",
        shows: "two links with the same link-local addresses: sessions without addresses, IPv4 and IPv6 routes by both links in both kernels, pings; a link that is made anew (RFC 4861, 8950)",
        run: two_links,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_unnumbered_exchange",
        shows: "an interface that is not there yet, keys (RFC 2385), another machine on the cable, a second neighbor that is only named",
        run: exchange,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_unnumbered_unprivileged",
        shows: "without CAP_NET_RAW: said by name, others are up, and who connects is found",
        run: unprivileged,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_unnumbered_bfd",
        shows: "BFD between link-local addresses: the link is cut, and the routes go at once",
        run: with_bfd,
    },
    Case {
        peer: "frr",
        name: "frr_unnumbered",
        shows: "zebra and bgpd with `neighbor c1 interface remote-as external`: found both ways, IPv4 and IPv6 routes in both kernels, pings (RFC 4861, 8950)",
        run: with_frr,
    },
    Case {
        peer: "bird",
        name: "bird_unnumbered",
        shows: "BIRD's radv and a passive range fe80::/10: found by us, IPv4 and IPv6 routes both ways, pings; our kernel keeps the routes while we are killed and come back (RFC 4861, 8950, 4724)",
        run: with_bird,
    },
    Case {
        peer: "gobgp",
        name: "gobgp_unnumbered",
        shows: "GoBGP's `neighbor-interface`, which takes us from the kernel's neighbor table and is found as it connects: routes both ways",
        run: with_gobgp,
    },
];

/// An interface that tests make and remove: its name in `us` and in `them`.
const SECOND: (&str, &str) = ("d0", "d1");

fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split(' ')).output();
    let output = output.expect("ip is installed");
    assert!(
        output.status.success(),
        "ip {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Hosts behind both ends; gone when it is dropped, with the second link.
struct Hosts;

const HOSTS: [(&str, &str, &str); 2] = [
    ("us", "10.200.0.1/26", "fd00:200::1/64"),
    ("them", "10.201.0.1/26", "fd00:201::1/64"),
];

impl Hosts {
    fn new() -> Self {
        for (space, v4, v6) in HOSTS {
            ip(&format!("-n {space} addr add {v4} dev lo"));
            ip(&format!("-n {space} addr add {v6} dev lo nodad"));
        }
        Hosts
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Some of it may be gone already, or not have been made.
        let try_to = |line: &str| {
            let _ = Command::new("ip").args(line.split(' ')).output();
        };
        for (space, v4, v6) in HOSTS {
            try_to(&format!("-n {space} addr del {v4} dev lo"));
            try_to(&format!("-n {space} addr del {v6} dev lo"));
        }
        try_to("-n us link del d0");
        for table in ["-4", "-6"] {
            try_to(&format!("{table} -n us route flush proto bird"));
            try_to(&format!("{table} -n them route flush proto bird"));
            try_to(&format!("{table} -n them route flush proto bgp"));
        }
    }
}

/// A second link whose ends have these link-local addresses.
fn add_second(us: &str, them: &str) {
    let (near, far) = SECOND;
    ip(&format!(
        "link add {near} netns us type veth peer name {far} netns them"
    ));
    for (space, device, address) in [("us", near, us), ("them", far, them)] {
        ip(&format!("-n {space} link set {device} addrgenmode none"));
        ip(&format!("-n {space} link set {device} up"));
        ip(&format!(
            "-n {space} addr add {address}/64 dev {device} nodad"
        ));
    }
}

/// The link-local address of a device, when it can be used.
fn link_local(space: &str, device: &str) -> Option<String> {
    let text = ip(&format!(
        "-n {space} -6 -o addr show dev {device} scope link -tentative"
    ));
    let word = text.split_whitespace().nth(3)?;
    word.split_once('/').map(|(address, _)| address.to_owned())
}

fn route(space: &str, prefix: &str) -> String {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    ip(&format!("{family} -n {space} -o route show {prefix}")).replace(['\\', '\t'], " ")
}

fn pings(space: &str, from: &str, to: &str) -> bool {
    let words = [
        "netns", "exec", space, "ping", "-n", "-c1", "-W1", "-I", from, to,
    ];
    let output = Command::new("ip").args(words).output();
    output.expect("ping is installed").status.success()
}

/// Sends one advertisement by a device, from one of its addresses: what this program is started for by [`router_is_there`].
pub fn advertise(device: &str, source: &str) {
    let index = std::fs::read_to_string("/proc/net/if_inet6").expect("IPv6 is there");
    let row = index
        .lines()
        .find(|line| line.ends_with(&format!(" {device}")));
    let index = row.and_then(|row| row.split_whitespace().nth(1));
    let index = u32::from_str_radix(index.expect("the device has an address"), 16).expect("hex");
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("root");
    let end = |address: Ipv6Addr| SockAddr::from(SocketAddrV6::new(address, 0, 0, index));
    let source = source.parse().expect("an address");
    socket.bind(&end(source)).expect("it is ours");
    socket.set_multicast_hops_v6(255).expect("a hop limit");
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message = RouterMessage::Advertisement.encode(None);
    socket.send_to(&message, &end(all_nodes)).expect("sent");
}

fn router_is_there(space: &str, device: &str, source: &str) {
    let own = std::env::current_exe().expect("this program has a path");
    let own = own.to_str().expect("plain");
    ip(&format!(
        "netns exec {space} {own} advertise {device} {source}"
    ));
}

/// Hosts on both sides reach each other, both families.
fn both_ways() -> bool {
    pings("us", "10.200.0.1", "10.201.0.1")
        && pings("them", "10.201.0.1", "10.200.0.1")
        && pings("us", "fd00:200::1", "fd00:201::1")
}

fn neighbor(interface: &str, asn: &str, more: &str) -> String {
    format!("[[neighbor]]\ninterface = \"{interface}\"\nas = {asn}\nconnect_retry = 1\n{more}")
}

fn originate(prefixes: &[&str]) -> String {
    let each = prefixes
        .iter()
        .map(|prefix| format!("[[originate]]\nprefix = \"{prefix}\"\n"));
    each.collect()
}

const OURS: [&str; 2] = ["10.200.0.0/26", "fd00:200::/64"];
const THEIRS: [&str; 2] = ["10.201.0.0/26", "fd00:201::/64"];
const EXTERNAL: &str = "\"external\"";

fn ours(lab: &Lab, neighbors: &str) {
    let rest = format!("kernel = true\n{neighbors}{}", originate(&OURS));
    lab.ours_at("[::]:179", 64512, &rest);
}

fn theirs(lab: &Lab, neighbors: &str) {
    let rest = format!("kernel = true\n{neighbors}{}", originate(&THEIRS));
    lab.speaker("them", "other", "[::]:179", 65001, &rest);
}

fn log(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(lab.path(&format!("{name}.out"))).unwrap_or_default()
}

fn up(lab: &Lab) -> usize {
    lab.neighbors().matches("Established").count()
}

fn two_links(lab: &Lab) {
    let _hosts = Hosts::new();
    add_second("fe80::1", "fe80::2");
    // The same addresses on the first link too.
    ip("-n us addr add fe80::1/64 dev c0 nodad");
    ip("-n them addr add fe80::2/64 dev c1 nodad");
    let first = link_local("them", "c1").expect("an address");
    let restart = "graceful_restart = 0\n";
    ours(
        lab,
        &(neighbor("c0", EXTERNAL, restart) + &neighbor("d0", EXTERNAL, restart)),
    );
    wait("nobody is there", 10, || {
        lab.neighbors().matches("Idle waiting-for-neighbor").count() == 2
    });
    assert!(!both_ways(), "control: no routes, no pings");
    theirs(
        lab,
        &(neighbor("c1", EXTERNAL, restart) + &neighbor("d1", EXTERNAL, restart)),
    );
    wait("both are up", 30, || up(lab) == 2);
    let shown = lab.neighbors();
    assert!(shown.contains(&format!("{first}%c0")), "{shown}");
    assert!(
        shown.contains("fe80::2%d0") && shown.contains("65001"),
        "{shown}"
    );
    let by = |found: &str, via: &str| {
        found.contains(&format!("{via} dev d0")) && found.contains(&format!("{first} dev c0"))
    };
    wait("IPv4 by both links", 10, || {
        let found = route("us", THEIRS[0]);
        found.contains("nexthop via inet6") && by(&found, "via inet6 fe80::2")
    });
    wait("IPv6 by both links", 10, || {
        by(&route("us", THEIRS[1]), "via fe80::2")
    });
    wait("there too", 10, || {
        route("them", OURS[0]).matches("via inet6").count() == 2
            && route("them", OURS[1]).matches("nexthop").count() == 2
    });
    wait("hosts reach each other", 5, both_ways);
    // One link goes: what is left is the other one.
    ip("-n us link del d0");
    wait("one is left", 10, || {
        up(lab) == 1 && lab.neighbors().contains("Idle waiting-for-interface")
    });
    wait("and its routes", 10, || {
        let found = route("us", THEIRS[0]);
        found.contains("dev c0") && !found.contains("d0")
    });
    wait("hosts reach each other", 20, both_ways);
    // It is made anew, with another index.
    add_second("fe80::1", "fe80::2");
    wait("up again", 30, || up(lab) == 2);
    wait("both links again", 10, || {
        by(&route("us", THEIRS[0]), "via inet6 fe80::2")
            && by(&route("us", THEIRS[1]), "via fe80::2")
    });
    lab.signal("other", "KILL");
    wait("without them no routes", 10, || {
        THEIRS.iter().all(|prefix| route("us", prefix).is_empty())
    });
    ip("-n us addr del fe80::1/64 dev c0");
    ip("-n them addr del fe80::2/64 dev c1");
}

fn exchange(lab: &Lab) {
    let _hosts = Hosts::new();
    // Who will come is not known when the listening socket is given the key.
    let key = "password = \"word\"\n";
    ours(lab, &neighbor("d0", EXTERNAL, key));
    wait("no interface yet", 10, || {
        lab.neighbors().contains("%d0") && lab.neighbors().contains("Idle waiting-for-interface")
    });
    add_second("fe80::1", "fe80::2");
    theirs(lab, &neighbor("d1", EXTERNAL, "password = \"other\"\n"));
    wait("another key gives no session", 20, || {
        lab.neighbors().contains("tcp-md5-unanswered")
    });
    lab.signal("other", "TERM");
    theirs(lab, &neighbor("d1", EXTERNAL, key));
    wait("up", 30, || up(lab) == 1);
    let has = || lab.explain(THEIRS[0]).contains("best");
    wait("its routes", 10, has);
    // A second one on the link: named, and nothing else.
    ip("-n them addr add fe80::4/64 dev d1 nodad");
    for _ in 0..2 {
        router_is_there("them", "d1", "fe80::4");
    }
    let named = "interface-has-neighbor: d0: fe80::4 is there too, and fe80::2 is the neighbor";
    wait("it is named", 10, || log(lab, "ours").contains(named));
    router_is_there("them", "d1", "fe80::2");
    ip("-n them addr add fe80::5/64 dev d1 nodad");
    router_is_there("them", "d1", "fe80::5");
    wait("all was heard", 10, || {
        log(lab, "ours").contains("fe80::5 is there too")
    });
    assert_eq!(log(lab, "ours").matches(named).count(), 1, "once");
    assert!(up(lab) == 1 && lab.neighbors().contains("fe80::2%d0"));
    lab.signal("other", "KILL");
    wait("it is gone", 5, || up(lab) == 0);
    // Another machine on the cable: the link was down meanwhile, and another address advertises.
    ip("-n them link set d1 down");
    ip("-n them addr flush dev d1");
    ip("-n them addr add fe80::3/64 dev d1 nodad");
    ip("-n them link set d1 up");
    theirs(lab, &neighbor("d1", EXTERNAL, key));
    wait("another one", 30, || {
        up(lab) == 1 && lab.neighbors().contains("fe80::3%d0")
    });
    wait("its routes by its address", 10, || {
        route("us", THEIRS[0]).contains("via inet6 fe80::3 dev d0")
    });
}

fn unprivileged(lab: &Lab) {
    let _hosts = Hosts::new();
    theirs(
        lab,
        &format!(
            "{}[[neighbor]]\naddress = \"10.9.0.1\"\nas = 64512\nconnect_retry = 1\n",
            neighbor("c1", EXTERNAL, "")
        ),
    );
    let address = link_local("us", "c0").expect("an address");
    let control = lab.path("ours.ctl");
    let own = std::env::current_exe().expect("this program has a path");
    let config = lab.write(
        "ours.toml",
        &format!(
            "router_id = \"10.9.0.1\"\nlocal_as = 64512\nlisten = [\"[::]:179\", \"10.9.0.1:179\"]\ncontrol = \"{}\"\n{}\
             [[neighbor]]\naddress = \"10.9.0.2\"\nas = 65001\npassive = true\n",
            control.display(),
            neighbor("c0", EXTERNAL, "")
        ),
    );
    let argv = [
        "setpriv",
        "--bounding-set=-net_raw",
        "--inh-caps=-net_raw",
        own.to_str().expect("plain"),
        "speaker",
        &config,
    ];
    lab.start("us", "ours", &argv);
    wait("said by name", 10, || {
        lab.neighbors().contains("Idle neighbor-discovery-refused")
    });
    let said = log(lab, "ours");
    assert!(
        said.contains("neighbor-discovery-refused: no raw ICMPv6 socket")
            && said.contains("c0: Operation not permitted"),
        "{said}"
    );
    wait("the others are up", 20, || up(lab) == 1);
    // As a daemon beside it would; the other side then connects.
    router_is_there("us", "c0", &address);
    wait("found by its connection", 20, || up(lab) == 2);
    let found = link_local("them", "c1").expect("an address");
    assert!(lab.neighbors().contains(&format!("{found}%c0")));
}

fn with_bfd(lab: &Lab) {
    let _hosts = Hosts::new();
    let bfd = "bfd = { interval_ms = 50, multiplier = 3 }\n";
    ours(lab, &neighbor("c0", EXTERNAL, bfd));
    theirs(lab, &neighbor("c1", EXTERNAL, bfd));
    wait("up", 30, || {
        up(lab) == 1 && lab.explain(THEIRS[0]).contains("best")
    });
    wait("BFD is up", 10, || {
        let report = liveness::show(&lab.path("ours.liveness"));
        report.is_ok_and(|report| {
            report
                .sessions
                .iter()
                .any(|s| s.state == "up" && s.scope != 0)
        })
    });
    ip("-n them link set c1 down");
    wait("the routes are gone", 2, || {
        lab.explain(THEIRS[0]).contains("no path")
    });
    assert!(lab.neighbors().contains("BFD"), "{}", lab.neighbors());
}

fn vtysh(daemon: &str, command: &str) -> String {
    let output = Command::new("vtysh")
        .args(["--vty_socket", FRR, "-d", daemon, "-c", command])
        .output();
    String::from_utf8_lossy(&output.expect("vtysh is installed").stdout).into_owned()
}

/// Where zebra keeps its files: it becomes another user, who cannot enter the lab's folder.
const FRR: &str = "/run/frr";

/// Starts a daemon of FRR's in `them`.
fn start_frr(lab: &Lab, daemon: &str, text: &str, more: &[&str]) {
    let head = "frr version 8.4.4\nfrr defaults traditional\n";
    let config = format!("{FRR}/{daemon}.conf");
    std::fs::write(
        &config,
        format!("{head}log file {FRR}/{daemon}.log\n{text}"),
    )
    .expect("written");
    let pid = format!("{FRR}/{daemon}.pid");
    let program = format!("/usr/lib/frr/{daemon}");
    let mut argv = vec![
        &program,
        "-f",
        &config,
        "-i",
        &pid,
        "-z",
        "/run/frr/zserv",
        "--vty_socket",
        FRR,
        "-P",
        "0",
    ];
    argv.extend_from_slice(more);
    lab.start("them", daemon, &argv);
}

fn with_frr(lab: &Lab) {
    let _hosts = Hosts::new();
    std::fs::create_dir_all(FRR).expect("a folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(FRR, open).expect("it is ours");
    start_frr(lab, "zebra", "", &[]);
    wait("zebra is there", 10, || {
        vtysh("zebra", "show interface c1").contains("Interface c1 is up")
    });
    let text = "router bgp 65001\n bgp router-id 10.9.0.2\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor c1 interface remote-as external\n neighbor c1 timers connect 1\n \
         neighbor c1 advertisement-interval 0\n address-family ipv4 unicast\n  network 10.201.0.0/26\n exit-address-family\n \
         address-family ipv6 unicast\n  network fd00:201::/64\n  neighbor c1 activate\n exit-address-family\n";
    start_frr(lab, "bgpd", text, &["-S", "-l", "::"]);
    ours(lab, &neighbor("c0", EXTERNAL, ""));
    wait("up", 40, || up(lab) == 1);
    let address = link_local("them", "c1").expect("an address");
    wait("its routes in our kernel", 20, || {
        route("us", THEIRS[0]).contains(&format!("via inet6 {address} dev c0"))
            && route("us", THEIRS[1]).contains(&format!("via {address} dev c0"))
    });
    let address = link_local("us", "c0").expect("an address");
    wait("ours in its kernel", 20, || {
        route("them", OURS[0]).contains(&format!("via inet6 {address} dev c1"))
            && route("them", OURS[1]).contains(&format!("{address} dev c1"))
    });
    wait("hosts reach each other", 5, both_ways);
    let summary = vtysh("bgpd", "show bgp summary");
    assert!(summary.contains("c1"), "{summary}");
    // It goes and comes back; its link-local address is still the neighbor.
    lab.signal("bgpd", "KILL");
    wait("it is gone", 10, || up(lab) == 0);
    start_frr(lab, "bgpd", text, &["-S", "-l", "::"]);
    wait("up again", 40, || {
        up(lab) == 1 && !lab.explain(THEIRS[0]).contains("stale")
    });
}

fn with_bird(lab: &Lab) {
    let _hosts = Hosts::new();
    let dir = lab.dir.path().display();
    let config = lab.write(
        "bird2.conf",
        &format!(
            "log \"{dir}/bird2.log\" all;\nrouter id 10.9.0.2;\nprotocol device {{}}\n\
             protocol kernel k4 {{ ipv4 {{ export where source = RTS_BGP; }}; }}\n\
             protocol kernel k6 {{ ipv6 {{ export where source = RTS_BGP; }}; }}\n\
             protocol static s4 {{ ipv4; route 10.201.0.0/26 blackhole; }}\n\
             protocol static s6 {{ ipv6; route fd00:201::/64 blackhole; }}\n\
             protocol radv {{ interface \"c1\" {{ min ra interval 3; max ra interval 10; default lifetime 0; }}; }}\n\
             protocol bgp ours {{ debug all; local as 65001; neighbor range fe80::/10 external; interface \"c1\";\n\
             dynamic name \"found\";\n\
             ipv4 {{ import all; export where source = RTS_STATIC; extended next hop on; }};\n\
             ipv6 {{ import all; export where source = RTS_STATIC; }}; }}\n"
        ),
    );
    let (socket, pid) = (format!("{dir}/bird2.ctl"), format!("{dir}/bird2.pid"));
    let argv = ["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
    lab.start("them", "bird2", &argv);
    // What a speaker says that comes back, and no harm the first time.
    let restarting = "restarting = true\n".to_owned();
    ours(lab, &(restarting + &neighbor("c0", EXTERNAL, "")));
    wait("up", 40, || up(lab) == 1);
    let address = link_local("them", "c1").expect("an address");
    let has = || {
        route("us", THEIRS[0]).contains(&format!("via inet6 {address} dev c0"))
            && route("us", THEIRS[1]).contains(&format!("via {address} dev c0"))
    };
    wait("its routes in our kernel", 20, has);
    let own = link_local("us", "c0").expect("an address");
    for prefix in OURS {
        wait("BIRD has ours", 10, || {
            let text = bird::birdc(lab, 2, &format!("show route {prefix} all"));
            text.contains(&format!("via {own} on c1"))
        });
    }
    wait("hosts reach each other", 5, both_ways);
    lab.signal("ours", "KILL");
    lab.restart_ours();
    wait("up again, and never without its routes", 40, || {
        assert!(has(), "lost");
        up(lab) == 1 && lab.explain(THEIRS[0]).contains("best")
    });
    stays("adopted", 2, has);
    lab.signal("bird2", "KILL");
    wait("control: without BIRD they go", 10, || !has());
}

fn with_gobgp(lab: &Lab) {
    let _hosts = Hosts::new();
    // Who was on the cable in an earlier case would be a second neighbor, which GoBGP does not start with.
    ip("-n them -6 neigh flush dev c1");
    ours(lab, &neighbor("c0", EXTERNAL, ""));
    let address = link_local("us", "c0").expect("an address");
    wait("our advertisement is in the neighbor table", 20, || {
        ip("-n them -6 neigh show dev c1").contains(&format!("{address} lladdr"))
    });
    assert!(lab.neighbors().contains("Idle waiting-for-neighbor"));
    gobgp::start_with(
        lab,
        "[global.config]\n  as = 65001\n  router-id = \"10.9.0.2\"\n  local-address-list = [\"::\"]\n\
         [[neighbors]]\n  [neighbors.config]\n    neighbor-interface = \"c1\"\n    peer-as = 64512\n\
         [neighbors.timers.config]\n    connect-retry = 1\n    idle-hold-time-after-reset = 1\n\
         [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"ipv4-unicast\"\n\
         [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"ipv6-unicast\"\n",
    );
    wait("up", 60, || up(lab) == 1);
    let address = link_local("them", "c1").expect("an address");
    assert!(lab.neighbors().contains(&format!("{address}%c0")));
    for (family, prefix) in [("ipv4", OURS[0]), ("ipv6", OURS[1])] {
        wait("GoBGP has ours", 10, || {
            gobgp::gobgp(&format!("global rib -a {family} {prefix}")).contains("*>")
        });
    }
    gobgp::gobgp("global rib add -a ipv4 10.201.0.0/26");
    gobgp::gobgp("global rib add -a ipv6 fd00:201::/64");
    wait("its routes in our kernel", 20, || {
        route("us", THEIRS[0]).contains(&format!("via inet6 {address} dev c0"))
            && route("us", THEIRS[1]).contains(&format!("via {address} dev c0"))
    });
}
