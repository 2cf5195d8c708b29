//! BMP stations (RFC 7854): a thread for each, which connects, tells, and begins anew when the
//! station was too slow or went away. The speaker never waits for it.

use crate::dump::SLICE;
use crate::event_loop::Told;
use crate::handle::Handle;
use bgp::{Mirrored, RibCursor};
use monitor::bmp::{Feed, initiation};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

/// Turns of the speaker's loop that wait for a station at most.
const WAITING: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts, doubled with each.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Starts telling a station.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start(station: SocketAddr, handle: Arc<Handle>) -> io::Result<()> {
    let run = move || {
        let mut wait = WAITS.0;
        loop {
            match tell(station, &handle, &mut wait) {
                Ok(()) => return,
                Err(error) => tracing::warn!("BMP station {station}: {error}"),
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(WAITS.1);
        }
    };
    let thread = std::thread::Builder::new().name("bmp".into());
    thread.spawn(run).map(drop)
}

/// Until the speaker ends, or the station does.
fn tell(station: SocketAddr, handle: &Handle, wait: &mut Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&station, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    let mut out = Vec::new();
    let description = concat!("Selvedge ", env!("CARGO_PKG_VERSION"));
    let name = rustix::system::uname();
    initiation(&name.nodename().to_string_lossy(), description, &mut out);
    let (watcher, told) = mpsc::sync_channel(WAITING);
    handle.watch_sessions(watcher);
    let mut feed = Feed::default();
    let Ok(Told::Sessions(sessions)) = told.recv() else {
        return Ok(());
    };
    for view in &sessions {
        let since = view.opens.as_ref().map(|opens| opens.since);
        feed.up(view, since.unwrap_or_default(), &mut out);
    }
    let mut from = Some(RibCursor::default());
    while let Some(place) = from {
        let Some(slice) = handle.rib_slice(place, SLICE) else {
            return Ok(());
        };
        feed.slice(&slice, now(), &mut out);
        stream.write_all(&out)?;
        out.clear();
        from = slice.next;
    }
    feed.end_of_rib(now(), &mut out);
    stream.write_all(&out)?;
    tracing::info!("BMP station {station}: has all");
    *wait = WAITS.0;
    follow(&mut stream, &told, feed)
}

fn follow(stream: &mut TcpStream, told: &Receiver<Told>, mut feed: Feed) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        match told.recv_timeout(Duration::from_secs(1)) {
            Ok(Told::Sessions(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Told::Happened(at, happened)) => {
                for one in happened.iter() {
                    match one {
                        Mirrored::Up(view) => feed.up(view, at, &mut out),
                        Mirrored::Down { peer, why } => feed.down(*peer, why, at, &mut out),
                        Mirrored::Update { peer, message } => {
                            feed.update(*peer, message, at, &mut out);
                        }
                    }
                }
                stream.write_all(&out)?;
                out.clear();
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("too slow, or the speaker ends"));
            }
        }
        // A station says nothing; all there may be is its end.
        match stream.read(&mut [0; 512]) {
            Ok(0) => return Err(io::Error::other("closed the connection")),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn now() -> Duration {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.unwrap_or_default()
}
