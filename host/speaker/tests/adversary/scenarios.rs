//! What takes more than one message.

use crate::message::{attributes, encode, keepalive, nlri, open, update};
use crate::session::{Session, Watcher, connect, establish};
use crate::targets::CLIENTS;
use crate::{OUR_AS, THEIR_AS, crowd, targets};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn announcement(local: Ipv4Addr, prefix: Ipv4Addr, local_pref: u8) -> Vec<u8> {
    let mut list = attributes(true, local, u16::from(local_pref));
    list[3].2[3] = local_pref;
    update(&[], &encode(&list), &nlri(prefix))
}

/// Two clients of one update group announce one prefix, the second one better: the new source is
/// sent a withdrawal, the old one the new path.
pub fn moves(target: SocketAddr) -> String {
    let mut sessions = CLIENTS.map(|client| establish(client, target, OUR_AS));
    let [Some(_), Some(_)] = &sessions else {
        return "no session".into();
    };
    let [a, b] = sessions
        .each_mut()
        .map(|s| Watcher::new(s.take().expect("seen")));
    let (mut a, mut b) = (a, b);
    let prefix = Ipv4Addr::new(10, 20, 0, 0);
    a.send(&announcement(CLIENTS[0], prefix, 100));
    if !b.until(3 * SECOND, |w| w.routes.get(&prefix) == Some(&vec![100])) {
        return "not reflected".into();
    }
    b.send(&announcement(CLIENTS[1], prefix, 200));
    if !a.until(3 * SECOND, |w| w.routes.get(&prefix) == Some(&vec![200])) {
        return "old source not told".into();
    }
    if !b.until(3 * SECOND, |w| !w.routes.contains_key(&prefix)) {
        return "no withdrawal".into();
    }
    // And back: the second one withdraws.
    b.send(&update(&nlri(prefix), &[], &[]));
    if !b.until(3 * SECOND, |w| w.routes.get(&prefix) == Some(&vec![100])) {
        return "new source not told".into();
    }
    if !a.until(3 * SECOND, |w| !w.routes.contains_key(&prefix)) {
        return "no withdrawal on the way back".into();
    }
    "right".into()
}

/// Where the process under test is, and its number.
pub struct Ours {
    pub target: SocketAddr,
    pub pid: u32,
}

pub type Outcome = Result<String, String>;

/// Name and scenario.
type Scenario = (&'static str, fn(&Ours) -> Outcome);

const SCENARIOS: [Scenario; 8] = [
    ("resets at every octet of the handshake", resets),
    ("one octet at a time", trickled),
    ("fifty half-open connections", half_open),
    ("a peer that only accepts", only_accepts),
    ("collision, ours has the lower identifier", collision_low),
    ("collision, ours has the higher identifier", collision_high),
    ("a thousand connect at once", crowd::thousand),
    ("one of 500 clients stops reading", crowd::slow_reader),
];

/// Runs them against ours; how many passed and failed.
pub fn run(dir: &Path, filter: &str) -> (usize, usize) {
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in SCENARIOS {
        if !name.contains(filter) {
            continue;
        }
        let mut child = targets::start_for_scenarios(dir);
        let ours = Ours {
            target: targets::address(1),
            pid: child.id(),
        };
        match scenario(&ours) {
            Ok(text) => {
                passed += 1;
                println!("{name}: ok {text}");
            }
            Err(text) => {
                failed += 1;
                println!("{name}: FAILED {text}");
            }
        }
        child.kill().expect("it was started");
        child.wait().expect("it can be waited for");
    }
    (passed, failed)
}

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 2, last)
}

fn need(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn resets(ours: &Ours) -> Outcome {
    let mut all = open(THEIR_AS, at(10));
    all.extend_from_slice(&keepalive());
    for count in 0..=all.len() {
        let mut session = connect(at(10), ours.target, 3 * SECOND).ok_or("refused")?;
        session.send(&all[..count]);
        // With no time to linger, closing sends a reset.
        let socket = socket2::SockRef::from(&session.stream);
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("it can be set");
    }
    need(
        establish(at(10), ours.target, THEIR_AS).is_some(),
        "no session afterwards",
    )?;
    Ok(format!("({} resets)", all.len() + 1))
}

fn trickled(ours: &Ours) -> Outcome {
    let mut session = connect(at(11), ours.target, 3 * SECOND).ok_or("refused")?;
    let mut all = open(THEIR_AS, at(11));
    all.extend_from_slice(&keepalive());
    for octet in all {
        session.send(&[octet]);
    }
    need(session.await_kind(1, 3 * SECOND), "no OPEN")?;
    need(session.await_kind(4, 3 * SECOND), "no KEEPALIVE")?;
    let list = attributes(false, at(11), 1);
    for octet in update(&[], &encode(&list), &nlri(Ipv4Addr::new(10, 30, 0, 0))) {
        session.send(&[octet]);
    }
    need(session.end(SECOND / 2).is_none(), "it ended")?;
    Ok(String::new())
}

fn half_open(ours: &Ours) -> Outcome {
    let silent: Vec<_> = (0..50)
        .filter_map(|_| connect(at(12), ours.target, SECOND))
        .collect();
    need(silent.len() == 50, "refused")?;
    let session = establish(at(12), ours.target, THEIR_AS);
    need(session.is_some(), "no session beside them")?;
    Ok(String::new())
}

/// Takes the connection that ours opens.
fn accept(last: u8) -> Result<Session, String> {
    let listener = std::net::TcpListener::bind((at(last), 1790)).map_err(|e| e.to_string())?;
    listener.set_nonblocking(true).expect("it can be set");
    let end = Instant::now() + 10 * SECOND;
    while Instant::now() < end {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("it can be set");
            return Ok(Session::accepted(stream, at(last)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("it does not dial".into())
}

fn only_accepts(_: &Ours) -> Outcome {
    let mut session = accept(200)?;
    need(session.handshake(THEIR_AS), "no handshake")?;
    Ok(String::new())
}

fn collide(ours: &Ours, last: u8, id: Ipv4Addr) -> Result<(Session, Session), String> {
    let mut theirs = accept(last)?;
    let mut mine = connect(at(last), ours.target, SECOND).ok_or("refused")?;
    for session in [&mut theirs, &mut mine] {
        need(session.await_kind(1, 3 * SECOND), "no OPEN")?;
    }
    theirs.send(&open(THEIR_AS, id));
    mine.send(&open(THEIR_AS, id));
    Ok((theirs, mine))
}

fn settled(mut stays: Session, mut goes: Session) -> Outcome {
    let end = goes.end(3 * SECOND);
    need(
        end.as_deref() == Some("6/7"),
        &format!("the loser heard {end:?}"),
    )?;
    stays.send(&keepalive());
    need(
        stays.await_kind(4, 3 * SECOND),
        "the winner heard no KEEPALIVE",
    )?;
    need(stays.end(SECOND / 2).is_none(), "the winner ended too")?;
    Ok(String::new())
}

fn collision_low(ours: &Ours) -> Outcome {
    let (theirs, mine) = collide(ours, 201, Ipv4Addr::new(200, 1, 1, 1))?;
    settled(mine, theirs)
}

fn collision_high(ours: &Ours) -> Outcome {
    let (theirs, mine) = collide(ours, 201, Ipv4Addr::new(1, 1, 1, 1))?;
    settled(theirs, mine)
}
