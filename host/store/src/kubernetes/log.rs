//! What the API server has told since some revision, and who may read how far.
//!
//! The API has a watch for each type, and no order between them. So a cursor is one of two things: the resourceVersion of a list, or
//! (with [`LOCAL`] in it) a place in this process's log, in which changes stand in the order in which they came. Of one type they come
//! in the order in which they happened.

use std::collections::{BTreeMap, HashMap, VecDeque};

use kubernetes::Source;
use resource::{Change, Changes, Key, StoreError, StoreResult};

use crate::kept::{MOST_BYTES, MOST_CHANGES, revision_of, size_of};

/// Marks a cursor that is a place in this log. No resourceVersion is as large.
const LOCAL: u64 = 1 << 63;

/// What is told of one type.
#[derive(Clone, Copy, Debug, Default)]
struct Feed {
    /// Whether its watch is open, or it is known that there is no such type.
    open: bool,
    /// Everything up to this revision was told.
    reached: u64,
    /// The newest revision that this process wrote or read.
    known: u64,
}

/// What a follower is to do.
#[derive(Debug, PartialEq)]
pub(super) enum Answer<T> {
    /// This is the answer.
    Ready(StoreResult<T>),
    /// The log will change.
    Wait,
    /// The log will change, but what is there may be taken if that takes long.
    Behind(T),
    /// The watches have to begin at the cursor.
    Begin,
    /// The cursor is beyond every revision that was seen: ask for the newest one.
    Future,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// Which watches may write here.
    generation: u64,
    /// All changes after this revision are here; `None` while no watch runs.
    base: Option<u64>,
    /// From these revisions on no watch can begin any more.
    expired: u64,
    feeds: BTreeMap<Source, Feed>,
    failed: Option<StoreError>,
    changes: VecDeque<Change>,
    bytes: usize,
    /// The place of the first of the changes.
    first: u64,
    /// The newest revision among those that were cut off.
    cut: u64,
    /// The newest revision in any answer.
    seen: u64,
    /// What this process deleted and the watches have not told yet, with the revision it had.
    deleted: HashMap<Key, u64>,
}

impl Log {
    /// An answer's revision.
    pub(super) fn saw(&mut self, revision: u64) {
        self.seen = self.seen.max(revision);
    }

    /// A revision of an object that this process wrote or read.
    pub(super) fn knows(&mut self, source: Source, revision: u64) {
        let feed = self.feeds.entry(source).or_default();
        feed.known = feed.known.max(revision);
        self.saw(revision);
    }

    /// What this process deleted; the answer to a delete does not say in which revision.
    pub(super) fn deletes(&mut self, key: &Key, revision: u64) {
        if self.base.is_some() {
            self.deleted.insert(key.clone(), revision);
        }
    }

    /// The delete did not happen.
    pub(super) fn undelete(&mut self, key: &Key) {
        self.deleted.remove(key);
    }

    fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// The changes after a cursor, if the log has all of them.
    fn rest<T>(&self, cursor: u64) -> Result<impl Iterator<Item = &Change>, Answer<T>> {
        let gone = |first: u64| Answer::Ready(Err(StoreError::Compacted { cursor, first }));
        let (place, revision) = match cursor & LOCAL {
            0 => (self.first, cursor),
            _ => (cursor & !LOCAL, 0),
        };
        if cursor & LOCAL == 0 {
            if cursor < self.expired || cursor < self.cut {
                return Err(gone(self.expired.max(self.cut)));
            }
            if cursor > self.seen {
                return Err(Answer::Future);
            }
            match self.base {
                None => return Err(Answer::Begin),
                Some(base) if cursor < base => return Err(gone(base)),
                Some(_) => (),
            }
        } else if self.base.is_none() || place < self.first || place > self.end() {
            return Err(gone(self.first | LOCAL));
        }
        if let Some(error) = &self.failed {
            return Err(Answer::Ready(Err(error.clone())));
        }
        if self.feeds.values().any(|feed| !feed.open) {
            return Err(Answer::Wait);
        }
        let skipped = usize::try_from(place - self.first).unwrap_or(usize::MAX);
        let rest = self.changes.iter().skip(skipped);
        Ok(rest.filter(move |change| revision_of(change) > revision))
    }

    /// What happened after a cursor.
    pub(super) fn after(&self, cursor: u64) -> Answer<Changes> {
        let changes = match self.rest(cursor) {
            Ok(rest) => rest.cloned().collect(),
            Err(answer) => return answer,
        };
        let answer = Changes {
            changes,
            revision: LOCAL | self.end(),
        };
        let behind = self.feeds.values().any(|feed| feed.reached < feed.known);
        match behind || !self.deleted.is_empty() {
            true => Answer::Behind(answer),
            false => Answer::Ready(Ok(answer)),
        }
    }

    /// Whether there is something to be read after a cursor.
    pub(super) fn news(&self, cursor: u64) -> Answer<()> {
        match self.rest(cursor) {
            Ok(mut rest) => match rest.next() {
                Some(_) => Answer::Ready(Ok(())),
                None => Answer::Wait,
            },
            // Whoever reads is told.
            Err(Answer::Ready(Err(StoreError::Compacted { .. }))) => Answer::Ready(Ok(())),
            Err(answer) => answer,
        }
    }

    /// Begins at a revision; the generation of the watches that are to run, none where they do already.
    pub(super) fn begin(&mut self, revision: u64, sources: &[Source]) -> Option<u64> {
        if self.base.is_some() || revision < self.expired {
            return None;
        }
        self.generation += 1;
        self.base = Some(revision);
        self.cut = 0;
        for source in sources {
            let feed = self.feeds.entry(*source).or_default();
            feed.open = false;
            feed.reached = revision;
        }
        Some(self.generation)
    }

    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// Where a type's watch goes on.
    pub(super) fn reached(&self, source: Source) -> u64 {
        self.feeds.get(&source).map_or(0, |feed| feed.reached)
    }

    /// A type's watch is open, or there is no such type now.
    pub(super) fn open(&mut self, source: Source) {
        self.feeds.entry(source).or_default().open = true;
        self.failed = None;
    }

    pub(super) fn failed(&mut self, error: StoreError) {
        self.failed = Some(error);
    }

    /// The server does not reach back to where a watch was: all begins anew, and whoever follows lists again.
    pub(super) fn expire(&mut self, generation: u64) {
        if !self.is_current(generation) {
            return;
        }
        let reached = self.feeds.values().map(|feed| feed.reached).min();
        self.expired = self.base.take().max(reached).unwrap_or(0) + 1;
        self.generation += 1;
        self.first = self.end() + 1;
        self.changes.clear();
        self.bytes = 0;
        self.deleted.clear();
        self.failed = None;
    }

    /// Everything of a type up to a revision was told.
    pub(super) fn reach(&mut self, source: Source, revision: u64) {
        let feed = self.feeds.entry(source).or_default();
        feed.reached = feed.reached.max(revision);
        self.saw(revision);
    }

    /// What a watch tells.
    pub(super) fn tell(&mut self, change: Change) {
        let key = match &change {
            Change::Put(entry) => &entry.key,
            Change::Delete { key, .. } => key,
        };
        if self
            .deleted
            .get(key)
            .is_some_and(|had| revision_of(&change) > *had)
        {
            self.deleted.remove(key);
        }
        self.bytes += size_of(&change);
        self.changes.push_back(change);
        while self.changes.len() > MOST_CHANGES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= size_of(&oldest);
            self.cut = self.cut.max(revision_of(&oldest));
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use resource::{Entry, Kind};

    use super::*;

    const SOURCE: Source = Source::Custom(Kind::IpPool);

    fn put(name: &str, revision: u64) -> Change {
        Change::Put(Entry {
            key: Key::cluster(Kind::IpPool, name),
            value: "{}".to_string(),
            revision,
        })
    }

    fn begun() -> Log {
        let mut log = Log::default();
        log.saw(10);
        assert_eq!(log.after(10), Answer::Begin);
        assert_eq!(log.begin(10, &[SOURCE]), Some(1));
        assert_eq!(log.after(10), Answer::Wait, "no watch is open yet");
        log.open(SOURCE);
        log
    }

    fn read(log: &Log, cursor: u64) -> Changes {
        match log.after(cursor) {
            Answer::Ready(Ok(changes)) => changes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cursor_goes_on_where_it_was() {
        let mut log = begun();
        let none = read(&log, 10);
        assert_eq!(none.changes, []);
        for (name, revision) in [("a", 11), ("b", 13)] {
            log.tell(put(name, revision));
            log.reach(SOURCE, revision);
        }
        let both = read(&log, none.revision);
        assert_eq!(both.changes, [put("a", 11), put("b", 13)]);
        // A list in between.
        assert_eq!(read(&log, 12).changes, [put("b", 13)]);
        assert_eq!(read(&log, both.revision).changes, []);
        assert_eq!(log.news(both.revision), Answer::Wait);
        assert_eq!(log.news(none.revision), Answer::Ready(Ok(())));
    }

    #[test]
    fn what_this_process_did_is_waited_for() {
        let mut log = begun();
        log.knows(SOURCE, 12);
        assert!(matches!(log.after(10), Answer::Behind(_)));
        log.tell(put("a", 12));
        log.reach(SOURCE, 12);
        assert_eq!(read(&log, 10).changes.len(), 1);
        let key = Key::cluster(Kind::IpPool, "a");
        log.deletes(&key, 12);
        assert!(matches!(log.after(10), Answer::Behind(_)));
        log.tell(Change::Delete { key, revision: 14 });
        assert_eq!(read(&log, 10).changes.len(), 2);
    }

    #[test]
    fn after_a_gap_everybody_lists_again() {
        let mut log = begun();
        log.tell(put("a", 11));
        let cursor = read(&log, 10).revision;
        log.expire(1);
        for old in [10, cursor] {
            assert!(
                matches!(
                    log.after(old),
                    Answer::Ready(Err(StoreError::Compacted { .. }))
                ),
                "{old}"
            );
            assert_eq!(log.news(old), Answer::Ready(Ok(())));
        }
        log.saw(20);
        assert_eq!(log.after(20), Answer::Begin);
        assert_eq!(log.after(21), Answer::Future);
    }

    #[test]
    fn what_was_cut_off_is_not_missed_silently() {
        let mut log = begun();
        let start = read(&log, 10).revision;
        for revision in 11..11 + MOST_CHANGES as u64 + 1 {
            log.tell(put("a", revision));
            log.reach(SOURCE, revision);
        }
        for old in [10, start] {
            assert!(
                matches!(
                    log.after(old),
                    Answer::Ready(Err(StoreError::Compacted { .. }))
                ),
                "{old}"
            );
        }
        assert_eq!(read(&log, 11).changes.len(), MOST_CHANGES);
    }
}
