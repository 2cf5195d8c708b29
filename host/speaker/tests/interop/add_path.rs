//! Several paths of a prefix (RFC 7911): two BIRDs at 10.9.0.3 and .4 announce one prefix, a
//! daemon at 10.9.0.2 and we reflect it to each other.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, wait};
use std::process::Command;

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_add_path",
        shows: "add-path: both paths sent and received, one withdrawn (RFC 7911)",
        run: |lab| both_ways(lab, &BIRD),
    },
    Case {
        peer: "frr",
        name: "frr_add_path",
        shows: "add-path: both paths sent and received, one withdrawn (RFC 7911)",
        run: |lab| both_ways(lab, &FRR),
    },
    Case {
        peer: "gobgp",
        name: "gobgp_add_path",
        shows: "add-path: both paths sent and received, one withdrawn (RFC 7911)",
        run: |lab| both_ways(lab, &GOBGP),
    },
    Case {
        peer: "openbgpd",
        name: "openbgpd_add_path",
        shows: "add-path: both paths sent and received, one withdrawn (RFC 7911)",
        run: openbgpd_add_path,
    },
];

const PREFIX: &str = "10.203.0.0/26";

/// A daemon that reflects between 10.9.0.1 (with add-path), .3 and .4.
struct Daemon {
    start: fn(&Lab),
    /// What it says of the prefix.
    show: fn(&Lab) -> String,
}

fn hops(text: &str) -> (bool, bool) {
    (text.contains("10.9.0.3"), text.contains("10.9.0.4"))
}

fn sources(lab: &Lab, reflector: &str) {
    for n in [3, 4] {
        let session = format!("neighbor {reflector} as 64512; hold time 90; graceful restart off;");
        let route = format!("protocol static s4 {{ ipv4; route {PREFIX} blackhole; }}");
        bird::start(lab, n, 64512, &route, &session);
    }
}

fn both_ways(lab: &Lab, daemon: &Daemon) {
    let neighbor = |n: u8, settings: &str| {
        format!("[[neighbor]]\naddress = \"10.9.0.{n}\"\nas = 64512\nrr_client = true\n{settings}")
    };
    // We send both.
    (daemon.start)(lab);
    sources(lab, "10.9.0.1");
    let with = neighbor(2, "add_path = \"both\"\n");
    let clients = format!("{}{}", neighbor(3, ""), neighbor(4, ""));
    lab.ours(64512, &format!("{with}{clients}"));
    wait("it has both paths", 30, || {
        hops(&(daemon.show)(lab)) == (true, true)
    });
    bird::birdc(lab, 4, "disable s4");
    wait("one is withdrawn", 10, || {
        hops(&(daemon.show)(lab)) == (true, false)
    });
    bird::birdc(lab, 4, "enable s4");
    wait("and is back", 10, || {
        hops(&(daemon.show)(lab)) == (true, true)
    });
    lab.clean(false);
    // The control: without add-path it gets the best one only.
    (daemon.start)(lab);
    sources(lab, "10.9.0.1");
    lab.ours(64512, &format!("{}{clients}", neighbor(2, "")));
    wait("we have both", 30, || {
        hops(&lab.explain(PREFIX)) == (true, true)
    });
    wait("it has the best", 20, || {
        hops(&(daemon.show)(lab)) == (true, false)
    });
    lab.clean(false);
    // It sends both.
    (daemon.start)(lab);
    sources(lab, "10.9.0.2");
    lab.ours(64512, &neighbor(2, "add_path = \"receive\"\n"));
    wait("we have both paths", 30, || {
        let text = lab.explain(PREFIX);
        hops(&text) == (true, true) && text.matches("path id").count() >= 1
    });
    bird::birdc(lab, 4, "disable s4");
    wait("one is withdrawn", 10, || {
        hops(&lab.explain(PREFIX)) == (true, false)
    });
    lab.clean(false);
}

const BIRD: Daemon = Daemon {
    start: |lab| {
        let dir = lab.dir.path().display();
        let client = |n: u8| {
            format!(
                "protocol bgp c{n} {{ local 10.9.0.2 as 64512; strict bind; neighbor 10.9.0.{n} as 64512; rr client;\n\
                 connect delay time 1; error wait time 1, 2; ipv4 {{ import all; export all; {}}}; }}\n",
                if n == 1 { "add paths on; " } else { "" }
            )
        };
        let text = format!(
            "log \"{dir}/bird2.log\" all;\nrouter id 10.9.0.2;\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n{}{}{}",
            client(1),
            client(3),
            client(4)
        );
        let config = lab.write("bird2.conf", &text);
        let (socket, pid) = (format!("{dir}/bird2.ctl"), format!("{dir}/bird2.pid"));
        let argv = ["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid];
        lab.start("them", "bird2", &argv);
    },
    show: |lab| bird::birdc(lab, 2, &format!("show route {PREFIX} protocol c1 all")),
};

const FRR: Daemon = Daemon {
    start: |lab| {
        let client = |n: u8| {
            format!(
                "neighbor 10.9.0.{n} remote-as 64512\n neighbor 10.9.0.{n} update-source 10.9.0.2\n \
                 neighbor 10.9.0.{n} timers connect 1\n "
            )
        };
        let reflect = |n: u8| {
            format!(
                "address-family ipv4 unicast\n neighbor 10.9.0.{n} route-reflector-client\n exit-address-family\n "
            )
        };
        let extra = format!(
            " neighbor 10.9.0.1 remote-as 64512\n {}{}{}{}address-family ipv4 unicast\n neighbor 10.9.0.1 addpath-tx-all-paths\n exit-address-family\n",
            client(3),
            client(4),
            reflect(3),
            reflect(4)
        );
        crate::frr::start(lab, 2, 64512, 64512, &[], &extra);
    },
    show: |lab| crate::frr::vtysh(lab, 2, &format!("show bgp ipv4 unicast {PREFIX}")),
};

const GOBGP: Daemon = Daemon {
    start: |lab| {
        let neighbor = |n: u8, settings: &str| {
            format!(
                "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.9.0.{n}\"\npeer-as = 64512\n\
                 [neighbors.transport.config]\nlocal-address = \"10.9.0.2\"\n\
                 [neighbors.timers.config]\nconnect-retry = 1\n\
                 [neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"244.0.0.2\"\n\
                 [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n{settings}"
            )
        };
        let add_paths = "[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n";
        let text = format!(
            "[global.config]\nas = 64512\nrouter-id = \"10.9.0.2\"\nlocal-address-list = [\"10.9.0.2\"]\n{}{}{}",
            neighbor(1, add_paths),
            neighbor(3, ""),
            neighbor(4, "")
        );
        crate::gobgp::start_with(lab, &text);
    },
    show: |_| crate::gobgp::gobgp(&format!("global rib -a ipv4 {PREFIX}")),
};

const OPENBGPD: Daemon = Daemon {
    start: |lab| {
        let neighbor = |n: u8, settings: &str| {
            format!(
                "neighbor 10.9.0.{n} {{\n remote-as 64512\n local-address 10.9.0.2\n route-reflector\n{settings}}}\n"
            )
        };
        let socket = lab.path("openbgpd.sock");
        // Where its parts lock themselves in; /run is the lab's own.
        std::fs::create_dir_all("/run/openbgpd").expect("a folder");
        let text = format!(
            "AS 64512\nrouter-id 10.9.0.2\nfib-update no\nlisten on 10.9.0.2\nsocket \"{}\"\n{}{}{}\
             allow from any\nallow to any\n",
            socket.display(),
            neighbor(
                1,
                " announce add-path recv yes\n announce add-path send all\n"
            ),
            neighbor(3, ""),
            neighbor(4, "")
        );
        let config = lab.write("openbgpd.conf", &text);
        lab.start("them", "openbgpd", &["bgpd", "-d", "-f", &config]);
    },
    show: |lab| {
        let output = Command::new("bgpctl")
            .arg("-s")
            .arg(lab.path("openbgpd.sock"))
            .args(["show", "rib", "detail", PREFIX])
            .output();
        String::from_utf8_lossy(&output.expect("bgpctl is installed").stdout).into_owned()
    },
};

/// It gives its rights up to a user of its own, which an ordinary user's namespace does not have.
pub fn lacks_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("1")
}

fn openbgpd_add_path(lab: &Lab) {
    if lacks_users() {
        println!("openbgpd_add_path: skipped: OpenBGPD needs more than one user");
        return;
    }
    both_ways(lab, &OPENBGPD);
}
