//! IPv4 routes over a session of IPv6 alone (RFC 8950), and link-local next hops (RFC 2545).

use crate::Case;
use crate::bird;
use crate::lab::{Lab, must, stays, wait};

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_extended_next_hop",
        shows: "IPv4 routes with IPv6 next hops both ways over an IPv6 session, link-local ones too (RFC 8950, 2545)",
        run: bird_extended_next_hop,
    },
    Case {
        peer: "bird",
        name: "bird_third_party",
        shows: "next hops on the shared LAN are kept between three BIRDs, in both families; nobody is its own (RFC 4271 §5.1.3)",
        run: bird_third_party,
    },
    Case {
        peer: "frr",
        name: "frr_extended_next_hop",
        shows: "IPv4 routes with IPv6 next hops both ways over an IPv6 session (RFC 8950)",
        run: frr_extended_next_hop,
    },
];

const OURS: &str =
    "[[originate]]\nprefix = \"10.200.0.0/26\"\n[[originate]]\nprefix = \"fd00:200::/64\"\n";

fn ours(lab: &Lab, asn: u32, settings: &str) {
    let neighbor =
        format!("[[neighbor]]\naddress = \"fd09::2\"\nas = {asn}\nconnect_retry = 1\n{settings}");
    lab.ours_at("[fd09::1]:179", 64512, &format!("{neighbor}{OURS}"));
}

fn bird_extended_next_hop(lab: &Lab) {
    let dir = lab.dir.path().display();
    let config = lab.write(
        "bird2.conf",
        &format!(
            "log \"{dir}/bird2.log\" all;\nrouter id 10.9.0.2;\nprotocol device {{}}\nprotocol direct {{ ipv4; ipv6; }}\n\
             protocol static s4 {{ ipv4; route 10.201.0.0/26 blackhole; }}\n\
             protocol static s6 {{ ipv6; route fd00:201::/64 blackhole; }}\n\
             protocol bgp ours {{ debug all; local fd09::2 as 64513; strict bind; connect delay time 1; error wait time 1, 2;\n\
             neighbor fd09::1 as 64512;\n\
             ipv4 {{ import all; export where source = RTS_STATIC; extended next hop on; }};\n\
             ipv6 {{ import all; export where source = RTS_STATIC; }}; }}\n"
        ),
    );
    let (socket, pid) = (format!("{dir}/bird2.ctl"), format!("{dir}/bird2.pid"));
    let argv = ["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
    lab.start("them", "bird2", &argv);
    ours(lab, 64513, "extended_next_hop = true\n");
    let shown =
        |prefix: &str| bird::birdc(lab, 2, &format!("show route {prefix} protocol ours all"));
    for prefix in ["10.200.0.0/26", "fd00:200::/64"] {
        wait("BIRD has our routes", 20, || {
            shown(prefix).contains("BGP.next_hop: fd09::1 fe80::")
        });
    }
    wait("we have BIRD's routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via fd09::2")
            && lab
                .explain("fd00:201::/64")
                .contains("best\n    via fd09::2")
    });
    // The control: not agreed on, we have no next hop for IPv4, and BIRD none that we take.
    lab.signal("ours", "TERM");
    ours(lab, 64513, "graceful_restart = 0\n");
    wait("IPv6 routes are there", 20, || {
        shown("fd00:200::/64").contains("fd09::1") && lab.explain("fd00:201::/64").contains("best")
    });
    stays("no IPv4 routes", 2, || {
        !shown("10.200.0.0/26").contains("fd09::1")
            && lab.explain("10.201.0.0/26").contains("no path")
    });
}

/// A LAN of four machines: us at .1, and `m2` to `m4`. BIRD takes no next hop that is its own machine's.
fn lan_of_four() {
    must("ip -n us link add lan type bridge");
    must("ip -n us addr add 10.9.5.1/24 dev lan");
    must("ip -n us addr add fd09:5::1/64 dev lan nodad");
    must("ip -n us link set lan up");
    for n in 2..=4 {
        must(&format!("ip netns add m{n}"));
        must(&format!(
            "ip link add p{n} netns us type veth peer name c1 netns m{n}"
        ));
        must(&format!("ip -n us link set p{n} master lan up"));
        must(&format!("ip -n m{n} addr add 10.9.5.{n}/24 dev c1"));
        must(&format!("ip -n m{n} addr add fd09:5::{n}/64 dev c1 nodad"));
        must(&format!("ip -n m{n} link set lo up"));
        must(&format!("ip -n m{n} link set c1 up"));
    }
}

/// A BIRD on the LAN, in an AS of its own: two routes, of which the second has the next hop of BIRD 3.
fn bird_on_lan(lab: &Lab, n: u8, lan: &str, routes: [&str; 2]) {
    let dir = lab.dir.path().display();
    let family = if lan.contains(':') { "ipv6" } else { "ipv4" };
    let statics = match n {
        2 => routes
            .map(|route| format!("route {route} blackhole;"))
            .concat(),
        _ => String::new(),
    };
    let config = lab.write(
        &format!("bird{n}.conf"),
        &format!(
            "log \"{dir}/bird{n}.log\" all;\nrouter id 10.9.0.{n};\nprotocol device {{}}\n\
             protocol direct {{ ipv4; ipv6; }}\nprotocol static lan {{ {family}; {statics} }}\n\
             filter told {{ if source != RTS_STATIC then reject;\n\
             if net = {} then bgp_next_hop = {lan}3; accept; }}\n\
             protocol bgp ours {{ local {lan}{n} as 6451{n}; strict bind; connect delay time 1; error wait time 1, 2;\n\
             neighbor {lan}1 as 64511; {family} {{ import all; export filter told; }}; }}\n",
            routes[1]
        ),
    );
    let (socket, pid) = (format!("{dir}/bird{n}.ctl"), format!("{dir}/bird{n}.pid"));
    let argv = ["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
    lab.start(&format!("m{n}"), &format!("bird{n}"), &argv);
}

fn bird_third_party(lab: &Lab) {
    lan_of_four();
    let families = [
        ("10.9.5.", ["10.201.0.0/26", "10.201.1.0/26"]),
        ("fd09:5::", ["fd00:201::/64", "fd00:201:1::/64"]),
    ];
    for (lan, routes) in families {
        let ours = |mode: &str| {
            let neighbor = |n: u8| {
                format!(
                    "[[neighbor]]\naddress = \"{lan}{n}\"\nas = 6451{n}\nconnect_retry = 1\n\
                     link_local_next_hop = false\nnext_hop = \"{mode}\"\n"
                )
            };
            [2, 3, 4].map(neighbor).concat()
        };
        (2..=4).for_each(|n| bird_on_lan(lab, n, lan, routes));
        let listen = match lan {
            "fd09:5::" => "[fd09:5::1]:179",
            _ => "10.9.5.1:179",
        };
        lab.ours_at(listen, 64511, &ours("third-party"));
        let check = |n: u8, route: usize, hop: u8| {
            wait(
                &format!("BIRD {n} has {} by {lan}{hop}", routes[route]),
                30,
                || {
                    let shown = bird::birdc(
                        lab,
                        n,
                        &format!("show route {} protocol ours all", routes[route]),
                    );
                    let hops = shown
                        .lines()
                        .filter_map(|line| line.split_once("BGP.next_hop: "));
                    hops.map(|(_, hop)| hop.trim().to_owned())
                        .eq([format!("{lan}{hop}")])
                },
            );
        };
        check(3, 0, 2);
        check(4, 0, 2);
        check(3, 1, 1);
        check(4, 1, 3);
        // The control: by default the next hop is we, for all.
        let path = lab.path("ours.toml");
        let text = std::fs::read_to_string(&path).expect("written before");
        lab.write("ours.toml", &text.replace("third-party", "auto"));
        lab.signal("ours", "HUP");
        for (n, route) in [(3, 0), (4, 0), (3, 1), (4, 1)] {
            check(n, route, 1);
        }
        for name in ["ours", "bird2", "bird3", "bird4"] {
            lab.signal(name, "TERM");
        }
    }
    for n in 2..=4 {
        must(&format!("ip netns del m{n}"));
    }
    must("ip -n us link del lan");
}

// Without zebra FRR knows no links: so over iBGP, and without a link-local next hop.
fn frr_extended_next_hop(lab: &Lab) {
    let dir = lab.dir.path().display();
    let text = format!(
        "frr version 8.4.4\nfrr defaults traditional\nlog file {dir}/frr2.log\nrouter bgp 64512\n bgp router-id 10.9.0.2\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n \
         neighbor fd09::1 remote-as 64512\n neighbor fd09::1 update-source fd09::2\n neighbor fd09::1 timers connect 1\n \
         neighbor fd09::1 capability extended-nexthop\n neighbor fd09::1 advertisement-interval 0\n \
         address-family ipv4 unicast\n  network 10.201.0.0/26\n  neighbor fd09::1 activate\n exit-address-family\n \
         address-family ipv6 unicast\n  network fd00:201::/64\n  neighbor fd09::1 activate\n exit-address-family\n"
    );
    crate::frr::start_with(lab, 2, &text, "fd09::2");
    ours(
        lab,
        64512,
        "extended_next_hop = true\nlink_local_next_hop = false\n",
    );
    let shown = |family: &str, prefix: &str| {
        crate::frr::vtysh(lab, 2, &format!("show bgp {family} unicast {prefix}"))
    };
    wait("FRR has our routes", 30, || {
        shown("ipv4", "10.200.0.0/26").contains("fd09::1 from fd09::1")
            && shown("ipv6", "fd00:200::/64").contains("fd09::1 from fd09::1")
    });
    wait("we have FRR's routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via fd09::2")
            && lab
                .explain("fd00:201::/64")
                .contains("best\n    via fd09::2")
    });
}
