//! One session: its state, its timers.
//!
//! ```text
//!                              ┌──┐
//!                              │  │ AdminDown, Down expired
//!                              v  │
//!            Init, Up       ┌────────┐    Down
//!        ┌───(Init: Up)─────│  Down  │<────────────┐        AdminDown: from each state when it is held
//!        │                  └────────┘             │        down on purpose, and only back to Down
//!        v                     │  ^                │
//!     ┌──────┐   AdminDown,    │  │ Down heard     │
//!     │  Up  │   expired       │  │                │
//!     └──────┘─────────────────┼──┘                │
//!        ^                     v                   │
//!        │    Init, Up     ┌────────┐  AdminDown,  │
//!        └─────────────────│  Init  │──expired─────┘
//!                          └────────┘<─┐
//!                               └──────┘ Down                      (RFC 5880 §6.2, §6.8.6)
//! ```

use crate::packet::{Diagnostic, Packet, State};
use crate::{SessionConfig, Status};
use std::fmt;
use std::time::Duration;

/// bfd.DesiredMinTxInterval is at least this while a session is not up (RFC 5880 §6.8.3).
const SLOW: Duration = Duration::from_secs(1);
/// How long a session that nobody wants any more goes on saying that it is held down (RFC 5880 §6.8.16).
const FAREWELL: Duration = Duration::from_secs(3);
/// Nobody is sent packets faster, whatever both sides say.
const LEAST: Duration = Duration::from_millis(1);
/// The wait for the first packet is at most this, so that many sessions do not begin at once.
const START_SPREAD: Duration = Duration::from_millis(100);

/// Why a session is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Nothing was heard for the detection time.
    DetectionTimeExpired,
    /// The neighbour says that it is down: it does not hear us.
    NeighbourSignalledDown,
    /// The neighbour is held down on purpose, which says nothing about the path (RFC 5882 §3.2).
    NeighbourAdminDown,
    /// We are held down on purpose.
    AdminDown,
    /// The neighbour says that the path beneath is down (Diag 5, 6 or 8).
    PathDown,
}

impl Reason {
    /// A stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::DetectionTimeExpired => "detection-time-expired",
            Reason::NeighbourSignalledDown => "neighbour-signalled-down",
            Reason::NeighbourAdminDown => "neighbour-admin-down",
            Reason::AdminDown => "admin-down",
            Reason::PathDown => "path-down",
        }
    }

    /// Whether packets are taken for lost: not when somebody only turned BFD off.
    pub fn is_failure(self) -> bool {
        match self {
            Reason::DetectionTimeExpired | Reason::NeighbourSignalledDown | Reason::PathDown => {
                true
            }
            Reason::NeighbourAdminDown | Reason::AdminDown => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A session.
pub(crate) struct Session {
    pub config: SessionConfig,
    pub discriminator: u32,
    pub state: State,
    pub since: Duration,
    diagnostic: Diagnostic,
    pub reason: Option<Reason>,
    /// The neighbour's, as last heard; `None` while nothing was, or not for a detection time.
    remote: Option<Packet>,
    /// bfd.DesiredMinTxInterval as we say it.
    desired_min_tx: Duration,
    /// The one that we send by: a longer one waits for the neighbour's Final (RFC 5880 §6.8.3).
    tx_in_force: Duration,
    required_min_rx: Duration,
    /// The one that counts for detection: a shorter one waits for the neighbour's Final.
    rx_in_force: Duration,
    polling: bool,
    /// A packet with the present poll went out.
    poll_sent: bool,
    /// Timers changed while a poll was under way, so its Final says nothing of them.
    poll_again: bool,
    heard: Duration,
    sent: Duration,
    /// When the next periodic packet is due.
    pub transmit_at: Option<Duration>,
    /// The interval that it was drawn from.
    drawn_from: Duration,
    /// How often a farewell is said again at the old pace, which is this long.
    repeats: (u8, Duration),
    /// Nobody wants it any more; it goes then.
    pub leaves_at: Option<Duration>,
    pub ups: u64,
    pub packets_in: u64,
    pub packets_out: u64,
}

impl Session {
    pub fn new(
        config: SessionConfig,
        discriminator: u32,
        now: Duration,
        random: &mut Random,
    ) -> Self {
        let mut session = Session {
            discriminator,
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::None,
            reason: None,
            remote: None,
            desired_min_tx: config.desired_min_tx.max(SLOW),
            tx_in_force: config.desired_min_tx.max(SLOW),
            required_min_rx: config.required_min_rx,
            rx_in_force: config.required_min_rx,
            polling: false,
            poll_sent: false,
            poll_again: false,
            heard: now,
            sent: now,
            transmit_at: Some(now + random.part_of(START_SPREAD)),
            drawn_from: config.desired_min_tx.max(SLOW),
            repeats: (0, SLOW),
            leaves_at: None,
            ups: 0,
            packets_in: 0,
            packets_out: 0,
            config,
        };
        if session.config.admin_down {
            session.hold_down(now);
        }
        session
    }

    /// Takes a new configuration with the same key, and comes back if it was leaving.
    pub fn reconfigure(&mut self, config: SessionConfig, now: Duration, random: &mut Random) {
        self.leaves_at = None;
        self.config = config;
        match (self.state, self.config.admin_down) {
            (State::AdminDown, false) => {
                self.enter(State::Down, Diagnostic::None, now);
                self.transmit_at = Some(now);
            }
            (State::Down | State::Init | State::Up, true) => self.hold_down(now),
            (State::AdminDown, true) | (State::Down | State::Init | State::Up, false) => {}
        }
        self.require_rx(self.config.required_min_rx);
        self.settle_tx();
        self.pace(now, random);
    }

    /// Says that it is held down for a while, then goes.
    pub fn leave(&mut self, now: Duration) {
        if self.leaves_at.is_some() {
            return;
        }
        self.hold_down(now);
        let silent = self.remote.is_none();
        self.leaves_at = Some(if silent { now } else { now + FAREWELL });
    }

    fn hold_down(&mut self, now: Duration) {
        let pace = self.transmit_interval().unwrap_or(SLOW);
        self.reason = Some(Reason::AdminDown);
        self.enter(State::AdminDown, Diagnostic::AdministrativelyDown, now);
        // The neighbour must not take the silence of a lost packet for a dead path.
        self.repeats = (2, pace);
        self.transmit_at = Some(now);
    }

    fn enter(&mut self, state: State, diagnostic: Diagnostic, now: Duration) {
        self.state = state;
        self.since = now;
        self.diagnostic = diagnostic;
        if state == State::Up {
            self.ups += 1;
        }
        self.settle_tx();
    }

    /// bfd.DesiredMinTxInterval follows from the state and the configuration.
    fn settle_tx(&mut self) {
        let wanted = match self.state {
            State::Up => self.config.desired_min_tx,
            State::AdminDown | State::Down | State::Init => self.config.desired_min_tx.max(SLOW),
        };
        if wanted == self.desired_min_tx {
            return;
        }
        let longer = wanted > self.desired_min_tx;
        self.desired_min_tx = wanted;
        if !(longer && self.state == State::Up) {
            self.tx_in_force = wanted;
        }
        self.begin_poll();
    }

    fn require_rx(&mut self, wanted: Duration) {
        if wanted == self.required_min_rx {
            return;
        }
        let shorter = wanted < self.required_min_rx;
        self.required_min_rx = wanted;
        if !(shorter && self.state == State::Up) {
            self.rx_in_force = wanted;
        }
        self.begin_poll();
    }

    fn begin_poll(&mut self) {
        self.poll_again = self.polling && self.poll_sent;
        self.poll_sent = self.poll_again;
        self.polling = true;
    }

    fn end_poll(&mut self) {
        if std::mem::take(&mut self.poll_again) {
            return;
        }
        self.polling = false;
        (self.tx_in_force, self.rx_in_force) = (self.desired_min_tx, self.required_min_rx);
    }

    /// A packet that is for this session (RFC 5880 §6.8.6). `at` is when it arrived. True when an answer is due at once.
    pub fn receive(
        &mut self,
        packet: &Packet,
        at: Duration,
        now: Duration,
        random: &mut Random,
    ) -> bool {
        self.packets_in += 1;
        self.heard = self.heard.max(at);
        self.remote = Some(*packet);
        if packet.last && self.polling && self.poll_sent {
            self.end_poll();
        }
        if self.state != State::AdminDown {
            self.step(packet, now);
        }
        self.pace(now, random);
        packet.poll
    }

    /// The state machine proper.
    fn step(&mut self, packet: &Packet, now: Duration) {
        let signalled = Diagnostic::NeighborSignaledSessionDown;
        match (self.state, packet.state) {
            (State::Init | State::Up, State::AdminDown) => {
                self.fall(Reason::NeighbourAdminDown, signalled, now);
            }
            (State::Up, State::Down) => {
                let reason = match packet.diagnostic {
                    Diagnostic::PathDown
                    | Diagnostic::ConcatenatedPathDown
                    | Diagnostic::ReverseConcatenatedPathDown => Reason::PathDown,
                    Diagnostic::None
                    | Diagnostic::ControlDetectionTimeExpired
                    | Diagnostic::EchoFailed
                    | Diagnostic::NeighborSignaledSessionDown
                    | Diagnostic::ForwardingPlaneReset
                    | Diagnostic::AdministrativelyDown
                    | Diagnostic::Other(_) => Reason::NeighbourSignalledDown,
                };
                self.fall(reason, signalled, now);
            }
            (State::Down, State::Down) => self.rise(State::Init, now),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.rise(State::Up, now);
            }
            (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up)
            | (State::AdminDown, _) => {}
        }
    }

    fn rise(&mut self, state: State, now: Duration) {
        self.enter(state, Diagnostic::None, now);
        self.transmit_at = Some(now);
    }

    fn fall(&mut self, reason: Reason, diagnostic: Diagnostic, now: Duration) {
        self.reason = Some(reason);
        self.enter(State::Down, diagnostic, now);
        self.transmit_at = Some(now);
    }

    /// Brings the next packet forward when the agreed interval became shorter, and takes up or ceases sending.
    fn pace(&mut self, now: Duration, random: &mut Random) {
        let Some(interval) = self.transmit_interval() else {
            self.transmit_at = None;
            return;
        };
        if self.transmit_at.is_some() && interval >= self.drawn_from {
            return;
        }
        self.drawn_from = interval;
        let latest = (self.sent + self.jittered(interval, random)).max(now);
        self.transmit_at = Some(self.transmit_at.map_or(latest, |at| at.min(latest)));
    }

    /// Before jitter; `None` when nothing is to be sent (RFC 5880 §6.8.7).
    pub fn transmit_interval(&self) -> Option<Duration> {
        let Some(remote) = &self.remote else {
            return Some(self.tx_in_force.max(LEAST));
        };
        let demand = remote.demand && self.state == State::Up && remote.state == State::Up;
        let silent = remote.required_min_rx.is_zero() || (demand && !self.polling);
        (!silent).then(|| self.tx_in_force.max(remote.required_min_rx).max(LEAST))
    }

    /// 75 to 100 % of an interval, 75 to 90 % where one lost packet ends the session (RFC 5880 §6.8.7).
    fn jittered(&self, interval: Duration, random: &mut Random) -> Duration {
        let spread = if self.config.detect_mult == 1 { 15 } else { 25 };
        interval * 3 / 4 + random.part_of(interval * spread / 100)
    }

    /// What to send now, and when next. `answer` has Final set.
    pub fn transmit(&mut self, answer: bool, now: Duration, random: &mut Random) -> Packet {
        self.packets_out += 1;
        if !answer {
            self.sent = now;
            self.poll_sent = self.polling;
            let interval = self.transmit_interval();
            self.drawn_from = interval.unwrap_or(SLOW);
            self.transmit_at = interval.map(|interval| now + self.jittered(interval, random));
            if self.state == State::AdminDown && self.repeats.0 > 0 {
                self.repeats.0 -= 1;
                self.transmit_at = Some(now + self.repeats.1.min(SLOW));
            }
        }
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.polling && !answer,
            last: answer,
            control_plane_independent: true,
            demand: false,
            detect_mult: self.config.detect_mult,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.map_or(0, |remote| remote.my_discriminator),
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: Duration::ZERO,
        }
    }

    /// RFC 5880 §6.8.4, in asynchronous mode.
    pub fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote.as_ref()?;
        Some(self.rx_in_force.max(remote.desired_min_tx) * u32::from(remote.detect_mult))
    }

    fn expires_at(&self) -> Option<Duration> {
        self.detection_time().map(|time| self.heard + time)
    }

    /// Judges the silence. Only to be asked when everything that has arrived was handed over.
    pub fn expire(&mut self, now: Duration, random: &mut Random) {
        if self.expires_at().is_none_or(|at| at > now) {
            return;
        }
        // Who is not heard is not known any more either: it may come back as another (RFC 5880 §6.8.1).
        self.remote = None;
        match self.state {
            State::Init | State::Up => {
                let diagnostic = Diagnostic::ControlDetectionTimeExpired;
                self.fall(Reason::DetectionTimeExpired, diagnostic, now);
            }
            State::AdminDown | State::Down => self.pace(now, random),
        }
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        [self.transmit_at, self.expires_at(), self.leaves_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Both C bits are set; ours always is.
    pub fn control_plane_independent(&self) -> bool {
        self.remote
            .is_some_and(|remote| remote.control_plane_independent)
    }

    pub fn status(&self) -> Status {
        let remote = self.remote.as_ref();
        Status {
            config: self.config.clone(),
            state: self.state,
            since: self.since,
            remote_state: remote.map_or(State::Down, |remote| remote.state),
            reason: self.reason,
            local_discriminator: self.discriminator,
            remote_discriminator: remote.map_or(0, |remote| remote.my_discriminator),
            transmit_interval: self.transmit_interval().unwrap_or_default(),
            receive_interval: remote.map_or(self.rx_in_force, |remote| {
                self.rx_in_force.max(remote.desired_min_tx)
            }),
            detection_time: self.detection_time().unwrap_or_default(),
            remote_detect_mult: remote.map_or(0, |remote| remote.detect_mult),
            remote_control_plane_independent: self.control_plane_independent(),
            ups: self.ups,
            packets_in: self.packets_in,
            packets_out: self.packets_out,
        }
    }
}

/// A stream of numbers from a seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.number() % micros.saturating_add(1))
    }
}
