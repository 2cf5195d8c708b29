//! Sockets made as BGP wants them: non-blocking, without delay, with the wanted TTL.

pub(crate) mod keys;

use bgp::{Keys, ListenSecurity, SocketOptions};
use linux::tcp;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A thousand nodes may come back at the same moment.
const BACKLOG: i32 = 4096;

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(
        domain,
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    Ok(socket)
}

/// A listening socket. An IPv6 one takes IPv6 only, so that both families can be listened on.
pub(crate) fn listen(address: SocketAddr, security: &ListenSecurity) -> io::Result<TcpListener> {
    let socket = tcp(address)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    // Before it listens: nobody may come in without.
    let listener = TcpListener::from_std(socket.into());
    secure(&listener, address, &ListenSecurity::default(), security)?;
    socket2::SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// Brings a listening socket from what it has been given to what it needs.
pub(crate) fn secure(
    listener: &TcpListener,
    address: SocketAddr,
    old: &ListenSecurity,
    new: &ListenSecurity,
) -> io::Result<()> {
    if old.min_ttl != new.min_ttl {
        tcp::set_min_hop_limit(listener, address.is_ipv6(), new.min_ttl.unwrap_or(0))?;
    }
    if old.checks_first_ttl != new.checks_first_ttl {
        tcp::keep_first_segments(listener, new.checks_first_ttl)?;
    }
    keys::of_listener(listener, address, &old.keys, &new.keys)
}

/// Gives a connected socket other keys; true when some that it had stay for now.
pub(crate) fn rekey(stream: &TcpStream, remote: SocketAddr, keys: &Keys) -> io::Result<bool> {
    keys::change(stream, remote, keys)
}

/// Starts to connect; the result shows when the socket becomes writable.
pub(crate) fn connect(
    remote: SocketAddr,
    source: Option<IpAddr>,
    options: &SocketOptions,
) -> io::Result<TcpStream> {
    let socket = tcp(remote)?;
    socket.set_tcp_nodelay(true)?;
    set_hop_limits(&socket, remote, options)?;
    if let Some(keys) = &options.keys {
        keys::to_dial(&socket, remote, keys)?;
    }
    if let Some(source) = source {
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    match socket.connect(&SockAddr::from(remote)) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Sets an accepted connection up. An error means that it must not be used.
pub(crate) fn tune(stream: &TcpStream, options: &SocketOptions) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?;
    set_hop_limits(&socket2::SockRef::from(stream), remote, options)?;
    if let Some(keys) = &options.keys {
        keys::of_accepted(stream, remote, keys)?;
    }
    let Some(least) = options.min_ttl else {
        return Ok(());
    };
    // What came before the option was set is judged by the first packet: the peer that is near
    // enough now was so then.
    match tcp::first_hop_limit(stream)? {
        Some(first) if first >= least => Ok(()),
        Some(_) => Err(refused("ttl-too-low")),
        None => Err(refused("ttl-unknown")),
    }
}

fn refused(name: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, name)
}

fn set_hop_limits(socket: &Socket, remote: SocketAddr, options: &SocketOptions) -> io::Result<()> {
    if remote.is_ipv4() {
        socket.set_ttl_v4(u32::from(options.ttl))?;
    } else {
        socket.set_unicast_hops_v6(u32::from(options.ttl))?;
    }
    if let Some(least) = options.min_ttl {
        tcp::set_min_hop_limit(socket, remote.is_ipv6(), least)?;
    }
    Ok(())
}

/// The words of an operating system error, as tools print them: `Connection refused`.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Lets this process have as many sockets as the system allows it.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_numbers() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(words(&error), "Connection refused");
    }
}
