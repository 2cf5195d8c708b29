//! The stand-alone speaker under churn for minutes, against the slow model of `lab/bgpsim`.
//!
//! [`run()`] starts the speaker as a process of its own on 127.0.0.1 and plays all of its peers from 127.1.0.0/16 and
//! 127.2.0.0/16 (`peers.rs`): reflection clients, non-clients, other ASes, some with add-path or graceful restart
//! (`cast.rs`). They say and withdraw routes; each second one is killed; now and then something rare happens
//! (`churn.rs`). Every ten seconds all pauses, and the speaker's table and each peer's view must equal the model's
//! (`audit.rs`). Memory, threads and descriptors must be flat in the last two thirds (`report.rs`). What is done is drawn
//! from a seed; when it is done, and so what comes of it, is the machine's. Not here: speed (`lab/bgpbench`), the kernel.
//!
//! ```no_run
//! let plan = soak::Plan { seconds: 60, sessions: 300, seed: 1, plant: None };
//! // The program must be `speaker::main_run` when it is called with `speaker CONFIG`.
//! let report = soak::run(&plan, &std::env::current_exe()?, |_, _| ())?;
//! assert_eq!(report.failure, None);
//! # Ok::<(), anyhow::Error>(())
//! ```

mod audit;
mod cast;
mod churn;
mod peer;
mod peers;
mod report;
mod subject;

pub use report::{Report, Sample};

use anyhow::Result;
use audit::Auditor;
use cast::{Player, Settings};
use churn::Churn;
use peer::Link;
use peers::Peers;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use subject::Subject;

/// Between audits.
const AUDIT_EVERY: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of churn and audits.
    pub seconds: u64,
    /// Peers.
    pub sessions: usize,
    /// What all is drawn from.
    pub seed: u64,
    /// A fault to plant, which must be found.
    pub plant: Option<Plant>,
}

/// A fault that one of the judgements must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// The model is told of a route that no peer says.
    Route,
    /// A peer forgets a route that it was told.
    View,
    /// A peer says more and more.
    Memory,
    /// More and more connections are opened and left.
    Descriptors,
}

/// Runs the speaker under churn. `program` is started with `speaker CONFIG`; `tell` is called now and then with the
/// seconds since the start and how many peers are up.
///
/// # Errors
/// When the speaker or the peers cannot be started. What does not hold is in [`Report::failure`].
pub fn run(plan: &Plan, program: &Path, mut tell: impl FnMut(u64, usize)) -> Result<Report> {
    let port = subject::free_port()?;
    let mut peers = Peers::new(plan.sessions, port, plan.seed)?;
    let mut settings = Settings {
        port,
        ports: (0..plan.sessions)
            .filter_map(|id| Some((id + 1, peers.port(id)?)))
            .collect(),
        origins: BTreeMap::from([("10.202.0.0/24".parse()?, 5)]),
        ..Settings::default()
    };
    let players: Vec<Player> = peers.all.iter().map(|p| p.player.clone()).collect();
    let mut subject = Subject::start(program, &mut settings, &players)?;
    let mut report = Report {
        seed: plan.seed,
        seconds: plan.seconds,
        sessions: plan.sessions,
        ..Report::default()
    };
    let outcome = soak(
        plan,
        &mut peers,
        &mut subject,
        &mut settings,
        &mut report,
        &mut tell,
    );
    let totals = peers.totals();
    (report.said, report.heard) = (totals.said, totals.heard);
    (report.established, report.starved) = (totals.sessions, totals.starved);
    report.failure = match outcome {
        // When the speaker has ended, that is the cause of all else.
        Err(error) => Some(format!("{:#}", subject.usage().err().unwrap_or(error))),
        Ok(()) => report.flat().err(),
    };
    Ok(report)
}

fn soak(
    plan: &Plan,
    peers: &mut Peers,
    subject: &mut Subject,
    settings: &mut Settings,
    report: &mut Report,
    tell: &mut impl FnMut(u64, usize),
) -> Result<()> {
    let began = Instant::now();
    let end = began + Duration::from_secs(plan.seconds);
    let mut churn = Churn::new(plan.seed ^ 0x50a4);
    let mut planted = Planted::default();
    let mut number = 0;
    while Instant::now() < end {
        let audit = (Instant::now() + AUDIT_EVERY).min(end);
        while Instant::now() < audit {
            churn.act(peers, subject, settings, report, audit)?;
            peers.turn(Duration::from_millis(25))?;
            if let Some(failure) = peers.failure.take() {
                anyhow::bail!(failure);
            }
            tell(began.elapsed().as_secs(), peers.up());
        }
        number += 1;
        if let Some(plant) = plan.plant {
            planted.grow(plant, peers, report.sessions);
        }
        let mut auditor = Auditor {
            peers: &mut *peers,
            subject: &mut *subject,
            report: &mut *report,
            plant: plan.plant,
            number,
            began,
        };
        let outcome = auditor.audit();
        outcome.map_err(|error| error.context(format!("audit {number}")))?;
        churn.resume();
    }
    Ok(())
}

/// What a planted fault holds on to.
#[derive(Default)]
struct Planted {
    connections: Vec<TcpStream>,
    said: u32,
    rounds: u32,
}

impl Planted {
    fn grow(&mut self, plant: Plant, peers: &mut Peers, sessions: usize) {
        match plant {
            Plant::Route | Plant::View => {}
            Plant::Memory => {
                // More each time than all before: whoever said that may have been killed since.
                self.rounds += 1;
                let up = (0..sessions)
                    .find(|id| peers.all[*id].link == Link::Up && !peers.all[*id].absent);
                let Some(id) = up else { return };
                for _ in 0..600 * self.rounds * self.rounds {
                    self.said += 1;
                    let ((_, _), mut route) = cast::own_marker(&peers.all[id].player, 0);
                    route.large_communities = (0..80).map(|i| [64512, self.said, i]).collect();
                    let [_, high, middle, low] = self.said.to_be_bytes();
                    let prefix = ipnet::Ipv4Net::new_assert([11, high, middle, low].into(), 32);
                    let key = (prefix.into(), 0);
                    peers.all[id].table.insert(key, route.clone());
                    peers.tell(id, &(key, Some(route)));
                }
            }
            Plant::Descriptors => {
                for _ in 0..20 {
                    let number = self.connections.len() as u8;
                    self.connections.extend(peers.stranger(number).ok());
                }
            }
        }
    }
}
