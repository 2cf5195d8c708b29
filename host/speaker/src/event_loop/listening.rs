//! Sockets that listen, and the keys and limits that sockets are given.

use super::{EventLoop, LISTEN_RETRY, Slot};
use crate::events::Event;
use crate::socket;
use bgp::{ConnId, Input, Keys, ListenSecurity, SocketOptions};
use mio::{Interest, Token};
use std::io;
use std::time::Instant;

impl EventLoop {
    /// Brings the listening sockets in line with what is wanted.
    pub(super) fn listen(&mut self) {
        self.listen_again = None;
        let wanted = self.wanted.clone();
        self.slots.retain(|_, slot| match slot {
            Slot::Listener(address, _) => wanted.contains(address),
            Slot::Conn(_) => true,
        });
        for address in wanted {
            let is_open = self
                .slots
                .values()
                .any(|slot| matches!(slot, Slot::Listener(open, _) if *open == address));
            if is_open {
                continue;
            }
            let opened = socket::listen(address, &self.security).and_then(|mut listener| {
                let token = Token(self.next_token);
                self.poll
                    .registry()
                    .register(&mut listener, token, Interest::READABLE)?;
                Ok(listener)
            });
            match opened {
                Ok(listener) => {
                    self.slots
                        .insert(self.next_token, Slot::Listener(address, listener));
                    self.next_token += 1;
                }
                Err(error) => {
                    tracing::warn!("cannot listen on {address}: {error}; trying again");
                    self.listen_again = Some(Instant::now() + LISTEN_RETRY);
                    let error = socket::words(&error);
                    self.events.send(Event::ListenFailed { address, error });
                }
            }
        }
    }

    /// Gives the listening sockets what they need now. One that cannot have it is closed, and
    /// opening it anew is tried again: rather nobody comes in than anybody.
    pub(super) fn secure(&mut self, security: ListenSecurity) {
        let old = std::mem::replace(&mut self.security, security);
        let new = &self.security;
        let mut failed = Vec::new();
        for (token, slot) in &self.slots {
            let Slot::Listener(address, listener) = slot else {
                continue;
            };
            if let Err(error) = socket::secure(listener, *address, &old, new) {
                tracing::warn!("cannot secure the socket that listens on {address}: {error}");
                failed.push(*token);
            }
        }
        if !failed.is_empty() {
            self.slots.retain(|token, _| !failed.contains(token));
            self.listen();
        }
    }

    /// Sets an accepted connection up, or turns it away.
    pub(super) fn configure(&mut self, id: ConnId, options: &SocketOptions) {
        let Some(token) = self.by_id.get(&id).copied() else {
            return;
        };
        if let Some(Slot::Conn(conn)) = self.slots.get(&token)
            && let Err(error) = socket::tune(&conn.stream, options)
        {
            self.refuse(id, &error);
        }
    }

    /// Changes the keys of a connection in use, or looks `again` whether old ones can go.
    pub(super) fn rekey(&mut self, id: ConnId, keys: Keys, again: bool) {
        let Some(token) = self.by_id.get(&id).copied() else {
            return;
        };
        let Some(Slot::Conn(conn)) = self.slots.get_mut(&token) else {
            return;
        };
        let peer = conn.stream.peer_addr();
        let changed = peer.and_then(|peer| Ok((peer, socket::rekey(&conn.stream, peer, &keys)?)));
        match changed {
            Ok((peer, stay)) => {
                if stay && !again {
                    let peer = peer.ip().to_canonical();
                    tracing::info!("{peer}: tcp-ao-key-in-use: one that is no longer wanted stays");
                }
                conn.retires = stay.then_some(keys);
            }
            // It is still connecting, with the old keys; the next attempt has the new ones.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => self.refuse(id, &error),
        }
    }

    /// A connection that must not be used: closed, and the machine is told why.
    fn refuse(&mut self, id: ConnId, error: &io::Error) {
        self.drop_conn(id);
        let words = socket::words(error);
        tracing::debug!("a connection was turned away: {words}");
        let input = Input::Closed {
            conn: id,
            error: Some(&words),
        };
        self.speaker.handle(input, super::now(self.started));
    }
}
