//! How next hops are reached, by the kernel's routing table: each is asked for once, and again when routes or links
//! change. Both the routes that go into the kernel and the machine's choice among paths go by it.

use super::table::Target;
use linux::fib::{Drift, Hop, RouteWriter, Way};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

/// What the machine is told: an address, and its cost, or that it cannot be reached.
pub(super) type Answer = (IpAddr, Option<u32>);

/// A table that changes while it is read is read again this often.
const READS: u32 = 20;

#[derive(Default)]
pub(super) struct Ways {
    known: HashMap<Target, Option<Way>>,
    /// The next hops that the machine has paths through, and what it was told.
    tracked: BTreeMap<IpAddr, Option<u32>>,
    /// Interfaces that are down: their routes may still be there for a moment.
    down: BTreeSet<u32>,
}

impl Ways {
    fn way(&mut self, writer: &mut RouteWriter, target: Target) -> Option<&Way> {
        let down = &self.down;
        let way = self.known.entry(target).or_insert_with(|| {
            let way = ask(writer, target).unwrap_or_else(|error| {
                tracing::warn!("cannot ask how {} is reached: {error}", target.address);
                None
            });
            way.and_then(|mut way| {
                way.hops.retain(|hop| !down.contains(&hop.oif));
                (!way.hops.is_empty()).then_some(way)
            })
        });
        way.as_ref()
    }

    /// The hops to all of these next hops together; those that cannot be reached add none.
    pub fn hops(&mut self, writer: &mut RouteWriter, next_hops: &[Target]) -> Vec<Hop> {
        let mut all = Vec::new();
        for target in next_hops {
            let way = self.way(writer, *target);
            all.extend(way.into_iter().flat_map(|way| &way.hops));
        }
        all
    }

    /// What is known may not hold any more.
    pub fn forget(&mut self, drift: &Drift) {
        for (interface, up) in &drift.states {
            if *up {
                self.down.remove(interface);
            } else {
                self.down.insert(*interface);
            }
        }
        self.known.clear();
    }

    /// From now on the machine wants to know of exactly these. Says what it was not told yet; with `anew`, all.
    pub fn track(
        &mut self,
        writer: &mut RouteWriter,
        addresses: &[IpAddr],
        anew: bool,
    ) -> Vec<Answer> {
        let before = std::mem::take(&mut self.tracked);
        let mut answers = Vec::new();
        for address in addresses {
            let told = before.get(address).copied().filter(|_| !anew);
            let cost = told.unwrap_or_else(|| {
                let cost = self.cost(writer, *address);
                // Unless told otherwise, the machine takes it for reachable.
                if before.get(address).copied().unwrap_or(Some(0)).is_some() != cost.is_some() {
                    say(*address, cost);
                }
                answers.push((*address, cost));
                cost
            });
            self.tracked.insert(*address, cost);
        }
        answers
    }

    /// Asks again about all that are tracked: those of which something else is to be told.
    pub fn changes(&mut self, writer: &mut RouteWriter) -> Vec<Answer> {
        let mut tracked = std::mem::take(&mut self.tracked);
        let mut answers = Vec::new();
        for (address, told) in &mut tracked {
            let cost = self.cost(writer, *address);
            if cost.is_some() != told.is_some() {
                say(*address, cost);
            }
            if *told != cost {
                *told = cost;
                answers.push((*address, cost));
            }
        }
        self.tracked = tracked;
        answers
    }

    fn cost(&mut self, writer: &mut RouteWriter, address: IpAddr) -> Option<u32> {
        let target = Target { address, scope: 0 };
        self.way(writer, target).map(|way| way.metric)
    }
}

fn ask(writer: &mut RouteWriter, target: Target) -> io::Result<Option<Way>> {
    let mut left = READS;
    loop {
        match writer.resolve(target.address, target.scope) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && left > 0 => left -= 1,
            answer => return answer,
        }
    }
}

fn say(address: IpAddr, cost: Option<u32>) {
    match cost {
        Some(_) => tracing::info!("next hop {address}: can be reached again"),
        None => tracing::warn!(
            reason = "next-hop-unreachable",
            "next hop {address}: paths through it are kept out"
        ),
    }
}
