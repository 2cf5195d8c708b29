//! Filters: conditions on what others announce, changes that others see, and filters that change
//! while the session stands.

use crate::Case;
use crate::bird;
use crate::frr;
use crate::lab::{Lab, stays, wait};

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_import_policy",
        shows: "BIRD's communities of three kinds and its AS path decide at our import; changes of attributes there (RFC 1997, 4360, 8092)",
        run: bird_import,
    },
    Case {
        peer: "bird",
        name: "bird_export_policy",
        shows: "BIRD sees communities, path, MED and next hop that our export sets; a changed filter sends the one route that differs, without a flap",
        run: bird_export,
    },
    Case {
        peer: "frr",
        name: "frr_policy",
        shows: "FRR's communities and path decide at our import, and FRR sees what our export sets",
        run: frr_both,
    },
];

const BIRD: &str = "neighbor 10.9.0.1 as 64512; hold time 90;";

fn neighbor(rest: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"10.9.0.2\"\nas = 65001\nown_next_hop = \"fd09::1\"\n{rest}\n"
    )
}

/// What `explain` says of a prefix, on one line.
fn explained(lab: &Lab, prefix: &str) -> String {
    lab.explain(prefix)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[track_caller]
fn is(lab: &Lab, prefix: &str, expected: &[&str]) {
    wait(&format!("{prefix}: {expected:?}"), 10, || {
        let text = explained(lab, prefix);
        expected.iter().all(|part| text.contains(part))
    });
}

fn reload(lab: &Lab, rest: &str) {
    bird::rewrite(lab, 64512, rest);
    lab.signal("ours", "HUP");
}

fn bird_import(lab: &Lab) {
    let statics = "protocol static s4 { ipv4;\n\
        route 10.201.0.0/26 blackhole { bgp_community.add((65001,1)); };\n\
        route 10.201.1.0/26 blackhole { bgp_large_community.add((65001,1,2)); };\n\
        route 10.201.2.0/26 blackhole { bgp_ext_community.add((rt,65001,7)); };\n\
        route 10.201.3.0/26 blackhole { bgp_path.prepend(65099); bgp_community.add((65001,9)); };\n\
        route 10.201.4.0/26 blackhole; }\n";
    bird::start(lab, 2, 65001, statics, BIRD);
    let rules = r#"import = [
        { action = "reject", communities = ["65001:1"] },
        { action = "reject", communities = ["65001:1:*"] },
        { action = "reject", communities = ["rt:65001:7"] },
        { action = "accept", as_path = { prefix = [65001, 65099] }, set = { local_pref = 200, med = 5,
          communities = ["64512:9"], add_communities = ["64512:9:9"], prepend = [65001] } },
        { action = "accept", peer_type = "external", as_path = { max_length = 1 } },
    ]"#;
    lab.ours(64512, &neighbor(rules));
    is(lab, "10.201.4.0/26", &["best", "local_pref 100"]);
    for (prefix, rule) in [
        ("10.201.0.0/26", 1),
        ("10.201.1.0/26", 2),
        ("10.201.2.0/26", 3),
    ] {
        let expected = format!("lost: import-filter (import rule {rule})");
        is(lab, prefix, &[&expected]);
    }
    is(
        lab,
        "10.201.3.0/26",
        &[
            "best",
            "local_pref 200",
            "med 5",
            "as_path [65001 65001 65099]",
            "communities [64512:9 64512:9:9]",
        ],
    );
    // Without rules everything is there as BIRD sent it, and BIRD was asked for nothing.
    reload(lab, &neighbor(""));
    is(lab, "10.201.0.0/26", &["best", "communities [65001:1]"]);
    is(lab, "10.201.1.0/26", &["best", "communities [65001:1:2]"]);
    is(lab, "10.201.2.0/26", &["best", "communities [rt:65001:7]"]);
    is(
        lab,
        "10.201.3.0/26",
        &[
            "best",
            "local_pref 100",
            "as_path [65001 65099]",
            "communities [65001:9]",
        ],
    );
    assert_eq!(flaps(lab), 0);
    assert_eq!(bird::log(lab, 2).matches("Got ROUTE-REFRESH").count(), 0);
}

fn flaps(lab: &Lab) -> usize {
    let log = bird::log(lab, 2);
    log.matches("BGP session established").count() - 1
}

/// Prefixes that BIRD was told of and that were withdrawn from it, as it counts them.
fn told(lab: &Lab) -> usize {
    let text = bird::birdc(lab, 2, "show protocols all ours");
    let count = |what: &str| -> usize {
        let counts = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(what));
        counts
            .filter_map(|rest| rest.split_whitespace().next()?.parse::<usize>().ok())
            .sum()
    };
    count("Import updates:") + count("Import withdraws:")
}

const COUNT: usize = 500;

fn originated() -> String {
    let one = |i: usize| {
        let (a, b) = (i / 250, i % 250);
        format!("[[originate]]\nprefix = \"10.20{a}.{b}.0/24\"\ncommunities = [\"64512:{i}\"]\n")
    };
    (0..COUNT).map(one).collect()
}

fn bird_export(lab: &Lab) {
    bird::start(lab, 2, 65001, "", BIRD);
    let set = |rest: &str| {
        let rules = format!(
            "export = [{{ action = \"accept\", communities = [\"64512:7\"]{rest} }}, {{ action = \"accept\" }}]"
        );
        neighbor(&rules) + &originated()
    };
    lab.ours(64512, &set(""));
    let count = || bird::birdc(lab, 2, "show route protocol ours count");
    let all = format!("\n{COUNT} of ");
    wait("BIRD has all", 20, || count().contains(&all));
    let before = told(lab);
    assert_eq!(before, COUNT, "the control: BIRD counts");
    let has = |expected: &[&str]| {
        let text = bird::birdc(lab, 2, "show route 10.200.7.0/24 all");
        expected.iter().all(|part| text.contains(part))
    };
    reload(
        lab,
        &set(
            ", set = { med = 77, prepend = [65010, 65010], next_hop = \"10.9.0.9\", communities = [\"64512:8\", \"1:2:3\", \"rt:64512:5\"] }",
        ),
    );
    wait("BIRD sees the changes", 5, || {
        has(&[
            "BGP.med: 77",
            "BGP.as_path: 64512 65010 65010",
            "BGP.next_hop: 10.9.0.9",
            "BGP.community: (64512,8)",
            "BGP.large_community: (1, 2, 3)",
            "BGP.ext_community: (rt, 64512, 5)",
        ])
    });
    assert_eq!(told(lab), before + 1, "one route");
    let reject = neighbor(
        "export = [{ action = \"reject\", communities = [\"64512:7\"] }, { action = \"accept\" }]",
    ) + &originated();
    reload(lab, &reject);
    let less = format!("\n{} of ", COUNT - 1);
    wait("BIRD lost the one", 5, || count().contains(&less));
    assert_eq!(told(lab), before + 2);
    reload(lab, &set(""));
    wait("as in the beginning", 5, || {
        count().contains(&all) && has(&["BGP.as_path: 64512\n", "BGP.community: (64512,7)"])
    });
    stays("nothing more is told", 1, || told(lab) == before + 3);
    assert_eq!(flaps(lab), 0);
}

fn frr_both(lab: &Lab) {
    let maps = "route-map tag permit 10\n set community 65001:1\n set large-community 65001:1:2\n \
        set extcommunity rt 65001:7\nexit\nroute-map longer permit 10\n set as-path prepend 65099\nexit\nrouter bgp 65001\n";
    let networks = [
        "10.201.0.0/26 route-map tag",
        "10.201.1.0/26 route-map longer",
        "10.201.2.0/26",
    ];
    frr::start(lab, 2, 65001, 64512, &networks, maps);
    let own = "[[originate]]\nprefix = \"10.200.0.0/26\"\ncommunities = [\"64512:7\"]\n";
    let config = |community: &str| {
        let rules = format!(
            r#"import = [
            {{ action = "reject", communities = ["{community}"] }},
            {{ action = "reject", as_path = {{ contains = 65099 }} }},
            {{ action = "accept", set = {{ local_pref = 150 }} }},
        ]
        export = [{{ action = "accept", set = {{ add_communities = ["64512:8", "1:2:3"], prepend = [65010], med = 9 }} }}]"#
        );
        neighbor(&rules) + own
    };
    lab.ours(64512, &config("65001:1"));
    is(lab, "10.201.2.0/26", &["best", "local_pref 150"]);
    is(
        lab,
        "10.201.1.0/26",
        &["lost: import-filter (import rule 2)"],
    );
    for community in ["65001:1", "65001:1:2", "rt:65001:7", "rt:65001:*"] {
        reload(lab, &config(community));
        is(
            lab,
            "10.201.0.0/26",
            &["lost: import-filter (import rule 1)"],
        );
        // The control: with another one it passes.
        reload(lab, &config("65001:3"));
        is(
            lab,
            "10.201.0.0/26",
            &["best", "communities [65001:1 rt:65001:7 65001:1:2]"],
        );
    }
    wait("FRR sees the changes", 10, || {
        let text = frr::detail(lab, 2, "10.200.0.0/26");
        ["64512 65010", "metric 9", "64512:7 64512:8", "1:2:3"]
            .iter()
            .all(|part| text.contains(part))
    });
}
