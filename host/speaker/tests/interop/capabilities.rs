//! What a speaker can beyond routes, with each daemon that has it: extended messages, refresh, roles,
//! GTSM, graceful restart, the hold timer, limits, texts.

use crate::Case;
use crate::lab::{Lab, stays, wait};
use crate::{bird, exabgp, frr, gobgp, openbgpd};

const fn case(peer: &'static str, name: &'static str, shows: &'static str, run: fn(&Lab)) -> Case {
    Case {
        peer,
        name,
        shows,
        run,
    }
}

const EXTENDED: &str =
    "a route with 1,100 communities in a message of more than 4,096 octets (RFC 8654)";
const GTSM: &str =
    "TTL security on both sides; a neighbor that sends with a low TTL is not heard (RFC 5082)";
const HOLD: &str = "one that is stopped is given up after the hold time (RFC 4271 §6.5)";
const ROLES: &str = "roles that fit, our ONLY_TO_CUSTOMER, roles that do not fit (RFC 9234)";
const TEXT: &str = "what operators say at a shutdown and a reset, both ways (RFC 9003)";

const LIMIT: &str =
    "more prefixes than it takes: its Cease is shown, and it takes us back (RFC 4486)";

pub const CASES: &[Case] = &[
    case("bird", "bird_extended_messages", EXTENDED, |lab| {
        let session = "neighbor 10.9.0.1 as 64512; hold time 90; enable extended messages on;";
        bird::start(lab, 2, 64512, "", session);
        let has = || bird::detail(lab, 2, OWN).contains("(64512,1099)");
        long_route(lab, has);
        // The control: without the capability it cannot be told.
        lab.signal("bird2", "TERM");
        bird::start(
            lab,
            2,
            64512,
            "",
            "neighbor 10.9.0.1 as 64512; hold time 90;",
        );
        wait("up again", 20, || bird::established(lab));
        stays("not told", 1, || !has());
    }),
    case("frr", "frr_extended_messages", EXTENDED, |lab| {
        frr::start(lab, 2, 64512, 64512, &[], "");
        let show = format!("show bgp ipv4 unicast {OWN} json");
        long_route(lab, || frr::vtysh(lab, 2, &show).contains("64512:1099"));
    }),
    case(
        "exabgp",
        "exabgp_extended_messages",
        "a route with 1,100 communities in a message of more than 4,096 octets, both ways (RFC 8654)",
        |lab| {
            exabgp::start_with(lab, 64512, 64512, "", "");
            let list: Vec<String> = (0..1100).map(|n| format!("64513:{n}")).collect();
            exabgp::order(
                lab,
                &format!(
                    "announce route {THEIRS} next-hop 10.9.0.2 community [ {} ]",
                    list.join(" ")
                ),
            );
            let last = "[ 64512, 1099 ]";
            long_route(lab, || {
                exabgp::heard(lab, "announce", OWN).is_some_and(|line| line.contains(last))
            });
            wait("and we have its", 10, || {
                lab.explain(THEIRS).contains("64513:1099")
            });
        },
    ),
    case(
        "frr",
        "frr_refresh",
        "`clear bgp ... in` is answered, between marks (RFC 2918, 7313)",
        frr_refresh,
    ),
    case("frr", "frr_roles", ROLES, |lab| {
        let start = |role: &str| {
            let line = format!(
                " neighbor 10.9.0.1 remote-as 64512\n neighbor 10.9.0.1 local-role {role}\n"
            );
            frr::start(lab, 2, 65001, 64512, &[THEIRS], &line);
        };
        roles(lab, "frr2", start, || {
            frr::detail(lab, 2, OWN).contains("otc 64512")
        });
    }),
    case("openbgpd", "openbgpd_roles", ROLES, |lab| {
        let start = |role: &str| {
            let settings = format!(" announce policy {role}\n");
            openbgpd::start_with(lab, 65001, 64512, &[THEIRS], &settings);
        };
        roles(lab, "openbgpd", start, || {
            openbgpd::ctl(&format!("show rib detail {OWN}")).contains("OTC: 64512")
        });
    }),
    case("gobgp", "gobgp_gtsm", GTSM, |lab| {
        guarded(lab, "gobgp", |on| {
            let section = "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
            gobgp::start_with(lab, &gobgp_eager(65001, if on { section } else { "" }));
        });
    }),
    case("openbgpd", "openbgpd_gtsm", GTSM, |lab| {
        guarded(lab, "openbgpd", |on| {
            let settings = if on { " ttl-security yes\n" } else { "" };
            openbgpd::start_with(lab, 65001, 64512, &[], settings);
        });
    }),
    case("exabgp", "exabgp_gtsm", GTSM, |lab| {
        guarded(lab, "exabgp", |on| {
            let ttl = if on {
                "outgoing-ttl 255; incoming-ttl 255;"
            } else {
                "outgoing-ttl 1;"
            };
            exabgp::start_with(lab, 65001, 64512, ttl, "");
        });
    }),
    case(
        "exabgp",
        "exabgp_md5",
        "TCP-MD5; another key gives no session (RFC 2385)",
        exabgp_md5,
    ),
    case(
        "gobgp",
        "gobgp_as4",
        "four-octet AS numbers on both sides (RFC 6793)",
        gobgp_as4,
    ),
    case("gobgp", "gobgp_hold_timer", HOLD, |lab| {
        gobgp::start_with(lab, &gobgp_eager(64512, ""));
        given_up(lab, "gobgp");
    }),
    case("exabgp", "exabgp_hold_timer", HOLD, |lab| {
        exabgp::start_with(lab, 64512, 64512, "", "");
        given_up(lab, "exabgp");
    }),
    case(
        "gobgp",
        "gobgp_is_killed",
        "kill -9 of GoBGP: its routes stay as stale until it has sent them again (RFC 4724)",
        gobgp_is_killed,
    ),
    case(
        "gobgp",
        "gobgp_we_are_killed",
        "kill -9 of us: GoBGP keeps our routes until we are back (RFC 4724)",
        gobgp_we_are_killed,
    ),
    case(
        "exabgp",
        "exabgp_is_killed",
        "kill -9 of ExaBGP: its routes stay as stale until it has sent them again (RFC 4724)",
        exabgp_is_killed,
    ),
    case(
        "exabgp",
        "exabgp_add_path",
        "add-path: two paths received, one withdrawn; ours come with identifiers (RFC 7911)",
        exabgp_add_path,
    ),
    case(
        "exabgp",
        "exabgp_refresh",
        "a ROUTE-REFRESH of its API is answered (RFC 2918)",
        exabgp_refresh,
    ),
    case("bird", "bird_texts", TEXT, |lab| {
        let route = format!("protocol static s4 {{ ipv4; route {THEIRS} blackhole; }}");
        bird::start(
            lab,
            2,
            64512,
            &route,
            "neighbor 10.9.0.1 as 64512; hold time 90;",
        );
        let shut = || drop(bird::birdc(lab, 2, "disable ours \"maintenance\""));
        texts(lab, || bird::log(lab, 2), shut);
    }),
    case("openbgpd", "openbgpd_texts", TEXT, |lab| {
        openbgpd::start_with(lab, 64512, 64512, &[THEIRS], "");
        let log = || std::fs::read_to_string(lab.path("openbgpd.out")).unwrap_or_default();
        let shut = || drop(openbgpd::ctl("neighbor 10.9.0.1 down maintenance"));
        texts(lab, log, shut);
    }),
    case("openbgpd", "openbgpd_limit", LIMIT, |lab| {
        openbgpd::start_with(lab, 64512, 64512, &[], " max-prefix 1\n");
        let clear = || drop(openbgpd::ctl("neighbor 10.9.0.1 clear"));
        limited(lab, || openbgpd::has(OWN), clear);
    }),
];

const OWN: &str = "10.200.0.0/26";
const THEIRS: &str = "10.201.0.0/26";

/// Us, with a neighbor of this AS and these settings, and one route.
fn ours(lab: &Lab, asn: u32, remote: u32, settings: &str) {
    lab.ours(
        asn,
        &format!(
            "[[neighbor]]\nname = \"peer\"\naddress = \"10.9.0.2\"\nas = {remote}\nown_next_hop = \"fd09::1\"\n\
             connect_retry = 1\nerror_wait = [1, 1]\n{settings}\n[[originate]]\nprefix = \"{OWN}\"\n"
        ),
    );
}

fn up(lab: &Lab) {
    wait("the session is up", 20, || bird::established(lab));
}

fn has_route(lab: &Lab) -> bool {
    lab.explain(THEIRS).contains("best")
}

/// A GoBGP that does not wait long before it dials again.
fn gobgp_eager(asn: u32, sections: &str) -> String {
    let timers = "[neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n";
    gobgp::config(asn, 64512, &format!("{timers}{sections}"))
}

fn long_route(lab: &Lab, has: impl Fn() -> bool) {
    let list: Vec<String> = (0..1100).map(|n| format!("\"64512:{n}\"")).collect();
    ours(lab, 64512, 64512, "");
    up(lab);
    let config = lab.path("ours.toml");
    let text = std::fs::read_to_string(config).expect("ours");
    let long = format!("{text}communities = [{}]\n", list.join(", "));
    lab.write("ours.toml", &long);
    lab.signal("ours", "HUP");
    wait("it has the long one", 10, has);
    assert!(bird::established(lab), "without a flap");
}

fn frr_refresh(lab: &Lab) {
    frr::start(lab, 2, 64512, 64512, &[], "");
    ours(lab, 64512, 64512, "");
    wait("FRR has our route", 20, || frr::has(lab, 2, OWN));
    let updates = || {
        let text = frr::vtysh(lab, 2, "show bgp neighbors 10.9.0.1 json");
        let (_, rest) = text.split_once("\"updatesRecv\":").unwrap_or_default();
        rest.split(',')
            .next()
            .and_then(|n| n.trim().parse::<u32>().ok())
    };
    let refreshes = || {
        let text = frr::vtysh(lab, 2, "show bgp neighbors 10.9.0.1 json");
        text.contains("\"routeRefreshSent\":0")
    };
    assert!(refreshes(), "not yet");
    let before = updates();
    frr::vtysh(lab, 2, "debug bgp neighbor-events");
    frr::vtysh(lab, 2, "clear bgp ipv4 unicast 10.9.0.1 in");
    wait("it asked and was told again", 5, || {
        !refreshes() && updates() > before
    });
    let log = || std::fs::read_to_string(lab.path("frr2.log")).unwrap_or_default();
    wait("between marks", 5, || log().contains("EoRR"));
    assert!(frr::has(lab, 2, OWN));
}

/// The neighbor, of AS 65001, is our customer; then it says that it is a peer.
fn roles(lab: &Lab, daemon: &str, start: impl Fn(&str), has_ours_marked: impl Fn() -> bool) {
    start("customer");
    ours(lab, 64512, 65001, "role = \"provider\"\nrole_strict = true");
    wait("its route is here", 20, || has_route(lab));
    wait("it has ours, marked", 10, has_ours_marked);
    lab.signal(daemon, "TERM");
    start("peer");
    wait("the roles do not fit", 20, || {
        lab.neighbors().contains("Role mismatch")
    });
    assert!(!bird::established(lab));
}

/// A neighbor of AS 65001 with TTL security, and without.
fn guarded(lab: &Lab, daemon: &str, start: impl Fn(bool)) {
    start(true);
    ours(lab, 64512, 65001, "ttl_security = 1");
    up(lab);
    lab.signal(daemon, "TERM");
    wait("the old session has ended", 20, || !bird::established(lab));
    start(false);
    stays("not heard", 2, || !bird::established(lab));
    // The control: without the setting such a neighbor comes up. A new one, as GoBGP may wait for
    // the rest of a connection that it did not hear the end of.
    lab.signal("ours", "TERM");
    lab.signal(daemon, "TERM");
    start(false);
    ours(lab, 64512, 65001, "ttl = 1");
    up(lab);
}

fn exabgp_md5(lab: &Lab) {
    exabgp::start_with(lab, 64512, 64512, "md5-password word;", "");
    ours(lab, 64512, 64512, "password = \"word\"");
    up(lab);
    lab.signal("ours", "TERM");
    ours(lab, 64512, 64512, "password = \"another\"");
    wait("the state has a name", 20, || {
        lab.neighbors().contains("tcp-md5-unanswered")
    });
    assert!(!bird::established(lab));
}

fn gobgp_as4(lab: &Lab) {
    gobgp::start_with(lab, &gobgp::config(4_200_000_002, 4_200_000_001, ""));
    ours(lab, 4_200_000_001, 4_200_000_002, "");
    wait("GoBGP has the path", 20, || {
        gobgp::gobgp(&format!("global rib -a ipv4 {OWN}")).contains("4200000001")
    });
    gobgp::gobgp(&format!("global rib add -a ipv4 {THEIRS} nexthop 10.9.0.2"));
    wait("we have the path", 10, || {
        lab.explain(THEIRS).contains("as_path [4200000002]")
    });
}

fn given_up(lab: &Lab, daemon: &str) {
    ours(lab, 64512, 64512, "hold_time = 3\ngraceful_restart = 0");
    up(lab);
    lab.signal(daemon, "STOP");
    wait("given up", 8, || {
        lab.neighbors().contains("Hold timer expired")
    });
}

const GOBGP_RESTART: &str =
    "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\n";

fn gobgp_is_killed(lab: &Lab) {
    let start = || {
        gobgp::start_with(lab, &gobgp_eager(64512, GOBGP_RESTART));
        let add = format!("global rib add -a ipv4 {THEIRS} nexthop 10.9.0.2");
        wait("GoBGP takes the route", 10, || {
            gobgp::gobgp(&add);
            gobgp::has("ipv4", THEIRS)
        });
    };
    start();
    ours(lab, 64512, 64512, "");
    wait("we have its route", 20, || has_route(lab));
    lab.signal("gobgp", "KILL");
    wait("stale", 5, || lab.explain(THEIRS).contains(", stale"));
    assert!(has_route(lab), "and used");
    start();
    wait("refreshed", 20, || {
        has_route(lab) && !lab.explain(THEIRS).contains(", stale")
    });
}

fn gobgp_we_are_killed(lab: &Lab) {
    gobgp::start_with(lab, &gobgp_eager(64512, GOBGP_RESTART));
    ours(lab, 64512, 64512, "");
    let has = || gobgp::has("ipv4", OWN);
    wait("GoBGP has our route", 20, has);
    lab.signal("ours", "KILL");
    stays("kept", 1, has);
    let text = std::fs::read_to_string(lab.path("ours.toml")).expect("ours");
    lab.write("ours.toml", &format!("restarting = true\n{text}"));
    lab.restart_ours();
    wait("up again, never without the route", 30, || {
        assert!(has(), "lost");
        bird::established(lab)
    });
    stays("kept after End-of-RIB", 1, has);
}

fn exabgp_is_killed(lab: &Lab) {
    let start = || {
        exabgp::start_with(lab, 64512, 64512, "", "");
        exabgp::order(lab, &format!("announce route {THEIRS} next-hop 10.9.0.2"));
    };
    start();
    ours(lab, 64512, 64512, "");
    wait("we have its route", 20, || has_route(lab));
    lab.signal("exabgp", "KILL");
    wait("stale", 5, || lab.explain(THEIRS).contains(", stale"));
    assert!(has_route(lab), "and used");
    start();
    wait("refreshed", 20, || {
        has_route(lab) && !lab.explain(THEIRS).contains(", stale")
    });
}

fn exabgp_add_path(lab: &Lab) {
    exabgp::start_with(lab, 64512, 64512, "", "add-path send/receive;");
    for id in [7, 8] {
        exabgp::order(
            lab,
            &format!("announce route {THEIRS} next-hop 10.9.0.{id} path-information 0.0.0.{id}"),
        );
    }
    ours(lab, 64512, 64512, "add_path = \"both\"");
    let hops = || {
        let text = lab.explain(THEIRS);
        (text.contains("10.9.0.7"), text.contains("10.9.0.8"))
    };
    wait("we have both paths", 20, || hops() == (true, true));
    wait("ours have identifiers", 10, || {
        exabgp::heard(lab, "announce", OWN).is_some_and(|line| line.contains("path-information"))
    });
    exabgp::order(
        lab,
        &format!("withdraw route {THEIRS} next-hop 10.9.0.7 path-information 0.0.0.7"),
    );
    wait("one is withdrawn", 10, || hops() == (false, true));
}

fn exabgp_refresh(lab: &Lab) {
    exabgp::start_with(lab, 64512, 64512, "", "");
    ours(lab, 64512, 64512, "");
    let count = || {
        let heard = std::fs::read_to_string(lab.path("exabgp.heard")).unwrap_or_default();
        heard.lines().filter(|line| line.contains(OWN)).count()
    };
    wait("it has our route, once", 20, || count() == 1);
    exabgp::order(lab, "announce route-refresh ipv4 unicast");
    wait("and again", 10, || count() == 2);
}

/// What we say is in the daemon's log, and what is said when it is shut down is shown by us.
fn texts(lab: &Lab, log: impl Fn() -> String, shut: impl Fn()) {
    ours(lab, 64512, 64512, "");
    wait("we have its route", 20, || has_route(lab));
    let reset = speaker::Query::Reset {
        peer: "peer".to_owned(),
        text: "new cable".to_owned(),
    };
    lab.ask(&reset);
    wait("it was told", 10, || log().contains("new cable"));
    wait("and it comes back", 20, || has_route(lab));
    shut();
    wait("we were told", 10, || {
        lab.neighbors()
            .contains("Received: Administrative shutdown: \"maintenance\"")
    });
    assert!(!has_route(lab));
}

/// The daemon takes one prefix of each family.
fn limited(lab: &Lab, has: impl Fn() -> bool, clear: impl Fn()) {
    ours(lab, 64512, 64512, "");
    wait("one is well", 20, &has);
    let text = std::fs::read_to_string(lab.path("ours.toml")).expect("ours");
    let more = "[[originate]]\nprefix = \"10.200.1.0/26\"\n";
    lab.write("ours.toml", &format!("{text}{more}"));
    lab.signal("ours", "HUP");
    wait("two are not", 10, || {
        let said = lab.neighbors();
        said.contains("Maximum number of prefixes reached") && !bird::established(lab)
    });
    lab.write("ours.toml", &text);
    lab.signal("ours", "HUP");
    clear();
    wait("and with one again", 20, has);
}
