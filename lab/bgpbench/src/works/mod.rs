//! The works: what is done to a speaker, and what of it is measured.

mod fib;
mod full;
mod idle;
mod latency;
mod multi;
mod reflector;

use crate::dut::Dut;
use crate::machine::{Noise, Span};
use crate::namespace::Namespace;
use crate::peers::{Faults, Peer, Peers};
use crate::speakers::{Setup, Speaker};
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use bgpwire::message;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The AS of the speaker under test.
const DUT_AS: u32 = 65_000;
const RECEIVER_AS: u32 = 64_900;
const DUT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// No step of a work takes longer.
const LIMIT: Duration = Duration::from_secs(180);
/// Quiet before a clock starts.
const SETTLE: Duration = Duration::from_secs(2);

/// How large the works are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub prefixes: usize,
    pub clients: usize,
    pub idle: Duration,
}

/// What a value is compared with, and what it has to be for the sake.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Times another speaker's value.
    Times(&'static str, f64, f64),
    /// Times the best value of all others that were measured.
    TimesBest(f64, f64),
    /// The value itself.
    AtMost(f64, f64),
    /// It only helps to understand the others.
    None,
}

/// One value of a work.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub name: &'static str,
    pub unit: &'static str,
    pub goal: Goal,
}

const fn measure(name: &'static str, unit: &'static str, goal: Goal) -> Measure {
    Measure { name, unit, goal }
}

/// A work.
pub struct Work {
    pub name: &'static str,
    pub what: fn(&Sizes) -> String,
    pub measures: &'static [Measure],
    run: fn(&Speaker, &Sizes) -> Result<Bench>,
}

/// All of them, in the order in which they are shown.
pub const ALL: [&Work; 6] = [
    &full::WORK,
    &multi::WORK,
    &reflector::WORK,
    &idle::WORK,
    &latency::WORK,
    &fib::WORK,
];

/// What one run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By the name of the measure.
    pub values: Vec<(&'static str, f64)>,
    pub noise: Noise,
}

impl Work {
    /// Does it once, with a speaker started for it.
    ///
    /// # Errors
    /// When the speaker does not do what it must, with its last words.
    pub fn once(&self, speaker: &Speaker, sizes: &Sizes) -> Result<Outcome> {
        let mut bench = (self.run)(speaker, sizes)?;
        let noise = bench.span.noise(bench.dut.cpu() - bench.cpu_before);
        ensure!(
            bench.peers.faults == Faults::default(),
            "wrong routes: {:?}",
            bench.peers.faults
        );
        bench.dut.stop()?;
        Ok(Outcome {
            values: bench.values,
            noise,
        })
    }
}

/// A speaker with its peers, in the middle of a work.
struct Bench {
    dut: Dut,
    peers: Peers,
    values: Vec<(&'static str, f64)>,
    span: Span,
    cpu_before: f64,
}

impl Bench {
    /// Starts the speaker; does `body` and gives its error the speaker's last words.
    fn run(
        speaker: &Speaker,
        setup: Setup,
        table: Table,
        peers: Vec<Peer>,
        body: impl FnOnce(&mut Bench) -> Result<()>,
    ) -> Result<Bench> {
        let addresses: Vec<Ipv4Addr> = peers.iter().map(|peer| peer.address).collect();
        let namespace = Namespace::enter(DUT_ADDRESS, &addresses)?;
        let dut = Dut::start(speaker, &setup, namespace, &peers)?;
        let peers = Peers::new(Rc::new(table), peers, DUT_ADDRESS, DUT_AS)?;
        let mut bench = Bench {
            dut,
            peers,
            values: Vec::new(),
            span: Span::begin(),
            cpu_before: 0.0,
        };
        match body(&mut bench) {
            Ok(()) => Ok(bench),
            Err(error) => Err(match bench.dut.last_words() {
                words if words.is_empty() => error,
                words => error.context(words),
            }),
        }
    }

    fn put(&mut self, name: &'static str, value: f64) {
        self.values.push((name, value));
    }

    /// Brings these sessions up one after the other, and waits until all is quiet.
    fn settle(&mut self, ids: &[usize]) -> Result<()> {
        for (i, id) in ids.iter().enumerate() {
            self.peers.start(*id);
            self.peers.until(LIMIT, |peers| peers.up > i)?;
        }
        self.peers.idle(SETTLE)?;
        self.begin();
        Ok(())
    }

    /// What the noise is measured from.
    fn begin(&mut self) {
        self.cpu_before = self.dut.cpu();
        self.span = Span::begin();
    }

    fn until(&mut self, what: &str, done: impl FnMut(&Peers) -> bool) -> Result<()> {
        self.peers
            .until(LIMIT, done)
            .with_context(|| what.to_owned())
    }
}

fn setup() -> Setup {
    Setup {
        asn: DUT_AS,
        address: DUT_ADDRESS,
        reflector: false,
        kernel: false,
    }
}

/// The sender with this number, from 1; its AS says which it is.
fn sender(number: u32) -> Peer {
    Peer {
        name: format!("sender{number}"),
        address: Ipv4Addr::from(0x0a00_0100 + number),
        asn: DUT_AS + number,
        collects: false,
    }
}

fn receiver(number: u32) -> Peer {
    Peer {
        name: format!("receiver{number}"),
        address: Ipv4Addr::from(0x0a00_0200 + number),
        asn: RECEIVER_AS + number,
        collects: true,
    }
}

fn client(number: u32) -> Peer {
    Peer {
        name: format!("client{number}"),
        address: Ipv4Addr::from(0x0a00_1000 + number),
        asn: DUT_AS,
        collects: true,
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// The value below which this share of them lies.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values
        .get((last * share).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

fn end_of_rib() -> Rc<[u8]> {
    message::end_of_rib().into()
}
