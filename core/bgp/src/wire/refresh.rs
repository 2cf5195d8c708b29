//! ROUTE-REFRESH (RFC 2918), with the demarcation of RFC 7313.

use super::notification::{Notification, code};
use super::{Kind, be16, begin, finish, open};
use crate::Family;

/// Message subtypes (RFC 7313 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Request = 0,
    Begin = 1,
    End = 2,
}

/// Family and step; `None` for a family or subtype that is not known, which is ignored.
pub(crate) fn decode(body: &[u8]) -> Option<(Family, Step)> {
    let family = open::family(be16(body, 0)?, *body.get(3)?)?;
    let step = match body.get(2)? {
        0 => Step::Request,
        1 => Step::Begin,
        2 => Step::End,
        _ => return None,
    };
    Some((family, step))
}

/// The length of a message that says where an answer begins or ends. The error has the whole
/// message in it (RFC 7313 §5).
pub(crate) fn check_length(body: &[u8]) -> Result<(), Notification> {
    const INVALID_MESSAGE_LENGTH: u8 = 1;
    let marks = matches!(body.get(2), Some(1 | 2));
    if !marks || body.len() == 4 {
        return Ok(());
    }
    let mut whole = Vec::with_capacity(19 + body.len());
    let at = begin(&mut whole, Kind::RouteRefresh);
    whole.extend_from_slice(body);
    finish(&mut whole, at);
    Err(Notification::with_data(
        code::REFRESH,
        INVALID_MESSAGE_LENGTH,
        &whole,
    ))
}

/// One message.
pub(crate) fn encode(family: Family, step: Step) -> Vec<u8> {
    let mut out = Vec::with_capacity(23);
    let at = begin(&mut out, Kind::RouteRefresh);
    out.extend_from_slice(&open::afi(family).to_be_bytes());
    out.extend_from_slice(&[step as u8, 1]);
    finish(&mut out, at);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for family in Family::ALL {
            for step in [Step::Request, Step::Begin, Step::End] {
                assert_eq!(decode(&encode(family, step)[19..]), Some((family, step)));
            }
        }
        assert_eq!(decode(&[0, 25, 0, 70]), None);
        assert_eq!(decode(&[0, 1, 9, 1]), None);
    }
}
