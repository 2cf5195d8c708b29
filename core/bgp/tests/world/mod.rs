//! Speakers joined by pipes in virtual time: no sockets, no clock.
#![allow(dead_code, missing_docs)]

use bgp::{
    Chunk, Config, ConnId, Family, Input, Now, Output, PeerConfig, PeerState, PeerStatus,
    RouteChange, Speaker,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub const AS: u32 = 64512;

pub fn addr(node: usize) -> IpAddr {
    IpAddr::from([10, 0, (node / 250) as u8, (node % 250 + 1) as u8])
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn name(node: usize) -> String {
    format!("n{node}")
}

/// A speaker at `addr(node)` that listens and has no peers yet.
pub fn config(node: usize, asn: u32) -> Config {
    let IpAddr::V4(id) = addr(node) else {
        unreachable!("addresses here are IPv4")
    };
    let mut config = Config::new(asn.into(), id);
    config.listen = vec![SocketAddr::new(addr(node), 179)];
    config
}

/// A peer entry for another node, with an IPv6 next hop for IPv6 routes over these sessions.
pub fn peer(own: usize, other: usize, asn: u32) -> PeerConfig {
    let mut peer = PeerConfig::new(name(other), addr(other), asn.into());
    peer.own_next_hop = Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, own as u16 + 1]));
    peer
}

pub struct Node {
    pub speaker: Option<Speaker>,
    pub routes: BTreeMap<IpNet, bgp::Route>,
    pub changes: usize,
    pub in_sync: bool,
    pub watched: Vec<bgp::WatchedPath>,
    pub next_hops: Vec<IpAddr>,
    pub states: Vec<(String, PeerState, String)>,
    ends: BTreeMap<ConnId, End>,
    listens: bool,
    accepted: u64,
    /// Reads nothing while set.
    pub deaf: bool,
}

/// The other end of a connection, and what is on its way from there.
struct End {
    node: usize,
    conn: ConnId,
    inbound: VecDeque<u8>,
    closing: bool,
}

pub struct World {
    pub nodes: Vec<Node>,
    pub now: Duration,
    pub cut: BTreeSet<(usize, usize)>,
    /// Bytes of one read at most.
    pub read: usize,
    /// Every output in order, as text.
    pub trace: Vec<String>,
    pub tracing: bool,
    /// How long a connection takes to come about: within it, both sides may dial.
    pub latency: Duration,
    /// The network that all nodes are in, as far as drivers know.
    pub shared: Option<IpNet>,
    dialling: Vec<(Duration, usize, ConnId, SocketAddr)>,
}

impl World {
    pub fn new(configs: Vec<Config>, seed: u64) -> Self {
        let mut world = World {
            nodes: Vec::new(),
            now: Duration::from_secs(1),
            cut: BTreeSet::new(),
            read: 65536,
            trace: Vec::new(),
            tracing: false,
            latency: Duration::ZERO,
            shared: None,
            dialling: Vec::new(),
        };
        for (i, config) in configs.into_iter().enumerate() {
            world.nodes.push(Node {
                speaker: Some(Speaker::new(config, seed ^ i as u64, world.time())),
                routes: BTreeMap::new(),
                changes: 0,
                in_sync: false,
                watched: Vec::new(),
                next_hops: Vec::new(),
                states: Vec::new(),
                ends: BTreeMap::new(),
                listens: false,
                accepted: 0,
                deaf: false,
            });
        }
        world
    }

    pub fn time(&self) -> Now {
        Now {
            mono: self.now,
            wall: self.now,
        }
    }

    pub fn speaker(&mut self, node: usize) -> &mut Speaker {
        self.nodes[node].speaker.as_mut().expect("the node is up")
    }

    pub fn handle(&mut self, node: usize, input: Input<'_>) {
        let now = self.time();
        self.speaker(node).handle(input, now);
    }

    pub fn configure(&mut self, node: usize, config: Config) {
        self.handle(node, Input::Configure(Box::new(config)));
    }

    pub fn status(&mut self, node: usize, other: usize) -> PeerStatus {
        let wanted = name(other);
        let peers = self.speaker(node).peers();
        peers
            .into_iter()
            .find(|p| *p.name == *wanted)
            .expect("such a peer")
    }

    pub fn is_up(&mut self, node: usize, other: usize) -> bool {
        self.status(node, other).state == PeerState::Established
    }

    /// Kill -9: the connections end without a word from the speaker.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].speaker = None;
        self.nodes[node].routes.clear();
        self.nodes[node].listens = false;
        self.nodes[node].in_sync = false;
        for (_, end) in std::mem::take(&mut self.nodes[node].ends) {
            if let Some(far) = self.nodes[end.node].ends.get_mut(&end.conn) {
                far.closing = true;
            }
        }
    }

    pub fn start(&mut self, node: usize, config: Config, seed: u64) {
        let now = self.time();
        self.nodes[node].speaker = Some(Speaker::new(config, seed, now));
    }

    /// Runs for a time, jumping from deadline to deadline.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let deadlines = self
                .nodes
                .iter()
                .filter_map(|n| n.speaker.as_ref()?.next_deadline());
            let dialled = self.dialling.iter().map(|(at, ..)| *at);
            match deadlines.chain(dialled).min() {
                Some(at) if at.max(self.now) <= end => {
                    self.now = self.now.max(at);
                    let (due, later) = std::mem::take(&mut self.dialling)
                        .into_iter()
                        .partition(|(at, ..)| *at <= self.now);
                    self.dialling = later;
                    let due: Vec<_> = due;
                    for (_, node, conn, remote) in due {
                        self.connect(node, conn, remote);
                    }
                    for node in 0..self.nodes.len() {
                        let now = self.time();
                        let Some(speaker) = self.nodes[node].speaker.as_mut() else {
                            continue;
                        };
                        if speaker.next_deadline().is_some_and(|at| at <= now.mono) {
                            speaker.handle(Input::Timer, now);
                        }
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// Delivers everything that can be delivered without time passing.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            for node in 0..self.nodes.len() {
                moved |= self.outputs(node);
            }
            for node in 0..self.nodes.len() {
                moved |= self.inputs(node);
            }
            if !moved {
                return;
            }
        }
    }

    fn outputs(&mut self, node: usize) -> bool {
        let mut any = false;
        loop {
            let now = self.time();
            let Some(speaker) = self.nodes[node].speaker.as_mut() else {
                return any;
            };
            let Some(output) = speaker.poll(now) else {
                return any;
            };
            any = true;
            if self.tracing {
                self.trace.push(format!("{:?} {node} {output:?}", self.now));
            }
            self.act(node, output);
        }
    }

    fn act(&mut self, node: usize, output: Output) {
        match output {
            Output::Listen(addresses) => self.nodes[node].listens = !addresses.is_empty(),
            Output::Connect { conn, remote, .. } if self.latency.is_zero() => {
                self.connect(node, conn, remote);
            }
            Output::Connect { conn, remote, .. } => {
                self.dialling
                    .push((self.now + self.latency, node, conn, remote));
            }
            Output::Configure { .. }
            | Output::Secure(_)
            | Output::Notice(_)
            | Output::Rekey { .. } => {}
            Output::Send(conn) => self.pull(node, conn),
            Output::Close { conn, last } => {
                self.push(node, conn, &last);
                if let Some(end) = self.nodes[node].ends.remove(&conn)
                    && let Some(far) = self.nodes[end.node].ends.get_mut(&end.conn)
                {
                    far.closing = true;
                }
            }
            Output::Routes(changes) => {
                self.nodes[node].changes += changes.len();
                for RouteChange { prefix, route } in changes {
                    match route {
                        Some(route) => self.nodes[node].routes.insert(prefix, route),
                        None => self.nodes[node].routes.remove(&prefix),
                    };
                }
            }
            Output::Peer(event) => {
                self.nodes[node]
                    .states
                    .push((event.peer.to_string(), event.state, event.error));
            }
            Output::NextHops(addresses) => self.nodes[node].next_hops = addresses,
            Output::FindNeighbors(_) => {}
            Output::WatchPaths(paths) => self.nodes[node].watched = paths,
            Output::InSync => self.nodes[node].in_sync = true,
        }
    }

    fn connect(&mut self, node: usize, conn: ConnId, remote: SocketAddr) {
        let other = (0..self.nodes.len()).find(|n| addr(*n) == remote.ip());
        let open = other.filter(|n| self.nodes[*n].listens && !self.is_cut(node, *n));
        let Some(other) = open else {
            self.handle(
                node,
                Input::ConnectFailed {
                    conn,
                    error: "Connection refused",
                },
            );
            return;
        };
        self.nodes[other].accepted += 1;
        let accepted = ConnId::Accepted(self.nodes[other].accepted);
        let end = |node, conn| End {
            node,
            conn,
            inbound: VecDeque::new(),
            closing: false,
        };
        self.nodes[node].ends.insert(conn, end(other, accepted));
        self.nodes[other].ends.insert(accepted, end(node, conn));
        let local = SocketAddr::new(addr(node), 40000);
        self.handle(node, Input::Connected { conn, local });
        let input = Input::Accepted {
            conn: accepted,
            remote: local,
            local: remote,
        };
        self.handle(other, input);
        if let Some(network) = self.shared {
            for (node, conn) in [(node, conn), (other, accepted)] {
                self.handle(node, Input::SharedNetwork { conn, network });
            }
        }
    }

    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn pull(&mut self, node: usize, conn: ConnId) {
        loop {
            // What a deaf reader leaves in the pipe is bounded, as a socket's buffer is.
            if let Some(end) = self.nodes[node].ends.get(&conn) {
                let far = &self.nodes[end.node];
                let waiting = far.ends.get(&end.conn).map_or(0, |far| far.inbound.len());
                if far.deaf && waiting > 200_000 {
                    return;
                }
            }
            let now = self.time();
            let mut chunks: Vec<Chunk> = Vec::new();
            self.speaker(node).transmit(conn, 10_000, &mut chunks);
            let count: usize = chunks.iter().map(|c| c.as_ref().len()).sum();
            if count == 0 {
                return;
            }
            self.push(node, conn, &chunks);
            self.speaker(node).transmitted(conn, count, now);
        }
    }

    fn push(&mut self, node: usize, conn: ConnId, chunks: &[Chunk]) {
        let Some(end) = self.nodes[node].ends.get(&conn) else {
            return;
        };
        let (other, far) = (end.node, end.conn);
        if let Some(far) = self.nodes[other].ends.get_mut(&far) {
            far.inbound.extend(chunks.iter().flat_map(|c| c.as_ref()));
        }
    }

    fn inputs(&mut self, node: usize) -> bool {
        let mut any = false;
        if self.nodes[node].deaf {
            return false;
        }
        for conn in self.nodes[node].ends.keys().copied().collect::<Vec<_>>() {
            let far = self.nodes[node].ends.get(&conn).map(|end| end.node);
            // As TCP does it: nothing is lost on a cut link, it comes when the cut is mended.
            if far.is_none_or(|far| self.is_cut(node, far)) {
                continue;
            }
            let Some(end) = self.nodes[node].ends.get_mut(&conn) else {
                continue;
            };
            let count = end.inbound.len().min(self.read);
            let bytes: Vec<u8> = end.inbound.drain(..count).collect();
            let over = end.closing && end.inbound.is_empty();
            let (other, far) = (end.node, end.conn);
            if !bytes.is_empty() {
                any = true;
                self.handle(
                    node,
                    Input::Received {
                        conn,
                        bytes: &bytes,
                    },
                );
                if self.nodes[other].ends.contains_key(&far) {
                    self.pull(other, far);
                }
            }
            if over && self.nodes[node].ends.remove(&conn).is_some() {
                any = true;
                self.handle(node, Input::Closed { conn, error: None });
            }
        }
        any
    }

    /// What the best path of a prefix at a node says, or nothing.
    pub fn best(&mut self, node: usize, prefix: &str) -> Option<bgp::PathInfo> {
        let explained = self.speaker(node).explain(net(prefix));
        explained
            .paths
            .into_iter()
            .find(|p| p.standing == bgp::PathStanding::Best)
    }

    /// Which peers a node holds a path of a prefix from.
    pub fn holders(&mut self, node: usize, prefix: &str) -> Vec<String> {
        let explained = self.speaker(node).explain(net(prefix));
        let mut names: Vec<String> = explained
            .paths
            .iter()
            .map(|p| {
                p.peer
                    .as_ref()
                    .map_or("local".to_owned(), ToString::to_string)
            })
            .collect();
        names.sort();
        names
    }

    /// What was reported and what is in the table must be the same.
    pub fn check_reports(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].speaker.is_none() {
                continue;
            }
            for family in Family::ALL {
                for prefix in self.speaker(node).prefixes(family) {
                    let known = self.nodes[node].routes.contains_key(&prefix);
                    let best = self.best(node, &prefix.to_string()).is_some();
                    assert_eq!(known, best, "node {node}, {prefix}");
                }
            }
            let routes: Vec<IpNet> = self.nodes[node].routes.keys().copied().collect();
            for prefix in routes {
                assert!(
                    self.best(node, &prefix.to_string()).is_some(),
                    "node {node}, {prefix}"
                );
            }
        }
    }
}

/// A reflector (node 0) with `clients` clients, who know only it.
pub fn star(clients: usize) -> Vec<Config> {
    let mut reflector = config(0, AS);
    let mut configs = Vec::new();
    for client in 1..=clients {
        let mut entry = peer(0, client, AS);
        entry.rr_client = Some([244, 0, 0, 1].into());
        reflector.peers.push(entry);
        let mut own = config(client, AS);
        own.peers.push(peer(client, 0, AS));
        configs.push(own);
    }
    configs.insert(0, reflector);
    configs
}
