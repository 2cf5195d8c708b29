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
}

/// Subcodes of UPDATE errors that still reset a session (RFC 7606).
pub(crate) mod update_error {
    pub const MALFORMED_ATTRIBUTES: u8 = 1;
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    pub const INVALID_NETWORK: u8 = 10;
}

/// Subcodes of Cease (RFC 4486).
pub(crate) mod cease {
    pub const MAX_PREFIXES: u8 = 1;
    pub const SHUTDOWN: u8 = 2;
    pub const DECONFIGURED: u8 = 3;
    pub const RESET: u8 = 4;
    pub const REJECTED: u8 = 5;
    pub const CONFIG_CHANGE: u8 = 6;
    pub const COLLISION: u8 = 7;
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

    /// Words for people; the numbers when there are none.
    pub fn text(&self) -> String {
        let known = match (self.code, self.subcode) {
            (code::HEADER, header::NOT_SYNCHRONIZED) => "Connection not synchronized",
            (code::HEADER, header::BAD_LENGTH) => "Bad message length",
            (code::HEADER, header::BAD_TYPE) => "Bad message type",
            (code::OPEN, open_error::BAD_VERSION) => "Unsupported version number",
            (code::OPEN, open_error::BAD_PEER_AS) => "Bad peer AS",
            (code::OPEN, open_error::BAD_IDENTIFIER) => "Bad BGP identifier",
            (code::OPEN, open_error::UNSUPPORTED_PARAMETER) => "Unsupported optional parameter",
            (code::OPEN, open_error::BAD_HOLD_TIME) => "Unacceptable hold time",
            (code::OPEN, open_error::UNSUPPORTED_CAPABILITY) => "Required capability missing",
            (code::UPDATE, update_error::MALFORMED_ATTRIBUTES) => "Malformed attribute list",
            (code::UPDATE, update_error::UNRECOGNIZED_WELL_KNOWN) => {
                "Unrecognized well-known attribute"
            }
            (code::UPDATE, update_error::OPTIONAL_ATTRIBUTE) => "Optional attribute error",
            (code::UPDATE, update_error::INVALID_NETWORK) => "Invalid network field",
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
            (code::CEASE, 8) => "Out of resources",
            (code::CEASE, 9) => "Hard reset",
            (code::CEASE, cease::BFD_DOWN) => "BFD session down",
            _ => return format!("Error {}.{}", self.code, self.subcode),
        };
        known.to_owned()
    }
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
    }
}
