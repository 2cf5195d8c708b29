//! Messages as octets: framing, OPEN, UPDATE, NOTIFICATION, ROUTE-REFRESH.

pub(crate) mod attribute;
pub(crate) mod nlri;
pub(crate) mod notification;
pub(crate) mod open;
pub(crate) mod refresh;
pub(crate) mod update;

use notification::{Notification, code, header};

/// Marker, length and type (RFC 4271 §4.1).
pub(crate) const HEADER: usize = 19;
/// Greatest message without the extended message capability.
pub(crate) const MAX_MESSAGE: usize = 4096;
/// Greatest message with it (RFC 8654).
pub(crate) const MAX_EXTENDED: usize = 65535;
/// Stands for a four-octet AS number towards a peer that knows two (RFC 6793 §9).
pub(crate) const AS_TRANS: u16 = 23456;

/// Message types (RFC 4271 §4.1, RFC 2918 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open = 1,
    Update = 2,
    Notification = 3,
    Keepalive = 4,
    RouteRefresh = 5,
}

/// One whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub kind: Kind,
    pub body: &'a [u8],
    /// With its header.
    pub length: usize,
}

/// Cuts the first message off `buffer`; `None` when it is not whole yet.
///
/// Errors are those of RFC 4271 §6.1. `max` is what was negotiated.
pub(crate) fn split(buffer: &[u8], max: usize) -> Result<Option<Message<'_>>, Notification> {
    let marker = buffer.len().min(16);
    if buffer[..marker].iter().any(|octet| *octet != 0xff) {
        return Err(Notification::new(code::HEADER, header::NOT_SYNCHRONIZED));
    }
    let Some((head, _)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length_field = [head[16], head[17]];
    let length = usize::from(u16::from_be_bytes(length_field));
    let bad_length = || Notification::with_data(code::HEADER, header::BAD_LENGTH, &length_field);
    if length < HEADER || length > max {
        return Err(bad_length());
    }
    let (kind, least, exact) = match head[18] {
        1 => (Kind::Open, 29, false),
        2 => (Kind::Update, 23, false),
        3 => (Kind::Notification, 21, false),
        4 => (Kind::Keepalive, HEADER, true),
        5 => (Kind::RouteRefresh, 23, false),
        other => {
            return Err(Notification::with_data(
                code::HEADER,
                header::BAD_TYPE,
                &[other],
            ));
        }
    };
    // OPEN and KEEPALIVE never exceed the old limit (RFC 8654 §4).
    let too_long = matches!(kind, Kind::Open | Kind::Keepalive) && length > MAX_MESSAGE;
    if length < least || too_long || (exact && length != least) {
        return Err(bad_length());
    }
    Ok(buffer
        .get(HEADER..length)
        .map(|body| Message { kind, body, length }))
}

/// Starts a message; [`finish`] writes its length.
pub(crate) fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind as u8]);
    at
}

/// Ends the message that began at `at`.
pub(crate) fn finish(out: &mut [u8], at: usize) {
    let length = u16::try_from(out.len() - at).expect("messages are cut to the negotiated size");
    out[at + 16..at + 18].copy_from_slice(&length.to_be_bytes());
}

/// A KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    let at = begin(&mut out, Kind::Keepalive);
    finish(&mut out, at);
    out
}

/// Two octets at `at`.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// Four octets at `at`.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes([field[0], field[1], field[2], field[3]]))
}

#[cfg(test)]
mod captured_tests;
#[cfg(test)]
#[path = "tests/differential.rs"]
mod differential_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], max: usize, expected: Result<Option<(Kind, usize)>, (u8, u8)>) {
        let got = split(bytes, max)
            .map(|message| message.map(|m| (m.kind, m.length)))
            .map_err(|n| (n.code, n.subcode));
        assert_eq!(got, expected);
    }

    fn message(length: u16, kind: u8, body: usize) -> Vec<u8> {
        let mut out = vec![0xff; 16];
        out.extend_from_slice(&length.to_be_bytes());
        out.push(kind);
        out.resize(out.len() + body, 0);
        out
    }

    #[test]
    fn framing() {
        check(&[], 4096, Ok(None));
        check(&[0xff; 10], 4096, Ok(None));
        check(&keepalive(), 4096, Ok(Some((Kind::Keepalive, 19))));
        check(&keepalive()[..18], 4096, Ok(None));
        check(&message(23, 2, 4), 4096, Ok(Some((Kind::Update, 23))));
        check(&message(23, 2, 3), 4096, Ok(None));
        check(
            &message(5000, 2, 4981),
            65535,
            Ok(Some((Kind::Update, 5000))),
        );
    }

    #[test]
    fn header_errors() {
        check(&[0xff, 0xfe], 4096, Err((1, 1)));
        check(&message(18, 4, 0), 4096, Err((1, 2)));
        check(&message(4097, 2, 0), 4096, Err((1, 2)));
        check(&message(20, 4, 1), 4096, Err((1, 2)));
        check(&message(28, 1, 9), 4096, Err((1, 2)));
        check(&message(22, 2, 3), 4096, Err((1, 2)));
        check(&message(20, 3, 1), 4096, Err((1, 2)));
        check(&message(5000, 1, 0), 65535, Err((1, 2)));
        check(&message(19, 9, 0), 4096, Err((1, 3)));
    }
}
