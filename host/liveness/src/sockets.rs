//! The UDP sockets: one to listen for each family and kind of session, one to send for each session.

use bfd::{MULTIHOP_PORT, SINGLE_HOP_PORT, SOURCE_PORTS, TTL};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;

/// How many source ports are tried.
const ATTEMPTS: u32 = 64;
/// Internetwork control (RFC 2474 §4.2.2.2, CS6): nothing else is queued before it.
const TRAFFIC_CLASS: u32 = 0xc0;

fn udp(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(domain, kind, Some(Protocol::UDP))?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub ipv6: bool,
    pub multihop: bool,
}

impl Kind {
    pub fn address(self) -> SocketAddr {
        let port = if self.multihop {
            MULTIHOP_PORT
        } else {
            SINGLE_HOP_PORT
        };
        SocketAddr::new(unspecified(self.ipv6), port)
    }

    /// Listens, with TTL and time of each packet.
    pub fn listen(self) -> io::Result<UdpSocket> {
        let socket = udp(self.ipv6)?;
        linux::describe_datagrams(socket.as_fd(), self.ipv6)?;
        socket.bind(&SockAddr::from(self.address()))?;
        Ok(socket.into())
    }
}

/// The sending sockets. RFC 5881 §4: one source port for all packets of a session.
#[derive(Default)]
pub(crate) struct Senders {
    sockets: BTreeMap<u32, (Option<IpAddr>, UdpSocket)>,
    errors: BTreeMap<u32, String>,
}

/// Where a packet goes.
pub(crate) struct Destination {
    pub session: u32,
    pub remote: IpAddr,
    pub scope: u32,
    pub multihop: bool,
    pub local: Option<IpAddr>,
}

impl Senders {
    /// Sends a packet; what hinders it is kept for whoever asks, and the next one is tried as if nothing had been.
    pub fn send(&mut self, to: &Destination, packet: &[u8]) {
        match self.try_send(to, packet) {
            Ok(()) => drop(self.errors.remove(&to.session)),
            Err(error) => {
                tracing::debug!("cannot send to {}: {error}", to.remote);
                self.errors.insert(to.session, error.to_string());
                // The address may have come back, but not on this socket.
                self.sockets.remove(&to.session);
            }
        }
    }

    fn try_send(&mut self, to: &Destination, packet: &[u8]) -> io::Result<()> {
        let fits = self
            .sockets
            .get(&to.session)
            .is_some_and(|s| s.0 == to.local);
        if !fits {
            let socket = open(to)?;
            self.sockets.insert(to.session, (to.local, socket));
        }
        let Some((_, socket)) = self.sockets.get(&to.session) else {
            return Ok(());
        };
        let port = Kind {
            ipv6: to.remote.is_ipv6(),
            multihop: to.multihop,
        }
        .address()
        .port();
        let address = match to.remote {
            IpAddr::V4(_) => SocketAddr::new(to.remote, port),
            IpAddr::V6(remote) => SocketAddrV6::new(remote, port, 0, to.scope).into(),
        };
        match socket.send_to(packet, address) {
            Ok(_) => Ok(()),
            // What an earlier packet ran into (ICMP) is told with the next one, which was not sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                socket.send_to(packet, address).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    pub fn error(&self, session: u32) -> Option<&String> {
        self.errors.get(&session)
    }

    pub fn close(&mut self, session: u32) {
        self.sockets.remove(&session);
        self.errors.remove(&session);
    }
}

fn open(to: &Destination) -> io::Result<UdpSocket> {
    let ipv6 = to.remote.is_ipv6();
    let socket = udp(ipv6)?;
    if ipv6 {
        socket.set_unicast_hops_v6(u32::from(TTL))?;
        socket.set_tclass_v6(TRAFFIC_CLASS)?;
    } else {
        socket.set_ttl_v4(u32::from(TTL))?;
        socket.set_tos_v4(TRAFFIC_CLASS)?;
    }
    // Nothing comes to it; answers go to the well-known port.
    socket.set_recv_buffer_size(0)?;
    let local = to.local.unwrap_or(unspecified(ipv6));
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for attempt in 0..ATTEMPTS {
        let span = u64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
        let draw = RandomState::new().hash_one(attempt) % span;
        let port = SOURCE_PORTS.start() + draw as u16;
        match socket.bind(&SockAddr::from(SocketAddr::new(local, port))) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
