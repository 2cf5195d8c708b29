//! From the bytes of a query to the bytes of an answer.

use crate::lookup::Item;
use crate::query::{self, Edns, Header, Malformed, Question};
use crate::record::{CLASS_IN, Rdata, rtype};
use crate::writer::{Rcode, Section, UDP_PAYLOAD, Writer};
use crate::zone::Place;
use crate::{Name, Zone};

/// The smallest UDP payload that every client takes (RFC 1035 §2.3.4).
const UDP_MINIMUM: u16 = 512;
/// The largest message over TCP (RFC 1035 §4.2.2).
const TCP_LIMIT: usize = 65_535;
/// How many aliases in our own zones are followed.
const MAX_ALIASES: usize = 8;

/// How a query came, which decides how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// 512 octets, or what EDNS says up to 1232; what is longer is truncated with TC.
    Udp,
    /// 65,535 octets. Queries and answers are without the two length octets in front.
    Tcp,
}

/// Why a query was refused (REFUSED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name is in none of our zones. A forwarder takes these.
    NotOurZone,
    /// Another class than IN.
    Class,
    /// AXFR or IXFR.
    Transfer,
}

/// Why there is no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Shorter than a header: there is no id to answer with.
    Short,
    /// It is a response; answering it could go on for ever.
    Response,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Records.
    Answered,
    /// The name exists, without records of that type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// REFUSED.
    Refused(Refused),
    /// FORMERR.
    FormErr(Malformed),
    /// NOTIMP: an opcode other than QUERY.
    NotImp,
    /// BADVERS: an EDNS version other than 0 (RFC 6891 §6.1.3).
    BadVers,
    /// No answer.
    Dropped(Dropped),
}

impl Outcome {
    /// The stable name, as shown wherever this outcome is shown.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::NoData => "no-data",
            Outcome::NxDomain => "nxdomain",
            Outcome::Refused(Refused::NotOurZone) => "not-our-zone",
            Outcome::Refused(Refused::Class) => "class-refused",
            Outcome::Refused(Refused::Transfer) => "transfer-refused",
            Outcome::FormErr(malformed) => malformed.name(),
            Outcome::NotImp => "opcode-unknown",
            Outcome::BadVers => "edns-version-unknown",
            Outcome::Dropped(Dropped::Short) => "too-short",
            Outcome::Dropped(Dropped::Response) => "not-a-query",
        }
    }
}

/// An answer and why it is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What to send back, unless nothing.
    pub bytes: Option<Vec<u8>>,
    /// Why.
    pub outcome: Outcome,
    /// Whether records were left out and TC is set.
    pub truncated: bool,
}

/// An authoritative server for one [`Zone`].
#[derive(Clone, Debug)]
pub struct Server {
    zone: Zone,
}

impl Server {
    /// A server for this zone.
    pub fn new(zone: Zone) -> Server {
        Server { zone }
    }

    /// Answers from this zone from now on.
    pub fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
    }

    /// The zone, to be changed in place ([`Zone::update`], [`Zone::set_pods`]).
    pub fn zone_mut(&mut self) -> &mut Zone {
        &mut self.zone
    }

    /// The answer to a query; none where there must be none.
    pub fn answer(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        self.handle(query, transport).bytes
    }

    /// The answer and why. [`Refused::NotOurZone`] is the seam for a forwarder: it may send another answer instead.
    pub fn handle(&self, query: &[u8], transport: Transport) -> Reply {
        let Some(header) = Header::read(query) else {
            return dropped(Dropped::Short);
        };
        if header.is_response() {
            return dropped(Dropped::Response);
        }
        if header.opcode() != 0 {
            return short(header, None, None, Rcode::NotImp, Outcome::NotImp);
        }
        let (question, end) = match query::question(query, header) {
            Ok(read) => read,
            Err(malformed) => return form_err(header, None, malformed),
        };
        let edns = match query::edns(query, header, end) {
            Ok(edns) => edns,
            Err(malformed) => return form_err(header, Some(&question), malformed),
        };
        if edns.is_some_and(|e| e.version != 0) {
            return short(
                header,
                Some(&question),
                edns,
                Rcode::BadVers,
                Outcome::BadVers,
            );
        }
        let refused = match question.qtype {
            _ if question.qclass != CLASS_IN => Some(Refused::Class),
            rtype::AXFR | rtype::IXFR => Some(Refused::Transfer),
            _ if self.zone.apex(&question.name).is_none() => Some(Refused::NotOurZone),
            _ => None,
        };
        if let Some(reason) = refused {
            let outcome = Outcome::Refused(reason);
            return short(header, Some(&question), edns, Rcode::Refused, outcome);
        }
        self.resolve(header, &question, edns, limit(transport, edns))
    }

    /// Answers a question whose name is in one of our zones, following aliases while they stay there
    /// (RFC 1034 §4.3.2).
    fn resolve(
        &self,
        header: Header,
        question: &Question<'_>,
        edns: Option<Edns>,
        limit: usize,
    ) -> Reply {
        let mut writer = Writer::new(header, Some(question), edns, limit);
        let mut owner = question.name.clone();
        let mut followed = Vec::new();
        let mut outcome = Outcome::Answered;
        let mut rcode = Rcode::NoError;
        while followed.len() < MAX_ALIASES && !followed.contains(&owner) {
            let Some(apex) = self.zone.apex(&owner) else {
                break;
            };
            let place = self.zone.place(&apex, &owner);
            if let Place::Alias(target) = &place
                && question.qtype != rtype::CNAME
            {
                let alias = Rdata::Cname(target.clone());
                if !writer.record(Section::Answer, &owner, &alias) {
                    writer.truncate();
                }
                if question.qtype == rtype::ANY {
                    break;
                }
                followed.push(std::mem::replace(&mut owner, target.clone()));
                continue;
            }
            if self.answer_place(&mut writer, &owner, &place, question.qtype, header.id) {
                break;
            }
            (outcome, rcode) = match place {
                Place::Nothing => (Outcome::NxDomain, Rcode::NxDomain),
                _ => (Outcome::NoData, Rcode::NoError),
            };
            // RFC 2308 §3: the SOA lets resolvers keep the absence.
            if !writer.record(Section::Authority, &apex, &self.zone.soa()) {
                writer.truncate();
            }
            break;
        }
        let truncated = writer.is_truncated();
        Reply {
            bytes: Some(writer.finish(rcode, true)),
            outcome,
            truncated,
        }
    }

    /// Writes the records of a type, until one does not fit; false when there are none. They begin where the query's id
    /// says, so that clients that take the first of several addresses spread over all, over a truncated set too.
    fn answer_place(
        &self,
        writer: &mut Writer<'_>,
        owner: &Name,
        place: &Place<'_>,
        qtype: u16,
        id: u16,
    ) -> bool {
        if qtype == rtype::ANY {
            if matches!(place, Place::Nothing | Place::Empty) {
                return false;
            }
            // RFC 8482 §4.2: one record that says that there is no full answer.
            let (cpu, os) = ("RFC8482", "");
            if !writer.record(Section::Answer, owner, &Rdata::Hinfo { cpu, os }) {
                writer.truncate();
            }
            return true;
        }
        let mut is_answered = false;
        let mut additional = Vec::new();
        for item in self.zone.records(place, qtype, usize::from(id)) {
            match item {
                Item::Additional(name, address) => additional.push((name, address)),
                Item::Answer(rdata) => {
                    is_answered = true;
                    if !writer.record(Section::Answer, owner, &rdata) {
                        writer.truncate();
                        return true;
                    }
                }
            }
        }
        for (name, address) in additional {
            // RFC 2181 §9: additional records are left out without TC.
            if !writer.record(Section::Additional, &name, &Rdata::of_address(address)) {
                break;
            }
        }
        is_answered
    }
}

fn limit(transport: Transport, edns: Option<Edns>) -> usize {
    match transport {
        Transport::Tcp => TCP_LIMIT,
        Transport::Udp => {
            // RFC 6891 §6.2.5: less than 512 is read as 512.
            let payload = edns.map_or(UDP_MINIMUM, |e| e.payload);
            usize::from(payload.clamp(UDP_MINIMUM, UDP_PAYLOAD))
        }
    }
}

fn dropped(reason: Dropped) -> Reply {
    Reply {
        bytes: None,
        outcome: Outcome::Dropped(reason),
        truncated: false,
    }
}

fn form_err(header: Header, question: Option<&Question<'_>>, malformed: Malformed) -> Reply {
    let outcome = Outcome::FormErr(malformed);
    short(header, question, None, Rcode::FormErr, outcome)
}

/// An answer without records.
fn short(
    header: Header,
    question: Option<&Question<'_>>,
    edns: Option<Edns>,
    rcode: Rcode,
    outcome: Outcome,
) -> Reply {
    let writer = Writer::new(header, question, edns, usize::from(UDP_MINIMUM));
    Reply {
        bytes: Some(writer.finish(rcode, false)),
        outcome,
        truncated: false,
    }
}
