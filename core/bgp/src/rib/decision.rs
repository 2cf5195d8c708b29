//! The decision process (RFC 4271 §9.1.2.2, RFC 4456 §9), with the name of the step at which
//! each path lost.

use crate::wire::attribute::Record;
use std::net::{IpAddr, Ipv4Addr};

/// What the decision needs to know of the peer that a path came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// We originate the path ourselves.
    pub local: bool,
    pub ibgp: bool,
    /// It came from a reflection client, in this cluster.
    pub cluster: Option<Ipv4Addr>,
    pub router_id: Ipv4Addr,
    pub address: IpAddr,
    /// We have told it that we do long-lived graceful restart (RFC 9494 §4.3).
    pub long_lived: bool,
    /// The index of the interface where `address` is link-local, else 0.
    pub scope: u32,
}

impl Origin {
    pub const LOCAL: Origin = Origin {
        local: true,
        ibgp: false,
        cluster: None,
        router_id: Ipv4Addr::UNSPECIFIED,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        long_lived: false,
        scope: 0,
    };

    /// Whether a path of this peer's is long-lived stale: LLGR_STALE means nothing from others.
    #[inline]
    pub fn is_long_lived_stale(&self, record: &Record) -> bool {
        record.llgr_stale && self.long_lived
    }
}

/// One candidate.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub record: &'a Record,
    pub origin: &'a Origin,
    /// Path identifier that the peer gave it; 0 without add-path.
    pub id: u32,
    /// Interior cost of the next hop; 0 where nothing is known of it.
    pub cost: u32,
}

/// The step at which a path lost; in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// RFC 9494 §4.4: least preferred, whatever else it is.
    LongLivedStale,
    LocallyOriginated,
    LocalPref,
    AsPathLength,
    Origin,
    MultiExitDisc,
    EbgpOverIbgp,
    NextHopCost,
    // From here on the paths are as good as the best one: multipath uses them too.
    RouterId,
    ClusterListLength,
    PeerAddress,
    /// Between paths of one peer (RFC 7911), which RFC 4271 does not know.
    PathId,
}

impl Reason {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::LongLivedStale => "long-lived-stale",
            Reason::LocallyOriginated => "locally-originated",
            Reason::LocalPref => "local-pref",
            Reason::AsPathLength => "as-path-length",
            Reason::Origin => "origin",
            Reason::MultiExitDisc => "multi-exit-disc",
            Reason::EbgpOverIbgp => "ebgp-over-ibgp",
            Reason::NextHopCost => "next-hop-cost",
            Reason::RouterId => "router-id",
            Reason::ClusterListLength => "cluster-list-length",
            Reason::PeerAddress => "peer-address",
            Reason::PathId => "path-id",
        }
    }

    /// Lost only to the tie-breaks, so as good for forwarding.
    pub fn is_tie_break(self) -> bool {
        self >= Reason::RouterId
    }
}

/// Smaller is better in each step.
fn rank(step: Reason, c: &Candidate<'_>) -> u64 {
    let router_id = c.record.originator.unwrap_or(c.origin.router_id);
    match step {
        Reason::LongLivedStale => u64::from(c.origin.is_long_lived_stale(c.record)),
        Reason::LocallyOriginated => u64::from(!c.origin.local),
        Reason::LocalPref => u64::from(u32::MAX - c.record.local_pref),
        Reason::AsPathLength => u64::from(c.record.path_length),
        Reason::Origin => u64::from(c.record.origin),
        Reason::MultiExitDisc => u64::from(c.record.med),
        Reason::EbgpOverIbgp => u64::from(c.origin.ibgp),
        Reason::NextHopCost => u64::from(c.cost),
        Reason::RouterId => u64::from(u32::from(router_id)),
        Reason::ClusterListLength => u64::from(c.record.cluster_length),
        Reason::PeerAddress => 0,
        Reason::PathId => u64::from(c.id),
    }
}

const STEPS: [Reason; 12] = [
    Reason::LongLivedStale,
    Reason::LocallyOriginated,
    Reason::LocalPref,
    Reason::AsPathLength,
    Reason::Origin,
    Reason::MultiExitDisc,
    Reason::EbgpOverIbgp,
    Reason::NextHopCost,
    Reason::RouterId,
    Reason::ClusterListLength,
    Reason::PeerAddress,
    Reason::PathId,
];

/// Whether `a` beats `b` with no other candidates there.
///
/// With more than two this is no order: MED counts only between paths of one neighbour AS, so
/// `a` over `b` and `b` over `c` do not give `a` over `c`. [`decide`] is for that.
fn beats(a: &Candidate<'_>, b: &Candidate<'_>) -> (bool, Reason) {
    for step in STEPS {
        if step == Reason::MultiExitDisc && a.record.neighbor_as != b.record.neighbor_as {
            continue;
        }
        if step == Reason::PeerAddress {
            if a.origin.address != b.origin.address {
                return (a.origin.address < b.origin.address, step);
            }
            continue;
        }
        let (x, y) = (rank(step, a), rank(step, b));
        if x != y {
            return (x < y, step);
        }
    }
    (false, Reason::PathId)
}

/// For each candidate why it lost; `None` for the best. Empty for none.
pub(crate) fn decide(candidates: &[Candidate<'_>]) -> Vec<Option<Reason>> {
    let mut lost: Vec<Option<Reason>> = vec![None; candidates.len()];
    // The first step is about what is hardly ever there.
    let is_stale = |c: &Candidate<'_>| c.origin.is_long_lived_stale(c.record);
    let skipped = usize::from(!candidates.iter().any(is_stale));
    let mut alive: Vec<usize> = (0..lost.len()).collect();
    for step in &STEPS[skipped..] {
        let step = *step;
        if alive.len() < 2 {
            break;
        }
        for i in &alive {
            let mine = &candidates[*i];
            let loses = alive.iter().any(|j| {
                let other = &candidates[*j];
                match step {
                    Reason::MultiExitDisc => {
                        other.record.neighbor_as == mine.record.neighbor_as
                            && other.record.med < mine.record.med
                    }
                    Reason::PeerAddress => other.origin.address < mine.origin.address,
                    Reason::LongLivedStale
                    | Reason::LocallyOriginated
                    | Reason::LocalPref
                    | Reason::AsPathLength
                    | Reason::Origin
                    | Reason::EbgpOverIbgp
                    | Reason::NextHopCost
                    | Reason::RouterId
                    | Reason::ClusterListLength
                    | Reason::PathId => rank(step, other) < rank(step, mine),
                }
            });
            if loses {
                lost[*i] = Some(step);
            }
        }
        alive.retain(|i| lost[*i].is_none());
    }
    // Peers differ in address, their paths in identifier, so one is left; were two equal, the first would be taken.
    let mut found = false;
    for reason in &mut lost {
        if reason.is_none() {
            if found {
                *reason = Some(Reason::PathId);
            }
            found = true;
        }
    }
    lost
}

/// Which candidate is the best; there must be one.
pub(crate) fn best(candidates: &[Candidate<'_>]) -> usize {
    match candidates {
        [_] => 0,
        [a, b] => usize::from(!beats(a, b).0 && beats(b, a).0),
        _ => decide(candidates)
            .iter()
            .position(Option::is_none)
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            local_pref: 100,
            path_length: 2,
            neighbor_as: 65001,
            ..Record::default()
        }
    }

    fn origin(last: u8) -> Origin {
        Origin {
            local: false,
            ibgp: false,
            cluster: None,
            router_id: Ipv4Addr::new(10, 0, 0, last),
            address: IpAddr::from([192, 0, 2, last]),
            long_lived: false,
            scope: 0,
        }
    }

    #[track_caller]
    fn check(winner: (Record, Origin), loser: (Record, Origin), expected: &str) {
        let a = Candidate {
            record: &winner.0,
            origin: &winner.1,
            id: 7,
            cost: 0,
        };
        let b = Candidate {
            record: &loser.0,
            origin: &loser.1,
            id: 9,
            cost: 0,
        };
        for list in [[a, b], [b, a]] {
            let reasons = decide(&list);
            let at = reasons.iter().position(Option::is_none).expect("one wins");
            assert_eq!(at, best(&list));
            assert!(std::ptr::eq(list[at].record, &winner.0), "{expected}");
            assert_eq!(reasons[1 - at].expect("one loses").name(), expected);
        }
    }

    #[test]
    fn each_step() {
        let (r, a, b) = (record(), origin(1), origin(2));
        check(
            (r, Origin::LOCAL),
            (
                Record {
                    local_pref: 900,
                    ..r
                },
                b,
            ),
            "locally-originated",
        );
        check(
            (
                Record {
                    local_pref: 200,
                    path_length: 9,
                    ..r
                },
                b,
            ),
            (r, a),
            "local-pref",
        );
        check(
            (
                Record {
                    path_length: 1,
                    origin: 2,
                    ..r
                },
                b,
            ),
            (r, a),
            "as-path-length",
        );
        check(
            (
                Record {
                    origin: 0,
                    med: 9,
                    ..r
                },
                b,
            ),
            (Record { origin: 2, ..r }, a),
            "origin",
        );
        check(
            (Record { med: 1, ..r }, Origin { ibgp: true, ..b }),
            (Record { med: 2, ..r }, a),
            "multi-exit-disc",
        );
    }

    #[test]
    fn later_steps() {
        let (r, a, b) = (record(), origin(1), origin(2));
        let ibgp = Origin { ibgp: true, ..a };
        // Of different neighbour ASes MED says nothing: the next step decides.
        let other = Record {
            med: 1,
            neighbor_as: 65002,
            ..r
        };
        check((Record { med: 2, ..r }, b), (other, ibgp), "ebgp-over-ibgp");
        check((r, a), (r, b), "router-id");
        let originator = Record {
            originator: Some(Ipv4Addr::new(1, 1, 1, 1)),
            ..r
        };
        check((originator, b), (r, a), "router-id");
        let same = Origin {
            router_id: a.router_id,
            ..b
        };
        check(
            (r, same),
            (
                Record {
                    cluster_length: 1,
                    ..r
                },
                a,
            ),
            "cluster-list-length",
        );
        check((r, a), (r, same), "peer-address");
        check((r, a), (r, a), "path-id");
    }

    #[test]
    fn long_lived_stale_is_least_preferred() {
        let (r, a, b) = (record(), origin(1), origin(2));
        let old = Record {
            llgr_stale: true,
            local_pref: 900,
            ..r
        };
        let aware = |origin| Origin {
            long_lived: true,
            ..origin
        };
        check((r, aware(b)), (old, aware(a)), "long-lived-stale");
        // Among themselves the usual steps count.
        let worse = Record {
            local_pref: 5,
            ..old
        };
        check((old, aware(b)), (worse, aware(a)), "local-pref");
        // The control: from a peer to which we have not said so, it is a community like others.
        check((old, b), (r, a), "local-pref");
        // Of three, where the best of the rest would win.
        let list = [(old, aware(a)), (worse, aware(b)), (r, aware(origin(3)))];
        let list = list.each_ref().map(|(record, origin)| Candidate {
            record,
            origin,
            id: 0,
            cost: 0,
        });
        assert_eq!(best(&list), 2);
    }

    #[test]
    fn med_is_no_order() {
        // The classic: with a and b of one AS and c of another, b's lower MED removes a first.
        let a = (
            Record {
                med: 10,
                ..record()
            },
            origin(1),
        );
        let b = (Record { med: 5, ..record() }, origin(3));
        let c = (
            Record {
                med: 7,
                neighbor_as: 65002,
                ..record()
            },
            origin(2),
        );
        let list = [&a, &b, &c].map(|(record, origin)| Candidate {
            record,
            origin,
            id: 0,
            cost: 0,
        });
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let turned = order.map(|i| list[i]);
            let at = best(&turned);
            assert!(std::ptr::eq(turned[at].record, &c.0), "{order:?}");
        }
    }

    #[test]
    fn tie_breaks_are_multipath() {
        assert!(Reason::RouterId.is_tie_break() && Reason::PeerAddress.is_tie_break());
        assert!(!Reason::EbgpOverIbgp.is_tie_break());
    }
}
