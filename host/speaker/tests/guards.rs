//! The guards of a session on real sockets: the first packet's TTL (RFC 5082) where the listening
//! socket cannot judge it for all, a peer that reads nothing (RFC 9687), and TCP-AO (RFC 5925) where
//! the kernel has it not.
#![allow(missing_docs)]

use bgp::{Config, Origin, PeerConfig, PeerState};
use ipnet::{IpNet, Ipv4Net};
use socket2::{Domain, Socket, Type};
use speaker::{Event, Handle, spawn};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// A speaker that expects a peer from this loopback address, which is no other test's.
fn start(
    address: IpAddr,
    change: impl FnOnce(&mut Config),
) -> (Handle, Receiver<Event>, SocketAddr) {
    let free = TcpListener::bind((address, 0)).expect("a free port");
    let listen = free.local_addr().expect("bound");
    drop(free);
    let mut config = Config::new(64512.into(), [10, 9, 0, 1].into());
    config.listen = vec![listen];
    let mut peer = PeerConfig::new("peer", address, 64512.into());
    peer.passive = true;
    peer.graceful_restart = None;
    config.peers.push(peer);
    change(&mut config);
    let handle = spawn(config).expect("it starts");
    let events = handle.take_events().expect("taken once");
    (handle, events, listen)
}

/// Connects with this TTL and a small receive buffer, and says OPEN and KEEPALIVE at once.
fn connect(address: SocketAddr, ttl: u32) -> Socket {
    let end = std::time::Instant::now() + PATIENCE;
    let socket = loop {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small one");
        if address.is_ipv4() {
            socket.set_ttl_v4(ttl).expect("a TTL");
        } else {
            socket.set_unicast_hops_v6(ttl).expect("a hop limit");
        }
        let own = SocketAddr::new(address.ip(), 0);
        socket.bind(&own.into()).expect("the loopback is ours");
        match socket.connect(&address.into()) {
            Ok(()) => break socket,
            Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
        }
        std::thread::yield_now();
    };
    let open = message(1, &[4, 0xfc, 0, 0, 90, 10, 9, 0, 2, 0]);
    // It may have been turned away already.
    let _ = (&socket).write_all(&[open, message(4, &[])].concat());
    socket
}

/// Waits for a state that the peer enters with this error.
fn await_event(events: &Receiver<Event>, wanted: impl Fn(PeerState, &str) -> bool) {
    loop {
        match events.recv_timeout(PATIENCE) {
            Ok(Event::Peer(event)) if wanted(event.state, &event.error) => return,
            Ok(_) => {}
            Err(error) => panic!("not told: {error}"),
        }
    }
}

#[test]
fn a_first_packet_from_far_away_is_turned_away_by_name() {
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        if TcpListener::bind((address, 0)).is_err() {
            println!("skipped: no {address} here");
            continue;
        }
        let (_handle, events, listen) = start(address, |config| {
            config.peers[0].min_ttl = Some(255);
            // Another peer may be anywhere, so the listening socket itself hears everybody.
            let mut far = PeerConfig::new("far", [192, 0, 2, 1].into(), 64512.into());
            far.passive = true;
            config.peers.push(far);
        });
        let _near_enough_not = connect(listen, 254);
        await_event(&events, |state, error| {
            assert_ne!(state, PeerState::Established, "{address}");
            error == "Socket: ttl-too-low"
        });
        let _near = connect(listen, 255);
        await_event(&events, |state, _| state == PeerState::Established);
    }
}

/// Connects from an address of the loopback.
fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source = SocketAddr::from((source, 0));
    socket.bind(&source.into()).expect("the loopback is ours");
    socket.connect(&to.into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Whether an OPEN comes before the end.
fn hears_open(stream: &mut TcpStream) -> bool {
    let mut marker = [0; 16];
    match std::io::Read::read_exact(stream, &mut marker) {
        Ok(()) => marker == [0xff; 16],
        Err(error) => {
            use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
            assert!(
                matches!(error.kind(), ConnectionReset | UnexpectedEof),
                "{error}"
            );
            assert_eq!(marker, [0; 16], "nothing at all");
            false
        }
    }
}

#[test]
fn without_tcp_ao_in_the_kernel_nothing_is_said_to_who_shall_have_it() {
    if linux::tcp_ao::probe(linux::tcp_ao::Algorithm::HmacSha1).is_ok() {
        println!("skipped: this kernel has TCP-AO");
        return;
    }
    let [ao, ao_in, plain, plain_in] = [3, 4, 5, 6].map(|n| Ipv4Addr::new(127, 0, 0, n));
    let bind = |ip| TcpListener::bind((ip, 0)).expect("a free port");
    let (dialled, dialled_plain, free) = (bind(ao), bind(plain), bind(Ipv4Addr::new(127, 0, 0, 7)));
    let listen = free.local_addr().expect("bound");
    drop(free);
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let keys = "tcp_ao = [{ send_id = 1, algorithm = \"aes-128-cmac-96\", secret = \"word\" }]";
    let neighbor = |ip: Ipv4Addr, settings: &str| {
        format!(
            "[[neighbor]]\naddress = \"{ip}\"\nas = 64512\nconnect_retry = 1\n\
             error_wait = [1, 1]\n{settings}\n"
        )
    };
    let text = format!(
        "router_id = \"10.9.0.1\"\nlocal_as = 64512\nlisten = [\"{listen}\"]\n{}{}{}{}",
        neighbor(ao, &format!("port = {}\n{keys}", port(&dialled))),
        neighbor(ao_in, &format!("passive = true\n{keys}")),
        neighbor(plain, &format!("port = {}", port(&dialled_plain))),
        neighbor(plain_in, "passive = true"),
    );
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("speaker.toml");
    std::fs::write(&path, text).expect("written");
    let config = speaker::ConfigFile::read(&path).and_then(|file| file.config());
    let handle = spawn(config.expect("valid")).expect("it starts");
    // The control: who needs no keys is dialled, again and again, and hears OPEN.
    for _ in 0..2 {
        let (mut stream, _) = dialled_plain.accept().expect("dialled");
        assert!(hears_open(&mut stream));
    }
    dialled.set_nonblocking(true).expect("set");
    let nobody = dialled.accept().map(|_| ()).expect_err("never dialled");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    // Who comes in is turned away without a word; the control hears OPEN.
    assert!(!hears_open(&mut connect_from(ao_in, listen)));
    assert!(hears_open(&mut connect_from(plain_in, listen)));
    let peers = handle.status().expect("it runs").peers;
    let idle = peers
        .iter()
        .filter(|peer| peer.info() == "Idle Error: tcp-ao-not-in-kernel");
    assert_eq!(idle.count(), 2);
}

#[test]
fn a_peer_that_reads_nothing_is_given_up_although_the_socket_is_full() {
    let (_handle, events, listen) = start(Ipv4Addr::new(127, 0, 0, 2).into(), |config| {
        config.peers[0].send_hold_time = Some(Duration::from_secs(1));
        config.peers[0].error_wait = (Duration::from_millis(10), Duration::from_millis(10));
        // More than the buffers of both sockets take.
        for n in 0..150_000u32 {
            let prefix = Ipv4Net::new(Ipv4Addr::from(0x0b00_0000 + (n << 8)), 24).expect("24 bits");
            let origin = Origin {
                med: Some(n),
                ..Origin::default()
            };
            config.origins.insert(IpNet::V4(prefix), origin);
        }
    });
    let socket = connect(listen, 64);
    await_event(&events, |state, _| state == PeerState::Established);
    await_event(&events, |state, error| {
        state != PeerState::Established && error == "Error: Send hold timer expired"
    });
    // The control: one that reads gets all of it and stays.
    drop(socket);
    await_event(&events, |state, _| state == PeerState::Passive);
    let stream = TcpStream::from(connect(listen, 64));
    let mut reader = stream.try_clone().expect("a second handle");
    let read = std::thread::spawn(move || {
        let mut count = 0;
        let mut scratch = vec![0; 1 << 16];
        while count < 150_000 * 40 {
            match std::io::Read::read(&mut reader, &mut scratch) {
                Ok(0) | Err(_) => break,
                Ok(n) => count += n,
            }
        }
        count
    });
    await_event(&events, |state, _| state == PeerState::Established);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(read.join().expect("it reads") >= 150_000 * 40);
}
