//! What each message does in each state.

use super::Speaker;
use crate::filter::{Action, Filter, Interfaces};
use crate::output::scope;
use crate::rib::decision::Origin;
use crate::rib::export::{Policy, TellStale};
use crate::rib::table::Rejection;
use crate::rib::{Importer, Joining};
use crate::role::Receipt;
use crate::session::{Negotiated, Peer, Stage, Survivor, negotiate, survivor};
use crate::wire::attribute::{self, flag, kind};
use crate::wire::notification::{Notification, cease, code, fsm};
use crate::wire::open::Open;
use crate::wire::refresh::{self, Step};
use crate::wire::update::{self, Context, Update};
use crate::wire::{self, Kind, MAX_MESSAGE, Message};
use crate::{ConnId, Family, NextHop, NextHopMode, Now, PeerConfig, Role};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

impl Speaker {
    /// Bytes of one read: all whole messages in them.
    pub(super) fn received(&mut self, peer: &mut Peer, conn: ConnId, bytes: &[u8], now: Now) {
        peer.counters.bytes_in += bytes.len() as u64;
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        let mut buffer = std::mem::take(&mut connection.buffer);
        let joined = !buffer.is_empty();
        if joined {
            buffer.extend_from_slice(bytes);
        }
        let input: &[u8] = if joined { &buffer } else { bytes };
        let mut at = 0;
        loop {
            let Some(connection) = peer.connection(conn) else {
                return;
            };
            let max = match (connection.stage, &connection.agreed) {
                (Stage::Established, Some(agreed)) => agreed.max_message,
                _ => MAX_MESSAGE,
            };
            match wire::split(&input[at..], max) {
                Ok(Some(message)) => {
                    connection.heard = now.mono;
                    peer.counters.messages_in += 1;
                    at += message.length;
                    self.message(peer, conn, message, now);
                }
                Ok(None) => break,
                Err(why) => {
                    self.fail(peer, conn, why, now);
                    return;
                }
            }
        }
        let rest = if joined {
            buffer.drain(..at);
            buffer
        } else {
            bytes[at..].to_vec()
        };
        if let Some(connection) = peer.connection(conn) {
            connection.buffer = rest;
        }
    }

    fn message(&mut self, peer: &mut Peer, conn: ConnId, message: Message<'_>, now: Now) {
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        if message.kind == Kind::Open {
            connection.keep_open(message.body);
        }
        match (message.kind, connection.stage) {
            (Kind::Update, Stage::Established) => self.update(peer, conn, message.body, now),
            (Kind::Keepalive, Stage::Established) => {}
            (Kind::RouteRefresh, Stage::Established) => {
                self.refresh(peer, conn, message.body, now);
            }
            (Kind::Open, Stage::OpenSent) => match Open::decode(message.body) {
                Ok(open) => self.opened(peer, conn, &open, now),
                Err(why) => self.fail(peer, conn, why, now),
            },
            // RFC 4271 §8.2.2: an OPEN ends the wait.
            (Kind::Open, Stage::Delayed) => match Open::decode(message.body) {
                Ok(open) => {
                    self.send_open(peer, conn, now);
                    self.opened(peer, conn, &open, now);
                }
                Err(why) => self.fail(peer, conn, why, now),
            },
            (Kind::Keepalive, Stage::OpenConfirm) => {
                if Speaker::is_confirmed(peer, conn) {
                    self.established(peer, conn);
                }
            }
            (Kind::Notification, _) => {
                let why = Notification::decode(message.body);
                self.notified(peer, conn, &why, now);
            }
            (
                Kind::Open | Kind::Update | Kind::Keepalive | Kind::RouteRefresh,
                stage @ (Stage::Connecting
                | Stage::Delayed
                | Stage::OpenSent
                | Stage::OpenConfirm
                | Stage::Established),
            ) => {
                let subcode = match stage {
                    Stage::Connecting | Stage::Delayed | Stage::OpenSent => fsm::OPEN_SENT,
                    Stage::OpenConfirm => fsm::OPEN_CONFIRM,
                    Stage::Established => fsm::ESTABLISHED,
                };
                self.fail(peer, conn, Notification::new(code::FSM, subcode), now);
            }
        }
    }

    /// A good OPEN: agree, resolve a collision, confirm.
    fn opened(&mut self, peer: &mut Peer, conn: ConnId, open: &Open, now: Now) {
        let agreed = match negotiate(&self.proposal(peer), open) {
            Ok(agreed) => agreed,
            Err(why) => return self.fail(peer, conn, why, now),
        };
        if !self.survives(peer, conn, &agreed, now) {
            return;
        }
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        connection.stage = Stage::OpenConfirm;
        connection.agreed = Some(agreed);
        match self.must_wait(peer, now) {
            Some(waiting) => Speaker::wait_for_path(peer, conn, waiting),
            None => self.confirm(peer, conn, now),
        }
    }

    /// Resolves a collision of `conn` with what is there; false when `conn` had to go.
    fn survives(&mut self, peer: &mut Peer, conn: ConnId, agreed: &Negotiated, now: Now) -> bool {
        let collision = || Some(Notification::new(code::CEASE, cease::COLLISION));
        if let Some(old) = peer.established().map(|c| c.id) {
            let restarts = peer
                .session()
                .is_some_and(|session| session.restart.is_some());
            if !restarts {
                self.hang_up(peer, conn, collision());
                return false;
            }
            // RFC 4724 §4.2: the peer has restarted before we saw the old connection end.
            self.hang_up(peer, old, None);
            self.session_lost(peer, true, now);
            return true;
        }
        let other = peer
            .connections
            .iter()
            .find(|c| c.id != conn && c.stage == Stage::OpenConfirm);
        let Some(other) = other.map(|c| c.id) else {
            return true;
        };
        let own = (self.config.router_id, self.local_as(peer));
        let stays = match survivor(own, (agreed.remote_id, agreed.remote_as)) {
            Survivor::Dialled => matches!(conn, ConnId::Dialled(_)),
            Survivor::Accepted => matches!(conn, ConnId::Accepted(_)),
        };
        self.hang_up(peer, if stays { other } else { conn }, collision());
        stays
    }

    /// The session is up.
    pub(super) fn established(&mut self, peer: &mut Peer, conn: ConnId) {
        for other in peer.connections.iter().map(|c| c.id).collect::<Vec<_>>() {
            if other != conn {
                self.hang_up(
                    peer,
                    other,
                    Some(Notification::new(code::CEASE, cease::COLLISION)),
                );
            }
        }
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        connection.stage = Stage::Established;
        let (Some(agreed), Some(local)) = (connection.agreed.clone(), connection.local) else {
            return;
        };
        peer.counters.established += 1;
        peer.error.clear();
        (peer.idle_until, peer.connect_at) = (None, None);
        self.rib.set_origin(
            peer.number,
            Origin {
                local: false,
                ibgp: !agreed.ebgp,
                cluster: peer.config.rr_client.filter(|_| !agreed.ebgp),
                router_id: agreed.remote_id,
                address: peer.config.remote.ip(),
                long_lived: peer.config.graceful_restart.is_some()
                    && peer.config.long_lived.is_some(),
                scope: scope(peer.config.remote),
            },
        );
        self.mirror_up(peer);
        self.session_began(peer, &agreed);
        for family in &agreed.families {
            if agreed.ids_in.of(*family) {
                self.rib.use_add_path(*family);
            }
            let policy = self.policy(peer, &agreed, *family, local.ip().to_canonical());
            let joining = Joining {
                peer: peer.number,
                end_of_rib: agreed.restart.is_some(),
                marked: false,
            };
            self.rib.join(*family, policy, joining);
        }
        self.tap_session(peer);
    }

    /// What this peer is to be told, as of now.
    pub(super) fn policy(
        &self,
        peer: &Peer,
        agreed: &Negotiated,
        family: Family,
        local: IpAddr,
    ) -> Policy {
        Policy {
            ebgp: agreed.ebgp,
            cluster: peer.config.rr_client.filter(|_| !agreed.ebgp),
            local_as: self.local_as(peer),
            as4: agreed.as4,
            max_message: agreed.max_message,
            add_paths: agreed.ids_out.of(family).then(|| {
                let limit = peer.config.add_path.limit;
                limit.unwrap_or(u32::MAX)
            }),
            own_address: own_next_hop(peer, agreed, family, local),
            extended_next_hop: agreed.extended_next_hop,
            next_hop: peer.config.next_hop,
            network: match peer.config.next_hop {
                NextHopMode::ThirdParty if agreed.ebgp => {
                    peer.established().and_then(|c| c.network)
                }
                NextHopMode::ThirdParty
                | NextHopMode::Auto
                | NextHopMode::SelfAddress
                | NextHopMode::Keep => None,
            },
            role: agreed.role,
            tell_stale: match (agreed.knows_stale, peer.config.long_lived_partial) {
                (true, _) => TellStale::Marked,
                (false, true) if !agreed.ebgp => TellStale::Depreferenced,
                (false, _) => TellStale::Not,
            },
            filter: export_filter(&peer.config, agreed.ebgp),
            interfaces: peer
                .config
                .export
                .asks_interface()
                .then(|| Arc::clone(&self.interfaces)),
            loc_rib: false,
        }
    }

    fn update(&mut self, peer: &mut Peer, conn: ConnId, body: &[u8], now: Now) {
        self.mirror_update(peer, body);
        peer.counters.updates_in += 1;
        let Some(agreed) = peer.session() else { return };
        let (ebgp, role, remote_as) = (agreed.ebgp, agreed.role, agreed.remote_as);
        let context = Context {
            as4: agreed.as4,
            ebgp,
            ids: agreed.ids_in,
            extended_next_hop: agreed.extended_next_hop,
        };
        let mut block = std::mem::take(&mut self.block);
        match update::decode(body, context, &mut block) {
            Ok(mut update) => {
                keep_families(&mut update, &agreed.families);
                peer.counters.treated_as_withdraw += u64::from(update.treat_as_withdraw.is_some());
                peer.counters.attributes_discarded += u64::from(update.discarded);
                let mut rejection = self.rejection(peer, &update, &block);
                if let Some(role) = role
                    && rejection.is_none()
                    && update.treat_as_withdraw.is_none()
                {
                    rejection = check_role(role, remote_as, &mut block);
                }
                let room = self.room(peer);
                let import = importer(peer, ebgp, &self.interfaces).with_room(room);
                let discarded = self
                    .rib
                    .update(peer.number, &update, &block, import, rejection);
                if let Some(family) = update.end_of_rib {
                    self.end_of_rib(peer, family);
                }
                if peer.config.max_prefixes.is_some() {
                    self.check_limit(peer, conn, discarded, now);
                }
            }
            Err(why) => self.fail(peer, conn, why, now),
        }
        self.block = block;
    }

    /// Why all routes of this UPDATE must be kept out, if they must.
    fn rejection(&self, peer: &Peer, update: &Update<'_>, block: &[u8]) -> Option<Rejection> {
        let local = peer.established()?.local?.ip().to_canonical();
        let mut reaches = update.reach.iter().flatten().peekable();
        reaches.peek()?;
        let own_next_hop = reaches.any(|reach| reach.next_hop.is_at(local));
        let own_as = self.local_as(peer);
        for a in attribute::each(block) {
            match a.kind {
                kind::AS_PATH => {
                    let count = attribute::occurrences(a.value, own_as);
                    if count > usize::from(peer.config.allow_own_as) {
                        return Some(Rejection::AsPathLoop);
                    }
                }
                kind::ORIGINATOR_ID if a.value == self.config.router_id.octets() => {
                    return Some(Rejection::OriginatorIdLoop);
                }
                kind::CLUSTER_LIST => {
                    let mut list = attribute::numbers(a.value).map(Ipv4Addr::from);
                    if list.any(|id| self.clusters.contains(&id)) {
                        return Some(Rejection::ClusterListLoop);
                    }
                }
                _ => {}
            }
        }
        own_next_hop.then_some(Rejection::OwnNextHop)
    }

    fn refresh(&mut self, peer: &mut Peer, conn: ConnId, body: &[u8], now: Now) {
        let Some(agreed) = peer.session() else { return };
        if agreed.enhanced_refresh
            && let Err(why) = refresh::check_length(body)
        {
            return self.fail(peer, conn, why, now);
        }
        let Some((family, step)) = refresh::decode(body) else {
            return;
        };
        if !agreed.families.contains(&family) {
            return;
        }
        match step {
            Step::Request => {
                let marked = agreed.enhanced_refresh;
                let joining = Joining {
                    peer: peer.number,
                    end_of_rib: false,
                    marked,
                };
                self.rib.rejoin(family, None, joining);
            }
            // RFC 7313 §4: what is not sent again in between has gone.
            Step::Begin => self.rib.mark_stale(peer.number, family),
            Step::End => self.rib.clear(peer.number, family, true),
        }
    }
}

/// A peer's import filter, at work.
pub(super) fn importer<'a>(peer: &'a Peer, ebgp: bool, interfaces: &'a Interfaces) -> Importer<'a> {
    let lacking = ebgp && peer.config.lacks_import_policy;
    Importer::new(&peer.config.import, ebgp, interfaces).unless_lacking(lacking)
}

/// Without a filter that there should be, an eBGP peer is told nothing (RFC 8212 §2).
fn export_filter(config: &PeerConfig, ebgp: bool) -> Filter {
    if ebgp && config.lacks_export_policy {
        return Filter {
            rules: Vec::new(),
            otherwise: Action::Reject,
        };
    }
    config.export.clone()
}

/// A route that must not have come this way is kept out; one that may go no further than to
/// customers is marked so (RFC 9234 §5).
fn check_role(role: Role, remote_as: u32, block: &mut Vec<u8>) -> Option<Rejection> {
    let said = attribute::find(block, kind::ONLY_TO_CUSTOMER);
    let said = said.and_then(|value| attribute::numbers(value).next());
    match role.receive(said, remote_as) {
        Receipt::Keep => None,
        Receipt::Leak => Some(Rejection::RouteLeak),
        Receipt::Mark => {
            let flags = flag::OPTIONAL | flag::TRANSITIVE;
            let value = remote_as.to_be_bytes();
            attribute::insert(block, flags, kind::ONLY_TO_CUSTOMER, &value);
            None
        }
    }
}

/// The next hop that we are for a family: our end of the session, or what is configured, or for IPv4
/// our IPv6 end where that was agreed on (RFC 8950).
fn own_next_hop(
    peer: &Peer,
    agreed: &Negotiated,
    family: Family,
    local: IpAddr,
) -> Option<NextHop> {
    let fits = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4);
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let configured = peer.config.own_next_hop;
    let global = Some(local).filter(|local| !is_local(local));
    let address = global
        .filter(fits)
        .or(configured.filter(fits))
        .or(Some(local).filter(fits))
        .or(Some(local)
            .filter(|local| agreed.extended_next_hop && local.is_ipv6())
            .map(|local| {
                configured
                    .filter(IpAddr::is_ipv6)
                    .filter(|_| is_local(&local))
                    .unwrap_or(local)
            }))?;
    let link_local = match local {
        IpAddr::V6(own) if own.is_unicast_link_local() => Some(own),
        IpAddr::V4(_) | IpAddr::V6(_) if peer.config.link_local_next_hop => {
            peer.established().and_then(|c| c.link_local)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    Some(NextHop {
        address,
        link_local: link_local.filter(|_| address.is_ipv6()),
    })
}

/// Passes over routes of families that were not agreed on.
fn keep_families(update: &mut Update<'_>, families: &[Family]) {
    if !families.contains(&Family::Ipv4) {
        update.withdrawn = &[];
    }
    update.mp_withdrawn = update
        .mp_withdrawn
        .filter(|(family, _)| families.contains(family));
    for reach in &mut update.reach {
        *reach = reach.filter(|reach| families.contains(&reach.family));
    }
}
