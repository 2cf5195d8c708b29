//! What happens between audits: changes all the time, a kill each second, and now and then something rare.

use crate::cast::{Player, Role, SHORT_HOLD, Settings};
use crate::peer::{Kill, Link};
use crate::peers::Peers;
use crate::report::Report;
use crate::subject::Subject;
use anyhow::Result;
use bgpsim::random::Random;
use ipnet::IpNet;
use std::time::{Duration, Instant};

/// Between kills.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// Between changes, of which each is a few.
const CHANGE_EVERY: Duration = Duration::from_millis(50);
/// Between rare things.
const RARE_EVERY: Duration = Duration::from_millis(1500);
/// No peer is silenced when the next audit is nearer than that: it would wait for the hold timer.
const SILENCE_LEAD: Duration = Duration::from_secs(7);
/// Peers without an entry at a time, at most.
const MOST_ABSENT: usize = 3;

/// What comes next, and when.
pub struct Churn {
    random: Random,
    next_change: Instant,
    next_kill: Instant,
    next_rare: Instant,
    kills: usize,
    /// Silences that were put off.
    owed: usize,
    rares: usize,
}

impl Churn {
    /// From now on.
    pub fn new(seed: u64) -> Self {
        let now = Instant::now();
        Churn {
            random: Random::new(seed),
            next_change: now,
            next_kill: now,
            next_rare: now,
            kills: 0,
            owed: 0,
            rares: 0,
        }
    }

    /// Goes on after a pause, without making up for it.
    pub fn resume(&mut self) {
        let now = Instant::now();
        self.next_change = self.next_change.max(now);
        self.next_kill = self.next_kill.max(now);
        self.next_rare = self.next_rare.max(now);
    }

    /// Does what is due. The next audit is at `audit`.
    ///
    /// # Errors
    /// When the speaker cannot be told to read its configuration.
    pub fn act(
        &mut self,
        peers: &mut Peers,
        subject: &mut Subject,
        settings: &mut Settings,
        report: &mut Report,
        audit: Instant,
    ) -> Result<()> {
        let now = Instant::now();
        while self.next_change <= now {
            self.next_change += CHANGE_EVERY;
            for _ in 0..1 + self.random.below(3) {
                if let Some(id) = self.one_up(peers, |_| true) {
                    peers.churn(id);
                }
            }
        }
        if self.next_kill <= now {
            self.next_kill += KILL_EVERY;
            self.kill(peers, report, audit.saturating_duration_since(now));
        }
        if self.next_rare <= now {
            self.next_rare += RARE_EVERY;
            self.rare(peers, subject, settings, report)?;
        }
        Ok(())
    }

    fn one_up(&mut self, peers: &Peers, fits: impl Fn(&Player) -> bool) -> Option<usize> {
        let up: Vec<usize> = (0..peers.all.len())
            .filter(|id| {
                let peer = &peers.all[*id];
                peer.link == Link::Up && !peer.absent && fits(&peer.player)
            })
            .collect();
        (!up.is_empty()).then(|| self.random.pick(&up))
    }

    fn kill(&mut self, peers: &mut Peers, report: &mut Report, left: Duration) {
        let mut kill = Kill::ALL[self.kills % Kill::ALL.len()];
        self.kills += 1;
        if kill == Kill::Silence && left < SILENCE_LEAD {
            kill = Kill::Fin;
            self.owed += 1;
        } else if self.owed > 0 && left >= SILENCE_LEAD {
            kill = Kill::Silence;
            self.owed -= 1;
        }
        let short = |player: &Player| kill != Kill::Silence || player.hold_s == SHORT_HOLD;
        if let Some(id) = self
            .one_up(peers, short)
            .filter(|id| peers.all[*id].is_drained())
        {
            let away = Duration::from_millis(500) + self.random.up_to(Duration::from_secs(5));
            peers.kill(id, kill, away);
            *report.kills.entry(kill.name()).or_default() += 1;
        }
    }

    fn rare(
        &mut self,
        peers: &mut Peers,
        subject: &mut Subject,
        settings: &mut Settings,
        report: &mut Report,
    ) -> Result<()> {
        self.rares += 1;
        match self.rares % 4 {
            0 => {
                self.reconfigure(peers, settings);
                let players: Vec<Player> = peers.all.iter().map(|p| p.player.clone()).collect();
                subject.reload(settings, &players)?;
                report.reloads += 1;
            }
            1 => {
                if let Some(id) = self.one_up(peers, |_| true) {
                    let time = Duration::from_secs(1) + self.random.up_to(Duration::from_secs(3));
                    peers.all[id].deaf_until = Some(Instant::now() + time);
                    report.deaf += 1;
                }
            }
            2 => {
                let ipv6 = self.random.chance(50);
                let id = self.one_up(peers, |player| player.can.ipv6 || !ipv6);
                if let Some(id) = id.filter(|id| peers.all[*id].has_all()) {
                    peers.refresh(id, ipv6);
                    report.refreshes += 1;
                }
            }
            _ => {
                if let Some(id) = self.one_up(peers, |_| true) {
                    report.malformed += u64::from(peers.say_malformed(id));
                }
            }
        }
        Ok(())
    }

    /// Another filter, an own route more or less, or a neighbour more or less.
    fn reconfigure(&mut self, peers: &mut Peers, settings: &mut Settings) {
        let parse = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let random = &mut self.random;
        match random.below(4) {
            0 | 1 => {
                let role = random.pick(&Role::ALL);
                let some = [
                    "10.100.0.0/16",
                    "10.101.128.0/17",
                    "10.103.0.0/16",
                    "fd00::/27",
                ];
                let prefix = parse(random.pick(&some));
                let filters = if random.chance(50) {
                    &mut settings.import
                } else {
                    &mut settings.export
                };
                if random.chance(40) {
                    filters.remove(&role);
                } else {
                    filters.insert(role, prefix);
                }
            }
            2 => {
                let some = [
                    "10.100.0.0/22",
                    "10.102.4.0/24",
                    "10.202.0.0/24",
                    "fd00:1::/52",
                ];
                let prefix = parse(random.pick(&some));
                if settings.origins.remove(&prefix).is_none() {
                    settings.origins.insert(prefix, random.below(50) as u32);
                }
            }
            _ => {
                let gone = settings.absent.iter().next().copied();
                if let Some(number) =
                    gone.filter(|_| settings.absent.len() >= MOST_ABSENT || random.chance(50))
                {
                    settings.absent.remove(&number);
                    let peer = &mut peers.all[number - 1];
                    peer.absent = false;
                    if matches!(peer.link, Link::Down(_)) {
                        peer.link = Link::Down(Some(Instant::now()));
                    }
                } else if let Some(id) = self.one_up(peers, |p| p.role != Role::Client) {
                    settings.absent.insert(id + 1);
                    peers.all[id].absent = true;
                }
            }
        }
    }
}
