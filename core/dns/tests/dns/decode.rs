//! A second decoder, stricter than the crate's own, that writes a message as lines of text.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A decoded message.
#[derive(Debug)]
pub struct Message {
    pub id: u16,
    pub flags: u16,
    /// `NAME TYPE`, letters as they came.
    pub question: Option<String>,
    /// `answer NAME TYPE DATA` and so on; OPT as `opt SIZE rcode+ VERSION DO`.
    pub records: Vec<String>,
    /// Extended response code.
    pub rcode: u16,
}

/// Decodes a whole message; every octet must belong to something, and every TTL must be 5.
pub fn message(bytes: &[u8]) -> Result<Message, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    let [id, flags, questions, answers, authorities, additionals] =
        std::array::from_fn(|_| cursor.word().unwrap_or(u16::MAX));
    if bytes.len() < 12 {
        return Err("short header".into());
    }
    let question = match questions {
        0 => None,
        1 => {
            let name = cursor.name()?;
            let qtype = cursor.word()?;
            cursor.word()?;
            Some(format!("{name} {}", type_name(qtype)))
        }
        n => return Err(format!("{n} questions")),
    };
    let mut decoded = Message {
        id,
        flags,
        question,
        records: Vec::new(),
        rcode: flags & 0xf,
    };
    let sections = [
        ("answer", answers),
        ("authority", authorities),
        ("additional", additionals),
    ];
    for (section, count) in sections {
        for _ in 0..count {
            let line = cursor.record(section, &mut decoded.rcode)?;
            decoded.records.push(line);
        }
    }
    match bytes.len() - cursor.at {
        0 => Ok(decoded),
        n => Err(format!("{n} octets left over")),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], String> {
        let taken = self.bytes.get(self.at..self.at + length);
        let taken = taken.ok_or_else(|| format!("cut off at {}", self.at))?;
        self.at += length;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    fn long(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    /// A name, its pointers followed backwards only.
    fn name(&mut self) -> Result<String, String> {
        let (mut text, mut octets) = (String::new(), 1);
        let (mut at, mut after, mut before) = (self.at, None, self.at);
        loop {
            let length = *self.bytes.get(at).ok_or("name cut off")?;
            if length & 0xc0 == 0xc0 {
                let low = *self.bytes.get(at + 1).ok_or("pointer cut off")?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                if target >= before {
                    return Err(format!("pointer at {at} goes to {target}"));
                }
                after.get_or_insert(at + 2);
                (at, before) = (target, target);
                continue;
            }
            if length > 63 {
                return Err(format!("label of {length}"));
            }
            if length == 0 {
                self.at = after.unwrap_or(at + 1);
                break;
            }
            let end = at + 1 + usize::from(length);
            let label = self.bytes.get(at + 1..end).ok_or("label cut off")?;
            text.push_str(&String::from_utf8_lossy(label));
            text.push('.');
            octets += label.len() + 1;
            at = end;
        }
        if octets > 255 {
            return Err("name too long".into());
        }
        Ok(if text.is_empty() { ".".into() } else { text })
    }

    fn record(&mut self, section: &str, rcode: &mut u16) -> Result<String, String> {
        let owner = self.name()?;
        let record_type = self.word()?;
        let class = self.word()?;
        let ttl = self.long()?;
        let length = usize::from(self.word()?);
        let end = self.at + length;
        if record_type == 41 {
            *rcode |= u16::try_from(ttl >> 24).unwrap() << 4;
            self.take(length)?;
            let dnssec_ok = if ttl & 0x8000 != 0 { " do" } else { "" };
            return Ok(format!(
                "opt {class} version {}{dnssec_ok}",
                ttl >> 16 & 0xff
            ));
        }
        if class != 1 || ttl != 5 {
            return Err(format!("class {class} ttl {ttl}"));
        }
        let data = match record_type {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).unwrap()).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).unwrap()).to_string(),
            2 | 5 | 12 => self.name()?,
            33 => {
                let numbers = [self.word()?, self.word()?, self.word()?];
                let before = self.at;
                let target = self.name()?;
                // Uncompressed: as many octets as text, and the root.
                if self.at - before != target.len() + 1 {
                    return Err("SRV target is compressed".into());
                }
                format!("{numbers:?} {target}")
            }
            6 => {
                let names = format!("{} {}", self.name()?, self.name()?);
                let numbers: Result<Vec<u32>, String> = (0..5).map(|_| self.long()).collect();
                format!("{names} {:?}", numbers?)
            }
            13 | 16 => {
                let mut texts = Vec::new();
                while self.at < end {
                    let size = usize::from(self.take(1)?[0]);
                    texts.push(String::from_utf8_lossy(self.take(size)?).into_owned());
                }
                format!("{texts:?}")
            }
            other => return Err(format!("type {other}")),
        };
        if self.at != end {
            return Err(format!(
                "{} data ends at {}, not {end}",
                type_name(record_type),
                self.at
            ));
        }
        Ok(format!(
            "{section} {owner} {} {data}",
            type_name(record_type)
        ))
    }
}

const TYPES: [(&str, u16); 14] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("HTTPS", 65),
    ("IXFR", 251),
    ("AXFR", 252),
    ("ANY", 255),
];

fn type_name(number: u16) -> String {
    match TYPES.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("TYPE{number}"),
    }
}

/// The number of a type's name, or of `TYPE65280`.
pub fn type_number(name: &str) -> u16 {
    match TYPES.iter().find(|(n, _)| *n == name) {
        Some((_, number)) => *number,
        None => name.strip_prefix("TYPE").unwrap().parse().unwrap(),
    }
}
