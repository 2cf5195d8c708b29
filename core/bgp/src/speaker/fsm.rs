//! The finite state machine (RFC 4271 §8.2.2), for each connection and for the peer as a whole.
//!
//! ```text
//!            IdleHold due                 dial               Connected
//!   Idle ───────────────> Active ───────────────> Connect ─────────────┐
//!    ^  <── error ──┐        │ ^──── failed ──────────┘                 v
//!    │              │        └───────── Accepted ──────────────────> OpenSent
//!    │              │                                                   │ OPEN
//!    │              └────────── Established <──── KEEPALIVE ──── OpenConfirm
//!    └── error on any of them: NOTIFICATION, then wait (doubling) ──────┘
//! ```

use super::Speaker;
use crate::Down;
use crate::output::scope;
use crate::session::{Connection, Peer, Proposal, Stage};
use crate::wire;
use crate::wire::notification::{Notification, cease, code};
use crate::{Chunk, ConnId, Keys, Neighbor, Now, Output};
use std::net::SocketAddr;
use std::time::Duration;

/// The first attempt of a peer comes within this.
const START_SPREAD: Duration = Duration::from_millis(200);
/// The wait after a session was lost for reasons outside BGP.
pub(super) const RECONNECT: Duration = Duration::from_secs(1);

impl Speaker {
    /// Lets a new peer begin.
    pub(super) fn start(&mut self, peer: &mut Peer, now: Now) {
        if let Some(why) = peer.config.authentication.refusal() {
            peer.error = format!("Error: {}", why.name());
            return;
        }
        if peer.config.is_awaited() {
            peer.error = Neighbor::Awaited.waits_for().unwrap_or_default().to_owned();
            return;
        }
        if !peer.config.passive && !self.stopped {
            peer.connect_at = Some(now.mono + self.random.jitter(START_SPREAD));
        }
    }

    fn dial(&mut self, peer: &mut Peer, now: Now) {
        let refused = peer.config.authentication.refusal().is_some() || peer.config.is_awaited();
        if peer.config.passive || self.stopped || refused || !peer.connections.is_empty() {
            return;
        }
        self.dialled += 1;
        let conn = ConnId::Dialled(self.dialled);
        peer.connections
            .push(Connection::new(conn, Stage::Connecting, now.mono));
        self.by_connection.insert(conn, peer.number);
        self.outputs.push_back(Output::Connect {
            conn,
            remote: peer.config.remote,
            source: peer.config.source,
            options: peer.config.socket_options(),
        });
    }

    pub(super) fn connected(&mut self, peer: &mut Peer, conn: ConnId, local: SocketAddr, now: Now) {
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        connection.local = Some(local);
        self.introduce(peer, conn, now);
    }

    /// Sends our OPEN, or lets it wait for the peer's.
    fn introduce(&mut self, peer: &mut Peer, conn: ConnId, now: Now) {
        let Some(delay) = peer.config.delay_open else {
            self.send_open(peer, conn, now);
            return;
        };
        if let Some(connection) = peer.connection(conn) {
            connection.stage = Stage::Delayed;
            connection.heard = now.mono;
            connection.open_at = Some(now.mono + delay);
        }
    }

    pub(super) fn send_open(&mut self, peer: &mut Peer, conn: ConnId, now: Now) {
        let open = self.proposal(peer).open().encode();
        if let Some(connection) = peer.connection(conn) {
            connection.stage = Stage::OpenSent;
            connection.heard = now.mono;
            connection.open_at = None;
            connection.opens.0 = open.as_slice().into();
            self.say(peer, conn, open, now);
        }
    }

    pub(super) fn connect_failed(&mut self, peer: &mut Peer, conn: ConnId, error: &str, now: Now) {
        self.remove(peer, conn);
        peer.error = format!("Socket: {error}");
        self.retry_later(peer, peer.config.connect_retry, now);
    }

    pub(super) fn retry_later(&mut self, peer: &mut Peer, wait: Duration, now: Now) {
        if peer.connections.is_empty() && !peer.config.passive && !self.stopped {
            peer.connect_at = Some(now.mono + self.random.jitter(wait));
        }
    }

    /// A connection came in: whose is it, and is it wanted?
    pub(super) fn accepted(
        &mut self,
        conn: ConnId,
        remote: SocketAddr,
        local: SocketAddr,
        now: Now,
    ) {
        let ip = remote.ip().to_canonical();
        let known = self
            .by_address
            .get(&ip)
            .and_then(|numbers| self.choose(numbers, remote, local));
        let number = known.or_else(|| self.dynamic_peer(remote, now));
        let Some(number) = number.filter(|_| !self.stopped) else {
            self.outputs.push_back(Output::Close {
                conn,
                last: Vec::new(),
            });
            return;
        };
        self.with_peer(number, now, |speaker, peer| {
            speaker.adopt(peer, conn, local, now)
        });
    }

    /// Of several peers at one address the one that expects us at `local` and is not up.
    fn choose(&self, numbers: &[u16], remote: SocketAddr, local: SocketAddr) -> Option<u16> {
        let fits = |number: &&u16| {
            let peer = self.peers[usize::from(**number)].as_deref();
            peer.is_some_and(|p| {
                // Two links may have neighbours of one link-local address.
                let link = scope(p.config.remote);
                (link == 0 || link == scope(remote))
                    && (p.config.source).is_none_or(|s| s == local.ip().to_canonical())
            })
        };
        let is_down = |number: &&u16| {
            self.peers[usize::from(**number)]
                .as_deref()
                .is_some_and(|p| p.established().is_none())
        };
        let fitting: Vec<&u16> = numbers.iter().filter(fits).collect();
        fitting
            .iter()
            .find(|n| is_down(n))
            .or(fitting.first())
            .map(|n| **n)
    }

    fn adopt(&mut self, peer: &mut Peer, conn: ConnId, local: SocketAddr, now: Now) {
        if peer.config.authentication.refusal().is_some() {
            self.outputs.push_back(Output::Close {
                conn,
                last: Vec::new(),
            });
            return;
        }
        if peer.idle_until.is_some() {
            if !peer.open_while_idle {
                self.outputs.push_back(Output::Close {
                    conn,
                    last: Vec::new(),
                });
                return;
            }
            peer.idle_until = None;
        }
        // The peer gave up on an earlier one that did not come to anything.
        let old = peer
            .connections
            .iter()
            .find(|c| matches!(c.id, ConnId::Accepted(_)) && c.stage < Stage::Established);
        if let Some(old) = old.map(|c| c.id) {
            self.hang_up(
                peer,
                old,
                Some(Notification::new(code::CEASE, cease::COLLISION)),
            );
        }
        peer.connect_at = None;
        let mut connection = Connection::new(conn, Stage::OpenSent, now.mono);
        connection.local = Some(local);
        peer.connections.push(connection);
        self.by_connection.insert(conn, peer.number);
        self.outputs.push_back(Output::Configure {
            conn,
            options: peer.config.socket_options(),
        });
        self.introduce(peer, conn, now);
    }

    /// What our OPEN to this peer says.
    pub(super) fn proposal<'a>(&self, peer: &'a Peer) -> Proposal<'a> {
        Proposal {
            config: &peer.config,
            local_as: self.local_as(peer),
            router_id: self.config.router_id,
            restarting: self.config.restarting && !self.sync.is_done(),
            forwarding: self.config.restarting || peer.counters.established > 0,
        }
    }

    pub(super) fn local_as(&self, peer: &Peer) -> u32 {
        peer.config.local_as.unwrap_or(self.config.local_as).0
    }

    /// Queues a message that is not about routes.
    pub(super) fn say(&mut self, peer: &mut Peer, conn: ConnId, message: Vec<u8>, now: Now) {
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        connection.say(message);
        if connection.announce(now.mono) {
            self.outputs.push_back(Output::Send(conn));
        }
    }

    fn remove(&mut self, peer: &mut Peer, conn: ConnId) {
        self.by_connection.remove(&conn);
        peer.connections.retain(|c| c.id != conn);
    }

    /// Ends a connection from our side, without a word about the peer's state.
    pub(super) fn hang_up(&mut self, peer: &mut Peer, conn: ConnId, why: Option<Notification>) {
        let number = peer.number;
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        let mut last: Vec<Chunk> = Vec::new();
        let agreed = connection.agreed.as_ref();
        let outlives = connection.stage == Stage::Established
            && agreed.is_some_and(|agreed| agreed.outlives_notification());
        let was_up = connection.stage == Stage::Established;
        if was_up {
            self.mirror_ending(|| Down::Silent);
        }
        if connection.stage > Stage::Delayed {
            let outbox = &self.rib.outboxes[usize::from(number)];
            // Half a message must be ended before the NOTIFICATION.
            if connection.stage == Stage::Established && outbox.begun(number).is_some() {
                outbox.peek(number, usize::MAX, 1, &mut last);
            }
            last.extend(connection.control.drain(..));
            if let Some(why) = why {
                let hard = outlives && why.ends_for_good();
                let why = if hard { why.into_hard() } else { why };
                let message = why.encode();
                if was_up {
                    self.mirror_ending(|| Down::Sent(message.clone()));
                }
                let end = message.len();
                last.push(Chunk {
                    data: message.into(),
                    start: 0,
                    end,
                });
            }
        }
        self.remove(peer, conn);
        self.outputs.push_back(Output::Close { conn, last });
    }

    /// An error that we found: NOTIFICATION, and a wait before the next attempt.
    pub(super) fn fail(&mut self, peer: &mut Peer, conn: ConnId, why: Notification, now: Now) {
        let was_established = peer.established().is_some_and(|c| c.id == conn);
        let keep_routes = !why.ends_for_good() && outlives_notification(peer);
        peer.error = format!("Error: {}", why.text());
        self.hang_up(peer, conn, Some(why));
        if was_established {
            self.session_lost(peer, keep_routes, now);
        }
        if peer.connections.is_empty() {
            peer.open_while_idle = false;
            peer.back_off(now.mono, &mut self.random);
        }
    }

    /// The connection ended under us.
    pub(super) fn closed(&mut self, peer: &mut Peer, conn: ConnId, error: Option<&str>, now: Now) {
        let was_established = peer.established().is_some_and(|c| c.id == conn);
        let stage = peer.connection(conn).map(|c| c.stage);
        self.remove(peer, conn);
        if peer.established().is_none() {
            peer.error = format!("Socket: {}", error.unwrap_or("Connection closed"));
        }
        if was_established {
            self.session_lost(peer, true, now);
        }
        let early = stage.is_some_and(|s| s < Stage::Established);
        let wait = if early {
            peer.config.connect_retry
        } else {
            RECONNECT
        };
        self.retry_later(peer, wait, now);
    }

    /// The peer said why it ends the session.
    pub(super) fn notified(&mut self, peer: &mut Peer, conn: ConnId, why: &Notification, now: Now) {
        let was_established = peer.established().is_some_and(|c| c.id == conn);
        let keep_routes = !why.is_hard() && outlives_notification(peer);
        self.hang_up(peer, conn, None);
        if peer.established().is_some() {
            return;
        }
        if was_established {
            self.mirror_ending(|| Down::Received(why.encode()));
        }
        peer.error = format!("Received: {}", why.text());
        if was_established {
            self.session_lost(peer, keep_routes, now);
        }
        if !peer.connections.is_empty() {
            return;
        }
        let is_collision = (why.code, why.subcode) == (code::CEASE, cease::COLLISION);
        if is_collision {
            self.retry_later(peer, RECONNECT, now);
            return;
        }
        // One that was shut down on purpose comes back by itself, and is then welcome.
        peer.open_while_idle = why.code == code::CEASE;
        peer.back_off(now.mono, &mut self.random);
    }

    pub(super) fn reset(&mut self, peer: &mut Peer, text: &str, now: Now) {
        if peer.config.is_awaited() {
            return;
        }
        let why = Notification::with_text(cease::RESET, text);
        self.end_all(peer, Some(why), false, now);
        // Of one that is away it takes what is kept, which may otherwise be there for days.
        self.drop_stale(peer);
        peer.error = "Error: Administrative reset".to_owned();
        peer.idle_until = None;
        self.retry_later(peer, RECONNECT, now);
    }

    /// Ends all connections of a peer.
    pub(super) fn end_all(
        &mut self,
        peer: &mut Peer,
        why: Option<Notification>,
        keep_routes: bool,
        now: Now,
    ) {
        let was_established = peer.established().is_some();
        for conn in peer.connections.iter().map(|c| c.id).collect::<Vec<_>>() {
            self.hang_up(peer, conn, why.clone());
        }
        if was_established {
            self.session_lost(peer, keep_routes, now);
        }
    }

    pub(super) fn stop(&mut self, cease: bool, text: &str, now: Now) {
        self.stopped = true;
        let why = cease.then(|| Notification::with_text(cease::SHUTDOWN, text));
        let numbers: Vec<u16> = self.by_name.values().copied().collect();
        for number in numbers {
            self.with_peer(number, now, |speaker, peer| {
                speaker.end_all(peer, why.clone(), true, now);
                (peer.connect_at, peer.idle_until) = (None, None);
            });
        }
        self.outputs.push_back(Output::Listen(Vec::new()));
    }

    /// Runs what is due, for each peer that has something due.
    pub(super) fn run_timers(&mut self, now: Now) {
        while let Some((at, number)) = self.deadlines.first().copied() {
            if at > now.mono {
                break;
            }
            self.deadlines.pop_first();
            self.with_peer(number, now, |speaker, peer| {
                peer.armed = None;
                speaker.timers(peer, now);
            });
        }
        self.check_sync(now);
    }

    fn timers(&mut self, peer: &mut Peer, now: Now) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now.mono);
        for conn in peer.connections.iter().map(|c| c.id).collect::<Vec<_>>() {
            let retry = peer.config.connect_retry;
            let send_hold = peer.config.send_hold_time;
            let Some(connection) = peer.connection(conn) else {
                continue;
            };
            if due(connection.hold_deadline(retry)) {
                if connection.stage == Stage::Connecting {
                    self.hang_up(peer, conn, None);
                    peer.error = "Socket: Connection timed out".to_owned();
                    // With another key the peer does not answer at all.
                    peer.error += match peer.config.authentication.keys() {
                        Some(Keys::Md5(_)) => " (tcp-md5-unanswered)",
                        Some(Keys::Ao(_)) => " (tcp-ao-unanswered)",
                        None => "",
                    };
                    peer.connect_at = Some(now.mono);
                } else {
                    self.fail(peer, conn, Notification::new(code::HOLD_TIMER, 0), now);
                }
                continue;
            }
            if due(connection.open_at) {
                self.send_open(peer, conn, now);
                continue;
            }
            if due(connection.waiting.as_ref().map(|waiting| waiting.until)) {
                let why = Notification::new(code::CEASE, cease::BFD_DOWN);
                self.fail(peer, conn, why, now);
                continue;
            }
            if due(connection.send_deadline(send_hold)) {
                if connection.announced {
                    let why = Notification::new(code::SEND_HOLD_TIMER, 0);
                    self.fail(peer, conn, why, now);
                    continue;
                }
                // Nothing waits: look again later.
                connection.progress = now.mono;
            }
            if due(connection.keepalive_at) {
                let agreed = connection.agreed.as_ref();
                let interval = agreed.map_or(Duration::ZERO, |agreed| agreed.keepalive);
                connection.arm_keepalive(now.mono, interval, &mut self.random);
                self.say(peer, conn, wire::keepalive(), now);
            }
        }
        if due(peer.stale_deadline()) {
            self.stale_due(peer, now);
        }
        if due(peer.idle_until) {
            peer.idle_until = None;
            peer.connect_at = Some(now.mono);
        }
        if due(peer.connect_at) {
            peer.connect_at = None;
            self.dial(peer, now);
        }
    }
}

/// Whether the routes of the session are kept when a NOTIFICATION ends it (RFC 8538 §4).
fn outlives_notification(peer: &Peer) -> bool {
    peer.session()
        .is_some_and(|agreed| agreed.outlives_notification())
}
