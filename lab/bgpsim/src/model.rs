//! The reference model: what RFC 4271, 4456, 1997 and 9494 §4.3 make of a set of configurations.
//!
//! Nothing here is fast or remembers anything: a node's view is computed from all that it was
//! told, what it tells from its view, and a network by doing that for one node after the other
//! until nothing changes.

use crate::bug::Bug;
use crate::random::Random;
use bgp::{Action, Config, Family, NextHopMode, PeerConfig, Source};
use bgpwire::tap::{Route, Told};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// What everybody tells everybody, by (from, to).
pub type AllTold = BTreeMap<(usize, usize), Told>;

/// The network as configured: what is down or cut takes no part.
#[derive(Clone)]
pub struct Network {
    /// By node; `None` is switched off.
    pub configs: Vec<Option<Config>>,
    /// By node: where it is.
    pub addresses: Vec<IpAddr>,
    /// Pairs (lower, higher) with no way between them.
    pub cut: BTreeSet<(usize, usize)>,
    /// A fault to make.
    pub bug: Option<Bug>,
}

/// One side of a session.
#[derive(Clone)]
pub struct Session {
    /// The peer as this side has it configured.
    pub entry: PeerConfig,
    /// What both speak.
    pub families: Vec<Family>,
    /// Several paths of a prefix go to the peer (RFC 7911), at most so many.
    several: Option<usize>,
    ebgp: bool,
    local_as: u32,
    peer_id: Ipv4Addr,
    /// This side has told, and has heard, that it knows long-lived stale routes.
    knows_stale: [bool; 2],
}

/// A path in a node's view.
#[derive(Clone, Debug)]
pub struct Path {
    /// Who told it; `None` for an own route.
    pub from: Option<usize>,
    /// The path identifier with which; 0 where the session has none.
    pub path_id: u32,
    /// What was told.
    pub route: Route,
    /// Why it is kept out or lost; `None` for the best.
    pub lost: Option<&'static str>,
    ibgp: bool,
    cluster: Option<Ipv4Addr>,
    peer_id: Ipv4Addr,
    /// Least preferred (RFC 9494 §4.3).
    stale: bool,
}

/// LLGR_STALE.
const STALE: u32 = 0xffff_0006;

/// All paths of a node.
pub type View = BTreeMap<IpNet, Vec<Path>>;

/// A step of the decision: its name and what is compared; less is better.
type Step = (&'static str, fn(&Path) -> u64);

const STEPS: [Step; 11] = [
    ("long-lived-stale", |p| u64::from(p.stale)),
    ("locally-originated", |p| u64::from(p.from.is_some())),
    ("local-pref", |p| {
        u64::from(u32::MAX - p.route.local_pref.unwrap_or(100))
    }),
    ("as-path-length", |p| p.route.as_path.len() as u64),
    ("origin", |p| u64::from(p.route.origin)),
    ("multi-exit-disc", |p| u64::from(p.route.med.unwrap_or(0))),
    ("ebgp-over-ibgp", |p| u64::from(p.ibgp)),
    ("router-id", |p| {
        u64::from(u32::from(p.route.originator.unwrap_or(p.peer_id)))
    }),
    ("cluster-list-length", |p| p.route.cluster_list.len() as u64),
    ("peer-address", |_| 0),
    ("path-id", |p| u64::from(p.path_id)),
];

fn family(prefix: IpNet) -> Family {
    match prefix {
        IpNet::V4(_) => Family::Ipv4,
        IpNet::V6(_) => Family::Ipv6,
    }
}

/// The peer entry that a configuration has for an address, from a range if need be.
fn entry(config: &Config, ip: IpAddr) -> Option<PeerConfig> {
    let named = config.peers.iter().find(|p| p.remote.ip() == ip).cloned();
    named.or_else(|| {
        let range = config.ranges.iter().find(|r| r.prefix.contains(&ip))?;
        let mut entry = range.template.clone();
        entry.name = format!("{}_{ip}", entry.name);
        entry.passive = true;
        Some(entry)
    })
}

impl Network {
    /// The session of `me` with `peer`, as `me` sees it, if there must be one.
    pub fn session(&self, me: usize, peer: usize) -> Option<Session> {
        let (mine, theirs) = (self.configs[me].as_ref()?, self.configs[peer].as_ref()?);
        if self.cut.contains(&(me.min(peer), me.max(peer))) {
            return None;
        }
        let (a, b) = (
            entry(mine, self.addresses[peer])?,
            entry(theirs, self.addresses[me])?,
        );
        let my_as = a.local_as.unwrap_or(mine.local_as);
        let their_as = b.local_as.unwrap_or(theirs.local_as);
        let agrees = a.remote_as.admits(their_as, my_as) && b.remote_as.admits(my_as, their_as);
        let families: Vec<Family> = (a.families.iter().copied())
            .filter(|f| b.families.contains(f))
            .collect();
        let same_id = my_as == their_as && mine.router_id == theirs.router_id;
        if !agrees || families.is_empty() || a.passive && b.passive || same_id {
            return None;
        }
        let knows =
            |entry: &PeerConfig| entry.graceful_restart.is_some() && entry.long_lived.is_some();
        Some(Session {
            knows_stale: [knows(&a), knows(&b)],
            families,
            several: (a.add_path.send && b.add_path.receive)
                .then(|| a.add_path.limit.map_or(usize::MAX, |limit| limit as usize)),
            ebgp: my_as != their_as,
            local_as: my_as.0,
            peer_id: theirs.router_id,
            entry: a,
        })
    }

    /// All sessions that must be up.
    pub fn sessions(&self) -> BTreeMap<(usize, usize), Session> {
        let all = 0..self.configs.len();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        pairs
            .filter_map(|(a, b)| Some(((a, b), self.session(a, b)?)))
            .collect()
    }

    /// All paths that a node has, given what it is told, each with why it lost.
    pub fn view(&self, node: usize, told: &AllTold) -> View {
        let mut view = View::new();
        let Some(config) = &self.configs[node] else {
            return view;
        };
        for (prefix, origin) in &config.origins {
            let route = Route {
                next_hop: origin.next_hop,
                med: origin.med,
                local_pref: origin.local_pref,
                communities: origin.communities.clone(),
                large_communities: origin.large_communities.clone(),
                ..Route::default()
            };
            view.entry(*prefix).or_default().push(Path {
                from: None,
                path_id: 0,
                route,
                lost: None,
                ibgp: false,
                cluster: None,
                peer_id: Ipv4Addr::UNSPECIFIED,
                stale: false,
            });
        }
        for peer in 0..self.configs.len() {
            let Some(session) = self.session(node, peer) else {
                continue;
            };
            for ((prefix, id), route) in told.get(&(peer, node)).into_iter().flatten() {
                view.entry(*prefix).or_default().push(Path {
                    from: Some(peer),
                    path_id: *id,
                    route: route.clone(),
                    lost: self.rejection(node, config, &session, *prefix, route),
                    ibgp: !session.ebgp,
                    cluster: session.entry.rr_client.filter(|_| !session.ebgp),
                    peer_id: session.peer_id,
                    stale: session.knows_stale[0] && route.communities.contains(&STALE),
                });
            }
        }
        for paths in view.values_mut() {
            self.decide(paths);
        }
        view
    }

    fn address(&self, path: &Path) -> Option<IpAddr> {
        path.from.map(|node| self.addresses[node])
    }

    /// The node behind a peer's name.
    pub fn named(&self, config: &Config, name: &str) -> Option<usize> {
        let peer = config.peers.iter().find(|p| p.name == name);
        let ip = match peer {
            Some(peer) => peer.remote.ip(),
            None => name.rsplit_once('_')?.1.parse().ok()?,
        };
        self.addresses.iter().position(|address| *address == ip)
    }

    fn rejection(
        &self,
        node: usize,
        config: &Config,
        session: &Session,
        prefix: IpNet,
        route: &Route,
    ) -> Option<&'static str> {
        let own_as = route.as_path.iter().filter(|asn| **asn == session.local_as);
        let ranges = config.ranges.iter().map(|range| &range.template);
        let mut clusters = config
            .peers
            .iter()
            .chain(ranges)
            .filter_map(|p| p.rr_client);
        if own_as.count() > usize::from(session.entry.allow_own_as) {
            return Some("as-path-loop");
        }
        if route.originator == Some(config.router_id) {
            return Some("originator-id-loop");
        }
        if clusters.any(|cluster| route.cluster_list.contains(&cluster))
            && self.bug != Some(Bug::NoClusterLoop)
        {
            return Some("cluster-list-loop");
        }
        if route.next_hop == Some(self.addresses[node]) {
            return Some("own-next-hop");
        }
        let rejected = session.entry.import.decide(prefix, Source::Peers) == Action::Reject;
        rejected.then_some("import-filter")
    }

    /// RFC 4271 §9.1.2.2 with RFC 4456 §9: each step strikes out what is worse than the best
    /// that is left.
    fn decide(&self, paths: &mut [Path]) {
        for (name, key) in STEPS {
            let alive: Vec<usize> = (0..paths.len())
                .filter(|i| paths[*i].lost.is_none())
                .collect();
            let better = |a: &Path, b: &Path| match name {
                "multi-exit-disc" if self.bug != Some(Bug::MedAcrossNeighbours) => {
                    a.route.as_path.first() == b.route.as_path.first() && key(a) < key(b)
                }
                "long-lived-stale" if self.bug == Some(Bug::StaleIsFresh) => false,
                "peer-address" => self.address(a) < self.address(b),
                "router-id" if self.bug == Some(Bug::HigherRouterId) => key(a) > key(b),
                _ => key(a) < key(b),
            };
            let beaten = |i: &&usize| alive.iter().any(|j| better(&paths[*j], &paths[**i]));
            for i in alive.iter().filter(beaten).copied().collect::<Vec<_>>() {
                paths[i].lost = Some(name);
            }
        }
    }

    /// What `me` tells `peer`, given its view.
    pub fn tells(&self, me: usize, peer: usize, view: &View) -> Told {
        let mut out = Told::new();
        let Some(session) = self.session(me, peer) else {
            return out;
        };
        for (prefix, paths) in view {
            let best = paths.iter().find(|path| path.lost.is_none());
            if !session.families.contains(&family(*prefix)) {
                continue;
            }
            if let Some(limit) = session.several {
                let all = self.several(me, &session, limit, *prefix, paths);
                let others = all.into_iter().filter(|(from, _)| *from != Some(peer));
                let numbered = (1..).zip(others);
                out.extend(numbered.map(|(id, (_, route))| ((*prefix, id), route)));
            } else if let Some(path) = best
                && path.from != Some(peer)
                && let Some(route) = self.tell(me, &session, *prefix, path)
            {
                out.insert((*prefix, 0), route);
            }
        }
        out
    }

    /// All paths that may be told, or the best ones of them, the best first: the best, the best
    /// of the rest, and so on. Also what the peer told itself, which takes a place.
    fn several(
        &self,
        me: usize,
        session: &Session,
        limit: usize,
        prefix: IpNet,
        paths: &[Path],
    ) -> Vec<(Option<usize>, Route)> {
        let rejected = |path: &&Path| match path.lost {
            None => false,
            Some(why) => !STEPS.iter().any(|(step, _)| *step == why),
        };
        let mut rest: Vec<(Path, Route)> = (paths.iter().filter(|path| !rejected(path)))
            .filter_map(|path| Some((path.clone(), self.tell(me, session, prefix, path)?)))
            .collect();
        let mut out = Vec::new();
        while rest.len() + out.len() > limit && out.len() < limit {
            let mut left: Vec<Path> = rest.iter().map(|(path, _)| path.clone()).collect();
            left.iter_mut().for_each(|path| path.lost = None);
            self.decide(&mut left);
            let best = left.iter().position(|path| path.lost.is_none());
            let (path, route) = rest.remove(best.expect("one is the best"));
            out.push((path.from, route));
        }
        let room = limit.saturating_sub(out.len());
        out.extend(
            rest.into_iter()
                .take(room)
                .map(|(path, route)| (path.from, route)),
        );
        out
    }

    fn tell(&self, me: usize, session: &Session, prefix: IpNet, path: &Path) -> Option<Route> {
        let local = path.from.is_none();
        let cluster = session.entry.rr_client.filter(|_| !session.ebgp);
        let reflected = path.ibgp && !session.ebgp;
        if reflected
            && path.cluster.is_none()
            && cluster.is_none()
            && self.bug != Some(Bug::ReflectsToAll)
        {
            return None;
        }
        let source = if local { Source::Local } else { Source::Peers };
        if session.entry.export.decide(prefix, source) == Action::Reject {
            return None;
        }
        let has = |well_known: &[u32]| {
            well_known
                .iter()
                .any(|c| path.route.communities.contains(c))
        };
        if has(&[0xffff_ff02]) || session.ebgp && has(&[0xffff_ff01, 0xffff_ff03]) {
            return None;
        }
        let strange = path.stale && !session.knows_stale[1];
        if strange && (session.ebgp || !session.entry.long_lived_partial) {
            return None;
        }
        let next_hop = next_hop(self.addresses[me], session, family(prefix), path)?;
        let mut route = Route {
            next_hop: Some(next_hop),
            ..path.route.clone()
        };
        if session.ebgp {
            route.as_path.insert(0, session.local_as);
            (route.local_pref, route.originator) = (None, None);
            route.cluster_list.clear();
            if !local && self.bug != Some(Bug::MedGoesOn) {
                route.med = None;
            }
        } else {
            route.local_pref = route.local_pref.or(Some(100));
        }
        if strange {
            route.local_pref = Some(0);
            route.communities.push(0xffff_ff01);
        }
        if reflected {
            route.originator = route.originator.or(Some(path.peer_id));
            let own = path.cluster.or(cluster);
            route
                .cluster_list
                .insert(0, own.unwrap_or(Ipv4Addr::UNSPECIFIED));
        }
        Some(route)
    }

    /// Everything that everybody tells in the end, going through the nodes in this order again
    /// and again; `None` when there is no end.
    pub fn settle(&self, order: &[usize]) -> Option<AllTold> {
        let sessions = self.sessions();
        let mut told: AllTold = sessions.keys().map(|pair| (*pair, Told::new())).collect();
        for _ in 0..60 {
            let mut changed = false;
            for node in order {
                let view = self.view(*node, &told);
                for (from, to) in sessions.keys().filter(|(from, _)| from == node) {
                    let new = self.tells(*from, *to, &view);
                    changed |= told.insert((*from, *to), new.clone()) != Some(new);
                }
            }
            if !changed {
                return Some(told);
            }
        }
        None
    }
}

/// How many rounds what is told takes at most. A change may chase itself around a ring for ever when the ring is longer than
/// the change, which few rounds cannot show.
const ROUNDS: usize = 8;

impl Network {
    /// Whether the network comes to an end when all nodes act at once and what is told takes
    /// 1 to 8 rounds, another number for each session: as messages do.
    pub fn settles_with_delays(&self, random: &mut Random) -> bool {
        let sessions = self.sessions();
        let delays: BTreeMap<(usize, usize), usize> = sessions
            .keys()
            .map(|pair| (*pair, 1 + random.below(ROUNDS)))
            .collect();
        let nothing: AllTold = sessions.keys().map(|pair| (*pair, Told::new())).collect();
        let mut past = vec![nothing; ROUNDS];
        let mut same = 0;
        for _ in 0..40 * ROUNDS {
            let arrived = |pair: &(usize, usize)| past[past.len() - delays[pair]][pair].clone();
            let seen: AllTold = sessions.keys().map(|pair| (*pair, arrived(pair))).collect();
            let mut now = AllTold::new();
            for node in 0..self.configs.len() {
                let view = self.view(node, &seen);
                for pair in sessions.keys().filter(|(from, _)| *from == node) {
                    now.insert(*pair, self.tells(pair.0, pair.1, &view));
                }
            }
            same = if past.last() == Some(&now) {
                same + 1
            } else {
                0
            };
            if same > ROUNDS {
                return true;
            }
            past.remove(0);
            past.push(now);
        }
        false
    }
}

fn next_hop(me: IpAddr, session: &Session, family: Family, path: &Path) -> Option<IpAddr> {
    let kept = match session.entry.next_hop {
        // The simulation has no networks to share.
        NextHopMode::Auto | NextHopMode::ThirdParty => !session.ebgp || path.from.is_none(),
        NextHopMode::SelfAddress => false,
        NextHopMode::Keep => true,
    };
    let own = match family {
        Family::Ipv4 => Some(me),
        Family::Ipv6 => session.entry.own_next_hop,
    };
    path.route.next_hop.filter(|_| kept).or(own)
}
