//! A workload's veth pair: one end in the host with Calico's MAC, the other in the workload's network namespace.
//!
//! ```text
//!   host                                               workload
//!   caliXXXXXXXXXXX  ee:ee:ee:ee:ee:ee  <-- veth -->   eth0  ADDRESS/32
//!   ADDRESS dev caliX scope link                       169.254.1.1 dev eth0 scope link
//!   proxy_arp: answers for 169.254.1.1                 default via 169.254.1.1 dev eth0
//!                                                      169.254.1.1 lladdr ee:ee:ee:ee:ee:ee PERMANENT
//! ```
//!
//! Every call is complete in itself: [`attach`] leaves nothing behind when it fails, [`detach`] and [`delete`] are content
//! when there is nothing to remove, [`verify`] only looks. Source: Calico's CNI plugin.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

pub use dataplane::Mac;
use dataplane::{Address, Link, Neighbour, PROTOCOL_BOOT, Route, RouteKind};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::{Netlink, NetlinkError};
use crate::wire::{self, Names};

/// The MAC of every workload's host end.
pub const HOST_MAC: Mac = Mac([0xee; 6]);
/// What a workload sees as its IPv4 gateway; nobody has it, the host end answers ARP for it.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The host end's link-local address, which its MAC gives: a workload's IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);

/// What to make.
#[derive(Clone, Debug)]
pub struct Veth<'a> {
    /// The host end's name.
    pub host: &'a str,
    /// The workload end's name, `eth0`.
    pub workload: &'a str,
    /// Of both ends; the kernel's choice when absent.
    pub mtu: Option<u32>,
    /// The workload end's MAC; the kernel draws one when absent.
    pub mac: Option<Mac>,
    /// The workload's addresses, each alone in its subnet.
    pub addresses: &'a [IpAddr],
    /// Whether the workload forwards packets.
    pub forwarding: bool,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The workload end's MAC.
    pub mac: Mac,
    /// The workload end's MTU.
    pub mtu: u32,
}

/// What went wrong, where.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct VethError {
    /// What was being done.
    pub what: String,
    /// The kernel's answer.
    pub source: io::Error,
}

type VethResult<T> = Result<T, VethError>;

trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> VethResult<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> VethResult<T> {
        self.map_err(|e| VethError {
            what: what(),
            source: e.into(),
        })
    }
}

/// Runs `work` in the network namespace that is open as `namespace`, on this thread, and comes back.
fn within<T>(namespace: &File, work: impl FnOnce() -> VethResult<T>) -> VethResult<T> {
    let net = Some(LinkNameSpaceType::Network);
    let home = File::open("/proc/thread-self/ns/net")
        .doing(|| "opening the own network namespace".to_string())?;
    move_into_link_name_space(namespace.as_fd(), net)
        .doing(|| "entering the network namespace".to_string())?;
    let done = work();
    // A thread that stayed inside would do its next work in the wrong place.
    move_into_link_name_space(home.as_fd(), net)
        .doing(|| "leaving the network namespace".to_string())?;
    done
}

/// The namespace at a path; `None` when it is gone, which a runtime may know as a file that is none any more.
fn open_namespace(path: &Path) -> VethResult<Option<File>> {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    match File::open(path) {
        Ok(file) => {
            let kind =
                rustix::fs::fstatfs(&file).doing(|| format!("looking at {}", path.display()))?;
            Ok((kind.f_type == NSFS_MAGIC).then_some(file))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).doing(|| format!("opening the network namespace {}", path.display())),
    }
}

fn link_named(netlink: &mut Netlink, name: &str) -> Result<Option<(u32, Link)>, NetlinkError> {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_string()));
    match netlink.get(RouteNetlinkMessage::GetLink(message)) {
        Ok(RouteNetlinkMessage::NewLink(found)) => Ok(wire::link(&found)),
        Ok(_) => Ok(None),
        Err(e) if e.is(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

fn delete_link(netlink: &mut Netlink, name: &str) -> Result<bool, NetlinkError> {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_string()));
    match netlink.request(RouteNetlinkMessage::DelLink(message), 0) {
        Ok(()) => Ok(true),
        Err(e) if e.is(libc::ENODEV) => Ok(false),
        Err(e) => Err(e),
    }
}

fn set_up(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    netlink.request(RouteNetlinkMessage::SetLink(message), 0)
}

fn sysctl(path: &str, value: &str) -> VethResult<()> {
    let path = format!("/proc/sys/net/{path}");
    fs::write(&path, value).doing(|| format!("writing {value} to {path}"))
}

/// For parameters of IPv6, which a kernel may be without.
fn sysctl_where_there_is(path: &str, value: &str) -> VethResult<()> {
    match sysctl(path, value) {
        Err(e) if e.source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn names(index: u32, name: &str) -> Names {
    let mut names = Names::default();
    names.insert(index, name.to_string());
    names
}

fn alone(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

fn device_route(dst: IpAddr, oif: &str) -> Route {
    let kind = RouteKind::Device {
        oif: oif.to_string(),
    };
    Route {
        protocol: PROTOCOL_BOOT,
        ..Route::bird(alone(dst), kind)
    }
}

/// The routes of a workload's end for these addresses.
fn inside_routes(oif: &str, addresses: &[IpAddr]) -> Vec<Route> {
    let mut routes = Vec::new();
    let via = |gateway: IpAddr, default: &str| {
        let dst = default.parse().expect("a constant");
        let kind = RouteKind::Via {
            gateway,
            oif: oif.to_string(),
            onlink: false,
        };
        Route {
            protocol: PROTOCOL_BOOT,
            ..Route::bird(dst, kind)
        }
    };
    if addresses.iter().any(IpAddr::is_ipv4) {
        routes.push(device_route(GATEWAY_V4.into(), oif));
        routes.push(via(GATEWAY_V4.into(), "0.0.0.0/0"));
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        routes.push(via(GATEWAY_V6.into(), "::/0"));
    }
    routes
}

fn add_route(netlink: &mut Netlink, route: &Route, names: &Names) -> Result<(), NetlinkError> {
    let message = wire::route_message(route, names)
        .map_err(|name| io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")))?;
    netlink.request(
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Makes the pair and everything that goes with it. A link with the host end's name is removed first.
///
/// # Errors
/// What was being done and the kernel's answer; nothing of the pair is left then.
pub fn attach(netns: &Path, veth: &Veth<'_>) -> VethResult<Attached> {
    let namespace = open_namespace(netns)?.ok_or_else(|| VethError {
        what: format!("opening the network namespace {}", netns.display()),
        source: io::ErrorKind::NotFound.into(),
    })?;
    let mut host = Netlink::open().doing(|| "opening a netlink socket".to_string())?;
    delete_link(&mut host, veth.host).doing(|| format!("removing the old {}", veth.host))?;
    create_pair(&mut host, &namespace, veth)?;
    let made = within(&namespace, || configure_inside(veth))
        .and_then(|attached| configure_host(&mut host, veth).map(|()| attached));
    if made.is_err() {
        // The first error is the one to tell; the pair goes as a whole with either end.
        let _ = delete_link(&mut host, veth.host);
    }
    made
}

fn create_pair(host: &mut Netlink, namespace: &File, veth: &Veth<'_>) -> VethResult<()> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(veth.workload.to_string()),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ];
    peer.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    peer.attributes
        .extend(veth.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(veth.host.to_string()),
        LinkAttribute::Address(HOST_MAC.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    message.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
    let made = host.request(
        RouteNetlinkMessage::NewLink(message),
        NLM_F_CREATE | NLM_F_EXCL,
    );
    match made {
        Err(e) if e.is(libc::EEXIST) => Err(VethError {
            what: format!("making {} and {}", veth.host, veth.workload),
            source: io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "container veth name provided ({}) already exists",
                    veth.workload
                ),
            ),
        }),
        made => made.doing(|| format!("making {} and {}", veth.host, veth.workload)),
    }
}

/// The workload's end; the thread is in its namespace.
fn configure_inside(veth: &Veth<'_>) -> VethResult<Attached> {
    let name = veth.workload;
    let mut inside =
        Netlink::open().doing(|| "opening a netlink socket in the namespace".to_string())?;
    let found = link_named(&mut inside, name).doing(|| format!("looking for {name}"))?;
    let missing = || VethError {
        what: format!("looking for {name}"),
        source: io::ErrorKind::NotFound.into(),
    };
    let (index, link) = found.ok_or_else(missing)?;
    let names = names(index, name);
    if veth.addresses.iter().any(IpAddr::is_ipv6) {
        for place in ["all", "default", "lo"] {
            sysctl(&format!("ipv6/conf/{place}/disable_ipv6"), "0")?;
        }
        // Otherwise the address cannot be used until duplicate detection has run, a second or more.
        sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
    }
    for &address in veth.addresses {
        let address = Address {
            interface: name.to_string(),
            address: alone(address),
        };
        let message = wire::address_message(&address, &names).expect("the name was just put in");
        inside
            .request(
                RouteNetlinkMessage::NewAddress(message),
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .doing(|| format!("adding {} to {name}", address.address))?;
    }
    set_up(&mut inside, index).doing(|| format!("setting {name} up"))?;
    for route in inside_routes(name, veth.addresses) {
        add_route(&mut inside, &route, &names).doing(|| format!("adding the route {route}"))?;
    }
    if veth.addresses.iter().any(IpAddr::is_ipv4) {
        add_gateway(&mut inside, name, &names)?;
    }
    let forwarding = if veth.forwarding { "1" } else { "0" };
    if veth.addresses.iter().any(IpAddr::is_ipv4) {
        sysctl("ipv4/ip_forward", forwarding)?;
    }
    if veth.addresses.iter().any(IpAddr::is_ipv6) {
        sysctl("ipv6/conf/all/forwarding", forwarding)?;
    }
    Ok(Attached {
        mac: link.mac.ok_or_else(missing)?,
        mtu: link.mtu.ok_or_else(missing)?,
    })
}

/// The IPv4 gateway's MAC, for good. The host end's proxy ARP answers only where the host has a route to 169.254.1.1,
/// which a host without a default route has not; and the first packet need not ask.
fn add_gateway(inside: &mut Netlink, name: &str, names: &Names) -> VethResult<()> {
    let gateway = Neighbour {
        interface: name.to_string(),
        address: GATEWAY_V4.into(),
        mac: HOST_MAC,
    };
    let message = wire::neighbour_message(&gateway, names).expect("the name was just put in");
    inside
        .request(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .doing(|| format!("adding the neighbour {GATEWAY_V4} on {name}"))
}

fn configure_host(host: &mut Netlink, veth: &Veth<'_>) -> VethResult<()> {
    let name = veth.host;
    let found = link_named(host, name).doing(|| format!("looking for {name}"))?;
    let (index, _) = found.ok_or_else(|| VethError {
        what: format!("looking for {name}"),
        source: io::ErrorKind::NotFound.into(),
    })?;
    // Before the link is up: it is never up without them.
    sysctl_where_there_is(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    if veth.addresses.iter().any(IpAddr::is_ipv4) {
        for parameter in ["proxy_arp", "forwarding", "route_localnet"] {
            sysctl(&format!("ipv4/conf/{name}/{parameter}"), "1")?;
        }
        sysctl(&format!("ipv4/neigh/{name}/proxy_delay"), "0")?;
    }
    if veth.addresses.iter().any(IpAddr::is_ipv6) {
        for (parameter, value) in [
            ("disable_ipv6", "0"),
            ("accept_dad", "0"),
            ("proxy_ndp", "1"),
            ("forwarding", "1"),
        ] {
            sysctl(&format!("ipv6/conf/{name}/{parameter}"), value)?;
        }
    }
    set_up(host, index).doing(|| format!("setting {name} up"))?;
    let names = names(index, name);
    for &address in veth.addresses {
        let route = device_route(address, name);
        match add_route(host, &route, &names) {
            Err(e) if e.is(libc::EEXIST) => {
                let oif = oif_of(host, address)
                    .doing(|| format!("looking for the route to {address}"))?;
                if oif != Some(index) {
                    return Err(e)
                        .doing(|| format!("adding the route {route}: it leads elsewhere already"));
                }
            }
            added => added.doing(|| format!("adding the route {route}"))?,
        }
    }
    Ok(())
}

/// The interface of the route to exactly this address; `None` when there is only a wider one, or none.
fn oif_of(netlink: &mut Netlink, address: IpAddr) -> Result<Option<u32>, NetlinkError> {
    let mut message = RouteMessage::default();
    let net = alone(address);
    message.header.address_family = wire::family(&address);
    message.header.destination_prefix_length = net.prefix_len();
    message.header.flags = RouteFlags::FibMatch;
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    let found = match netlink.get(RouteNetlinkMessage::GetRoute(message)) {
        Ok(RouteNetlinkMessage::NewRoute(found)) => found,
        Ok(_) => return Ok(None),
        // A blackhole or unreachable route answers with its error.
        Err(e)
            if [
                libc::ENETUNREACH,
                libc::EHOSTUNREACH,
                libc::EINVAL,
                libc::EACCES,
            ]
            .map(|c| e.is(c))
            .contains(&true) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    if found.header.destination_prefix_length != net.prefix_len() {
        return Ok(None);
    }
    Ok(found
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        }))
}

/// The workload's end in its namespace; `None` when the namespace or the link is gone.
///
/// # Errors
/// What was being done and the kernel's answer.
pub fn workload_link(netns: &Path, name: &str) -> VethResult<Option<Link>> {
    let Some(namespace) = open_namespace(netns)? else {
        return Ok(None);
    };
    within(&namespace, || {
        let mut inside =
            Netlink::open().doing(|| "opening a netlink socket in the namespace".to_string())?;
        let found = link_named(&mut inside, name).doing(|| format!("looking for {name}"))?;
        Ok(found.map(|(_, link)| link))
    })
}

/// Removes the workload's end, and the host's with it; false when the namespace or the link was gone.
///
/// # Errors
/// What was being done and the kernel's answer.
pub fn detach(netns: &Path, name: &str) -> VethResult<bool> {
    let Some(namespace) = open_namespace(netns)? else {
        return Ok(false);
    };
    within(&namespace, || {
        let mut inside =
            Netlink::open().doing(|| "opening a netlink socket in the namespace".to_string())?;
        delete_link(&mut inside, name).doing(|| format!("removing {name}"))
    })
}

/// Removes a host end, and the workload's with it; false when it was gone.
///
/// # Errors
/// What was being done and the kernel's answer.
pub fn delete(host: &str) -> VethResult<bool> {
    let mut netlink = Netlink::open().doing(|| "opening a netlink socket".to_string())?;
    delete_link(&mut netlink, host).doing(|| format!("removing {host}"))
}

/// What is missing of a pair that [`attach`] made, in words; empty when it is whole.
///
/// # Errors
/// What was being done and the kernel's answer.
pub fn verify(netns: &Path, veth: &Veth<'_>) -> VethResult<Vec<String>> {
    let mut missing = Vec::new();
    match open_namespace(netns)? {
        Some(namespace) => within(&namespace, || verify_inside(veth, &mut missing))?,
        None => missing.push(format!("the network namespace {}", netns.display())),
    }
    let mut host = Netlink::open().doing(|| "opening a netlink socket".to_string())?;
    let name = veth.host;
    match link_named(&mut host, name).doing(|| format!("looking for {name}"))? {
        None => missing.push(format!("the interface {name} in the host")),
        Some((index, link)) => {
            if !link.up {
                missing.push(format!("the interface {name} in the host is down"));
            }
            for &address in veth.addresses {
                let oif = oif_of(&mut host, address)
                    .doing(|| format!("looking for the route to {address}"))?;
                if oif != Some(index) {
                    missing.push(format!("the host's route {}", device_route(address, name)));
                }
            }
        }
    }
    Ok(missing)
}

fn verify_inside(veth: &Veth<'_>, missing: &mut Vec<String>) -> VethResult<()> {
    let name = veth.workload;
    let mut inside =
        Netlink::open().doing(|| "opening a netlink socket in the namespace".to_string())?;
    let Some((index, link)) =
        link_named(&mut inside, name).doing(|| format!("looking for {name}"))?
    else {
        missing.push(format!("the interface {name} in the container"));
        return Ok(());
    };
    if !link.up {
        missing.push(format!("the interface {name} in the container is down"));
    }
    let names = names(index, name);
    let dump = inside.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()));
    let dump = dump.doing(|| "listing addresses".to_string())?;
    let present: Vec<IpNet> = dump
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => wire::address(message, &names),
            _ => None,
        })
        .map(|address| address.address)
        .collect();
    for &address in veth.addresses {
        if !present.contains(&alone(address)) {
            missing.push(format!("the address {} on {name}", alone(address)));
        }
    }
    let dump = inside.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()));
    let dump = dump.doing(|| "listing routes".to_string())?;
    let present: Vec<Route> = dump
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => wire::route(message, &names),
            _ => None,
        })
        .collect();
    for wanted in inside_routes(name, veth.addresses) {
        let same =
            |r: &Route| r.dst == wanted.dst && r.kind == wanted.kind && r.table == wanted.table;
        if !present.iter().any(same) {
            missing.push(format!("the container's route {wanted}"));
        }
    }
    Ok(())
}
