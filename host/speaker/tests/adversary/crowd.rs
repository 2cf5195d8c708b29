//! Many clients at once.

use crate::OUR_AS;
use crate::message::{attributes, encode, keepalive, nlri, open, update};
use crate::scenarios::{Ours, Outcome};
use crate::session::{Session, Watcher, connect};
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn client(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 8 + (i / 250) as u8, (i % 250 + 1) as u8)
}

/// All connect before any says a word.
fn crowd(ours: &Ours, count: usize) -> Result<Vec<Session>, String> {
    let mut sessions = Vec::new();
    for i in 0..count {
        let session = connect(client(i), ours.target, 5 * SECOND);
        sessions.push(session.ok_or_else(|| format!("client {i} is refused"))?);
    }
    for session in &mut sessions {
        session.send(&open(OUR_AS, session.local));
        session.send(&keepalive());
    }
    for (i, session) in sessions.iter_mut().enumerate() {
        if !session.await_kind(4, 20 * SECOND) {
            return Err(format!("client {i} has no session"));
        }
    }
    Ok(sessions)
}

pub fn thousand(ours: &Ours) -> Outcome {
    let started = Instant::now();
    let sessions = crowd(ours, 1000)?;
    let took = started.elapsed();
    if took > 20 * SECOND {
        return Err(format!("{took:?}"));
    }
    Ok(format!("({} sessions after {took:.1?})", sessions.len()))
}

fn announce(local: Ipv4Addr, prefix: Ipv4Addr, round: u16) -> Vec<u8> {
    update(&[], &encode(&attributes(true, local, round)), &nlri(prefix))
}

/// For a time, one client announces much and another a probe, which a third must hear of; the
/// time from one to the other, sorted.
fn probes(
    (bulk, source): (&mut Session, &mut Session),
    watcher: &mut Watcher,
    time: Duration,
    round: &mut u16,
) -> Result<Vec<Duration>, String> {
    let prefix = Ipv4Addr::new(10, 40, 0, 0);
    let (end, mut times) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        *round += 1;
        let many = (0..600u16).map(|i| Ipv4Addr::new(10, 41 + (i >> 8) as u8, i as u8, 0));
        let octets: Vec<u8> = many.flat_map(|p| announce(bulk.local, p, *round)).collect();
        bulk.send(&octets);
        let started = Instant::now();
        source.send(&announce(source.local, prefix, *round));
        let now = *round;
        if !watcher.until(10 * SECOND, |w| w.routes.get(&prefix) == Some(&vec![now])) {
            return Err("a client waits for ten seconds".into());
        }
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// `SLOW_READER_SECONDS` says for how long it reads nothing; 3 when not set.
pub fn slow_reader(ours: &Ours) -> Outcome {
    let seconds = std::env::var("SLOW_READER_SECONDS").ok();
    let seconds = seconds.and_then(|s| s.parse().ok()).unwrap_or(3);
    let mut sessions = crowd(ours, 500)?;
    let mut bulk = sessions.pop().expect("500");
    let mut source = sessions.pop().expect("500");
    let mut watcher = Watcher::new(sessions.pop().expect("500"));
    let slow = sessions.pop().expect("500");
    // The others read, and so does the slow one until it is to stop.
    let (stop, deaf) = (AtomicBool::new(false), AtomicBool::new(false));
    let drain = |sessions: &[Session], may_be_deaf: bool| {
        let mut octets = vec![0; 1 << 18];
        while !stop.load(Ordering::Relaxed) {
            let mut idle = true;
            for session in sessions {
                let skips = may_be_deaf && deaf.load(Ordering::Relaxed);
                let mut stream = &session.stream;
                idle &= skips || !matches!(stream.read(&mut octets), Ok(1..));
            }
            if idle {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    };
    let slow = [slow];
    for session in sessions.iter().chain(&slow) {
        session.stream.set_nonblocking(true).expect("it can be set");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| drain(&sessions, false));
        scope.spawn(|| drain(&slow, true));
        let mut round = 0;
        let mut measure = |time| probes((&mut bulk, &mut source), &mut watcher, time, &mut round);
        let all_read = measure(2 * SECOND);
        let resident = || {
            linux::process::usage(ours.pid)
                .unwrap_or_default()
                .resident_kib
        };
        let before = resident();
        deaf.store(true, Ordering::Relaxed);
        let one_deaf = measure(seconds * SECOND);
        let after = resident();
        stop.store(true, Ordering::Relaxed);
        let (all_read, one_deaf) = (all_read?, one_deaf?);
        let median = |times: &[Duration]| times[times.len() / 2];
        let (a, b) = (median(&all_read), median(&one_deaf));
        let text = format!("(median {a:.1?}, with it {b:.1?}; {before} KiB, then {after} KiB)");
        if b > 2 * a + SECOND / 20 || after > before + 24 * 1024 {
            return Err(text);
        }
        Ok(text)
    })
}
