//! What the zone answers, through one check: a query as text, an answer as lines.

use dns::{Outcome, Pods, Server, Transport, Zone, ZoneConfig, ZoneError};
use resource::Metadata;
use resource::kinds::{WorkloadEndpoint, WorkloadEndpointSpec};
use service::Table;

use crate::cluster::{config, service, slice, table, zone};
use crate::decode;

const SOA: &str = "authority datateam.local. SOA ns.dns.datateam.local. hostmaster.datateam.local. [7, 7200, 1800, 86400, 5]";

/// A query with id 0 and RD, without EDNS.
pub fn query(name: &str, qtype: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&decode::type_number(qtype).to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// Asks `NAME TYPE` over UDP and compares the response code and the records' lines.
fn check(zone: &Zone, asked: &str, expected: &[&str]) {
    let (name, qtype) = asked.split_once(' ').unwrap();
    let query = query(name, qtype);
    let server = Server::new(zone.clone());
    let reply = server.handle(&query, Transport::Udp);
    let bytes = reply.bytes.expect("a query is answered");
    let message = decode::message(&bytes).unwrap_or_else(|e| panic!("{asked}: {e}: {bytes:?}"));
    let (rcode, aa) = match reply.outcome {
        Outcome::Answered | Outcome::NoData => (0, 0x0400),
        Outcome::NxDomain => (3, 0x0400),
        Outcome::Refused(_) => (5, 0),
        other => panic!("{asked}: {other:?}"),
    };
    assert_eq!(message.flags, 0x8100 | aa | rcode, "{asked}: QR, RD and AA");
    assert_eq!(
        message.question.as_deref(),
        Some(&*format!("{name}. {qtype}"))
    );
    let mut lines = vec![reply.outcome.name().to_owned()];
    lines.extend(message.records);
    assert_eq!(lines, expected, "{asked}:\n{}", lines.join("\n"));
}

#[test]
fn a_cluster_service_has_addresses_ports_and_a_pointer() {
    let zone = zone();
    let nginx = "nginx.default.svc.datateam.local";
    check(
        &zone,
        &format!("{nginx} A"),
        &["answered", &format!("answer {nginx}. A 10.210.0.80")],
    );
    check(
        &zone,
        &format!("{nginx} AAAA"),
        &["answered", &format!("answer {nginx}. AAAA fd00:210::50")],
    );
    check(
        &zone,
        &format!("_http._tcp.{nginx} SRV"),
        &[
            "answered",
            &format!("answer _http._tcp.{nginx}. SRV [0, 100, 80] {nginx}."),
            &format!("additional {nginx}. A 10.210.0.80"),
            &format!("additional {nginx}. AAAA fd00:210::50"),
        ],
    );
    check(
        &zone,
        "80.0.210.10.in-addr.arpa PTR",
        &[
            "answered",
            &format!("answer 80.0.210.10.in-addr.arpa. PTR {nginx}."),
        ],
    );
    let six = "0.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.2.0.0.0.d.f.ip6.arpa";
    check(
        &zone,
        &format!("{six} PTR"),
        &["answered", &format!("answer {six}. PTR {nginx}.")],
    );
}

#[test]
fn letters_keep_the_case_they_were_asked_in() {
    check(
        &zone(),
        "_HTTP._tCp.NginX.Default.SVC.dataTEAM.Local SRV",
        &[
            "answered",
            "answer _HTTP._tCp.NginX.Default.SVC.dataTEAM.Local. SRV [0, 100, 80] nginx.default.svc.datateam.local.",
            "additional NginX.Default.SVC.dataTEAM.Local. A 10.210.0.80",
            "additional NginX.Default.SVC.dataTEAM.Local. AAAA fd00:210::50",
        ],
    );
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    let zone = zone();
    let db = "db.default.svc.datateam.local";
    check(
        &zone,
        &format!("{db} A"),
        &[
            "answered",
            &format!("answer {db}. A 10.200.0.7"),
            &format!("answer {db}. A 10.200.0.8"),
        ],
    );
    check(
        &zone,
        &format!("db-0.{db} A"),
        &["answered", &format!("answer db-0.{db}. A 10.200.0.7")],
    );
    check(
        &zone,
        &format!("db-0.{db} AAAA"),
        &["answered", &format!("answer db-0.{db}. AAAA fd00:200::7")],
    );
    check(
        &zone,
        &format!("10-200-0-8.{db} A"),
        &["answered", &format!("answer 10-200-0-8.{db}. A 10.200.0.8")],
    );
    for absent in ["10-200-0-7", "10-200-0-9", "db-1"] {
        check(&zone, &format!("{absent}.{db} A"), &["nxdomain", SOA]);
    }
    check(
        &zone,
        &format!("_sql._tcp.{db} SRV"),
        &[
            "answered",
            &format!("answer _sql._tcp.{db}. SRV [0, 100, 5432] db-0.{db}."),
            &format!("answer _sql._tcp.{db}. SRV [0, 100, 5432] 10-200-0-8.{db}."),
            &format!("additional db-0.{db}. A 10.200.0.7"),
            &format!("additional 10-200-0-8.{db}. A 10.200.0.8"),
            &format!("additional db-0.{db}. AAAA fd00:200::7"),
        ],
    );
    check(
        &zone,
        "7.0.200.10.in-addr.arpa PTR",
        &[
            "answered",
            &format!("answer 7.0.200.10.in-addr.arpa. PTR db-0.{db}."),
        ],
    );
    check(
        &zone,
        "8.0.200.10.in-addr.arpa PTR",
        &[
            "answered",
            &format!("answer 8.0.200.10.in-addr.arpa. PTR 10-200-0-8.{db}."),
        ],
    );
    check(&zone, "six.default.svc.datateam.local A", &["no-data", SOA]);
    check(
        &zone,
        "down.default.svc.datateam.local A",
        &["nxdomain", SOA],
    );
    check(
        &zone,
        "_sql._tcp.down.default.svc.datateam.local SRV",
        &["nxdomain", SOA],
    );
}

#[test]
fn an_external_name_is_an_alias_followed_while_it_stays_in_the_zone() {
    let zone = zone();
    check(
        &zone,
        "far.default.svc.datateam.local A",
        &[
            "answered",
            "answer far.default.svc.datateam.local. CNAME www.example.com.",
        ],
    );
    let near = "answer near.default.svc.datateam.local. CNAME nginx.default.svc.datateam.local.";
    check(
        &zone,
        "near.default.svc.datateam.local A",
        &[
            "answered",
            near,
            "answer nginx.default.svc.datateam.local. A 10.210.0.80",
        ],
    );
    check(
        &zone,
        "near.default.svc.datateam.local CNAME",
        &["answered", near],
    );
    check(
        &zone,
        "near.default.svc.datateam.local ANY",
        &["answered", near],
    );
    check(
        &zone,
        "near.default.svc.datateam.local MX",
        &["no-data", near, SOA],
    );
    let lost = "answer lost.default.svc.datateam.local. CNAME nobody.default.svc.datateam.local.";
    check(
        &zone,
        "lost.default.svc.datateam.local A",
        &["nxdomain", lost, SOA],
    );
    let a = "answer loop-a.default.svc.datateam.local. CNAME loop-b.default.svc.datateam.local.";
    let b = "answer loop-b.default.svc.datateam.local. CNAME loop-a.default.svc.datateam.local.";
    check(
        &zone,
        "loop-a.default.svc.datateam.local A",
        &["answered", a, b],
    );
}

#[test]
fn the_top_of_the_zone_and_the_schema_version() {
    let zone = zone();
    check(
        &zone,
        "datateam.local SOA",
        &["answered", &SOA.replace("authority", "answer")],
    );
    check(
        &zone,
        "datateam.local NS",
        &[
            "answered",
            "answer datateam.local. NS ns.dns.datateam.local.",
            "additional ns.dns.datateam.local. A 10.210.0.10",
        ],
    );
    check(
        &zone,
        "ns.dns.datateam.local A",
        &["answered", "answer ns.dns.datateam.local. A 10.210.0.10"],
    );
    check(
        &zone,
        "dns-version.datateam.local TXT",
        &[
            "answered",
            "answer dns-version.datateam.local. TXT [\"1.1.0\"]",
        ],
    );
    let soa = SOA.replace("authority datateam.local.", "answer 0.210.10.in-addr.arpa.");
    check(&zone, "0.210.10.in-addr.arpa SOA", &["answered", &soa]);
}

#[test]
fn a_name_that_exists_is_not_a_name_that_does_not() {
    let zone = zone();
    for empty in [
        "datateam.local A",
        "svc.datateam.local A",
        "default.svc.datateam.local A",
        "dns.datateam.local A",
        "pod.datateam.local A",
        "_tcp.nginx.default.svc.datateam.local A",
        "_udp.nginx.default.svc.datateam.local SRV",
        "_http._tcp.nginx.default.svc.datateam.local A",
        "nginx.default.svc.datateam.local MX",
        "nginx.default.svc.datateam.local HTTPS",
        "nginx.default.svc.datateam.local TYPE65280",
        "svc.datateam.local ANY",
        "dns-version.datateam.local A",
        "plain.default.svc.datateam.local AAAA",
    ] {
        check(&zone, empty, &["no-data", SOA]);
    }
    for absent in [
        "x.datateam.local A",
        "other.svc.datateam.local A",
        "nobody.default.svc.datateam.local A",
        "*.default.svc.datateam.local A",
        "any.any.svc.datateam.local A",
        "_sctp.nginx.default.svc.datateam.local A",
        "_tcp.plain.default.svc.datateam.local A",
        "_http._udp.nginx.default.svc.datateam.local SRV",
        "_none._tcp.nginx.default.svc.datateam.local SRV",
        "http._tcp.nginx.default.svc.datateam.local SRV",
        "x._http._tcp.nginx.default.svc.datateam.local SRV",
        "x.nginx.default.svc.datateam.local A",
        "x.dns-version.datateam.local TXT",
        "x.default.svc.datateam.local ANY",
    ] {
        check(&zone, absent, &["nxdomain", SOA]);
    }
    let soa = |apex: &str| SOA.replace("authority datateam.local.", &format!("authority {apex}."));
    check(
        &zone,
        "81.0.210.10.in-addr.arpa A",
        &["no-data", &soa("0.210.10.in-addr.arpa")],
    );
    check(
        &zone,
        "82.0.210.10.in-addr.arpa PTR",
        &["nxdomain", &soa("0.210.10.in-addr.arpa")],
    );
    check(
        &zone,
        "0.200.10.in-addr.arpa PTR",
        &["no-data", &soa("200.10.in-addr.arpa")],
    );
    check(
        &zone,
        "1.200.10.in-addr.arpa PTR",
        &["nxdomain", &soa("200.10.in-addr.arpa")],
    );
    check(
        &zone,
        "x.0.210.10.in-addr.arpa PTR",
        &["nxdomain", &soa("0.210.10.in-addr.arpa")],
    );
}

#[test]
fn any_is_answered_with_one_record() {
    let zone = zone();
    for name in [
        "nginx.default.svc.datateam.local",
        "datateam.local",
        "80.0.210.10.in-addr.arpa",
    ] {
        let line = format!("answer {name}. HINFO [\"RFC8482\", \"\"]");
        check(&zone, &format!("{name} ANY"), &["answered", &line]);
    }
}

#[test]
fn names_outside_the_zones_are_refused() {
    let zone = zone();
    for outside in [
        "example.com A",
        "local SOA",
        "xdatateam.local A",
        "1.1.210.10.in-addr.arpa PTR",
        "210.10.in-addr.arpa SOA",
        "84.1.20.10.in-addr.arpa PTR",
    ] {
        check(&zone, outside, &["not-our-zone"]);
    }
    check(&zone, "datateam.local AXFR", &["transfer-refused"]);
    check(&zone, "datateam.local IXFR", &["transfer-refused"]);
}

#[test]
fn pods_have_names_insecure_or_verified() {
    let mut zone = zone();
    let pod = |address: &str| format!("{address}.default.pod.datateam.local");
    let a = |address: &str, dotted: &str| format!("answer {}. A {dotted}", pod(address));
    check(
        &zone,
        &format!("{} A", pod("10-200-0-9")),
        &["answered", &a("10-200-0-9", "10.200.0.9")],
    );
    check(
        &zone,
        &format!("{} AAAA", pod("10-200-0-9")),
        &["no-data", SOA],
    );
    check(&zone, &format!("{} A", pod("10-200-0")), &["nxdomain", SOA]);
    check(&zone, "default.pod.datateam.local A", &["no-data", SOA]);
    check(
        &zone,
        &format!("{} AAAA", pod("fd00-200--7")),
        &[
            "answered",
            &format!("answer {}. AAAA fd00:200::7", pod("fd00-200--7")),
        ],
    );

    let spec = WorkloadEndpointSpec {
        ip_networks: vec!["10.200.0.7/32".into(), "fd00:200::7/128".into()],
        ..WorkloadEndpointSpec::default()
    };
    let workload = WorkloadEndpoint::new(Metadata::namespaced("default", "w"), spec);
    zone.set_pods(Pods::verified([&workload]));
    check(
        &zone,
        &format!("{} A", pod("10-200-0-7")),
        &["answered", &a("10-200-0-7", "10.200.0.7")],
    );
    check(
        &zone,
        &format!("{} A", pod("10-200-0-9")),
        &["nxdomain", SOA],
    );
    check(
        &zone,
        "10-200-0-7.other.pod.datateam.local A",
        &["nxdomain", SOA],
    );
    check(&zone, "other.pod.datateam.local A", &["nxdomain", SOA]);
}

#[test]
fn a_reverse_zone_of_one_address_has_its_pointer_at_the_top() {
    let mut config = config();
    config.reverse = vec!["10.210.0.80/32".parse().unwrap()];
    let zone = Zone::build(&config, &table()).unwrap();
    let name = "80.0.210.10.in-addr.arpa";
    check(
        &zone,
        &format!("{name} PTR"),
        &[
            "answered",
            &format!("answer {name}. PTR nginx.default.svc.datateam.local."),
        ],
    );
    check(&zone, "81.0.210.10.in-addr.arpa PTR", &["not-our-zone"]);
}

#[test]
fn a_domain_that_cannot_be_one_is_an_error() {
    for (domain, text) in [
        ("", "cluster domain \"\": empty label"),
        ("a..b", "cluster domain \"a..b\": empty label"),
        ("a b", "cluster domain \"a b\": ' ' is not a letter"),
        (
            "0.210.10.in-addr.arpa",
            "cluster domain \"0.210.10.in-addr.arpa\": arpa is for",
        ),
    ] {
        let config = ZoneConfig {
            domain: domain.into(),
            ..config()
        };
        let error: ZoneError = Zone::build(&config, &table()).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
    let long = ZoneConfig {
        domain: vec!["a".repeat(63); 4].join("."),
        ..config()
    };
    assert!(Zone::build(&long, &table()).is_err());
    let dotted = ZoneConfig {
        domain: "DataTeam.Local.".into(),
        ..config()
    };
    assert_eq!(Zone::build(&dotted, &table()).unwrap(), zone());
}

/// States of the world, walked in order, in reverse, and each from nothing: a zone brought along is the zone built anew.
#[test]
fn a_zone_brought_along_is_a_zone_built_anew() {
    let db = service("db", &["None"], &[]);
    let states = [
        Table::default(),
        table(),
        Table::build(
            &[
                service("nginx", &["10.210.0.81"], &[("http", "TCP", 80)]),
                db.clone(),
            ],
            &[],
        ),
        Table::build(
            std::slice::from_ref(&db),
            &[slice("a", "db", &["10.200.0.7=one", "10.200.0.7=two"])],
        ),
        Table::build(
            std::slice::from_ref(&db),
            &[slice("a", "db", &["10.200.0.7=two", "10.200.0.8"])],
        ),
        Table::build(
            &[db, service("other", &["None"], &[])],
            &[slice("a", "other", &["10.200.0.7=two"])],
        ),
        table(),
        Table::default(),
    ];
    let walk = |states: &[&Table]| {
        let mut zone = Zone::build(&config(), states[0]).unwrap();
        for pair in states.windows(2) {
            zone.update(pair[1], &pair[0].diff(pair[1]), 7);
            assert_eq!(zone, Zone::build(&config(), pair[1]).unwrap());
        }
    };
    let forward: Vec<&Table> = states.iter().collect();
    let backward: Vec<&Table> = states.iter().rev().collect();
    let squashed: Vec<&Table> = states.iter().step_by(2).collect();
    let empty = Table::default();
    let split: Vec<&Table> = states.iter().flat_map(|s| [s, &empty]).collect();
    for states in [forward, backward, squashed, split] {
        walk(&states);
    }
    let control = Zone::build(&config(), &states[1]).unwrap();
    assert_ne!(control, Zone::build(&config(), &states[2]).unwrap());
}
