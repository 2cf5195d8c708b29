//! What befalls a network: drawn one by one, from what is possible at that moment.

use crate::random::Random;
use crate::topology::{address, filter, long_lived, name, node_at, origin, prefix};
use crate::world::World;
use bgp::{Config, Family, GracefulRestart, Input, NextHopMode, PathState, PeerConfig};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// One fault, repair or change.
pub fn act(world: &mut World, random: &mut Random) {
    let count = world.nodes.len();
    let node = random.below(count);
    let peers: Vec<usize> = (world.nodes[node].config.peers.iter())
        .filter_map(|p| node_at(p.remote.ip()))
        .collect();
    let other = if peers.is_empty() {
        random.below(count)
    } else {
        random.pick(&peers)
    };
    let pair = (node.min(other), node.max(other));
    match random.below(20) {
        0 | 1 if world.cut.contains(&pair) => {
            world.say(|| format!("-- mend {pair:?}"));
            world.cut.remove(&pair);
        }
        0 | 1 => {
            world.say(|| format!("-- cut {pair:?}"));
            world.cut.insert(pair);
        }
        2..=4 => switch(world, random, node),
        5 if world.is_up(node) => {
            world.say(|| format!("-- reset {other} at {node}"));
            let peer = &name(other);
            world.handle(node, Input::Reset { peer, text: "" });
        }
        6 if world.is_up(node) => {
            world.say(|| format!("-- path down {other} at {node}"));
            let remote = address(other);
            world.handle(
                node,
                Input::Path {
                    scope: 0,
                    remote,
                    state: PathState::Lost { forwarding: true },
                },
            );
        }
        7 | 8 => {
            let until = world.now + random.up_to(Duration::from_secs(50));
            world.say(|| format!("-- deaf {node} until {until:?}"));
            world.deafen(node, until);
        }
        9 => {
            world.say(|| format!("-- refresh for {node}"));
            world.ask_for_refresh(node);
        }
        _ => {
            let mut config = world.nodes[node].config.clone();
            let before = clusters(&config);
            let what = change(random, &mut config, count);
            if clusters(&config) != before {
                // What was received is not judged again by another set of clusters (docs/rfc.md).
                return;
            }
            world.say(|| format!("-- change {node}: {what}"));
            world.configure(node, config);
        }
    }
}

/// Ends a process in one of four ways, or starts it again.
fn switch(world: &mut World, random: &mut Random, node: usize) {
    if !world.is_up(node) {
        let restarting = random.chance(60);
        world.say(|| format!("-- start {node} restarting {restarting}"));
        world.start(node, restarting);
        return;
    }
    let silent = random.chance(30);
    if random.chance(30) {
        let cease = random.chance(50);
        world.say(|| format!("-- stop {node} cease {cease}"));
        world.handle(node, Input::Stop { cease, text: "" });
        // The process lives until the last octets are out.
        world.run_until(world.now + Duration::from_millis(5));
        world.kill(node, false);
    } else {
        world.say(|| format!("-- kill {node} silent {silent}"));
        world.kill(node, silent);
    }
    if random.chance(50) {
        let pause = random.up_to(Duration::from_secs(3));
        world.run_until(world.now + pause);
        let restarting = random.chance(70);
        world.say(|| format!("-- start {node} restarting {restarting}"));
        world.start(node, restarting);
    }
}

fn clusters(config: &Config) -> BTreeSet<Ipv4Addr> {
    let ranges = config.ranges.iter().map(|range| &range.template);
    let peers = config.peers.iter().chain(ranges);
    peers.filter_map(|peer| peer.rr_client).collect()
}

/// Changes one thing in a configuration.
fn change(random: &mut Random, config: &mut Config, nodes: usize) -> &'static str {
    let asn = config.local_as;
    let at = random.below(config.peers.len().max(1));
    let known: Vec<_> = config.origins.keys().copied().collect();
    if random.chance(45) || config.peers.is_empty() {
        if !known.is_empty() && random.chance(45) {
            config.origins.remove(&random.pick(&known));
            return "unoriginate";
        }
        let prefix = prefix(random);
        config.origins.insert(prefix, origin(random, prefix));
        return "originate";
    }
    let peer = &mut config.peers[at];
    match random.below(15) {
        0 | 1 => {
            peer.import = filter(random);
            "import filter"
        }
        2..=4 => {
            peer.export = filter(random);
            "export filter"
        }
        5 => {
            let modes = [
                NextHopMode::Auto,
                NextHopMode::SelfAddress,
                NextHopMode::Keep,
            ];
            peer.next_hop = random.pick(&modes);
            "next hop mode"
        }
        6 if peer.remote_as == asn.into() => {
            let cluster = [
                None,
                Some(Ipv4Addr::new(244, 0, 0, 1)),
                Some(Ipv4Addr::new(244, 9, 9, 9)),
            ];
            peer.rr_client = random.pick(&cluster);
            "client"
        }
        7 => {
            config.peers.remove(at);
            "remove peer"
        }
        8 => {
            let other = random.below(nodes);
            let new = PeerConfig::new(name(other), address(other), asn.into());
            let have = config.peers.iter().any(|p| p.remote == new.remote);
            if !have && config.listen[0].ip() != address(other) {
                config.peers.push(new);
            }
            "add peer"
        }
        9 => {
            peer.allow_own_as = random.below(3) as u8;
            "allow own AS"
        }
        10 => {
            peer.families = random.pick(&[vec![Family::Ipv4], Family::ALL.to_vec()]);
            "families"
        }
        11 => {
            let own = [0xfd01, 0, 0, 0, 0, 0, 1, random.below(3) as u16];
            peer.own_next_hop = random.chance(70).then(|| own.into());
            "own next hop"
        }
        12 => {
            peer.long_lived = long_lived(random);
            "long-lived graceful restart"
        }
        13 => {
            peer.long_lived_partial = !peer.long_lived_partial;
            "long-lived stale routes for who does not know them"
        }
        _ => {
            peer.graceful_restart = random.chance(60).then_some(GracefulRestart {
                restart_time: Duration::from_secs(30),
                stale_time: Duration::from_secs(30),
            });
            "graceful restart"
        }
    }
}
