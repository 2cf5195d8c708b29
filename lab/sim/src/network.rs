//! BGP's connections between hosts: dialled, accepted, carried late or not at all, closed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgp::{Chunk, ConnId};
use node::{Input, LearntRoute};

use crate::bug::Bug;
use crate::host::Host;
use crate::process::Process;
use crate::tcp::{Direction, End, Segment, TcpId};
use crate::update::{self, Change};
use crate::world::{Event, World};

/// A host that is not there is given up after this long (ARP: three probes, a second apart).
const NO_ROUTE_AFTER: Duration = Duration::from_secs(3);
/// Bytes taken from a speaker at a time.
const PULL: usize = 1 << 20;

impl World {
    pub(crate) fn drive_speaker(&mut self, host: &str, process: &mut Process) {
        let now = self.now();
        while let Some(output) = process
            .speaker
            .as_mut()
            .and_then(|speaker| speaker.poll(now))
        {
            match output {
                bgp::Output::Listen(addresses) => {
                    process.listening = addresses.into_iter().collect()
                }
                bgp::Output::Connect {
                    conn,
                    remote,
                    source,
                    ..
                } => self.dial(host, process, conn, remote, source),
                bgp::Output::Configure { .. }
                | bgp::Output::Secure(_)
                | bgp::Output::Notice(_)
                | bgp::Output::Rekey { .. }
                | bgp::Output::FindNeighbors(_)
                | bgp::Output::WatchPaths(_)
                | bgp::Output::NextHops(_) => {}
                bgp::Output::Send(conn) => self.pull(host, process, conn),
                bgp::Output::Close { conn, last } => self.close(host, process, conn, &last),
                bgp::Output::Routes(changes) => {
                    let mut routes: Vec<LearntRoute> =
                        changes.iter().map(LearntRoute::from).collect();
                    if self.bug == Some(Bug::KeepsPathsOfDeadSession) {
                        routes.retain(|route| route.next_hops.is_some());
                    }
                    self.feed(host, process, Input::Routes(routes));
                }
                bgp::Output::Peer(event) => {
                    self.note(format_args!("{host}: {event:?}"));
                }
                bgp::Output::InSync => self.feed(host, process, Input::BgpInSync),
            }
        }
    }

    fn dial(
        &mut self,
        host: &str,
        process: &Process,
        conn: ConnId,
        remote: SocketAddr,
        source: Option<IpAddr>,
    ) {
        let own = self.hosts.get(host).and_then(Host::address).map(IpAddr::V4);
        let port = 32_768 + self.random.below(28_000) as u16;
        let there = self
            .hosts
            .iter()
            .find(|(_, other)| other.has_address(remote.ip()))
            .map(|(name, _)| name.clone());
        let (Some(address), Some(server)) = (source.or(own), there) else {
            return;
        };
        let client = End {
            host: host.to_string(),
            address: SocketAddr::new(address, port),
            conn: Some(conn),
            incarnation: process.incarnation,
        };
        let server = End {
            host: server,
            address: remote,
            conn: None,
            incarnation: 0,
        };
        let tcp = self.connections.open(client, server);
        self.transmit(tcp, Direction::ToServer, Segment::Syn);
    }

    pub(crate) fn pull(&mut self, host: &str, process: &mut Process, conn: ConnId) {
        let now = self.now();
        let Some(speaker) = process.speaker.as_mut() else {
            return;
        };
        let mut chunks = Vec::new();
        speaker.transmit(conn, PULL, &mut chunks);
        let bytes: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| chunk.as_ref().iter().copied())
            .collect();
        if bytes.is_empty() {
            return;
        }
        speaker.transmitted(conn, bytes.len(), now);
        if let Some((tcp, direction)) = self.connections.of(host, conn, process.incarnation) {
            self.transmit(tcp, direction, Segment::Data(bytes));
        }
    }

    pub(crate) fn close(&mut self, host: &str, process: &Process, conn: ConnId, last: &[Chunk]) {
        let bytes: Vec<u8> = last
            .iter()
            .flat_map(|chunk| chunk.as_ref().iter().copied())
            .collect();
        if let Some((tcp, direction)) = self.connections.of(host, conn, process.incarnation) {
            if !bytes.is_empty() {
                self.transmit(tcp, direction, Segment::Data(bytes));
            }
            self.transmit(tcp, direction, Segment::Fin);
            if let Some(tcp) = self.connections.get(tcp) {
                tcp.to(direction.reverse()).conn = None;
            }
        }
    }

    pub(crate) fn transmit(&mut self, id: TcpId, direction: Direction, segment: Segment) {
        let latency = self
            .random
            .between(Duration::from_micros(50), Duration::from_micros(500));
        let now = self.queue.now();
        let Some(tcp) = self.connections.get(id) else {
            return;
        };
        let at = tcp.send(direction, segment, now, latency);
        self.queue.at(
            at,
            &mut self.random,
            Event::Segment {
                tcp: id,
                direction,
                since: now,
            },
        );
    }

    pub(crate) fn arrive(&mut self, id: TcpId, direction: Direction, since: Duration) {
        let now = self.queue.now();
        let Some(tcp) = self.connections.get(id) else {
            return;
        };
        let (from, to) = (tcp.from(direction).clone(), tcp.to(direction).clone());
        if !tcp.waits(direction) {
            return;
        }
        if !self.joined(&from.host, &to.host) {
            self.undelivered(id, direction, since, &from);
            return;
        }
        while let Some(segment) = self
            .connections
            .get(id)
            .and_then(|tcp| tcp.arrived(direction, now))
        {
            self.take(id, direction, segment);
        }
        self.connections.sweep();
    }

    /// Nothing gets through: the sender's kernel tries again, and gives up a connection that never began.
    fn undelivered(&mut self, id: TcpId, direction: Direction, since: Duration, from: &End) {
        let sending = from.conn.is_some();
        let waited = self.queue.now() - since;
        let begins = self
            .connections
            .get(id)
            .is_some_and(|tcp| tcp.server.incarnation == 0);
        if sending && begins && direction == Direction::ToServer && waited >= NO_ROUTE_AFTER {
            self.failed(id, "No route to host");
        } else if sending || waited < NO_ROUTE_AFTER {
            let again = self
                .random
                .between(Duration::from_millis(200), Duration::from_millis(400));
            self.queue.after(
                again,
                &mut self.random,
                Event::Segment {
                    tcp: id,
                    direction,
                    since,
                },
            );
        } else if let Some(tcp) = self.connections.get(id) {
            tcp.clear(direction);
            self.connections.sweep();
        }
    }

    fn failed(&mut self, id: TcpId, error: &str) {
        let now = self.now();
        let Some(tcp) = self.connections.get(id) else {
            return;
        };
        let client = tcp.client.clone();
        tcp.client.conn = None;
        tcp.clear(Direction::ToServer);
        let Some(conn) = client.conn else { return };
        self.with(&client.host, client.incarnation, |_, process| {
            if let Some(speaker) = process.speaker.as_mut() {
                speaker.handle(bgp::Input::ConnectFailed { conn, error }, now);
            }
        });
    }

    fn take(&mut self, id: TcpId, direction: Direction, segment: Segment) {
        let Some(tcp) = self.connections.get(id) else {
            return;
        };
        let (from, to) = (tcp.from(direction).clone(), tcp.to(direction).clone());
        match segment {
            Segment::Syn => self.knocked(id, &from, &to),
            Segment::SynAck => {
                let input = |conn| bgp::Input::Connected {
                    conn,
                    local: to.address,
                };
                self.tell(id, direction, &to, input);
            }
            Segment::Data(bytes) => {
                let bytes = self.as_received(&from, &to, bytes);
                self.tell(id, direction, &to, |conn| bgp::Input::Received {
                    conn,
                    bytes: &bytes,
                });
            }
            Segment::Fin => self.ended(id, direction, &to, None),
            Segment::Reset
                if from.conn.is_none()
                    && direction == Direction::ToClient
                    && from.incarnation == 0 =>
            {
                self.failed(id, "Connection refused");
            }
            Segment::Reset => self.ended(id, direction, &to, Some("Connection reset by peer")),
        }
    }

    fn as_received(&self, from: &End, to: &End, bytes: Vec<u8>) -> Vec<u8> {
        match (self.bug, from.address.ip()) {
            (Some(Bug::IgnoresClusterList), _) => update::rewrite(&bytes, Change::ForgetReflection),
            (Some(Bug::ReflectsWithOwnNextHop), IpAddr::V4(own)) if from.host != to.host => {
                update::rewrite(&bytes, Change::NextHop(own))
            }
            _ => bytes,
        }
    }

    fn knocked(&mut self, id: TcpId, from: &End, to: &End) {
        let now = self.now();
        let place = self.hosts.get_mut(&to.host);
        let listens = |p: &Process| {
            let any = |l: &SocketAddr| {
                l.port() == to.address.port()
                    && (l.ip().is_unspecified() || l.ip() == to.address.ip())
            };
            p.listening.iter().any(any)
        };
        let Some(process) = place
            .and_then(|host| host.process.as_mut())
            .filter(|p| listens(p))
        else {
            self.transmit(id, Direction::ToClient, Segment::Reset);
            return;
        };
        process.accepted += 1;
        let (conn, incarnation) = (ConnId::Accepted(process.accepted), process.incarnation);
        if let Some(tcp) = self.connections.get(id) {
            tcp.server.conn = Some(conn);
            tcp.server.incarnation = incarnation;
        }
        self.transmit(id, Direction::ToClient, Segment::SynAck);
        let (remote, local) = (from.address, to.address);
        self.with(&to.host, incarnation, |_, process| {
            if let Some(speaker) = process.speaker.as_mut() {
                speaker.handle(
                    bgp::Input::Accepted {
                        conn,
                        remote,
                        local,
                    },
                    now,
                );
            }
        });
    }

    fn tell<'a>(
        &mut self,
        id: TcpId,
        direction: Direction,
        to: &End,
        input: impl FnOnce(ConnId) -> bgp::Input<'a>,
    ) {
        let now = self.now();
        let running = self
            .hosts
            .get(&to.host)
            .and_then(|h| h.process.as_ref())
            .map(|p| p.incarnation);
        let Some(conn) = to.conn.filter(|_| running == Some(to.incarnation)) else {
            self.transmit(id, direction.reverse(), Segment::Reset);
            return;
        };
        self.with(&to.host, to.incarnation, |_, process| {
            if let Some(speaker) = process.speaker.as_mut() {
                speaker.handle(input(conn), now);
            }
        });
    }

    fn ended(&mut self, id: TcpId, direction: Direction, to: &End, error: Option<&str>) {
        let now = self.now();
        if let Some(tcp) = self.connections.get(id) {
            tcp.to(direction).conn = None;
        }
        let Some(conn) = to.conn else { return };
        self.with(&to.host, to.incarnation, |_, process| {
            if let Some(speaker) = process.speaker.as_mut() {
                speaker.handle(bgp::Input::Closed { conn, error }, now);
            }
        });
    }
}
