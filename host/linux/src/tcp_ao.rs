//! TCP-AO (RFC 5925): the keys of a socket. Source: linux/tcp.h, Documentation/networking/tcp_ao.rst.
//!
//! A key is for the addresses of a prefix, and for a listening socket it is handed on to what is accepted from there. Of a
//! connection's keys one signs (Current_key) and one is asked of the peer (RNext_key); which one signs is up to the peer's
//! RNext_key, so that nobody signs with a key that the other end has not.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;

use crate::tcp::{get, set, storage};

/// The longest master key in octets. Source: linux/tcp.h, `TCP_AO_MAXKEYLEN`.
pub const KEY_MAX: usize = 80;

const TCP_AO_ADD_KEY: libc::c_int = 38;
const TCP_AO_DEL_KEY: libc::c_int = 39;
const TCP_AO_INFO: libc::c_int = 40;
const TCP_AO_GET_KEYS: libc::c_int = 41;

/// How a key derives traffic keys and signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1-96 (RFC 5926 §3.2.1).
    HmacSha1,
    /// AES-128-CMAC-96 (RFC 5926 §3.2.2).
    Aes128Cmac,
    /// HMAC-SHA-256, cut to 96 bits; not in RFC 5926.
    HmacSha256,
}

impl Algorithm {
    /// What the kernel calls it.
    fn name(self) -> &'static str {
        match self {
            Algorithm::HmacSha1 => "hmac(sha1)",
            Algorithm::Aes128Cmac => "cmac(aes128)",
            Algorithm::HmacSha256 => "hmac(sha256)",
        }
    }
}

/// A master key tuple (RFC 5925 §3.1), less the addresses that it is for.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// KeyID in what is signed with it.
    pub send_id: u8,
    /// KeyID in what the peer signs with it.
    pub recv_id: u8,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The master key, at most [`KEY_MAX`] octets.
    pub secret: &'a [u8],
}

/// A key that a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whom it is for.
    pub peers: IpNet,
    /// KeyID in what is signed with it.
    pub send_id: u8,
    /// KeyID in what the peer signs with it.
    pub recv_id: u8,
    /// What is sent is signed with it (Current_key).
    pub is_current: bool,
    /// The peer is asked to sign with it (RNext_key).
    pub is_rnext: bool,
    /// Segments that it verified.
    pub good: u64,
    /// Segments that were dropped because it did not verify them.
    pub bad: u64,
}

/// What a socket counts of TCP-AO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// SendID of the key that signs; none on a listening socket.
    pub current: Option<u8>,
    /// RecvID of the key that the peer is asked for.
    pub rnext: Option<u8>,
    /// What is not signed is dropped, whoever sent it.
    pub required: bool,
    /// Segments that were verified.
    pub good: u64,
    /// Segments that were dropped because their key did not verify them.
    pub bad: u64,
    /// Segments that were dropped because their key is not there.
    pub key_not_found: u64,
    /// Segments that were dropped because they were not signed.
    pub unsigned: u64,
}

/// `struct tcp_ao_add`.
#[repr(C, align(8))]
struct AddKey {
    address: [u64; 16],
    algorithm: [u8; 64],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_length: u8,
    send_id: u8,
    recv_id: u8,
    mac_length: u8,
    key_flags: u8,
    key_length: u8,
    key: [u8; KEY_MAX],
}

/// `struct tcp_ao_del`.
#[repr(C, align(8))]
struct DeleteKey {
    address: [u64; 16],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_length: u8,
    send_id: u8,
    recv_id: u8,
    current: u8,
    rnext: u8,
    key_flags: u8,
}

/// `struct tcp_ao_info_opt`.
#[repr(C, align(8))]
struct InfoOption {
    flags: u32,
    reserved: u16,
    current: u8,
    rnext: u8,
    /// Good, bad, key not found, unsigned, ICMP errors not heard.
    counters: [u64; 5],
}

/// `struct tcp_ao_getsockopt`.
#[derive(Clone)]
#[repr(C, align(8))]
struct GetKey {
    address: [u64; 16],
    algorithm: [u8; 64],
    key: [u8; KEY_MAX],
    count: u32,
    flags: u16,
    send_id: u8,
    recv_id: u8,
    prefix_length: u8,
    mac_length: u8,
    key_flags: u8,
    key_length: u8,
    interface: i32,
    good: u64,
    bad: u64,
}

/// Bit field number `at` of 32: C counts from the end that comes first in memory.
const fn flag(at: u32) -> u32 {
    if cfg!(target_endian = "little") {
        1 << at
    } else {
        1 << (31 - at)
    }
}

/// Bit field number `at` of 16.
const fn short_flag(at: u16) -> u16 {
    if cfg!(target_endian = "little") {
        1 << at
    } else {
        1 << (15 - at)
    }
}

/// In `AddKey` and `InfoOption`.
const SET_CURRENT: u32 = flag(0);
const SET_RNEXT: u32 = flag(1);
/// In `InfoOption`.
const REQUIRED: u32 = flag(2);
/// In `DeleteKey`: only for listening sockets, and does not wait for what is under way.
const DELETE_ASYNC: u32 = flag(2);
/// In `GetKey`.
const IS_CURRENT: u16 = short_flag(0);
const IS_RNEXT: u16 = short_flag(1);
const GET_ALL: u16 = short_flag(2);

/// The address in a `sockaddr_storage`, the opposite of [`storage`].
fn address(storage: &[u64; 16]) -> IpAddr {
    let mut octets = [0; 128];
    for (word, octets) in storage.iter().zip(octets.as_chunks_mut::<8>().0) {
        *octets = word.to_ne_bytes();
    }
    let family = u16::from_ne_bytes([octets[0], octets[1]]);
    if libc::c_int::from(family) == libc::AF_INET {
        let mut v4 = [0; 4];
        v4.copy_from_slice(&octets[4..8]);
        Ipv4Addr::from(v4).into()
    } else {
        let mut v6 = [0; 16];
        v6.copy_from_slice(&octets[8..24]);
        Ipv6Addr::from(v6).into()
    }
}

/// Gives a socket a key for the addresses in `peers`: what is sent there may be signed with it, what comes from there is
/// dropped unless it is signed. With `preferred`, which is not for listening sockets, it signs (Current_key) and is asked
/// of the peer (RNext_key).
///
/// # Errors
/// `InvalidInput` for a secret of more than [`KEY_MAX`] octets, `ENOPROTOOPT` when the kernel has no TCP-AO, `ENOENT` when
/// it has not the algorithm, `EINVAL` for a prefix such as 0.0.0.0/1, of the unspecified address but not of all, `EEXIST` when a key for some of the addresses has one of the IDs, `EKEYREJECTED` when there is
/// a TCP-MD5 key for some of them, `ENOMEM` beyond `net.core.optmem_max`.
pub fn add_key(fd: &impl AsFd, peers: IpNet, key: &Key<'_>, preferred: bool) -> io::Result<()> {
    if key.secret.len() > KEY_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a key has at most {KEY_MAX} octets"),
        ));
    }
    let peers = peers.trunc();
    let mut option = AddKey {
        address: storage(peers.addr()),
        algorithm: [0; 64],
        interface: 0,
        flags: if preferred {
            SET_CURRENT | SET_RNEXT
        } else {
            0
        },
        reserved: 0,
        prefix_length: peers.prefix_len(),
        send_id: key.send_id,
        recv_id: key.recv_id,
        // 96 bits, which all the algorithms here are cut to.
        mac_length: 12,
        key_flags: 0,
        key_length: key.secret.len() as u8,
        key: [0; KEY_MAX],
    };
    let name = key.algorithm.name().as_bytes();
    option.algorithm[..name.len()].copy_from_slice(name);
    option.key[..key.secret.len()].copy_from_slice(key.secret);
    set(fd, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &option)
}

/// Takes a key away. `peers` is what it was given for; a connection that was accepted has it for the listening socket's
/// prefix, as [`keys`] says.
///
/// # Errors
/// `EBUSY` when it signs or is asked of the peer, `ENOENT` when it is not there.
pub fn delete_key(
    fd: &impl AsFd,
    peers: IpNet,
    (send_id, recv_id): (u8, u8),
    listens: bool,
) -> io::Result<()> {
    let peers = peers.trunc();
    let option = DeleteKey {
        address: storage(peers.addr()),
        interface: 0,
        flags: if listens { DELETE_ASYNC } else { 0 },
        reserved: 0,
        prefix_length: peers.prefix_len(),
        send_id,
        recv_id,
        current: 0,
        rnext: 0,
        key_flags: 0,
    };
    set(fd, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &option)
}

/// Drops all that is not signed from now on, whoever sent it, and asks the peer to sign with the key of this RecvID.
///
/// # Errors
/// `ENOENT` when the key is not there.
pub fn require(fd: &impl AsFd, rnext: Option<u8>) -> io::Result<()> {
    let option = InfoOption {
        flags: REQUIRED | rnext.map_or(0, |_| SET_RNEXT),
        reserved: 0,
        current: 0,
        rnext: rnext.unwrap_or(0),
        counters: [0; 5],
    };
    set(fd, libc::IPPROTO_TCP, TCP_AO_INFO, &option)
}

/// What a socket counts; `None` when it has no TCP-AO: for a connection, that it is not signed.
///
/// # Errors
/// `ENOPROTOOPT` when the kernel has no TCP-AO.
pub fn info(fd: &impl AsFd) -> io::Result<Option<Info>> {
    let mut octets = [0; size_of::<InfoOption>()];
    match get(fd, libc::IPPROTO_TCP, TCP_AO_INFO, &mut octets) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    }
    let (words, _) = octets.as_chunks::<8>();
    let counter = |at: usize| u64::from_ne_bytes(words[at]);
    let flags = u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]);
    Ok(Some(Info {
        current: (flags & SET_CURRENT != 0).then_some(octets[6]),
        rnext: (flags & SET_RNEXT != 0).then_some(octets[7]),
        required: flags & REQUIRED != 0,
        good: counter(1),
        bad: counter(2),
        key_not_found: counter(3),
        unsigned: counter(4),
    }))
}

/// The keys of a socket, in no order; none when it has no TCP-AO.
///
/// # Errors
/// `ENOPROTOOPT` when the kernel has no TCP-AO.
pub fn keys(fd: &impl AsFd) -> io::Result<Vec<Held>> {
    let mut room = 4;
    loop {
        let found = match get_keys(fd, room) {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let count = found[0].count as usize;
        if count <= room {
            return Ok(found[..count].iter().map(held).collect());
        }
        room = count;
    }
}

fn held(found: &GetKey) -> Held {
    let address = address(&found.address);
    let whole = IpNet::from(address);
    Held {
        peers: IpNet::new(address, found.prefix_length).unwrap_or(whole),
        send_id: found.send_id,
        recv_id: found.recv_id,
        is_current: found.flags & IS_CURRENT != 0,
        is_rnext: found.flags & IS_RNEXT != 0,
        good: found.good,
        bad: found.bad,
    }
}

/// Room for `room` keys, more than none, and in the first one's `count` how many there are.
fn get_keys(fd: &impl AsFd, room: usize) -> io::Result<Vec<GetKey>> {
    let empty = GetKey {
        address: [0; 16],
        algorithm: [0; 64],
        key: [0; KEY_MAX],
        count: 0,
        flags: 0,
        send_id: 0,
        recv_id: 0,
        prefix_length: 0,
        mac_length: 0,
        key_flags: 0,
        key_length: 0,
        interface: 0,
        good: 0,
        bad: 0,
    };
    let mut found = vec![empty; room];
    found[0].count = room as u32;
    found[0].flags = GET_ALL;
    let mut length = size_of::<GetKey>() as libc::socklen_t;
    // SAFETY: `length` is that of one entry; the kernel writes at most as many entries as the first one's `count` says,
    // which is how many there are. An entry is made of integers, so whatever is written is a valid one.
    #[expect(unsafe_code, reason = "getsockopt(2) has no safe form")]
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_AO_GET_KEYS,
            found.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(found)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the kernel has TCP-AO, and with this algorithm.
///
/// # Errors
/// `ENOPROTOOPT` when it has no TCP-AO, `ENOENT` when it has not the algorithm.
pub fn probe(algorithm: Algorithm) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let key = Key {
        send_id: 0,
        recv_id: 0,
        algorithm,
        secret: b"probe",
    };
    add_key(
        &socket,
        IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
        &key,
        false,
    )
}

#[cfg(test)]
mod tests {
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
            let (mut accepted, mut client) =
                dial(address, peers, &[old], &[old]).expect("equal keys");
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
}
