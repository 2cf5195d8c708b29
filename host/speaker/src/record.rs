//! MRT files that are written as time goes by: what neighbours say as it comes, the table every so
//! often (RFC 6396). The speaker never waits for a disk.
//!
//! ```text
//!   updates: ... 14:00 ───── 14:15 ───── 14:30 ...   appended to, whole records at a time
//!   table:   ... 14:00 ───────────────── 16:00 ...   beside it as .part, named when whole
//! ```

use crate::bmp::now;
use crate::dump;
use crate::event_loop::{Told, watch};
use crate::handle::Handle;
use crate::task::{Stop, Task};
use bgp::{Family, Mirror, Mirrored, SessionView};
use monitor::mrt::{self, Ends};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Between looks at the time, and between attempts to open a file.
const LOOK: Duration = Duration::from_secs(1);
/// How long nothing may have failed before that is said.
const CALM: Duration = Duration::from_secs(3);
/// States of RFC 4271 as MRT numbers them (RFC 6396 §4.4.1).
const IDLE: u16 = 1;
const OPEN_CONFIRM: u16 = 5;
const ESTABLISHED: u16 = 6;

/// Files of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// `%Y %m %d %H %M %S` stand for the time (UTC) at which a file begins, `%%` for `%`.
    pub path: String,
    /// A file begins at each multiple of this, counted from the Unix epoch.
    pub interval: Duration,
}

impl Series {
    /// The file of a time, and when it begins.
    fn file_at(&self, at: Duration) -> PathBuf {
        let interval = self.interval.as_secs().max(1);
        let begins = at.as_secs() / interval * interval;
        PathBuf::from(name(&self.path, begins))
    }
}

/// Whether a pattern has nothing in it that stands for nothing.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    let mut after = pattern.split('%').skip(1);
    while let Some(part) = after.next() {
        match part.chars().next() {
            Some('Y' | 'm' | 'd' | 'H' | 'M' | 'S') => {}
            // Of `%%`: what stands behind is plain.
            None if after.next().is_some() => {}
            Some(_) | None => return false,
        }
    }
    true
}

fn name(pattern: &str, time_s: u64) -> String {
    let (year, month, day) = date(time_s / 86_400);
    let second = time_s % 86_400;
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let what = if c == '%' { chars.next() } else { None };
        match what {
            Some('Y') => out += &format!("{year:04}"),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('H') => out += &format!("{:02}", second / 3600),
            Some('M') => out += &format!("{:02}", second / 60 % 60),
            Some('S') => out += &format!("{:02}", second % 60),
            Some(other) => out.push(other),
            None => out.push(c),
        }
    }
    out
}

/// Year, month and day of a day since 1970-01-01. Years begin in March here, so that a leap day is
/// the last day of one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 {
        (year, month + 3, day_of_month)
    } else {
        (year + 1, month - 9, day_of_month)
    }
}

/// Starts recording what neighbours say.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn updates(series: Series, handle: Arc<Handle>) -> io::Result<Task> {
    Task::start("mrt", move |stop| {
        let mut log = Log::new(series);
        while !stop.is_asked() {
            match record(&handle, &mut log, stop) {
                Recorded::Ended => return,
                Recorded::LetGo => tracing::warn!(
                    "MRT updates: the disk is too slow for {}: what neighbours say now is missing",
                    log.path.display()
                ),
            }
        }
    })
}

enum Recorded {
    Ended,
    LetGo,
}

/// What is said of a neighbour in its records.
struct Peer {
    ends: Ends,
    as4: bool,
    ids: Vec<Family>,
}

impl Peer {
    fn of(view: &SessionView) -> Option<Self> {
        let opens = view.opens.as_ref()?;
        Some(Peer {
            ends: Ends {
                remote_as: view.remote_as,
                local_as: opens.local_as,
                remote: view.remote.ip().to_canonical(),
                local: opens.local.ip().to_canonical(),
            },
            as4: opens.as4,
            ids: opens.ids_in.clone(),
        })
    }
}

fn record(handle: &Handle, log: &mut Log, stop: &Stop) -> Recorded {
    let wants = Mirror {
        updates: true,
        accepted: false,
    };
    let (watcher, mut told) = watch(wants, BTreeSet::new());
    handle.watch_sessions(watcher);
    let mut peers: BTreeMap<u16, Peer> = BTreeMap::new();
    loop {
        log.turn(now());
        match told.next(LOOK) {
            Ok(Told::Begin { sessions, .. }) => {
                let known = sessions.iter();
                peers.extend(known.filter_map(|view| Some((view.number, Peer::of(view)?))));
            }
            Ok(Told::Happened(at, happened)) => {
                let mut out = Vec::new();
                let mut count = 0;
                for one in happened.iter() {
                    count += u64::from(put(one, at, &mut peers, &mut out));
                }
                log.append(&out, count);
            }
            Ok(Told::Viewed(..)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Told::Ends) => return Recorded::Ended,
            Err(RecvTimeoutError::Disconnected) => return Recorded::LetGo,
        }
        if stop.is_asked() {
            return Recorded::Ended;
        }
    }
}

/// Appends the record of what happened; whether there is one.
fn put(one: &Mirrored, at: Duration, peers: &mut BTreeMap<u16, Peer>, out: &mut Vec<u8>) -> bool {
    match one {
        Mirrored::Up(view) => {
            let Some(peer) = Peer::of(view) else {
                return false;
            };
            mrt::write_state_change(at, &peer.ends, (OPEN_CONFIRM, ESTABLISHED), out);
            peers.insert(view.number, peer);
            true
        }
        Mirrored::Down { peer, .. } => {
            let gone = peers.remove(peer);
            if let Some(peer) = &gone {
                mrt::write_state_change(at, &peer.ends, (ESTABLISHED, IDLE), out);
            }
            gone.is_some()
        }
        Mirrored::Update { peer, message } => {
            let peer = peers.get(peer);
            if let Some(peer) = peer {
                let ids = mrt::has_ids(message, &peer.ids);
                mrt::write_message(at, &peer.ends, (peer.as4, ids), message, out);
            }
            peer.is_some()
        }
        Mirrored::Accepted(_) => false,
    }
}

/// The file that is appended to. Whole records are written at once: a process that is killed
/// leaves at most the last one torn, which is cut off when the file is gone on with.
struct Log {
    series: Series,
    path: PathBuf,
    file: Option<File>,
    /// Octets of whole records.
    length: u64,
    /// Since it was said that it cannot be written, until it was said that it can.
    lost: Option<Lost>,
    tried: Option<Instant>,
}

/// What a file lacks.
struct Lost {
    records: u64,
    /// The last failure.
    at: Instant,
    /// Something was written after it.
    written: bool,
}

impl Log {
    fn new(series: Series) -> Self {
        Log {
            series,
            path: PathBuf::new(),
            file: None,
            length: 0,
            lost: None,
            tried: None,
        }
    }

    /// Goes on with the file of this time.
    fn turn(&mut self, at: Duration) {
        let path = self.series.file_at(at);
        if path != self.path {
            (self.path, self.file, self.tried) = (path, None, None);
        }
        let waits = self.tried.is_some_and(|at| at.elapsed() < LOOK);
        if self.file.is_none() && !waits {
            self.tried = Some(Instant::now());
            match open(&self.path) {
                Ok((file, length)) => (self.file, self.length) = (Some(file), length),
                Err(error) => self.failed(&error, 0),
            }
        }
        // A disk that is about full takes some records and others not: that is said once too.
        let over = |lost: &Lost| lost.written && lost.at.elapsed() >= CALM;
        if let Some(lost) = self.lost.take_if(|lost| over(lost)) {
            tracing::info!(
                "MRT updates: {} is written again; {} records are lost",
                self.path.display(),
                lost.records
            );
        }
    }

    fn lose(&mut self, records: u64) {
        let lost = self.lost.get_or_insert(Lost {
            records: 0,
            at: Instant::now(),
            written: false,
        });
        lost.records += records;
        (lost.at, lost.written) = (Instant::now(), false);
    }

    fn append(&mut self, records: &[u8], count: u64) {
        if count == 0 {
            return;
        }
        let Some(file) = &mut self.file else {
            self.lose(count);
            return;
        };
        match file.write_all(records) {
            Ok(()) => {
                self.length += records.len() as u64;
                if let Some(lost) = &mut self.lost {
                    lost.written = true;
                }
            }
            Err(error) => {
                // Nothing half-written may stand before what comes later.
                let cut = file.set_len(self.length);
                if cut.and_then(|()| file.seek(SeekFrom::End(0))).is_err() {
                    self.file = None;
                }
                self.failed(&error, count);
            }
        }
    }

    /// Says so once.
    fn failed(&mut self, error: &io::Error, count: u64) {
        if self.lost.is_none() {
            let what = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room",
                _ => "make the folder and let the speaker write there",
            };
            tracing::error!(
                "MRT updates: cannot write {}: {error}; {what}: recording goes on by itself then, and neighbours do not notice",
                self.path.display()
            );
        }
        self.lose(count);
    }
}

/// Opens a file to append to it behind its last whole record.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let length = file.metadata()?.len();
    let whole = whole_records(&mut file, length)?;
    if whole < length {
        let torn = length - whole;
        tracing::warn!(
            "MRT updates: cut {torn} octets of a torn record off the end of {}",
            path.display()
        );
        file.set_len(whole)?;
    }
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, whole))
}

/// How many octets the whole records at the beginning of a file take.
fn whole_records(file: &mut File, length: u64) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut at = 0;
    let mut head = [0; 12];
    while length - at >= head.len() as u64 {
        reader.read_exact(&mut head)?;
        let kind = u16::from_be_bytes([head[4], head[5]]);
        if !mrt::is_known(kind) {
            // Somebody else's file is not to be cut.
            let text = "it is there and no MRT file: move it away";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if length - at - 12 < u64::from(body) {
            break;
        }
        reader.seek_relative(i64::from(body))?;
        at += 12 + u64::from(body);
    }
    Ok(at)
}

/// Starts writing the table every so often.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn tables(series: Series, handle: Arc<Handle>) -> io::Result<Task> {
    Task::start("mrt-table", move |stop| {
        let mut failing = false;
        loop {
            let interval = u128::from(series.interval.as_millis().max(1) as u64);
            let since = now().as_millis() % interval;
            stop.pause(Duration::from_millis((interval - since) as u64));
            if stop.is_asked() {
                return;
            }
            let path = series.file_at(now());
            match table(&handle, &path) {
                Ok(true) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("MRT table: {} is written again", path.display());
                    }
                }
                Ok(false) => return,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(
                            "MRT table: cannot write {}: {error}; make room, or the folder, and let the speaker write there: the next table is tried all the same",
                            path.display()
                        );
                    }
                }
            }
        }
    })
}

/// A file that appears when it is whole. False when the speaker has ended.
fn table(handle: &Handle, path: &Path) -> io::Result<bool> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let mut file = File::create(part)?;
    let written = dump::write_table(handle, &mut |octets| file.write_all(octets));
    let named = match written {
        Ok(true) => std::fs::rename(part, path).map(|()| true),
        other => other,
    };
    if !matches!(named, Ok(true)) {
        // It may not be ours to remove; then it is overwritten next time.
        let _ = std::fs::remove_file(part);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |pattern: &str, time_s, expected: &str| {
            assert!(is_pattern(pattern), "{pattern}");
            assert_eq!(name(pattern, time_s), expected);
        };
        check("u.%Y%m%d.%H%M.mrt", 0, "u.19700101.0000.mrt");
        check("%Y-%m-%d %H:%M:%S", 951_827_696, "2000-02-29 12:34:56");
        check("%Y-%m-%d", 4_107_542_399, "2100-02-28");
        check("%Y-%m-%d", 4_107_542_400, "2100-03-01");
        check("100%%.%d", 1_700_000_000, "100%.14");
        for wrong in ["%q", "a%", "%", "%%%"] {
            assert!(!is_pattern(wrong), "{wrong}");
        }
        let series = Series {
            path: "%H%M%S".into(),
            interval: Duration::from_secs(900),
        };
        let file = |time_s| series.file_at(Duration::from_secs(time_s));
        assert_eq!(file(1_700_000_000), Path::new("220000"));
        assert_eq!(file(1_700_000_099), file(1_700_000_000));
        assert_eq!(file(1_700_000_100), Path::new("221500"));
    }

    /// A file of somebody else's is not touched; a torn record is cut off.
    #[test]
    fn files_are_gone_on_with() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("u.mrt");
        let ends = Ends {
            remote_as: 1,
            local_as: 2,
            remote: [10, 9, 0, 2].into(),
            local: [10, 9, 0, 1].into(),
        };
        let mut records = Vec::new();
        mrt::write_state_change(Duration::ZERO, &ends, (5, 6), &mut records);
        let one = records.len();
        mrt::write_state_change(Duration::ZERO, &ends, (6, 1), &mut records);
        for length in 0..=records.len() {
            std::fs::write(&path, &records[..length]).expect("written");
            let (mut file, whole) = open(&path).expect("opened");
            assert_eq!(whole as usize, length / one * one);
            file.write_all(&records[..one]).expect("written");
            let read = std::fs::read(&path).expect("read");
            assert_eq!(read.len(), whole as usize + one);
            assert!(mrt::Records::new(&read).all(|record| record.is_ok()));
        }
        let other = b"This is no MRT file, and it is not ours.";
        std::fs::write(&path, other).expect("written");
        assert_eq!(
            open(&path).expect_err("refused").kind(),
            ErrorKind::InvalidData
        );
        assert_eq!(std::fs::read(&path).expect("read"), other);
    }
}
