//! When changes go out: at once when it is quiet, together when there are many.

use super::Speaker;
use crate::session::Stage;
use crate::{Now, Output};
use std::time::Duration;

/// Between two rounds of telling peers, for each of them: what a write costs, about. A thousand
/// peers then hear of changes every ten milliseconds at most, one peer at once.
const GAP_PER_MEMBER: Duration = Duration::from_micros(10);
/// The longest that a change waits for others.
const LONGEST_GAP: Duration = Duration::from_millis(20);
/// Route changes in one output.
const ROUTES: usize = 512;

#[derive(Default)]
pub(super) struct Pace {
    /// The work of this round of polling was done.
    turned: bool,
    /// There is more of it.
    more: bool,
    last: Option<Duration>,
}

impl Pace {
    /// True once in each round of polling.
    pub fn begin_turn(&mut self) -> bool {
        !std::mem::replace(&mut self.turned, true)
    }

    pub fn end_turn(&mut self) {
        self.turned = false;
    }

    /// When peers may be told again.
    fn due(&self, members: usize) -> Duration {
        let gap = GAP_PER_MEMBER.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX));
        self.last
            .map_or(Duration::ZERO, |last| last + gap.min(LONGEST_GAP))
    }

    pub fn deadline(&self, (urgent, behind): (bool, bool), members: usize) -> Option<Duration> {
        if self.more || urgent {
            return Some(Duration::ZERO);
        }
        behind.then(|| self.due(members))
    }
}

impl Speaker {
    /// A slice of what can wait: telling peers, reporting routes.
    pub(super) fn work(&mut self, now: Now) {
        self.check_sync(now);
        let (urgent, behind) = self.rib.is_behind();
        let mut more = false;
        if urgent || behind && now.mono >= self.pace.due(self.rib.members()) {
            more |= self.rib.step().more;
            self.pace.last = Some(now.mono);
            self.announce_output(now);
        }
        let routes = self.rib.take_routes(ROUTES, &self.names);
        if !routes.is_empty() {
            more |= routes.len() == ROUTES;
            self.outputs.push_back(Output::Routes(routes));
        }
        self.pace.more = more;
    }

    /// Tells the driver of connections for which routes are waiting.
    pub(super) fn announce_output(&mut self, now: Now) {
        for peer in self.peers.iter_mut().flatten() {
            let number = usize::from(peer.number);
            if self.rib.outboxes[number].is_empty() {
                continue;
            }
            let established = peer
                .connections
                .iter_mut()
                .find(|c| c.stage == Stage::Established);
            if let Some(connection) = established
                && connection.announce(now.mono)
            {
                self.outputs.push_back(Output::Send(connection.id));
            }
        }
    }
}
