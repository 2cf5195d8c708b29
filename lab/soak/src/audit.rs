//! Churn has paused: all peers are told all, the speaker's table and every peer's view equal the model's.

use crate::Plant;
use crate::cast::{self, Marker, Player, Role};
use crate::peer::{Link, Peer};
use crate::peers::Peers;
use crate::report::{Report, Sample};
use crate::subject::Subject;
use anyhow::{Context, Result, bail, ensure};
use bgp::Config;
use bgpsim::check::shown;
use bgpsim::model::{AllTold, Network, View};
use bgpwire::tap::{Key, Route, Told};
use ipnet::IpNet;
use serde_json::Value;
use speaker::Query;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// How long anything may take to come true: hold times, waits after errors, and a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same when a fault is planted, and only the fault is waited for.
const PLANTED_PATIENCE: Duration = Duration::from_secs(15);
/// Routes of a peer that is away are kept that much longer than an audit takes.
const LONG: Duration = Duration::from_secs(100);

/// All of a run that an audit looks at.
pub struct Auditor<'a> {
    pub peers: &'a mut Peers,
    pub subject: &'a mut Subject,
    pub report: &'a mut Report,
    pub plant: Option<Plant>,
    pub number: u32,
    pub began: Instant,
}

impl Auditor<'_> {
    fn patience(&self) -> Duration {
        self.plant.map_or(PATIENCE, |_| PLANTED_PATIENCE)
    }

    /// Serves the peers until something holds.
    ///
    /// # Errors
    /// When it does not, with what `holds` says is missing; or when something failed meanwhile.
    fn until(&mut self, mut holds: impl FnMut(&Peers) -> Result<(), String>) -> Result<()> {
        let end = Instant::now() + self.patience();
        loop {
            if let Some(failure) = self.peers.failure.take() {
                bail!(failure);
            }
            let Err(missing) = holds(self.peers) else {
                return Ok(());
            };
            if Instant::now() > end {
                bail!("after {} s still {missing}", self.patience().as_secs());
            }
            self.peers.turn(Duration::from_millis(20))?;
        }
    }

    /// One audit.
    ///
    /// # Errors
    /// What differs: where, what was expected, what was seen.
    pub fn audit(&mut self) -> Result<()> {
        self.settle()?;
        let started = Instant::now();
        for id in 0..self.peers.all.len() {
            if self.peers.all[id].link == Link::Up {
                self.say(id, cast::own_marker);
            }
        }
        self.loc_rib()?;
        let marking = self.cross()?;
        self.views()?;
        self.report.slowest = self.report.slowest.max(started.elapsed());
        self.neighbors()?;
        self.sample()?;
        for (id, key) in marking {
            let peer = &mut self.peers.all[id];
            peer.table.remove(&key);
            if peer.link == Link::Up {
                self.peers.tell(id, &(key, None));
            }
        }
        for peer in &mut self.peers.all {
            peer.stays = false;
        }
        Ok(())
    }

    fn say(&mut self, id: usize, marker: fn(&Player, u32) -> Marker) -> Key {
        let peer = &mut self.peers.all[id];
        let (key, route) = marker(&peer.player, self.number);
        peer.table.insert(key, route.clone());
        self.peers.tell(id, &(key, Some(route)));
        key
    }

    /// Lets all that is on its way arrive. Who is away stays away, so that this state is looked at too; but one of
    /// which it is not known what the speaker heard last comes back.
    fn settle(&mut self) -> Result<()> {
        let now = Instant::now();
        for peer in &mut self.peers.all {
            if let Link::Down(Some(back)) = peer.link
                && back > now
            {
                peer.stays = may_stay(peer, now);
                if !peer.stays {
                    peer.link = Link::Down(Some(now));
                }
            }
        }
        self.until(|peers| {
            let now = Instant::now();
            let waits = |peer: &&Peer| match peer.link {
                Link::Up => {
                    !peer.has_all()
                        || !peer.is_drained()
                        || peer.deaf_until.is_some()
                        || peer.absent
                }
                Link::Down(_) => {
                    let fades = peer.is_kept(now) && !is_kept_long(peer);
                    fades || !peer.stays && !peer.absent
                }
                Link::Connecting | Link::Opening | Link::Dying(..) => true,
            };
            match peers.all.iter().find(waits) {
                Some(peer) => Err(format!("not settled: {}", peer.state())),
                None => Ok(()),
            }
        })
    }

    /// The model of what there is now: the speaker is node 0, and who is away without being kept takes no part.
    fn network(&self) -> Result<(Network, AllTold)> {
        let now = Instant::now();
        let mut configs = vec![Some(self.subject.config()?)];
        let mut addresses = vec![cast::SPEAKER.into()];
        let mut told = AllTold::new();
        for peer in &self.peers.all {
            let takes_part = peer.link == Link::Up || peer.is_kept(now);
            configs.push(takes_part.then(|| peer.player.config()));
            addresses.push(peer.player.address.into());
            if takes_part {
                told.insert((peer.player.number, 0), peer.table.clone());
            }
        }
        let network = Network {
            configs,
            addresses,
            cut: BTreeSet::new(),
            bug: None,
        };
        Ok((network, told))
    }

    /// The speaker's own table, with the verdict on each path, is the model's.
    fn loc_rib(&mut self) -> Result<()> {
        let (network, mut told) = self.network()?;
        if self.plant == Some(Plant::Route) {
            let liar = told.values_mut().next().context("there are peers")?;
            let route = liar.values().next().context("it has routes")?.clone();
            liar.insert(("10.66.66.0/24".parse()?, 0), route);
        }
        let view = network.view(0, &told);
        let config = network.configs[0].as_ref().context("it takes part")?;
        let now = Instant::now();
        let kept: BTreeSet<usize> = (self.peers.all.iter())
            .filter(|peer| peer.link != Link::Up && peer.is_kept(now))
            .map(|peer| peer.player.number)
            .collect();
        let want = expected(&view, &kept);
        let end = Instant::now() + self.patience();
        loop {
            let seen = seen(&self.subject.ask(&Query::Routes)?, &network, config)?;
            if seen == want {
                break;
            }
            if Instant::now() > end {
                let prefixes: BTreeSet<&IpNet> = want.keys().chain(seen.keys()).collect();
                let odd = prefixes.into_iter().find(|p| want.get(p) != seen.get(p));
                let odd = odd.context("they differ")?;
                bail!(
                    "table: {odd}: expected {:?}, seen {:?}",
                    want.get(odd),
                    seen.get(odd)
                );
            }
            self.turns(Duration::from_millis(100))?;
        }
        self.report.paths_compared += want.values().map(|paths| paths.len() as u64).sum::<u64>();
        Ok(())
    }

    fn turns(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.peers.turn(Duration::from_millis(20))?;
        }
        match self.peers.failure.take() {
            Some(failure) => bail!(failure),
            None => Ok(()),
        }
    }

    /// Routes of two peers cross to all the others: what was to be told before them has been told.
    fn cross(&mut self) -> Result<Vec<(usize, Key)>> {
        let external = |peer: &Peer| {
            let role = peer.player.role;
            peer.link == Link::Up
                && matches!(role, Role::External | Role::Dialled | Role::ExternalSeveral)
        };
        let two: Vec<usize> = (0..self.peers.all.len())
            .filter(|id| external(&self.peers.all[*id]))
            .take(2)
            .collect();
        ensure!(two.len() == 2, "fewer than two external peers are up");
        let mut marking = Vec::new();
        for id in two {
            marking.push((id, self.say(id, cast::shared_marker)));
            marking.push((id, self.say(id, cast::shared_marker_ipv6)));
        }
        let audit = self.number;
        self.until(|peers| {
            for (id, peer) in peers.all.iter().enumerate() {
                for (from, (prefix, _)) in &marking {
                    let spoken = prefix.addr().is_ipv4() || peer.player.can.ipv6;
                    if peer.link != Link::Up || *from == id || !spoken {
                        continue;
                    }
                    let mut told = peer.tap.told.range((*prefix, 0)..=(*prefix, u32::MAX));
                    let is_new = |route: &Route| {
                        route
                            .large_communities
                            .first()
                            .is_some_and(|c| c[1] == audit)
                    };
                    if !told.any(|(_, route)| is_new(route)) {
                        return Err(format!("{} has not heard of {prefix}", peer.player.name()));
                    }
                }
            }
            Ok(())
        })?;
        Ok(marking)
    }

    /// What each peer holds is what the model has the speaker tell it.
    fn views(&mut self) -> Result<()> {
        let (network, told) = self.network()?;
        let view = network.view(0, &told);
        if self.plant == Some(Plant::View) {
            let victim = self.peers.all.iter_mut().find(|p| p.link == Link::Up);
            victim.context("a peer is up")?.tap.told.pop_first();
        }
        for id in 0..self.peers.all.len() {
            if self.peers.all[id].link != Link::Up {
                continue;
            }
            let want = network.tells(0, id + 1, &view);
            let want = by_prefix(&want);
            self.until(|peers| {
                let peer = &peers.all[id];
                let have = by_prefix(&peer.tap.told);
                let keys: BTreeSet<&IpNet> = want.keys().chain(have.keys()).collect();
                match keys.into_iter().find(|p| want.get(*p) != have.get(*p)) {
                    None => Ok(()),
                    Some(odd) => Err(format!(
                        "view: {}: {odd}: expected {:?}, seen {:?}",
                        peer.player.name(),
                        want.get(odd),
                        have.get(odd)
                    )),
                }
            })?;
            self.report.routes_compared +=
                want.values().map(|routes| routes.len() as u64).sum::<u64>();
            self.peers.turn(Duration::ZERO)?;
        }
        Ok(())
    }

    /// The speaker says of the same sessions that they are up.
    fn neighbors(&mut self) -> Result<()> {
        let answer = self.subject.ask(&Query::Neighbors)?;
        let up = |peer: &&Value| peer["state"] == "Established";
        let listed = answer.as_array().context("an array")?.iter().filter(up);
        let seen: BTreeSet<&str> = listed.filter_map(|peer| peer["address"].as_str()).collect();
        let have = self.peers.all.iter().filter(|peer| peer.link == Link::Up);
        let want: BTreeSet<String> = have.map(|peer| peer.player.address.to_string()).collect();
        let want: BTreeSet<&str> = want.iter().map(String::as_str).collect();
        let odd: Vec<&&str> = want.symmetric_difference(&seen).collect();
        ensure!(
            odd.is_empty(),
            "sessions: the speaker and its peers differ in {odd:?}"
        );
        Ok(())
    }

    fn sample(&mut self) -> Result<()> {
        let usage = self.subject.usage()?;
        let sessions = self.peers.up();
        let other = usage.descriptors.checked_sub(sessions);
        let other = other.context("each session has a descriptor")?;
        self.report.samples.push(Sample {
            at: self.began.elapsed(),
            resident_kib: usage.resident_kib,
            threads: usage.threads,
            descriptors: other as u64,
        });
        Ok(())
    }
}

fn is_kept_long(peer: &Peer) -> bool {
    peer.player
        .can
        .restart
        .is_some_and(|restart| u64::from(restart.time_s) > LONG.as_secs())
}

/// It is known what the speaker has of it: nothing, all that it said, or nothing soon.
fn may_stay(peer: &Peer, now: Instant) -> bool {
    match peer.kept {
        Some(kept) if is_kept_long(peer) => kept.is_certain && peer.kept_until(now) > LONG,
        Some(_) | None => true,
    }
}

type Paths = BTreeMap<IpNet, Vec<String>>;

fn expected(view: &View, kept: &BTreeSet<usize>) -> Paths {
    let mut out = Paths::new();
    for (prefix, paths) in view {
        let mut lines: Vec<String> = (paths.iter())
            .map(|path| {
                let (from, text) = shown(path);
                let stale = from.is_some_and(|from| kept.contains(&from));
                line(from, path.path_id, stale, &text)
            })
            .collect();
        lines.sort();
        out.insert(*prefix, lines);
    }
    out
}

fn line(from: Option<usize>, path_id: u32, stale: bool, text: &str) -> String {
    let from = from.map_or("own".to_owned(), |from| format!("peer {from}"));
    format!(
        "{from} #{path_id}{} {text}",
        if stale { " stale" } else { "" }
    )
}

/// The answer to `show routes`, in the model's words.
fn seen(answer: &Value, network: &Network, config: &Config) -> Result<Paths> {
    let mut out = Paths::new();
    for entry in answer.as_array().context("an array")? {
        let prefix = entry["prefix"].as_str().context("a prefix")?.parse()?;
        let mut lines = Vec::new();
        for path in entry["paths"].as_array().context("paths")? {
            let text = |name: &str| path[name].as_str();
            let from = match text("peer") {
                Some(name) => Some(
                    network
                        .named(config, name)
                        .with_context(|| format!("who is {name}?"))?,
                ),
                None => None,
            };
            let hop: Option<IpAddr> = text("next_hop").map(str::parse).transpose()?;
            let originator: Option<Ipv4Addr> = text("originator_id").map(str::parse).transpose()?;
            let clusters: Vec<Ipv4Addr> = (path["cluster_list"].as_array().into_iter().flatten())
                .filter_map(|cluster| cluster.as_str()?.parse().ok())
                .collect();
            let shown = format!(
                "{} [{}] {} {hop:?} {} {:?} {originator:?} {clusters:?}",
                text("lost").unwrap_or("best"),
                text("as_path").unwrap_or_default(),
                text("origin").unwrap_or_default(),
                path["local_pref"],
                path["med"].as_u64(),
            );
            let path_id = path["path_id"].as_u64().unwrap_or(0);
            let stale = path["stale"].as_bool().unwrap_or(false);
            lines.push(line(from, u32::try_from(path_id)?, stale, &shown));
        }
        lines.sort();
        out.insert(prefix, lines);
    }
    Ok(out)
}

/// Routes of a prefix whatever their identifiers, which are the speaker's own choice.
fn by_prefix(told: &Told) -> BTreeMap<IpNet, Vec<&Route>> {
    let mut out: BTreeMap<IpNet, Vec<&Route>> = BTreeMap::new();
    for ((prefix, _), route) in told {
        out.entry(*prefix).or_default().push(route);
    }
    for routes in out.values_mut() {
        routes.sort();
    }
    out
}
