//! The table through its one boundary: documents in, a text of the table out.

use resource::Metadata;
use resource::kinds::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, EndpointSliceSpec, Service,
    ServicePort, ServiceSpec,
};
use service::{Frontend, Names, Protocol, Table, Unserved};

fn service(name: &str, cluster_ips: &[&str], ports: &[(&str, &str, u16)]) -> Service {
    let spec = ServiceSpec {
        cluster_ip: cluster_ips.first().unwrap_or(&"").to_string(),
        cluster_ips: cluster_ips.iter().map(ToString::to_string).collect(),
        ports: (ports.iter())
            .map(|(name, protocol, port)| ServicePort {
                name: name.to_string(),
                protocol: protocol.to_string(),
                port: *port,
                target_port: None,
            })
            .collect(),
        ..ServiceSpec::default()
    };
    Service::new(Metadata::namespaced("default", name), spec)
}

fn slice(
    name: &str,
    of: &str,
    ports: &[(&str, &str, u16)],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let is_ipv6 = (endpoints.iter())
        .flat_map(|e| &e.addresses)
        .any(|a| a.contains(':'));
    let mut metadata = Metadata::namespaced("default", name);
    metadata
        .labels
        .insert("kubernetes.io/service-name".into(), of.into());
    let spec = EndpointSliceSpec {
        address_type: if is_ipv6 { "IPv6" } else { "IPv4" }.into(),
        endpoints,
        ports: (ports.iter())
            .map(|(name, protocol, port)| EndpointPort {
                name: name.to_string(),
                protocol: protocol.to_string(),
                port: (*port != 0).then_some(*port),
            })
            .collect(),
    };
    EndpointSlice::new(metadata, spec)
}

/// An endpoint; state is a word of `ready`, `unready`, `terminating` (serving), `gone` (terminating, not serving),
/// `unsaid` (no conditions at all).
fn endpoint(address: &str, state: &str) -> Endpoint {
    let (ready, serving, terminating) = match state {
        "ready" => (Some(true), Some(true), Some(false)),
        "unready" => (Some(false), Some(false), Some(false)),
        "terminating" => (Some(false), Some(true), Some(true)),
        "gone" => (Some(false), Some(false), Some(true)),
        "unsaid" => (None, None, None),
        other => panic!("no state {other}"),
    };
    Endpoint {
        addresses: vec![address.into()],
        conditions: EndpointConditions {
            ready,
            serving,
            terminating,
        },
        ..Endpoint::default()
    }
}

/// One line a frontend, a name and a refusal.
fn text(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    for (frontend, port) in table.frontends() {
        let backends: Vec<String> = (port.backends.iter())
            .map(|b| {
                let state = if b.ready { "" } else { " terminating" };
                format!("{}{state}", std::net::SocketAddr::new(b.address, b.port))
            })
            .collect();
        lines.push(format!(
            "{frontend} {} -> [{}]",
            port.service,
            backends.join(", ")
        ));
    }
    for (name, names) in table.names() {
        match names {
            Names::Cluster { addresses, .. } => lines.push(format!("{name} = {addresses:?}")),
            Names::External { name: target } => lines.push(format!("{name} = {target}")),
            Names::Headless { endpoints } => {
                let all: Vec<String> = (endpoints.iter())
                    .map(|e| {
                        let ports: Vec<u16> = e.ports.iter().map(|p| p.port).collect();
                        let host = e.hostname.as_deref().unwrap_or("-");
                        format!("{} {host} {ports:?}", e.address)
                    })
                    .collect();
                lines.push(format!("{name} = headless {}", all.join(", ")));
            }
        }
    }
    lines.extend(table.refusals().iter().map(ToString::to_string));
    lines
}

/// Builds the table in both orders of its inputs, which must agree, and compares its text.
fn check(services: &[Service], slices: &[EndpointSlice], expected: &[&str]) -> Table {
    let table = Table::build(services, slices);
    let (mut services, mut slices) = (services.to_vec(), slices.to_vec());
    services.reverse();
    slices.reverse();
    let reversed = Table::build(&services, &slices);
    assert_eq!(table, reversed, "the order of inputs must not matter");
    let lines = text(&table);
    assert_eq!(lines, expected, "table is:\n{}", lines.join("\n"));
    table
}

#[test]
fn one_service_with_two_families_and_several_slices() {
    check(
        &[service(
            "nginx",
            &["10.210.0.80", "fd00:210::50"],
            &[("http", "", 80), ("dns", "UDP", 53)],
        )],
        &[
            slice(
                "a",
                "nginx",
                &[("http", "TCP", 8080)],
                vec![
                    endpoint("10.200.1.193", "ready"),
                    endpoint("10.200.0.193", "unsaid"),
                ],
            ),
            slice(
                "b",
                "nginx",
                &[("http", "TCP", 8080), ("dns", "UDP", 5353)],
                vec![
                    endpoint("10.200.0.193", "ready"),
                    endpoint("10.200.0.7", "ready"),
                ],
            ),
            slice(
                "c",
                "nginx",
                &[("http", "TCP", 8080)],
                vec![endpoint("fd00:200::7", "ready")],
            ),
            slice(
                "other",
                "nginx",
                &[("metrics", "TCP", 9090)],
                vec![endpoint("10.200.0.9", "ready")],
            ),
        ],
        &[
            "tcp/10.210.0.80:80 default/nginx -> [10.200.0.7:8080, 10.200.0.193:8080, 10.200.1.193:8080]",
            "udp/10.210.0.80:53 default/nginx -> [10.200.0.7:5353, 10.200.0.193:5353]",
            "tcp/[fd00:210::50]:80 default/nginx -> [[fd00:200::7]:8080]",
            "udp/[fd00:210::50]:53 default/nginx -> []",
            "default/nginx = [10.210.0.80, fd00:210::50]",
        ],
    );
}

#[test]
fn conditions_decide_who_takes_traffic() {
    let with = |states: &[&str]| {
        let endpoints = (states.iter().enumerate())
            .map(|(i, state)| endpoint(&format!("10.200.0.{}", i + 1), state))
            .collect();
        slice("s", "web", &[("", "TCP", 8080)], endpoints)
    };
    for (states, backends) in [
        (
            &["ready", "unready", "terminating", "gone", "unsaid"][..],
            "10.200.0.1:8080, 10.200.0.5:8080",
        ),
        (
            &["unready", "terminating", "gone"][..],
            "10.200.0.2:8080 terminating",
        ),
        (&["unready", "gone"][..], ""),
    ] {
        let frontend = format!("tcp/10.210.0.1:80 default/web -> [{backends}]");
        check(
            &[service("web", &["10.210.0.1"], &[("", "TCP", 80)])],
            &[with(states)],
            &[&frontend, "default/web = [10.210.0.1]"],
        );
    }
    let mut published = service("web", &["10.210.0.1"], &[("", "TCP", 80)]);
    published.spec.publish_not_ready_addresses = true;
    check(
        &[published],
        &[with(&["unready", "gone"])],
        &[
            "tcp/10.210.0.1:80 default/web -> [10.200.0.1:8080, 10.200.0.2:8080]",
            "default/web = [10.210.0.1]",
        ],
    );
}

#[test]
fn headless_and_external_have_names_but_no_frontends() {
    let headless = service("db", &["None"], &[("sql", "TCP", 5432)]);
    let mut external = service("far", &[], &[]);
    external.spec.service_type = "ExternalName".into();
    external.spec.external_name = "www.example.com.".into();
    let mut named = endpoint("10.200.0.2", "ready");
    named.hostname = Some("db-0".into());
    let table = check(
        &[headless, external],
        &[
            slice(
                "db-a",
                "db",
                &[("sql", "TCP", 5432)],
                vec![named, endpoint("10.200.0.3", "unready")],
            ),
            slice("db-b", "db", &[], vec![endpoint("10.200.0.4", "ready")]),
        ],
        &[
            "default/db = headless 10.200.0.2 db-0 [5432], 10.200.0.4 - []",
            "default/far = www.example.com",
        ],
    );
    assert!(table.addresses().is_empty());
}

#[test]
fn an_address_that_two_services_claim_stays_with_the_older_one() {
    let mut older = service("zeta", &["10.210.0.1"], &[("", "TCP", 80)]);
    older.metadata.creation_timestamp = Some("2026-01-01T00:00:00Z".into());
    let mut newer = service("alpha", &["10.210.0.1"], &[("", "TCP", 81)]);
    newer.metadata.creation_timestamp = Some("2026-01-02T00:00:00Z".into());
    check(
        &[older.clone(), newer.clone()],
        &[],
        &[
            "tcp/10.210.0.1:80 default/zeta -> []",
            "default/alpha = []",
            "default/zeta = [10.210.0.1]",
            "Service default/alpha: duplicate-cluster-ip (10.210.0.1 belongs to Service default/zeta)",
        ],
    );
    newer.metadata.creation_timestamp = Some("2025-12-31T00:00:00Z".into());
    let table = Table::build(&[older, newer], &[]);
    assert_eq!(text(&table)[0], "tcp/10.210.0.1:81 default/alpha -> []");
}

#[test]
fn every_refusal_of_a_service_leaves_the_rest_standing() {
    let good = service("good", &["10.210.0.1"], &[("", "", 80)]);
    let kept = "tcp/10.210.0.1:80 default/good -> []";
    let http = &[("", "TCP", 80)][..];
    for (bad, reasons) in [
        (service("Bad", &["10.210.0.2"], http), vec!["bad-name"]),
        (
            service("x", &["10.210.0.300"], http),
            vec!["bad-cluster-ip"],
        ),
        (service("x", &["127.0.0.1"], http), vec!["bad-cluster-ip"]),
        (
            service("x", &["::ffff:10.210.0.2"], http),
            vec!["bad-cluster-ip"],
        ),
        (
            service("x", &["10.210.0.2", "10.210.0.3"], http),
            vec!["second-of-family"],
        ),
        (service("x", &[], http), vec!["cluster-ip-missing"]),
        (service("x", &["10.210.0.2"], &[]), vec!["port-missing"]),
        (
            service("x", &["10.210.0.2"], &[("", "TCP", 0)]),
            vec!["port-zero"],
        ),
        (
            service("x", &["10.210.0.2"], &[("a", "TCP", 1), ("", "TCP", 2)]),
            vec!["port-name-missing"],
        ),
        (
            service("x", &["10.210.0.2"], &[("a", "TCP", 1), ("a", "TCP", 2)]),
            vec!["duplicate-port-name"],
        ),
        (
            service("x", &["10.210.0.2"], &[("a", "TCP", 1), ("b", "TCP", 1)]),
            vec!["duplicate-port"],
        ),
        (
            service("x", &["10.210.0.2"], &[("A!", "TCP", 1)]),
            vec!["bad-port-name"],
        ),
        (
            service("x", &["10.210.0.2"], &[("", "ICMP", 1)]),
            vec!["bad-protocol"],
        ),
        (
            {
                let mut s = service("x", &["10.210.0.2"], http);
                s.spec.cluster_ip = "10.210.0.9".into();
                s
            },
            vec!["cluster-ips-disagree"],
        ),
        (
            {
                let mut s = service("x", &["10.210.0.2"], http);
                s.spec.service_type = "Odd".into();
                s
            },
            vec!["bad-type"],
        ),
        (
            {
                let mut s = service("x", &["10.210.0.2"], http);
                s.spec.session_affinity = "Odd".into();
                s
            },
            vec!["bad-affinity"],
        ),
        (
            {
                let mut s = service("x", &[], &[]);
                s.spec.service_type = "ExternalName".into();
                s.spec.external_name = "under_score.example".into();
                s
            },
            vec!["bad-external-name"],
        ),
    ] {
        let shown = bad.spec.clone();
        let table = Table::build(&[good.clone(), bad], &[]);
        let names: Vec<&str> = table.refusals().iter().map(|r| r.reason.name()).collect();
        assert_eq!(names, reasons, "{shown:?}");
        assert_eq!(text(&table)[0], kept);
    }
    let control = Table::build(&[good, service("x", &["10.210.0.2"], http)], &[]);
    assert_eq!(control.refusals(), &[]);
}

#[test]
fn every_refusal_of_a_slice_leaves_the_rest_standing() {
    let web = service("web", &["10.210.0.1"], &[("", "TCP", 80)]);
    let good = slice(
        "good",
        "web",
        &[("", "TCP", 8080)],
        vec![endpoint("10.200.0.1", "ready")],
    );
    let ports = &[("", "TCP", 8080)][..];
    let ready = |a: &str| vec![endpoint(a, "ready")];
    let mut no_label = slice("x", "web", ports, ready("10.200.0.2"));
    no_label.metadata.labels.clear();
    let mut fqdn = slice("x", "web", ports, ready("10.200.0.2"));
    fqdn.spec.address_type = "FQDN".into();
    let mut other_family = slice("x", "web", ports, ready("10.200.0.2"));
    other_family.spec.address_type = "IPv6".into();
    let mut nowhere = endpoint("10.200.0.2", "ready");
    nowhere.addresses.clear();
    for (bad, reason) in [
        (no_label, "service-label-missing"),
        (
            slice("x", "nobody", ports, ready("10.200.0.2")),
            "service-unknown",
        ),
        (fqdn, "bad-address-type"),
        (other_family, "bad-endpoint-address"),
        (
            slice("x", "web", ports, ready("10.200.0.2/32")),
            "bad-endpoint-address",
        ),
        (
            slice("x", "web", ports, ready("0.0.0.0")),
            "bad-endpoint-address",
        ),
        (
            slice("x", "web", ports, vec![nowhere]),
            "endpoint-address-missing",
        ),
        (
            slice("x", "web", &[("", "TCP", 0)], ready("10.200.0.2")),
            "endpoint-port-missing",
        ),
        (
            slice("x", "web", &[("", "ICMP", 1)], ready("10.200.0.2")),
            "bad-protocol",
        ),
    ] {
        let table = Table::build(std::slice::from_ref(&web), &[good.clone(), bad]);
        let names: Vec<&str> = table.refusals().iter().map(|r| r.reason.name()).collect();
        assert_eq!(names, [reason]);
        assert_eq!(
            text(&table)[0],
            "tcp/10.210.0.1:80 default/web -> [10.200.0.1:8080]"
        );
    }
}

#[test]
fn a_slice_of_an_external_name_and_a_bad_hostname_are_refused() {
    let mut external = service("far", &[], &[]);
    external.spec.service_type = "ExternalName".into();
    external.spec.external_name = "example.com".into();
    let mut shouting = endpoint("10.200.0.2", "ready");
    shouting.hostname = Some("Not A Label".into());
    check(
        &[external, service("db", &["None"], &[])],
        &[
            slice("a", "far", &[], vec![endpoint("10.200.0.1", "ready")]),
            slice("b", "db", &[], vec![shouting]),
        ],
        &[
            "default/db = headless 10.200.0.2 - []",
            "default/far = example.com",
            "EndpointSlice default/b: bad-hostname (hostname \"Not A Label\" must be a DNS label)",
            "EndpointSlice default/a: service-without-endpoints (an ExternalName service has no endpoints)",
        ],
    );
}

#[test]
fn two_pods_of_one_node_address_keep_their_own_state() {
    check(
        &[service("web", &["10.210.0.1"], &[("", "TCP", 80)])],
        &[
            slice(
                "a",
                "web",
                &[("", "TCP", 8080)],
                vec![endpoint("10.20.1.84", "ready")],
            ),
            slice(
                "b",
                "web",
                &[("", "TCP", 8081)],
                vec![endpoint("10.20.1.84", "unready")],
            ),
        ],
        &[
            "tcp/10.210.0.1:80 default/web -> [10.20.1.84:8080]",
            "default/web = [10.210.0.1]",
        ],
    );
}

#[test]
fn selection_covers_all_backends_and_says_why_not() {
    let table = Table::build(
        &[
            service("web", &["10.210.0.1"], &[("", "TCP", 80)]),
            service("empty", &["10.210.0.2"], &[("", "TCP", 80)]),
        ],
        &[slice(
            "a",
            "web",
            &[("", "TCP", 8080)],
            (1..=3)
                .map(|i| endpoint(&format!("10.200.0.{i}"), "ready"))
                .collect(),
        )],
    );
    let at = |address: &str, protocol, port| Frontend {
        address: address.parse().unwrap(),
        protocol,
        port,
    };
    let web = at("10.210.0.1", Protocol::Tcp, 80);
    let mut counts = std::collections::BTreeMap::new();
    for step in 0..3000u32 {
        let hash = step.wrapping_mul(2_654_435_761);
        *counts
            .entry(table.select(&web, hash).unwrap().address)
            .or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 3);
    assert!(
        counts.values().all(|n| (900..=1100).contains(n)),
        "{counts:?}"
    );
    assert_eq!(
        table.select(&web, 0).unwrap().address.to_string(),
        "10.200.0.1"
    );
    assert_eq!(
        table.select(&web, u32::MAX).unwrap().address.to_string(),
        "10.200.0.3"
    );
    for (frontend, why) in [
        (at("10.210.0.2", Protocol::Tcp, 80), Unserved::NoBackends),
        (at("10.210.0.1", Protocol::Tcp, 81), Unserved::NoPort),
        (at("10.210.0.1", Protocol::Udp, 80), Unserved::NoPort),
        (at("10.210.0.3", Protocol::Tcp, 80), Unserved::NoService),
        (at("10.210.0.0", Protocol::Tcp, 80), Unserved::NoService),
    ] {
        assert_eq!(table.select(&frontend, 7), Err(why), "{frontend}");
    }
}

#[test]
fn a_difference_names_what_changed_and_nothing_else() {
    let one = service("one", &["10.210.0.1"], &[("", "TCP", 80)]);
    let two = service("two", &["10.210.0.2"], &[("", "TCP", 80)]);
    let three = service("three", &["10.210.0.3"], &[("", "TCP", 80)]);
    let before = Table::build(&[one.clone(), two.clone()], &[]);
    let after = Table::build(
        &[one, three],
        &[slice(
            "a",
            "one",
            &[("", "TCP", 1)],
            vec![endpoint("10.200.0.1", "ready")],
        )],
    );
    let diff = before.diff(&after);
    let shown = |frontends: &[Frontend]| -> Vec<String> {
        frontends.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        shown(&diff.frontends_changed),
        ["tcp/10.210.0.1:80", "tcp/10.210.0.3:80"]
    );
    assert_eq!(shown(&diff.frontends_removed), ["tcp/10.210.0.2:80"]);
    assert_eq!(diff.names_changed.len(), 1);
    assert_eq!(diff.names_removed[0].to_string(), "default/two");
    assert!(after.diff(&after).is_empty());
}
