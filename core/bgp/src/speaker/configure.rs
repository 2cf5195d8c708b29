//! From the wanted configuration to what must change; sessions that need not change stay up.

use super::Speaker;
use super::messages::importer;
use crate::filter::{Filter, Interfaces};
use crate::rib::Joining;
use crate::session::{Peer, keepalive_interval};
use crate::wire::notification::{Notification, cease, code};
use crate::{
    AddPath, Config, Family, ListenSecurity, Notice, NoticeReason, Now, Output, PeerConfig,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// What a change of a peer's configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// Filters, next hop, timers: in place.
    Soft,
    /// What OPEN says or who is connected: a new session.
    Session,
}

/// Strict mode is a capability, so it is said in OPEN.
fn is_strict(config: &PeerConfig) -> bool {
    config.bfd.is_some_and(|bfd| bfd.strict.is_some())
}

fn change(old: &PeerConfig, new: &PeerConfig) -> Change {
    if old == new {
        return Change::None;
    }
    let soft = PeerConfig {
        import: new.import.clone(),
        export: new.export.clone(),
        lacks_import_policy: new.lacks_import_policy,
        lacks_export_policy: new.lacks_export_policy,
        next_hop: new.next_hop,
        own_next_hop: new.own_next_hop,
        max_prefixes: new.max_prefixes,
        bfd: if is_strict(old) == is_strict(new) {
            new.bfd
        } else {
            old.bfd
        },
        add_path: AddPath {
            limit: new.add_path.limit,
            ..old.add_path
        },
        max_prefixes_warning: new.max_prefixes_warning,
        max_prefixes_action: new.max_prefixes_action,
        connect_retry: new.connect_retry,
        error_wait: new.error_wait,
        send_hold_time: new.send_hold_time,
        delay_open: new.delay_open,
        passive: new.passive,
        keepalive: new.keepalive,
        // Both are said in OPEN; they hold from the next session on.
        hold_time: new.hold_time,
        graceful_restart: match (old.graceful_restart, new.graceful_restart) {
            (Some(_), Some(new)) => Some(new),
            (old, _) => old,
        },
        long_lived: match (&old.long_lived, &new.long_lived) {
            (Some(was), Some(is)) if was.stale_times.keys().eq(is.stale_times.keys()) => {
                new.long_lived.clone()
            }
            (old, _) => old.clone(),
        },
        long_lived_partial: new.long_lived_partial,
        authentication: if new.authentication.can_follow(&old.authentication) {
            new.authentication.clone()
        } else {
            old.authentication.clone()
        },
        ..old.clone()
    };
    if soft == *new {
        Change::Soft
    } else {
        Change::Session
    }
}

impl Speaker {
    pub(super) fn configure(&mut self, config: Config, now: Now) {
        let secure = ListenSecurity::of(&config);
        if secure != ListenSecurity::of(&self.config) {
            self.outputs.push_back(Output::Secure(secure));
        }
        if config.listen != self.config.listen {
            self.outputs
                .push_back(Output::Listen(config.listen.clone()));
        }
        let other_id = config.router_id != self.config.router_id;
        let other_as = config.local_as != self.config.local_as;
        let old = std::mem::replace(&mut self.config, config);
        self.configure_origins(&old);
        let interfaces_changed = self.configure_interfaces();
        let mut wanted: BTreeMap<Arc<str>, PeerConfig> = self
            .config
            .peers
            .iter()
            .map(|p| (p.name.as_str().into(), p.clone()))
            .collect();
        self.keep_neighbors(&mut wanted);
        let clusters = self.wanted_clusters();
        let other_clusters = clusters != self.clusters;
        self.clusters = clusters;
        let present: Vec<(Arc<str>, u16)> = self
            .by_name
            .iter()
            .map(|(name, number)| (Arc::clone(name), *number))
            .collect();
        let mut kept = BTreeSet::new();
        for (name, number) in present {
            let Some(peer) = self.peers[usize::from(number)].as_deref() else {
                continue;
            };
            let new = if peer.dynamic {
                self.template(peer)
            } else {
                wanted.get(&name).cloned()
            };
            let verdict = new.as_ref().map(|new| change(&peer.config, new));
            // Who has an AS number for this session of its own is not concerned by the common one.
            let all_anew = other_id || other_as && peer.config.local_as.is_none();
            match (new, verdict) {
                (Some(new), Some(Change::None)) if !all_anew => {
                    if interfaces_changed {
                        self.with_peer(number, now, |s, peer| s.adjust(peer, new, true, now));
                    }
                    kept.insert(name);
                }
                (Some(new), Some(Change::Soft)) if !all_anew => {
                    self.with_peer(number, now, |speaker, peer| {
                        speaker.adjust(peer, new, interfaces_changed, now);
                    });
                    kept.insert(name);
                }
                (Some(_), _) => self.remove_peer(number, cease::CONFIG_CHANGE, now),
                (None, _) => self.remove_peer(number, cease::DECONFIGURED, now),
            }
        }
        if other_clusters {
            self.judge_clusters();
        }
        for (name, config) in wanted {
            if !kept.contains(&name) {
                self.add_peer(config, false, now);
            }
        }
    }

    /// Finds loops through our clusters anew in what is held (RFC 4456 §8).
    fn judge_clusters(&mut self) {
        for peer in self.peers.iter().flatten() {
            let connection = peer.established();
            let local = connection.and_then(|c| Some(c.local?.ip().to_canonical()));
            let import = importer(peer, self.is_external(peer), &self.interfaces);
            let import = import.with_room(self.room(peer));
            self.rib
                .judge_clusters(peer.number, &self.clusters, local, import);
        }
    }

    fn configure_origins(&mut self, old: &Config) {
        let wanted = std::mem::take(&mut self.config.origins);
        for prefix in old
            .origins
            .keys()
            .filter(|prefix| !wanted.contains_key(*prefix))
        {
            self.rib.unoriginate(*prefix);
        }
        for (prefix, origin) in &wanted {
            let before = old.origins.get(prefix);
            if before.is_some_and(|before| before.interface != origin.interface) {
                // Its attributes are the same, but what filters say of it may not be.
                self.rib.unoriginate(*prefix);
            }
            if before != Some(origin) {
                self.rib.originate(*prefix, origin);
            }
        }
        self.config.origins = wanted;
    }

    /// True when they are not what they were.
    fn configure_interfaces(&mut self) -> bool {
        let own = |(prefix, origin): (&ipnet::IpNet, &crate::Origin)| {
            Some((*prefix, Arc::clone(origin.interface.as_ref()?)))
        };
        let interfaces = Interfaces {
            connected: self.config.interfaces.clone(),
            local: self.config.origins.iter().filter_map(own).collect(),
        };
        let changed = *self.interfaces != interfaces;
        if changed {
            self.interfaces = Arc::new(interfaces);
        }
        changed
    }

    fn wanted_clusters(&self) -> BTreeSet<std::net::Ipv4Addr> {
        let ranges = self.config.ranges.iter().map(|range| &range.template);
        self.config
            .peers
            .iter()
            .chain(ranges)
            .filter_map(|peer| peer.rr_client)
            .collect()
    }

    /// What a dynamic peer's configuration would be now.
    fn template(&self, peer: &Peer) -> Option<PeerConfig> {
        let ip = peer.config.remote.ip().to_canonical();
        let mut named = self.config.peers.iter().map(|p| p.remote.ip());
        // One that has an entry of its own now gives way to it.
        let replaced = named.any(|named| named.to_canonical() == ip);
        self.dynamic_config(peer.config.remote)
            .filter(|_| !replaced)
    }

    fn dynamic_config(&self, remote: SocketAddr) -> Option<PeerConfig> {
        let ip = remote.ip().to_canonical();
        let range = self
            .config
            .ranges
            .iter()
            .find(|range| range.prefix.contains(&ip))?;
        let mut config = range.template.clone();
        config.name = format!("{}_{}", range.template.name, ip);
        config.remote = SocketAddr::new(ip, range.template.remote.port());
        config.passive = true;
        Some(config)
    }

    /// A peer for a connection from a range, if there is room.
    pub(super) fn dynamic_peer(&mut self, remote: SocketAddr, now: Now) -> Option<u16> {
        let ip = remote.ip().to_canonical();
        let config = self.dynamic_config(remote)?;
        let range = self
            .config
            .ranges
            .iter()
            .find(|range| range.prefix.contains(&ip))?;
        let in_range = |p: &&Peer| p.dynamic && range.prefix.contains(&p.config.remote.ip());
        let peers = self.peers.iter().flatten().map(Box::as_ref);
        let count = peers.filter(in_range).count();
        if count >= range.limit as usize {
            if self.full_ranges.insert(range.prefix) {
                self.outputs.push_back(Output::Notice(Notice {
                    reason: NoticeReason::RangeFull,
                    about: range.template.name.as_str().into(),
                    detail: format!("{ip} was turned away, {count} are there"),
                }));
            }
            return None;
        }
        if self.by_name.contains_key(config.name.as_str()) {
            return None;
        }
        self.add_peer(config, true, now)
    }

    fn add_peer(&mut self, config: PeerConfig, dynamic: bool, now: Now) -> Option<u16> {
        let number = self.reserve_number()?;
        let mut peer = Box::new(Peer::new(number, config, dynamic, now));
        peer.synced = self.sync.is_done();
        let at = usize::from(number);
        self.names[at] = Some(Arc::clone(&peer.name));
        self.by_name.insert(Arc::clone(&peer.name), number);
        let ip = peer.config.remote.ip().to_canonical();
        self.by_address.entry(ip).or_default().push(number);
        // Makes room in the RIBs; who it is becomes known with the session.
        self.rib
            .set_origin(number, crate::rib::decision::Origin::LOCAL);
        self.note_path(&peer);
        self.interfaces_wanted |= peer.config.interface.is_some();
        self.peers[at] = Some(peer);
        if !dynamic {
            self.with_peer(number, now, |speaker, peer| speaker.start(peer, now));
        }
        Some(number)
    }

    /// A number is used again as late as can be: the log may still name it.
    pub(super) fn reserve_number(&mut self) -> Option<u16> {
        match u16::try_from(self.peers.len()) {
            Ok(number) if number < u16::MAX => {
                self.peers.push(None);
                self.names.push(None);
                Some(number)
            }
            _ => self.free.pop_front(),
        }
    }

    fn remove_peer(&mut self, number: u16, why: u8, now: Now) {
        self.with_peer(number, now, |speaker, peer| {
            speaker.end_all(peer, Some(Notification::new(code::CEASE, why)), false, now);
            speaker.drop_stale(peer);
        });
        if let Some(peer) = self.peers[usize::from(number)].take() {
            self.forget(&peer);
        }
    }

    /// Strikes a peer out of all tables.
    pub(super) fn forget(&mut self, peer: &Peer) {
        for family in Family::ALL {
            self.rib.clear(peer.number, family, false);
        }
        if let Some(armed) = peer.armed {
            self.deadlines.remove(&(armed, peer.number));
        }
        if peer.dynamic {
            let ip = peer.config.remote.ip();
            self.full_ranges.retain(|range| !range.contains(&ip));
        }
        self.by_name.remove(&peer.name);
        self.note_path(peer);
        self.interfaces_wanted |= peer.config.interface.is_some();
        self.forget_address(peer);
        self.names[usize::from(peer.number)] = None;
        self.free.push_back(peer.number);
    }

    /// Strikes a peer out of the table by address.
    pub(super) fn forget_address(&mut self, peer: &Peer) {
        let ip = peer.config.remote.ip().to_canonical();
        if let Some(numbers) = self.by_address.get_mut(&ip) {
            numbers.retain(|number| *number != peer.number);
            if numbers.is_empty() {
                self.by_address.remove(&ip);
            }
        }
    }

    /// Gives the connections of a peer its new keys.
    fn rekey(&mut self, peer: &Peer) {
        let Some(keys) = peer.config.authentication.keys() else {
            return;
        };
        for connection in &peer.connections {
            self.outputs.push_back(Output::Rekey {
                conn: connection.id,
                keys: keys.clone(),
            });
        }
    }

    /// Puts another keepalive interval to use.
    fn pace_keepalives(&mut self, peer: &mut Peer, now: Now) {
        for connection in &mut peer.connections {
            let Some(agreed) = &mut connection.agreed else {
                continue;
            };
            let interval = keepalive_interval(&peer.config, agreed.hold_time);
            agreed.keepalive = interval;
            if connection.waiting.is_none() {
                connection.arm_keepalive(now.mono, interval, &mut self.random);
            }
        }
    }

    /// Changes a peer in place: its keys, what its filters say of what we have, what it is told.
    fn adjust(&mut self, peer: &mut Peer, new: PeerConfig, interfaces_changed: bool, now: Now) {
        let old = std::mem::replace(&mut peer.config, new);
        self.paths.changed |= old.bfd != peer.config.bfd;
        let asks = |filter: &Filter| interfaces_changed && filter.asks_interface();
        let lacks = |c: &PeerConfig| (c.lacks_import_policy, c.lacks_export_policy);
        let same_lacks = lacks(&old) == lacks(&peer.config);
        let limit = |c: &PeerConfig| (c.max_prefixes, c.max_prefixes_action);
        let same_limit = limit(&old) == limit(&peer.config);
        if !same_limit {
            (peer.warned, peer.discards) = ([false; 2], false);
        }
        let same_import = old.import == peer.config.import && same_lacks && same_limit;
        if !same_import || asks(&peer.config.import) {
            let ebgp = self.is_external(peer);
            let room = self.room(peer);
            let import = importer(peer, ebgp, &self.interfaces).with_room(room);
            self.rib.refilter(peer.number, import);
        }
        if old.authentication != peer.config.authentication {
            self.rekey(peer);
        }
        if old.keepalive != peer.config.keepalive {
            self.pace_keepalives(peer, now);
        }
        let rests = peer.connections.is_empty() && peer.idle_until.is_none();
        if old.passive && !peer.config.passive && rests {
            self.start(peer, now);
        }
        let same = (old.next_hop, old.own_next_hop)
            == (peer.config.next_hop, peer.config.own_next_hop)
            && old.export == peer.config.export
            && same_lacks
            && old.add_path == peer.config.add_path
            && old.long_lived_partial == peer.config.long_lived_partial;
        if same && !asks(&peer.config.export) {
            return;
        }
        let Some(connection) = peer.established() else {
            return;
        };
        let (Some(agreed), Some(local)) = (connection.agreed.as_ref(), connection.local) else {
            return;
        };
        for family in &agreed.families {
            let policy = self.policy(peer, agreed, *family, local.ip().to_canonical());
            let joining = Joining {
                peer: peer.number,
                end_of_rib: false,
                marked: false,
            };
            self.rib.rejoin(*family, Some(policy.clone()), joining);
            self.tap_policy(peer.number, *family, &policy);
        }
    }
}
