//! Filters over many routes: what depends on attributes is worked out once for each set of them.

use super::index::{Index, hash_words};
use super::received::Said;
use super::table::{Announcement, Rejection, Shared};
use crate::filter::{self, Action, Demand, Facts, Filter, Interfaces, Session, Source};
use crate::{Family, NextHop};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// For sessions whose filters ask for no interface.
static NO_INTERFACES: Interfaces = Interfaces::none();

/// What makes two routes equal to a filter but for their prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub attributes: u32,
    pub next_hop: u32,
    pub local: bool,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reject,
    /// Let through, changed as this rule says, if one does.
    Accept(Option<u16>),
}

/// A filter at work on a batch.
pub(crate) struct Judge<'f> {
    filter: &'f Filter,
    session: Session<'f>,
    demand: Demand,
    memo: Option<Memo>,
}

/// The rules that only wait for a prefix, for each subject.
struct Memo {
    index: Index,
    subjects: Vec<(Subject, u32, u32)>,
    rules: Vec<u16>,
    /// The subject that was asked for last.
    last: usize,
}

impl<'f> Judge<'f> {
    /// `interfaces` may be absent when the filter does not ask for any.
    pub fn new(filter: &'f Filter, ebgp: bool, interfaces: Option<&'f Interfaces>) -> Self {
        Judge {
            filter,
            session: Session {
                peer_type: if ebgp {
                    filter::PeerType::External
                } else {
                    filter::PeerType::Internal
                },
                interfaces: interfaces.unwrap_or(&NO_INTERFACES),
            },
            demand: filter.demand(),
            memo: None,
        }
    }

    /// True when nothing is rejected and nothing changed.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.demand == Demand::Nothing
    }

    /// What becomes of a route.
    pub fn judge<'b>(
        &mut self,
        subject: Subject,
        facts: impl FnOnce() -> (&'b [u8], NextHop),
        prefix: impl FnOnce() -> IpNet,
    ) -> Verdict {
        let rule = match self.demand {
            Demand::Nothing => return Verdict::Accept(None),
            Demand::Prefix => {
                return match self.filter.decide(prefix(), source(subject.local)) {
                    Action::Accept => Verdict::Accept(None),
                    Action::Reject => Verdict::Reject,
                };
            }
            Demand::Attributes => self.rule(subject, facts, prefix()),
        };
        match self.filter.action(rule) {
            Action::Reject => Verdict::Reject,
            Action::Accept => {
                Verdict::Accept(rule.filter(|_| !self.filter.operations(rule).is_empty()))
            }
        }
    }

    /// The rule that decides on a route.
    pub fn rule<'b>(
        &mut self,
        subject: Subject,
        facts: impl FnOnce() -> (&'b [u8], NextHop),
        prefix: IpNet,
    ) -> Option<u16> {
        let (filter, session) = (self.filter, self.session);
        let memo = self.memo.get_or_insert_with(Memo::new);
        let candidates = memo.candidates(subject, |out| {
            let (block, next_hop) = facts();
            let route = Facts {
                block,
                next_hop: next_hop.address,
                local: subject.local,
            };
            filter.candidates(&route, &session, out);
        });
        filter.first(candidates, prefix, subject.local, &session)
    }

    /// Whether a prefix could pass, with whatever attributes.
    pub fn may_accept(&self, prefix: impl FnOnce() -> IpNet, local: bool) -> bool {
        match self.demand {
            Demand::Nothing => true,
            Demand::Prefix | Demand::Attributes => self.filter.may_accept(prefix(), source(local)),
        }
    }
}

fn source(local: bool) -> Source {
    if local { Source::Local } else { Source::Peers }
}

impl Memo {
    fn new() -> Self {
        Memo {
            index: Index::new(),
            subjects: Vec::new(),
            rules: Vec::new(),
            last: 0,
        }
    }

    fn candidates(&mut self, subject: Subject, find: impl FnOnce(&mut Vec<u16>)) -> &[u16] {
        if self.subjects.get(self.last).is_none_or(|s| s.0 != subject) {
            let both = u64::from(subject.attributes) << 32 | u64::from(subject.next_hop);
            let hash = hash_words((both, u64::from(subject.local)), 0);
            let subjects = &self.subjects;
            let known = self
                .index
                .find(hash, |at| subjects[at as usize].0 == subject);
            self.last = match known {
                Some(at) => at as usize,
                None => {
                    let start = self.rules.len() as u32;
                    find(&mut self.rules);
                    self.index.insert(hash, self.subjects.len() as u32);
                    self.subjects
                        .push((subject, start, self.rules.len() as u32));
                    self.subjects.len() - 1
                }
            };
        }
        let (_, start, end) = self.subjects[self.last];
        &self.rules[start as usize..end as usize]
    }
}

/// An import filter at work on a batch: also changes what it accepts.
pub(crate) struct Importer<'f> {
    filter: &'f Filter,
    judge: Judge<'f>,
    /// Attributes and next hop, as a rule made them of others; one use of each is held.
    made: BTreeMap<(u32, u32, u16), (u32, u32)>,
    /// There is no filter, and so no route counts (RFC 8212 §2).
    lacking: bool,
    /// How many more prefixes of IPv4 and of IPv6 may be accepted; `None`: any number.
    room: Option<[u32; 2]>,
    discarded: u32,
}

impl<'f> Importer<'f> {
    pub fn new(filter: &'f Filter, ebgp: bool, interfaces: &'f Interfaces) -> Self {
        Importer {
            filter,
            judge: Judge::new(filter, ebgp, Some(interfaces)),
            made: BTreeMap::new(),
            lacking: false,
            room: None,
            discarded: 0,
        }
    }

    /// Lets only so many more prefixes of each family through.
    pub fn with_room(mut self, room: Option<[u32; 2]>) -> Self {
        self.room = room;
        self
    }

    /// True when [`Self::limit`] must be asked.
    pub fn is_limited(&self) -> bool {
        self.room.is_some()
    }

    /// What a route is by the limit of prefixes. `said` is what the peer said and `applied` what
    /// the filter made of it; a prefix that was `accepted` before takes no room.
    pub fn limit(
        &mut self,
        said: Announcement,
        applied: (Announcement, Option<Said>),
        family: Family,
        accepted: bool,
    ) -> (Announcement, Option<Said>) {
        let Some(room) = &mut self.room else {
            return applied;
        };
        if applied.0.rejection.is_some() || accepted {
            return applied;
        }
        let room = &mut room[family as usize];
        if *room == 0 {
            self.discarded += 1;
            let rejection = Some(Rejection::MaxPrefixes);
            return (Announcement { rejection, ..said }, None);
        }
        *room -= 1;
        applied
    }

    /// Lets nothing through, if there should be a filter and is none.
    pub fn unless_lacking(mut self, lacking: bool) -> Self {
        self.lacking = lacking;
        self
    }

    /// True when nothing is rejected and nothing changed.
    pub fn is_idle(&self) -> bool {
        self.judge.is_idle() && !self.lacking && self.room.is_none()
    }

    /// What a route is by the filter, and what it was where that differs. `said` is what the peer said; its ids stay the caller's.
    pub fn apply(
        &mut self,
        said: Announcement,
        prefix: impl FnOnce() -> IpNet,
        shared: &mut Shared<'_>,
    ) -> (Announcement, Option<Said>) {
        if self.lacking {
            let rejection = Some(Rejection::NoImportPolicy);
            return (Announcement { rejection, ..said }, None);
        }
        let subject = Subject {
            attributes: said.attributes,
            next_hop: said.next_hop,
            local: false,
        };
        let facts = || {
            let block = shared.attributes.octets(said.attributes);
            (block, shared.next_hops.get(said.next_hop))
        };
        match self.judge.judge(subject, facts, prefix) {
            Verdict::Reject => {
                let rejection = Some(Rejection::ImportFilter);
                (Announcement { rejection, ..said }, None)
            }
            Verdict::Accept(None) => (said, None),
            Verdict::Accept(Some(rule)) => {
                let received = (said.attributes, said.next_hop);
                let operations = self.filter.operations(Some(rule));
                let made = self.made.entry((received.0, received.1, rule));
                let (attributes, next_hop) = *made.or_insert_with(|| {
                    let block = shared.attributes.octets(received.0);
                    let block = filter::apply(operations, block);
                    let hop = shared.next_hops.get(received.1);
                    let hop = filter::next_hop(operations, hop.address.is_ipv4()).map_or(
                        hop,
                        |address| NextHop {
                            address,
                            link_local: None,
                        },
                    );
                    (
                        shared.attributes.intern(&block),
                        shared.next_hops.intern(hop),
                    )
                });
                let changed = (attributes, next_hop) != received;
                let made = Announcement {
                    attributes,
                    next_hop,
                    ..said
                };
                (made, changed.then_some(received))
            }
        }
    }

    /// Lets go of what was made; what paths use stays. Returns how many prefixes were over the
    /// limit.
    pub fn end(self, shared: &mut Shared<'_>) -> u32 {
        if self.made.is_empty() {
            return self.discarded;
        }
        for (attributes, next_hop) in self.made.into_values() {
            shared.attributes.release(attributes);
            shared.next_hops.release(next_hop);
        }
        self.discarded
    }
}
