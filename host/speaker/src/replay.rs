//! An MRT file played to a neighbour as a BGP sender.

use anyhow::{Context, Result, bail, ensure};
use bgp::Asn;
use monitor::replay::{self, Plan, Terms};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to play, and to whom.
#[derive(Clone, Debug)]
pub struct Replay {
    /// An MRT table dump or update file, not compressed.
    pub file: PathBuf,
    /// The neighbour.
    pub to: SocketAddr,
    /// The AS that the sender says.
    pub local_as: Asn,
    /// Its BGP Identifier; its own address if left out, or 192.0.2.1 without an IPv4 one.
    pub router_id: Option<Ipv4Addr>,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// The next hops of all routes, by family.
    pub next_hops: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// The session ends when all was sent; else it stays.
    pub once: bool,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The session is up.
    Up {
        /// What will be sent.
        plan: &'a Plan,
        /// Octets in all.
        octets: u64,
    },
    /// So many octets were sent.
    Sent(u64),
    /// All was sent; the session stays until the neighbour ends it.
    Done,
}

const HOLD_TIME_S: u16 = 180;
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays a file. Returns when all was sent (`once`), or when the neighbour ends the session.
///
/// # Errors
/// When the file cannot be read or is malformed, when there is no session, or the neighbour ends it
/// before all was sent.
pub fn replay(what: &Replay, mut progress: impl FnMut(Progress<'_>)) -> Result<()> {
    let name = what.file.display();
    let file = std::fs::read(&what.file).with_context(|| format!("cannot read {name}"))?;
    ensure!(
        !file.starts_with(&[0x1f, 0x8b]) && !file.starts_with(b"BZh"),
        "{name} is compressed: unpack it first"
    );
    let mut session = Session::open(what)?;
    let own = session.stream.local_addr()?.ip().to_canonical();
    let (v4, v6) = match own {
        IpAddr::V4(own) => (Some(own), None),
        IpAddr::V6(own) => (None, Some(own)),
    };
    let terms = Terms {
        local_as: what.local_as.0,
        remote_as: session.remote_as,
        own: (what.next_hops.0.or(v4), what.next_hops.1.or(v6)),
        replace_next_hop: what.next_hops != (None, None),
    };
    let plan = replay::plan(&file, &terms).with_context(|| format!("{name}"))?;
    drop(file);
    let octets = plan.messages.iter().map(|m| m.len() as u64).sum();
    progress(Progress::Up {
        plan: &plan,
        octets,
    });
    session.send_all(&plan.messages, &mut |sent| progress(Progress::Sent(sent)))?;
    progress(Progress::Done);
    if what.once {
        return session.drain();
    }
    session.stay()
}

struct Session {
    stream: TcpStream,
    remote_as: u32,
    input: Vec<u8>,
    keepalive: Duration,
    said: Instant,
    heard: Instant,
    hold: Duration,
}

impl Session {
    fn open(what: &Replay) -> Result<Self> {
        let to = what.to;
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(to),
            socket2::Type::STREAM,
            None,
        )?;
        if let Some(source) = what.source {
            socket
                .bind(&SocketAddr::new(source, 0).into())
                .with_context(|| format!("cannot send from {source}"))?;
        }
        socket
            .connect_timeout(&to.into(), PATIENCE)
            .with_context(|| format!("cannot connect to {to}"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let own = match stream.local_addr()?.ip().to_canonical() {
            IpAddr::V4(own) => own,
            IpAddr::V6(_) => Ipv4Addr::new(192, 0, 2, 1),
        };
        let id = what.router_id.unwrap_or(own);
        stream.write_all(&replay::open(what.local_as.0, id, HOLD_TIME_S))?;
        let now = Instant::now();
        let mut session = Session {
            stream,
            remote_as: 0,
            input: Vec::new(),
            keepalive: Duration::MAX,
            said: now,
            heard: now,
            hold: Duration::MAX,
        };
        let open = session.next_message()?;
        let (remote_as, hold_time_s) =
            replay::read_open(&open).context("the neighbor sent no OPEN with a four-octet AS")?;
        session.remote_as = remote_as;
        let hold_time_s = hold_time_s.min(HOLD_TIME_S);
        if hold_time_s > 0 {
            session.hold = Duration::from_secs(hold_time_s.into());
            session.keepalive = session.hold / 3;
        }
        session.stream.write_all(&replay::keepalive())?;
        session.next_message()?;
        Ok(session)
    }

    /// One whole message of the neighbour's, other than NOTIFICATION.
    fn next_message(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(message);
            }
            if !self.read()? {
                bail!("the neighbor said nothing for {} s", PATIENCE.as_secs());
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(head) = self.input.first_chunk::<19>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([head[16], head[17]]));
        ensure!(length >= 19, "the neighbor sent no BGP message");
        if self.input.len() < length {
            return Ok(None);
        }
        let message: Vec<u8> = self.input.drain(..length).collect();
        if let (3, [code, subcode, ..]) = (message[18], &message[19..]) {
            bail!("the neighbor ended the session: NOTIFICATION {code}.{subcode}");
        }
        Ok(Some(message))
    }

    /// Reads what is there; false when there was nothing for as long as the socket waits.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 16384];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the neighbor closed the connection"),
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                self.heard = Instant::now();
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error).context("the connection failed"),
        }
    }

    /// Sends messages, and reads meanwhile: a neighbour that sends us its table must not wait.
    fn send_all(&mut self, messages: &[Vec<u8>], progress: &mut dyn FnMut(u64)) -> Result<()> {
        self.stream
            .set_write_timeout(Some(Duration::from_millis(200)))?;
        let (mut at, mut offset, mut sent) = (0, 0, 0);
        while at < messages.len() {
            let rest = messages[at..].iter().take(64).enumerate();
            let slices: Vec<IoSlice<'_>> = rest
                .map(|(i, m)| IoSlice::new(&m[if i == 0 { offset } else { 0 }..]))
                .collect();
            match self.stream.write_vectored(&slices) {
                Ok(mut count) => {
                    sent += count as u64;
                    self.said = Instant::now();
                    while at < messages.len() && count >= messages[at].len() - offset {
                        count -= messages[at].len() - offset;
                        (at, offset) = (at + 1, 0);
                    }
                    offset += count;
                    progress(sent);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // What it said last tells why.
                    self.stream.set_nonblocking(false)?;
                    while self.read().unwrap_or(false) {}
                    while self.take_message()?.is_some() {}
                    return Err(error).context("the connection failed");
                }
            }
            self.stream.set_nonblocking(true)?;
            while self.read()? {}
            self.stream.set_nonblocking(false)?;
            while self.take_message()?.is_some() {}
        }
        Ok(())
    }

    /// Keeps the session up until the neighbour ends it.
    fn stay(&mut self) -> Result<()> {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(500)))?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        loop {
            self.read()?;
            while self.take_message()?.is_some() {}
            ensure!(
                self.heard.elapsed() < self.hold,
                "the neighbor said nothing for its hold time"
            );
            if self.said.elapsed() >= self.keepalive {
                self.stream.write_all(&replay::keepalive())?;
                self.said = Instant::now();
            }
        }
    }

    /// Ends the session when the neighbour has all: what it sent us is read, so that closing does
    /// not reset the connection under what is still on its way.
    fn drain(mut self) -> Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && self.read().is_ok() {}
        Ok(())
    }
}
