//! Finds the neighbours of unnumbered peers: the sockets of [`Discovery`], and what it finds for the machine.

use super::EventLoop;
use crate::discovery::{Act, Discovery};
use crate::socket;
use bgp::{Input, Neighbor};
use linux::{LinkMonitor, RouterMessage, RouterSocket};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

/// The first tokens after the waker's.
const ROUTERS: Token = Token(1);
const LINKS: Token = Token(2);
/// The first token that is nobody's.
pub(super) const NEXT_TOKEN: usize = 3;

/// What it takes to find neighbours; the sockets are there while some are to be found.
pub(super) struct Neighbors {
    discovery: Discovery,
    routers: Option<RouterSocket>,
    links: Option<LinkMonitor>,
}

impl Neighbors {
    pub fn new(seed: u64) -> Self {
        Neighbors {
            discovery: Discovery::new(seed),
            routers: None,
            links: None,
        }
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.discovery.next_deadline()
    }

    fn open(&mut self, registry: &Registry, interfaces: &[Arc<str>]) {
        if interfaces.is_empty() {
            (self.routers, self.links) = (None, None);
            return;
        }
        if self.links.is_none() {
            self.links = watched(registry, LINKS, LinkMonitor::open())
                .inspect_err(|error| tracing::error!("cannot hear of interfaces: {error}"))
                .ok();
        }
        if self.routers.is_none() {
            let opened = watched(registry, ROUTERS, RouterSocket::open());
            self.discovery.set_refused(opened.is_err());
            self.routers = opened
                .inspect_err(|error| {
                    tracing::error!(
                        "{}: no raw ICMPv6 socket, so no neighbor is looked for on {}: {}; give the process \
                         CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW in its unit, or setcap cap_net_raw+ep) and start \
                         it again. Until then a neighbor is found there only when it connects",
                        Neighbor::Refused.waits_for().unwrap_or_default(),
                        interfaces.join(", "),
                        socket::words(error)
                    );
                })
                .ok();
        }
    }

    /// Reads how the interfaces are now.
    fn read_links(&mut self, now: Duration) {
        let Some(links) = &mut self.links else {
            return;
        };
        for name in self.discovery.names().collect::<Vec<_>>() {
            match links.read(&name) {
                Ok(link) => self.discovery.link(&name, link, now),
                Err(error) => tracing::warn!("cannot read the interface {name}: {error}"),
            }
        }
    }
}

/// Registers a socket that could be opened.
fn watched<T: AsFd>(registry: &Registry, token: Token, opened: io::Result<T>) -> io::Result<T> {
    let socket = opened?;
    let descriptor = socket.as_fd().as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
    Ok(socket)
}

impl EventLoop {
    /// Looks for neighbours on exactly these interfaces.
    pub(super) fn find_neighbors(&mut self, interfaces: &[Arc<str>]) {
        let now = super::now(self.started).mono;
        self.neighbors.discovery.want(interfaces);
        self.neighbors.open(self.poll.registry(), interfaces);
        self.neighbors.read_links(now);
        self.tell_neighbors();
    }

    /// True when the event was one of these sockets'.
    pub(super) fn note_neighbors(&mut self, token: Token) -> bool {
        match token {
            ROUTERS => self.hear_routers(),
            LINKS => {
                let now = super::now(self.started).mono;
                let links = self.neighbors.links.as_mut();
                match links.map_or(Ok(false), LinkMonitor::drain) {
                    Ok(false) => {}
                    Ok(true) => self.neighbors.read_links(now),
                    Err(error) => tracing::warn!("cannot hear of interfaces: {error}"),
                }
            }
            _ => return false,
        }
        self.tell_neighbors();
        true
    }

    fn hear_routers(&mut self) {
        let now = super::now(self.started).mono;
        let speaker = &self.speaker;
        let Neighbors {
            discovery, routers, ..
        } = &mut self.neighbors;
        let Some(routers) = routers else { return };
        loop {
            match routers.receive() {
                Ok(heard) => match heard.message {
                    RouterMessage::Solicitation => discovery.solicited(heard.scope, now),
                    RouterMessage::Advertisement => {
                        discovery.advertised(heard.scope, heard.source, now, |interface| {
                            speaker.is_established_on(interface)
                        });
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Such as ENETDOWN of an interface that went: told once, and the next message is another one's.
                    tracing::debug!("cannot read a router's message: {error}");
                }
            }
        }
    }

    /// A connection came in; from a link-local address its sender may be who is looked for.
    pub(super) fn found_by_connection(&mut self, remote: SocketAddr) {
        if let SocketAddr::V6(remote) = remote
            && remote.scope_id() != 0
        {
            let now = super::now(self.started).mono;
            let discovery = &mut self.neighbors.discovery;
            discovery.connected(remote.scope_id(), *remote.ip(), now);
            self.tell_neighbors();
        }
    }

    pub(super) fn time_neighbors(&mut self, now: Duration) {
        if self.neighbors.next_deadline().is_some_and(|at| at <= now) {
            self.neighbors.discovery.timer(now);
            self.tell_neighbors();
        }
    }

    fn tell_neighbors(&mut self) {
        while let Some(act) = self.neighbors.discovery.poll() {
            let now = super::now(self.started);
            if let Act::Tell(interface, neighbor) = act {
                let interface = &*interface;
                if let Neighbor::At { address, .. } = neighbor {
                    tracing::info!("{interface}: the neighbor is {address}");
                }
                let input = Input::Neighbor {
                    interface,
                    neighbor,
                };
                self.speaker.handle(input, now);
                continue;
            }
            if let Err(error) = self.do_act(&act) {
                tracing::debug!("{act:?}: {error}");
                self.neighbors.discovery.failed(&act, now.mono);
            }
        }
    }

    fn do_act(&self, act: &Act) -> io::Result<()> {
        let send = |message, link: &linux::LinkState| match &self.neighbors.routers {
            Some(routers) => routers.send(message, link.index, link.link_layer),
            None => Ok(()),
        };
        match act {
            Act::Advertise(link) => send(RouterMessage::Advertisement, link),
            Act::Solicit(link) => send(RouterMessage::Solicitation, link),
            Act::Join(link) => match &self.neighbors.routers {
                Some(routers) => routers.join(link.index),
                None => Ok(()),
            },
            Act::Another {
                interface,
                source,
                neighbor,
            } => {
                tracing::warn!(
                    "interface-has-neighbor: {interface}: {source} is there too, and {neighbor} is the neighbor"
                );
                Ok(())
            }
            Act::Tell(..) => Ok(()),
        }
    }
}
