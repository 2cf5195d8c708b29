//! BMP stations (RFC 7854): a thread for each, which connects, tells, and begins anew when the
//! station was too slow or went away. The speaker never waits for it.

use crate::dump::SLICE;
use crate::event_loop::{Told, Watching, watch};
use crate::handle::Handle;
use crate::task::{Stop, Task};
use bgp::{Mirror, Mirrored, RibCursor, View};
use monitor::bmp::{Feed, Tells, initiation, termination};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts, doubled with each.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Between looks at whether the station is still there, and whether to end.
const LOOK: Duration = Duration::from_secs(1);
/// Written at once.
const WRITE: usize = 256 << 10;

/// A station, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Station {
    pub address: SocketAddr,
    pub tells: Tells,
    /// Between Statistics Reports, if there are to be any.
    pub statistics: Option<Duration>,
}

/// Starts telling a station.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start(station: Station, handle: Arc<Handle>) -> io::Result<Task> {
    Task::start("bmp", move |stop| {
        let mut wait = WAITS.0;
        while !stop.is_asked() {
            match Telling::begin(&station, &handle).and_then(|telling| telling.run(stop, &mut wait))
            {
                Ok(()) => return,
                Err(error) => tracing::warn!("BMP station {}: {error}", station.address),
            }
            stop.pause(wait);
            wait = (wait * 2).min(WAITS.1);
        }
    })
}

/// How the telling ends.
enum End {
    /// The speaker or the configuration wants no more of it.
    Wanted,
    /// The speaker let us go.
    LetGo,
}

/// A connection to a station.
struct Telling<'a> {
    station: &'a Station,
    handle: &'a Handle,
    stream: TcpStream,
    told: Watching,
    feed: Feed,
    out: Vec<u8>,
    looked: Instant,
    /// When the next Statistics Report is due.
    report: Option<Instant>,
}

impl<'a> Telling<'a> {
    /// Connects, and says what sessions there are.
    fn begin(station: &'a Station, handle: &'a Handle) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&station.address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut out = Vec::new();
        let description = concat!("Selvedge ", env!("CARGO_PKG_VERSION"));
        let name = rustix::system::uname();
        initiation(&name.nodename().to_string_lossy(), description, &mut out);
        let tells = station.tells.clone();
        let wants = Mirror {
            updates: tells.adj_in_pre,
            accepted: tells.adj_in_post,
        };
        let (watcher, mut told) = watch(wants, tells.views.clone());
        handle.watch_sessions(watcher);
        let Ok(Told::Begin {
            router_id,
            local_as,
            sessions,
        }) = told.next(PATIENCE)
        else {
            return Err(io::Error::other("the speaker has ended"));
        };
        let mut feed = Feed::new(tells, router_id, local_as);
        feed.loc_rib_up(now(), &mut out);
        for view in &sessions {
            let since = view.opens.as_ref().map(|opens| opens.since);
            feed.up(view, since.unwrap_or_default(), &mut out);
        }
        let now = Instant::now();
        Ok(Telling {
            station,
            handle,
            stream,
            told,
            feed,
            out,
            looked: now,
            report: station.statistics.map(|interval| now + interval),
        })
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        written.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::other(format!("it read nothing for {} s", PATIENCE.as_secs()))
            }
            _ => error,
        })
    }

    /// Until the speaker ends or wants no more (then `Ok`), or the station does.
    fn run(mut self, stop: &Stop, wait: &mut Duration) -> io::Result<()> {
        self.adj_ribs_in()?;
        *wait = WAITS.0;
        tracing::info!("BMP station {}: has all", self.station.address);
        match self.follow(stop)? {
            End::LetGo => Err(io::Error::other(
                "too slow, or router_id or local_as changed",
            )),
            End::Wanted => {
                self.feed.loc_rib_down(now(), &mut self.out);
                termination(&mut self.out);
                self.write()?;
                self.stream.shutdown(Shutdown::Write)
            }
        }
    }

    /// What peers have said so far. Views come by themselves.
    fn adj_ribs_in(&mut self) -> io::Result<()> {
        let tells = &self.station.tells;
        let mut from = (tells.adj_in_pre || tells.adj_in_post).then(RibCursor::default);
        while let Some(place) = from {
            let Some(slice) = self.handle.rib_slice(place, SLICE) else {
                return Ok(());
            };
            self.feed.slice(&slice, now(), &mut self.out);
            self.write()?;
            from = slice.next;
        }
        self.feed.end_of_rib(now(), &mut self.out);
        self.write()
    }

    fn follow(&mut self, stop: &Stop) -> io::Result<End> {
        loop {
            let due = self
                .report
                .map(|at| at.saturating_duration_since(Instant::now()));
            match self.told.next(due.map_or(LOOK, |due| due.min(LOOK))) {
                Ok(told) => {
                    if self.put_all(told) {
                        return Ok(End::Wanted);
                    }
                    self.write()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(End::LetGo),
            }
            if self.report.is_some_and(|at| at <= Instant::now()) {
                self.report()?;
            }
            if stop.is_asked() {
                return Ok(End::Wanted);
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.look()?;
            }
        }
    }

    /// What was told and what else waits, as far as one write takes it; whether the speaker ends.
    fn put_all(&mut self, told: Told) -> bool {
        let mut next = Some(told);
        while let Some(told) = next {
            if let Told::Ends = told {
                return true;
            }
            self.put(told);
            next = (self.out.len() < WRITE)
                .then(|| self.told.next_now())
                .and_then(Result::ok);
        }
        false
    }

    fn put(&mut self, told: Told) {
        let (feed, out) = (&mut self.feed, &mut self.out);
        match told {
            Told::Begin { .. } | Told::Ends => {}
            Told::Viewed(at, viewed) => viewed.iter().for_each(|one| feed.viewed(one, at, out)),
            Told::Happened(at, happened) => {
                for one in happened.iter() {
                    match one {
                        Mirrored::Up(view) => feed.up(view, at, out),
                        Mirrored::Down { peer, why } => feed.down(*peer, why, at, out),
                        Mirrored::Update { peer, message } => feed.update(*peer, message, at, out),
                        Mirrored::Accepted(accepted) => feed.accepted(accepted, at, out),
                    }
                }
            }
        }
    }

    fn report(&mut self) -> io::Result<()> {
        self.report = self.station.statistics.map(|next| Instant::now() + next);
        let chosen = if self.station.tells.views.contains(&View::LocRib) {
            self.handle.count_chosen()
        } else {
            Some([0; 2])
        };
        // A speaker that has ended says so by the channel.
        if let (Some(counts), Some(chosen)) = (self.handle.session_counts(), chosen) {
            self.feed.statistics(&counts, chosen, now(), &mut self.out);
        }
        self.write()
    }

    /// A station says nothing; all there may be is its end.
    fn look(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0; 512]) {
            Ok(0) => Err(io::Error::other("closed the connection")),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn now() -> Duration {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.unwrap_or_default()
}
