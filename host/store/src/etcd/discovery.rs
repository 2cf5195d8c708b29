//! etcd's members by DNS: SRV records (RFC 2782) of `_etcd-client-ssl._tcp.DOMAIN`, spoken to by TLS, and of
//! `_etcd-client._tcp.DOMAIN`, spoken to without.
//!
//! A stub resolver for this one question: the servers of `resolv.conf` in turn, by UDP, and by TCP what does not fit. The system's own
//! resolver has no call for SRV records.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::options::Endpoint;

/// Where the system says which DNS servers to ask.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one server is waited for, and how often each is asked (resolv.conf(5): `timeout`, `attempts`).
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// As many servers as the system's resolver asks (resolv.conf(5), MAXNS).
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;

const SRV: u16 = 33;
const IN: u16 = 1;
/// Octets of a name's text form that are never exceeded, and jumps of compression that a name may take (RFC 1035 §4.1.4).
const LONGEST_NAME: usize = 255;
const MOST_JUMPS: usize = 64;

/// The members that the domain names.
///
/// # Errors
/// That there are none, with what each question was answered.
pub(super) fn members(domain: &str, resolv_conf: &Path) -> Result<Vec<Endpoint>, String> {
    let servers = Servers::read(resolv_conf);
    let mut found = Vec::new();
    let mut answers = Vec::new();
    for (service, tls) in [("_etcd-client-ssl", true), ("_etcd-client", false)] {
        let name = format!("{service}._tcp.{}", domain.trim_end_matches('.'));
        match servers.ask(&name) {
            Ok(mut records) => {
                records.sort_by_key(|r| (r.priority, u16::MAX - r.weight));
                if records.is_empty() {
                    answers.push(format!("{name}: no SRV records"));
                }
                found.extend(records.into_iter().map(|record| Endpoint {
                    host: record.target,
                    port: record.port,
                    tls,
                }));
            }
            Err(why) => answers.push(format!("{name}: {why}")),
        }
    }
    match found.is_empty() {
        true => Err(answers.join("; ")),
        false => Ok(found),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    priority: u16,
    weight: u16,
    port: u16,
    target: String,
}

/// Whom to ask.
#[derive(Debug)]
struct Servers {
    addresses: Vec<SocketAddr>,
    timeout: Duration,
    attempts: usize,
}

impl Servers {
    /// Reads `resolv.conf`; without one, or without a server in it, this machine is asked.
    fn read(path: &Path) -> Servers {
        Servers::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(text: &str) -> Servers {
        let mut servers = Servers {
            addresses: Vec::new(),
            timeout: TIMEOUT,
            attempts: ATTEMPTS,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers
                        .addresses
                        .extend(address.map(|a| SocketAddr::new(a, PORT)));
                }
                Some("options") => {
                    for option in words {
                        match option.split_once(':') {
                            Some(("timeout", n)) => {
                                let seconds = n.parse().unwrap_or(TIMEOUT.as_secs());
                                servers.timeout = Duration::from_secs(seconds.clamp(1, 30));
                            }
                            Some(("attempts", n)) => {
                                servers.attempts = n.parse().unwrap_or(ATTEMPTS).clamp(1, 5);
                            }
                            Some(_) | None => {}
                        }
                    }
                }
                Some(_) | None => {}
            }
        }
        servers.addresses.truncate(MOST_SERVERS);
        if servers.addresses.is_empty() {
            servers
                .addresses
                .push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        servers
    }

    /// The SRV records of a name; empty where the name has none.
    fn ask(&self, name: &str) -> Result<Vec<Record>, String> {
        let mut why = String::new();
        for attempt in 0..self.attempts {
            for server in &self.addresses {
                let id = RandomState::new().hash_one(attempt) as u16;
                let question = question(id, name)?;
                match self.exchange(*server, &question) {
                    Ok(records) => return Ok(records),
                    Err(Wrong::Answer(text)) => return Err(format!("{} says {text}", server.ip())),
                    Err(Wrong::NoAnswer(text)) => why = format!("{}: {text}", server.ip()),
                }
            }
        }
        Err(why)
    }

    fn exchange(&self, server: SocketAddr, question: &[u8]) -> Result<Vec<Record>, Wrong> {
        let answer = by_udp(server, question, self.timeout)?;
        match read_answer(&answer, question)? {
            Some(records) => Ok(records),
            // It did not fit.
            None => {
                let answer = by_tcp(server, question, self.timeout)?;
                let records = read_answer(&answer, question)?;
                records.ok_or_else(|| Wrong::NoAnswer("an answer that is cut off".to_string()))
            }
        }
    }
}

/// Why there are no records.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// The server says that there are none; others would say the same.
    Answer(String),
    /// Another server may know more.
    NoAnswer(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong::NoAnswer(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer".to_string(),
            _ => error.to_string(),
        })
    }
}

fn by_udp(server: SocketAddr, question: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question, and only this server's answers.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let end = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = socket.recv(&mut buffer)?;
        // A late answer to another question is passed over.
        if buffer[..length].get(..2) == Some(&question[..2]) {
            return Ok(buffer[..length].to_vec());
        }
    }
}

fn by_tcp(server: SocketAddr, question: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A query for a name's SRV records, with recursion desired (RFC 1035 §4.1).
fn question(id: u16, name: &str) -> Result<Vec<u8>, String> {
    let mut message = Vec::from(id.to_be_bytes());
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        match u8::try_from(label.len()) {
            Ok(length @ 1..=63) => message.push(length),
            Ok(_) | Err(_) => return Err("it is no domain name".to_string()),
        }
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(SRV.to_be_bytes());
    message.extend(IN.to_be_bytes());
    match message.len() > 12 + LONGEST_NAME + 4 {
        true => Err("it is longer than a domain name may be".to_string()),
        false => Ok(message),
    }
}

/// The records of an answer; `None` where it is cut off.
fn read_answer(message: &[u8], question: &[u8]) -> Result<Option<Vec<Record>>, Wrong> {
    let broken = || Wrong::NoAnswer("an answer that is no DNS message".to_string());
    let flags = word(message, 2).ok_or_else(broken)?;
    let asked = question.get(12..).unwrap_or_default();
    let repeated = message.get(12..12 + asked.len()).unwrap_or_default();
    if flags & 0x8000 == 0 || !repeated.eq_ignore_ascii_case(asked) {
        return Err(broken());
    }
    if flags & 0x0200 != 0 {
        return Ok(None);
    }
    match flags & 0x000f {
        0 => {}
        3 => return Err(Wrong::Answer("that there is no such name".to_string())),
        2 => return Err(Wrong::NoAnswer("the server failed (SERVFAIL)".to_string())),
        5 => return Err(Wrong::NoAnswer("the server refuses (REFUSED)".to_string())),
        code => return Err(Wrong::NoAnswer(format!("the server's error {code}"))),
    }
    let count = word(message, 6).ok_or_else(broken)?;
    let mut at = 12 + asked.len();
    let mut records = Vec::new();
    for _ in 0..count {
        at = name(message, at).ok_or_else(broken)?.1;
        let (kind, class) = (word(message, at), word(message, at + 2));
        let length = word(message, at + 8).ok_or_else(broken)?;
        let data = at + 10;
        if (kind, class) == (Some(SRV), Some(IN)) {
            records.extend(record(message, data).ok_or_else(broken)?);
        }
        at = data + usize::from(length);
    }
    Ok(Some(records))
}

/// An SRV record; none where the target is the root, which says that the service is not offered (RFC 2782).
fn record(message: &[u8], at: usize) -> Option<Option<Record>> {
    let (target, _) = name(message, at + 6)?;
    let record = Record {
        priority: word(message, at)?,
        weight: word(message, at + 2)?,
        port: word(message, at + 4)?,
        target,
    };
    Some(Some(record).filter(|r| !r.target.is_empty()))
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    let octets = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

/// A name, without the dot at its end, and where what follows it begins.
fn name(message: &[u8], from: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut at = from;
    let mut end = None;
    for _ in 0..MOST_JUMPS + LONGEST_NAME {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + length)?;
                let is_host = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
                if !label.iter().all(is_host) {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(std::str::from_utf8(label).ok()?);
                if text.len() > LONGEST_NAME {
                    return None;
                }
                at += 1 + length;
            }
            0xc0.. => {
                end.get_or_insert(at + 2);
                at = usize::from(word(message, at)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_servers() {
        let servers = Servers::parse(
            "# made by hand\nsearch example.net\nnameserver 10.0.0.53\nnameserver fd00::53\nnameserver bogus\noptions ndots:1 timeout:1 attempts:9\n",
        );
        let addresses = ["10.0.0.53:53", "[fd00::53]:53"].map(|a| a.parse().unwrap());
        assert_eq!(servers.addresses, addresses);
        assert_eq!(
            (servers.timeout, servers.attempts),
            (Duration::from_secs(1), 5)
        );
        let none = Servers::parse("");
        assert_eq!(none.addresses, ["127.0.0.1:53".parse().unwrap()]);
    }

    /// An answer with one SRV record, whose target is told by a pointer at the name of the question.
    fn answer(flags: [u8; 2]) -> (Vec<u8>, Vec<u8>) {
        let question = question(7, "_etcd-client._tcp.example.net").unwrap();
        let mut message = question.clone();
        message[2..4].copy_from_slice(&flags);
        message[7] = 1;
        message.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 11]);
        message.extend([0, 1, 0, 2, 0x09, 0x4b, 2, b'e', b'1']);
        // `example.net` begins behind the two labels.
        message.extend([0xc0, 12 + 13 + 5]);
        (message, question)
    }

    #[test]
    fn answers_are_read() {
        let (message, question) = answer([0x81, 0x80]);
        let record = Record {
            priority: 1,
            weight: 2,
            port: 2379,
            target: "e1.example.net".to_string(),
        };
        assert_eq!(read_answer(&message, &question), Ok(Some(vec![record])));
        let (cut, _) = answer([0x83, 0x80]);
        assert_eq!(read_answer(&cut, &question), Ok(None));
        let (absent, _) = answer([0x81, 0x83]);
        assert!(matches!(
            read_answer(&absent, &question),
            Err(Wrong::Answer(_))
        ));
        let (failed, _) = answer([0x81, 0x82]);
        assert!(matches!(
            read_answer(&failed, &question),
            Err(Wrong::NoAnswer(_))
        ));
    }

    #[test]
    fn whatever_comes_is_answered() {
        let (message, question) = answer([0x81, 0x80]);
        for length in 0..message.len() {
            assert!(
                read_answer(&message[..length], &question).is_err(),
                "{length}"
            );
        }
        for at in 0..message.len() {
            for octet in 0..=255 {
                let mut changed = message.clone();
                changed[at] = octet;
                let _ = read_answer(&changed, &question);
            }
        }
        // A pointer at itself.
        let mut ring = message.clone();
        let last = ring.len() - 1;
        ring[last] = u8::try_from(last - 1).unwrap();
        assert!(read_answer(&ring, &question).is_err());
    }
}
