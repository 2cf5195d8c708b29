//! Measuring tools that work as an ordinary user in a namespace: `selvedge lab probe ...`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// EtherType of IPv4, in network order as packet(7) wants it.
const ETH_P_IP: i32 = (0x0800_u16.to_be()) as i32;

/// ICMP types (RFC 792).
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const REDIRECT: u8 = 5;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;

/// How an ICMP echo request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// The address answered; the answer's remaining TTL.
    Answer(u8),
    /// Somebody said unreachable; who, and the code (RFC 792, RFC 1812 §5.2.7.1).
    Unreachable(Ipv4Addr, u8),
    /// Somebody counted the TTL down to nothing: a loop.
    Expired(Ipv4Addr),
    /// Nobody said anything in time.
    Silence,
}

/// Counts ICMP redirects on this host's interfaces while a command runs; prints the sum and who sent them.
///
/// Reads a packet socket: needs CAP_NET_RAW in this network namespace. Returns the command's exit status.
pub fn redirects(command: &[String]) -> Result<i32> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command to run")
    };
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ETH_P_IP)))
        .context("cannot open a packet socket (needs CAP_NET_RAW)")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| listen(&socket, &done));
        let status = Command::new(program)
            .args(arguments)
            .status()
            .with_context(|| format!("cannot run {program}"));
        done.store(true, Ordering::Relaxed);
        let seen = listener.join().expect("the listener does not panic")?;
        let first = seen
            .first()
            .map(|(from, to)| format!(" (the first from {from} to {to})"));
        println!(
            "redirects seen: {}{}",
            seen.len(),
            first.unwrap_or_default()
        );
        Ok(status?.code().unwrap_or(1))
    })
}

fn listen(mut socket: &Socket, done: &AtomicBool) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>> {
    let mut seen = Vec::new();
    let mut packet = [0; 2048];
    loop {
        match socket.read(&mut packet) {
            Ok(length) => {
                let redirect = icmp(&packet[..length]).filter(|icmp| icmp.kind == REDIRECT);
                seen.extend(redirect.map(|icmp| (icmp.from, icmp.to)));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if done.load(Ordering::Relaxed) {
                    return Ok(seen);
                }
            }
            // An interface that went down is an event of the scenario, not the end of the count.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::NetworkDown
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Icmp<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    ttl: u8,
    kind: u8,
    code: u8,
    body: &'a [u8],
}

/// Reads an IPv4 packet that carries ICMP.
fn icmp(packet: &[u8]) -> Option<Icmp<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let address = |at: usize| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    if packet[0] >> 4 != 4 || *packet.get(9)? != 1 {
        return None;
    }
    let message = packet.get(header..)?;
    Some(Icmp {
        from: address(12)?,
        to: address(16)?,
        ttl: packet[8],
        kind: *message.first()?,
        code: *message.get(1)?,
        body: message.get(4..)?,
    })
}

/// Opens `count` connections at once, asks each for a page and counts those on which an answer comes.
///
/// Prints both numbers; exit status 0 when `least` or more carried data.
pub fn tcp(to: SocketAddrV4, count: usize, least: usize, limit: Duration) -> Result<i32> {
    let results: Vec<(bool, bool)> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..count)
            .map(|_| scope.spawn(move || one_connection(to, limit)))
            .collect();
        tries
            .into_iter()
            .map(|tried| tried.join().expect("a connection does not panic"))
            .collect()
    });
    let opened = results.iter().filter(|(opened, _)| *opened).count();
    let carried = results.iter().filter(|(_, carried)| *carried).count();
    println!("{opened} of {count} connections open, {carried} of {count} carry data");
    Ok(i32::from(carried < least))
}

fn one_connection(to: SocketAddrV4, limit: Duration) -> (bool, bool) {
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::V4(to), limit) else {
        return (false, false);
    };
    let asked = stream.set_read_timeout(Some(limit)).is_ok()
        && write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            to.ip()
        )
        .is_ok();
    let mut answer = [0; 64];
    let carried = asked
        && stream
            .read(&mut answer)
            .is_ok_and(|length| answer[..length].starts_with(b"HTTP/1."));
    // Best effort: the far end may never hear of it.
    let _ = stream.shutdown(Shutdown::Both);
    (true, carried)
}

/// Sends one ICMP echo request and prints how it ended and when; exit status 0 when it was answered.
pub fn echo(to: Ipv4Addr, limit: Duration) -> Result<i32> {
    let (ended, took) = echo_once(to, limit)?;
    let took = took.as_secs_f64() * 1e3;
    match ended {
        Echo::Answer(ttl) => println!("{to} answers in {took:.1} ms, ttl {ttl}"),
        Echo::Unreachable(from, code) => {
            println!("{to} unreachable, says {from} in {took:.1} ms (code {code})")
        }
        Echo::Expired(from) => println!("{to}: ttl exceeded, says {from} in {took:.1} ms: a loop"),
        Echo::Silence => println!("{to}: silence for {took:.0} ms"),
    }
    Ok(i32::from(!matches!(ended, Echo::Answer(_))))
}

fn echo_once(to: Ipv4Addr, limit: Duration) -> Result<(Echo, Duration)> {
    let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))
        .context("cannot open a raw socket (needs CAP_NET_RAW)")?;
    let ident = u16::try_from(std::process::id() & 0xffff)
        .expect("masked to 16 bits")
        .to_be_bytes();
    let mut request = vec![ECHO, 0, 0, 0, ident[0], ident[1], 0, 1];
    request.extend_from_slice(b"selvedge lab probe echo.");
    let sum = checksum(&request).to_be_bytes();
    request[2..4].copy_from_slice(&sum);

    let began = Instant::now();
    let target = SocketAddr::V4(SocketAddrV4::new(to, 0));
    match socket.send_to(&request, &target.into()) {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            ) =>
        {
            return Ok((Echo::Unreachable(Ipv4Addr::LOCALHOST, 0), began.elapsed()));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot send to {to}")),
    }
    let mut packet = [0; 2048];
    loop {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok((Echo::Silence, began.elapsed()));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.read(&mut packet) {
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(ended) = icmp(&packet[..length]).and_then(|icmp| ours(&icmp, ident)) {
            return Ok((ended, began.elapsed()));
        }
    }
}

/// What a message says about our request; nothing when it is about another.
fn ours(icmp: &Icmp<'_>, ident: [u8; 2]) -> Option<Echo> {
    // An error carries the packet it is about: its IPv4 header, then eight bytes (RFC 792).
    let about = |body: &[u8]| {
        let inner = body.get(4..)?;
        let header = usize::from(inner.first()? & 0x0f) * 4;
        (inner.get(header + 4..header + 6)? == ident).then_some(())
    };
    match icmp.kind {
        ECHO_REPLY if icmp.body.get(..2) == Some(&ident) => Some(Echo::Answer(icmp.ttl)),
        UNREACHABLE => about(icmp.body).map(|()| Echo::Unreachable(icmp.from, icmp.code)),
        TIME_EXCEEDED => about(icmp.body).map(|()| Echo::Expired(icmp.from)),
        _ => None,
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| (u32::from(pair[0]) << 8) | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// Prints what this host forwarded and how many redirects it sent since it booted.
pub fn forwarded() -> Result<i32> {
    let text = std::fs::read_to_string("/proc/net/snmp").context("cannot read /proc/net/snmp")?;
    let read = |field| snmp(&text, field).with_context(|| format!("no {field} in /proc/net/snmp"));
    println!(
        "forwarded: {}\nredirects sent: {}",
        read("ForwDatagrams")?,
        read("OutRedirects")?
    );
    Ok(0)
}

/// A counter of /proc/net/snmp: a line of names, then one of numbers, for each protocol.
pub(crate) fn snmp(text: &str, field: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(2).find_map(|pair| {
        let at = pair
            .first()?
            .split_whitespace()
            .position(|name| name == field)?;
        pair.get(1)?.split_whitespace().nth(at)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "Ip: Forwarding ForwDatagrams\nIp: 1 64\nIcmp: InMsgs OutRedirects\nIcmp: 3 7\n";
        let read = |field| snmp(text, field);
        assert_eq!(
            (read("ForwDatagrams"), read("OutRedirects"), read("Absent")),
            (Some(64), Some(7), None)
        );
    }

    #[test]
    fn an_error_counts_only_when_it_is_about_our_request() {
        // Host unreachable from 10.20.1.84 to 10.20.1.222 about an echo request with identifier 0x1234.
        let mut packet = vec![
            0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 10, 20, 1, 84, 10, 20, 1, 222,
        ];
        packet.extend([UNREACHABLE, 1, 0, 0, 0, 0, 0, 0]);
        packet.extend([
            0x45, 0, 0, 28, 0, 0, 0, 0, 63, 1, 0, 0, 10, 20, 1, 222, 10, 200, 1, 250,
        ]);
        packet.extend([ECHO, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let message = icmp(&packet).expect("ICMP");
        assert_eq!(
            ours(&message, [0x12, 0x34]),
            Some(Echo::Unreachable(Ipv4Addr::new(10, 20, 1, 84), 1))
        );
        assert_eq!(ours(&message, [0x12, 0x35]), None);
    }

    #[test]
    fn the_checksum_of_a_whole_message_is_zero() {
        let mut message = vec![ECHO, 0, 0, 0, 1, 2, 3, 4];
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        assert_eq!(checksum(&message), 0);
    }
}
