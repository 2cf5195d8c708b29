//! The thread and its handle, with a scripted peer on loopback.
#![allow(missing_docs)]

use bgp::{Config, Origin, PeerConfig, PeerState};
use speaker::{Event, Handle, spawn};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

fn open() -> Vec<u8> {
    message(1, &[4, 0xfc, 0, 0, 90, 10, 9, 0, 2, 0])
}

fn update() -> Vec<u8> {
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 9, 0, 2, 0x40, 5, 4, 0, 0, 0, 100,
    ];
    let mut body = vec![0, 0, 0, attributes.len() as u8];
    body.extend_from_slice(&attributes);
    body.extend_from_slice(&[24, 10, 201, 7]);
    message(2, &body)
}

/// A speaker that listens on loopback and expects a peer from there.
fn start() -> (Handle, Receiver<Event>, SocketAddr) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let mut config = Config::new(64512.into(), [10, 9, 0, 1].into());
    config.listen = vec![address];
    let mut peer = PeerConfig::new("peer", Ipv4Addr::LOCALHOST.into(), 64512.into());
    peer.passive = true;
    peer.graceful_restart = None;
    config.peers.push(peer);
    let prefix = "10.200.0.0/26".parse().expect("prefix");
    config.origins.insert(prefix, Origin::default());
    let handle = spawn(config).expect("it starts");
    let events = handle.take_events().expect("taken once");
    assert!(handle.take_events().is_none());
    (handle, events, address)
}

/// Connects, and has the session up.
fn connect(address: SocketAddr) -> TcpStream {
    let end = std::time::Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
        }
        std::thread::yield_now();
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(&[open(), message(4, &[])].concat())
        .expect("written");
    stream
}

fn read_message(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 19];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[16], head[17]])) - 19];
    stream.read_exact(&mut body).ok()?;
    Some((head[18], body))
}

fn await_state(events: &Receiver<Event>, wanted: PeerState) {
    loop {
        match events.recv_timeout(PATIENCE) {
            Ok(Event::Peer(event)) if event.state == wanted => return,
            Ok(_) => {}
            Err(error) => panic!("not {wanted}: {error}"),
        }
    }
}

#[test]
fn events_and_status() {
    let (handle, events, address) = start();
    let mut stream = connect(address);
    await_state(&events, PeerState::Established);
    stream.write_all(&update()).expect("written");
    let prefix = "10.201.7.0/24".parse().expect("prefix");
    let mut in_sync = false;
    loop {
        match events.recv_timeout(PATIENCE).expect("the route") {
            Event::Routes(changes) => {
                if let Some(change) = changes.iter().find(|c| c.prefix == prefix) {
                    let route = change.route.as_ref().expect("announced");
                    assert_eq!(route.next_hops[0].address, Ipv4Addr::new(10, 9, 0, 2));
                    break;
                }
            }
            Event::InSync => in_sync = true,
            Event::Peer(_) | Event::Notice(_) | Event::ListenFailed { .. } => {}
        }
    }
    assert!(in_sync, "the peer has no End-of-RIB to wait for");
    let status = handle.status().expect("running");
    assert_eq!(
        (status.peers[0].received, status.peers[0].info().as_str()),
        (1, "Established")
    );
    assert_eq!(
        handle.explain(vec![prefix]).expect("running")[0]
            .paths
            .len(),
        1
    );
    // Our prefix arrives there.
    loop {
        let (kind, body) = read_message(&mut stream).expect("more to come");
        if kind == 2 {
            assert!(body.ends_with(&[26, 10, 200, 0, 0]));
            break;
        }
    }
}

/// Data and the end of the connection in one event: the end must be seen.
#[test]
fn the_end_is_seen_when_it_comes_with_data() {
    let (handle, events, address) = start();
    for _ in 0..30 {
        let mut stream = connect(address);
        await_state(&events, PeerState::Established);
        stream.write_all(&update()).expect("written");
        drop(stream);
        await_state(&events, PeerState::Passive);
        let left = handle.prefixes(bgp::Family::Ipv4).expect("running");
        assert_eq!(left.len(), 1, "only our own");
    }
}

#[test]
fn stop_is_silent_and_shutdown_says_cease() {
    for (loud, expected) in [(false, None), (true, Some((3, vec![6, 2])))] {
        let (handle, events, address) = start();
        let mut stream = connect(address);
        await_state(&events, PeerState::Established);
        if loud {
            handle.shutdown("");
        } else {
            handle.stop();
        }
        let mut last = None;
        while let Some((kind, body)) = read_message(&mut stream) {
            last = (kind == 3).then_some((kind, body));
        }
        assert_eq!(last, expected);
        assert!(handle.status().is_none(), "it has stopped");
    }
}

#[test]
fn an_address_in_use_is_told_and_tried_again() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("bound");
    let mut config = Config::new(64512.into(), [10, 9, 0, 1].into());
    config.listen = vec![address];
    let handle = spawn(config).expect("it starts");
    let events = handle.take_events().expect("taken once");
    loop {
        match events.recv_timeout(PATIENCE).expect("it is told") {
            Event::ListenFailed {
                address: told,
                error,
            } => {
                assert_eq!((told, error.as_str()), (address, "Address already in use"));
                break;
            }
            Event::Routes(_) | Event::Peer(_) | Event::Notice(_) | Event::InSync => {}
        }
    }
    drop(taken);
    // Nobody expects us, so the connection is taken and closed.
    let mut stream = loop {
        if let Ok(stream) = TcpStream::connect(address) {
            break stream;
        }
        std::thread::yield_now();
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(stream.read(&mut [0; 1]).ok(), Some(0));
}
