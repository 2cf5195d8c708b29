//! A small cluster to ask about.

use dns::{Zone, ZoneConfig};
use resource::Metadata;
use resource::kinds::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, EndpointSliceSpec, Service,
    ServicePort, ServiceSpec,
};
use service::Table;

pub fn service(name: &str, cluster_ips: &[&str], ports: &[(&str, &str, u16)]) -> Service {
    let spec = ServiceSpec {
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

pub fn external(name: &str, target: &str) -> Service {
    let mut service = service(name, &[], &[]);
    service.spec.service_type = "ExternalName".into();
    service.spec.external_name = target.into();
    service
}

/// Endpoints as `ADDRESS[=HOSTNAME][!]`, `!` for one that is not ready; all have port `sql` 5432/TCP.
pub fn slice(name: &str, of: &str, endpoints: &[&str]) -> EndpointSlice {
    let mut metadata = Metadata::namespaced("default", name);
    metadata
        .labels
        .insert("kubernetes.io/service-name".into(), of.into());
    let is_ipv6 = endpoints.iter().any(|e| e.contains(':'));
    let spec = EndpointSliceSpec {
        address_type: if is_ipv6 { "IPv6" } else { "IPv4" }.into(),
        endpoints: (endpoints.iter())
            .map(|text| {
                let ready = !text.ends_with('!');
                let mut parts = text.trim_end_matches('!').split('=');
                Endpoint {
                    addresses: vec![parts.next().unwrap().into()],
                    hostname: parts.next().map(Into::into),
                    conditions: EndpointConditions {
                        ready: Some(ready),
                        ..EndpointConditions::default()
                    },
                    ..Endpoint::default()
                }
            })
            .collect(),
        ports: vec![EndpointPort {
            name: "sql".into(),
            protocol: "TCP".into(),
            port: Some(5432),
        }],
    };
    EndpointSlice::new(metadata, spec)
}

pub fn config() -> ZoneConfig {
    ZoneConfig {
        domain: "datateam.local".into(),
        reverse: ["10.210.0.0/24", "10.200.0.0/16", "fd00:210::/112"]
            .map(|n| n.parse().unwrap())
            .into(),
        nameservers: vec!["10.210.0.10".parse().unwrap()],
        serial: 7,
    }
}

pub fn table() -> Table {
    let table = Table::build(
        &[
            service(
                "nginx",
                &["10.210.0.80", "fd00:210::50"],
                &[("http", "TCP", 80), ("quic", "UDP", 443)],
            ),
            service("plain", &["10.210.0.81"], &[("", "TCP", 80)]),
            service("db", &["None"], &[("sql", "TCP", 5432)]),
            service("down", &["None"], &[]),
            service("six", &["None"], &[]),
            external("far", "www.example.com"),
            external("near", "nginx.default.svc.datateam.local"),
            external("lost", "nobody.default.svc.datateam.local"),
            external("loop-a", "loop-b.default.svc.datateam.local"),
            external("loop-b", "loop-a.default.svc.datateam.local"),
        ],
        &[
            slice(
                "db-1",
                "db",
                &["10.200.0.7=db-0", "10.200.0.8", "10.200.0.9!"],
            ),
            slice("db-2", "db", &["fd00:200::7=db-0"]),
            slice("down-1", "down", &["10.200.0.9!"]),
            slice("six-1", "six", &["fd00:200::6"]),
        ],
    );
    assert_eq!(table.refusals(), &[]);
    table
}

pub fn zone() -> Zone {
    Zone::build(&config(), &table()).unwrap()
}
