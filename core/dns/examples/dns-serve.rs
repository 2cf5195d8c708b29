//! Serves a small zone over UDP and TCP, to try it with dig, getent or a forwarder: `dns-serve 127.0.0.1:5300`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use dns::{Server, Transport, Zone, ZoneConfig};
use resource::Metadata;
use resource::kinds::{
    Endpoint, EndpointPort, EndpointSlice, EndpointSliceSpec, Service, ServicePort, ServiceSpec,
};
use service::Table;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: dns-serve ADDRESS:PORT")?;
    let config = ZoneConfig {
        domain: "datateam.local".into(),
        reverse: vec!["10.210.0.0/24".parse()?, "10.200.0.0/23".parse()?],
        nameservers: vec!["10.210.0.10".parse()?],
        serial: 1,
    };
    let server = Arc::new(Server::new(Zone::build(&config, &table())?));
    let tcp = TcpListener::bind(&address)?;
    let for_tcp = Arc::clone(&server);
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            if let Err(e) = stream.and_then(|s| serve_stream(&for_tcp, s)) {
                eprintln!("tcp: {e}");
            }
        }
    });
    let udp = UdpSocket::bind(&address)?;
    let mut buffer = [0; 65_535];
    loop {
        let (length, peer) = udp.recv_from(&mut buffer)?;
        let reply = server.handle(&buffer[..length], Transport::Udp);
        eprintln!("{peer} {length} octets: {}", reply.outcome.name());
        if let Some(bytes) = reply.bytes {
            udp.send_to(&bytes, peer)?;
        }
    }
}

/// One connection: messages with two length octets in front (RFC 1035 §4.2.2).
fn serve_stream(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        if let Some(bytes) = server.answer(&query, Transport::Tcp) {
            let size = u16::try_from(bytes.len()).expect("a TCP answer is at most 65,535 octets");
            stream.write_all(&[&size.to_be_bytes()[..], &bytes].concat())?;
        }
    }
    Ok(())
}

/// The how-to's nginx, a headless database, a headless service of 200 endpoints, an external name.
fn table() -> Table {
    let http = ServicePort {
        name: "http".into(),
        port: 80,
        ..ServicePort::default()
    };
    let service =
        |name: &str, spec: ServiceSpec| Service::new(Metadata::namespaced("default", name), spec);
    let headless = ServiceSpec {
        cluster_ip: "None".into(),
        ..ServiceSpec::default()
    };
    let services = [
        service(
            "nginx",
            ServiceSpec {
                cluster_ip: "10.210.0.80".into(),
                ports: vec![http],
                ..ServiceSpec::default()
            },
        ),
        service("db", headless.clone()),
        service("many", headless),
        service(
            "far",
            ServiceSpec {
                service_type: "ExternalName".into(),
                external_name: "www.example.com".into(),
                ..ServiceSpec::default()
            },
        ),
    ];
    let db = [
        ("10.200.0.7".to_owned(), Some("db-0".to_owned())),
        ("10.200.0.8".to_owned(), None),
    ];
    let many = (0..200).map(|i| (format!("10.200.1.{i}"), None));
    let slices = [slice("db", db.into_iter()), slice("many", many)];
    Table::build(&services, &slices)
}

fn slice(of: &str, endpoints: impl Iterator<Item = (String, Option<String>)>) -> EndpointSlice {
    let mut metadata = Metadata::namespaced("default", of);
    metadata
        .labels
        .insert("kubernetes.io/service-name".into(), of.into());
    let spec = EndpointSliceSpec {
        address_type: "IPv4".into(),
        endpoints: endpoints
            .map(|(address, hostname)| Endpoint {
                addresses: vec![address],
                hostname,
                ..Endpoint::default()
            })
            .collect(),
        ports: vec![EndpointPort {
            name: "sql".into(),
            port: Some(5432),
            ..EndpointPort::default()
        }],
    };
    EndpointSlice::new(metadata, spec)
}
