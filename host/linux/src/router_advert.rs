//! Router advertisements and solicitations (RFC 4861): their octets, and the raw socket that they go by.
//!
//! Only that a router is there, and its address, is taken from them. What we advertise makes us nobody's default router and
//! gives nobody an address: router lifetime 0, no prefix.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::datagram::{describe_datagrams, receive_datagram};

// Source: RFC 4861 §4.1, §4.2, §4.6.1.
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const SOLICITATION_LENGTH: usize = 8;
const ADVERTISEMENT_LENGTH: usize = 16;
const SOURCE_LINK_LAYER: u8 = 1;
/// What a router has not forwarded (RFC 4861 §6.1).
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What is said between routers and hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterMessage {
    /// Who is a router here?
    Solicitation,
    /// The sender is one.
    Advertisement,
}

impl RouterMessage {
    /// Its octets without a checksum, which the kernel puts in; `link_layer` is the sender's hardware address.
    pub fn encode(self, link_layer: Option<[u8; 6]>) -> Vec<u8> {
        let (kind, length) = match self {
            RouterMessage::Solicitation => (SOLICITATION, SOLICITATION_LENGTH),
            RouterMessage::Advertisement => (ADVERTISEMENT, ADVERTISEMENT_LENGTH),
        };
        // All that is 0 in an advertisement means "not said by this router", a lifetime of 0 "not a default router".
        let mut out = vec![0; length];
        out[0] = kind;
        if let Some(address) = link_layer {
            out.extend_from_slice(&[SOURCE_LINK_LAYER, 1]);
            out.extend_from_slice(&address);
        }
        out
    }

    /// What an ICMPv6 message is; `None` when it is another one or not valid (RFC 4861 §6.1.1, §6.1.2).
    pub fn decode(octets: &[u8]) -> Option<RouterMessage> {
        let (kind, length) = match octets {
            [SOLICITATION, 0, ..] => (RouterMessage::Solicitation, SOLICITATION_LENGTH),
            [ADVERTISEMENT, 0, ..] => (RouterMessage::Advertisement, ADVERTISEMENT_LENGTH),
            _ => return None,
        };
        let mut options = octets.get(length..)?;
        while !options.is_empty() {
            let size = usize::from(*options.get(1)?) * 8;
            options = options.get(size..).filter(|_| size > 0)?;
        }
        Some(kind)
    }

    fn destination(self) -> Ipv6Addr {
        match self {
            RouterMessage::Solicitation => ALL_ROUTERS,
            RouterMessage::Advertisement => ALL_NODES,
        }
    }
}

/// A message that arrived, from a neighbour's link-local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromRouter {
    /// What it is.
    pub message: RouterMessage,
    /// Who sent it.
    pub source: Ipv6Addr,
    /// The index of the interface that it came by.
    pub scope: u32,
}

/// The raw socket, in the network namespace in which it was opened. It hears no other ICMPv6 messages, and not its own.
#[derive(Debug)]
pub struct RouterSocket {
    socket: Socket,
}

impl RouterSocket {
    /// Opens it.
    ///
    /// # Errors
    /// socket(2)'s and setsockopt(2)'s; `PermissionDenied` without CAP_NET_RAW.
    pub fn open() -> io::Result<RouterSocket> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
        // Load the octet at 0, the type; keep all of these two, and nothing else. Source: linux/filter.h.
        socket.attach_filter(&[
            SockFilter::new(0x30, 0, 0, 0),
            SockFilter::new(0x15, 1, 0, SOLICITATION.into()),
            SockFilter::new(0x15, 0, 1, ADVERTISEMENT.into()),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ])?;
        socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_loop_v6(false)?;
        describe_datagrams(socket.as_fd(), true)?;
        Ok(RouterSocket { socket })
    }

    /// Hears solicitations on this interface, until it goes.
    ///
    /// # Errors
    /// setsockopt(2)'s, but for an interface that is heard already.
    pub fn join(&self, scope: u32) -> io::Result<()> {
        match self.socket.join_multicast_v6(&ALL_ROUTERS, scope) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            joined => joined,
        }
    }

    /// Sends a message to all who are to have it on this interface; see [`RouterMessage::encode`].
    ///
    /// # Errors
    /// sendto(2)'s: `AddrNotAvailable` while the interface has no link-local address that can be used.
    pub fn send(
        &self,
        message: RouterMessage,
        scope: u32,
        link_layer: Option<[u8; 6]>,
    ) -> io::Result<()> {
        let to = SocketAddr::V6(SocketAddrV6::new(message.destination(), 0, 0, scope));
        let octets = message.encode(link_layer);
        self.socket.send_to(&octets, &SockAddr::from(to)).map(drop)
    }

    /// The next message that is valid, without waiting. One from no link-local address is passed over: by it the kernel
    /// does not say the interface.
    ///
    /// # Errors
    /// recvmsg(2)'s; `WouldBlock` when there is none.
    pub fn receive(&self) -> io::Result<FromRouter> {
        // What does not fit is cut off and then no longer valid; a message is no larger than what a link takes at once.
        let mut buffer = [0; 9216];
        loop {
            let datagram = receive_datagram(self.socket.as_fd(), &mut buffer)?;
            let IpAddr::V6(source) = datagram.source else {
                continue;
            };
            if datagram.ttl != HOP_LIMIT || !source.is_unicast_link_local() {
                continue;
            }
            if let Some(message) = RouterMessage::decode(&buffer[..datagram.length]) {
                return Ok(FromRouter {
                    message,
                    source,
                    scope: datagram.scope,
                });
            }
        }
    }
}

impl AsFd for RouterSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn octets() {
        let said = RouterMessage::Advertisement.encode(Some(MAC));
        assert_eq!(
            said,
            [
                134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 7
            ]
        );
        let asked = RouterMessage::Solicitation.encode(None);
        assert_eq!(asked, [133, 0, 0, 0, 0, 0, 0, 0]);
        for message in [RouterMessage::Solicitation, RouterMessage::Advertisement] {
            for link_layer in [None, Some(MAC)] {
                let octets = message.encode(link_layer);
                assert_eq!(RouterMessage::decode(&octets), Some(message));
            }
        }
    }

    #[test]
    fn what_is_not_valid_is_passed_over() {
        // As FRR's zebra sends it: lifetime, an interval option (RFC 6275 §7.3), a link-layer address.
        let whole = [
            [134, 0, 1, 2, 64, 0, 0, 30],
            [0; 8],
            [7, 1, 0, 0, 0, 0, 39, 16],
            [1, 1, 2, 0, 0, 0, 0, 9],
        ]
        .concat();
        let decode = RouterMessage::decode;
        assert_eq!(decode(&whole), Some(RouterMessage::Advertisement));
        let whole_options = [16, 24, 32];
        for cut in 0..=whole.len() {
            let valid = decode(&whole[..cut]).is_some();
            assert_eq!(valid, whole_options.contains(&cut), "{cut}");
        }
        let with = |at: usize, value: u8| {
            let mut changed = whole.clone();
            changed[at] = value;
            decode(&changed)
        };
        assert_eq!(with(0, 135), None, "a neighbour solicitation");
        assert_eq!(with(1, 1), None, "a code");
        assert_eq!(with(17, 0), None, "an option without length");
        assert_eq!(with(17, 3), None, "an option over the end");
        assert_eq!(with(17, 2), Some(RouterMessage::Advertisement), "control");
    }

    /// Octets of chance: nothing panics, and what is taken has a header and whole options.
    #[test]
    fn any_octets() {
        let mut state = 1_u64;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        let mut taken = 0;
        for _ in 0..200_000 {
            let mut octets: Vec<u8> = (0..draw() % 64).map(|_| draw() % 8).collect();
            if let Some(kind) = octets.first_mut() {
                *kind = 132 + draw() % 4;
            }
            if let Some(message) = RouterMessage::decode(&octets) {
                taken += 1;
                let least = message.encode(None).len();
                assert!(octets.len() >= least && octets.len().is_multiple_of(8));
            }
        }
        assert!(taken > 100, "control: {taken}");
    }
}
