//! Reading a query (RFC 1035 §4.1, EDNS RFC 6891).

use crate::Name;
use crate::name::{MAX_LABEL, MAX_NAME};
use crate::record::rtype;

/// Octets of the header.
pub(crate) const HEADER: usize = 12;

/// The header's first two words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    counts: [u16; 4],
}

/// The one question.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// As it came, to be sent back with its letters' case kept.
    pub(crate) wire: &'a [u8],
    pub(crate) name: Name,
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
}

/// What the OPT record says (RFC 6891 §6.1.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edns {
    /// Octets of UDP payload that the sender can take.
    pub(crate) payload: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
}

/// What is wrong with a query that is answered FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not exactly one question (RFC 9619).
    QuestionCount,
    /// The question is cut off, its name too long or compressed.
    Question,
    /// A record after the question is cut off or not well formed.
    Record,
    /// A second OPT record, or one whose name is not the root (RFC 6891 §6.1.1, §6.1.2).
    Opt,
    /// Octets after the last record.
    Trailing,
}

impl Malformed {
    /// The stable name, as shown wherever this reason is shown.
    pub fn name(self) -> &'static str {
        match self {
            Malformed::QuestionCount => "question-count",
            Malformed::Question => "bad-question",
            Malformed::Record => "bad-record",
            Malformed::Opt => "bad-opt",
            Malformed::Trailing => "trailing-octets",
        }
    }
}

impl Header {
    /// None when the message is shorter than a header.
    pub(crate) fn read(message: &[u8]) -> Option<Header> {
        let header: &[u8; HEADER] = message.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some(Header {
            id: word(0),
            flags: word(2),
            counts: [word(4), word(6), word(8), word(10)],
        })
    }

    pub(crate) fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(crate) fn opcode(self) -> u16 {
        self.flags >> 11 & 0xf
    }
}

/// Reads the question that follows the header, and says where it ends.
pub(crate) fn question(message: &[u8], header: Header) -> Result<(Question<'_>, usize), Malformed> {
    if header.counts[0] != 1 {
        return Err(Malformed::QuestionCount);
    }
    let end = uncompressed_name_end(message, HEADER).ok_or(Malformed::Question)?;
    let fixed: &[u8; 4] = message[end..].first_chunk().ok_or(Malformed::Question)?;
    let question = Question {
        wire: &message[HEADER..end + 4],
        name: Name::from_checked_wire(&message[HEADER..end]),
        qtype: u16::from_be_bytes([fixed[0], fixed[1]]),
        qclass: u16::from_be_bytes([fixed[2], fixed[3]]),
    };
    Ok((question, end + 4))
}

/// Walks the records after the question, to the message's last octet, for the OPT record among the additional ones.
pub(crate) fn edns(
    message: &[u8],
    header: Header,
    start: usize,
) -> Result<Option<Edns>, Malformed> {
    let mut at = start;
    let mut edns = None;
    let before_additional = usize::from(header.counts[1]) + usize::from(header.counts[2]);
    let records = before_additional + usize::from(header.counts[3]);
    for index in 0..records {
        let owner_is_root = message.get(at) == Some(&0);
        at = name_end(message, at).ok_or(Malformed::Record)?;
        let fixed: &[u8; 10] = message[at..].first_chunk().ok_or(Malformed::Record)?;
        let record_type = u16::from_be_bytes([fixed[0], fixed[1]]);
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        at += 10;
        let rdata = message.get(at..at + length).ok_or(Malformed::Record)?;
        at += length;
        if record_type != rtype::OPT {
            continue;
        }
        if index < before_additional || edns.is_some() || !owner_is_root || !is_options(rdata) {
            return Err(Malformed::Opt);
        }
        edns = Some(Edns {
            payload: u16::from_be_bytes([fixed[2], fixed[3]]),
            version: fixed[5],
            dnssec_ok: fixed[6] & 0x80 != 0,
        });
    }
    if at == message.len() {
        Ok(edns)
    } else {
        Err(Malformed::Trailing)
    }
}

/// Whether OPT data is a list of (code, length, data) (RFC 6891 §6.1.2).
fn is_options(mut rdata: &[u8]) -> bool {
    while !rdata.is_empty() {
        let Some(fixed) = rdata.first_chunk::<4>() else {
            return false;
        };
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let Some(rest) = rdata.get(4 + length..) else {
            return false;
        };
        rdata = rest;
    }
    true
}

/// The end of a name without pointers: the first name of a message has nothing that it could point to.
fn uncompressed_name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1 + length;
        if length > MAX_LABEL || at - start > MAX_NAME || at > message.len() {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

/// The end of a name that may end in a pointer backwards. What it points to is not followed: only OPT is read of these
/// records, whose name is the root.
fn name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = *message.get(at)?;
        if length & 0xc0 == 0xc0 {
            let target = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            return (HEADER..start).contains(&target).then_some(at + 2);
        }
        let length = usize::from(length);
        at += 1 + length;
        if length > MAX_LABEL || at - start > MAX_NAME || at > message.len() {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}
