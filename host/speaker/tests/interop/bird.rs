//! With BIRD 2.

use crate::Case;
use crate::lab::{Lab, stays, wait};
use std::process::Command;

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_routes",
        shows: "IPv4 and IPv6 routes both ways, attributes, withdrawal (RFC 4271, 4760)",
        run: routes,
    },
    Case {
        peer: "bird",
        name: "bird_reflection",
        shows: "a client sees ORIGINATOR_ID and CLUSTER_LIST, next hop kept (RFC 4456)",
        run: reflection,
    },
    Case {
        peer: "bird",
        name: "bird_ipv6_session",
        shows: "both families over an IPv6 session",
        run: ipv6_session,
    },
    Case {
        peer: "bird",
        name: "bird_as4",
        shows: "four-octet AS numbers on both sides (RFC 6793)",
        run: as4,
    },
    Case {
        peer: "bird",
        name: "bird_hold_timer",
        shows: "a silent BIRD is given up after the hold time (RFC 4271 §6.5)",
        run: hold_timer,
    },
    Case {
        peer: "bird",
        name: "bird_collision",
        shows: "both dial; one session stays (RFC 4271 §6.8)",
        run: collision,
    },
    Case {
        peer: "bird",
        name: "bird_wrong_as",
        shows: "OPEN with a wrong AS is answered 2/2, and we understand BIRD's 2/2",
        run: wrong_as,
    },
    Case {
        peer: "bird",
        name: "bird_we_are_killed",
        shows: "kill -9 of us: BIRD keeps our routes until we are back (RFC 4724)",
        run: we_are_killed,
    },
    Case {
        peer: "bird",
        name: "bird_we_stop",
        shows: "SIGTERM of us sends no Cease: BIRD keeps our routes (RFC 4724)",
        run: we_stop,
    },
    Case {
        peer: "bird",
        name: "bird_is_killed",
        shows: "kill -9 of BIRD: we keep its routes as stale, then drop what it lacks (RFC 4724)",
        run: bird_is_killed,
    },
    Case {
        peer: "bird",
        name: "bird_shuts_down",
        shows: "BIRD's Cease drops its routes at once, and it may come back at once (RFC 4486)",
        run: bird_shuts_down,
    },
    Case {
        peer: "bird",
        name: "bird_refresh",
        shows: "`reload in` is answered with BoRR, routes, EoRR (RFC 2918, 7313)",
        run: refresh,
    },
    Case {
        peer: "bird",
        name: "bird_reload_of_us",
        shows: "SIGHUP with one more prefix and peer: no flap",
        run: reload_of_us,
    },
];

const NEIGHBOR: &str = "[[neighbor]]\naddress = \"10.9.0.2\"\nown_next_hop = \"fd09::1\"\n";

/// Starts a BIRD at 10.9.0.N.
pub fn start(lab: &Lab, n: u8, asn: u32, statics: &str, session: &str) {
    let dir = lab.dir.path().display();
    let text = format!(
        "log \"{dir}/bird{n}.log\" all;\nrouter id 10.9.0.{n};\nprotocol device {{}}\n\
         protocol direct {{ ipv4; ipv6; }}\n{statics}\n\
         protocol bgp ours {{ debug {{ states, events, routes, packets }};\n\
         local 10.9.0.{n} as {asn}; strict bind; connect delay time 1; error wait time 1, 2;\n{session}\n\
         ipv4 {{ import all; export where source ~ [ RTS_STATIC, RTS_BGP ]; }};\n\
         ipv6 {{ import all; export where source ~ [ RTS_STATIC, RTS_BGP ]; next hop address fd09::{n}; }}; }}\n"
    );
    let config = lab.write(&format!("bird{n}.conf"), &text);
    let socket = format!("{dir}/bird{n}.ctl");
    let pid = format!("{dir}/bird{n}.pid");
    lab.start(
        "them",
        &format!("bird{n}"),
        &["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid],
    );
}

/// A BIRD at 10.9.0.N as one more iBGP client, for tests of others.
pub fn start_client(lab: &Lab, n: u8, prefixes: &[&str]) {
    start(lab, n, 64512, &statics(prefixes), IBGP);
}

pub fn birdc(lab: &Lab, n: u8, command: &str) -> String {
    let socket = lab.path(&format!("bird{n}.ctl"));
    let output = Command::new("birdc")
        .arg("-s")
        .arg(socket)
        .args(command.split(' '))
        .output();
    String::from_utf8_lossy(&output.expect("birdc is installed").stdout).into_owned()
}

/// All that a BIRD has of a prefix.
pub fn detail(lab: &Lab, n: u8, prefix: &str) -> String {
    birdc(lab, n, &format!("show route {prefix} all"))
}

fn statics(prefixes: &[&str]) -> String {
    let mut out = String::new();
    for (name, family, colon) in [("s4", "ipv4", false), ("s6", "ipv6", true)] {
        out += &format!("protocol static {name} {{ {family};");
        for prefix in prefixes.iter().filter(|p| p.contains(':') == colon) {
            out += &format!(" route {prefix} blackhole;");
        }
        out += " }\n";
    }
    out
}

pub fn established(lab: &Lab) -> bool {
    lab.neighbors().contains("Established")
}

pub fn bird_has(lab: &Lab, n: u8, prefix: &str) -> bool {
    birdc(lab, n, &format!("show route {prefix}")).contains("[ours")
}

pub fn log(lab: &Lab, n: u8) -> String {
    std::fs::read_to_string(lab.path(&format!("bird{n}.log"))).unwrap_or_default()
}

const IBGP: &str = "neighbor 10.9.0.1 as 64512; hold time 90;";

fn routes(lab: &Lab) {
    start(
        lab,
        2,
        64512,
        &statics(&["10.201.0.0/26", "fd00:201::/64"]),
        IBGP,
    );
    let one = "[[originate]]\nprefix = \"10.200.0.0/26\"\ncommunities = [\"64512:7\"]\nlarge_communities = [\"1:2:3\"]\nmed = 9\n";
    let two = "[[originate]]\nprefix = \"fd00:200::/64\"\n";
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{one}{two}"));
    wait("BIRD has our routes", 15, || {
        bird_has(lab, 2, "10.200.0.0/26") && bird_has(lab, 2, "fd00:200::/64")
    });
    let detail = birdc(lab, 2, "show route 10.200.0.0/26 all");
    for expected in [
        "BGP.origin: IGP",
        "BGP.next_hop: 10.9.0.1",
        "BGP.med: 9",
        "BGP.local_pref: 100",
        "BGP.community: (64512,7)",
        "BGP.large_community: (1, 2, 3)",
    ] {
        assert!(detail.contains(expected), "{expected} is not in {detail}");
    }
    let detail = birdc(lab, 2, "show route fd00:200::/64 all");
    assert!(detail.contains("BGP.next_hop: fd09::1"), "{detail}");
    wait("we have BIRD's routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via 10.9.0.2")
            && lab
                .explain("fd00:201::/64")
                .contains("best\n    via fd09::2")
    });
    birdc(lab, 2, "disable s4");
    wait("BIRD withdrew", 5, || {
        lab.explain("10.201.0.0/26").contains("no path")
    });
    assert!(
        lab.explain("fd00:201::/64").contains("best"),
        "the other one stays"
    );
    birdc(lab, 2, "enable s4");
    wait("BIRD announced again", 5, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
    // We withdraw, by reading the file again.
    rewrite(lab, 64512, &format!("{NEIGHBOR}as = 64512\n{two}"));
    lab.signal("ours", "HUP");
    wait("we withdrew", 5, || !bird_has(lab, 2, "10.200.0.0/26"));
    assert!(bird_has(lab, 2, "fd00:200::/64"));
}

pub fn rewrite(lab: &Lab, asn: u32, rest: &str) {
    let text = format!(
        "router_id = \"10.9.0.1\"\nlocal_as = {asn}\nlisten = [\"10.9.0.1:179\"]\ncontrol = \"{}\"\n{rest}",
        lab.path("ours.ctl").display()
    );
    lab.write("ours.toml", &text);
}

fn reflection(lab: &Lab) {
    start(
        lab,
        2,
        64512,
        &statics(&["10.201.0.0/26", "fd00:201::/64"]),
        IBGP,
    );
    start(lab, 3, 64512, &statics(&[]), IBGP);
    let client =
        |n: u8| format!("[[neighbor]]\naddress = \"10.9.0.{n}\"\nas = 64512\nrr_client = true\n");
    lab.ours(
        64512,
        &format!("cluster_id = \"244.0.0.1\"\n{}{}", client(2), client(3)),
    );
    wait("the other client has it", 15, || {
        bird_has(lab, 3, "10.201.0.0/26") && bird_has(lab, 3, "fd00:201::/64")
    });
    for (prefix, hop) in [("10.201.0.0/26", "10.9.0.2"), ("fd00:201::/64", "fd09::2")] {
        let detail = birdc(lab, 3, &format!("show route {prefix} all"));
        for expected in [
            "BGP.originator_id: 10.9.0.2",
            "BGP.cluster_list: 244.0.0.1",
            &format!("BGP.next_hop: {hop}"),
        ] {
            assert!(detail.contains(expected), "{expected} is not in {detail}");
        }
    }
    assert!(!bird_has(lab, 2, "10.201.0.0/26"), "not back to its source");
    birdc(lab, 2, "disable s4");
    wait("the withdrawal is reflected", 5, || {
        !bird_has(lab, 3, "10.201.0.0/26")
    });
}

fn ipv6_session(lab: &Lab) {
    let dir = lab.dir.path().display();
    let config = lab.write(
        "bird2.conf",
        &format!(
            "log \"{dir}/bird2.log\" all;\nrouter id 10.9.0.2;\nprotocol device {{}}\n\
             protocol direct {{ ipv4; ipv6; }}\n{}\n\
             protocol bgp ours {{ local fd09::2 as 64512; strict bind; connect delay time 1;\n\
             neighbor fd09::1 as 64512;\n\
             ipv4 {{ import all; export where source = RTS_STATIC; next hop address 10.9.0.2; }};\n\
             ipv6 {{ import all; export where source = RTS_STATIC; }}; }}\n",
            statics(&["10.201.0.0/26", "fd00:201::/64"])
        ),
    );
    let (socket, pid) = (format!("{dir}/bird2.ctl"), format!("{dir}/bird2.pid"));
    let argv = ["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
    lab.start("them", "bird2", &argv);
    let neighbor = "[[neighbor]]\naddress = \"fd09::2\"\nas = 64512\nown_next_hop = \"10.9.0.1\"\n";
    let two = "[[originate]]\nprefix = \"fd00:200::/64\"\n";
    lab.ours_at("[fd09::1]:179", 64512, &format!("{neighbor}{OWN}{two}"));
    wait("BIRD has our routes", 15, || {
        bird_has(lab, 2, "10.200.0.0/26") && bird_has(lab, 2, "fd00:200::/64")
    });
    let detail = birdc(lab, 2, "show route fd00:200::/64 all");
    assert!(detail.contains("BGP.next_hop: fd09::1"), "{detail}");
    let detail = birdc(lab, 2, "show route 10.200.0.0/26 all");
    assert!(detail.contains("BGP.next_hop: 10.9.0.1"), "{detail}");
    wait("we have BIRD's routes", 10, || {
        lab.explain("10.201.0.0/26")
            .contains("best\n    via 10.9.0.2")
            && lab
                .explain("fd00:201::/64")
                .contains("best\n    via fd09::2")
    });
}

fn as4(lab: &Lab) {
    let session = "neighbor 10.9.0.1 as 4200000001; hold time 90;";
    start(lab, 2, 4_200_000_002, &statics(&["10.201.0.0/26"]), session);
    let own = "[[originate]]\nprefix = \"10.200.0.0/26\"\n";
    lab.ours(4_200_000_001, &format!("{NEIGHBOR}as = 4200000002\n{own}"));
    wait("we have the path", 15, || {
        lab.explain("10.201.0.0/26")
            .contains("as_path [4200000002]")
    });
    wait("BIRD has the path", 5, || {
        birdc(lab, 2, "show route 10.200.0.0/26 all").contains("BGP.as_path: 4200000001")
    });
}

fn hold_timer(lab: &Lab) {
    start(
        lab,
        2,
        64512,
        &statics(&["10.201.0.0/26"]),
        "neighbor 10.9.0.1 as 64512; hold time 3; graceful restart off;",
    );
    lab.ours(
        64512,
        &format!("{NEIGHBOR}as = 64512\nhold_time = 3\ngraceful_restart = 0\npassive = true\n"),
    );
    wait("it is up", 15, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
    stays("up while BIRD speaks", 5, || established(lab));
    lab.signal("bird2", "STOP");
    wait("given up", 8, || {
        lab.neighbors().contains("Hold timer expired")
    });
    assert!(lab.explain("10.201.0.0/26").contains("no path"));
    lab.signal("bird2", "CONT");
    wait("up again", 30, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
}

fn collision(lab: &Lab) {
    for round in 0..3 {
        start(
            lab,
            2,
            64512,
            "",
            "neighbor 10.9.0.1 as 64512; hold time 90;",
        );
        lab.ours(64512, &format!("{NEIGHBOR}as = 64512\nconnect_retry = 1\n"));
        wait("up", 15, || {
            established(lab) && birdc(lab, 2, "show protocols ours").contains("Established")
        });
        stays("up", 3, || established(lab));
        let sessions = log(lab, 2).matches("BGP session established").count();
        assert_eq!(sessions, 1, "round {round}");
        lab.clean(false);
    }
}

fn wrong_as(lab: &Lab) {
    start(
        lab,
        2,
        64513,
        "",
        "neighbor 10.9.0.1 as 64512; hold time 90;",
    );
    lab.ours(64512, &format!("{NEIGHBOR}as = 64999\n"));
    wait("BIRD was told", 15, || {
        log(lab, 2).contains("Received: Bad peer AS")
    });
    wait("we say why", 5, || {
        lab.neighbors().contains("Error: Bad peer AS")
    });
    lab.clean(false);
    // And the other way: BIRD finds our number wrong.
    start(
        lab,
        2,
        64513,
        "",
        "neighbor 10.9.0.1 as 64998; hold time 90;",
    );
    lab.ours(64512, &format!("{NEIGHBOR}as = 64513\n"));
    wait("we were told", 15, || {
        lab.neighbors().contains("Received: Bad peer AS")
    });
}

const OWN: &str = "[[originate]]\nprefix = \"10.200.0.0/26\"\n";

fn we_are_killed(lab: &Lab) {
    start(lab, 2, 64512, "", IBGP);
    let config = format!("{NEIGHBOR}as = 64512\n{OWN}");
    lab.ours(64512, &config);
    wait("BIRD has our route", 15, || {
        bird_has(lab, 2, "10.200.0.0/26")
    });
    lab.signal("ours", "KILL");
    stays("kept", 2, || bird_has(lab, 2, "10.200.0.0/26"));
    lab.ours(64512, &format!("restarting = true\n{config}"));
    let up = || birdc(lab, 2, "show protocols ours").contains("Established");
    wait("up again, never without the route", 15, || {
        assert!(bird_has(lab, 2, "10.200.0.0/26"), "lost");
        up()
    });
    stays("kept after End-of-RIB", 2, || {
        bird_has(lab, 2, "10.200.0.0/26")
    });
    // The control: without graceful restart it goes.
    lab.clean(false);
    start(
        lab,
        2,
        64512,
        "",
        "neighbor 10.9.0.1 as 64512; graceful restart off;",
    );
    lab.ours(64512, &config);
    wait("BIRD has our route", 15, || {
        bird_has(lab, 2, "10.200.0.0/26")
    });
    lab.signal("ours", "KILL");
    wait("gone", 5, || !bird_has(lab, 2, "10.200.0.0/26"));
}

fn we_stop(lab: &Lab) {
    start(lab, 2, 64512, "", IBGP);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("BIRD has our route", 15, || {
        bird_has(lab, 2, "10.200.0.0/26")
    });
    lab.signal("ours", "TERM");
    stays("kept", 2, || bird_has(lab, 2, "10.200.0.0/26"));
    let log = log(lab, 2);
    assert!(!log.contains("Received: "), "no NOTIFICATION");
}

fn bird_is_killed(lab: &Lab) {
    let session = "neighbor 10.9.0.1 as 64512; hold time 90; graceful restart on;";
    start(
        lab,
        2,
        64512,
        &statics(&["10.201.0.0/26", "10.201.1.0/26"]),
        session,
    );
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\nconnect_retry = 1\n"));
    wait("we have its routes", 15, || {
        lab.explain("10.201.0.0/26").contains("best")
            && lab.explain("10.201.1.0/26").contains("best")
    });
    lab.signal("bird2", "KILL");
    wait("stale", 5, || {
        lab.explain("10.201.0.0/26").contains(", stale")
    });
    assert!(lab.explain("10.201.0.0/26").contains("best"), "and used");
    // It comes back with one route less.
    start(lab, 2, 64512, &statics(&["10.201.0.0/26"]), session);
    wait("refreshed", 20, || {
        let text = lab.explain("10.201.0.0/26");
        text.contains("best") && !text.contains(", stale")
    });
    wait("what it lacks is gone", 10, || {
        lab.explain("10.201.1.0/26").contains("no path")
    });
}

fn bird_shuts_down(lab: &Lab) {
    start(lab, 2, 64512, &statics(&["10.201.0.0/26"]), IBGP);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n"));
    wait("we have its route", 15, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
    birdc(lab, 2, "disable ours");
    wait("gone at once", 3, || {
        lab.explain("10.201.0.0/26").contains("no path")
    });
    assert!(
        lab.neighbors().contains("Idle Received: "),
        "{}",
        lab.neighbors()
    );
    birdc(lab, 2, "enable ours");
    wait("welcome again", 5, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
}

fn refresh(lab: &Lab) {
    start(lab, 2, 64512, "", IBGP);
    lab.ours(64512, &format!("{NEIGHBOR}as = 64512\n{OWN}"));
    wait("BIRD has our route", 15, || {
        bird_has(lab, 2, "10.200.0.0/26")
    });
    birdc(lab, 2, "reload in ours");
    wait("answered", 5, || {
        let log = log(lab, 2);
        log.contains("Got BEGIN-OF-RR") && log.contains("Got END-OF-RR")
    });
    assert!(bird_has(lab, 2, "10.200.0.0/26"));
}

fn reload_of_us(lab: &Lab) {
    start(lab, 2, 64512, "", IBGP);
    start(lab, 3, 64512, "", "neighbor 10.9.0.1 as 64512; passive on;");
    let config = format!("{NEIGHBOR}as = 64512\n");
    lab.ours(64512, &config);
    wait("up", 15, || established(lab));
    let more = "[[neighbor]]\naddress = \"10.9.0.3\"\nas = 64512\n";
    rewrite(lab, 64512, &format!("{config}{more}{OWN}"));
    lab.signal("ours", "HUP");
    wait("both are up with the prefix", 15, || {
        bird_has(lab, 2, "10.200.0.0/26") && bird_has(lab, 3, "10.200.0.0/26")
    });
    assert_eq!(
        log(lab, 2).matches("BGP session established").count(),
        1,
        "a flap"
    );
    // A file with an error changes nothing.
    rewrite(lab, 64512, "colour = 1\n");
    lab.signal("ours", "HUP");
    stays("up", 2, || bird_has(lab, 2, "10.200.0.0/26"));
}
