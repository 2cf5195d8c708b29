//! What the kernel shall have, what it has, and the steps between: the last state wins, each net is queued once.

use bgp::RouteNextHop;
use ipnet::IpNet;
use linux::fib::{Hop, Request};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

/// A next hop as the kernel is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub address: IpAddr,
    /// The interface's index where the address is link-local, else 0.
    pub scope: u32,
}

impl From<RouteNextHop> for Target {
    /// On a link that is known the link-local address is the surer one (RFC 2545 §3): the global one may be of no network there.
    fn from(hop: RouteNextHop) -> Self {
        match hop.link_local {
            Some(address) if hop.scope != 0 => Target {
                address: address.into(),
                scope: hop.scope,
            },
            Some(_) | None => Target {
                address: hop.address,
                scope: 0,
            },
        }
    }
}

/// Why a route that was chosen is not in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Somebody else's route has the same destination and metric.
    RouteKeyTaken,
    /// The kernel knows no way to the next hop, or only one that we gave it.
    NextHopUnreachable,
    /// The kernel's errno.
    Kernel(i32),
}

impl Refusal {
    /// As the log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::RouteKeyTaken => "route-key-taken",
            Refusal::NextHopUnreachable => "next-hop-unreachable",
            Refusal::Kernel(_) => "kernel-refused",
        }
    }
}

/// Values by small numbers; 0 is none of them.
struct Interned<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn new() -> Self {
        Interned {
            values: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// The number of a value, and whether it is new.
    fn number(&mut self, value: &T) -> (u32, bool) {
        if let Some(number) = self.numbers.get(value) {
            return (*number, false);
        }
        self.values.push(value.clone());
        let number = self.values.len() as u32;
        self.numbers.insert(value.clone(), number);
        (number, true)
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.values.get((number as usize).checked_sub(1)?)
    }
}

#[derive(Clone, Copy, Default)]
struct Net {
    /// The next hops that BGP chose; 0: no route.
    wanted: u32,
    /// The hops that the kernel has; 0: no route.
    installed: u32,
    queued: bool,
}

/// All nets. Numbers of next hops and of hops are never given again: there are as many as there are sets of peers.
pub(super) struct Table {
    nets: HashMap<IpNet, Net>,
    queue: VecDeque<IpNet>,
    next_hops: Interned<Vec<Target>>,
    hops: Interned<Vec<Hop>>,
    /// By next hops: the hops that lead there, 0 when there are none.
    ways: Vec<u32>,
    refused: BTreeMap<IpNet, Refusal>,
    in_sync: bool,
}

impl Table {
    pub fn new() -> Self {
        Table {
            nets: HashMap::new(),
            queue: VecDeque::new(),
            next_hops: Interned::new(),
            hops: Interned::new(),
            ways: Vec::new(),
            refused: BTreeMap::new(),
            in_sync: false,
        }
    }

    /// BGP's choice for a net; no next hops: none. `resolve` is asked for the hops of next hops not seen before.
    pub fn want(
        &mut self,
        prefix: IpNet,
        next_hops: &Vec<Target>,
        resolve: impl FnOnce(&[Target]) -> Vec<Hop>,
    ) {
        let mut wanted = 0;
        if !next_hops.is_empty() {
            let (number, new) = self.next_hops.number(next_hops);
            if new {
                let way = self.way(resolve(next_hops));
                self.ways.push(way);
            }
            wanted = number;
        }
        let net = self.nets.entry(prefix).or_default();
        net.wanted = wanted;
        self.queue(prefix);
    }

    fn way(&mut self, mut hops: Vec<Hop>) -> u32 {
        hops.sort();
        hops.dedup();
        if hops.is_empty() {
            0
        } else {
            self.hops.number(&hops).0
        }
    }

    fn queue(&mut self, prefix: IpNet) {
        let Some(net) = self.nets.get_mut(&prefix) else {
            return;
        };
        if !net.queued {
            net.queued = true;
            self.queue.push_back(prefix);
        }
    }

    fn queue_where(&mut self, choose: impl Fn(&Net) -> bool) {
        for (prefix, net) in &mut self.nets {
            if !net.queued && choose(net) {
                net.queued = true;
                self.queue.push_back(*prefix);
            }
        }
    }

    /// What the kernel has, all of it: at the start, and when it may have changed unseen. What nobody wants stays until
    /// [`Table::set_in_sync`].
    pub fn set_installed(&mut self, routes: Vec<(IpNet, Vec<Hop>)>) {
        self.nets.values_mut().for_each(|net| net.installed = 0);
        for (prefix, hops) in routes {
            // One without hops is no route of ours but has our mark: replaced or removed like one.
            let (number, _) = self.hops.number(&hops);
            self.nets.entry(prefix).or_default().installed = number;
        }
        self.queue_where(|_| true);
    }

    /// Somebody else removed or changed the net's route. `gone` are the hops that it lost; none: all of it.
    pub fn touched(&mut self, prefix: IpNet, gone: &[Hop]) {
        let Some(net) = self.nets.get_mut(&prefix) else {
            return;
        };
        let mut left = self.hops.get(net.installed).cloned().unwrap_or_default();
        left.retain(|hop| !gone.is_empty() && !gone.contains(hop));
        net.installed = match left.is_empty() {
            true => 0,
            false => self.hops.number(&left).0,
        };
        self.queue(prefix);
    }

    /// Asks again how all next hops are reached, and tries again what was refused.
    pub fn resolve_again(&mut self, mut resolve: impl FnMut(&[Target]) -> Vec<Hop>) {
        for number in 1..=self.ways.len() as u32 {
            let Some(next_hops) = self.next_hops.get(number).cloned() else {
                continue;
            };
            let way = self.way(resolve(&next_hops));
            let before = std::mem::replace(&mut self.ways[number as usize - 1], way);
            if before != way {
                self.queue_where(|net| net.wanted == number);
            }
        }
        let refused: Vec<IpNet> = self.refused.keys().copied().collect();
        refused.into_iter().for_each(|prefix| self.queue(prefix));
    }

    /// Whether a way that is in use goes through one of these interfaces.
    pub fn uses(&self, interfaces: &[u32]) -> bool {
        let used = self
            .ways
            .iter()
            .filter_map(|way| self.hops.get(*way))
            .flatten();
        used.into_iter().any(|hop| interfaces.contains(&hop.oif))
    }

    /// From now on, what was not wanted by now is removed.
    pub fn set_in_sync(&mut self) {
        self.in_sync = true;
        self.queue_where(|net| net.wanted == 0);
    }

    /// Nothing is wanted any more.
    pub fn clear(&mut self) {
        self.nets.values_mut().for_each(|net| net.wanted = 0);
        self.set_in_sync();
    }

    pub fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes nets off the queue until one needs a step; `ask` is told it. What came of it is told to [`Table::done`].
    /// False: nothing is left to do.
    pub fn step(&mut self, ask: impl FnOnce(IpNet, Request<'_>)) -> bool {
        while let Some(prefix) = self.queue.pop_front() {
            let Some(net) = self.nets.get_mut(&prefix) else {
                continue;
            };
            net.queued = false;
            let way = match net.wanted {
                0 => 0,
                number => self.ways[number as usize - 1],
            };
            let unreachable = net.wanted != 0 && way == 0;
            let keep = net.wanted == 0 && !self.in_sync;
            let installed = net.installed;
            if !keep {
                net.installed = way;
            }
            if net.wanted == 0 && net.installed == 0 {
                self.nets.remove(&prefix);
            }
            if unreachable {
                self.refuse(prefix, Refusal::NextHopUnreachable);
            } else if way == 0 && !self.refused.is_empty() {
                self.refused.remove(&prefix);
            }
            if keep || installed == way {
                continue;
            }
            let hops = self.hops.get(way).map_or(&[][..], Vec::as_slice);
            ask(
                prefix,
                match (installed, way) {
                    (_, 0) => Request::Remove(prefix),
                    (0, _) => Request::Add(prefix, hops),
                    _ => Request::Replace(prefix, hops),
                },
            );
            return true;
        }
        false
    }

    /// What came of steps that were taken together: all but those whose places are in `failed`, with their errno, are done.
    pub fn done(&mut self, steps: &[IpNet], failed: &[(usize, i32)]) {
        use rustix::io::Errno;
        if !self.refused.is_empty() {
            let mut failed = failed.iter().map(|(place, _)| *place).peekable();
            for (place, prefix) in steps.iter().enumerate() {
                let is_unreachable = self.refused.get(prefix) == Some(&Refusal::NextHopUnreachable);
                if failed.next_if_eq(&place).is_none() && !is_unreachable {
                    self.refused.remove(prefix);
                }
            }
        }
        for (place, errno) in failed {
            let Some(prefix) = steps.get(*place) else {
                continue;
            };
            let refusal = match Errno::from_raw_os_error(*errno) {
                Errno::SRCH => continue, // removed by somebody else before
                Errno::EXIST => Refusal::RouteKeyTaken,
                _ => Refusal::Kernel(*errno),
            };
            if let Some(net) = self.nets.get_mut(prefix) {
                net.installed = 0;
            }
            self.refuse(*prefix, refusal);
        }
    }

    fn refuse(&mut self, prefix: IpNet, refusal: Refusal) {
        if self.refused.insert(prefix, refusal) == Some(refusal) {
            return; // said before
        }
        match refusal {
            Refusal::RouteKeyTaken | Refusal::NextHopUnreachable => {
                tracing::warn!(reason = refusal.name(), "{prefix} is not in the kernel");
            }
            Refusal::Kernel(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                tracing::warn!(
                    reason = refusal.name(),
                    "{prefix} is not in the kernel: {error}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Target = global(2);

    const fn global(last: u8) -> Target {
        Target {
            address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last)),
            scope: 0,
        }
    }

    fn prefix(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn direct(next_hops: &[Target]) -> Vec<Hop> {
        next_hops
            .iter()
            .map(|target| Hop {
                gateway: Some(target.address),
                oif: 2,
            })
            .collect()
    }

    /// All steps, as `+`, `~` and `-`.
    fn steps(table: &mut Table) -> Vec<String> {
        steps_but(table, &[])
    }

    fn steps_but(table: &mut Table, failed: &[(usize, i32)]) -> Vec<String> {
        let mut done = Vec::new();
        let mut flying = Vec::new();
        while table.step(|prefix, request| {
            flying.push(prefix);
            let (sign, hops) = match request {
                Request::Add(_, hops) => ("+", hops.len()),
                Request::Replace(_, hops) => ("~", hops.len()),
                Request::Remove(_) => ("-", 0),
            };
            done.push(format!("{sign}{prefix} {hops}"));
        }) {}
        table.done(&flying, failed);
        done
    }

    #[test]
    fn the_last_state_wins() {
        let mut table = Table::new();
        let net = prefix("10.1.0.0/24");
        table.want(net, &vec![ROUTER], direct);
        table.want(net, &vec![], direct);
        table.want(net, &vec![ROUTER, global(3)], direct);
        assert_eq!(steps(&mut table), ["+10.1.0.0/24 2"]);
        table.want(net, &vec![ROUTER], direct);
        assert_eq!(steps(&mut table), ["~10.1.0.0/24 1"]);
        table.want(net, &vec![ROUTER], direct);
        assert_eq!(steps(&mut table), [""; 0], "it is there");
        table.set_in_sync();
        table.want(net, &vec![], direct);
        assert_eq!(steps(&mut table), ["-10.1.0.0/24 0"]);
        assert!(table.nets.is_empty(), "what is gone costs nothing");
    }

    #[test]
    fn what_is_found_is_adopted_and_removed_only_in_sync() {
        let mut table = Table::new();
        let (kept, gone) = (prefix("10.1.0.0/24"), prefix("10.2.0.0/24"));
        table.set_installed(vec![(kept, direct(&[ROUTER])), (gone, direct(&[ROUTER]))]);
        assert_eq!(steps(&mut table), [""; 0]);
        table.want(kept, &vec![ROUTER], direct);
        table.want(gone, &vec![], direct);
        assert_eq!(steps(&mut table), [""; 0], "before in-sync nothing goes");
        table.set_in_sync();
        assert_eq!(steps(&mut table), ["-10.2.0.0/24 0"]);
    }

    #[test]
    fn refusals_are_tried_again_when_ways_change() {
        let mut table = Table::new();
        let net = prefix("10.1.0.0/24");
        table.want(net, &vec![ROUTER], |_| Vec::new());
        assert_eq!(steps(&mut table), [""; 0]);
        assert_eq!(table.refused.get(&net), Some(&Refusal::NextHopUnreachable));
        table.resolve_again(direct);
        let exist = [(0, rustix::io::Errno::EXIST.raw_os_error())];
        assert_eq!(steps_but(&mut table, &exist), ["+10.1.0.0/24 1"]);
        assert_eq!(table.refused.get(&net), Some(&Refusal::RouteKeyTaken));
        assert_eq!(steps(&mut table), [""; 0]);
        table.touched(net, &[]);
        assert_eq!(
            steps(&mut table),
            ["+10.1.0.0/24 1"],
            "the other one may be gone"
        );
        assert!(table.refused.is_empty());
        assert!(table.uses(&[1, 2]) && !table.uses(&[3]));
        table.resolve_again(|_| Vec::new());
        assert_eq!(
            steps(&mut table),
            ["-10.1.0.0/24 0"],
            "no way there any more"
        );
    }

    #[test]
    fn what_a_route_keeps_is_replaced() {
        let mut table = Table::new();
        let net = prefix("fd00::/64");
        let (both, hops) = (vec![global(2), global(3)], direct(&[global(2), global(3)]));
        table.want(net, &both, direct);
        assert_eq!(steps(&mut table), ["+fd00::/64 2"]);
        // A new route would be refused for what is left of the old one.
        table.touched(net, &hops[1..]);
        assert_eq!(steps(&mut table), ["~fd00::/64 2"]);
        table.want(net, &vec![global(2)], direct);
        assert_eq!(steps(&mut table), ["~fd00::/64 1"]);
        table.touched(net, &hops[1..]);
        assert_eq!(steps(&mut table), [""; 0], "it was not there any more");
        table.touched(net, &hops[..1]);
        assert_eq!(steps(&mut table), ["+fd00::/64 1"], "control: all is gone");
    }

    #[test]
    fn a_link_that_is_known_counts() {
        let link_local = "fe80::2".parse().expect("an address");
        let mut hop = RouteNextHop {
            address: "fd09::2".parse().expect("an address"),
            link_local: Some(link_local),
            scope: 0,
        };
        let global = Target {
            address: hop.address,
            scope: 0,
        };
        assert_eq!(Target::from(hop), global);
        hop.scope = 7;
        let near = Target {
            address: link_local.into(),
            scope: 7,
        };
        assert_eq!(Target::from(hop), near);
        hop.link_local = None;
        assert_eq!(Target::from(hop), global, "somebody else's next hop");
    }
}
