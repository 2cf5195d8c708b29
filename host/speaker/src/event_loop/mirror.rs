//! What peers said goes to those who watch: BMP stations.

use super::EventLoop;
use bgp::{Mirrored, SessionView};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// What a watcher is told, in order.
#[derive(Clone)]
pub(crate) enum Told {
    /// First: the sessions there are.
    Sessions(Vec<SessionView>),
    /// What happened in one turn of the loop, and when, since the Unix epoch.
    Happened(Duration, Arc<Vec<Mirrored>>),
}

impl EventLoop {
    pub(super) fn watch_sessions(&mut self, watcher: SyncSender<Told>) {
        self.mirror();
        self.speaker.mirror(true);
        if watcher
            .try_send(Told::Sessions(self.speaker.sessions()))
            .is_ok()
        {
            self.watchers.push(watcher);
        }
    }

    /// Hands out what happened. A watcher that has no room is let go: it comes again and gets
    /// everything anew.
    pub(super) fn mirror(&mut self) {
        if self.watchers.is_empty() {
            return;
        }
        let happened = self.speaker.take_mirrored();
        if happened.is_empty() {
            return;
        }
        let told = Told::Happened(super::now(self.started).wall, Arc::new(happened));
        self.watchers
            .retain(|watcher| watcher.try_send(told.clone()).is_ok());
        if self.watchers.is_empty() {
            self.speaker.mirror(false);
        }
    }
}
