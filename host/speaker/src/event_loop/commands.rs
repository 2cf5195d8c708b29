//! What the owner of the thread asks for.

use super::{EventLoop, Watcher, now};
use crate::handle::Snapshot;
use bgp::{
    Config, Explanation, Family, HeldPrefixes, Input, PathState, RibCursor, RibSlice,
    SessionCounts, SessionView,
};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::mpsc::{Sender as Answer, TryRecvError};

/// What the owner asks for.
pub(crate) enum Command {
    Configure(Box<Config>),
    Reset { peer: String, text: String },
    Path(IpAddr, u32, PathState),
    NextHops(Vec<(IpAddr, Option<u32>)>),
    Status(Answer<Snapshot>),
    Prefixes(Family, Answer<Vec<IpNet>>),
    Explain(Vec<IpNet>, Answer<Vec<Explanation>>),
    Sessions(Answer<Vec<SessionView>>),
    WatchSessions(Box<Watcher>),
    SessionCounts(Answer<Vec<SessionCounts>>),
    CountChosen(RibCursor, usize, Answer<(usize, Option<RibCursor>)>),
    HeldPrefixes(Answer<Vec<HeldPrefixes>>),
    CountTold(RibCursor, usize, Answer<(Vec<u32>, Option<RibCursor>)>),
    RibSlice(RibCursor, usize, Answer<RibSlice>),
    Stop { cease: bool, text: String },
}

impl EventLoop {
    pub(super) fn commands(&mut self) {
        loop {
            let command = match self.inbox.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => Command::Stop {
                    cease: false,
                    text: String::new(),
                },
            };
            let now = now(self.started);
            // Whoever asked may have gone meanwhile; then nobody wants the answer.
            match command {
                Command::Configure(config) => {
                    let name = |config: &Config| (config.router_id, config.local_as);
                    let renamed = name(&config) != name(self.speaker.config());
                    self.speaker.handle(Input::Configure(config), now);
                    if renamed {
                        self.let_go();
                    }
                }
                Command::Reset { peer, text } => {
                    let (peer, text) = (&peer, &text);
                    self.speaker.handle(Input::Reset { peer, text }, now);
                }
                Command::Path(remote, scope, state) => {
                    let input = Input::Path {
                        remote,
                        scope,
                        state,
                    };
                    self.speaker.handle(input, now);
                }
                Command::NextHops(said) => {
                    for (address, cost) in said {
                        self.speaker.handle(Input::NextHop { address, cost }, now);
                    }
                }
                Command::Status(answer) => {
                    let config = self.speaker.config().clone();
                    let _ = answer.send(Snapshot {
                        config,
                        peers: self.speaker.peers(),
                    });
                }
                Command::Prefixes(family, answer) => {
                    let _ = answer.send(self.speaker.prefixes(family));
                }
                Command::Explain(prefixes, answer) => {
                    let all = prefixes
                        .into_iter()
                        .map(|p| self.speaker.explain(p))
                        .collect();
                    let _ = answer.send(all);
                }
                Command::WatchSessions(watcher) => self.watch_sessions(*watcher),
                Command::SessionCounts(answer) => {
                    let _ = answer.send(self.speaker.session_counts());
                }
                Command::CountChosen(from, max, answer) => {
                    let _ = answer.send(self.speaker.count_chosen(from, max));
                }
                Command::HeldPrefixes(answer) => {
                    let _ = answer.send(self.speaker.held_prefixes());
                }
                Command::CountTold(from, max, answer) => {
                    let _ = answer.send(self.speaker.count_told(from, max));
                }
                Command::Sessions(answer) => {
                    let _ = answer.send(self.speaker.sessions());
                }
                Command::RibSlice(from, max, answer) => {
                    let _ = answer.send(self.speaker.rib_slice(from, max));
                }
                Command::Stop { cease, text } => {
                    let text = &text;
                    self.speaker.handle(Input::Stop { cease, text }, now);
                    self.stopping = true;
                    return;
                }
            }
        }
    }
}
