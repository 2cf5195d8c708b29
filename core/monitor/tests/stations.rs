//! Stations that come at any time, slow ones among them, and speakers whose neighbours, filters and
//! routes change at random: when all is quiet, a station's tables are the speaker's and those of
//! its neighbours.
#![allow(missing_docs)]

mod station;
#[path = "../../bgp/tests/world/mod.rs"]
mod world;

use bgp::{
    AddPath, Config, Filter, Input, Mirror, Mirrored, NextHop, Operation, Origin, PrefixMatch,
    RibAttributes, RibCursor, RibPath, Rule, Speaker, View, WatchId,
};
use monitor::bmp::{self, Feed, Tells};
use station::{NOBODY, Route, Station, Table, Which};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use world::{AS, World, addr, config, name, net, peer};

const AT: Duration = Duration::ZERO;
const NODES: usize = 5;

/// xorshift64*: the same numbers for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// Node 0 is watched: a reflector of 1, 2 and 3, the first two with several paths, and a neighbour
/// of 4 in another AS.
fn configs() -> Vec<Config> {
    let mut reflector = config(0, AS);
    let mut configs = Vec::new();
    for other in 1..NODES {
        let asn = if other == 4 { 65001 } else { AS };
        let mut entry = peer(0, other, asn);
        let mut own = config(other, asn);
        let mut back = peer(other, 0, AS);
        if other < 4 {
            entry.rr_client = Some(Ipv4Addr::new(244, 0, 0, 1));
        }
        if other < 3 {
            let both = AddPath {
                receive: true,
                send: true,
                limit: (other == 2).then_some(2),
            };
            (entry.add_path, back.add_path) = (both, both);
        }
        reflector.peers.push(entry);
        own.peers.push(back);
        configs.push(own);
    }
    configs.insert(0, reflector);
    configs
}

/// What drives a station, as the speaker's thread for it does: first what there is, in slices, then
/// what happened meanwhile.
struct Told {
    feed: Feed,
    watch: WatchId,
    from: Option<RibCursor>,
    waiting: VecDeque<Mirrored>,
    station: Station,
    /// The fault that the control plants: what filters change is not told.
    forgets: bool,
}

impl Told {
    fn new(speaker: &mut Speaker, forgets: bool) -> Self {
        let wants = Mirror {
            updates: true,
            accepted: true,
        };
        speaker.mirror(Some(wants));
        let views = [View::LocRib, View::AdjRibOutPre, View::AdjRibOutPost];
        let tells = Tells {
            adj_in_pre: true,
            adj_in_post: true,
            views: views.into_iter().collect(),
        };
        let watch = speaker.watch(tells.views.clone());
        let mut feed = Feed::new(tells, Ipv4Addr::new(10, 0, 0, 1), AS);
        let mut out = Vec::new();
        bmp::initiation("n0", "test", &mut out);
        feed.loc_rib_up(AT, &mut out);
        for view in speaker.sessions() {
            feed.up(&view, AT, &mut out);
        }
        let mut station = Station::default();
        station.take(&out);
        Told {
            feed,
            watch,
            from: Some(RibCursor::default()),
            waiting: VecDeque::new(),
            station,
            forgets,
        }
    }

    /// A part of what is to be told, or all.
    fn step(&mut self, speaker: &mut Speaker, all: bool) {
        let mut out = Vec::new();
        while let Some(from) = self.from {
            let slice = speaker.rib_slice(from, 3);
            self.feed.slice(&slice, AT, &mut out);
            self.from = slice.next;
            if self.from.is_none() {
                self.feed.end_of_rib(AT, &mut out);
            }
            if !all {
                break;
            }
        }
        while self.from.is_none()
            && let Some(one) = self.waiting.pop_front()
        {
            match &one {
                Mirrored::Up(view) => self.feed.up(view, AT, &mut out),
                Mirrored::Down { peer, why } => self.feed.down(*peer, why, AT, &mut out),
                Mirrored::Update { peer, message } => {
                    self.feed.update(*peer, message, AT, &mut out);
                }
                Mirrored::Accepted(_) if self.forgets => {}
                Mirrored::Accepted(accepted) => self.feed.accepted(accepted, AT, &mut out),
            }
        }
        if self.waiting.is_empty() && self.from.is_none() {
            let max = if all { usize::MAX } else { 200 };
            for viewed in speaker.take_viewed(self.watch, max) {
                self.feed.viewed(&viewed, AT, &mut out);
            }
        }
        // Cut anywhere: a stream has no messages.
        let (one, two) = out.split_at(out.len() / 3);
        self.station.take(one);
        self.station.take(two);
    }
}

fn route(set: &RibAttributes) -> Route {
    let NextHop {
        address,
        link_local,
    } = set.next_hop;
    let mut next_hop = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    next_hop.extend(link_local.iter().flat_map(|address| address.octets()));
    let each = station::attributes(&set.octets).into_iter();
    Route {
        attributes: each.map(|(kind, value)| (kind, value.to_vec())).collect(),
        next_hop,
    }
}

/// The paths of a speaker that `wanted` gives a set of, by who said them.
fn tables(speaker: &Speaker, wanted: impl Fn(&RibPath) -> Option<u32>) -> BTreeMap<u16, Table> {
    let mut out: BTreeMap<u16, Table> = BTreeMap::new();
    let mut from = Some(RibCursor::default());
    while let Some(place) = from {
        let slice = speaker.rib_slice(place, 7);
        for path in &slice.paths {
            if let Some(set) = wanted(path) {
                let mut route = route(&slice.sets[set as usize]);
                if path.prefix.network().is_ipv6() && route.next_hop == [0; 4] {
                    route.next_hop = vec![0; 16];
                }
                let key = (path.prefix.to_string(), path.path_id);
                out.entry(path.peer).or_default().insert(key, route);
            }
        }
        from = slice.next;
    }
    out
}

/// The first difference.
fn differs(what: &str, told: &Table, wanted: &Table) -> Option<String> {
    let missing = wanted
        .iter()
        .find(|(key, route)| told.get(key) != Some(route));
    let key = missing.map(|(key, _)| key);
    let key = key.or_else(|| told.keys().find(|key| !wanted.contains_key(*key)))?;
    let (told, wanted) = (told.get(key), wanted.get(key));
    Some(format!("{what} {key:?}: told {told:?}, wanted {wanted:?}"))
}

/// Compares a station with the speaker that it is told of and with that one's neighbours.
fn audit(world: &mut World, station: &Station) -> Result<usize, String> {
    let mut found = Vec::new();
    let mut compared = 0;
    let speaker = world.speaker(0);
    let sessions = speaker.sessions();
    let fresh =
        |set: fn(&RibPath) -> Option<u32>| move |path: &RibPath| set(path).filter(|_| !path.stale);
    let pre = tables(speaker, fresh(|path| Some(path.received)));
    let post = tables(speaker, fresh(|path| path.used));
    let chosen = tables(speaker, |path| path.used.filter(|_| path.best));
    // Whose path it is does not matter there, and there is one for each prefix.
    let chosen: Table = chosen
        .into_values()
        .flatten()
        .map(|((prefix, _), route)| ((prefix, 0), route))
        .collect();
    compared += chosen.len();
    found.extend(differs(
        "Loc-RIB",
        &station.table(Which::LocRib, NOBODY),
        &chosen,
    ));
    let up: Vec<IpAddr> = sessions
        .iter()
        .filter(|view| view.opens.is_some())
        .map(|view| view.remote.ip())
        .collect();
    if !station.up.keys().eq(&up) {
        return Err(format!("up: told {:?}, are {up:?}", station.up.keys()));
    }
    for view in sessions.iter().filter(|view| view.opens.is_some()) {
        let address = view.remote.ip();
        for (which, ours) in [(Which::InPre, &pre), (Which::InPost, &post)] {
            let wanted = ours.get(&view.number).cloned().unwrap_or_default();
            compared += wanted.len();
            let told = station.table(which, address);
            found.extend(differs(&format!("{which:?} of {address}"), &told, &wanted));
        }
        let node = (1..NODES).find(|n| addr(*n) == address).expect("a node");
        let neighbour = world.nodes[node].speaker.as_ref().expect("it is up");
        let got = tables(neighbour, |path| {
            Some(path.received).filter(|_| !path.stale)
        });
        let us = neighbour.sessions();
        let us = us.iter().find(|view| view.remote.ip() == addr(0));
        let wanted = us.and_then(|us| got.get(&us.number)).cloned();
        let wanted = wanted.unwrap_or_default();
        compared += wanted.len();
        let told = station.table(Which::OutPost, address);
        found.extend(differs(&format!("told to {address}"), &told, &wanted));
        // Without a filter at least as much would be told.
        let pre = station.table(Which::OutPre, address);
        if let Some(key) = told
            .keys()
            .find(|key| view.name.as_ref() != "n2" && !pre.contains_key(*key))
        {
            found.push(format!("{key:?} only after the export filter of {address}"));
        }
    }
    found.into_iter().next().map_or(Ok(compared), Err)
}

fn filter(random: &mut Random) -> Filter {
    let prefix = |text: &str| {
        Some(PrefixMatch {
            prefix: net(text),
            ge: 8,
            le: 32,
            negate: false,
        })
    };
    let mut rules = Vec::new();
    if random.below(2) == 0 {
        rules.push(Rule {
            prefix: prefix(["10.0.0.0/14", "10.4.0.0/15"][random.below(2) as usize]),
            action: bgp::Action::Reject,
            ..Rule::default()
        });
    }
    if random.below(2) == 0 {
        rules.push(Rule {
            action: bgp::Action::Accept,
            operations: vec![Operation::SetLocalPref(100 + random.below(3) as u32)],
            ..Rule::default()
        });
    }
    Filter {
        rules,
        otherwise: bgp::Action::Accept,
    }
}

fn change(world: &mut World, random: &mut Random) {
    let node = random.below(NODES as u64) as usize;
    let other = 1 + random.below(NODES as u64 - 1) as usize;
    match random.below(12) {
        0..=5 => {
            let number = random.below(12);
            let prefix = match random.below(3) {
                0 => format!("fd00:{number:x}::/64"),
                _ => format!("10.{number}.0.0/16"),
            };
            let mut config = world.speaker(node).config().clone();
            if random.below(3) == 0 {
                config.origins.remove(&net(&prefix));
            } else {
                let origin = Origin {
                    local_pref: Some(100 + random.below(3) as u32),
                    communities: vec![AS << 16 | random.below(3) as u32],
                    ..Origin::default()
                };
                config.origins.insert(net(&prefix), origin);
            }
            world.configure(node, config);
        }
        6..=8 => {
            let mut config = world.speaker(0).config().clone();
            let entry = config.peers.iter_mut().find(|p| p.name == name(other));
            let entry = entry.expect("configured");
            match random.below(3) {
                0 => entry.export = filter(random),
                _ => entry.import = filter(random),
            }
            world.configure(0, config);
        }
        9 => {
            let peer = name(other);
            let text = "";
            world.handle(0, Input::Reset { peer: &peer, text });
        }
        10 => {
            let cost = [None, Some(0), Some(5)][random.below(3) as usize];
            let address = addr(other);
            world.handle(0, Input::NextHop { address, cost });
        }
        _ => {
            let config = world.speaker(other).config().clone();
            world.kill(other);
            world.seconds(random.below(3));
            world.start(other, config, random.below(1 << 32));
        }
    }
}

/// Returns how many routes were compared.
fn run(seed: u64, forgets: bool) -> Result<usize, String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::new(configs(), seed);
    let mut stations: Vec<Told> = Vec::new();
    let mut compared = 0;
    world.seconds(random.below(8));
    for round in 0..8 {
        for _ in 0..random.below(12) {
            match random.below(8) {
                0 if stations.len() < 4 => stations.push(Told::new(world.speaker(0), forgets)),
                1 if !stations.is_empty() => {
                    let gone = stations.swap_remove(0);
                    world.speaker(0).unwatch(gone.watch);
                }
                _ => change(&mut world, &mut random),
            }
            match random.below(3) {
                0 => {}
                1 => world.settle(),
                _ => world.run(Duration::from_millis(random.below(1500))),
            }
            let happened = world.speaker(0).take_mirrored();
            for told in &mut stations {
                told.waiting.extend(happened.iter().cloned());
                if random.below(3) > 0 {
                    told.step(world.speaker(0), false);
                }
            }
        }
        if stations.is_empty() {
            stations.push(Told::new(world.speaker(0), forgets));
        }
        world.seconds(400);
        let happened = world.speaker(0).take_mirrored();
        for told in &mut stations {
            told.waiting.extend(happened.iter().cloned());
            told.step(world.speaker(0), true);
        }
        // What was taken made room for more.
        world.seconds(1);
        for told in &mut stations {
            told.step(world.speaker(0), true);
        }
        for (at, told) in stations.iter().enumerate() {
            let found = audit(&mut world, &told.station);
            compared += found.map_err(|why| format!("round {round}, station {at}: {why}"))?;
        }
    }
    Ok(compared)
}

#[test]
fn tables_are_the_same_when_it_is_quiet() {
    let mut compared = 0;
    for seed in 1..=200 {
        compared += run(seed, false).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    assert!(compared > 10_000, "{compared}");
}

/// The control: a station that is not told what filters change is found out.
#[test]
fn a_feed_that_forgets_is_found_out() {
    let found = (1..=10).find_map(|seed| run(seed, true).err());
    let found = found.expect("some seed shows it");
    assert!(found.contains("InPost"), "{found}");
}
