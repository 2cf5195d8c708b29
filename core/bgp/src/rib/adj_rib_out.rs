//! Update groups: what peers were told is a cursor into the log of changed nets.
//!
//! ```text
//!   join ──> dump of the table in slices ──> log from the cursor on ──> all told
//!                    │ a member's queue is long: it leaves for a subgroup of its own,
//!                    │ which waits; later it reads the log from where it was
//!                    └─ subgroups that have read everything become one again
//! ```

use super::add_path::Announced;
use super::difference::Difference;
use super::encode::{Encoder, Made, end_of_rib};
use super::export::Policy;
use super::log::Before;
use super::outbox::{Encoded, Outbox};
use super::table::{Sight, Table};
use crate::wire::nlri::Key;
use crate::wire::refresh::{self, Step};
use std::sync::Arc;

/// Changed nets read in one go for one subgroup: more than one read of the driver's can bring, so
/// that nothing piles up between reading and telling.
const SLICE: usize = 16384;
/// Octets in a member's queue above which it gets nothing more for now.
const LONG_QUEUE: usize = 4 << 20;

/// What a member gets when its dump is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joining {
    pub peer: u16,
    /// End-of-RIB is wanted.
    pub end_of_rib: bool,
    /// The dump answers a ROUTE-REFRESH and is to be marked (RFC 7313).
    pub marked: bool,
}

struct Dump {
    next: u32,
    joining: Vec<Joining>,
    told: Told,
}

/// What the members of a dump were told before it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing.
    Nothing,
    /// All this policy let through: what differs now is told, and nothing else.
    Under(Policy),
    /// All that is told now; they want it again (RFC 2918).
    Same,
    /// Some of what these or other policies let through.
    Unknown,
}

/// Where a peer was that left.
struct Left {
    policy: Policy,
    cursor: u64,
    unsure_until: u64,
    /// Its dump was under way.
    dump: Option<Joining>,
    /// Its End-of-RIB was held back.
    held: bool,
    announced: Option<Announced>,
}

struct Subgroup {
    /// Sorted.
    members: Vec<u16>,
    cursor: u64,
    /// Entries before this were written for readers under another policy.
    unsure_until: u64,
    dump: Option<Dump>,
    /// With add-path, which paths were told.
    announced: Option<Announced>,
}

struct Group {
    policy: Policy,
    subgroups: Vec<Subgroup>,
}

/// All groups of one family.
pub(crate) struct AdjRibOut {
    groups: Vec<Group>,
    /// Members whose End-of-RIB is due but held back.
    held: Vec<u16>,
    /// End-of-RIB is held back until we have everything ourselves (RFC 4724 §4.1).
    pub hold_end_of_rib: bool,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// There is more to do at once.
    pub more: bool,
    /// UPDATEs handed to members.
    pub updates: u64,
}

impl AdjRibOut {
    pub fn new() -> Self {
        AdjRibOut {
            groups: Vec::new(),
            held: Vec::new(),
            hold_end_of_rib: false,
        }
    }

    pub fn members(&self) -> usize {
        self.groups
            .iter()
            .flat_map(|g| &g.subgroups)
            .map(|s| s.members.len())
            .sum()
    }

    /// The policies and who is under each.
    pub fn groups(&self) -> impl Iterator<Item = (&Policy, Vec<u16>)> {
        let members = |group: &Group| {
            let subgroups = group.subgroups.iter();
            subgroups.flat_map(|s| s.members.iter().copied()).collect()
        };
        self.groups
            .iter()
            .map(move |group| (&group.policy, members(group)))
    }

    /// Lets a peer in: it gets the whole table, then all changes.
    pub fn join(&mut self, policy: Policy, joining: Joining, head: u64) {
        let announced = policy.add_paths.map(Announced::new);
        self.enter(policy, joining, Told::Nothing, (head, 0), announced);
    }

    /// Tells a member everything again, or, under a new policy, what differs by it.
    pub fn rejoin(&mut self, policy: Option<Policy>, mut joining: Joining, head: u64) {
        let Some(mut left) = self.take_out(joining.peer, true) else {
            return;
        };
        joining.end_of_rib |= left.held || left.dump.is_some_and(|dump| dump.end_of_rib);
        joining.marked |= left.dump.is_some_and(|dump| dump.marked);
        let (policy, told) = match policy {
            None if left.dump.is_none() => (left.policy, Told::Same),
            None => (left.policy, Told::Unknown),
            Some(policy) if left.dump.is_some() || joining.marked => (policy, Told::Unknown),
            Some(policy) => (policy, Told::Under(left.policy)),
        };
        let unsure_until = match &told {
            Told::Same => left.unsure_until,
            Told::Nothing | Told::Under(_) | Told::Unknown => head,
        };
        if let (Some(announced), Some(limit)) = (&mut left.announced, policy.add_paths) {
            if !matches!(told, Told::Under(_)) {
                announced.forget_contents();
            }
            announced.set_limit(limit);
        }
        let place = (left.cursor, unsure_until);
        self.enter(policy, joining, told, place, left.announced);
    }

    fn enter(
        &mut self,
        policy: Policy,
        joining: Joining,
        told: Told,
        place: (u64, u64),
        announced: Option<Announced>,
    ) {
        let (cursor, unsure_until) = place;
        let group = match self.groups.iter().position(|group| group.policy == policy) {
            Some(at) => &mut self.groups[at],
            None => {
                self.groups.push(Group {
                    policy,
                    subgroups: Vec::new(),
                });
                self.groups.last_mut().expect("just pushed")
            }
        };
        // Those that join before the first slice share one dump, if what they were told is one.
        let alike = announced.is_none() || told == Told::Nothing;
        let fresh = group.subgroups.iter_mut().find(|subgroup| {
            let same = |dump: &Dump| {
                dump.next == 0
                    && dump.told == told
                    && dump.joining.iter().all(|j| j.marked == joining.marked)
            };
            alike
                && (subgroup.cursor, subgroup.unsure_until) == (cursor, unsure_until)
                && subgroup.dump.as_ref().is_some_and(same)
        });
        match fresh {
            Some(subgroup) => {
                let at = subgroup
                    .members
                    .partition_point(|member| *member < joining.peer);
                subgroup.members.insert(at, joining.peer);
                if let Some(dump) = &mut subgroup.dump {
                    dump.joining.push(joining);
                }
            }
            None => group.subgroups.push(Subgroup {
                members: vec![joining.peer],
                cursor,
                unsure_until,
                dump: Some(Dump {
                    next: 0,
                    joining: vec![joining],
                    told,
                }),
                announced,
            }),
        }
    }

    /// Takes a peer out.
    pub fn leave(&mut self, peer: u16) {
        self.take_out(peer, false);
    }

    fn take_out(&mut self, peer: u16, comes_back: bool) -> Option<Left> {
        let held = self.held.contains(&peer);
        self.held.retain(|held| *held != peer);
        let mut found = None;
        for group in &mut self.groups {
            for subgroup in &mut group.subgroups {
                if let Ok(at) = subgroup.members.binary_search(&peer) {
                    subgroup.members.remove(at);
                    let mut left = Left {
                        policy: group.policy.clone(),
                        cursor: subgroup.cursor,
                        unsure_until: subgroup.unsure_until,
                        dump: None,
                        held,
                        announced: None,
                    };
                    if comes_back {
                        left.announced.clone_from(&subgroup.announced);
                    }
                    if let Some(dump) = &mut subgroup.dump {
                        left.dump = dump.joining.iter().find(|j| j.peer == peer).copied();
                        dump.joining.retain(|joining| joining.peer != peer);
                    }
                    found = Some(left);
                }
            }
            group
                .subgroups
                .retain(|subgroup| !subgroup.members.is_empty());
        }
        self.groups.retain(|group| !group.subgroups.is_empty());
        found
    }

    /// The cursor that is furthest behind.
    pub fn slowest(&self) -> Option<u64> {
        self.groups
            .iter()
            .flat_map(|g| &g.subgroups)
            .map(|s| s.cursor)
            .min()
    }

    /// All places in the log that are remembered, to be renumbered.
    pub fn places(&mut self) -> impl Iterator<Item = &mut u64> {
        let subgroups = self.groups.iter_mut().flat_map(|g| &mut g.subgroups);
        subgroups.flat_map(|s| [&mut s.cursor, &mut s.unsure_until])
    }

    /// True when some member has not been told everything and could be.
    pub fn is_behind(&self, head: u64, outboxes: &[Outbox]) -> bool {
        self.groups
            .iter()
            .flat_map(|g| &g.subgroups)
            .any(|subgroup| {
                (subgroup.cursor < head || subgroup.dump.is_some())
                    && !subgroup.is_blocked(outboxes)
            })
    }

    /// True when a dump is under way: it does not wait for more changes to come together.
    pub fn is_dumping(&self) -> bool {
        self.groups
            .iter()
            .flat_map(|g| &g.subgroups)
            .any(|subgroup| subgroup.dump.is_some())
    }

    /// Sends the End-of-RIBs that were held back.
    pub fn release_end_of_rib<K: Key>(&mut self, outboxes: &mut [Outbox]) {
        self.hold_end_of_rib = false;
        let marker = Arc::new(Encoded::new(end_of_rib(K::FAMILY), 1));
        for peer in std::mem::take(&mut self.held) {
            outboxes[usize::from(peer)].push(peer, &marker);
        }
    }

    /// One slice of work for each subgroup.
    pub fn step<K: Key>(
        &mut self,
        table: &Table<K>,
        sight: Sight<'_>,
        outboxes: &mut [Outbox],
    ) -> Progress {
        let head = table.log.head();
        let mut progress = Progress::default();
        for group in &mut self.groups {
            group.part_slow(outboxes);
            for subgroup in &mut group.subgroups {
                if subgroup.is_blocked(outboxes) {
                    continue;
                }
                if subgroup.dump.is_some() {
                    let hold = self.hold_end_of_rib.then_some(&mut self.held);
                    subgroup.dump(&group.policy, table, sight, outboxes, hold, &mut progress);
                } else if subgroup.cursor < head {
                    subgroup.follow(&group.policy, table, sight, outboxes, &mut progress);
                }
                let behind = subgroup.cursor < head || subgroup.dump.is_some();
                progress.more |= behind && !subgroup.is_blocked(outboxes);
            }
            group.join_caught_up(head);
        }
        progress
    }
}

impl Group {
    /// Members with long queues get a subgroup of their own, unless all are slow alike.
    fn part_slow(&mut self, outboxes: &[Outbox]) {
        let mut parted = Vec::new();
        for subgroup in &mut self.subgroups {
            let is_slow = |peer: &u16| outboxes[usize::from(*peer)].bytes() > LONG_QUEUE;
            let slow: Vec<u16> = subgroup.members.iter().copied().filter(is_slow).collect();
            if slow.is_empty() || slow.len() == subgroup.members.len() {
                continue;
            }
            subgroup.members.retain(|peer| !slow.contains(peer));
            let dump = subgroup.dump.as_mut().map(|dump| {
                let (theirs, ours) = dump.joining.iter().partition(|j| slow.contains(&j.peer));
                dump.joining = ours;
                Dump {
                    next: dump.next,
                    joining: theirs,
                    told: dump.told.clone(),
                }
            });
            parted.push(Subgroup {
                members: slow,
                cursor: subgroup.cursor,
                unsure_until: subgroup.unsure_until,
                dump,
                announced: subgroup.announced.clone(),
            });
        }
        self.subgroups.extend(parted);
    }

    /// Subgroups that have read everything become one.
    fn join_caught_up(&mut self, head: u64) {
        let caught_up = |s: &Subgroup| s.cursor == head && s.dump.is_none();
        if self.subgroups.iter().filter(|s| caught_up(s)).count() < 2 {
            return;
        }
        let (done, mut rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.subgroups)
            .into_iter()
            .partition(caught_up);
        let mut members = Vec::new();
        // Having read everything, they were all told the same.
        let mut announced = None;
        for subgroup in done {
            members.extend(subgroup.members);
            announced = subgroup.announced;
        }
        members.sort_unstable();
        rest.push(Subgroup {
            members,
            cursor: head,
            unsure_until: 0,
            dump: None,
            announced,
        });
        self.subgroups = rest;
    }
}

impl Subgroup {
    /// Nobody in it can be told more for now. Where only some cannot, they are parted from the others in the next step.
    fn is_blocked(&self, outboxes: &[Outbox]) -> bool {
        self.members
            .iter()
            .all(|peer| outboxes[usize::from(*peer)].bytes() > LONG_QUEUE)
    }

    fn deliver(
        &self,
        made: Made,
        taps: &[(u16, u16)],
        outboxes: &mut [Outbox],
        progress: &mut Progress,
    ) {
        for encoded in &made.shared {
            progress.updates += u64::from(encoded.updates) * self.members.len() as u64;
            for peer in &self.members {
                outboxes[usize::from(*peer)].push(*peer, encoded);
            }
        }
        for (peer, encoded) in &made.private {
            if self.members.binary_search(peer).is_ok() {
                progress.updates += u64::from(encoded.updates);
                outboxes[usize::from(*peer)].push(*peer, encoded);
            }
            for (_, tap) in taps.iter().filter(|(like, _)| like == peer) {
                outboxes[usize::from(*tap)].push(*tap, encoded);
            }
        }
    }

    /// The taps among the members: as which peer each is told, and its number. With any, also all
    /// whose own routes are to be left out, sorted; without, those are the members.
    fn taps(&self, outboxes: &[Outbox]) -> (Vec<(u16, u16)>, Option<Vec<u16>>) {
        let like = |member: &u16| Some((outboxes[usize::from(*member)].like?, *member));
        let taps: Vec<(u16, u16)> = self.members.iter().filter_map(like).collect();
        if taps.is_empty() {
            return (taps, None);
        }
        let mut sources = self.members.clone();
        sources.extend(taps.iter().map(|(like, _)| *like));
        sources.sort_unstable();
        sources.dedup();
        (taps, Some(sources))
    }

    /// Reads the log on from the cursor.
    fn follow<K: Key>(
        &mut self,
        policy: &Policy,
        table: &Table<K>,
        sight: Sight<'_>,
        outboxes: &mut [Outbox],
        progress: &mut Progress,
    ) {
        let (taps, sources) = self.taps(outboxes);
        let mut encoder = Encoder::new(
            sight,
            table,
            policy,
            sources.as_deref().unwrap_or(&self.members),
        );
        let mut taken = 0;
        while taken < SLICE {
            let Some(entry) = table.log.get(self.cursor) else {
                break;
            };
            let is_live = table.is_live(self.cursor, entry.net);
            if is_live && let Some(announced) = &mut self.announced {
                encoder.add_several(entry.net, announced, None);
                taken += 1;
            } else if entry.best_changed && is_live {
                let unsure = self.cursor < self.unsure_until;
                encoder.add(
                    entry.net,
                    if unsure {
                        Before::Unknown
                    } else {
                        entry.before
                    },
                );
                taken += 1;
            }
            self.cursor += 1;
        }
        let made = encoder.finish();
        self.deliver(made, &taps, outboxes, progress);
    }

    /// Reads the next slice of the table for members that have just joined.
    fn dump<K: Key>(
        &mut self,
        policy: &Policy,
        table: &Table<K>,
        sight: Sight<'_>,
        outboxes: &mut [Outbox],
        hold: Option<&mut Vec<u16>>,
        progress: &mut Progress,
    ) {
        let (taps, sources) = self.taps(outboxes);
        let Some(dump) = &mut self.dump else { return };
        if dump.next == 0 {
            let begin = Arc::new(Encoded::new(refresh::encode(K::FAMILY, Step::Begin), 0));
            for joining in dump.joining.iter().filter(|joining| joining.marked) {
                outboxes[usize::from(joining.peer)].push(joining.peer, &begin);
            }
        }
        let mut encoder = Encoder::new(
            sight,
            table,
            policy,
            sources.as_deref().unwrap_or(&self.members),
        );
        let end = table.size().min(dump.next as usize + SLICE) as u32;
        match (&dump.told, &mut self.announced) {
            (Told::Under(old), Some(announced)) => {
                let mut difference = Difference::new(old);
                (dump.next..end)
                    .for_each(|net| encoder.add_several(net, announced, Some(&mut difference)));
            }
            (Told::Nothing | Told::Same | Told::Unknown, Some(announced)) => {
                (dump.next..end).for_each(|net| encoder.add_several(net, announced, None));
            }
            (Told::Nothing | Told::Same, None) => {
                (dump.next..end).for_each(|net| encoder.add(net, Before::Nothing));
            }
            (Told::Under(old), None) => {
                let mut difference = Difference::new(old);
                (dump.next..end).for_each(|net| encoder.change(net, &mut difference));
            }
            (Told::Unknown, None) => {
                let live = |net: &u32| table.best(*net).is_some();
                (dump.next..end)
                    .filter(live)
                    .for_each(|net| encoder.add(net, Before::Unknown));
            }
        }
        dump.next = end;
        let done = (end as usize >= table.size())
            .then(|| self.dump.take())
            .flatten();
        let made = encoder.finish();
        self.deliver(made, &taps, outboxes, progress);
        let Some(done) = done else { return };
        // Of what changed since they joined they may have been told the state before or after.
        self.unsure_until = self.unsure_until.max(table.log.head());
        let marker = Arc::new(Encoded::new(end_of_rib(K::FAMILY), 1));
        let end = Arc::new(Encoded::new(refresh::encode(K::FAMILY, Step::End), 0));
        let mut held = Vec::new();
        for joining in done.joining {
            let outbox = &mut outboxes[usize::from(joining.peer)];
            if joining.marked {
                outbox.push(joining.peer, &end);
            }
            if joining.end_of_rib && hold.is_none() {
                outbox.push(joining.peer, &marker);
            } else if joining.end_of_rib {
                held.push(joining.peer);
            }
        }
        if let Some(hold) = hold {
            hold.extend(held);
        }
    }
}
