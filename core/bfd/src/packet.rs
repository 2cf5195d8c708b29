//! The control packet (RFC 5880 §4.1).

use std::fmt;
use std::time::Duration;

/// Length of a packet without authentication, in octets.
pub(crate) const LENGTH: usize = 24;

/// bfd.SessionState (RFC 5880 §6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Held down on purpose.
    AdminDown,
    /// Down, or only just created.
    Down,
    /// The neighbour is heard, but does not say that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    /// Each of them.
    pub const ALL: [State; 4] = [State::AdminDown, State::Down, State::Init, State::Up];

    fn from_bits(bits: u8) -> State {
        State::ALL[usize::from(bits & 3)]
    }

    fn bits(self) -> u8 {
        match self {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        }
    }

    /// A stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            State::AdminDown => "admin-down",
            State::Down => "down",
            State::Init => "init",
            State::Up => "up",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the sender's state last changed (RFC 5880 §4.1, Diag).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Diagnostic {
    /// 0.
    None,
    /// 1.
    ControlDetectionTimeExpired,
    /// 2.
    EchoFailed,
    /// 3.
    NeighborSignaledSessionDown,
    /// 4.
    ForwardingPlaneReset,
    /// 5.
    PathDown,
    /// 6.
    ConcatenatedPathDown,
    /// 7.
    AdministrativelyDown,
    /// 8.
    ReverseConcatenatedPathDown,
    /// Not assigned by RFC 5880; 31 at most.
    Other(u8),
}

impl Diagnostic {
    fn from_bits(bits: u8) -> Diagnostic {
        match bits {
            0 => Diagnostic::None,
            1 => Diagnostic::ControlDetectionTimeExpired,
            2 => Diagnostic::EchoFailed,
            3 => Diagnostic::NeighborSignaledSessionDown,
            4 => Diagnostic::ForwardingPlaneReset,
            5 => Diagnostic::PathDown,
            6 => Diagnostic::ConcatenatedPathDown,
            7 => Diagnostic::AdministrativelyDown,
            8 => Diagnostic::ReverseConcatenatedPathDown,
            other => Diagnostic::Other(other),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Diagnostic::None => 0,
            Diagnostic::ControlDetectionTimeExpired => 1,
            Diagnostic::EchoFailed => 2,
            Diagnostic::NeighborSignaledSessionDown => 3,
            Diagnostic::ForwardingPlaneReset => 4,
            Diagnostic::PathDown => 5,
            Diagnostic::ConcatenatedPathDown => 6,
            Diagnostic::AdministrativelyDown => 7,
            Diagnostic::ReverseConcatenatedPathDown => 8,
            Diagnostic::Other(bits) => bits & 31,
        }
    }
}

/// Why a packet does not count (RFC 5880 §6.8.6, RFC 5881 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// Not version 1.
    Version,
    /// Shorter than a packet, or than it says itself.
    Length,
    /// A detection multiplier of 0.
    DetectMult,
    /// The Multipoint bit is set.
    Multipoint,
    /// My Discriminator is 0.
    MyDiscriminator,
    /// No session has this Your Discriminator.
    YourDiscriminator,
    /// Your Discriminator is 0, but the state says that we were heard.
    NotHeard,
    /// Nobody wants a session with the sender.
    NoSession,
    /// It comes from farther away than the next hop.
    Ttl,
    /// It is authenticated, and no session is.
    Authentication,
    /// The session is held down on purpose.
    AdminDown,
}

impl Discard {
    /// A stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Discard::Version => "bad-version",
            Discard::Length => "bad-length",
            Discard::DetectMult => "detect-mult-zero",
            Discard::Multipoint => "multipoint",
            Discard::MyDiscriminator => "my-discriminator-zero",
            Discard::YourDiscriminator => "your-discriminator-unknown",
            Discard::NotHeard => "your-discriminator-zero",
            Discard::NoSession => "no-session",
            Discard::Ttl => "ttl-not-255",
            Discard::Authentication => "authentication-not-supported",
            Discard::AdminDown => "session-admin-down",
        }
    }
}

/// A control packet; intervals are whole microseconds below 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Diag.
    pub diagnostic: Diagnostic,
    /// Sta.
    pub state: State,
    /// P: an answer is wanted.
    pub poll: bool,
    /// F: this is the answer.
    pub last: bool,
    /// C: the sender's BFD outlives its control plane.
    pub control_plane_independent: bool,
    /// D: the sender wants no periodic packets while both are up.
    pub demand: bool,
    /// Detect Mult.
    pub detect_mult: u8,
    /// My Discriminator.
    pub my_discriminator: u32,
    /// Your Discriminator.
    pub your_discriminator: u32,
    /// Desired Min TX Interval.
    pub desired_min_tx: Duration,
    /// Required Min RX Interval.
    pub required_min_rx: Duration,
    /// Required Min Echo RX Interval.
    pub required_min_echo_rx: Duration,
}

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl Packet {
    /// Reads a UDP payload; what follows the packet's own length is passed over.
    ///
    /// # Errors
    /// Why it does not count, in the order of RFC 5880 §6.8.6.
    pub fn decode(bytes: &[u8]) -> Result<Packet, Discard> {
        let Some(fixed) = bytes.first_chunk::<LENGTH>() else {
            return Err(Discard::Length);
        };
        let word = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let (flags, length) = (fixed[1], usize::from(fixed[3]));
        let authenticated = flags & AUTHENTICATION != 0;
        if fixed[0] >> 5 != 1 {
            return Err(Discard::Version);
        }
        let least = if authenticated { LENGTH + 2 } else { LENGTH };
        if length < least || length > bytes.len() {
            return Err(Discard::Length);
        }
        if fixed[2] == 0 {
            return Err(Discard::DetectMult);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        if word(4) == 0 {
            return Err(Discard::MyDiscriminator);
        }
        let state = State::from_bits(flags >> 6);
        if word(8) == 0 && matches!(state, State::Init | State::Up) {
            return Err(Discard::NotHeard);
        }
        if authenticated {
            return Err(Discard::Authentication);
        }
        let micros = |at: usize| Duration::from_micros(u64::from(word(at)));
        Ok(Packet {
            diagnostic: Diagnostic::from_bits(fixed[0] & 31),
            state,
            poll: flags & POLL != 0,
            last: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_mult: fixed[2],
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_min_tx: micros(12),
            required_min_rx: micros(16),
            required_min_echo_rx: micros(20),
        })
    }

    /// The UDP payload.
    pub fn encode(&self) -> [u8; LENGTH] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = [0; LENGTH];
        out[0] = 1 << 5 | self.diagnostic.bits();
        out[1] = self.state.bits() << 6
            | bit(self.poll, POLL)
            | bit(self.last, FINAL)
            | bit(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | bit(self.demand, DEMAND);
        out[2] = self.detect_mult;
        out[3] = LENGTH as u8;
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        for (at, word) in words.into_iter().enumerate() {
            out[4 + 4 * at..8 + 4 * at].copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}
