//! What peers of one update group are told: which routes, with which attributes and next hop.

use super::decision::Origin;
use super::judge::Judge;
use crate::filter::{self, Community, Filter, Interfaces, Operation};
use crate::wire::attribute::{self, DEFAULT_LOCAL_PREF, LLGR_STALE, NO_EXPORT, Record, Scope};
use crate::wire::attribute::{flag, kind, put};
use crate::wire::{AS_TRANS, MAX_EXTENDED, MAX_MESSAGE};
use crate::{Family, NextHop, NextHopMode, Role};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How long-lived stale routes are told (RFC 9494 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TellStale {
    /// As they are: the peers know them.
    Marked,
    /// To iBGP peers that do not know them: LOCAL_PREF 0, NO_EXPORT (RFC 9494 §4.6).
    Depreferenced,
    Not,
}

/// Peers with equal policies get equal octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub ebgp: bool,
    /// The peers are reflection clients, in this cluster.
    pub cluster: Option<Ipv4Addr>,
    pub local_as: u32,
    pub as4: bool,
    pub max_message: usize,
    /// With add-path, how many paths of a prefix at most.
    pub add_paths: Option<u32>,
    /// Our address in the family of the routes, if we have one there, or with `extended_next_hop`
    /// an IPv6 one; with our link-local address where the peer is on the link.
    pub own_address: Option<NextHop>,
    /// The peers take IPv6 next hops of IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    pub next_hop: NextHopMode,
    /// The network that we share with the peers, where next hops in it are kept.
    pub network: Option<IpNet>,
    /// What we are to the peers (RFC 9234).
    pub role: Option<Role>,
    pub tell_stale: TellStale,
    pub filter: Filter,
    /// Where the filter asks for them.
    pub interfaces: Option<Arc<Interfaces>>,
    /// For monitoring: all that is chosen, as it stands in the Loc-RIB.
    pub loc_rib: bool,
}

impl Policy {
    /// Of who watches the Loc-RIB (RFC 9069).
    pub fn loc_rib() -> Self {
        Policy {
            ebgp: false,
            cluster: None,
            local_as: 0,
            as4: true,
            max_message: MAX_MESSAGE,
            add_paths: None,
            own_address: None,
            extended_next_hop: true,
            next_hop: NextHopMode::Keep,
            network: None,
            role: None,
            tell_stale: TellStale::Marked,
            filter: Filter::accept_all(),
            interfaces: None,
            loc_rib: true,
        }
    }

    /// The greatest message for attributes of so many octets. What was chosen is told however
    /// long it is.
    pub fn limit(&self, attributes: usize) -> usize {
        if self.loc_rib && attributes > MAX_MESSAGE - 256 {
            return MAX_EXTENDED;
        }
        self.max_message
    }

    /// Whether routes of this origin may go to these peers at all (RFC 4271 §9.2, RFC 4456 §6).
    pub fn admits_origin(&self, origin: &Origin) -> bool {
        let reflected = origin.ibgp && !self.ebgp;
        !reflected || origin.cluster.is_some() || self.cluster.is_some() || self.loc_rib
    }

    /// The filter, to be put to work.
    pub fn judge(&self) -> Judge<'_> {
        Judge::new(&self.filter, self.ebgp, self.interfaces.as_deref())
    }

    /// Whether communities (RFC 1997) and ONLY_TO_CUSTOMER (RFC 9234 §5) let the route through.
    pub fn admits_communities(&self, record: &Record) -> bool {
        let up = record.only_to_customer && self.role.is_some_and(Role::withholds);
        let far = match record.scope {
            Scope::Anywhere => true,
            Scope::OwnAs => !self.ebgp,
            Scope::Nobody => false,
        };
        far && !up || self.loc_rib
    }

    /// Whether the peers may be told the route if it is long-lived stale (RFC 9494 §4.3).
    #[inline]
    pub fn admits_stale(&self, record: &Record, origin: &Origin) -> bool {
        !origin.is_long_lived_stale(record) || self.tell_stale != TellStale::Not
    }

    /// The next hop to tell; `None` when it would have to be ours and we have none. A rule may
    /// set another one, of its own family.
    pub fn next_hop(
        &self,
        hop: NextHop,
        origin: &Origin,
        family: Family,
        operations: &[Operation],
    ) -> Option<NextHop> {
        if self.loc_rib {
            let unset = hop.address.is_unspecified() && family == Family::Ipv6;
            return Some(if unset {
                NextHop {
                    address: Ipv6Addr::UNSPECIFIED.into(),
                    link_local: None,
                }
            } else {
                hop
            });
        }
        if let Some(address) = filter::next_hop(operations, family == Family::Ipv4) {
            return Some(NextHop {
                address,
                link_local: None,
            });
        }
        // A link-local address means nothing beyond the link that it came from (RFC 2545 §3).
        let unset = match hop.address {
            IpAddr::V4(address) => address.is_unspecified(),
            IpAddr::V6(address) => address.is_unspecified() || address.is_unicast_link_local(),
        };
        let keep = match self.next_hop {
            NextHopMode::Auto => !self.ebgp || origin.local,
            NextHopMode::SelfAddress => false,
            NextHopMode::Keep => true,
            NextHopMode::ThirdParty => {
                !self.ebgp || origin.local || self.network.is_some_and(|n| n.contains(&hop.address))
            }
        };
        if keep && !unset {
            let fits = family == Family::Ipv6 || hop.address.is_ipv4() || self.extended_next_hop;
            fits.then_some(NextHop {
                address: hop.address,
                link_local: None,
            })
        } else {
            self.own_address
        }
    }

    /// Whether the peer whose own address this next hop is gets ours in its place. What a rule has
    /// set stands.
    pub fn spares(&self, hop: NextHop, family: Family, operations: &[Operation]) -> bool {
        self.network
            .is_some_and(|network| network.contains(&hop.address))
            && filter::next_hop(operations, family == Family::Ipv4).is_none()
    }
}

/// The attributes of one announcement, in two parts: NEXT_HOP goes between them.
#[derive(Default)]
pub(crate) struct Attributes {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
}

impl Attributes {
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Makes them from a canonical block, as a rule has changed it.
    pub fn write(
        &mut self,
        policy: &Policy,
        block: &[u8],
        origin: &Origin,
        operations: &[Operation],
    ) {
        let stale = origin.long_lived && attribute::has_community(block, LLGR_STALE);
        if operations.is_empty() && !stale {
            return self.put(policy, block, origin, false);
        }
        let mut changed = filter::apply(operations, block);
        if stale {
            // No rule takes the mark away (RFC 9494 §4.3).
            let mark = [Operation::AddCommunity(Community::Standard(LLGR_STALE))];
            changed = filter::apply(&mark, &changed);
            if policy.tell_stale == TellStale::Depreferenced {
                let least = [
                    Operation::AddCommunity(Community::Standard(NO_EXPORT)),
                    Operation::SetLocalPref(0),
                ];
                changed = filter::apply(&least, &changed);
            }
        }
        self.put(policy, &changed, origin, filter::sets_med(operations));
    }

    /// `own_med`: MULTI_EXIT_DISC is ours and goes to eBGP peers too (RFC 4271 §5.1.4).
    fn put(&mut self, policy: &Policy, block: &[u8], origin: &Origin, own_med: bool) {
        self.head.clear();
        self.tail.clear();
        if policy.loc_rib {
            for a in attribute::each(block) {
                let first = matches!(a.kind, kind::ORIGIN | kind::AS_PATH);
                let out = if first {
                    &mut self.head
                } else {
                    &mut self.tail
                };
                out.extend_from_slice(a.whole);
            }
            return;
        }
        let reflected = origin.ibgp && !policy.ebgp;
        let mut writer = Writer {
            policy,
            origin,
            reflected,
            out: &mut self.tail,
            as4_path: None,
        };
        let mut local_pref = policy.ebgp;
        let mut originator = !reflected;
        let mut cluster = !reflected;
        let mut only_to_customer = !policy.role.is_some_and(Role::marks);
        for a in attribute::each(block) {
            // What must be added goes in where its type says.
            if !local_pref && a.kind >= kind::LOCAL_PREF {
                local_pref = true;
                if a.kind != kind::LOCAL_PREF {
                    writer.local_pref();
                }
            }
            if !originator && a.kind >= kind::ORIGINATOR_ID {
                originator = true;
                if a.kind != kind::ORIGINATOR_ID {
                    writer.originator();
                }
            }
            if !cluster && a.kind >= kind::CLUSTER_LIST {
                cluster = true;
                let list = if a.kind == kind::CLUSTER_LIST {
                    a.value
                } else {
                    &[]
                };
                writer.cluster_list(list);
            }
            if !only_to_customer && a.kind >= kind::ONLY_TO_CUSTOMER {
                only_to_customer = true;
                if a.kind != kind::ONLY_TO_CUSTOMER {
                    writer.only_to_customer();
                }
            }
            match a.kind {
                kind::ORIGIN => self.head.extend_from_slice(a.whole),
                kind::AS_PATH => writer.as_path(a.value, &mut self.head),
                kind::MED if policy.ebgp && !origin.local && !own_med => {}
                kind::LOCAL_PREF | kind::ORIGINATOR_ID | kind::CLUSTER_LIST if policy.ebgp => {}
                kind::CLUSTER_LIST if reflected => {}
                kind::AGGREGATOR if !policy.as4 => writer.old_aggregator(a.flags, a.value),
                _ => writer.out.extend_from_slice(a.whole),
            }
        }
        if !local_pref {
            writer.local_pref();
        }
        if !originator {
            writer.originator();
        }
        if !cluster {
            writer.cluster_list(&[]);
        }
        if !only_to_customer {
            writer.only_to_customer();
        }
        if let Some(path) = writer.as4_path {
            put(
                writer.out,
                flag::OPTIONAL | flag::TRANSITIVE,
                kind::AS4_PATH,
                &path,
            );
        }
    }
}

struct Writer<'a> {
    policy: &'a Policy,
    origin: &'a Origin,
    reflected: bool,
    out: &'a mut Vec<u8>,
    as4_path: Option<Vec<u8>>,
}

impl Writer<'_> {
    fn local_pref(&mut self) {
        let value = DEFAULT_LOCAL_PREF.to_be_bytes();
        put(self.out, flag::TRANSITIVE, kind::LOCAL_PREF, &value);
    }

    fn originator(&mut self) {
        let id = self.origin.router_id.octets();
        put(self.out, flag::OPTIONAL, kind::ORIGINATOR_ID, &id);
    }

    fn only_to_customer(&mut self) {
        let flags = flag::OPTIONAL | flag::TRANSITIVE;
        let own = self.policy.local_as.to_be_bytes();
        put(self.out, flags, kind::ONLY_TO_CUSTOMER, &own);
    }

    fn cluster_list(&mut self, list: &[u8]) {
        debug_assert!(self.reflected, "only reflection adds to the list");
        let cluster = self.origin.cluster.or(self.policy.cluster);
        let mut value = cluster.unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec();
        value.extend_from_slice(list);
        put(self.out, flag::OPTIONAL, kind::CLUSTER_LIST, &value);
    }

    fn as_path(&mut self, path: &[u8], head: &mut Vec<u8>) {
        let own;
        let path = if self.policy.ebgp {
            own = filter::prepend(path, self.policy.local_as);
            &own[..]
        } else {
            path
        };
        if self.policy.as4 {
            put(head, flag::TRANSITIVE, kind::AS_PATH, path);
            return;
        }
        let (old, lossy) = narrow(path);
        put(head, flag::TRANSITIVE, kind::AS_PATH, &old);
        if lossy {
            self.as4_path = Some(path.to_vec());
        }
    }

    /// AGGREGATOR for a peer with two-octet AS numbers (RFC 6793 §4.2.2).
    fn old_aggregator(&mut self, flags: u8, value: &[u8]) {
        let (asn, id) = value.split_at(4);
        let number = u32::from_be_bytes([asn[0], asn[1], asn[2], asn[3]]);
        let old = u16::try_from(number).unwrap_or(AS_TRANS);
        put(
            self.out,
            flags,
            kind::AGGREGATOR,
            &[&old.to_be_bytes(), id].concat(),
        );
        if u32::from(old) != number {
            put(self.out, flags, kind::AS4_AGGREGATOR, value);
        }
    }
}

/// The path with two-octet numbers, and whether any did not fit.
fn narrow(path: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(path.len());
    let mut lossy = false;
    for (kind, numbers) in attribute::segments(path) {
        out.extend_from_slice(&[kind, (numbers.len() / 4) as u8]);
        for number in attribute::numbers(numbers) {
            let old = u16::try_from(number).unwrap_or(AS_TRANS);
            lossy |= u32::from(old) != number;
            out.extend_from_slice(&old.to_be_bytes());
        }
    }
    (out, lossy)
}

/// Appends NEXT_HOP, or for IPv6 the head of MP_REACH_NLRI up to its prefixes.
pub(crate) fn put_next_hop(out: &mut Vec<u8>, family: Family, hop: NextHop, nlri: usize) {
    let octets = match hop.address {
        IpAddr::V4(address) if family == Family::Ipv4 => {
            put(out, flag::TRANSITIVE, kind::NEXT_HOP, &address.octets());
            return;
        }
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
    };
    let size = if hop.link_local.is_some() { 32 } else { 16 };
    let length = u16::try_from(5 + size + nlri).expect("messages fit two octets");
    out.extend_from_slice(&[flag::OPTIONAL | flag::EXTENDED, kind::MP_REACH]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crate::wire::open::afi(family).to_be_bytes());
    out.extend_from_slice(&[1, size as u8]);
    out.extend_from_slice(&octets);
    if let Some(link_local) = hop.link_local {
        out.extend_from_slice(&link_local.octets());
    }
    out.push(0);
}

#[cfg(test)]
mod tests;
