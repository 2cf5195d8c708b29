//! UDP datagrams with what the kernel knows of them: TTL, interface, and when they arrived.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// A received datagram; its octets are in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Octets of the buffer that it fills.
    pub length: usize,
    /// The sender's address.
    pub source: IpAddr,
    /// The index of the interface that it came by, where the sender is link-local; else 0.
    pub scope: u32,
    /// TTL or hop limit; 0 when the kernel did not say.
    pub ttl: u8,
    /// When it arrived, since 1970; `None` when the kernel did not say.
    pub arrived: Option<Duration>,
}

/// Asks the kernel for TTL and arrival time of each datagram. Source: ip(7), ipv6(7), socket(7).
///
/// # Errors
/// The kernel's.
pub fn describe_datagrams(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, ttl) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT)
    } else {
        (libc::IPPROTO_IP, libc::IP_RECVTTL)
    };
    for (level, option) in [(level, ttl), (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)] {
        let on: libc::c_int = 1;
        // SAFETY: the option's value is an int that lives until the call returns, and its size is given.
        #[expect(unsafe_code, reason = "setsockopt(2) has no safe form")]
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Reads one datagram, without waiting when the socket is non-blocking.
///
/// # Errors
/// The kernel's; `WouldBlock` when there is none.
pub fn receive_datagram(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    // Of u64, so that the headers in it are aligned.
    let mut control = [0_u64; 32];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: both are plain C structures for which all zeros is a value.
    #[expect(unsafe_code, reason = "C structures with private padding")]
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (zeroed(), zeroed()) };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: each pointer in `message` is to a live buffer of the length beside it.
    #[expect(unsafe_code, reason = "no crate reads these messages")]
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let (source, scope) = sender(&name);
    let mut datagram = Datagram {
        length,
        source,
        scope,
        ttl: 0,
        arrived: None,
    };
    describe(&message, &mut datagram);
    Ok(datagram)
}

fn sender(name: &libc::sockaddr_storage) -> (IpAddr, u32) {
    if i32::from(name.ss_family) == libc::AF_INET6 {
        // SAFETY: the family says which structure the kernel wrote, and the storage holds and aligns each of them.
        #[expect(unsafe_code, reason = "a C union by family")]
        let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
        let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
        let scope = if address.is_unicast_link_local() {
            name.sin6_scope_id
        } else {
            0
        };
        return (address.into(), scope);
    }
    // SAFETY: as above; the sockets of this module are of one of the two families.
    #[expect(unsafe_code, reason = "a C union by family")]
    let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
    let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
    (address.into(), 0)
}

/// Takes TTL and time from the control messages.
#[expect(unsafe_code, reason = "the walk over control messages is cmsg(3)'s")]
fn describe(message: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: the kernel filled the buffer that `message` names, and msg_controllen says how far; the macros stay within
    // it. Data of a control message need not be aligned, so it is read unaligned, and by the type that its level and kind
    // stand for.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    let ttl = data.cast::<libc::c_int>().read_unaligned();
                    datagram.ttl = u8::try_from(ttl).unwrap_or(0);
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
                    datagram.arrived = Some(Duration::new(seconds, nanos));
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::SystemTime;

    #[test]
    fn a_datagram_is_described() {
        for (address, ipv6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let Ok(receiver) = UdpSocket::bind(address) else {
                println!("skipped: no {address} here");
                continue;
            };
            describe_datagrams(receiver.as_fd(), ipv6).expect("the kernel knows it");
            let sender = UdpSocket::bind(address).expect("a port");
            let to = receiver.local_addr().expect("bound");
            sender.send_to(b"seven..", to).expect("sent");
            let mut buffer = [0; 64];
            let got = receive_datagram(receiver.as_fd(), &mut buffer).expect("it came");
            assert_eq!(
                (&buffer[..got.length], got.source),
                (&b"seven.."[..], to.ip())
            );
            assert_eq!((got.ttl, got.scope), (64, 0));
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let age = now
                .expect("after 1970")
                .checked_sub(got.arrived.expect("said"));
            assert!(
                age.is_some_and(|age| age < Duration::from_secs(10)),
                "{age:?}"
            );
        }
    }
}
