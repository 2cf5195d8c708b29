//! From a place in the zone to the records of one type.

use std::collections::BTreeSet;
use std::net::IpAddr;

use service::{HeadlessEndpoint, NamedPort, Names, Protocol};

use crate::record::{Rdata, rtype};
use crate::zone::{Place, Pointer, host_label};
use crate::{Name, Zone};

/// The version of the schema that `dns-version` says.
const SCHEMA_VERSION: &str = "1.1.0";

/// What belongs into an answer, made one at a time: most of a large service does not fit into a UDP message.
pub(crate) enum Item {
    Answer(Rdata),
    /// An address that goes with the answers.
    Additional(Name, IpAddr),
}

type Items<'a> = Box<dyn Iterator<Item = Item> + 'a>;

impl Zone {
    /// The SOA record's data, the same in all our zones.
    pub(crate) fn soa(&self) -> Rdata {
        Rdata::Soa {
            mname: self.nameserver.clone(),
            // A domain of nearly 255 octets has no room for a label.
            rname: self
                .domain
                .under(&[b"hostmaster"])
                .unwrap_or_else(|| self.domain.clone()),
            serial: self.serial,
        }
    }

    /// The records of one type at a place, in a circle that begins at the record numbered `from`.
    pub(crate) fn records<'a>(
        &'a self,
        place: &'a Place<'a>,
        qtype: u16,
        from: usize,
    ) -> Items<'a> {
        match place {
            Place::Nothing | Place::Empty => none(),
            Place::Apex(pointers) => self.apex_records(pointers, qtype),
            Place::Version if qtype == rtype::TXT => one(Rdata::Txt(SCHEMA_VERSION)),
            Place::Version => none(),
            Place::Nameserver => addresses(&self.nameservers, qtype),
            Place::Cluster(own) => addresses(own, qtype),
            Place::Headless(endpoints) => endpoint_addresses(endpoints, qtype, from),
            Place::Addresses(own) => addresses(own, qtype),
            Place::Alias(target) if qtype == rtype::CNAME => one(Rdata::Cname(target.clone())),
            Place::Alias(_) => none(),
            Place::Port {
                namespace,
                service,
                names,
                port,
                protocol,
            } if qtype == rtype::SRV => {
                let labels = [service.as_bytes(), namespace.as_bytes(), b"svc".as_slice()];
                match self.domain.under(&labels) {
                    Some(owner) => srv_records(owner, names, port, *protocol, from),
                    None => none(),
                }
            }
            Place::Port { .. } => none(),
            Place::Pointers(pointers) => self.pointer_records(pointers, qtype),
        }
    }

    fn apex_records<'a>(&'a self, pointers: &'a [Pointer], qtype: u16) -> Items<'a> {
        match qtype {
            rtype::SOA => one(self.soa()),
            rtype::NS => {
                let own = self.nameservers.iter();
                let glue = own.map(|a| Item::Additional(self.nameserver.clone(), *a));
                Box::new(one(Rdata::Ns(self.nameserver.clone())).chain(glue))
            }
            _ => self.pointer_records(pointers, qtype),
        }
    }

    fn pointer_records<'a>(&'a self, pointers: &'a [Pointer], qtype: u16) -> Items<'a> {
        if qtype != rtype::PTR {
            return none();
        }
        Box::new(pointers.iter().filter_map(|pointer| {
            let service = &pointer.service;
            let mut labels: Vec<&[u8]> = Vec::with_capacity(4);
            labels.extend(pointer.host.as_deref().map(str::as_bytes));
            labels.extend([
                service.name.as_bytes(),
                service.namespace.as_bytes(),
                b"svc",
            ]);
            let target = self.domain.under(&labels)?;
            Some(Item::Answer(Rdata::Ptr(target)))
        }))
    }
}

fn none<'a>() -> Items<'a> {
    Box::new(std::iter::empty())
}

fn one<'a>(rdata: Rdata) -> Items<'a> {
    Box::new(std::iter::once(Item::Answer(rdata)))
}

/// The addresses of the family that the type asks for.
fn addresses(addresses: &[IpAddr], qtype: u16) -> Items<'_> {
    let records = addresses.iter().map(|a| Rdata::of_address(*a));
    Box::new(
        records
            .filter(move |r| r.rtype() == qtype)
            .map(Item::Answer),
    )
}

/// The slice as a circle that begins at `from`.
fn circle<T>(slice: &[T], from: usize) -> impl Iterator<Item = &T> {
    let (late, early) = slice.split_at(from % slice.len().max(1));
    early.iter().chain(late)
}

fn endpoint_addresses(endpoints: &[HeadlessEndpoint], qtype: u16, from: usize) -> Items<'_> {
    // Sorted by address, so each family is one stretch.
    let (ipv4, ipv6) = endpoints.split_at(endpoints.partition_point(|e| e.address.is_ipv4()));
    let family = match qtype {
        rtype::A => ipv4,
        rtype::AAAA => ipv6,
        _ => return none(),
    };
    Box::new(circle(family, from).map(|e| Item::Answer(Rdata::of_address(e.address))))
}

/// One SRV record a target and port, and the targets' addresses.
fn srv_records<'a>(
    owner: Name,
    names: &'a Names,
    port: &'a str,
    protocol: Protocol,
    from: usize,
) -> Items<'a> {
    let is_wanted = move |p: &&NamedPort| p.name == port && p.protocol == protocol;
    match names {
        Names::External { .. } => none(),
        Names::Cluster { addresses, ports } => {
            let target = owner.clone();
            let answers = ports.iter().filter(is_wanted).map(move |p| {
                Item::Answer(Rdata::Srv {
                    port: p.port,
                    target: target.clone(),
                })
            });
            let own = addresses.iter();
            Box::new(answers.chain(own.map(move |a| Item::Additional(owner.clone(), *a))))
        }
        Names::Headless { endpoints } => {
            // Endpoints that share a hostname and port share the record (RFC 2181 §5).
            let mut seen = BTreeSet::new();
            Box::new(circle(endpoints, from).flat_map(move |endpoint| {
                let label = host_label(endpoint);
                let target = owner.under(&[label.as_bytes()]);
                let mut items = Vec::new();
                for port in endpoint.ports.iter().filter(is_wanted) {
                    let Some(target) = &target else { break };
                    if items.is_empty() {
                        items.push(Item::Additional(target.clone(), endpoint.address));
                    }
                    let hostname = endpoint.hostname.as_deref();
                    if hostname.is_none_or(|hostname| seen.insert((hostname, port.port))) {
                        items.push(Item::Answer(Rdata::Srv {
                            port: port.port,
                            target: target.clone(),
                        }));
                    }
                }
                items
            }))
        }
    }
}
