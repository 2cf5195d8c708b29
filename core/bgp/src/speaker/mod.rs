//! The machine: inputs in, outputs out.
//!
//! ```text
//!               ┌────────── fsm: connections, timers ──────────┐
//!   Input ──────┤           messages: OPEN … ROUTE-REFRESH     ├──> Output
//!               └── configure ── restart ── rib ── pace ───────┘
//! ```

mod configure;
mod fsm;
mod limit;
mod messages;
mod monitor;
mod neighbor;
mod pace;
mod path;
mod restart;
mod tap;

use crate::filter::Interfaces;
use crate::rib::{Judge, Rib};
use crate::session::{Peer, Random, Stage};
use crate::{
    Asn, Chunk, Config, ConnId, Explanation, Family, Input, Now, Output, PeerEvent, PeerState,
    PeerStatus,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// A BGP speaker.
pub struct Speaker {
    config: Config,
    random: Random,
    rib: Rib,
    /// By peer number; 0 is ourselves.
    peers: Vec<Option<Box<Peer>>>,
    /// By peer number, as routes show them.
    names: Vec<Option<Arc<str>>>,
    /// Numbers that are free again, in the order in which they became so.
    free: VecDeque<u16>,
    by_name: BTreeMap<Arc<str>, u16>,
    by_address: BTreeMap<IpAddr, Vec<u16>>,
    by_connection: BTreeMap<ConnId, u16>,
    /// All clusters that we reflect in.
    clusters: BTreeSet<Ipv4Addr>,
    interfaces: Arc<Interfaces>,
    deadlines: BTreeSet<(Duration, u16)>,
    /// Ranges that turned somebody away and were not less full since.
    full_ranges: BTreeSet<IpNet>,
    outputs: VecDeque<Output>,
    dialled: u64,
    stopped: bool,
    sync: restart::Sync,
    pace: pace::Pace,
    paths: path::Paths,
    /// The driver must be told anew where neighbours are to be found.
    interfaces_wanted: bool,
    /// Canonical attributes of the UPDATE at hand.
    block: Vec<u8>,
    mirror: monitor::Mirroring,
    taps: tap::Taps,
}

impl Speaker {
    /// A speaker that wants `config` from `now` on. `seed` feeds its jitter and its hashing.
    pub fn new(config: Config, seed: u64, now: Now) -> Self {
        let mut rib = Rib::new(seed, config.report_routes);
        rib.hold_end_of_rib(config.restarting);
        if config.track_next_hops {
            rib.track_next_hops();
        }
        let mut speaker = Speaker {
            random: Random::new(seed),
            rib,
            peers: vec![None],
            names: vec![None],
            free: VecDeque::new(),
            by_name: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            clusters: BTreeSet::new(),
            interfaces: Arc::default(),
            deadlines: BTreeSet::new(),
            full_ranges: BTreeSet::new(),
            outputs: VecDeque::new(),
            dialled: 0,
            stopped: false,
            sync: restart::Sync::new(now.mono + config.selection_deferral),
            pace: pace::Pace::default(),
            paths: path::Paths::default(),
            interfaces_wanted: false,
            block: Vec::new(),
            mirror: monitor::Mirroring::default(),
            taps: tap::Taps::default(),
            config: Config {
                listen: Vec::new(),
                ..Config::new(config.local_as, config.router_id)
            },
        };
        speaker.configure(config, now);
        speaker
    }

    /// Takes one input. Cheap; what follows from it comes from [`Speaker::poll`]. Hand over all
    /// that is at hand before polling: routes that change together then go out together. An
    /// input about a connection that is not known any more is passed over.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        match input {
            Input::Configure(config) => self.configure(*config, now),
            Input::Connected { conn, local } => {
                self.with_connection(conn, now, |s, p| s.connected(p, conn, local, now));
            }
            Input::SharedLink { conn, link_local } => {
                self.with_connection(conn, now, |_, peer| {
                    if let Some(connection) = peer.connection(conn) {
                        connection.link_local = Some(link_local);
                    }
                });
            }
            Input::SharedNetwork { conn, network } => {
                self.with_connection(conn, now, |_, peer| {
                    if let Some(connection) = peer.connection(conn) {
                        connection.network = Some(network);
                    }
                });
            }
            Input::NextHop { address, cost } => self.rib.set_next_hop(address, cost),
            Input::ConnectFailed { conn, error } => {
                self.with_connection(conn, now, |s, p| s.connect_failed(p, conn, error, now));
            }
            Input::Accepted {
                conn,
                remote,
                local,
            } => self.accepted(conn, remote, local, now),
            Input::Received { conn, bytes } => {
                self.with_connection(conn, now, |s, p| s.received(p, conn, bytes, now));
            }
            Input::Closed { conn, error } => {
                self.with_connection(conn, now, |s, p| s.closed(p, conn, error, now));
            }
            Input::Timer => self.run_timers(now),
            Input::Reset { peer, text } => {
                if let Some(number) = self.by_name.get(peer).copied() {
                    self.with_peer(number, now, |s, p| s.reset(p, text, now));
                }
            }
            Input::Neighbor {
                interface,
                neighbor,
            } => self.neighbor(interface, neighbor, now),
            Input::Path {
                remote,
                scope,
                state,
            } => self.path((remote.to_canonical(), scope), state, now),
            Input::Stop { cease, text } => self.stop(cease, text, now),
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self, now: Now) -> Option<Output> {
        if self.paths.changed {
            self.tell_paths();
        }
        self.rib.judge_next_hops();
        if let Some(addresses) = self.rib.ask_next_hops() {
            self.outputs.push_back(Output::NextHops(addresses));
        }
        if self.interfaces_wanted {
            self.tell_interfaces();
        }
        if self.outputs.is_empty() && self.pace.begin_turn() {
            self.work(now);
        }
        let output = self.outputs.pop_front();
        if output.is_none() {
            self.pace.end_turn();
        }
        output
    }

    /// When to come back at the latest, on [`Now::mono`]; zero means at once, after a look at
    /// the sockets. `None` when only inputs matter.
    pub fn next_deadline(&self) -> Option<Duration> {
        let timers = self.deadlines.first().map(|(at, _)| *at);
        let sync = self.sync.deadline();
        let work = self.pace.deadline(self.rib.is_behind(), self.rib.members());
        timers.into_iter().chain(sync).chain(work).min()
    }

    /// Appends what is to be written to `conn` next, in order, at most about `max` bytes, and
    /// nothing when there is nothing. It stays queued until [`Speaker::transmitted`]. After
    /// [`Output::Send`] the driver goes on with both until nothing comes.
    pub fn transmit(&self, conn: ConnId, max: usize, out: &mut Vec<Chunk>) {
        let Some(peer) = self.peer_of(conn) else {
            return;
        };
        let Some(connection) = peer.connections.iter().find(|c| c.id == conn) else {
            return;
        };
        let outbox = (connection.stage == Stage::Established)
            .then(|| &self.rib.outboxes[usize::from(peer.number)]);
        let begun = outbox.is_some_and(|o| o.begun(peer.number).is_some());
        if let Some(outbox) = outbox.filter(|_| begun) {
            outbox.peek(peer.number, max, 1, out);
            if !connection.control.is_empty() {
                out.extend(connection.control.iter().cloned());
                return;
            }
            out.clear();
        } else {
            out.extend(connection.control.iter().cloned());
        }
        if let Some(outbox) = outbox {
            outbox.peek(peer.number, max, 64, out);
        }
    }

    /// The socket took `bytes` of what [`Speaker::transmit`] showed; more than none. A peer that
    /// takes nothing for too long is given up (RFC 9687).
    pub fn transmitted(&mut self, conn: ConnId, bytes: usize, now: Now) {
        let Some(number) = self.by_connection.get(&conn).copied() else {
            return;
        };
        let Some(peer) = self.peers[usize::from(number)].as_mut() else {
            return;
        };
        peer.counters.bytes_out += bytes as u64;
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        connection.progress = now.mono;
        let outbox = &mut self.rib.outboxes[usize::from(number)];
        let established = connection.stage == Stage::Established;
        let mut left = bytes;
        if established && let Some(begun) = outbox.begun(number) {
            let step = begun.min(left);
            left = left - step + outbox.advance(number, step);
        }
        while left > 0 {
            let Some(chunk) = connection.control.front_mut() else {
                break;
            };
            let step = left.min(chunk.end - chunk.start);
            chunk.start += step;
            left -= step;
            if chunk.start == chunk.end {
                connection.control.pop_front();
            }
        }
        if established {
            outbox.advance(number, left);
        }
        if connection.control.is_empty() && (!established || outbox.is_empty()) {
            connection.announced = false;
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All peers, by name.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.by_name
            .values()
            .filter_map(|number| self.status(*number))
            .collect()
    }

    /// All prefixes of a family that have a path, in order.
    pub fn prefixes(&self, family: Family) -> Vec<IpNet> {
        self.rib.prefixes(family)
    }

    /// All paths of a prefix and why each won or lost.
    pub fn explain(&self, prefix: IpNet) -> Explanation {
        let import = |number: u16| {
            let peer = self.peers[usize::from(number)].as_deref()?;
            let filter = &peer.config.import;
            let judge = Judge::new(filter, self.is_external(peer), Some(&self.interfaces));
            Some((filter, judge))
        };
        Explanation {
            prefix,
            paths: self.rib.explain(prefix, &self.names, import),
        }
    }

    /// Whether the peer's AS is not ours.
    fn is_external(&self, peer: &Peer) -> bool {
        peer.session().map_or_else(
            || peer.config.remote_as.is_external(Asn(self.local_as(peer))),
            |agreed| agreed.ebgp,
        )
    }

    fn status(&self, number: u16) -> Option<PeerStatus> {
        let peer = self.peers[usize::from(number)].as_ref()?;
        let established = peer.established();
        let session = peer.session();
        let counts = Family::ALL.map(|family| self.rib.counts(number, family));
        let local = peer.connections.iter().find_map(|c| c.local);
        Some(PeerStatus {
            name: Arc::clone(&peer.name),
            remote: peer.config.remote,
            interface: peer.config.interface.clone(),
            local: established.and_then(|c| c.local).or(local),
            remote_as: session.map_or(peer.config.remote_as, |s| s.remote_as.into()),
            remote_id: session.map(|s| s.remote_id),
            state: peer.state,
            since: peer.since,
            error: peer.error.clone(),
            dynamic: peer.dynamic,
            rr_client: peer.config.rr_client.is_some(),
            families: session.map(|s| s.families.clone()).unwrap_or_default(),
            hold_time_s: session.map_or(0, |s| s.hold_time.as_secs() as u16),
            received: counts.iter().map(|c| c.held).sum(),
            rejected: counts.iter().map(|c| c.rejected).sum(),
            stale: counts.iter().map(|c| c.stale).sum(),
            counters: peer.counters,
            notes: peer.notes(session.is_none_or(|s| s.ebgp)),
        })
    }

    fn peer_of(&self, conn: ConnId) -> Option<&Peer> {
        let number = self.by_connection.get(&conn)?;
        self.peers[usize::from(*number)].as_deref()
    }

    fn with_connection(&mut self, conn: ConnId, now: Now, act: impl FnOnce(&mut Self, &mut Peer)) {
        if let Some(number) = self.by_connection.get(&conn).copied() {
            self.with_peer(number, now, act);
        }
    }

    /// Takes a peer out, lets `act` change it, and brings what is derived from it up to date.
    fn with_peer(&mut self, number: u16, now: Now, act: impl FnOnce(&mut Self, &mut Peer)) {
        let Some(mut peer) = self.peers[usize::from(number)].take() else {
            return;
        };
        act(self, &mut peer);
        self.note_state(&mut peer, now);
        let deadline = peer.next_deadline();
        // An early entry is harmless: it is looked at again when it is due.
        if let Some(at) = deadline
            && peer.armed.is_none_or(|armed| at < armed)
        {
            if let Some(armed) = peer.armed {
                self.deadlines.remove(&(armed, number));
            }
            self.deadlines.insert((at, number));
            peer.armed = Some(at);
        }
        let gone = peer.dynamic && peer.connections.is_empty() && peer.stale.is_empty();
        if gone {
            self.forget(&peer);
        } else {
            self.peers[usize::from(number)] = Some(peer);
        }
    }

    fn note_state(&mut self, peer: &mut Peer, now: Now) {
        let state = if self.stopped && peer.connections.is_empty() {
            PeerState::Idle
        } else {
            peer.present_state()
        };
        if state == peer.state {
            return;
        }
        peer.state = state;
        peer.since = now;
        self.outputs.push_back(Output::Peer(PeerEvent {
            peer: Arc::clone(&peer.name),
            remote: peer.config.remote,
            state,
            error: peer.error.clone(),
        }));
    }
}
