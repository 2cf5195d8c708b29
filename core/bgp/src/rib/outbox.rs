//! Encoded messages on their way to peers: encoded once, shared by all members of a group.

use crate::output::Chunk;
use std::collections::VecDeque;
use std::sync::Arc;

/// Whole messages, with the parts that some peers must not get.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub data: Arc<Vec<u8>>,
    /// Peer, start and end, ordered: that peer's own routes, left out for it (split horizon).
    pub skips: Vec<(u16, u32, u32)>,
    pub updates: u32,
}

impl Encoded {
    pub fn new(data: Vec<u8>, updates: u32) -> Self {
        Encoded {
            data: Arc::new(data),
            skips: Vec::new(),
            updates,
        }
    }

    fn skips_of(&self, peer: u16) -> &[(u16, u32, u32)] {
        let from = self.skips.partition_point(|(p, _, _)| *p < peer);
        let to = self.skips.partition_point(|(p, _, _)| *p <= peer);
        &self.skips[from..to]
    }

    /// The next range for `peer` at or after `at`.
    fn range(&self, peer: u16, at: usize) -> Option<(usize, usize)> {
        let mut start = at;
        let mut end = self.data.len();
        for (_, from, to) in self.skips_of(peer) {
            let (from, to) = (*from as usize, *to as usize);
            if to <= start {
                continue;
            }
            if from <= start {
                start = to;
            } else {
                end = from;
                break;
            }
        }
        (start < end).then_some((start, end))
    }
}

/// What waits to be written to one peer.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<(Arc<Encoded>, usize)>,
    /// Octets in the queue, those left out among them.
    bytes: usize,
    /// Of a tap: the peer as which it is told, without that peer's own routes.
    pub like: Option<u16>,
}

impl Outbox {
    pub fn push(&mut self, peer: u16, encoded: &Arc<Encoded>) {
        let peer = self.like.unwrap_or(peer);
        if let Some((start, _)) = encoded.range(peer, 0) {
            self.bytes += encoded.data.len();
            self.queue.push_back((Arc::clone(encoded), start));
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What is left of the first entry when it has been written in part, perhaps up to amid a
    /// message; nothing may come before it.
    pub fn begun(&self, peer: u16) -> Option<usize> {
        let (encoded, at) = self.queue.front()?;
        encoded.range(peer, 0).filter(|(start, _)| start < at)?;
        let mut left = 0;
        let mut from = *at;
        while let Some((start, end)) = encoded.range(peer, from) {
            left += end - start;
            from = end;
        }
        Some(left)
    }

    pub fn clear(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Appends what comes next, of at most about `max` octets and at most `entries` entries.
    pub fn peek(&self, peer: u16, max: usize, entries: usize, out: &mut Vec<Chunk>) {
        let mut left = max;
        for (encoded, at) in self.queue.iter().take(entries) {
            let mut at = *at;
            while let Some((start, end)) = encoded.range(peer, at) {
                if left == 0 {
                    return;
                }
                let end = end.min(start.saturating_add(left));
                left -= end - start;
                out.push(Chunk {
                    data: Arc::clone(&encoded.data),
                    start,
                    end,
                });
                at = end;
            }
        }
    }

    /// Takes the first entry off a tap's queue: whole messages. Returns their octets.
    pub fn take_entry(&mut self, tap: u16, out: &mut Vec<Chunk>) -> Option<usize> {
        let (encoded, mut at) = self.queue.pop_front()?;
        self.bytes -= encoded.data.len();
        let peer = self.like.unwrap_or(tap);
        let mut octets = 0;
        while let Some((start, end)) = encoded.range(peer, at) {
            octets += end - start;
            out.push(Chunk {
                data: Arc::clone(&encoded.data),
                start,
                end,
            });
            at = end;
        }
        Some(octets)
    }

    /// Takes off what was written; returns what of `written` was not from this queue.
    pub fn advance(&mut self, peer: u16, mut written: usize) -> usize {
        while let Some((encoded, at)) = self.queue.front_mut() {
            match encoded.range(peer, *at) {
                Some((start, end)) => {
                    let step = written.min(end - start);
                    *at = start + step;
                    written -= step;
                    if step < end - start {
                        return 0;
                    }
                }
                None => {
                    self.bytes -= encoded.data.len();
                    self.queue.pop_front();
                }
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outbox: &Outbox, peer: u16, max: usize) -> String {
        let mut chunks = Vec::new();
        outbox.peek(peer, max, usize::MAX, &mut chunks);
        chunks
            .iter()
            .map(|c| String::from_utf8_lossy(c.as_ref()).into_owned())
            .collect()
    }

    /// A tap is told what the peer is told, and its number says nothing.
    #[test]
    fn a_tap_lacks_what_its_peer_lacks() {
        let mut encoded = Encoded::new(b"aabbccddee".to_vec(), 5);
        encoded.skips = vec![(2, 2, 4), (2, 6, 8), (9, 0, 10)];
        let encoded = Arc::new(encoded);
        for (like, expected) in [(Some(2), "aaccee"), (None, ""), (Some(9), "")] {
            let mut outbox = Outbox {
                like,
                ..Outbox::default()
            };
            outbox.push(9, &encoded);
            let mut chunks = Vec::new();
            let octets = outbox.take_entry(9, &mut chunks);
            let text: Vec<u8> = chunks.iter().flat_map(|c| c.as_ref().to_vec()).collect();
            assert_eq!(String::from_utf8_lossy(&text), expected);
            assert_eq!(octets.unwrap_or(0), expected.len());
            assert_eq!(outbox.bytes(), 0);
        }
    }

    #[test]
    fn each_peer_lacks_its_own() {
        let mut encoded = Encoded::new(b"aabbccddee".to_vec(), 5);
        encoded.skips = vec![(1, 0, 2), (2, 2, 4), (2, 6, 8), (3, 8, 10), (4, 0, 10)];
        let encoded = Arc::new(encoded);
        for (peer, expected) in [
            (1, "bbccddee"),
            (2, "aaccee"),
            (3, "aabbccdd"),
            (4, ""),
            (9, "aabbccddee"),
        ] {
            let mut outbox = Outbox::default();
            outbox.push(peer, &encoded);
            assert_eq!(text(&outbox, peer, 100), expected);
            // Octet by octet gives the same.
            let mut slow = String::new();
            while !outbox.is_empty() {
                slow += &text(&outbox, peer, 1);
                assert_eq!(outbox.advance(peer, 1), 0);
            }
            assert_eq!((slow.as_str(), outbox.bytes()), (expected, 0));
        }
    }
}
