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
mod tests;
