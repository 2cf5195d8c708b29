//! NOTIFICATION: error codes, their data and the words for them (RFC 4271 §4.5, §6; RFC 4486).

use super::{Kind, begin, finish};

/// Error codes.
pub(crate) mod code {
    pub const HEADER: u8 = 1;
    pub const OPEN: u8 = 2;
    pub const UPDATE: u8 = 3;
    pub const HOLD_TIMER: u8 = 4;
    pub const FSM: u8 = 5;
    pub const CEASE: u8 = 6;
    pub const REFRESH: u8 = 7;
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// Subcodes of message header errors.
pub(crate) mod header {
    pub const NOT_SYNCHRONIZED: u8 = 1;
    pub const BAD_LENGTH: u8 = 2;
    pub const BAD_TYPE: u8 = 3;
}

/// Subcodes of OPEN errors.
pub(crate) mod open_error {
    pub const BAD_VERSION: u8 = 1;
    pub const BAD_PEER_AS: u8 = 2;
    pub const BAD_IDENTIFIER: u8 = 3;
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    pub const BAD_HOLD_TIME: u8 = 6;
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    pub const ROLE_MISMATCH: u8 = 11;
}

/// Subcodes of UPDATE errors that still reset a session (RFC 7606).
pub(crate) mod update_error {
    pub const MALFORMED_ATTRIBUTES: u8 = 1;
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    pub const INVALID_NETWORK: u8 = 10;
}

/// Subcodes of Cease (RFC 4486, RFC 8538, RFC 9384).
pub(crate) mod cease {
    pub const MAX_PREFIXES: u8 = 1;
    pub const SHUTDOWN: u8 = 2;
    pub const DECONFIGURED: u8 = 3;
    pub const RESET: u8 = 4;
    pub const REJECTED: u8 = 5;
    pub const CONFIG_CHANGE: u8 = 6;
    pub const COLLISION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
    pub const HARD_RESET: u8 = 9;
    pub const BFD_DOWN: u8 = 10;
}

/// Subcodes of FSM errors (RFC 6608).
pub(crate) mod fsm {
    pub const OPEN_SENT: u8 = 1;
    pub const OPEN_CONFIRM: u8 = 2;
    pub const ESTABLISHED: u8 = 3;
}

/// Why a session ends, as said on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub code: u8,
    pub subcode: u8,
    pub data: Vec<u8>,
}

impl Notification {
    pub fn new(code: u8, subcode: u8) -> Self {
        Notification {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Self {
        Notification {
            code,
            subcode,
            data: data.to_vec(),
        }
    }

    /// From the body of a message; framing has made sure of two octets.
    pub fn decode(body: &[u8]) -> Self {
        let octet = |at: usize| body.get(at).copied().unwrap_or(0);
        Notification {
            code: octet(0),
            subcode: octet(1),
            data: body.get(2..).unwrap_or_default().to_vec(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(21 + self.data.len());
        let at = begin(&mut out, Kind::Notification);
        out.extend_from_slice(&[self.code, self.subcode]);
        out.extend_from_slice(&self.data[..self.data.len().min(4000)]);
        finish(&mut out, at);
        out
    }

    /// Says a text with an administrative shutdown or reset (RFC 9003 §2): at most 255 octets,
    /// cut between characters. Without text nothing is added.
    pub fn with_text(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = Vec::new();
        if end > 0 {
            data.push(end as u8);
            data.extend_from_slice(&text.as_bytes()[..end]);
        }
        Notification::with_data(code::CEASE, subcode, &data)
    }

    /// Whether the session ends for good rather than to be restarted, so that between peers with
    /// the N bit it must be said as a hard reset (RFC 8538 §3.1): who ends it means that the
    /// routes shall go. All other causes may pass.
    pub fn ends_for_good(&self) -> bool {
        self.code == code::CEASE
            && matches!(
                self.subcode,
                cease::MAX_PREFIXES
                    | cease::SHUTDOWN
                    | cease::DECONFIGURED
                    | cease::RESET
                    | cease::HARD_RESET
                    | cease::BFD_DOWN
            )
    }

    /// The same as a hard reset (RFC 8538 §3.1).
    pub fn into_hard(self) -> Self {
        if self.is_hard() {
            return self;
        }
        let data = [&[self.code, self.subcode], &self.data[..]].concat();
        Notification::with_data(code::CEASE, cease::HARD_RESET, &data)
    }

    /// A hard reset: routes go even between peers with the N bit.
    pub fn is_hard(&self) -> bool {
        (self.code, self.subcode) == (code::CEASE, cease::HARD_RESET)
    }

    /// Words for people; the numbers when there are none. What the peer says of its shutdown
    /// stands behind them, in quotation marks.
    pub fn text(&self) -> String {
        if let (true, [code, subcode, data @ ..]) = (self.is_hard(), &self.data[..])
            && (*code, *subcode) != (code::CEASE, cease::HARD_RESET)
        {
            let inner = Self::with_data(*code, *subcode, data);
            return format!("{} (hard reset)", inner.text());
        }
        let numbers = || format!("Error {}.{}", self.code, self.subcode);
        let mut text = self.words().map_or_else(numbers, str::to_owned);
        if self.code == code::CEASE && matches!(self.subcode, cease::SHUTDOWN | cease::RESET) {
            text += &communication(&self.data);
        }
        text
    }

    fn words(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (code::HEADER, header::NOT_SYNCHRONIZED) => "Connection not synchronized",
            (code::HEADER, header::BAD_LENGTH) => "Bad message length",
            (code::HEADER, header::BAD_TYPE) => "Bad message type",
            (code::OPEN, subcode) => return open_words(subcode),
            (code::UPDATE, subcode) => return update_words(subcode),
            (code::HOLD_TIMER, _) => "Hold timer expired",
            (code::FSM, _) => "Finite state machine error",
            (code::REFRESH, _) => "Invalid route refresh message",
            (code::SEND_HOLD_TIMER, _) => "Send hold timer expired",
            (code::CEASE, 0) => "Cease",
            (code::CEASE, cease::MAX_PREFIXES) => "Maximum number of prefixes reached",
            (code::CEASE, cease::SHUTDOWN) => "Administrative shutdown",
            (code::CEASE, cease::DECONFIGURED) => "Peer de-configured",
            (code::CEASE, cease::RESET) => "Administrative reset",
            (code::CEASE, cease::REJECTED) => "Connection rejected",
            (code::CEASE, cease::CONFIG_CHANGE) => "Other configuration change",
            (code::CEASE, cease::COLLISION) => "Connection collision resolution",
            (code::CEASE, cease::OUT_OF_RESOURCES) => "Out of resources",
            (code::CEASE, cease::HARD_RESET) => "Hard reset",
            (code::CEASE, cease::BFD_DOWN) => "BFD session down",
            _ => return None,
        })
    }
}

fn open_words(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        open_error::BAD_VERSION => "Unsupported version number",
        open_error::BAD_PEER_AS => "Bad peer AS",
        open_error::BAD_IDENTIFIER => "Bad BGP identifier",
        open_error::UNSUPPORTED_PARAMETER => "Unsupported optional parameter",
        open_error::BAD_HOLD_TIME => "Unacceptable hold time",
        open_error::UNSUPPORTED_CAPABILITY => "Required capability missing",
        open_error::ROLE_MISMATCH => "Role mismatch",
        _ => return None,
    })
}

fn update_words(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        update_error::MALFORMED_ATTRIBUTES => "Malformed attribute list",
        update_error::UNRECOGNIZED_WELL_KNOWN => "Unrecognized well-known attribute",
        3 => "Missing well-known attribute",
        4 => "Attribute flags error",
        5 => "Attribute length error",
        6 => "Invalid ORIGIN attribute",
        8 => "Invalid NEXT_HOP attribute",
        update_error::OPTIONAL_ATTRIBUTE => "Optional attribute error",
        update_error::INVALID_NETWORK => "Invalid network field",
        11 => "Malformed AS_PATH",
        _ => return None,
    })
}

/// The shutdown communication of a peer (RFC 9003 §2), to be put behind the words. A peer may
/// say anything: only text is shown, and no control characters of it.
fn communication(data: &[u8]) -> String {
    let said = data.split_first();
    let octets = said.and_then(|(length, rest)| rest.get(..usize::from(*length)));
    let Some(octets) = octets.filter(|octets| !octets.is_empty()) else {
        return String::new();
    };
    let Ok(text) = std::str::from_utf8(octets) else {
        return format!(" ({} octets that are not UTF-8)", octets.len());
    };
    let plain = |c: char| if c.is_control() || c == '"' { '.' } else { c };
    format!(": \"{}\"", text.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_words() {
        let sent = Notification::with_data(2, 2, &[0xfd, 0xe8]);
        let bytes = sent.encode();
        assert_eq!(Notification::decode(&bytes[19..]), sent);
        assert_eq!(sent.text(), "Bad peer AS");
        assert_eq!(Notification::new(6, 0).text(), "Cease");
        assert_eq!(Notification::new(9, 3).text(), "Error 9.3");
        for subcode in 1..=10 {
            let text = Notification::new(6, subcode).text();
            assert!(!text.starts_with("Error"), "{text}");
        }
    }

    #[test]
    fn shutdown_communication() {
        let said = Notification::with_text(cease::SHUTDOWN, "Umbau bis 9 Uhr");
        assert_eq!(said.data[0], 15);
        assert_eq!(said.text(), "Administrative shutdown: \"Umbau bis 9 Uhr\"");
        // Cut between characters, at 255 octets.
        let long = Notification::with_text(cease::RESET, &"\u{e4}".repeat(200));
        assert_eq!((long.data[0], long.data.len()), (254, 255));
        assert!(long.text().ends_with("\u{e4}\""));
        assert!(Notification::with_text(cease::RESET, "").data.is_empty());
        let check = |data: &[u8], expected: &str| {
            let text = Notification::with_data(6, 2, data).text();
            assert_eq!(text, format!("Administrative shutdown{expected}"));
        };
        check(&[], "");
        check(&[0], "");
        check(&[9, b'x'], "");
        check(&[2, 0xff, 0xfe], " (2 octets that are not UTF-8)");
        check(&[4, b'a', 0x1b, b'[', b'"'], ": \"a.[.\"");
        check(&[1, b'a', b'b'], ": \"a\"");
        // Other subcodes have other data.
        let other = Notification::with_data(6, 3, &[1, b'a']);
        assert_eq!(other.text(), "Peer de-configured");
    }

    #[test]
    fn hard_reset() {
        let why = Notification::with_text(cease::SHUTDOWN, "bye");
        let hard = why.clone().into_hard();
        assert_eq!(&hard.data[..3], &[6, 2, 3]);
        assert!(hard.is_hard() && !why.is_hard());
        assert_eq!(hard.clone().into_hard(), hard);
        assert_eq!(hard.text(), "Administrative shutdown: \"bye\" (hard reset)");
        assert_eq!(Notification::new(6, 9).text(), "Hard reset");
        assert!(why.ends_for_good() && hard.ends_for_good());
        for (code, subcode) in [(4, 0), (8, 0), (3, 1), (6, 6), (6, 5), (6, 7), (6, 8)] {
            assert!(!Notification::new(code, subcode).ends_for_good());
        }
    }
}
