//! Who is on the interfaces of unnumbered peers: router advertisements sent and heard (RFC 4861), as a machine without clock and
//! sockets.
//!
//! ```text
//!   no interface ──link──> awaited ──advertised, connected──> at ──no longer there──> no interface
//!                             ^                               │ ^
//!                             └────────── other index ────────┘ └─ another one, when the first is gone
//! ```
//!
//! The first to be heard counts. It is gone when its link was down meanwhile and another one is heard first after that, or
//! when it does not answer three solicitations that others do.

use bgp::Neighbor;
use linux::LinkState;
use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

/// MaxRtrAdvInterval and MinRtrAdvInterval (RFC 4861 §6.2.1).
const ADVERTISE: (Duration, Duration) = (Duration::from_millis(3300), Duration::from_secs(10));
/// MIN_DELAY_BETWEEN_RAS (RFC 4861 §10).
const BETWEEN: Duration = Duration::from_secs(3);
/// MAX_INITIAL_RTR_ADVERTISEMENTS (RFC 4861 §10).
const INITIAL: u8 = 3;
/// MAX_RA_DELAY_TIME (RFC 4861 §10).
const ANSWER: Duration = Duration::from_millis(500);
/// MAX_RTR_SOLICITATIONS and RTR_SOLICITATION_INTERVAL (RFC 4861 §10).
const SOLICITATIONS: u8 = 3;
const SOLICIT: Duration = Duration::from_secs(4);
/// What could not be sent is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// From when on a neighbour is asked whether it is still there, if another one is.
const SILENCE: Duration = Duration::from_secs(30);
/// So many others are named on an interface, so that nobody fills memory or the log.
const NAMED: usize = 16;
/// How often it may fail to answer.
const MISSED: u8 = 3;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Hear solicitations on an interface that is new.
    Join(LinkState),
    /// Send an advertisement.
    Advertise(LinkState),
    /// Send a solicitation.
    Solicit(LinkState),
    /// Tell the BGP machine.
    Tell(Arc<str>, Neighbor),
    /// Somebody else is on the interface too; said once for each.
    Another {
        interface: Arc<str>,
        source: Ipv6Addr,
        neighbor: Ipv6Addr,
    },
}

struct Found {
    address: Ipv6Addr,
    heard: Duration,
    /// It advertises, and so answers solicitations.
    advertises: bool,
    missed: u8,
}

struct Interface {
    name: Arc<str>,
    link: Option<LinkState>,
    found: Option<Found>,
    /// The link was down since the neighbour was last heard.
    doubtful: bool,
    others: BTreeSet<Ipv6Addr>,
    told: Option<Neighbor>,
    advertise_at: Option<Duration>,
    advertised: Option<Duration>,
    initial: u8,
    solicit_at: Option<Duration>,
    solicited: Option<Duration>,
    solicitations: u8,
}

impl Interface {
    fn new(name: Arc<str>) -> Self {
        Interface {
            name,
            link: None,
            found: None,
            doubtful: false,
            others: BTreeSet::new(),
            told: None,
            advertise_at: None,
            advertised: None,
            initial: 0,
            solicit_at: None,
            solicited: None,
            solicitations: 0,
        }
    }

    fn neighbor(&self, refused: bool) -> Neighbor {
        match (&self.link, &self.found) {
            (Some(link), Some(found)) => Neighbor::At {
                address: found.address,
                scope: link.index,
            },
            (None, _) => Neighbor::NoInterface,
            (Some(link), None) if !link.running => Neighbor::NoInterface,
            (Some(_), None) if refused => Neighbor::Refused,
            (Some(_), None) => Neighbor::Awaited,
        }
    }

    fn take(&mut self, address: Ipv6Addr, advertises: bool, now: Duration) {
        self.found = Some(Found {
            address,
            heard: now,
            advertises,
            missed: 0,
        });
        self.others.remove(&address);
        self.doubtful = false;
        self.solicit_at = None;
    }

    /// True when it is the neighbour that counts, or from now on does.
    fn hear(&mut self, source: Ipv6Addr, advertises: bool, now: Duration) -> bool {
        match &mut self.found {
            Some(found) if found.address == source => {
                (found.heard, found.missed) = (now, 0);
                found.advertises |= advertises;
                self.doubtful = false;
                true
            }
            Some(_) if !self.doubtful => false,
            Some(_) | None => {
                self.take(source, advertises, now);
                true
            }
        }
    }
}

/// The interfaces of all unnumbered peers.
pub(crate) struct Discovery {
    interfaces: Vec<Interface>,
    acts: VecDeque<Act>,
    /// There is no socket to look for anybody with.
    refused: bool,
    random: u64,
}

impl Discovery {
    /// Without interfaces. `seed` feeds its jitter.
    pub fn new(seed: u64) -> Self {
        Discovery {
            interfaces: Vec::new(),
            acts: VecDeque::new(),
            refused: false,
            random: seed,
        }
    }

    /// Exactly these interfaces from now on; what is known of them is told again. Their links are to be read then.
    pub fn want(&mut self, names: &[Arc<str>]) {
        let mut old = std::mem::take(&mut self.interfaces);
        for name in names {
            let known = old.iter().position(|interface| interface.name == *name);
            let mut interface = match known {
                Some(at) => old.swap_remove(at),
                None => Interface::new(Arc::clone(name)),
            };
            interface.told = None;
            self.interfaces.push(interface);
        }
        self.tell();
    }

    pub fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.interfaces.iter().map(|i| Arc::clone(&i.name))
    }

    /// Whether there is no socket to look for anybody with.
    pub fn set_refused(&mut self, refused: bool) {
        self.refused = refused;
        self.tell();
    }

    /// How an interface is now.
    pub fn link(&mut self, name: &str, link: Option<LinkState>, now: Duration) {
        let mut interfaces = self.interfaces.iter_mut();
        let Some(interface) = interfaces.find(|interface| *interface.name == *name) else {
            return;
        };
        let before = std::mem::replace(&mut interface.link, link);
        let same = before.map(|link| link.index) == link.map(|link| link.index);
        if !same {
            interface.found = None;
            interface.others.clear();
            (interface.advertised, interface.solicited) = (None, None);
            self.acts.extend(link.map(Act::Join));
        }
        let ran = same && before.is_some_and(|link| link.running);
        let runs = link.is_some_and(|link| link.running);
        let losses = |link: Option<LinkState>| link.map(|link| link.carrier_losses);
        let lost = ran && (!runs || losses(before) != losses(link));
        interface.doubtful |= lost;
        if runs && (!ran || lost) {
            // RFC 4861 §6.2.4, §6.3.7: an interface that comes up is one that is new.
            interface.initial = INITIAL;
            interface.solicitations = SOLICITATIONS;
            (interface.advertise_at, interface.solicit_at) = (Some(now), Some(now));
        }
        if !runs {
            (interface.advertise_at, interface.solicit_at) = (None, None);
        }
        self.tell();
    }

    fn at(&mut self, scope: u32) -> Option<&mut Interface> {
        let mut interfaces = self.interfaces.iter_mut();
        interfaces.find(|interface| interface.link.is_some_and(|link| link.index == scope))
    }

    /// An advertisement arrived. `is_up` is asked whether there is a session with the interface's neighbour.
    pub fn advertised(
        &mut self,
        scope: u32,
        source: Ipv6Addr,
        now: Duration,
        is_up: impl FnOnce(&str) -> bool,
    ) {
        let Some(interface) = self.at(scope) else {
            return;
        };
        if !interface.hear(source, true, now) {
            interface.another(source, now, is_up);
            let said = interface.name_another(source);
            self.acts.extend(said);
        }
        self.tell();
    }

    /// A connection came in from a link-local address: who does not advertise is found so.
    pub fn connected(&mut self, scope: u32, source: Ipv6Addr, now: Duration) {
        let Some(interface) = self.at(scope) else {
            return;
        };
        if !interface.hear(source, false, now) {
            let said = interface.name_another(source);
            self.acts.extend(said);
        }
        self.tell();
    }

    /// A solicitation arrived.
    pub fn solicited(&mut self, scope: u32, now: Duration) {
        let delay = self.draw(Duration::ZERO, ANSWER);
        if let Some(interface) = self.at(scope)
            && let Some(next) = interface.advertise_at
        {
            let least = interface.advertised.map_or(now, |at| at + BETWEEN);
            interface.advertise_at = Some(next.min(least.max(now + delay)));
        }
    }

    /// An act could not be done.
    pub fn failed(&mut self, act: &Act, now: Duration) {
        let (Act::Advertise(link) | Act::Solicit(link)) = act else {
            return;
        };
        let advertising = matches!(act, Act::Advertise(_));
        let Some(interface) = self.at(link.index) else {
            return;
        };
        if advertising {
            interface.initial = INITIAL;
            interface.advertise_at = Some(now + RETRY);
        } else {
            interface.solicitations = interface.solicitations.saturating_add(1);
            interface.solicit_at = Some(now + RETRY);
        }
    }

    /// Time passed.
    pub fn timer(&mut self, now: Duration) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        for number in 0..self.interfaces.len() {
            let wait = self.draw(ADVERTISE.0, ADVERTISE.1);
            let interface = &mut self.interfaces[number];
            let Some(link) = interface.link else { continue };
            if due(interface.advertise_at) {
                interface.initial = interface.initial.saturating_sub(1);
                let wait = if interface.initial > 0 { BETWEEN } else { wait };
                interface.advertise_at = Some(now + wait);
                interface.advertised = Some(now);
                self.acts.push_back(Act::Advertise(link));
            }
            if due(interface.solicit_at) {
                interface.solicitations = interface.solicitations.saturating_sub(1);
                let more = interface.solicitations > 0 && interface.found.is_none();
                interface.solicit_at = more.then_some(now + SOLICIT);
                interface.solicited = Some(now);
                self.acts.push_back(Act::Solicit(link));
            }
        }
    }

    /// When to come back at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        let each = |i: &Interface| [i.advertise_at, i.solicit_at];
        self.interfaces.iter().flat_map(each).flatten().min()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn tell(&mut self) {
        for interface in &mut self.interfaces {
            let neighbor = interface.neighbor(self.refused);
            if interface.told != Some(neighbor) {
                interface.told = Some(neighbor);
                let name = Arc::clone(&interface.name);
                self.acts.push_back(Act::Tell(name, neighbor));
            }
        }
    }

    /// Between the two, drawn (SplitMix64).
    fn draw(&mut self, least: Duration, most: Duration) -> Duration {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = (most - least).as_millis() as u64 + 1;
        least + Duration::from_millis((z ^ (z >> 31)) % span)
    }
}

impl Interface {
    /// Somebody else than the neighbour advertises. If that one is silent it is asked, and after a while given up. One that
    /// never advertised is not asked, as it would not answer: its session alone says that it is there.
    fn another(&mut self, source: Ipv6Addr, now: Duration, is_up: impl FnOnce(&str) -> bool) {
        let Some(found) = &mut self.found else {
            return;
        };
        let asked_lately = self.solicited.is_some_and(|at| now < at + SOLICIT);
        if now < found.heard + SILENCE || asked_lately {
            return;
        }
        if !found.advertises && is_up(&self.name) {
            return;
        }
        if found.missed == MISSED {
            let former = found.address;
            self.take(source, true, now);
            self.others.remove(&former);
            return;
        }
        found.missed += 1;
        self.solicit_at = Some(now);
        self.solicitations = 1;
    }

    fn name_another(&mut self, source: Ipv6Addr) -> Option<Act> {
        let neighbor = self.found.as_ref()?.address;
        let room = self.others.len() < NAMED;
        let is_new = neighbor != source && room && self.others.insert(source);
        is_new.then(|| Act::Another {
            interface: Arc::clone(&self.name),
            source,
            neighbor,
        })
    }
}

#[cfg(test)]
mod tests;
