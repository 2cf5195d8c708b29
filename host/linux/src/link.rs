//! Single interfaces by name, and a hint when any may have changed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::netlink::{Netlink, NetlinkResult};

/// RTNLGRP_LINK, RTNLGRP_IPV6_IFADDR. Source: linux/rtnetlink.h.
const GROUPS: [u32; 2] = [1, 9];

/// An interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Its index, which is never another interface's.
    pub index: u32,
    /// It is up and has a carrier.
    pub running: bool,
    /// How often it lost its carrier: a loss may be over before anybody looks.
    pub carrier_losses: u32,
    /// Its hardware address, where that has six octets.
    pub link_layer: Option<[u8; 6]>,
}

/// Reads interfaces, and hears when to read them again, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct LinkMonitor {
    events: Socket,
    netlink: Netlink,
    received: Vec<u8>,
}

impl LinkMonitor {
    /// Opens the sockets. Open them before the first read, so that no change falls between.
    ///
    /// # Errors
    /// socket(2)'s and setsockopt(2)'s.
    pub fn open() -> io::Result<LinkMonitor> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        events.bind_auto()?;
        for group in GROUPS {
            events.add_membership(group)?;
        }
        events.set_non_blocking(true)?;
        Ok(LinkMonitor {
            events,
            netlink: Netlink::open()?,
            received: Vec::with_capacity(64 << 10),
        })
    }

    /// Whether an interface or an IPv6 address may have changed since the last time; does not wait.
    ///
    /// # Errors
    /// recv(2)'s, but for lost notifications, which count as one.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            self.received.clear();
            match self.events.recv(&mut self.received, 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// The interface of this name; `None` when there is none.
    ///
    /// # Errors
    /// The kernel's, other than ENODEV.
    pub fn read(&mut self, name: &str) -> NetlinkResult<Option<LinkState>> {
        let mut message = LinkMessage::default();
        let name = LinkAttribute::IfName(name.to_owned());
        message.attributes.push(name);
        match self.netlink.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(RouteNetlinkMessage::NewLink(link)) => Ok(Some(state(&link))),
            Ok(_) => Ok(None),
            Err(error) if error.is(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn state(link: &LinkMessage) -> LinkState {
    let mut state = LinkState {
        index: link.header.index,
        running: link.header.flags.contains(LinkFlags::Running),
        carrier_losses: 0,
        link_layer: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(octets) => {
                state.link_layer = <[u8; 6]>::try_from(octets.as_slice()).ok();
            }
            LinkAttribute::CarrierDownCount(count) => state.carrier_losses = *count,
            _ => {}
        }
    }
    state
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        let mut links = LinkMonitor::open().expect("netlink is there");
        let lo = links.read("lo").expect("it answers").expect("lo is there");
        assert_eq!(lo.index, 1);
        assert_eq!(links.read("no-such-link").expect("it answers"), None);
        links.drain().expect("it can be heard");
    }
}
