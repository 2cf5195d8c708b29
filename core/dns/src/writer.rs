//! Writing an answer (RFC 1035 §4.1).

use crate::Name;
use crate::query::{Edns, HEADER, Header, Question};
use crate::record::{CLASS_IN, Rdata, TTL, rtype};

/// Octets of an OPT record without options.
const OPT_SIZE: usize = 11;
/// What we say we can take over UDP: fits an IPv6 packet on any link (RFC 9715 §3.1 recommends at most 1400; 1232 is what
/// the field's servers agreed on).
pub(crate) const UDP_PAYLOAD: u16 = 1232;

/// Which section a record goes to; records must be written in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

/// Extended response codes (RFC 6895 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rcode {
    NoError = 0,
    FormErr = 1,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    BadVers = 16,
}

/// An answer while it is written. What does not fit is left out whole, a record at a time.
pub(crate) struct Writer<'a> {
    buffer: Vec<u8>,
    counts: [u16; 4],
    /// Octets that records may use.
    limit: usize,
    question: Option<&'a Question<'a>>,
    edns: Option<Edns>,
    header: Header,
    truncated: bool,
}

impl<'a> Writer<'a> {
    /// Begins an answer of at most `limit` octets, OPT included when the query had one.
    pub(crate) fn new(
        header: Header,
        question: Option<&'a Question<'a>>,
        edns: Option<Edns>,
        limit: usize,
    ) -> Writer<'a> {
        let mut buffer = Vec::with_capacity(512.min(limit));
        buffer.extend_from_slice(&[0; HEADER]);
        if let Some(question) = question {
            buffer.extend_from_slice(question.wire);
        }
        Writer {
            buffer,
            counts: [u16::from(question.is_some()), 0, 0, 0],
            limit: limit - if edns.is_some() { OPT_SIZE } else { 0 },
            question,
            edns,
            header,
            truncated: false,
        }
    }

    /// Adds a record; false when it does not fit, and then nothing of it is written.
    pub(crate) fn record(&mut self, section: Section, owner: &Name, rdata: &Rdata) -> bool {
        let start = self.buffer.len();
        self.name(owner);
        self.word(rdata.rtype());
        self.word(CLASS_IN);
        self.buffer.extend_from_slice(&TTL.to_be_bytes());
        let length_at = self.buffer.len();
        self.word(0);
        self.rdata(rdata);
        let length = self.buffer.len() - length_at - 2;
        let count = &mut self.counts[section as usize];
        let length = u16::try_from(length).ok();
        match (length, count.checked_add(1)) {
            (Some(length), Some(more)) if self.buffer.len() <= self.limit => {
                self.buffer[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
                *count = more;
                true
            }
            _ => {
                self.buffer.truncate(start);
                false
            }
        }
    }

    /// Says that records that were asked for did not fit (RFC 2181 §9).
    pub(crate) fn truncate(&mut self) {
        self.truncated = true;
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The message. RD and CD are copied (RFC 1035 §4.1.1, RFC 4035 §3.2.2), RA and AD are never set.
    pub(crate) fn finish(mut self, rcode: Rcode, authoritative: bool) -> Vec<u8> {
        let code = rcode as u16;
        if let Some(edns) = self.edns {
            let extended = code >> 4;
            let dnssec_ok = u16::from(edns.dnssec_ok) << 15;
            self.buffer.push(0);
            self.word(rtype::OPT);
            self.word(UDP_PAYLOAD);
            self.word(extended << 8);
            self.word(dnssec_ok);
            self.word(0);
            self.counts[Section::Additional as usize] += 1;
        }
        let copied = self.header.flags & 0x7910;
        let flags = 0x8000
            | copied
            | u16::from(authoritative) << 10
            | u16::from(self.truncated) << 9
            | code & 0xf;
        let words = [
            self.header.id,
            flags,
            self.counts[0],
            self.counts[1],
            self.counts[2],
            self.counts[3],
        ];
        for (chunk, word) in self.buffer.chunks_exact_mut(2).zip(words) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        self.buffer
    }

    fn word(&mut self, word: u16) {
        self.buffer.extend_from_slice(&word.to_be_bytes());
    }

    /// A name, its tail as a pointer into the question where the question has that tail.
    fn name(&mut self, name: &Name) {
        if let Some(question) = self.question {
            if *name == question.name {
                return self.word(0xc000 | HEADER as u16);
            }
            for at in name.starts() {
                let tail = &name.wire()[at..];
                let same = question
                    .name
                    .starts()
                    .find(|q| &question.name.wire()[*q..] == tail);
                if let Some(q) = same {
                    self.buffer.extend_from_slice(&name.wire()[..at]);
                    // The question's name begins at 12 and has at most 255 octets.
                    self.word(0xc000 | (HEADER + q) as u16);
                    return;
                }
            }
        }
        self.buffer.extend_from_slice(name.wire());
    }

    fn rdata(&mut self, rdata: &Rdata) {
        match rdata {
            Rdata::A(address) => self.buffer.extend_from_slice(&address.octets()),
            Rdata::Aaaa(address) => self.buffer.extend_from_slice(&address.octets()),
            Rdata::Ns(name) | Rdata::Cname(name) | Rdata::Ptr(name) => self.name(name),
            Rdata::Srv { port, target } => {
                self.word(0);
                self.word(100);
                self.word(*port);
                // RFC 2782: the target is not compressed.
                self.buffer.extend_from_slice(target.wire());
            }
            Rdata::Txt(text) => self.string(text),
            Rdata::Hinfo { cpu, os } => {
                self.string(cpu);
                self.string(os);
            }
            Rdata::Soa {
                mname,
                rname,
                serial,
            } => {
                self.name(mname);
                self.name(rname);
                // Refresh, retry, expire as CoreDNS has them; the last is how long an absence is kept (RFC 2308 §4).
                for number in [*serial, 7200, 1800, 86_400, TTL] {
                    self.buffer.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
    }

    /// A character-string (RFC 1035 §3.3) of our own, which are all short.
    fn string(&mut self, text: &str) {
        let length = u8::try_from(text.len()).expect("our own texts are under 256 octets");
        self.buffer.push(length);
        self.buffer.extend_from_slice(text.as_bytes());
    }
}
