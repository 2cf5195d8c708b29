//! Options of TCP sockets that no safe library has: signed segments (RFC 2385), a least hop limit (RFC 5082), and the hop
//! limit that a connection's first segment came with.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;

/// The longest key of TCP-MD5 in octets. Source: linux/tcp.h, `TCP_MD5SIG_MAXKEYLEN`.
pub const MD5_KEY_MAX: usize = libc::TCP_MD5SIG_MAXKEYLEN;

/// TCP_SAVE_SYN and TCP_SAVED_SYN of linux/tcp.h; libc does not have them for all targets.
const TCP_SAVE_SYN: libc::c_int = 27;
const TCP_SAVED_SYN: libc::c_int = 28;
/// IP_MINTTL of linux/in.h and IPV6_MINHOPCOUNT of linux/in6.h.
const IP_MINTTL: libc::c_int = 21;
const IPV6_MINHOPCOUNT: libc::c_int = 73;
/// The key is for a prefix. Source: linux/tcp.h.
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

pub(crate) fn set<T>(
    fd: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one live value, which the kernel only reads.
    #[expect(unsafe_code, reason = "setsockopt(2) has no safe form")]
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads an option into `buffer`; returns how many octets there were.
pub(crate) fn get(
    fd: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets into a buffer of that length, and the new length into `length`.
    #[expect(unsafe_code, reason = "getsockopt(2) has no safe form")]
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(length as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    /// `struct sockaddr_storage`, in the kernel's layout.
    address: [u64; 16],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: u32,
    key: [u8; MD5_KEY_MAX],
}

/// An address as the start of a `sockaddr_storage`: family, port 0, and for IPv6 the flow label.
pub(crate) fn storage(address: IpAddr) -> [u64; 16] {
    let mut octets = [0u8; 128];
    let (family, at) = match address {
        IpAddr::V4(_) => (libc::AF_INET, 4),
        IpAddr::V6(_) => (libc::AF_INET6, 8),
    };
    octets[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    match address {
        IpAddr::V4(v4) => octets[at..at + 4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => octets[at..at + 16].copy_from_slice(&v6.octets()),
    }
    let (words, _) = octets.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
}

/// Signs segments to addresses in `peers` with `key`, and takes only such from there (RFC 2385). An empty key takes the
/// entry away again. On a connected socket an old key is replaced at once; a listening one hands its keys on to what it
/// accepts. The longest prefix that fits counts.
///
/// # Errors
/// `InvalidInput` for a key of more than [`MD5_KEY_MAX`] octets, `ENOPROTOOPT` when the kernel has no TCP-MD5, `ENOENT` for
/// a key to be taken away that is not there, `ENOMEM` beyond `net.core.optmem_max`. Source: linux/tcp.h, tcp(7).
pub fn set_md5_key(fd: &impl AsFd, peers: IpNet, key: &[u8]) -> io::Result<()> {
    if key.len() > MD5_KEY_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a key has at most {MD5_KEY_MAX} octets"),
        ));
    }
    let is_one = peers.prefix_len() == peers.max_prefix_len();
    let mut signature = Md5Signature {
        address: storage(peers.addr()),
        flags: if is_one { 0 } else { TCP_MD5SIG_FLAG_PREFIX },
        prefix_length: if is_one { 0 } else { peers.prefix_len() },
        key_length: key.len() as u16,
        interface: 0,
        key: [0; MD5_KEY_MAX],
    };
    signature.key[..key.len()].copy_from_slice(key);
    let name = if is_one {
        libc::TCP_MD5SIG
    } else {
        libc::TCP_MD5SIG_EXT
    };
    set(fd, libc::IPPROTO_TCP, name, &signature)
}

/// Drops what arrives with a lower TTL, or hop limit for IPv6 (GTSM, RFC 5082 §3). On a listening socket it holds for the
/// first segment too, and for what is accepted. 0 ends it.
///
/// # Errors
/// The kernel's.
pub fn set_min_hop_limit(fd: &impl AsFd, ipv6: bool, least: u8) -> io::Result<()> {
    let value = libc::c_int::from(least);
    if ipv6 {
        set(fd, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &value)
    } else {
        set(fd, libc::IPPROTO_IP, IP_MINTTL, &value)
    }
}

/// Lets a listening socket keep the first segment of each connection, for [`first_hop_limit`].
///
/// # Errors
/// The kernel's.
pub fn keep_first_segments(listener: &impl AsFd, keep: bool) -> io::Result<()> {
    set(
        listener,
        libc::IPPROTO_TCP,
        TCP_SAVE_SYN,
        &libc::c_int::from(keep),
    )
}

/// The TTL or hop limit that the first segment of an accepted connection came with. It can be asked once. `None` when it
/// was not kept: [`keep_first_segments`] was not in force, or the listener was so busy that it answered with SYN cookies.
///
/// # Errors
/// The kernel's.
pub fn first_hop_limit(accepted: &impl AsFd) -> io::Result<Option<u8>> {
    // The IP header comes first: the TTL is octet 8, the hop limit octet 7 (RFC 791 §3.1, RFC 8200 §3).
    let mut header = [0; 512];
    let length = get(accepted, libc::IPPROTO_TCP, TCP_SAVED_SYN, &mut header)?;
    let header = &header[..length];
    Ok(match header.first().map(|octet| octet >> 4) {
        Some(4) => header.get(8).copied(),
        Some(6) => header.get(7).copied(),
        Some(_) | None => None,
    })
}

/// The whole prefix of one address.
pub fn only(address: SocketAddr) -> IpNet {
    IpNet::from(address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<Md5Signature>(), 216);
        assert_eq!(std::mem::offset_of!(Md5Signature, flags), 128);
        assert_eq!(std::mem::offset_of!(Md5Signature, key), 136);
    }

    #[test]
    fn the_first_hop_limit_is_kept() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("skipped: no {address} here");
                continue;
            };
            keep_first_segments(&listener, true).expect("the kernel has it");
            let local = listener.local_addr().expect("bound");
            let _client = TcpStream::connect(local).expect("loopback");
            let (accepted, _) = listener.accept().expect("loopback");
            assert_eq!(
                first_hop_limit(&accepted).expect("asked"),
                Some(64),
                "{address}"
            );
            assert_eq!(
                first_hop_limit(&accepted).expect("asked"),
                None,
                "once only"
            );
        }
    }

    /// A signed listener and a client with `key`; none when the kernel has no TCP-MD5.
    fn dial(
        address: &str,
        net: &str,
        listener_key: &[u8],
        key: &[u8],
    ) -> Option<io::Result<(TcpStream, TcpStream)>> {
        let listener = TcpListener::bind(address).expect("loopback");
        let net: IpNet = net.parse().expect("a prefix");
        match set_md5_key(&listener, net, listener_key) {
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                println!("skipped: the kernel has no TCP-MD5");
                return None;
            }
            other => other.expect("the kernel takes the key"),
        }
        let local = listener.local_addr().expect("bound");
        let domain = socket2::Domain::for_address(local);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        if !key.is_empty() {
            set_md5_key(&socket, only(local), key).expect("the kernel takes the key");
        }
        Some(
            socket
                .connect_timeout(&local.into(), Duration::from_millis(300))
                .map(|()| (listener.accept().expect("it connected").0, socket.into())),
        )
    }

    #[test]
    fn keys_of_an_address_and_of_a_prefix() {
        for (address, net) in [
            ("127.0.0.1:0", "127.0.0.1/32"),
            ("127.0.0.1:0", "127.0.0.0/8"),
            ("[::1]:0", "::1/128"),
            ("[::1]:0", "::/16"),
        ] {
            let Some(equal) = dial(address, net, b"right", b"right") else {
                return;
            };
            equal.unwrap_or_else(|error| panic!("equal keys, {net}: {error}"));
            for wrong in [&b"wrong"[..], b""] {
                let refused = dial(address, net, b"right", wrong).expect("known to be there");
                refused.expect_err("another key, or none");
            }
        }
    }

    #[test]
    fn a_key_changes_under_a_connection() {
        let Some(dialled) = dial("127.0.0.1:0", "127.0.0.0/8", b"old", b"old") else {
            return;
        };
        let (mut accepted, mut client) = dialled.expect("equal keys");
        client.write_all(b"1").expect("open");
        accepted.read_exact(&mut [0]).expect("arrives");
        set_md5_key(&accepted, only(accepted.peer_addr().expect("open")), b"new").expect("changed");
        client.write_all(b"2").expect("queued");
        accepted
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("a timeout");
        accepted
            .read_exact(&mut [0])
            .expect_err("the other end still has the old key");
        set_md5_key(&client, only(client.peer_addr().expect("open")), b"new").expect("changed");
        accepted
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        accepted
            .read_exact(&mut [0])
            .expect("sent again, with the new key");
    }

    #[test]
    fn a_low_hop_limit_is_not_heard() {
        for (least, heard) in [(64, true), (65, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
            set_min_hop_limit(&listener, false, least).expect("the kernel has it");
            let local = listener.local_addr().expect("bound");
            let outcome = TcpStream::connect_timeout(&local, Duration::from_millis(300));
            assert_eq!(outcome.is_ok(), heard, "least {least}");
        }
    }

    #[test]
    fn a_key_that_is_too_long() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let error = set_md5_key(&listener, "127.0.0.1/32".parse().expect("net"), &[1; 81]);
        assert_eq!(
            error.expect_err("too long").kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
