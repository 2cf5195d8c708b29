//! Measures a large cluster: building the table and the zone, changing one service, answering. `rebuild [SERVICES]`.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use dns::{Server, Transport, Zone, ZoneConfig};
use resource::Metadata;
use resource::kinds::{
    Endpoint, EndpointPort, EndpointSlice, EndpointSliceSpec, Service, ServicePort, ServiceSpec,
};
use service::Table;

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 10_000,
    };
    let config = ZoneConfig {
        domain: "cluster.local".into(),
        reverse: vec!["10.96.0.0/12".parse()?],
        ..ZoneConfig::default()
    };
    let mut services: Vec<Service> = (0..count).map(service).collect();
    let slices: Vec<EndpointSlice> = (0..count).map(slice).collect();
    let old = timed("Table::build, 3 endpoints a service", || {
        Table::build(&services, &slices)
    });
    let zone = timed("Zone::build", || Zone::build(&config, &old))?;
    services[count / 2].spec.cluster_ip = "10.111.255.254".into();
    let new = timed("Table::build again, one address changed", || {
        Table::build(&services, &slices)
    });
    let diff = timed("Table::diff", || old.diff(&new));
    let mut server = Server::new(zone);
    timed("Zone::update by the difference", || {
        server.zone_mut().update(&new, &diff, 2);
    });
    let query = question(&format!(
        "service-{}.ns-7.svc.cluster.local",
        count / 40 * 20 + 7
    ));
    let answers = 100_000;
    let begun = Instant::now();
    for _ in 0..answers {
        black_box(server.handle(black_box(&query), Transport::Udp));
    }
    let outcome = server.handle(&query, Transport::Udp).outcome.name();
    let each = begun.elapsed().as_nanos() / answers;
    println!("{each:>10} ns an answer ({outcome})");
    Ok(())
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    println!("{:>10.3} ms {what}", begun.elapsed().as_secs_f64() * 1e3);
    result
}

fn service(i: usize) -> Service {
    let spec = ServiceSpec {
        cluster_ip: format!("10.{}.{}.{}", 96 + i / 65_536, i / 256 % 256, i % 256),
        ports: vec![ServicePort {
            name: "http".into(),
            port: 80,
            ..ServicePort::default()
        }],
        ..ServiceSpec::default()
    };
    let namespace = format!("ns-{}", i % 20);
    Service::new(
        Metadata::namespaced(namespace, format!("service-{i}")),
        spec,
    )
}

fn slice(i: usize) -> EndpointSlice {
    let namespace = format!("ns-{}", i % 20);
    let mut metadata = Metadata::namespaced(namespace, format!("service-{i}-a"));
    let label = "kubernetes.io/service-name".to_owned();
    metadata.labels.insert(label, format!("service-{i}"));
    let spec = EndpointSliceSpec {
        address_type: "IPv4".into(),
        endpoints: (1..=3)
            .map(|e| Endpoint {
                addresses: vec![format!("10.{}.{}.{e}", i / 256, i % 256)],
                node_name: Some(format!("node-{e}")),
                ..Endpoint::default()
            })
            .collect(),
        ports: vec![EndpointPort {
            name: "http".into(),
            port: Some(8080),
            ..EndpointPort::default()
        }],
    };
    EndpointSlice::new(metadata, spec)
}

/// A query for an address, as RFC 1035 §4.1 has it.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("the labels here are short"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}
