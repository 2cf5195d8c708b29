//! TCP as BGP sees it: connections that deliver bytes in order, late, or not at all while the path is cut.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bgp::ConnId;

/// Names a connection in the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TcpId(u64);

/// Which way a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the one that dialled.
    ToServer,
    /// To the one that dialled.
    ToClient,
}

impl Direction {
    /// The other way.
    pub fn reverse(self) -> Direction {
        match self {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        }
    }
}

/// What is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A connection is wanted.
    Syn,
    /// It was taken.
    SynAck,
    /// Bytes.
    Data(Vec<u8>),
    /// The sender closed.
    Fin,
    /// There is no such connection, or nobody listens.
    Reset,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct End {
    /// The host.
    pub host: String,
    /// Its address and port.
    pub address: SocketAddr,
    /// The speaker's name for it; `None` once that end is gone, or before it accepted.
    pub conn: Option<ConnId>,
    /// The process that had it: a restarted one knows nothing of it.
    pub incarnation: u64,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<(Duration, Segment)>,
    last: Duration,
}

/// A connection.
#[derive(Debug)]
pub struct Tcp {
    /// The one that dialled.
    pub client: End,
    /// The one that was dialled.
    pub server: End,
    lanes: [Lane; 2],
}

impl Tcp {
    /// The end that segments of this direction come from.
    pub fn from(&self, direction: Direction) -> &End {
        match direction {
            Direction::ToServer => &self.client,
            Direction::ToClient => &self.server,
        }
    }

    /// The end that segments of this direction go to.
    pub fn to(&mut self, direction: Direction) -> &mut End {
        match direction {
            Direction::ToServer => &mut self.server,
            Direction::ToClient => &mut self.client,
        }
    }

    /// Queues a segment that takes `latency`; gives the time at which it can be taken. Segments do not overtake each other.
    pub fn send(
        &mut self,
        direction: Direction,
        segment: Segment,
        now: Duration,
        latency: Duration,
    ) -> Duration {
        let lane = &mut self.lanes[direction as usize];
        lane.last = lane.last.max(now + latency);
        lane.waiting.push_back((lane.last, segment));
        lane.last
    }

    /// The next segment that has arrived by `now`.
    pub fn arrived(&mut self, direction: Direction, now: Duration) -> Option<Segment> {
        let lane = &mut self.lanes[direction as usize];
        let (time, _) = lane.waiting.front()?;
        if *time > now {
            return None;
        }
        lane.waiting.pop_front().map(|(_, segment)| segment)
    }

    /// Forgets what waits in this direction.
    pub fn clear(&mut self, direction: Direction) {
        self.lanes[direction as usize].waiting.clear();
    }

    /// Whether something waits in this direction.
    pub fn waits(&self, direction: Direction) -> bool {
        !self.lanes[direction as usize].waiting.is_empty()
    }
}

/// All connections of the world.
#[derive(Debug, Default)]
pub struct Connections {
    next: u64,
    all: BTreeMap<TcpId, Tcp>,
}

impl Connections {
    /// A new connection between two ends.
    pub fn open(&mut self, client: End, server: End) -> TcpId {
        self.next += 1;
        let id = TcpId(self.next);
        self.all.insert(
            id,
            Tcp {
                client,
                server,
                lanes: [Lane::default(), Lane::default()],
            },
        );
        id
    }

    /// The connection, while either end knows it.
    pub fn get(&mut self, id: TcpId) -> Option<&mut Tcp> {
        self.all.get_mut(&id)
    }

    /// The connection and direction in which this speaker's connection sends.
    pub fn of(&self, host: &str, conn: ConnId, incarnation: u64) -> Option<(TcpId, Direction)> {
        let is = |end: &End| {
            end.host == host && end.conn == Some(conn) && end.incarnation == incarnation
        };
        self.all.iter().find_map(|(id, tcp)| {
            if is(&tcp.client) {
                Some((*id, Direction::ToServer))
            } else if is(&tcp.server) {
                Some((*id, Direction::ToClient))
            } else {
                None
            }
        })
    }

    /// The connections that a host has an end of, with the direction in which it sends.
    pub fn of_host(&self, host: &str) -> Vec<(TcpId, Direction)> {
        let has = |end: &End| end.host == host && end.conn.is_some();
        let mut found = Vec::new();
        for (id, tcp) in &self.all {
            if has(&tcp.client) {
                found.push((*id, Direction::ToServer));
            }
            if has(&tcp.server) {
                found.push((*id, Direction::ToClient));
            }
        }
        found
    }

    /// A host lost its power: its ends are gone, and nobody is told.
    pub fn forget(&mut self, host: &str) {
        for tcp in self.all.values_mut() {
            for end in [&mut tcp.client, &mut tcp.server] {
                if end.host == host {
                    end.conn = None;
                }
            }
        }
    }

    /// Drops connections that neither end knows and on which nothing waits.
    pub fn sweep(&mut self) {
        self.all.retain(|_, tcp| {
            tcp.client.conn.is_some()
                || tcp.server.conn.is_some()
                || tcp.waits(Direction::ToServer)
                || tcp.waits(Direction::ToClient)
        });
    }
}
