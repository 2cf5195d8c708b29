//! With FRR: notifications that keep routes and those that do not (RFC 8538), texts (RFC 9003), and
//! GTSM (RFC 5082).

use crate::Case;
use crate::bird;
use crate::frr;
use crate::lab::{Lab, stays, wait};

pub const CASES: &[Case] = &[
    Case {
        peer: "frr",
        name: "frr_notification_restart",
        shows: "N bit: FRR's reset and a hold timer keep its routes, a hard reset does not (RFC 8538)",
        run: notification_restart,
    },
    Case {
        peer: "frr",
        name: "frr_hard_reset",
        shows: "our reset is a hard one, with a text that FRR shows (RFC 8538, 9003)",
        run: hard_reset,
    },
    Case {
        peer: "frr",
        name: "frr_gtsm",
        shows: "TTL security on both sides; a neighbor that sends with TTL 1 is not heard (RFC 5082)",
        run: gtsm,
    },
];

const PREFIX: &str = "10.201.0.0/26";
const RESTART: &str = " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart notification\n";
const OURS: &str = "[[neighbor]]\nname = \"frr\"\naddress = \"10.9.0.2\"\nas = 64512\nhold_time = 3\nconnect_retry = 1\nerror_wait = [1, 1]\n";

fn has_route(lab: &Lab) -> bool {
    lab.explain(PREFIX).contains("best")
}

fn start(lab: &Lab, extra: &str, rest: &str) {
    let extra = format!("{RESTART}{extra}");
    frr::start(lab, 2, 64512, 64512, &[PREFIX], &extra);
    lab.ours(64512, &format!("{OURS}{rest}"));
    wait("we have its route", 20, || has_route(lab));
}

fn notification_restart(lab: &Lab) {
    start(lab, " no bgp hard-administrative-reset\n", "");
    frr::vtysh(lab, 2, "clear bgp 10.9.0.1");
    wait("reset, never without the route", 20, || {
        assert!(has_route(lab), "lost");
        lab.explain(PREFIX).contains(", stale")
    });
    wait("refreshed", 20, || !lab.explain(PREFIX).contains(", stale"));
    assert!(bird::established(lab));
    // It hangs: we give it up after the hold time, and keep its routes.
    lab.signal("frr2", "STOP");
    wait("given up", 20, || {
        assert!(has_route(lab), "lost");
        !bird::established(lab)
    });
    stays("kept", 2, || lab.explain(PREFIX).contains("best"));
    lab.signal("frr2", "CONT");
    wait("back", 30, || {
        bird::established(lab) && !lab.explain(PREFIX).contains(", stale")
    });
    // The control: it means it.
    lab.signal("frr2", "KILL");
    lab.signal("ours", "TERM");
    start(lab, " bgp hard-administrative-reset\n", "");
    frr::vtysh(lab, 2, "clear bgp 10.9.0.1");
    wait("gone", 10, || !has_route(lab));
    wait("and back", 20, || has_route(lab));
}

fn hard_reset(lab: &Lab) {
    start(lab, "", "[[originate]]\nprefix = \"10.200.0.0/26\"\n");
    let has = || frr::detail(lab, 2, "10.200.0.0/26").contains("from 10.9.0.1");
    wait("FRR has our route", 10, has);
    let reset = speaker::Query::Reset {
        peer: "frr".to_owned(),
        text: "new cable".to_owned(),
    };
    lab.ask(&reset);
    let log = || std::fs::read_to_string(lab.path("frr2.log")).unwrap_or_default();
    wait("FRR was told", 10, || log().contains("Hard Reset"));
    assert!(log().contains("new cable"), "{}", log());
    wait("and it comes back", 20, || bird::established(lab) && has());
}

fn gtsm(lab: &Lab) {
    let neighbor = " neighbor 10.9.0.1 remote-as 64512\n neighbor 10.9.0.1 ttl-security hops 1\n";
    let ours = "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 65001\nconnect_retry = 1\nerror_wait = [1, 1]\n";
    let up = |lab: &Lab| wait("up", 20, || bird::established(lab));
    frr::start(lab, 2, 65001, 64512, &[], neighbor);
    lab.ours(64512, &format!("{ours}ttl_security = 1\n"));
    up(lab);
    lab.signal("frr2", "TERM");
    // One that does not know of it sends with TTL 1.
    frr::start(lab, 2, 65001, 64512, &[], "");
    wait("the old session has ended", 20, || !bird::established(lab));
    stays("not heard", 5, || !bird::established(lab));
    // The control: without the setting the same neighbor comes up.
    lab.signal("ours", "TERM");
    lab.ours(64512, ours);
    up(lab);
}
