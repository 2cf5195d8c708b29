use super::*;
use crate::tcp::{only, set_md5_key};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::mem::offset_of;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// As a C compiler lays out linux/tcp.h of Linux 6.12.
#[test]
fn the_layout_is_the_kernels() {
    assert_eq!(size_of::<AddKey>(), 288);
    assert_eq!(offset_of!(AddKey, flags), 196);
    assert_eq!(offset_of!(AddKey, prefix_length), 202);
    assert_eq!(offset_of!(AddKey, key), 208);
    assert_eq!(size_of::<DeleteKey>(), 144);
    assert_eq!(offset_of!(DeleteKey, prefix_length), 138);
    assert_eq!(offset_of!(DeleteKey, key_flags), 143);
    assert_eq!(size_of::<InfoOption>(), 48);
    assert_eq!(offset_of!(InfoOption, current), 6);
    assert_eq!(offset_of!(InfoOption, counters), 8);
    assert_eq!(size_of::<GetKey>(), 304);
    assert_eq!(offset_of!(GetKey, count), 272);
    assert_eq!(offset_of!(GetKey, send_id), 278);
    assert_eq!(offset_of!(GetKey, interface), 284);
    assert_eq!(offset_of!(GetKey, good), 288);
}

#[test]
fn an_address_comes_back() {
    for text in ["10.9.0.1", "::1", "fd09::1"] {
        let ip: IpAddr = text.parse().expect("an address");
        assert_eq!(address(&storage(ip)), ip);
    }
}

const SHA1: Algorithm = Algorithm::HmacSha1;

fn key(send_id: u8, recv_id: u8, secret: &'static [u8]) -> Key<'static> {
    Key {
        send_id,
        recv_id,
        algorithm: SHA1,
        secret,
    }
}

/// True, and said, when there is nothing to be tested here.
fn lacking() -> bool {
    match probe(SHA1) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            println!("skipped: no TCP-AO in this kernel");
            true
        }
        other => {
            other.expect("a kernel that has it has HMAC-SHA-1");
            false
        }
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn socket(address: std::net::SocketAddr) -> Socket {
    Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket")
}

/// Both ends of a connection to a listening socket with these keys, from one with those.
fn dial(
    address: &str,
    peers: &str,
    accepts: &[Key<'_>],
    signs: &[Key<'_>],
) -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(address).expect("loopback");
    for key in accepts {
        add_key(&listener, net(peers), key, false).expect("the kernel takes the key");
    }
    let local = listener.local_addr().expect("bound");
    let client = socket(local);
    for (at, key) in signs.iter().enumerate() {
        add_key(&client, only(local), key, at == 0).expect("the kernel takes the key");
    }
    client.connect_timeout(&local.into(), Duration::from_millis(300))?;
    Ok((listener.accept().expect("it connected").0, client.into()))
}

const PLACES: [(&str, &str); 5] = [
    ("127.0.0.1:0", "127.0.0.1/32"),
    ("127.0.0.1:0", "127.0.0.0/8"),
    ("127.0.0.1:0", "0.0.0.0/0"),
    ("[::1]:0", "::1/128"),
    ("[::1]:0", "::/0"),
];

#[test]
fn tcp_ao_keys_of_an_address_and_of_a_prefix() {
    if lacking() {
        return;
    }
    for (address, peers) in PLACES {
        let accepts = key(1, 2, b"right");
        dial(address, peers, &[accepts], &[key(2, 1, b"right")])
            .unwrap_or_else(|error| panic!("equal keys, {peers}: {error}"));
        for wrong in [
            &[key(2, 1, b"wrong")][..],
            &[key(3, 1, b"right")],
            &[key(2, 3, b"right")],
            &[],
        ] {
            dial(address, peers, &[accepts], wrong).expect_err("another key, or none");
        }
        dial(address, peers, &[], &[key(2, 1, b"right")]).expect_err("it has no key");
        dial(address, peers, &[], &[]).expect("the control: neither has one");
    }
}

#[test]
fn tcp_ao_algorithms() {
    if lacking() {
        return;
    }
    for algorithm in [SHA1, Algorithm::Aes128Cmac, Algorithm::HmacSha256] {
        if let Err(error) = probe(algorithm) {
            println!("skipped: {algorithm:?}: {error}");
            continue;
        }
        let with = |algorithm| Key {
            algorithm,
            ..key(1, 1, b"a secret of more than sixteen octets")
        };
        let place = ("127.0.0.1:0", "127.0.0.1/32");
        dial(place.0, place.1, &[with(algorithm)], &[with(algorithm)]).expect("equal");
        let other = if algorithm == SHA1 {
            Algorithm::Aes128Cmac
        } else {
            SHA1
        };
        dial(place.0, place.1, &[with(algorithm)], &[with(other)]).expect_err("another one");
    }
}

#[test]
fn tcp_ao_keys_are_read_back() {
    if lacking() {
        return;
    }
    let accepts: Vec<Key<'_>> = (0..9).map(|id| key(id, 100 + id, b"x")).collect();
    let signs = [key(102, 2, b"x"), key(108, 8, b"x")];
    let (accepted, client) =
        dial("127.0.0.1:0", "127.0.0.0/8", &accepts, &signs).expect("equal keys");
    let mut held = keys(&accepted).expect("read");
    held.sort_by_key(|held| held.send_id);
    assert_eq!(held.len(), 9, "more than there was room for at first");
    for (id, held) in (0..9).zip(&held) {
        assert_eq!(held.peers, net("127.0.0.0/8"));
        assert_eq!((held.send_id, held.recv_id), (id, 100 + id));
        // What the client signs with, and asks for.
        assert_eq!((held.is_current, held.is_rnext), (id == 2, id == 2));
        assert_eq!(held.bad, 0);
    }
    let own = info(&client).expect("asked").expect("it is signed");
    assert_eq!((own.current, own.rnext), (Some(102), Some(2)));
    assert!(own.good > 0 && !own.required, "{own:?}");
    require(&client, Some(8)).expect("set");
    let own = info(&client).expect("asked").expect("it is signed");
    assert_eq!(
        (own.current, own.rnext, own.required),
        (Some(102), Some(8), true)
    );
    require(&client, Some(9)).expect_err("it has no such key");
    let (plain, _) = dial("127.0.0.1:0", "127.0.0.0/8", &[], &[]).expect("without keys");
    assert_eq!(info(&plain).expect("asked"), None);
    assert_eq!(keys(&plain).expect("read"), []);
}

#[test]
fn tcp_ao_keys_roll_over_under_a_connection() {
    if lacking() {
        return;
    }
    for (address, peers) in [PLACES[1], PLACES[3]] {
        let old = key(1, 1, b"old");
        let new = key(2, 2, b"new");
        let (mut accepted, mut client) = dial(address, peers, &[old], &[old]).expect("equal keys");
        let whole = |stream: &TcpStream| only(stream.peer_addr().expect("open"));
        add_key(&accepted, net(peers), &new, false).expect("added");
        // The other end has it not yet: asked for it, it goes on with what it has.
        require(&accepted, Some(2)).expect("asked for");
        accepted.write_all(b"1").expect("open");
        client.read_exact(&mut [0]).expect("arrives");
        let signs = |stream: &TcpStream| {
            let info = info(stream).expect("asked");
            info.expect("signed").current
        };
        assert_eq!((signs(&client), signs(&accepted)), (Some(1), Some(1)));
        let busy = delete_key(&accepted, net(peers), (1, 1), false).expect_err("it signs");
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
        // Now it has it, and asks for it too.
        add_key(&client, whole(&client), &new, false).expect("added");
        require(&client, Some(2)).expect("asked for");
        for _ in 0..2 {
            client.write_all(b"2").expect("open");
            accepted.read_exact(&mut [0]).expect("arrives");
            accepted.write_all(b"3").expect("open");
            client.read_exact(&mut [0]).expect("arrives");
        }
        assert_eq!((signs(&client), signs(&accepted)), (Some(2), Some(2)));
        delete_key(&accepted, net(peers), (1, 1), false).expect("no longer in use");
        delete_key(&client, whole(&client), (1, 1), false).expect("no longer in use");
        client.write_all(b"4").expect("open");
        accepted.read_exact(&mut [0]).expect("arrives");
        let held = keys(&accepted).expect("read");
        assert_eq!(held.len(), 1);
        assert!(held[0].good > 0 && held[0].bad == 0, "{held:?}");
    }
}

#[test]
fn tcp_ao_keys_exclude_each_other() {
    if lacking() {
        return;
    }
    let errno = |result: io::Result<()>| result.expect_err("refused").raw_os_error();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    add_key(&listener, net("10.0.0.0/8"), &key(1, 1, b"a"), false).expect("the first");
    for (peers, ids) in [
        ("10.0.0.0/8", (1, 2)),
        ("10.1.0.0/16", (2, 1)),
        ("0.0.0.0/0", (1, 1)),
    ] {
        let again = add_key(&listener, net(peers), &key(ids.0, ids.1, b"b"), false);
        assert_eq!(errno(again), Some(libc::EEXIST), "{peers}");
    }
    add_key(&listener, net("10.1.0.0/16"), &key(2, 2, b"b"), false).expect("other IDs");
    add_key(&listener, net("11.0.0.0/8"), &key(1, 1, b"b"), false).expect("other addresses");
    let md5 = set_md5_key(&listener, net("10.2.0.0/16"), b"md5");
    assert_eq!(errno(md5), Some(libc::EKEYREJECTED));
    set_md5_key(&listener, net("12.0.0.0/8"), b"md5").expect("other addresses");
    let ao = add_key(&listener, net("12.0.0.1/32"), &key(5, 5, b"x"), false);
    assert_eq!(errno(ao), Some(libc::EKEYREJECTED));
    let odd = add_key(&listener, net("0.0.0.0/1"), &key(6, 6, b"x"), false);
    assert_eq!(errno(odd), Some(libc::EINVAL), "the prefix of no address");
    delete_key(&listener, net("10.0.0.0/8"), (1, 1), true).expect("it is there");
    let gone = delete_key(&listener, net("10.0.0.0/8"), (1, 1), true);
    assert_eq!(errno(gone), Some(libc::ENOENT));
}
