//! What changed in the kernel, as hints to read again.
//!
//! Notifications come by netlink multicast; kernel parameters have none for most of their kind, so the few that are ours are
//! read again several times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use dataplane::nft::TABLE_NAME;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{
    Socket,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::message::{Message, attribute, messages};
use crate::netlink::Netlink;
use crate::sysctl::sysctl_values;

/// Parts of the kernel's state that may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Links and addresses, and with them possibly everything but rules.
    pub links: bool,
    /// Routes.
    pub routes: bool,
    /// Permanent neighbours.
    pub neighbours: bool,
    /// Our nftables table.
    pub rules: bool,
    /// Our kernel parameters.
    pub sysctls: bool,
}

impl Changes {
    /// All of them.
    pub const ALL: Changes = Changes {
        links: true,
        routes: true,
        neighbours: true,
        rules: true,
        sysctls: true,
    };

    /// Whether there is any.
    pub fn any(self) -> bool {
        self != Changes::default()
    }

    fn add(&mut self, other: Changes) {
        self.links |= other.links;
        self.routes |= other.routes;
        self.neighbours |= other.neighbours;
        self.rules |= other.rules;
        self.sysctls |= other.sysctls;
    }
}

// Groups. Source: linux/rtnetlink.h, linux/netfilter/nfnetlink.h.
const GROUP_LINK: u32 = 1;
const GROUP_NEIGH: u32 = 3;
const GROUP_IPV4_ADDRESS: u32 = 5;
const GROUP_IPV4_ROUTE: u32 = 7;
const GROUP_IPV4_NETCONF: u32 = 24;
const GROUP_NFTABLES: u32 = 7;

// Lengths and numbers. Source: linux/neighbour.h, linux/netfilter/nfnetlink.h.
const NDMSG: usize = 12;
const NFGEN: usize = 4;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
const NDA_DST: u16 = 1;
const NUD_PERMANENT: u16 = 0x80;

/// How often parameters are read again: drift is to be mended within a second.
const SYSCTL_INTERVAL: Duration = Duration::from_millis(300);

/// Several changes close together are told once: this long after the first.
const GATHER: Duration = Duration::from_millis(5);

const BUFFER: usize = 1 << 20;

/// The sockets that hear of changes in the network namespace in which they were opened.
#[derive(Debug)]
pub struct Events {
    route: Socket,
    netfilter: Socket,
    sysctls: BTreeMap<String, String>,
    sysctls_read: Instant,
    /// Interface and address of each permanent neighbour.
    permanent: BTreeSet<(u32, Vec<u8>)>,
}

impl Events {
    /// Opens the sockets in the calling thread's network namespace.
    ///
    /// Open it before the first read, so that no change falls between.
    ///
    /// # Errors
    /// socket(2)'s and setsockopt(2)'s.
    pub fn open() -> io::Result<Events> {
        let mut route = Socket::new(NETLINK_ROUTE)?;
        route.bind_auto()?;
        for group in [
            GROUP_LINK,
            GROUP_NEIGH,
            GROUP_IPV4_ADDRESS,
            GROUP_IPV4_ROUTE,
            GROUP_IPV4_NETCONF,
        ] {
            route.add_membership(group)?;
        }
        let mut netfilter = Socket::new(NETLINK_NETFILTER)?;
        netfilter.bind_auto()?;
        netfilter.add_membership(GROUP_NFTABLES)?;
        for socket in [&route, &netfilter] {
            socket.set_non_blocking(true)?;
            // The kernel grants what it may; when it was too little, everything is read again.
            let _ = socket.set_rx_buf_sz(i32::try_from(BUFFER).expect("a megabyte"));
        }
        Ok(Events {
            route,
            netfilter,
            sysctls: sysctls_now(),
            sysctls_read: Instant::now(),
            permanent: permanent_now()?,
        })
    }

    /// Waits until something changed, at most so long; then what it was. Nothing: the time is over.
    ///
    /// # Errors
    /// poll(2)'s and the sockets'.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<Changes> {
        let deadline = Instant::now() + at_most;
        loop {
            let now = Instant::now();
            let sysctls_due = (self.sysctls_read + SYSCTL_INTERVAL).saturating_duration_since(now);
            let left = deadline.saturating_duration_since(now);
            self.poll(left.min(sysctls_due))?;
            let mut changes = self.drain()?;
            if changes.any() {
                self.poll(GATHER)?;
                changes.add(self.drain()?);
            }
            if changes.any() || self.sysctls_read.elapsed() >= SYSCTL_INTERVAL {
                changes.sysctls |= self.sysctls_changed();
            }
            if changes.any() || Instant::now() >= deadline {
                return Ok(changes);
            }
        }
    }

    fn poll(&self, at_most: Duration) -> io::Result<()> {
        let mut descriptors = [
            PollFd::new(&self.route, PollFlags::IN),
            PollFd::new(&self.netfilter, PollFlags::IN),
        ];
        // Rounded up, so that it does not spin in the last millisecond.
        let time = Timespec::try_from(at_most).map_err(io::Error::other)?;
        match poll(&mut descriptors, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let mut buffer = Vec::with_capacity(64 * 1024);
        for (socket, is_route) in [(&self.route, true), (&self.netfilter, false)] {
            loop {
                buffer.clear();
                match socket.recv(&mut buffer, 0) {
                    Ok(0) => break,
                    Ok(_) if is_route => {
                        for message in messages(&buffer) {
                            changes.add(of_route(&message, &mut self.permanent));
                        }
                    }
                    Ok(_) => {
                        changes.rules |= messages(&buffer).any(|message| is_our_table(&message))
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // Some were lost.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        changes.add(Changes::ALL)
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(changes)
    }

    fn sysctls_changed(&mut self) -> bool {
        let now = sysctls_now();
        let changed = now != self.sysctls;
        self.sysctls = now;
        self.sysctls_read = Instant::now();
        changed
    }
}

impl Events {
    /// The descriptors that become readable with a change, for a caller with its own poll(2).
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.route.as_fd(), self.netfilter.as_fd()]
    }
}

/// The permanent neighbours of the namespace.
fn permanent_now() -> io::Result<BTreeSet<(u32, Vec<u8>)>> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    let found = Netlink::open()?.dump(RouteNetlinkMessage::GetNeighbour(message))?;
    let permanent = found.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewNeighbour(message)
            if message.header.state == NeighbourState::Permanent =>
        {
            let address = message
                .attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                        Some(v4.octets().to_vec())
                    }
                    _ => None,
                });
            Some((message.header.ifindex, address?))
        }
        _ => None,
    });
    Ok(permanent.collect())
}

fn sysctls_now() -> BTreeMap<String, String> {
    // The directory has one entry an interface; reading it is cheaper than a dump.
    let names: Vec<String> = std::fs::read_dir("/proc/sys/net/ipv4/conf")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "all" && name != "default")
        .collect();
    sysctl_values(names.iter().map(String::as_str))
}

fn of_route(message: &Message<'_>, permanent: &mut BTreeSet<(u32, Vec<u8>)>) -> Changes {
    let mut changes = Changes::default();
    // Source: linux/rtnetlink.h, RTM_*: fours of new, del, get, set.
    match message.kind {
        16..=23 => changes.links = true,
        24..=27 => changes.routes = true,
        NEW_NEIGHBOUR | DEL_NEIGHBOUR => {
            changes.neighbours = of_neighbour(message, permanent).unwrap_or(true)
        }
        80..=83 => changes.sysctls = true,
        _ => {}
    }
    changes
}

/// Whether a permanent neighbour came, changed or went. What ARP learns and forgets by itself, many times a minute, is no change.
fn of_neighbour(message: &Message<'_>, permanent: &mut BTreeSet<(u32, Vec<u8>)>) -> Option<bool> {
    // struct ndmsg: family, three bytes of padding, interface, state.
    let interface = u32::from_ne_bytes(message.body.get(4..8)?.try_into().ok()?);
    let state = u16::from_ne_bytes(message.body.get(8..10)?.try_into().ok()?);
    let address = attribute(message.body.get(NDMSG..)?, NDA_DST)?.to_vec();
    if message.kind == NEW_NEIGHBOUR && state & NUD_PERMANENT != 0 {
        permanent.insert((interface, address));
        return Some(true);
    }
    Some(permanent.remove(&(interface, address)))
}

/// Whether a message of nftables is about our table. In all of them but that of the generation, attribute 1 is the table's name.
fn is_our_table(message: &Message<'_>) -> bool {
    let name = message
        .body
        .get(NFGEN..)
        .and_then(|attributes| attribute(attributes, 1));
    name.is_some_and(|name| name.strip_suffix(&[0]).unwrap_or(name) == TABLE_NAME.as_bytes())
}
