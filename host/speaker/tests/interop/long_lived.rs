//! Long-lived graceful restart (RFC 9494): a daemon at 10.9.0.2 is killed while two BIRDs watch,
//! one that knows long-lived stale routes (.3) and one that does not (.4); and we are killed.

use crate::Case;
use crate::bird;
use crate::frr;
use crate::gobgp;
use crate::lab::{Lab, stays, wait};

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_long_lived",
        shows: IT_IS_KILLED,
        run: |lab| it_is_killed(lab, &BIRD),
    },
    Case {
        peer: "frr",
        name: "frr_long_lived",
        shows: IT_IS_KILLED,
        run: |lab| it_is_killed(lab, &FRR),
    },
    Case {
        peer: "gobgp",
        name: "gobgp_long_lived",
        shows: IT_IS_KILLED,
        run: |lab| it_is_killed(lab, &GOBGP),
    },
    Case {
        peer: "bird",
        name: "bird_keeps_ours_long",
        shows: WE_ARE_KILLED,
        run: |lab| we_are_killed(lab, &BIRD),
    },
    Case {
        peer: "frr",
        name: "frr_keeps_ours_long",
        shows: WE_ARE_KILLED,
        run: |lab| we_are_killed(lab, &FRR),
    },
    Case {
        peer: "gobgp",
        name: "gobgp_keeps_ours_long",
        shows: WE_ARE_KILLED,
        run: |lab| we_are_killed(lab, &GOBGP),
    },
];

const IT_IS_KILLED: &str = "kill -9: its route is kept beyond the restart time, with LLGR_STALE, told to a peer that knows it and to no other (RFC 9494)";
const WE_ARE_KILLED: &str =
    "kill -9 of us: our route is kept beyond the restart time, then goes (RFC 9494)";

const THEIRS: &str = "10.201.0.0/26";
const OURS: &str = "10.200.0.0/26";

/// A daemon with a restart time of 2 s and a long-lived stale time of 12 s.
struct Daemon {
    name: &'static str,
    /// Has [`THEIRS`] to announce.
    start: fn(&Lab),
    /// What it says of [`OURS`]; empty without a route.
    show: fn(&Lab) -> String,
    /// Is in that when it takes the route for a long-lived stale one.
    mark: &'static str,
}

const BIRD: Daemon = Daemon {
    name: "bird2",
    start: |lab| {
        let session = "neighbor 10.9.0.1 as 64512; hold time 90; graceful restart on; graceful restart time 2;\n\
             long lived graceful restart on; long lived stale time 12;";
        let route = format!("protocol static s4 {{ ipv4; route {THEIRS} blackhole; }}");
        bird::start(lab, 2, 64512, &route, session);
    },
    show: |lab| {
        let text = bird::detail(lab, 2, OURS);
        if text.contains("[ours") {
            text
        } else {
            String::new()
        }
    },
    mark: "(65535,6)",
};

const FRR: Daemon = Daemon {
    name: "frr2",
    start: |lab| {
        let restart = " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time 2\n \
             bgp long-lived-graceful-restart stale-time 12\n";
        frr::start(lab, 2, 64512, 64512, &[THEIRS], restart);
    },
    show: |lab| {
        let text = frr::detail(lab, 2, OURS);
        if text.contains("from 10.9.0.1") {
            text
        } else {
            String::new()
        }
    },
    mark: "llgr-stale",
};

const GOBGP: Daemon = Daemon {
    name: "gobgp",
    start: |lab| {
        let text = "[global.config]\n  as = 64512\n  router-id = \"10.9.0.2\"\n  local-address-list = [\"10.9.0.2\"]\n\
             [[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"10.9.0.1\"\n    peer-as = 64512\n\
             [neighbors.timers.config]\n    connect-retry = 1\n\
             [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 2\n    long-lived-enabled = true\n\
             [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"ipv4-unicast\"\n\
             [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n\
             [neighbors.afi-safis.long-lived-graceful-restart.config]\n      enabled = true\n      restart-time = 12\n";
        gobgp::start_with(lab, text);
        wait("it takes its route", 20, || {
            gobgp::gobgp(&format!("global rib add -a ipv4 {THEIRS} nexthop 10.9.0.2"));
            gobgp::gobgp("global rib -a ipv4").contains(THEIRS)
        });
    },
    show: |_| {
        let text = gobgp::gobgp(&format!("global rib -a ipv4 {OURS}"));
        if text.contains(OURS) {
            text
        } else {
            String::new()
        }
    },
    mark: "llgr-stale",
};

fn neighbor(n: u8) -> String {
    format!(
        "[[neighbor]]\naddress = \"10.9.0.{n}\"\nas = 64512\nrr_client = true\nconnect_retry = 1\ngraceful_restart = 2\n\
         long_lived = {{ ipv4 = 12, ipv6 = 12 }}\n"
    )
}

fn it_is_killed(lab: &Lab, daemon: &Daemon) {
    (daemon.start)(lab);
    for (n, knows) in [(3, "aware"), (4, "off")] {
        let session = format!(
            "neighbor 10.9.0.1 as 64512; hold time 90; long lived graceful restart {knows};"
        );
        bird::start(lab, n, 64512, "", &session);
    }
    lab.ours(
        64512,
        &format!("{}{}{}", neighbor(2), neighbor(3), neighbor(4)),
    );
    let has = |n: u8| bird::detail(lab, n, THEIRS).contains("[ours");
    let marked = |n: u8| bird::detail(lab, n, THEIRS).contains("(65535,6)");
    wait("both have its route", 30, || has(3) && has(4));
    assert!(!marked(3));
    lab.signal(daemon.name, "KILL");
    wait("stale", 5, || lab.explain(THEIRS).contains(", stale"));
    assert!(has(3) && has(4), "nobody notices yet");
    let kept = || {
        let text = lab.explain(THEIRS);
        text.contains("best") && text.contains(", long-lived stale")
    };
    wait("long-lived stale", 10, kept);
    assert!(lab.neighbors().contains("(long-lived-stale)"));
    wait(
        "told to who knows it, and taken from who does not",
        5,
        || marked(3) && !has(4),
    );
    stays("kept", 5, || kept() && marked(3) && !has(4));
    // It comes back, and all is as before.
    (daemon.start)(lab);
    wait("fresh for all", 30, || {
        let text = lab.explain(THEIRS);
        text.contains("best") && !text.contains("stale") && has(3) && !marked(3) && has(4)
    });
    // And it goes for good.
    lab.signal(daemon.name, "KILL");
    wait("long-lived stale again", 10, || kept() && marked(3));
    wait("its time is over", 20, || {
        lab.explain(THEIRS).contains("no path") && !has(3)
    });
}

fn we_are_killed(lab: &Lab, daemon: &Daemon) {
    let own = format!("[[originate]]\nprefix = \"{OURS}\"\n");
    (daemon.start)(lab);
    lab.ours(64512, &format!("{}{own}", neighbor(2)));
    let show = || (daemon.show)(lab);
    wait("it has our route", 30, || !show().is_empty());
    assert!(!show().contains(daemon.mark));
    lab.signal("ours", "KILL");
    wait("long-lived stale there", 10, || {
        let text = show();
        assert!(!text.is_empty(), "lost");
        text.contains(daemon.mark)
    });
    stays("kept", 4, || show().contains(daemon.mark));
    // We come back, and it is never without the route.
    lab.ours(64512, &format!("restarting = true\n{}{own}", neighbor(2)));
    wait("fresh there", 30, || {
        let text = show();
        assert!(!text.is_empty(), "lost");
        !text.contains(daemon.mark)
    });
    // The control: its time comes to an end.
    lab.signal("ours", "KILL");
    wait("long-lived stale again", 10, || {
        show().contains(daemon.mark)
    });
    wait("gone", 20, || show().is_empty());
}
