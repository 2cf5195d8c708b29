//! Many routes into a kernel table and out of it, fast: hundreds of requests in a system call and one acknowledgement.
//!
//! [`crate::Kernel`] is for the few hundred objects of a node; this is for a routing table. Messages are written as octets,
//! nothing is allocated for a route. Source: rtnetlink(7).

mod lookup;
mod monitor;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use lookup::Way;
pub use monitor::{Drift, RouteMonitor};

use crate::message::{HEADER, Message, attribute, messages};

// Source: linux/rtnetlink.h, linux/netlink.h.
const NEW_LINK: u16 = 16;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
/// struct rtmsg.
const RTMSG: usize = 12;
const UNICAST: u8 = 1;
/// RTNH_F_DEAD and RTNH_F_LINKDOWN, of a hop or, where there is one, of its route.
const DEAD: u8 = 1 | 16;
/// RT_SCOPE_NOWHERE: a removal of any scope.
const ANY_SCOPE: u8 = 255;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11]; // links, IPv4 addresses and routes, IPv6 addresses and routes

/// Requests in a datagram. An error takes about a kilobyte of the receive buffer, which has two hundred and more.
pub const BATCH: usize = 200;
const BUFFER: i32 = 4 << 20;

/// Whose routes: what is not of this table, protocol and metric is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `RT_TABLE_MAIN` is 254.
    pub table: u32,
    /// As `ip route` shows it: 12 is `bird`.
    pub protocol: u8,
    /// Routes to one destination differ by it; the lowest is used.
    pub metric: u32,
}

impl Owner {
    /// For who changes no routes: no route is this one's.
    pub const NOBODY: Owner = Owner {
        table: 0,
        protocol: 0,
        metric: 0,
    };
}

/// One way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface's index.
    pub oif: u32,
}

/// A request for one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A route where none of this metric is; EEXIST otherwise.
    Add(IpNet, &'a [Hop]),
    /// In place of ours.
    Replace(IpNet, &'a [Hop]),
    /// ESRCH when there is none.
    Remove(IpNet),
}

/// The socket that changes routes, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct RouteWriter {
    socket: Socket,
    owner: Owner,
    sequence: u32,
    datagram: Vec<u8>,
    waiting: usize,
    received: Vec<u8>,
}

impl RouteWriter {
    /// Opens it.
    ///
    /// # Errors
    /// socket(2)'s and bind(2)'s.
    pub fn open(owner: Owner) -> io::Result<RouteWriter> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let _ = socket.set_cap_ack(true);
        // Dumps are then of one table and protocol; where the kernel is too old, what is not ours is left out here.
        let _ = socket.set_netlink_get_strict_chk(true);
        let _ = socket.set_rx_buf_sz(BUFFER);
        Ok(RouteWriter {
            socket,
            owner,
            sequence: 0,
            datagram: Vec::with_capacity(BATCH * 80),
            waiting: 0,
            received: Vec::with_capacity(64 << 10),
        })
    }

    /// How notifications name the changes of this socket.
    ///
    /// # Errors
    /// getsockname(2)'s.
    pub fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// How many requests wait for [`RouteWriter::send`].
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Appends a request to the next datagram.
    pub fn push(&mut self, request: Request<'_>) {
        let (kind, flags, prefix, hops) = match request {
            Request::Add(prefix, hops) => (NEW_ROUTE, CREATE | EXCL, prefix, hops),
            Request::Replace(prefix, hops) => (NEW_ROUTE, CREATE | REPLACE, prefix, hops),
            Request::Remove(prefix) => (DEL_ROUTE, 0, prefix, &[][..]),
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.waiting += 1;
        let owner = self.owner;
        let (scope, route_type) = match (kind, hops) {
            (DEL_ROUTE, _) => (ANY_SCOPE, 0),
            (_, [Hop { gateway: None, .. }]) => (253, UNICAST),
            _ => (0, UNICAST),
        };
        message(
            &mut self.datagram,
            kind,
            REQUEST | flags,
            self.sequence,
            |out| {
                let header = RouteHeader {
                    prefix,
                    owner,
                    scope,
                    route_type,
                    flags: 0,
                };
                header.write(out);
                put(out, RTA_TABLE, &owner.table.to_ne_bytes());
                put_address(out, RTA_DST, prefix.addr());
                put(out, RTA_PRIORITY, &owner.metric.to_ne_bytes());
                match hops {
                    [] => {}
                    [hop] => {
                        put_gateway(out, prefix, hop);
                        put(out, RTA_OIF, &hop.oif.to_ne_bytes());
                    }
                    hops => nested(out, RTA_MULTIPATH, |out| {
                        for hop in hops {
                            let start = out.len();
                            // struct rtnexthop: length, flags, weight less one, interface.
                            out.extend_from_slice(&[0; 4]);
                            out.extend_from_slice(&hop.oif.to_ne_bytes());
                            put_gateway(out, prefix, hop);
                            set_length(out, start);
                        }
                    }),
                }
            },
        );
    }

    /// Sends what was pushed; `failed` is told the place of each request that failed, from 0, and its errno.
    ///
    /// # Errors
    /// The socket's. ENOBUFS: too many failed for them to be told apart; read the routes again.
    pub fn send(&mut self, mut failed: impl FnMut(usize, i32)) -> io::Result<()> {
        let count = std::mem::take(&mut self.waiting);
        if count == 0 {
            return Ok(());
        }
        let last = self.sequence;
        let first = last.wrapping_sub(count as u32 - 1);
        // The last one alone is acknowledged: the kernel works in order, and tells of errors unasked.
        set_flag(&mut self.datagram, ACK);
        let sent = self.socket.send(&self.datagram, 0);
        self.datagram.clear();
        sent?;
        let mut ended = false;
        while !ended {
            receive(&self.socket, &mut self.received)?;
            for reply in messages(&self.received) {
                let (ERROR, Some(errno)) = (reply.kind, word(reply.body, 0)) else {
                    continue;
                };
                // The answer holds the header of its request, the sequence number 8 octets into it.
                let Some(sequence) = word(reply.body, 12) else {
                    continue;
                };
                let place = sequence.wrapping_sub(first) as usize;
                if place >= count {
                    continue; // of an answer that was given up
                }
                if errno != 0 {
                    failed(place, (errno as i32).wrapping_neg());
                }
                ended |= sequence == last;
            }
        }
        Ok(())
    }

    /// The owner's routes, as they are; one that is no plain route (`unreachable`, or by a next hop object) has no hops.
    ///
    /// # Errors
    /// The socket's; `Interrupted` when the table changed meanwhile: ask again.
    pub fn routes(&mut self) -> io::Result<Vec<(IpNet, Vec<Hop>)>> {
        let mut found = Vec::new();
        for any in [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ] {
            let owner = self.owner;
            self.dump(any, owner.protocol, |route| {
                if route.is_of(owner) {
                    found.push((route.prefix, route.hops));
                }
            })?;
        }
        Ok(found)
    }

    /// The routes of the owner's table in the family of an address, of one protocol or, with 0, of all.
    fn dump(&mut self, of: IpAddr, protocol: u8, mut each: impl FnMut(Found)) -> io::Result<()> {
        let any = match of {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let owner = Owner {
            protocol,
            ..self.owner
        };
        let header = RouteHeader {
            prefix: IpNet::new(any, 0).expect("zero is a length of both"),
            owner,
            scope: 0,
            route_type: 0,
            flags: 0,
        };
        self.ask(GET_ROUTE, DUMP, |out| {
            header.write(out);
            put(out, RTA_TABLE, &owner.table.to_ne_bytes());
        })?;
        self.answers(|reply| {
            if let Some(route) = Found::read(reply) {
                each(route);
            }
        })
    }

    fn ask(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = Vec::with_capacity(64);
        message(&mut out, kind, REQUEST | flags, self.sequence, body);
        self.socket.send(&out, 0).map(drop)
    }

    /// The answers to what was asked last, until its end.
    fn answers(&mut self, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        let mut torn = false;
        loop {
            receive(&self.socket, &mut self.received)?;
            let mut rest = self.received.as_slice();
            for reply in messages(&self.received) {
                let (flags, sequence) = (word(rest, 4).unwrap_or(0) >> 16, word(rest, 8));
                rest = rest
                    .get((reply.body.len() + HEADER).next_multiple_of(4)..)
                    .unwrap_or(&[]);
                if sequence != Some(self.sequence) {
                    continue;
                }
                torn |= flags & 0x10 != 0; // NLM_F_DUMP_INTR
                match reply.kind {
                    DONE if torn => return Err(io::ErrorKind::Interrupted.into()),
                    DONE => return Ok(()),
                    ERROR => match word(reply.body, 0).unwrap_or(0) as i32 {
                        0 => return Ok(()),
                        errno => return Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
                    },
                    _ => each(&reply),
                }
            }
        }
    }
}

/// A route in an answer or a notification.
struct Found {
    prefix: IpNet,
    table: u32,
    protocol: u8,
    metric: u32,
    route_type: u8,
    hops: Vec<Hop>,
    /// Interfaces of hops that do not forward now: down, or without carrier.
    dead: Vec<u32>,
}

impl Found {
    fn is_of(&self, owner: Owner) -> bool {
        (self.table, self.protocol, self.metric) == (owner.table, owner.protocol, owner.metric)
    }

    fn read(note: &Message<'_>) -> Option<Found> {
        let (NEW_ROUTE | DEL_ROUTE, Some(header)) = (note.kind, note.body.get(..RTMSG)) else {
            return None;
        };
        let attributes = &note.body[RTMSG..];
        let any = match i32::from(header[0]) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let of = |kind| attribute(attributes, kind);
        let number = |kind| of(kind).and_then(|value| word(value, 0));
        let hop = |attributes: &[u8], oif| Hop {
            gateway: gateway(attributes, any.is_ipv4()),
            oif,
        };
        let (mut hops, mut dead) = (Vec::new(), Vec::new());
        let mut several = of(RTA_MULTIPATH).unwrap_or(&[]);
        while let Some(length) = word(several, 0)
            .map(|word| (word.to_ne_bytes()[0] as usize) | (word.to_ne_bytes()[1] as usize) << 8)
        {
            let (Some(one), Some(oif)) = (several.get(8..length), word(several, 4)) else {
                break;
            };
            hops.push(hop(one, oif));
            // struct rtnexthop: length, flags.
            dead.extend(
                several
                    .get(2)
                    .filter(|flags| *flags & DEAD != 0)
                    .map(|_| oif),
            );
            several = several.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        if let (true, UNICAST, Some(oif)) = (hops.is_empty(), header[7], number(RTA_OIF)) {
            hops.push(hop(attributes, oif));
            let flags = word(note.body, 8).unwrap_or(0);
            dead.extend((flags & u32::from(DEAD) != 0).then_some(oif));
        }
        hops.sort();
        let destination = of(RTA_DST).map_or(Some(any), |value| ip(value, any.is_ipv4()))?;
        Some(Found {
            prefix: IpNet::new(destination, header[1]).ok()?,
            table: number(RTA_TABLE).unwrap_or(header[4].into()),
            protocol: header[5],
            metric: number(RTA_PRIORITY).unwrap_or(0),
            route_type: header[7],
            hops,
            dead,
        })
    }
}

fn gateway(attributes: &[u8], is_v4: bool) -> Option<IpAddr> {
    if let Some(value) = attribute(attributes, RTA_GATEWAY) {
        return ip(value, is_v4);
    }
    // struct rtvia: family, address.
    let via = attribute(attributes, RTA_VIA)?;
    ip(via.get(2..)?, via.len() == 6)
}

fn ip(octets: &[u8], is_v4: bool) -> Option<IpAddr> {
    if is_v4 {
        <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
    } else {
        <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
    }
}

fn word(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

fn receive(socket: &Socket, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        into.clear();
        match socket.recv(into, 0) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// struct rtmsg.
struct RouteHeader {
    prefix: IpNet,
    owner: Owner,
    scope: u8,
    route_type: u8,
    flags: u32,
}

impl RouteHeader {
    fn write(&self, out: &mut Vec<u8>) {
        let family = if self.prefix.addr().is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        // Tables beyond an octet are in RTA_TABLE alone.
        let table = u8::try_from(self.owner.table).unwrap_or(0);
        let length = self.prefix.prefix_len();
        out.extend_from_slice(&[
            family as u8,
            length,
            0,
            0,
            table,
            self.owner.protocol,
            self.scope,
            self.route_type,
        ]);
        out.extend_from_slice(&self.flags.to_ne_bytes());
    }
}

fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Adds a flag to the last message of a datagram.
fn set_flag(datagram: &mut [u8], flag: u16) {
    let (mut at, mut last) = (0, 0);
    while let Some(length) = word(datagram, at).filter(|length| *length as usize >= HEADER) {
        (last, at) = (at, at + (length as usize).next_multiple_of(4));
    }
    let flags = &mut datagram[last + 6..last + 8];
    let with = u16::from_ne_bytes([flags[0], flags[1]]) | flag;
    flags.copy_from_slice(&with.to_ne_bytes());
}

fn set_length(out: &mut [u8], start: usize) {
    let length = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    nested(out, kind, |out| out.extend_from_slice(value));
}

fn nested(out: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&kind.to_ne_bytes());
    value(out);
    set_length(out, start);
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
}

fn put_address(out: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(out, kind, &address.octets()),
        IpAddr::V6(address) => put(out, kind, &address.octets()),
    }
}

fn put_gateway(out: &mut Vec<u8>, prefix: IpNet, hop: &Hop) {
    match (prefix.addr(), hop.gateway) {
        (_, None) => {}
        // IPv4 by way of an IPv6 next hop (RFC 8950).
        (IpAddr::V4(_), Some(IpAddr::V6(gateway))) => nested(out, RTA_VIA, |out| {
            out.extend_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out.extend_from_slice(&gateway.octets());
        }),
        (_, Some(gateway)) => put_address(out, RTA_GATEWAY, gateway),
    }
}
