//! Kernel objects to rtnetlink messages and back. Source: rtnetlink(7).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use dataplane::{Address, Link, LinkKind, Mac, Neighbour, NextHop, Route, RouteKind, Scope};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType,
};

/// Interface names and indices, as they were at one moment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    by_index: BTreeMap<u32, String>,
    by_name: BTreeMap<String, u32>,
}

impl Names {
    pub(crate) fn insert(&mut self, index: u32, name: String) {
        self.by_name.insert(name.clone(), index);
        self.by_index.insert(index, name);
    }

    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        self.by_index.get(&index).map(String::as_str)
    }

    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }
}

pub(crate) fn family(address: &IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The message for a route; the error is the name of an interface that is not there.
pub(crate) fn route_message(route: &Route, names: &Names) -> Result<RouteMessage, String> {
    let index = |name: &String| names.index(name).ok_or_else(|| name.clone());
    let mut message = RouteMessage::default();
    message.header.address_family = family(&route.dst.addr());
    message.header.destination_prefix_length = route.dst.prefix_len();
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.header.scope = match route.scope {
        Scope::Universe => RouteScope::Universe,
        Scope::Link => RouteScope::Link,
        Scope::Host => RouteScope::Host,
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if route.dst.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.dst.addr().into()));
    }
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(source) = route.source {
        attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    message.header.kind = match &route.kind {
        RouteKind::Via {
            gateway,
            oif,
            onlink,
        } => {
            attributes.push(RouteAttribute::Gateway((*gateway).into()));
            attributes.push(RouteAttribute::Oif(index(oif)?));
            if *onlink {
                message.header.flags = RouteFlags::Onlink;
            }
            RouteType::Unicast
        }
        RouteKind::Device { oif } => {
            attributes.push(RouteAttribute::Oif(index(oif)?));
            RouteType::Unicast
        }
        RouteKind::Local { oif } => {
            attributes.push(RouteAttribute::Oif(index(oif)?));
            RouteType::Local
        }
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Multipath { hops } => {
            let mut all = Vec::with_capacity(hops.len());
            for hop in hops {
                let mut one = RouteNextHop::default();
                one.interface_index = index(&hop.oif)?;
                one.attributes
                    .push(RouteAttribute::Gateway(hop.gateway.into()));
                all.push(one);
            }
            attributes.push(RouteAttribute::MultiPath(all));
            RouteType::Unicast
        }
        RouteKind::Other { number } => RouteType::from(*number),
    };
    Ok(message)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// What the attributes of a route say, gathered.
#[derive(Default)]
struct Gathered {
    table: u32,
    dst: Option<IpAddr>,
    metric: u32,
    source: Option<IpAddr>,
    gateway: Option<IpAddr>,
    oif: Option<u32>,
    hops: Vec<RouteNextHop>,
    /// Encapsulation, a next hop object or a gateway of another family: nothing that we write.
    strange: bool,
}

fn gather(message: &RouteMessage) -> Gathered {
    let mut found = Gathered {
        table: u32::from(message.header.table),
        ..Gathered::default()
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => found.table = *table,
            RouteAttribute::Destination(address) => found.dst = ip(address),
            RouteAttribute::Priority(metric) => found.metric = *metric,
            RouteAttribute::PrefSource(address) => found.source = ip(address),
            RouteAttribute::Gateway(address) => found.gateway = ip(address),
            RouteAttribute::Oif(index) => found.oif = Some(*index),
            RouteAttribute::MultiPath(hops) => found.hops.clone_from(hops),
            RouteAttribute::Encap(_) | RouteAttribute::Via(_) | RouteAttribute::NhId(_) => {
                found.strange = true;
            }
            _ => {}
        }
    }
    found.strange |= message.header.tos != 0;
    found
}

/// The route that a message of a dump tells; `None` for broadcast, multicast and cached ones.
pub(crate) fn route(message: &RouteMessage, names: &Names) -> Option<Route> {
    let header = &message.header;
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let found = gather(message);
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let dst = IpNet::new(found.dst.unwrap_or(any), header.destination_prefix_length).ok()?;
    let oif = || {
        found
            .oif
            .and_then(|index| names.name(index))
            .map(str::to_owned)
    };
    let other = RouteKind::Other {
        number: u8::from(header.kind),
    };
    let kind = match header.kind {
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => return None,
        _ if found.strange => other,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Local => RouteKind::Local { oif: oif()? },
        RouteType::Unicast if !found.hops.is_empty() => multipath(&found.hops, names)?,
        RouteType::Unicast => match found.gateway {
            Some(gateway) => RouteKind::Via {
                gateway,
                oif: oif()?,
                onlink: header.flags.contains(RouteFlags::Onlink),
            },
            None => RouteKind::Device { oif: oif()? },
        },
        _ => other,
    };
    Some(Route {
        table: found.table,
        dst,
        metric: found.metric,
        protocol: u8::from(header.protocol),
        scope: match header.scope {
            RouteScope::Universe | RouteScope::Site => Scope::Universe,
            RouteScope::Link => Scope::Link,
            _ => Scope::Host,
        },
        kind,
        source: found.source,
    })
}

fn multipath(hops: &[RouteNextHop], names: &Names) -> Option<RouteKind> {
    let mut all = Vec::with_capacity(hops.len());
    for hop in hops {
        let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip(address),
            _ => None,
        });
        // A weight or `onlink` is not ours to write.
        let plain = hop.hops == 0 && !hop.flags.contains(RouteNextHopFlags::Onlink);
        let (Some(gateway), true) = (gateway, plain) else {
            return Some(RouteKind::Other { number: 1 });
        };
        let oif = names.name(hop.interface_index)?.to_owned();
        all.push(NextHop { gateway, oif });
    }
    all.sort();
    Some(RouteKind::Multipath { hops: all })
}

/// Index and value of a link.
pub(crate) fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    let mut name = None;
    let mut mtu = None;
    let mut mac = None;
    let mut kind = LinkKind::Other;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(bytes) => mtu = Some(*bytes),
            LinkAttribute::Address(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac)
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Veth) => kind = LinkKind::Veth,
                        LinkInfo::Kind(InfoKind::IpIp) => kind = LinkKind::Ipip,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if message.header.flags.contains(LinkFlags::Loopback) {
        kind = LinkKind::Loopback;
    }
    let up = message.header.flags.contains(LinkFlags::Up);
    Some((
        message.header.index,
        Link {
            name: name?,
            kind,
            up,
            mtu,
            mac,
        },
    ))
}

/// The address that a message of a dump tells.
pub(crate) fn address(message: &AddressMessage, names: &Names) -> Option<Address> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            _ => {}
        }
    }
    let interface = names.name(message.header.index)?.to_owned();
    let address = IpNet::new(local.or(peer)?, message.header.prefix_len).ok()?;
    Some(Address { interface, address })
}

/// The message that adds or removes an address.
pub(crate) fn address_message(address: &Address, names: &Names) -> Result<AddressMessage, String> {
    let mut message = AddressMessage::default();
    message.header.family = family(&address.address.addr());
    message.header.prefix_len = address.address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = names
        .index(&address.interface)
        .ok_or_else(|| address.interface.clone())?;
    message.attributes = vec![
        AddressAttribute::Address(address.address.addr()),
        AddressAttribute::Local(address.address.addr()),
    ];
    Ok(message)
}

/// The permanent neighbour that a message of a dump tells.
pub(crate) fn neighbour(message: &NeighbourMessage, names: &Names) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            _ => {}
        }
    }
    let interface = names.name(message.header.ifindex)?.to_owned();
    Some(Neighbour {
        interface,
        address: address?,
        mac: mac?,
    })
}

/// The message that sets or removes a permanent neighbour.
pub(crate) fn neighbour_message(
    neighbour: &Neighbour,
    names: &Names,
) -> Result<NeighbourMessage, String> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(&neighbour.address);
    message.header.ifindex = names
        .index(&neighbour.interface)
        .ok_or_else(|| neighbour.interface.clone())?;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(neighbour.address.into()),
        NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()),
    ];
    Ok(message)
}
