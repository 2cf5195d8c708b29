//! Many routes of ours with each daemon, and then none; with BIRD also the other way.

use crate::Case;
use crate::lab::{Lab, wait};
use crate::{bird, exabgp, frr, gobgp, openbgpd};

const SHOWS: &str = "100,000 routes of ours, then all withdrawn";
const SHOWS_LESS: &str = "20,000 routes of ours, then all withdrawn";

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_large_table",
        shows: "100,000 routes both ways, then all withdrawn",
        run: with_bird,
    },
    Case {
        peer: "frr",
        name: "frr_large_table",
        shows: SHOWS,
        run: |lab| {
            frr::start(lab, 2, 64512, 64512, &[], "");
            told(lab, COUNT, || {
                number_after(&frr::vtysh(lab, 2, "show bgp summary json"), "\"pfxRcd\":")
            });
        },
    },
    Case {
        peer: "gobgp",
        name: "gobgp_large_table",
        shows: SHOWS_LESS,
        run: |lab| {
            gobgp::start_with(lab, &gobgp::config(64512, 64512, ""));
            told(lab, LESS, || {
                number_after(&gobgp::gobgp("global rib summary -a ipv4"), "Path: ")
            });
        },
    },
    Case {
        peer: "openbgpd",
        name: "openbgpd_large_table",
        shows: SHOWS,
        run: |lab| {
            openbgpd::start_with(lab, 64512, 64512, &[], "");
            told(lab, COUNT, || {
                let text = openbgpd::ctl("show neighbor 10.9.0.1");
                let line = text.lines().find(|line| line.contains("Prefixes"));
                let numbers = line.unwrap_or_default().split_whitespace();
                let numbers = numbers.filter_map(|word| word.parse().ok());
                numbers.max().unwrap_or(0)
            });
        },
    },
    Case {
        peer: "exabgp",
        name: "exabgp_large_table",
        shows: SHOWS_LESS,
        run: |lab| {
            exabgp::start_with(lab, 64512, 64512, "", "");
            // It keeps no table: what was announced less what was withdrawn.
            told(lab, LESS, || {
                let heard = std::fs::read_to_string(lab.path("exabgp.heard"));
                let count = |line: &str| line.matches("\"nlri\"").count();
                let heard = heard.unwrap_or_default();
                let (gone, here) = heard
                    .lines()
                    .partition::<Vec<_>, _>(|line| line.contains("\"withdraw\""));
                let sum = |lines: Vec<&str>| lines.into_iter().map(count).sum::<usize>();
                sum(here) - sum(gone)
            });
        },
    },
];

const COUNT: usize = 100_000;
/// For those that take some ten seconds for as many.
const LESS: usize = 20_000;
const NEIGHBOR: &str = "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\nconnect_retry = 1\n";

fn prefix(i: usize) -> String {
    format!("{}.{}.{}.0/24", 20 + (i >> 16), i >> 8 & 255, i & 255)
}

/// The number that follows the first `what`, or 0.
fn number_after(text: &str, what: &str) -> usize {
    let Some((_, rest)) = text.split_once(what) else {
        return 0;
    };
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Our routes come, and go without a flap; `held` is how many the daemon has.
fn told(lab: &Lab, count: usize, held: impl Fn() -> usize) {
    let mut own = String::new();
    for i in 0..count {
        own += &format!(
            "[[originate]]\nprefix = \"{}\"\nmed = {}\n",
            prefix(i),
            i % 1000
        );
    }
    lab.ours(64512, &format!("{NEIGHBOR}{own}"));
    wait("it has all", 60, || held() == count);
    let text = std::fs::read_to_string(lab.path("ours.toml")).expect("ours");
    let head = text.split("[[originate]]").next().expect("a head");
    lab.write("ours.toml", head);
    lab.signal("ours", "HUP");
    wait("all are withdrawn", 60, || held() == 0);
    assert!(lab.neighbors().contains("Established"), "without a flap");
}

fn with_bird(lab: &Lab) {
    let mut statics = "protocol static s4 { ipv4;".to_owned();
    for i in 0..COUNT {
        statics += &format!(" route 1{} blackhole;", prefix(i));
    }
    let session = "neighbor 10.9.0.1 as 64512; hold time 90;";
    bird::start(lab, 2, 64512, &(statics + " }"), session);
    // `100000 of 200000 routes`, for each table.
    told(lab, COUNT, || {
        let text = bird::birdc(lab, 2, "show route protocol ours count");
        let before = |line: &str| line.split(" of ").next()?.trim().parse::<usize>().ok();
        text.lines().filter_map(before).sum()
    });
    let has_all = || lab.neighbors().contains(" 100000 ");
    wait("we have BIRD's", 30, has_all);
    let last = format!("1{}", prefix(COUNT - 1));
    assert!(lab.explain(&last).contains("best"));
    bird::birdc(lab, 2, "disable s4");
    wait("and they are withdrawn", 30, || {
        !has_all() && lab.explain(&last).contains("no path")
    });
    assert!(bird::established(lab), "without a flap");
}
