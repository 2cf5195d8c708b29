//! What the thread tells its owner, over a bounded channel.

use bgp::{Notice, PeerEvent, Route, RouteChange};
use ipnet::IpNet;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, TrySendError};

/// Something that the owner should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Routes that changed, each as it is now.
    Routes(Vec<RouteChange>),
    /// A peer's state changed.
    Peer(PeerEvent),
    /// Something that people should know although no state changed.
    Notice(Notice),
    /// All peers have told us all they have: what was not reported by now does not exist.
    InSync,
    /// An address cannot be listened on; tried again every few seconds.
    ListenFailed {
        /// The address.
        address: SocketAddr,
        /// Why, in the operating system's words.
        error: String,
    },
}

/// Events that wait in the channel before they wait here.
pub(crate) const CHANNEL: usize = 256;
/// Route changes in one event when it waited.
const BATCH: usize = 1024;
/// Peer events kept for an owner that does not read; the oldest go first.
const PEER_EVENTS: usize = 4096;

/// The sending end. When the channel is full, events wait here: route changes by prefix, so that
/// only the last state of each is kept and memory is bounded by the table.
pub(crate) struct Sender {
    channel: SyncSender<Event>,
    notify: Option<Box<dyn Fn() + Send>>,
    routes: BTreeMap<IpNet, Option<Route>>,
    others: VecDeque<Event>,
}

impl Sender {
    pub fn new(channel: SyncSender<Event>, notify: Option<Box<dyn Fn() + Send>>) -> Self {
        Sender {
            channel,
            notify,
            routes: BTreeMap::new(),
            others: VecDeque::new(),
        }
    }

    pub fn send(&mut self, event: Event) {
        if !self.has_waiting() {
            match self.channel.try_send(event) {
                Ok(()) => self.notify(),
                Err(TrySendError::Full(event)) => self.keep(event),
                Err(TrySendError::Disconnected(_)) => {}
            }
            return;
        }
        self.keep(event);
        self.retry();
    }

    pub fn has_waiting(&self) -> bool {
        !self.routes.is_empty() || !self.others.is_empty()
    }

    /// Sends what waits, as far as there is room.
    pub fn retry(&mut self) {
        while self.has_waiting() {
            // Routes first: `InSync` must not overtake them.
            let event = if self.routes.is_empty() {
                self.others.pop_front()
            } else {
                let mut batch = Vec::new();
                while batch.len() < BATCH
                    && let Some((prefix, route)) = self.routes.pop_first()
                {
                    batch.push(RouteChange { prefix, route });
                }
                Some(Event::Routes(batch))
            };
            let Some(event) = event else { return };
            match self.channel.try_send(event) {
                Ok(()) => self.notify(),
                Err(TrySendError::Full(event)) => {
                    self.keep_first(event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.routes.clear();
                    self.others.clear();
                }
            }
        }
    }

    fn notify(&self) {
        if let Some(notify) = &self.notify {
            notify();
        }
    }

    fn keep(&mut self, event: Event) {
        match event {
            Event::Routes(changes) => {
                self.routes
                    .extend(changes.into_iter().map(|c| (c.prefix, c.route)));
            }
            other @ (Event::Peer(_)
            | Event::Notice(_)
            | Event::InSync
            | Event::ListenFailed { .. }) => {
                if self.others.len() == PEER_EVENTS {
                    self.others.pop_front();
                }
                self.others.push_back(other);
            }
        }
    }

    fn keep_first(&mut self, event: Event) {
        match event {
            Event::Routes(changes) => {
                for change in changes {
                    self.routes.entry(change.prefix).or_insert(change.route);
                }
            }
            other @ (Event::Peer(_)
            | Event::Notice(_)
            | Event::InSync
            | Event::ListenFailed { .. }) => {
                self.others.push_front(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_slow_reader_gets_the_last_state() {
        let (send, receive) = sync_channel(1);
        let mut sender = Sender::new(send, None);
        let prefix: IpNet = "10.0.0.0/24".parse().expect("prefix");
        let change = |local_pref| {
            let route = Route {
                next_hops: vec![],
                peer: None,
                ibgp: true,
                local_pref,
            };
            Event::Routes(vec![RouteChange {
                prefix,
                route: Some(route),
            }])
        };
        for local_pref in 0..100 {
            sender.send(change(local_pref));
        }
        sender.send(Event::InSync);
        assert_eq!(receive.try_recv(), Ok(change(0)));
        let mut seen = Vec::new();
        while sender.has_waiting() {
            sender.retry();
            seen.extend(receive.try_iter());
        }
        assert_eq!(seen, vec![change(99), Event::InSync]);
    }
}
