//! Too many prefixes: a warning before, and what is done then.

use super::Speaker;
use crate::session::Peer;
use crate::wire;
use crate::wire::notification::{Notification, cease, code};
use crate::{ConnId, Family, LimitAction, Notice, NoticeReason, Now, Output};

impl Speaker {
    /// How many more prefixes of each family a peer may have accepted, if what is more is to be
    /// discarded.
    pub(super) fn room(&self, peer: &Peer) -> Option<[u32; 2]> {
        let limit = peer.config.max_prefixes?;
        let discards = peer.config.max_prefixes_action == LimitAction::Discard;
        let left = |family| limit.saturating_sub(self.prefixes_of(peer, family));
        discards.then(|| Family::ALL.map(left))
    }

    fn prefixes_of(&self, peer: &Peer, family: Family) -> u32 {
        let counts = self.rib.counts(peer.number, family);
        counts.held - counts.rejected
    }

    /// Looks at the limit after an UPDATE, of which `discarded` prefixes were over it.
    pub(super) fn check_limit(&mut self, peer: &mut Peer, conn: ConnId, discarded: u32, now: Now) {
        let Some(limit) = peer.config.max_prefixes else {
            return;
        };
        for (at, family) in Family::ALL.into_iter().enumerate() {
            let accepted = self.prefixes_of(peer, family);
            if accepted > limit {
                match peer.config.max_prefixes_action {
                    LimitAction::End => return self.end_over_limit(peer, conn, family, now),
                    LimitAction::Restart(wait) => {
                        self.end_over_limit(peer, conn, family, now);
                        if peer.connections.is_empty() {
                            peer.idle_until = Some(now.mono + wait);
                        }
                        return;
                    }
                    // The limit was lowered: what was there before stays.
                    LimitAction::Discard => {}
                }
            }
            let percent = peer.config.max_prefixes_warning.unwrap_or(0);
            let near = u64::from(accepted) * 100 >= u64::from(limit) * u64::from(percent);
            if percent > 0 && near && !std::mem::replace(&mut peer.warned[at], true) {
                let detail = format!("{accepted} of {limit} prefixes, {family}");
                self.notice(peer, NoticeReason::MaxPrefixesWarning, detail);
            }
        }
        if discarded > 0 && !std::mem::replace(&mut peer.discards, true) {
            let detail = format!("what is over {limit} is not accepted");
            self.notice(peer, NoticeReason::MaxPrefixes, detail);
        }
    }

    fn notice(&mut self, peer: &Peer, reason: NoticeReason, detail: String) {
        self.outputs.push_back(Output::Notice(Notice {
            reason,
            about: peer.name.clone(),
            detail,
        }));
    }

    /// Cease with the family and its limit (RFC 4486 §4).
    fn end_over_limit(&mut self, peer: &mut Peer, conn: ConnId, family: Family, now: Now) {
        let limit = peer.config.max_prefixes.unwrap_or(0);
        let mut data = wire::open::afi(family).to_be_bytes().to_vec();
        data.push(1);
        data.extend_from_slice(&limit.to_be_bytes());
        let why = Notification::with_data(code::CEASE, cease::MAX_PREFIXES, &data);
        self.fail(peer, conn, why, now);
    }
}
