//! The agent of one host: the same machines that production drives.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgp::Speaker;
use node::{Node, Options, Recorded};

/// A running agent.
pub struct Process {
    /// Which one it is of its host's.
    pub incarnation: u64,
    /// The planner.
    pub node: Node,
    /// The speaker, once the planner has said what it shall do.
    pub speaker: Option<Speaker>,
    /// Where the speaker listens.
    pub listening: BTreeSet<SocketAddr>,
    /// How far it has read the store; `None` before the first list.
    pub cursor: Option<u64>,
    /// How many connections it has accepted.
    pub accepted: u64,
    /// Names, once the planner has said which.
    pub names: Option<dns::Server>,
    /// The addresses at which clients ask for them.
    pub names_at: BTreeSet<IpAddr>,
    /// Its planner's inputs, to be replayed.
    pub recording: Vec<Recorded>,
    /// The planner's outputs, as texts.
    pub outputs: Vec<String>,
    /// When it is woken next.
    pub timer: Option<Duration>,
}

impl Process {
    /// A new agent of this host.
    pub fn new(name: &str, incarnation: u64) -> Process {
        Process {
            incarnation,
            node: Node::new(Options::named(name)),
            speaker: None,
            listening: BTreeSet::new(),
            cursor: None,
            accepted: 0,
            names: None,
            names_at: BTreeSet::new(),
            recording: Vec::new(),
            outputs: Vec::new(),
            timer: None,
        }
    }

    /// When one of its machines wants to be called.
    pub fn next_deadline(&self) -> Option<Duration> {
        let speaker = self.speaker.as_ref().and_then(Speaker::next_deadline);
        self.node.next_deadline().into_iter().chain(speaker).min()
    }
}

/// Feeds a recording to a new planner; the texts of its outputs, in order.
pub fn replay(name: &str, recording: &[Recorded]) -> Vec<String> {
    let mut node = Node::new(Options::named(name));
    let mut outputs = Vec::new();
    for recorded in recording {
        node.handle(recorded.input.clone(), recorded.now());
        while let Some(output) = node.poll(recorded.now()) {
            outputs.push(format!("{output:?}"));
        }
    }
    outputs
}
