//! One seed from beginning to end.

use crate::bug::Bug;
use crate::check::{Verdict, audit};
use crate::model::Network;
use crate::random::Random;
use crate::world::World;
use crate::{script, topology};
use std::time::Duration;

/// How long nothing is done before an audit: longer than any hold, restart, stale, idle or
/// OPEN wait time of these networks one after the other.
const QUIET: Duration = Duration::from_secs(440);
/// At the end of which no route may change.
const STILL: Duration = Duration::from_secs(60);

/// What became of a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first thing that must not be, as one line.
    pub failure: Option<String>,
    /// Audits with [`Verdict::Equal`], [`Verdict::Consistent`], [`Verdict::Restless`].
    pub audits: [u64; 3],
    /// UPDATEs with routes that arrived, over all sessions that there were at audits.
    pub updates: u64,
}

/// Runs a seed, with a planted fault or without.
pub fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Report {
    let mut random = Random::new(seed);
    let configs = topology::network(&mut random);
    let mut world = World::new(configs, seed, bug, trace);
    let mut report = Report::default();
    for _ in 0..2 {
        for _ in 0..4 + random.below(14) {
            let pause = random.pick(&[1u64, 100, 5_000, 40_000]);
            let pause = random.up_to(Duration::from_millis(pause));
            world.run_until(world.now + pause);
            script::act(&mut world, &mut random);
        }
        if random.chance(60) {
            mend(&mut world);
        }
        let quiet = settle(&mut world);
        report.updates += updates(&world);
        let network = Network {
            configs: (world.nodes.iter())
                .map(|n| n.speaker.as_ref().map(|_| n.config.clone()))
                .collect(),
            addresses: (0..world.nodes.len()).map(topology::address).collect(),
            cut: world.cut.clone(),
            bug,
        };
        let verdict = match world.failure.take() {
            Some(failure) => Err(failure),
            None => audit(&mut world, &network, quiet),
        };
        match verdict {
            Ok(verdict) => {
                let at = match verdict {
                    Verdict::Equal => 0,
                    Verdict::Consistent => 1,
                    Verdict::Restless => 2,
                };
                report.audits[at] += 1;
                if world.exhausted {
                    return report;
                }
            }
            Err(failure) => {
                report.failure = Some(failure);
                return report;
            }
        }
    }
    report
}

fn mend(world: &mut World) {
    world.cut.clear();
    for node in 0..world.nodes.len() {
        if !world.is_up(node) {
            world.start(node, node % 2 == 0);
        }
    }
}

fn updates(world: &World) -> u64 {
    let sides = world.connections.values().flat_map(|c| &c.sides);
    sides.map(|side| side.tap.updates).sum()
}

/// Lets time pass; true when no route changed towards the end of it.
fn settle(world: &mut World) -> bool {
    world.run_until(world.now + QUIET - STILL);
    let before = updates(world);
    world.run_until(world.now + STILL);
    updates(world) == before && !world.exhausted
}
