//! Real speakers on a wire of virtual time: connections with latency, small windows, readers that
//! stop reading, links that are cut, processes that end with and without a word.
//!
//! Whatever could happen in more than one order happens in an order drawn from the seed: which
//! connection is read next, how much of it, whether outputs are polled before or after.

use crate::bug::Bug;
use crate::random::Random;
use crate::topology::{address, node_at};
use bgp::{Chunk, Config, ConnId, Input, Now, Output, RouteChange, Speaker};
use bgpwire::tap::Tap;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// More events than this in one run mean that routes go round for ever.
const MOST_STEPS: u64 = 1_000_000;

/// One speaker and what its driver knows.
pub struct Node {
    /// `None` while the process is not there.
    pub speaker: Option<Speaker>,
    /// The wanted configuration, also while it is down.
    pub config: Config,
    /// What was reported, put together.
    pub reports: BTreeMap<IpNet, bgp::Route>,
    dirty: bool,
    listens: bool,
    accepted: u64,
    /// By the machine's name: connection and side.
    ends: BTreeMap<ConnId, (u64, usize)>,
}

/// One end of a connection, and what is on its way to it.
pub struct Side {
    /// Whose end.
    pub node: usize,
    /// The machine's name for it.
    pub conn: ConnId,
    /// What arrived here, read by us.
    pub tap: Tap,
    open: bool,
    queue: VecDeque<(Duration, Vec<u8>)>,
    queued: usize,
    end: Option<(Duration, Option<&'static str>)>,
    deaf_until: Duration,
    /// The machine has more to write than there was room for.
    blocked: bool,
    /// Of a machine with a planted bug: octets that are not a whole message yet, one held back.
    unsent: Vec<u8>,
    held_back: Vec<u8>,
}

/// A connection.
pub struct Connection {
    /// Who dialled, who accepted.
    pub sides: [Side; 2],
    latency: Duration,
    window: usize,
}

/// Something that can happen now.
#[derive(Clone, Copy)]
enum Ready {
    Poll(usize),
    Timer(usize),
    Dial(usize),
    Deliver(u64, usize),
    End(u64, usize),
    Pull(u64, usize),
}

/// Everything.
pub struct World {
    /// Since the start.
    pub now: Duration,
    /// By number.
    pub nodes: Vec<Node>,
    /// Connections that at least one end knows.
    pub connections: BTreeMap<u64, Connection>,
    /// Pairs (lower, higher) with no way between them.
    pub cut: BTreeSet<(usize, usize)>,
    /// The first thing that must not be.
    pub failure: Option<String>,
    /// It went on for more events than any network needs that comes to rest.
    pub exhausted: bool,
    /// Say everything on stderr.
    pub trace: bool,
    random: Random,
    bug: Option<Bug>,
    dialling: Vec<(Duration, usize, ConnId, SocketAddr)>,
    numbered: u64,
    steps: u64,
}

impl World {
    /// All nodes configured and started.
    pub fn new(configs: Vec<Config>, seed: u64, bug: Option<Bug>, trace: bool) -> Self {
        let nodes = configs.into_iter().map(|config| Node {
            speaker: None,
            config,
            reports: BTreeMap::new(),
            dirty: false,
            listens: false,
            accepted: 0,
            ends: BTreeMap::new(),
        });
        let mut world = World {
            now: Duration::from_secs(1),
            nodes: nodes.collect(),
            connections: BTreeMap::new(),
            cut: BTreeSet::new(),
            failure: None,
            exhausted: false,
            trace,
            random: Random::new(seed ^ 0x77),
            bug,
            dialling: Vec::new(),
            numbered: 0,
            steps: 0,
        };
        for node in 0..world.nodes.len() {
            world.start(node, false);
        }
        world
    }

    fn time(&self) -> Now {
        Now {
            mono: self.now,
            wall: self.now,
        }
    }

    /// Says something when tracing.
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12.6} {}", self.now.as_secs_f64(), text());
        }
    }

    /// True while the process is there.
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].speaker.is_some()
    }

    /// True when nothing gets from one to the other.
    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Starts a process that is not there.
    pub fn start(&mut self, node: usize, restarting: bool) {
        let mut config = self.nodes[node].config.clone();
        config.restarting = restarting;
        let seed = self.random.bits();
        let now = self.time();
        self.nodes[node].speaker = Some(Speaker::new(config, seed, now));
        self.nodes[node].dirty = true;
        // The new kernel knows nothing of old connections and says so.
        for connection in self.connections.values_mut() {
            for i in [0, 1] {
                let gone = connection.sides[1 - i].node == node && !connection.sides[1 - i].open;
                let due = self.now + connection.latency;
                let side = &mut connection.sides[i];
                if gone && side.open && side.end.is_none() {
                    side.queue.clear();
                    side.queued = 0;
                    side.end = Some((due, Some("Connection reset by peer")));
                }
            }
        }
    }

    /// Ends a process; `silent` as when its machine loses power.
    pub fn kill(&mut self, node: usize, silent: bool) {
        self.nodes[node].speaker = None;
        self.nodes[node].listens = false;
        self.nodes[node].dirty = false;
        self.nodes[node].reports.clear();
        self.dialling.retain(|(_, dialler, ..)| *dialler != node);
        for (_, (id, side)) in std::mem::take(&mut self.nodes[node].ends) {
            let reset = self.random.chance(50);
            self.hang_up(id, side, if silent { None } else { Some(reset) });
        }
    }

    /// Closes one side. The other one hears of it, by a reset or an orderly end, or does not.
    fn hang_up(&mut self, id: u64, side: usize, heard: Option<bool>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.sides[side].open = false;
        connection.sides[side].queue.clear();
        let due = self.now + connection.latency;
        let far = &mut connection.sides[1 - side];
        match heard {
            Some(true) => {
                far.queue.clear();
                far.queued = 0;
                far.end = Some((due, Some("Connection reset by peer")));
            }
            Some(false) => far.end = Some((due, None)),
            None => {}
        }
        if !far.open {
            self.connections.remove(&id);
        }
    }

    /// One input for a machine that is there.
    pub fn handle(&mut self, node: usize, input: Input<'_>) {
        let now = self.time();
        if self.trace && !matches!(input, Input::Timer) {
            let text = format!("{input:?}");
            eprintln!("{:>12.6} n{node} <- {text:.200}", self.now.as_secs_f64());
        }
        if let Some(speaker) = self.nodes[node].speaker.as_mut() {
            speaker.handle(input, now);
            self.nodes[node].dirty = true;
        }
    }

    /// Takes a new configuration over.
    pub fn configure(&mut self, node: usize, config: Config) {
        self.nodes[node].config = config.clone();
        self.handle(node, Input::Configure(Box::new(config)));
    }

    /// Lets a node stop reading its connections for a while.
    pub fn deafen(&mut self, node: usize, until: Duration) {
        for (id, side) in self.nodes[node].ends.values() {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.sides[*side].deaf_until = until;
            }
        }
    }

    /// Puts a ROUTE-REFRESH on the way to each peer of `node` that is between two messages.
    pub fn ask_for_refresh(&mut self, node: usize) {
        let mut message = vec![0xff; 16];
        message.extend_from_slice(&[0, 23, 5, 0, 1, 0, 1]);
        if self.random.chance(50) {
            message[20] = 2;
        }
        let sides: Vec<(u64, usize)> = self.nodes[node].ends.values().copied().collect();
        for (id, side) in sides {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            let far = &mut connection.sides[1 - side];
            let is_up = far.tap.is_established();
            if far.open && far.queue.is_empty() && far.tap.at_boundary() && !far.blocked && is_up {
                far.queued += message.len();
                far.queue
                    .push_back((self.now + connection.latency, message.clone()));
            }
        }
    }

    /// Runs until a point in time, or until something failed.
    pub fn run_until(&mut self, end: Duration) {
        while self.failure.is_none() && !self.exhausted {
            let ready = self.ready();
            if !ready.is_empty() {
                let next = self.random.pick(&ready);
                self.step(next);
                continue;
            }
            match self.next_time().filter(|at| *at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => break,
            }
        }
        self.now = self.now.max(end);
    }

    fn is_readable(&self, side: &Side, far: &Side) -> bool {
        side.open && side.deaf_until <= self.now && !self.is_cut(side.node, far.node)
    }

    fn ready(&self) -> Vec<Ready> {
        let mut ready = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let due = |s: &Speaker| s.next_deadline().is_some_and(|at| at <= self.now);
            if node.dirty {
                ready.push(Ready::Poll(i));
            } else if node.speaker.as_ref().is_some_and(due) {
                ready.push(Ready::Timer(i));
            }
        }
        for (i, (at, ..)) in self.dialling.iter().enumerate() {
            if *at <= self.now {
                ready.push(Ready::Dial(i));
            }
        }
        for (id, connection) in &self.connections {
            for i in [0, 1] {
                let (side, far) = (&connection.sides[i], &connection.sides[1 - i]);
                if self.is_readable(side, far) {
                    if side.queue.front().is_some_and(|(at, _)| *at <= self.now) {
                        ready.push(Ready::Deliver(*id, i));
                    } else if side.queue.is_empty()
                        && side.end.is_some_and(|(at, _)| at <= self.now)
                    {
                        ready.push(Ready::End(*id, i));
                    }
                }
                if side.open && side.blocked && far.queued < connection.window {
                    ready.push(Ready::Pull(*id, i));
                }
            }
        }
        ready
    }

    fn next_time(&self) -> Option<Duration> {
        let machines = self
            .nodes
            .iter()
            .filter_map(|n| n.speaker.as_ref()?.next_deadline());
        let dialled = self.dialling.iter().map(|(at, ..)| *at);
        let wires = self.connections.values().flat_map(|connection| {
            [0, 1].map(|i| {
                let (side, far) = (&connection.sides[i], &connection.sides[1 - i]);
                if !side.open || self.is_cut(side.node, far.node) {
                    return None;
                }
                let first = side.queue.front().map(|(at, _)| *at);
                let at = first.or(side.end.map(|(at, _)| at))?;
                Some(at.max(side.deaf_until))
            })
        });
        let all = machines.chain(dialled).chain(wires.flatten());
        all.filter(|at| *at > self.now).min()
    }

    fn step(&mut self, next: Ready) {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            self.exhausted = true;
        }
        match next {
            Ready::Poll(node) => self.poll(node),
            Ready::Timer(node) => self.handle(node, Input::Timer),
            Ready::Dial(at) => {
                let (_, node, conn, remote) = self.dialling.swap_remove(at);
                self.connect(node, conn, remote);
            }
            Ready::Deliver(id, side) => self.deliver(id, side),
            Ready::End(id, side) => self.end(id, side),
            Ready::Pull(id, side) => {
                let end = &mut self.connections.get_mut(&id).expect("listed").sides[side];
                end.blocked = false;
                let (node, conn) = (end.node, end.conn);
                self.pull(node, conn);
            }
        }
    }

    fn poll(&mut self, node: usize) {
        self.nodes[node].dirty = false;
        loop {
            let now = self.time();
            let Some(speaker) = self.nodes[node].speaker.as_mut() else {
                return;
            };
            let Some(output) = speaker.poll(now) else {
                return;
            };
            self.say(|| {
                let text = format!("{output:?}");
                format!("n{node} -> {text:.300}")
            });
            self.act(node, output);
        }
    }

    fn act(&mut self, node: usize, output: Output) {
        match output {
            Output::Listen(addresses) => self.nodes[node].listens = !addresses.is_empty(),
            Output::Connect { conn, remote, .. } => {
                let at = self.now + self.random.up_to(Duration::from_millis(40));
                self.dialling.push((at, node, conn, remote));
            }
            Output::Send(conn) => self.pull(node, conn),
            Output::Close { conn, last } => {
                self.dialling
                    .retain(|(_, n, c, _)| (*n, *c) != (node, conn));
                if let Some((id, side)) = self.nodes[node].ends.remove(&conn) {
                    let octets: Vec<u8> = last.iter().flat_map(|c| c.as_ref()).copied().collect();
                    let room = self.room(id, side);
                    self.push(id, side, &octets[..octets.len().min(room)]);
                    let reset = self.random.chance(20);
                    self.hang_up(id, side, Some(reset));
                }
            }
            Output::Routes(changes) => {
                for RouteChange { prefix, route } in changes {
                    match route {
                        Some(route) => self.nodes[node].reports.insert(prefix, route),
                        None => self.nodes[node].reports.remove(&prefix),
                    };
                }
            }
            Output::Configure { .. }
            | Output::Secure(_)
            | Output::Notice(_)
            | Output::Rekey { .. }
            | Output::Peer(_)
            | Output::FindNeighbors(_)
            | Output::WatchPaths(_)
            | Output::NextHops(_)
            | Output::InSync => {}
        }
    }

    fn connect(&mut self, node: usize, conn: ConnId, remote: SocketAddr) {
        let other = node_at(remote.ip()).filter(|n| *n < self.nodes.len());
        let Some(other) = other.filter(|n| self.nodes[*n].listens && !self.is_cut(node, *n)) else {
            let error = "Connection refused";
            self.handle(node, Input::ConnectFailed { conn, error });
            return;
        };
        self.nodes[other].accepted += 1;
        let accepted = ConnId::Accepted(self.nodes[other].accepted);
        let side = |node, conn| Side {
            node,
            conn,
            tap: Tap::default(),
            open: true,
            queue: VecDeque::new(),
            queued: 0,
            end: None,
            deaf_until: Duration::ZERO,
            blocked: false,
            unsent: Vec::new(),
            held_back: Vec::new(),
        };
        self.numbered += 1;
        let connection = Connection {
            sides: [side(node, conn), side(other, accepted)],
            latency: self.random.up_to(Duration::from_millis(30)),
            window: self.random.pick(&[600, 5000, 70_000]),
        };
        self.connections.insert(self.numbered, connection);
        self.nodes[node].ends.insert(conn, (self.numbered, 0));
        self.nodes[other].ends.insert(accepted, (self.numbered, 1));
        let local = SocketAddr::new(address(node), 40000);
        self.handle(node, Input::Connected { conn, local });
        let input = Input::Accepted {
            conn: accepted,
            remote: local,
            local: remote,
        };
        self.handle(other, input);
    }

    fn room(&self, id: u64, side: usize) -> usize {
        let connection = self.connections.get(&id);
        connection.map_or(0, |c| c.window.saturating_sub(c.sides[1 - side].queued))
    }

    /// Writes what the machine has for a connection, as far as there is room.
    fn pull(&mut self, node: usize, conn: ConnId) {
        let Some((id, side)) = self.nodes[node].ends.get(&conn).copied() else {
            return;
        };
        loop {
            let now = self.time();
            let most = 200 + self.random.below(20_000);
            let mut chunks: Vec<Chunk> = Vec::new();
            let Some(speaker) = self.nodes[node].speaker.as_mut() else {
                return;
            };
            speaker.transmit(conn, most, &mut chunks);
            let octets: Vec<u8> = chunks.iter().flat_map(|c| c.as_ref()).copied().collect();
            if octets.is_empty() {
                return;
            }
            let count = octets.len().min(self.room(id, side));
            if count == 0 {
                self.connections.get_mut(&id).expect("it has an end").sides[side].blocked = true;
                return;
            }
            self.push(id, side, &octets[..count]);
            let speaker = self.nodes[node].speaker.as_mut().expect("seen above");
            speaker.transmitted(conn, count, now);
        }
    }

    /// Puts octets on their way to the other side.
    fn push(&mut self, id: u64, side: usize, octets: &[u8]) {
        let octets = match self.bug {
            Some(bug @ (Bug::LosesWithdrawal | Bug::ReordersMessages)) => {
                self.spoil(bug, id, side, octets)
            }
            Some(_) | None => octets.to_vec(),
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let latency = connection.latency;
        let far = &mut connection.sides[1 - side];
        if far.open && !octets.is_empty() {
            far.queued += octets.len();
            far.queue.push_back((self.now + latency, octets));
        }
    }

    /// What a machine with this bug would have sent instead.
    fn spoil(&mut self, bug: Bug, id: u64, side: usize, octets: &[u8]) -> Vec<u8> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Vec::new();
        };
        let own = &mut connection.sides[side];
        own.unsent.extend_from_slice(octets);
        let mut out = Vec::new();
        while own.unsent.len() >= 19 {
            let length = usize::from(own.unsent[16]) << 8 | usize::from(own.unsent[17]);
            if own.unsent.len() < length {
                break;
            }
            let rest = own.unsent.split_off(length);
            let message = std::mem::replace(&mut own.unsent, rest);
            let is_update = message[18] == 2;
            let withdraws = is_update && message[19..21] != [0, 0];
            if bug == Bug::LosesWithdrawal && withdraws && self.random.chance(30) {
                continue;
            }
            let hold = bug == Bug::ReordersMessages && is_update && own.held_back.is_empty();
            if hold && self.random.chance(30) {
                own.held_back = message;
                continue;
            }
            out.extend_from_slice(&message);
            out.append(&mut own.held_back);
        }
        out
    }

    fn deliver(&mut self, id: u64, side: usize) {
        let whole = self.random.chance(60);
        let share = self.random.below(1000);
        let connection = self.connections.get_mut(&id).expect("listed");
        let end = &mut connection.sides[side];
        let Some((at, mut octets)) = end.queue.pop_front() else {
            return;
        };
        if !whole && octets.len() > 1 {
            let rest = octets.split_off(1 + share * (octets.len() - 1) / 1000);
            if !rest.is_empty() {
                end.queue.push_front((at, rest));
            }
        }
        end.queued -= octets.len();
        if let Err(error) = end.tap.read(&octets) {
            let text = format!("unreadable: n{} was sent {}", end.node, error.0);
            self.failure.get_or_insert(text);
        }
        let (node, conn) = (end.node, end.conn);
        let bytes = &octets[..];
        self.handle(node, Input::Received { conn, bytes });
    }

    fn end(&mut self, id: u64, side: usize) {
        let connection = self.connections.get_mut(&id).expect("listed");
        let end = &mut connection.sides[side];
        let error = end.end.and_then(|(_, error)| error);
        let (node, conn) = (end.node, end.conn);
        self.nodes[node].ends.remove(&conn);
        self.hang_up(id, side, Some(false));
        self.handle(node, Input::Closed { conn, error });
    }

    /// The connections between two nodes that both ends hold open, with the side of `a`.
    pub fn between(&self, a: usize, b: usize) -> Vec<(&Connection, usize)> {
        let fits = |c: &Connection, i: usize| {
            (c.sides[i].node, c.sides[1 - i].node) == (a, b) && c.sides.iter().all(|s| s.open)
        };
        self.connections
            .values()
            .flat_map(|c| [0, 1].map(|i| (c, i)))
            .filter(|(c, i)| fits(c, *i))
            .collect()
    }
}
