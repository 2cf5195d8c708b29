//! What others change in a routing table.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::IpNet;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use socket2::{SockFilter, SockRef};

use super::{
    BUFFER, DEL_ROUTE, Found, GET_ADDRESS, GROUPS, Hop, NEW_ADDRESS, NEW_LINK, NEW_ROUTE, Owner,
    RouteWriter, SET_LINK, receive, word,
};
use crate::message::{Message, messages};

// Source: linux/if.h, linux/rtnetlink.h.
const UP: u32 = 1;
const DEL_LINK: u16 = 17;

/// What others did to routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Routes of the owner that somebody else removed or changed, each with the hops that went; none: all of it. An IPv6 route
    /// with several hops loses that of an interface that goes, and keeps the others.
    pub touched: Vec<(IpNet, Vec<Hop>)>,
    /// Routes, links or addresses changed: next hops may be reached otherwise.
    pub next_hops: bool,
    /// Interfaces that changed, or their addresses, which may take IPv4 routes away without a word.
    pub links: Vec<u32>,
    /// Interfaces that were set up (true) or down, or removed, in order. The kernel says so before it removes the routes.
    pub states: Vec<(u32, bool)>,
    /// Notifications were lost: read all again.
    pub lost: bool,
}

/// Hears what others than a [`RouteWriter`] change.
#[derive(Debug)]
pub struct RouteMonitor {
    socket: Socket,
    owner: Owner,
    received: Vec<u8>,
}

impl RouteMonitor {
    /// Hears of changes by all but this writer: the kernel does not even queue that one's.
    ///
    /// # Errors
    /// socket(2)'s and setsockopt(2)'s.
    pub fn open(writer: &RouteWriter) -> io::Result<RouteMonitor> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        let port = writer.port()?;
        // Load the word at 12, nlmsg_pid, in network order; equal: keep nothing; else keep all. Source: linux/filter.h.
        let filter = [
            SockFilter::new(0x20, 0, 0, 12),
            SockFilter::new(0x15, 0, 1, in_network_order(port)),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        SockRef::from(&socket.as_fd()).attach_filter(&filter)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        let _ = socket.set_rx_buf_sz(BUFFER);
        Ok(RouteMonitor {
            socket,
            owner: writer.owner,
            received: Vec::with_capacity(64 << 10),
        })
    }

    /// What has come since the last time; does not wait.
    ///
    /// # Errors
    /// recv(2)'s, but for lost notifications.
    pub fn drain(&mut self) -> io::Result<Drift> {
        let mut drift = Drift::default();
        loop {
            match receive(&self.socket, &mut self.received) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(drift),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => drift.lost = true,
                Err(error) => return Err(error),
            }
            for note in messages(&self.received) {
                drift.next_hops = true;
                match note.kind {
                    // struct ifinfomsg and struct ifaddrmsg both have the interface's index here.
                    NEW_LINK..=SET_LINK | NEW_ADDRESS..=GET_ADDRESS => {
                        drift.links.extend(word(note.body, 4));
                        drift.states.extend(state(&note));
                    }
                    NEW_ROUTE | DEL_ROUTE => {
                        if let Some(route) = Found::read(&note)
                            && route.table == self.owner.table
                            && route.metric == self.owner.metric
                        {
                            let gone = match note.kind {
                                DEL_ROUTE => route.hops,
                                _ => Vec::new(),
                            };
                            drift.touched.push((route.prefix, gone));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

impl AsFd for RouteMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The interface of a notification about links, and whether it is up.
fn state(note: &Message<'_>) -> Option<(u32, bool)> {
    let (index, flags) = (word(note.body, 4)?, word(note.body, 8)?);
    match note.kind {
        NEW_LINK => Some((index, flags & UP != 0)),
        DEL_LINK => Some((index, false)),
        _ => None,
    }
}

/// A port number as a filter's constant: what it compares is read in network order.
fn in_network_order(port: u32) -> u32 {
    u32::from_be_bytes(port.to_ne_bytes())
}
