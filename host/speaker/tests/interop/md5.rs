//! TCP-MD5 (RFC 2385) with each daemon that has it, over IPv4 and IPv6, and a key that changes.

use crate::Case;
use crate::bird;
use crate::frr;
use crate::gobgp;
use crate::lab::{Lab, stays, wait};

const SHOWS: &str = "TCP-MD5 over IPv4 and IPv6; another key gives no session (RFC 2385)";

pub const CASES: &[Case] = &[
    Case {
        peer: "frr",
        name: "frr_md5",
        shows: SHOWS,
        run: |lab| signed(lab, "frr2", frr_start),
    },
    Case {
        peer: "gobgp",
        name: "gobgp_md5",
        shows: SHOWS,
        run: |lab| signed(lab, "gobgp", gobgp_start),
    },
    Case {
        peer: "openbgpd",
        name: "openbgpd_md5",
        shows: SHOWS,
        run: openbgpd_md5,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_key_change",
        shows: "the key changes on one side, then on the other, and the session stays; on one side only it ends (RFC 2385 §4.5)",
        run: key_change,
    },
];

/// Starts a daemon that has a session with this address of ours from that of its own.
type Start = fn(&Lab, ours: &str, theirs: &str);

const PATHS: [(&str, &str); 2] = [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")];

fn signed(lab: &Lab, daemon: &str, start: Start) {
    for (ours, theirs) in PATHS {
        start(lab, ours, theirs);
        let listen = std::net::SocketAddr::new(ours.parse().expect("an address"), 179);
        let run = |password: &str| {
            let settings = format!(
                "[[neighbor]]\naddress = \"{theirs}\"\nas = 64512\nconnect_retry = 1\n\
                 error_wait = [1, 1]\npassword = \"{password}\"\n"
            );
            lab.ours_at(&listen.to_string(), 64512, &settings);
        };
        run("word");
        wait("equal keys: up", 30, || bird::established(lab));
        lab.signal("ours", "TERM");
        run("another");
        wait("the state has a name", 20, || {
            lab.neighbors().contains("tcp-md5-unanswered")
        });
        stays("another key: no session", 3, || !bird::established(lab));
        lab.signal("ours", "TERM");
        lab.signal(daemon, "TERM");
    }
}

fn frr_start(lab: &Lab, ours: &str, theirs: &str) {
    let neighbor = format!(
        " neighbor {ours} remote-as 64512\n neighbor {ours} update-source {theirs}\n \
         neighbor {ours} timers connect 1\n neighbor {ours} password word\n"
    );
    // The fixture's own neighbor is 10.9.0.1; where that is not meant nobody is there.
    frr::start(lab, 2, 64512, 64512, &[], &neighbor);
}

fn gobgp_start(lab: &Lab, ours: &str, theirs: &str) {
    let text = format!(
        "[global.config]\n  as = 64512\n  router-id = \"10.9.0.2\"\n  local-address-list = [\"{theirs}\"]\n\
         [[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{ours}\"\n    peer-as = 64512\n    \
         auth-password = \"word\"\n  [neighbors.timers.config]\n    connect-retry = 1\n\
         [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"ipv4-unicast\"\n"
    );
    gobgp::start_with(lab, &text);
}

fn openbgpd_md5(lab: &Lab) {
    if crate::add_path::lacks_users() {
        println!("openbgpd_md5: skipped: OpenBGPD needs more than one user");
        return;
    }
    signed(lab, "openbgpd", |lab, ours, theirs| {
        // Where its parts lock themselves in; /run is the lab's own.
        std::fs::create_dir_all("/run/openbgpd").expect("a folder");
        let text = format!(
            "AS 64512\nrouter-id 10.9.0.2\nfib-update no\nlisten on {theirs}\nsocket \"{}\"\n\
             neighbor {ours} {{\n remote-as 64512\n local-address {theirs}\n announce IPv4 unicast\n \
             tcp md5sig password word\n}}\nallow from any\nallow to any\n",
            lab.path("openbgpd.sock").display()
        );
        let config = lab.write("openbgpd.conf", &text);
        lab.start("them", "openbgpd", &["bgpd", "-d", "-f", &config]);
    });
}

/// One side's configuration, in a file that SIGHUP reads again.
fn write(lab: &Lab, name: &str, own: &str, other: &str, password: &str) {
    let key = lab.write(&format!("{name}.key"), &format!("{password}\n"));
    let text = format!(
        "router_id = \"{own}\"\nlocal_as = 64512\nlisten = [\"{own}:179\"]\ncontrol = \"{}\"\n\
         [[neighbor]]\naddress = \"{other}\"\nas = 64512\nhold_time = 9\nconnect_retry = 1\n\
         error_wait = [1, 1]\npassword_file = \"{key}\"\n",
        lab.path(&format!("{name}.ctl")).display()
    );
    lab.write(&format!("{name}.toml"), &text);
}

fn key_change(lab: &Lab) {
    let change = |name: &str, password: &str| {
        let (own, other) = if name == "ours" {
            ("10.9.0.1", "10.9.0.2")
        } else {
            ("10.9.0.2", "10.9.0.1")
        };
        write(lab, name, own, other, password);
    };
    let run = |space: &str, name: &str| {
        let own = std::env::current_exe().expect("this program has a path");
        let config = lab.path(&format!("{name}.toml"));
        let config = config.to_str().expect("plain");
        let own = own.to_str().expect("plain");
        lab.start(space, name, &[own, "speaker", config]);
    };
    for (space, name) in [("us", "ours"), ("them", "other")] {
        change(name, "one");
        run(space, name);
    }
    wait("up", 20, || bird::established(lab));
    change("ours", "two");
    lab.signal("ours", "HUP");
    // Keepalives go every three seconds, so some are lost here.
    stays("with another key on one side", 5, || bird::established(lab));
    change("other", "two");
    lab.signal("other", "HUP");
    stays("with another key on both", 12, || bird::established(lab));
    // The control: a key that only one side has ends the session with the hold time.
    change("ours", "three");
    lab.signal("ours", "HUP");
    wait("it was no accident", 20, || !bird::established(lab));
    change("other", "three");
    lab.signal("other", "HUP");
    wait("up again, with new connections", 20, || {
        bird::established(lab)
    });
    // Nothing of it is shown.
    for name in ["ours.out", "other.out"] {
        let said = std::fs::read_to_string(lab.path(name)).unwrap_or_default();
        assert!(!said.contains("three"), "{said}");
    }
}
