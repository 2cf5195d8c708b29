//! After quiet: Loc-RIBs, reports and what each peer was told, against the model.

use crate::model::{AllTold, Network, Path, View};
use crate::random::Random;
use crate::topology::address;
use crate::world::World;
use bgp::{Family, PathStanding, PeerState};
use bgpwire::tap::{Key, Told};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// What an audit found besides failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The model has one end and the machines are in it.
    Equal,
    /// The model has several ends, or none; the machines rest in one where every view follows
    /// from what was told, and everything told from the views.
    Consistent,
    /// The model has several ends, or none, and the machines have not come to rest.
    Restless,
}

/// Compares; the text says the first difference.
///
/// # Errors
/// The first difference, as one line.
pub fn audit(world: &mut World, network: &Network, quiet: bool) -> Result<Verdict, String> {
    let count = network.configs.len();
    let forward: Vec<usize> = (0..count).collect();
    let backward: Vec<usize> = (0..count).rev().collect();
    let odd_first: Vec<usize> = (0..count).map(|i| (i * 2 + 1) % (count | 1)).collect();
    let mut ends = [forward, backward, odd_first].map(|order| {
        let order: Vec<usize> = order.into_iter().filter(|i| *i < count).collect();
        network.settle(&order)
    });
    let first = ends[0].take();
    let unique = first.is_some() && ends[1] == first && (ends[2] == first || ends[2].is_none());
    if !quiet {
        // Many tries: some networks go on for ever with few of the delays only.
        let mut random = Random::new(0);
        let settles = unique && (0..200).all(|_| network.settles_with_delays(&mut random));
        return if settles {
            Err("restless: routes still change after quiet".into())
        } else {
            Ok(Verdict::Restless)
        };
    }
    let told = sessions(world, network)?;
    for node in 0..count {
        if network.configs[node].is_some() {
            let view = network.view(node, &told);
            loc_rib(world, network, node, &view)?;
            grounded(network, &told, node, &view)?;
            reports(world, network, node, &view)?;
            for ((from, to), routes) in told.iter().filter(|((from, _), _)| *from == node) {
                let wanted = network.tells(node, *to, &view);
                same(&format!("adj-rib-out: n{from} told n{to}"), routes, &wanted)?;
            }
        }
    }
    if !unique {
        return Ok(Verdict::Consistent);
    }
    // All that is told follows from the views and the other way round, so another end than the
    // model's is a second end of the model.
    let other = first.is_some_and(|first| first != told);
    Ok(if other {
        Verdict::Consistent
    } else {
        Verdict::Equal
    })
}

fn same(what: &str, have: &Told, want: &Told) -> Result<(), String> {
    let keys: BTreeSet<&Key> = have.keys().chain(want.keys()).collect();
    for key in keys {
        let (have, want) = (have.get(key), want.get(key));
        let prefix = key.0;
        if have != want {
            return Err(format!("{what} of {prefix} {have:?}, the model {want:?}"));
        }
    }
    Ok(())
}

/// The sessions that must be up are, and no others; what was told on each.
fn sessions(world: &mut World, network: &Network) -> Result<AllTold, String> {
    let wanted = network.sessions();
    let mut told = AllTold::new();
    for node in 0..network.configs.len() {
        let Some(speaker) = world.nodes[node].speaker.as_ref() else {
            continue;
        };
        for status in speaker.peers() {
            let up = status.state == PeerState::Established;
            let peer = network
                .named(speaker.config(), &status.name)
                .expect("peers are nodes");
            if up != wanted.contains_key(&(node, peer)) {
                return Err(format!("session: n{node} has n{peer} as {}", status.info()));
            }
            if status.stale != 0 {
                return Err(format!("stale: n{node} keeps {} of n{peer}", status.stale));
            }
        }
    }
    for pair in wanted.keys() {
        let up = world.between(pair.0, pair.1);
        let [(connection, side)] = up[..] else {
            let count = up.len();
            return Err(format!(
                "session: {count} connections of n{} and n{}",
                pair.0, pair.1
            ));
        };
        told.insert(*pair, connection.sides[1 - side].tap.told.clone());
    }
    Ok(told)
}

fn loc_rib(world: &World, network: &Network, node: usize, view: &View) -> Result<(), String> {
    let speaker = world.nodes[node].speaker.as_ref().expect("it is up");
    let mut have: BTreeSet<IpNet> = BTreeSet::new();
    for family in Family::ALL {
        have.extend(speaker.prefixes(family));
    }
    let want: BTreeSet<IpNet> = view.keys().copied().collect();
    if have != want {
        let odd: Vec<&IpNet> = have.symmetric_difference(&want).collect();
        return Err(format!(
            "loc-rib: n{node} and the model differ in having {odd:?}"
        ));
    }
    for (prefix, paths) in view {
        let mut have: Vec<(Option<usize>, String)> = Vec::new();
        for path in speaker.explain(*prefix).paths {
            let config = &network.configs[node].as_ref().expect("it is up");
            let from = path
                .peer
                .as_ref()
                .and_then(|name| network.named(config, name));
            let standing = match path.standing {
                PathStanding::Best => "best",
                PathStanding::Lost(why) => why,
            };
            let hop = path.next_hop.map(|hop| hop.address);
            have.push((
                from,
                format!(
                    "{standing} [{}] {} {hop:?} {} {:?} {:?} {:?}",
                    path.as_path,
                    path.origin,
                    path.local_pref,
                    path.med,
                    path.originator_id,
                    path.cluster_list
                ),
            ));
        }
        let mut want: Vec<(Option<usize>, String)> = paths.iter().map(shown).collect();
        have.sort();
        want.sort();
        if have != want {
            return Err(format!(
                "loc-rib: n{node} has of {prefix} {have:?}, the model {want:?}"
            ));
        }
    }
    Ok(())
}

/// Every best path leads, from teller to teller, to a node that originates the prefix.
fn grounded(network: &Network, told: &AllTold, node: usize, view: &View) -> Result<(), String> {
    for (prefix, paths) in view {
        let mut from = paths.iter().find(|p| p.lost.is_none()).and_then(|p| p.from);
        for _ in 0..=network.configs.len() {
            let Some(teller) = from else { break };
            let theirs = network.view(teller, told);
            let best = theirs
                .get(prefix)
                .and_then(|p| p.iter().find(|p| p.lost.is_none()));
            let Some(best) = best else {
                return Err(format!(
                    "ghost: n{node} has {prefix} by n{teller}, who has not"
                ));
            };
            from = best.from;
        }
        if from.is_some() {
            return Err(format!(
                "ghost: n{node} has {prefix}, which nobody originates"
            ));
        }
    }
    Ok(())
}

/// A path as a speaker explains it: who told it, and a line with its verdict and what it was chosen by.
pub fn shown(path: &Path) -> (Option<usize>, String) {
    let route = &path.route;
    let as_path: Vec<String> = route.as_path.iter().map(u32::to_string).collect();
    let text = format!(
        "{} [{}] {} {:?} {} {:?} {:?} {:?}",
        path.lost.unwrap_or("best"),
        as_path.join(" "),
        ["igp", "egp", "incomplete"][usize::from(route.origin)],
        route.next_hop,
        route.local_pref.unwrap_or(100),
        route.med,
        route.originator,
        route.cluster_list
    );
    (path.from, text)
}

/// What was reported to the driver is the Loc-RIB, with all next hops that are as good.
fn reports(world: &World, network: &Network, node: usize, view: &View) -> Result<(), String> {
    let reports = &world.nodes[node].reports;
    let config = network.configs[node].as_ref().expect("it is up");
    for (prefix, paths) in view {
        let best = paths.iter().find(|p| p.lost.is_none());
        let report = reports.get(prefix);
        let (Some(best), Some(report)) = (best, report) else {
            if best.is_some() != report.is_some() {
                return Err(format!(
                    "report: n{node} of {prefix}: {report:?}, the model {best:?}"
                ));
            }
            continue;
        };
        let ties = [
            None,
            Some("router-id"),
            Some("cluster-list-length"),
            Some("peer-address"),
        ];
        let mut hops: Vec<_> = (paths.iter())
            .filter(|p| best.from.is_some() && ties.contains(&p.lost))
            .filter_map(|p| p.route.next_hop)
            .collect();
        hops.sort();
        hops.dedup();
        let have: Vec<_> = report.next_hops.iter().map(|hop| hop.address).collect();
        let peer = report
            .peer
            .as_ref()
            .and_then(|name| network.named(config, name));
        let local_pref = best.route.local_pref.unwrap_or(100);
        if have != hops || peer != best.from || report.local_pref != local_pref {
            let at = address(node);
            return Err(format!(
                "report: n{node} ({at}) of {prefix}: {report:?}, the model {best:?} and {hops:?}"
            ));
        }
    }
    let extra = reports.keys().find(|prefix| !view.contains_key(prefix));
    extra.map_or(Ok(()), |prefix| {
        Err(format!("report: n{node} still has {prefix}"))
    })
}
