//! Guarded sessions: TCP-MD5 (RFC 2385), GTSM (RFC 5082), roles (RFC 9234), each with its control.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, stays, wait};

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_md5",
        shows: "TCP-MD5, whoever dials; another key and none give no session (RFC 2385)",
        run: bird_md5,
    },
    Case {
        peer: "bird",
        name: "bird_gtsm",
        shows: "TTL security on both sides; a neighbor that sends with TTL 1 is not heard (RFC 5082)",
        run: bird_gtsm,
    },
    Case {
        peer: "bird",
        name: "bird_roles",
        shows: "roles that fit and that do not, ONLY_TO_CUSTOMER both ways, a leak (RFC 9234)",
        run: bird_roles,
    },
];

const BIRD: &str = "neighbor 10.9.0.1 as 64512; hold time 9;";

fn ours(settings: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\nconnect_retry = 1\nerror_wait = [1, 1]\n{settings}\n"
    )
}

fn restart(lab: &Lab, settings: &str) {
    lab.signal("ours", "TERM");
    lab.ours(64512, &ours(settings));
}

fn up(lab: &Lab) {
    wait("the session is up", 20, || bird::established(lab));
}

/// Answers for a while, and has no session.
fn stays_down(lab: &Lab, why: &str) {
    wait("we answer", 10, || lab.neighbors().contains("10.9.0.2"));
    stays(why, 4, || !bird::established(lab));
}

fn bird_md5(lab: &Lab) {
    bird::start(lab, 2, 64512, "", &format!("{BIRD} password \"word\";"));
    lab.ours(64512, &ours("password = \"word\""));
    up(lab);
    // BIRD dials; then we do.
    restart(lab, "password = \"word\"\npassive = true");
    up(lab);
    restart(lab, "password = \"another\"");
    wait("the state has a name", 20, || {
        lab.neighbors().contains("tcp-md5-unanswered")
    });
    stays_down(lab, "another key: no session");
    restart(lab, "");
    stays_down(lab, "no key: no session");
    restart(lab, "password = \"word\"");
    up(lab);
}

fn bird_gtsm(lab: &Lab) {
    bird::start(
        lab,
        2,
        64512,
        "",
        &format!("{BIRD} ttl security on; multihop 1;"),
    );
    lab.ours(64512, &ours("ttl_security = 1"));
    up(lab);
    restart(lab, "ttl_security = 1\npassive = true");
    up(lab);
    lab.signal("bird2", "TERM");
    // One that does not know of it sends with TTL 1, or 64 over several hops.
    bird::start(lab, 2, 64512, "", BIRD);
    restart(lab, "ttl_security = 1");
    stays_down(lab, "not heard");
    // The control: without the setting the same neighbor comes up.
    restart(lab, "ttl = 1");
    up(lab);
}

/// A BIRD of AS 65001 with this role, if any, and two routes, one of which is marked.
fn bird_with_role(lab: &Lab, role: &str) {
    let marked = "protocol static s4 { ipv4; route 10.201.0.0/26 blackhole; \
                  route 10.202.0.0/26 blackhole { bgp_otc = 7; }; }";
    let session = format!("neighbor 10.9.0.1 as 64512; hold time 9; {role}");
    bird::start(lab, 2, 65001, marked, &session);
}

fn bird_roles(lab: &Lab) {
    let ours = "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 65001\nconnect_retry = 1\n\
                error_wait = [1, 1]\nrole = \"provider\"\nrole_strict = true\n\
                [[originate]]\nprefix = \"10.200.0.0/26\"\n";
    bird_with_role(lab, "local role customer; require roles;");
    lab.ours(64512, ours);
    wait("its route is here", 20, || {
        lab.explain("10.201.0.0/26").contains("best")
    });
    // BIRD mostly does not tell a provider what is marked, but it was seen to.
    assert!(!lab.explain("10.202.0.0/26").contains("best"));
    wait("BIRD has ours, marked", 10, || {
        bird::birdc(lab, 2, "show route 10.200.0.0/26 all").contains("BGP.otc: 64512")
    });
    lab.signal("bird2", "TERM");
    bird_with_role(lab, "local role peer;");
    wait("the roles do not fit", 20, || {
        lab.neighbors().contains("Role mismatch")
    });
    assert!(!bird::established(lab));
    lab.signal("bird2", "TERM");
    // It says no role, so nothing keeps it from leaking but we.
    bird_with_role(lab, "");
    lab.signal("ours", "TERM");
    lab.ours(64512, &ours.replace("role_strict = true", ""));
    wait("the leak has its name", 20, || {
        lab.explain("10.202.0.0/26").contains("lost: route-leak")
    });
    assert!(lab.explain("10.201.0.0/26").contains("best"), "the control");
}
