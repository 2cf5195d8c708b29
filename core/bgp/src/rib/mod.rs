//! Routing information bases: what peers said, what was chosen, what peers were told.

mod accepted;
mod add_path;
mod adj_rib_out;
mod attributes;
mod clusters;
pub(crate) mod decision;
mod difference;
mod encode;
pub(crate) mod export;
mod family;
mod index;
mod judge;
mod log;
mod net_set;
pub(crate) mod outbox;
mod ranking;
mod reach;
mod received;
mod stale;
pub(crate) mod table;
mod told;
mod walk;

pub(crate) use adj_rib_out::Joining;
pub(crate) use family::Counts;
pub(crate) use judge::{Importer, Judge};

use crate::filter::{self, Filter};
use crate::status::{PathInfo, PathStanding};
use crate::view::{Accepted, RibCursor, RibSlice};
use crate::wire::attribute::{self, flag, kind, put};
use crate::wire::nlri::{Key, V4, V6};
use crate::wire::update::Update;
use crate::{Family, NextHop, Origin as OriginConfig, RouteChange};
use attributes::{Attributes, NextHops};
use decision::Origin;
use export::Policy;
use family::{Context, FamilyRib};
use ipnet::IpNet;
use outbox::Outbox;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use table::{Rejection, Sight};

/// The number under which our own routes stand.
pub(crate) const LOCAL: u16 = 0;

/// Both families, and what they share.
pub(crate) struct Rib {
    attributes: Attributes,
    next_hops: NextHops,
    /// By peer number.
    origins: Vec<Origin>,
    /// By peer number.
    pub outboxes: Vec<Outbox>,
    ipv4: FamilyRib<V4>,
    ipv6: FamilyRib<V6>,
    /// Numbers of next hops of which something else is known, while paths were not judged by it.
    judged_by: Vec<u32>,
}

/// What came of a slice of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub more: bool,
}

impl Rib {
    pub fn new(seed: u64, report: bool) -> Self {
        let mut rib = Rib {
            attributes: Attributes::new(seed),
            next_hops: NextHops::default(),
            origins: Vec::new(),
            outboxes: Vec::new(),
            ipv4: FamilyRib::new(seed, report),
            ipv6: FamilyRib::new(seed, report),
            judged_by: Vec::new(),
        };
        rib.set_origin(LOCAL, Origin::LOCAL);
        rib
    }

    /// Says who is behind a peer number. Before its first route only.
    pub fn set_origin(&mut self, peer: u16, origin: Origin) {
        let wanted = usize::from(peer) + 1;
        if self.origins.len() < wanted {
            self.origins.resize(wanted, Origin::LOCAL);
            self.outboxes.resize_with(wanted, Outbox::default);
            self.ipv4.make_room(wanted);
            self.ipv6.make_room(wanted);
        }
        self.origins[usize::from(peer)] = origin;
    }

    /// The shared parts and both families, to be borrowed apart.
    fn split(&mut self) -> (Context<'_>, &mut FamilyRib<V4>, &mut FamilyRib<V6>) {
        let context = Context {
            attributes: &mut self.attributes,
            next_hops: &mut self.next_hops,
            origins: &self.origins,
            outboxes: &mut self.outboxes,
        };
        (context, &mut self.ipv4, &mut self.ipv6)
    }

    /// Takes a decoded UPDATE in. `rejection` holds for all its routes. Returns how many prefixes
    /// were over the limit.
    pub fn update(
        &mut self,
        peer: u16,
        update: &Update<'_>,
        block: &[u8],
        mut import: Importer<'_>,
        rejection: Option<Rejection>,
    ) -> u32 {
        let (mut context, ipv4, ipv6) = self.split();
        let ids = update.ids;
        if !update.withdrawn.is_empty() {
            ipv4.withdraw(peer, (update.withdrawn, ids.ipv4), &mut context);
        }
        match update.mp_withdrawn {
            Some((Family::Ipv4, nlri)) => ipv4.withdraw(peer, (nlri, ids.ipv4), &mut context),
            Some((Family::Ipv6, nlri)) => ipv6.withdraw(peer, (nlri, ids.ipv6), &mut context),
            None => {}
        }
        for reach in update.reach.iter().flatten() {
            let nlri = (reach.nlri, ids.of(reach.family));
            if update.treat_as_withdraw.is_some() {
                match reach.family {
                    Family::Ipv4 => ipv4.withdraw(peer, nlri, &mut context),
                    Family::Ipv6 => ipv6.withdraw(peer, nlri, &mut context),
                }
                continue;
            }
            let attributes = context.attributes.intern(block);
            let next_hop = context.next_hops.intern(reach.next_hop);
            let said = table::Announcement {
                attributes,
                next_hop,
                rejection,
                path_id: 0,
            };
            match reach.family {
                Family::Ipv4 => ipv4.announce(peer, nlri, said, &mut import, &mut context),
                Family::Ipv6 => ipv6.announce(peer, nlri, said, &mut import, &mut context),
            }
            context.attributes.release(attributes);
            context.next_hops.release(next_hop);
        }
        import.end(&mut context.shared())
    }

    /// Originates a prefix, or changes its attributes.
    pub fn originate(&mut self, prefix: IpNet, origin: &OriginConfig) {
        let block = own_attributes(origin);
        let (mut context, ipv4, ipv6) = self.split();
        let address = origin.next_hop.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let attributes = context.attributes.intern(&block);
        let next_hop = context.next_hops.intern(NextHop {
            address,
            link_local: None,
        });
        let said = table::Announcement {
            attributes,
            next_hop,
            rejection: None,
            path_id: 0,
        };
        if let Some(key) = V4::from_net(prefix) {
            ipv4.announce_key(LOCAL, key, said, &mut context);
        } else if let Some(key) = V6::from_net(prefix) {
            ipv6.announce_key(LOCAL, key, said, &mut context);
        }
        context.attributes.release(attributes);
        context.next_hops.release(next_hop);
    }

    /// Originates a prefix no more.
    pub fn unoriginate(&mut self, prefix: IpNet) {
        let (mut context, ipv4, ipv6) = self.split();
        if let Some(key) = V4::from_net(prefix) {
            ipv4.withdraw_key(LOCAL, key, &mut context);
        } else if let Some(key) = V6::from_net(prefix) {
            ipv6.withdraw_key(LOCAL, key, &mut context);
        }
    }

    /// Drops all paths of a peer, or only the stale ones.
    pub fn clear(&mut self, peer: u16, family: Family, only_stale: bool) {
        let (mut context, ipv4, ipv6) = self.split();
        match family {
            Family::Ipv4 => ipv4.clear(peer, only_stale, &mut context),
            Family::Ipv6 => ipv6.clear(peer, only_stale, &mut context),
        }
    }

    /// Marks all paths of a peer as stale.
    pub fn mark_stale(&mut self, peer: u16, family: Family) {
        match family {
            Family::Ipv4 => self.ipv4.mark_stale(peer),
            Family::Ipv6 => self.ipv6.mark_stale(peer),
        }
    }

    /// What is stale of a peer becomes long-lived stale (RFC 9494 §4.2).
    pub fn begin_long_lived(&mut self, peer: u16, family: Family) {
        let (mut context, ipv4, ipv6) = self.split();
        match family {
            Family::Ipv4 => ipv4.begin_long_lived(peer, &mut context),
            Family::Ipv6 => ipv6.begin_long_lived(peer, &mut context),
        }
    }

    /// Applies a new import filter to what is held.
    pub fn refilter(&mut self, peer: u16, mut import: Importer<'_>) {
        let (mut context, ipv4, ipv6) = self.split();
        ipv4.refilter(peer, &mut import, &mut context);
        ipv6.refilter(peer, &mut import, &mut context);
        import.end(&mut context.shared());
    }

    /// Our clusters have changed: finds loops anew in what is held. `local` is our end of the
    /// session, where there is one.
    pub fn judge_clusters(
        &mut self,
        peer: u16,
        clusters: &BTreeSet<Ipv4Addr>,
        local: Option<IpAddr>,
        mut import: Importer<'_>,
    ) {
        let (mut context, ipv4, ipv6) = self.split();
        let ours = clusters::Ours { clusters, local };
        ipv4.judge_clusters(peer, &ours, &mut import, &mut context);
        ipv6.judge_clusters(peer, &ours, &mut import, &mut context);
        import.end(&mut context.shared());
    }

    /// A peer sends path identifiers in a family from now on.
    pub fn use_add_path(&mut self, family: Family) {
        match family {
            Family::Ipv4 => self.ipv4.use_add_path(),
            Family::Ipv6 => self.ipv6.use_add_path(),
        }
    }

    /// From now on the driver is asked about next hops.
    pub fn track_next_hops(&mut self) {
        self.next_hops.track();
    }

    /// The next hops in use, when they are others than were given the last time.
    pub fn ask_next_hops(&mut self) -> Option<Vec<IpAddr>> {
        self.next_hops.ask()
    }

    /// What is known of a next hop: its cost, or that it cannot be reached.
    pub fn set_next_hop(&mut self, address: IpAddr, cost: Option<u32>) {
        let numbers = self.next_hops.set_cost(address, cost);
        self.judged_by.extend(numbers);
    }

    /// Decides anew about paths through the next hops of which something else is known: all in one
    /// pass, as many may come and go with one link.
    pub fn judge_next_hops(&mut self) {
        if self.judged_by.is_empty() {
            return;
        }
        let numbers = std::mem::take(&mut self.judged_by);
        let (mut context, ipv4, ipv6) = self.split();
        ipv4.judge_next_hops(&numbers, &mut context);
        ipv6.judge_next_hops(&numbers, &mut context);
    }

    pub fn counts(&self, peer: u16, family: Family) -> Counts {
        match family {
            Family::Ipv4 => self.ipv4.counts(peer),
            Family::Ipv6 => self.ipv6.counts(peer),
        }
    }

    /// Lets an established peer hear of routes.
    pub fn join(&mut self, family: Family, policy: Policy, joining: Joining) {
        match family {
            Family::Ipv4 => self.ipv4.join(policy, joining),
            Family::Ipv6 => self.ipv6.join(policy, joining),
        }
    }

    /// Sends a member everything again, under its old policy or a new one.
    pub fn rejoin(&mut self, family: Family, policy: Option<Policy>, joining: Joining) {
        match family {
            Family::Ipv4 => self.ipv4.rejoin(policy, joining),
            Family::Ipv6 => self.ipv6.rejoin(policy, joining),
        }
    }

    /// The session has gone: nothing more for this peer.
    pub fn leave(&mut self, peer: u16) {
        self.ipv4.leave(peer);
        self.ipv6.leave(peer);
        self.outboxes[usize::from(peer)].clear();
    }

    /// Holds End-of-RIB back, or lets go those that were.
    pub fn hold_end_of_rib(&mut self, hold: bool) {
        let (mut context, ipv4, ipv6) = self.split();
        ipv4.hold_end_of_rib(hold, &mut context);
        ipv6.hold_end_of_rib(hold, &mut context);
    }

    /// Lets a tap hear of routes: a member that is no peer. `like`: it is told what that peer is.
    pub fn tap(&mut self, family: Family, policy: Policy, tap: u16, like: Option<u16>) {
        self.outboxes[usize::from(tap)].like = like;
        let joining = Joining {
            peer: tap,
            end_of_rib: true,
            marked: false,
        };
        self.join(family, policy, joining);
    }

    /// From now on, or no more, it is noted which paths change by what peers say and by what import
    /// filters make of it.
    pub fn note_accepted(&mut self, on: bool) {
        self.ipv4.note_accepted(on);
        self.ipv6.note_accepted(on);
    }

    /// The paths that were noted, as they are now.
    pub fn take_accepted(&mut self) -> Accepted {
        let (context, ipv4, ipv6) = self.split();
        let mut into = walk::Builder::default();
        let mut paths = Vec::new();
        ipv4.take_accepted(context.sight(), &mut into, &mut paths);
        ipv6.take_accepted(context.sight(), &mut into, &mut paths);
        let sets = into.finish().sets;
        let ends = Vec::new();
        Accepted { sets, paths, ends }
    }

    /// Counts the prefixes with a chosen path from a place on, over `max` nets.
    pub fn count_chosen(&self, from: RibCursor, max: usize) -> (usize, Option<RibCursor>) {
        let (family, net) = (from.family, from.net);
        let (count, next) = match family {
            Family::Ipv4 => self.ipv4.count_chosen(net, max),
            Family::Ipv6 => self.ipv6.count_chosen(net, max),
        };
        (count, RibCursor::after(family, next))
    }

    /// Counts what each peer is told from a place on, over `max` nets, by the peers' numbers.
    pub fn count_told(&self, from: RibCursor, max: usize) -> (Vec<u32>, Option<RibCursor>) {
        let sight = Sight {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            origins: &self.origins,
        };
        let mut told = vec![0; self.origins.len()];
        let (family, net) = (from.family, from.net);
        let next = match family {
            Family::Ipv4 => self.ipv4.count_told(net, max, sight, &mut told),
            Family::Ipv6 => self.ipv6.count_told(net, max, sight, &mut told),
        };
        (told, RibCursor::after(family, next))
    }

    /// One slice of telling peers. Returns the UPDATEs queued and whether there is more.
    pub fn step(&mut self) -> Progress {
        let (mut context, ipv4, ipv6) = self.split();
        let more = ipv4.step(&mut context) | ipv6.step(&mut context);
        Progress { more }
    }

    /// Members of update groups, over all families.
    pub fn members(&self) -> usize {
        self.ipv4.members() + self.ipv6.members()
    }

    /// Some peer could be told something: at once, or when changes have come together.
    pub fn is_behind(&self) -> (bool, bool) {
        let (ipv4, ipv6) = (&self.ipv4, &self.ipv6);
        let dumping = ipv4.is_dumping() || ipv6.is_dumping();
        let behind = ipv4.is_behind(&self.outboxes) || ipv6.is_behind(&self.outboxes);
        (behind && dumping, behind)
    }

    /// The next changed routes, at most `max`.
    pub fn take_routes(&mut self, max: usize, names: &[Option<Arc<str>>]) -> Vec<RouteChange> {
        let (context, ipv4, ipv6) = self.split();
        let mut out = Vec::new();
        ipv4.take_routes(max, names, context.sight(), &mut out);
        if out.len() < max {
            ipv6.take_routes(max - out.len(), names, context.sight(), &mut out);
        }
        out
    }

    /// Shows the nets from a place on; `max` of them, free ones counted.
    pub fn walk(&self, from: RibCursor, max: usize) -> RibSlice {
        let sight = Sight {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            origins: &self.origins,
        };
        let mut into = walk::Builder::default();
        let (family, net) = match from.family {
            Family::Ipv4 => (
                Family::Ipv4,
                self.ipv4.walk(from.net, max, sight, &mut into),
            ),
            Family::Ipv6 => (
                Family::Ipv6,
                self.ipv6.walk(from.net, max, sight, &mut into),
            ),
        };
        let mut slice = into.finish();
        slice.next = RibCursor::after(family, net);
        slice
    }

    /// All prefixes with a path, in order.
    pub fn prefixes(&self, family: Family) -> Vec<IpNet> {
        match family {
            Family::Ipv4 => self.ipv4.prefixes(),
            Family::Ipv6 => self.ipv6.prefixes(),
        }
    }

    /// All paths of a prefix and how each fared.
    /// `import` is the filter of a peer, also put to work: it names the rule that keeps a path out.
    pub fn explain<'f>(
        &self,
        prefix: IpNet,
        names: &[Option<Arc<str>>],
        import: impl Fn(u16) -> Option<(&'f Filter, Judge<'f>)>,
    ) -> Vec<PathInfo> {
        let sight = Sight {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            origins: &self.origins,
        };
        let paths = if let Some(key) = V4::from_net(prefix) {
            self.ipv4.explain(key, sight)
        } else if let Some(key) = V6::from_net(prefix) {
            self.ipv6.explain(key, sight)
        } else {
            Vec::new()
        };
        let describe = |(path_id, path, lost): &ranking::Ranked| {
            let block = self.attributes.octets(path.attributes);
            let hop = self.next_hops.get(path.next_hop);
            let standing = lost.map_or(PathStanding::Best, PathStanding::Lost);
            let mut info = describe(path, block, hop, standing, names);
            info.path_id = (*path_id != 0).then_some(*path_id);
            let origin = &self.origins[usize::from(path.peer)];
            info.long_lived_stale = origin.is_long_lived_stale(&attribute::Record::read(block));
            if path.rejection == Some(Rejection::ImportFilter)
                && let Some((filter, mut judge)) = import(path.peer)
            {
                let subject = judge::Subject {
                    attributes: path.attributes,
                    next_hop: path.next_hop,
                    local: false,
                };
                let rule = judge.rule(subject, || (block, hop), prefix);
                info.rule = Some(filter.name_of(rule));
            }
            info
        };
        paths.iter().map(describe).collect()
    }
}

/// The canonical attributes of a prefix of ours.
fn own_attributes(origin: &OriginConfig) -> Vec<u8> {
    let mut block = Vec::new();
    put(&mut block, flag::TRANSITIVE, kind::ORIGIN, &[0]);
    put(&mut block, flag::TRANSITIVE, kind::AS_PATH, &[]);
    if let Some(med) = origin.med {
        put(&mut block, flag::OPTIONAL, kind::MED, &med.to_be_bytes());
    }
    if let Some(local_pref) = origin.local_pref {
        put(
            &mut block,
            flag::TRANSITIVE,
            kind::LOCAL_PREF,
            &local_pref.to_be_bytes(),
        );
    }
    let transitive = flag::OPTIONAL | flag::TRANSITIVE;
    if !origin.communities.is_empty() {
        let value: Vec<u8> = origin
            .communities
            .iter()
            .flat_map(|c| c.to_be_bytes())
            .collect();
        put(&mut block, transitive, kind::COMMUNITIES, &value);
    }
    if !origin.large_communities.is_empty() {
        let words = origin.large_communities.iter().flatten();
        let value: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
        put(&mut block, transitive, kind::LARGE_COMMUNITY, &value);
    }
    block
}

fn describe(
    path: &table::Path,
    block: &[u8],
    hop: NextHop,
    standing: PathStanding,
    names: &[Option<Arc<str>>],
) -> PathInfo {
    let record = attribute::Record::read(block);
    let own = path.peer == LOCAL;
    let list = |kind| attribute::find(block, kind).unwrap_or_default();
    PathInfo {
        peer: names.get(usize::from(path.peer)).cloned().flatten(),
        next_hop: (!own || !hop.address.is_unspecified()).then_some(hop),
        as_path: attribute::path_text(list(kind::AS_PATH)),
        origin: match record.origin {
            0 => "igp",
            1 => "egp",
            _ => "incomplete",
        },
        local_pref: record.local_pref,
        med: attribute::find(block, kind::MED).map(|_| record.med),
        communities: filter::communities(block)
            .map(|community| community.to_string())
            .collect(),
        originator_id: record.originator,
        cluster_list: attribute::numbers(list(kind::CLUSTER_LIST))
            .map(Ipv4Addr::from)
            .collect(),
        stale: path.stale.is_stale(),
        long_lived_stale: false,
        standing,
        path_id: None,
        rule: None,
    }
}
