//! The part of etcd's revision log that this process has seen, and who may read how far.
//!
//! The log is filled by one watch stream ([`super::watch`]) and read by any number of followers, each with a cursor.

use std::collections::{BTreeSet, VecDeque};

use resource::{Change, Changes, Entry, Key, StoreError, StoreResult};

use crate::kept::{MOST_BYTES, MOST_CHANGES, revision_of, size_of};

use super::wire::{Event, KeyValue};

/// How the stream is.
#[derive(Clone, Debug, PartialEq)]
enum Stream {
    /// Being opened, for the first time or again.
    Opening,
    /// What happens comes in.
    Live,
    /// No endpoint could be used; it is tried again.
    Failed(StoreError),
}

/// What a follower is to do.
#[derive(Debug, PartialEq)]
pub(super) enum Answer<T> {
    /// This is the answer.
    Ready(StoreResult<T>),
    /// The log will change.
    Wait,
    /// The stream has to begin at the cursor.
    Begin,
    /// The cursor is beyond every revision that was seen: ask for the newest one.
    Future,
}

#[derive(Debug)]
pub(super) struct Log {
    stream: Stream,
    /// Which stream may write here; a new one begins where an earlier one does not reach back to.
    generation: u64,
    begun: bool,
    /// Revisions up to this one are gone for good: cut off, compacted, or another store's.
    floor: u64,
    /// All changes after this revision are here, up to `reached`.
    base: u64,
    /// The newest revision that the stream has told of.
    reached: u64,
    /// The newest revision in any answer: no cursor can be beyond it.
    seen: u64,
    /// The newest revision known to have changed a key of ours: the stream will tell of it.
    known: u64,
    changes: VecDeque<Change>,
    bytes: usize,
    /// Cursors up to this revision were handed out by another store before this one took its place, or before all up to there was told.
    stale: u64,
    /// The cursors up to there that were handed out since.
    handed: BTreeSet<u64>,
}

impl Log {
    pub(super) fn new() -> Log {
        Log {
            stream: Stream::Opening,
            generation: 0,
            begun: false,
            floor: 0,
            base: 0,
            reached: 0,
            seen: 0,
            known: 0,
            changes: VecDeque::new(),
            bytes: 0,
            stale: 0,
            handed: BTreeSet::new(),
        }
    }

    /// Notes a revision that somebody will come back with.
    pub(super) fn hand_out(&mut self, revision: u64) {
        if revision <= self.stale {
            self.handed.insert(revision);
            if self.handed.len() > MOST_CHANGES {
                self.handed.pop_first();
            }
        }
    }

    /// An answer's revision.
    pub(super) fn saw(&mut self, revision: u64) {
        self.seen = self.seen.max(revision);
    }

    /// A revision that changed a key of ours: written by us, or read in an entry.
    pub(super) fn knows(&mut self, revision: u64) {
        self.known = self.known.max(revision);
        self.saw(revision);
    }

    fn common<T>(&self, cursor: u64) -> Option<Answer<T>> {
        let foreign = cursor <= self.stale && !self.handed.contains(&cursor);
        if cursor < self.floor || foreign {
            let first = self.floor + 1;
            return Some(Answer::Ready(Err(StoreError::Compacted { cursor, first })));
        }
        if cursor > self.seen {
            return Some(Answer::Future);
        }
        if !self.begun || cursor < self.base {
            return Some(Answer::Begin);
        }
        match &self.stream {
            Stream::Failed(error) => Some(Answer::Ready(Err(error.clone()))),
            Stream::Opening => Some(Answer::Wait),
            Stream::Live => None,
        }
    }

    /// What happened after a cursor. It has all that this process knows to have happened.
    pub(super) fn after(&self, cursor: u64) -> Answer<Changes> {
        if let Some(answer) = self.common(cursor) {
            return answer;
        }
        if self.reached < self.known && cursor < self.known {
            return Answer::Wait;
        }
        let from = self.changes.partition_point(|c| revision_of(c) <= cursor);
        Answer::Ready(Ok(Changes {
            changes: self.changes.range(from..).cloned().collect(),
            revision: self.reached.max(cursor),
        }))
    }

    /// Whether there is something to be read after a cursor.
    pub(super) fn news(&self, cursor: u64) -> Answer<()> {
        match self.common(cursor) {
            // Whoever reads is told.
            Some(Answer::Ready(Err(StoreError::Compacted { .. }))) => Answer::Ready(Ok(())),
            Some(answer) => answer,
            None if self.reached > cursor => Answer::Ready(Ok(())),
            None => Answer::Wait,
        }
    }

    /// Begins, or begins anew farther back; the new stream's generation, or none where that is not needed any more.
    pub(super) fn begin(&mut self, cursor: u64) -> Option<u64> {
        if cursor < self.floor || self.begun && cursor >= self.base {
            return None;
        }
        self.begun = true;
        self.generation += 1;
        self.restart_at(cursor);
        self.stream = Stream::Opening;
        Some(self.generation)
    }

    fn restart_at(&mut self, revision: u64) {
        self.base = revision;
        self.reached = revision;
        self.changes.clear();
        self.bytes = 0;
    }

    /// The generation, where the stream goes on, and the last change that it told of.
    pub(super) fn position(&self) -> (u64, u64, Option<Change>) {
        (self.generation, self.reached, self.changes.back().cloned())
    }

    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The stream is interrupted.
    pub(super) fn opening(&mut self) {
        if self.stream == Stream::Live {
            self.stream = Stream::Opening;
        }
    }

    pub(super) fn live(&mut self) {
        self.stream = Stream::Live;
    }

    pub(super) fn failed(&mut self, error: StoreError) {
        self.stream = Stream::Failed(error);
    }

    /// All that happened up to `revision` cannot be told any more; the stream goes on from there.
    pub(super) fn lost(&mut self, revision: u64) {
        self.floor = revision;
        self.restart_at(revision);
    }

    /// Something came after `revision` was told, and belongs before it: who has read up to there has missed it, and a list that is made now has it.
    fn overtaken(&mut self, revision: u64) {
        self.lost(revision);
        self.stale = self.stale.max(revision);
        self.handed.clear();
    }

    /// Another store stands in this one's place, at `revision`.
    pub(super) fn replaced(&mut self, revision: u64) {
        self.lost(revision);
        self.known = self.known.min(revision);
        self.stale = self.stale.max(self.seen);
        self.handed.clear();
        self.seen = revision;
    }

    /// The stream says that nothing else happened up to `revision`.
    pub(super) fn progressed(&mut self, revision: u64) {
        self.reached = self.reached.max(revision);
        self.saw(revision);
    }

    /// The changes of one message of the stream: whole revisions, in order.
    pub(super) fn append(&mut self, events: &[Event]) {
        let before = self.reached;
        for event in events {
            let Some(kv) = &event.kv else { continue };
            let revision = unsigned(kv.mod_revision);
            if revision <= before {
                // The two prefixes have a watch each. In step, both tell of each revision in order; a member that was
                // behind may not. Somebody may have read beyond this already.
                if revision > self.floor && self.tells_of(revision, kv) {
                    self.overtaken(before);
                }
                continue;
            }
            self.reached = self.reached.max(revision);
            self.saw(revision);
            if let Some(change) = change(event.kind, kv) {
                self.bytes += size_of(&change);
                self.changes.push_back(change);
            }
        }
        while self.changes.len() > MOST_CHANGES || self.bytes > MOST_BYTES {
            let Some(cut) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= size_of(&cut);
            self.base = self.base.max(revision_of(&cut));
            self.floor = self.base;
        }
    }

    /// Whether an event that comes late is news, and not one that was told before the stream was opened again.
    fn tells_of(&self, revision: u64, kv: &KeyValue) -> bool {
        let path = String::from_utf8_lossy(&kv.key);
        revision > self.base
            && !self.changes.iter().any(|c| {
                revision_of(c) == revision
                    && match c {
                        Change::Put(entry) => entry.key.path() == path,
                        Change::Delete { key, .. } => key.path() == path,
                    }
            })
    }
}

/// etcd's revisions are signed and begin at 1.
pub(super) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

/// None for a path that is not ours to know.
fn change(kind: i32, kv: &KeyValue) -> Option<Change> {
    const DELETE: i32 = 1;
    if kind == DELETE {
        let key = Key::from_path(std::str::from_utf8(&kv.key).ok()?)?;
        let revision = unsigned(kv.mod_revision);
        return Some(Change::Delete { key, revision });
    }
    entry(kv).map(Change::Put)
}

/// None for a path that is not ours to know.
pub(super) fn entry(kv: &KeyValue) -> Option<Entry> {
    Some(Entry {
        key: Key::from_path(std::str::from_utf8(&kv.key).ok()?)?,
        // What is no UTF-8 is no JSON either, and is refused as malformed by whoever reads it.
        value: String::from_utf8_lossy(&kv.value).into_owned(),
        revision: unsigned(kv.mod_revision),
    })
}

#[cfg(test)]
mod tests {
    use resource::Kind;

    use super::*;

    fn put(name: &str, revision: i64) -> Event {
        let path = Key::cluster(Kind::Node, name).path();
        Event {
            kind: 0,
            kv: Some(KeyValue {
                key: path.into_bytes().into(),
                mod_revision: revision,
                value: bytes::Bytes::from_static(b"{}"),
            }),
        }
    }

    fn service(revision: i64) -> Event {
        let path = Key::in_namespace(Kind::Service, "n", "s").path();
        let mut event = put("x", revision);
        if let Some(kv) = &mut event.kv {
            kv.key = path.into_bytes().into();
        }
        event
    }

    fn live(cursor: u64) -> Log {
        let mut log = Log::new();
        log.saw(cursor);
        log.begin(cursor).unwrap();
        log.live();
        log
    }

    fn revisions(answer: &Answer<Changes>) -> (Vec<u64>, u64) {
        match answer {
            Answer::Ready(Ok(c)) => (c.changes.iter().map(revision_of).collect(), c.revision),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn followers_read_from_their_cursors() {
        let mut log = live(5);
        assert_eq!(log.news(5), Answer::Wait);
        log.append(&[put("a", 7), put("b", 9)]);
        assert_eq!(revisions(&log.after(5)), (vec![7, 9], 9));
        assert_eq!(revisions(&log.after(7)), (vec![9], 9));
        // Revisions between are others' keys.
        assert_eq!(revisions(&log.after(8)), (vec![9], 9));
        assert_eq!(log.news(8), Answer::Ready(Ok(())));
        assert_eq!(log.news(9), Answer::Wait);
        assert_eq!(log.after(4), Answer::Begin);
        assert_eq!(log.after(12), Answer::Future);
        log.saw(12);
        assert_eq!(revisions(&log.after(12)), (vec![], 12));
    }

    #[test]
    fn what_this_process_wrote_is_waited_for() {
        let mut log = live(5);
        log.knows(6);
        assert_eq!(log.after(5), Answer::Wait);
        assert_eq!(revisions(&log.after(6)), (vec![], 6));
        log.append(&[put("a", 6)]);
        assert_eq!(revisions(&log.after(5)), (vec![6], 6));
    }

    #[test]
    fn a_follower_that_lags_too_far_is_told() {
        let mut log = live(0);
        for revision in 1..=i64::try_from(MOST_CHANGES).unwrap() + 10 {
            log.append(&[put("a", revision)]);
        }
        assert_eq!(
            log.after(9),
            Answer::Ready(Err(StoreError::Compacted {
                cursor: 9,
                first: 11
            }))
        );
        assert_eq!(log.news(9), Answer::Ready(Ok(())));
        assert_eq!(revisions(&log.after(10)).0.len(), MOST_CHANGES);
        assert_eq!(log.begin(9), None);
    }

    #[test]
    fn an_event_that_comes_after_a_later_one_is_not_lost_silently() {
        let mut log = live(5);
        log.append(&[put("a", 8)]);
        assert_eq!(revisions(&log.after(5)), (vec![8], 8));
        log.append(&[service(7)]);
        // Who has read up to 8 has missed 7.
        for cursor in [5, 8] {
            let answer = log.after(cursor);
            let compacted = matches!(answer, Answer::Ready(Err(StoreError::Compacted { .. })));
            assert!(compacted, "{cursor}: {answer:?}");
            assert_eq!(log.news(cursor), Answer::Ready(Ok(())));
        }
        // A list that was made since has it.
        log.hand_out(8);
        assert_eq!(revisions(&log.after(8)), (vec![], 8));
        // What is told twice is no news.
        log.append(&[put("b", 9)]);
        log.append(&[put("b", 9)]);
        assert_eq!(revisions(&log.after(8)), (vec![9], 9));
    }

    #[test]
    fn another_store_in_its_place_refuses_old_cursors() {
        let mut log = live(50);
        log.append(&[put("a", 60)]);
        log.replaced(20);
        assert!(matches!(
            log.after(15),
            Answer::Ready(Err(StoreError::Compacted { .. }))
        ));
        // An old cursor that the new log will come to, or has come to, is no cursor of it.
        log.append(&[put("b", 61), put("c", 62)]);
        for old in [20, 55, 60] {
            let answer = log.after(old);
            assert!(matches!(answer, Answer::Ready(Err(_))), "{old}: {answer:?}");
        }
        log.hand_out(60);
        assert_eq!(revisions(&log.after(60)), (vec![61, 62], 62));
        assert_eq!(revisions(&log.after(61)), (vec![62], 62));
    }
}
