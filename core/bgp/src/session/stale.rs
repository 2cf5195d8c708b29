//! How long the routes of a lost session are kept, each family by itself.
//!
//! ```text
//!   session lost ──> restart time ──> long-lived stale time ──> they go
//!                    (RFC 4724 §4.2)   (RFC 9494 §4.2)
//!        ^               │ back             │ back: the timer runs on
//!        └───────────────┴──── until End-of-RIB, stale_time at most
//! ```

use crate::Family;
use std::time::Duration;

/// What a session has agreed on for the time after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub family: Family,
    /// Restart Time; zero for a family that only long-lived graceful restart names.
    pub restart_time: Duration,
    /// Long-Lived Stale Time; zero: none.
    pub long_lived: Duration,
}

/// The Long-Lived Stale Time of a family. Once it runs it is not set anew before the peer has
/// come back and sent all it has (RFC 9494 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LongLivedTimer {
    NotStarted,
    Runs(Duration),
    /// It ended while the peer was sending its routes again: there is none for what that session
    /// leaves, should it end too.
    Expired,
}

/// Stale routes of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StaleFamily {
    pub family: Family,
    /// Without a session the end of the restart time; with one, until when the peer must have
    /// sent its routes again.
    pub until: Option<Duration>,
    /// What follows the restart time; zero: nothing.
    pub long_lived: Duration,
    pub timer: LongLivedTimer,
}

impl StaleFamily {
    /// When something is due.
    pub fn deadline(&self) -> Option<Duration> {
        let runs = match self.timer {
            LongLivedTimer::Runs(until) => Some(until),
            LongLivedTimer::NotStarted | LongLivedTimer::Expired => None,
        };
        self.until.into_iter().chain(runs).min()
    }

    /// Whether the restart time is over.
    pub fn is_long_lived(&self) -> bool {
        matches!(self.timer, LongLivedTimer::Runs(_))
    }
}
