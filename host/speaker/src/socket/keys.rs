//! What signs the segments of a socket: keys of TCP-MD5 (RFC 2385) and of TCP-AO (RFC 5925).

use super::words;
use bgp::{AoAlgorithm, AoKey, Keys};
use ipnet::IpNet;
use linux::{tcp, tcp_ao};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// One key of a listening socket and whom it is for.
#[derive(Clone, Copy, PartialEq)]
enum Entry<'a> {
    Md5(IpNet, &'a [u8]),
    Ao(IpNet, &'a AoKey),
}

fn entries(keys: &[(IpNet, Keys)]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for (net, keys) in keys {
        match keys {
            Keys::Md5(key) => entries.push(Entry::Md5(*net, key.octets())),
            Keys::Ao(keys) => entries.extend(keys.iter().map(|key| Entry::Ao(*net, key))),
        }
    }
    entries
}

impl Entry<'_> {
    fn net(self) -> IpNet {
        match self {
            Entry::Md5(net, _) | Entry::Ao(net, _) => net,
        }
    }

    /// A socket does not have both at a time.
    fn excludes(self, other: Entry<'_>) -> bool {
        let (a, b) = (self.net(), other.net());
        let overlap = a.contains(&b) || b.contains(&a);
        overlap
            && match (self, other) {
                // The newer one of a prefix takes the older one's place.
                (Entry::Md5(..), Entry::Md5(..)) => false,
                (Entry::Ao(_, a), Entry::Ao(_, b)) => {
                    a.send_id == b.send_id || a.recv_id == b.recv_id
                }
                (Entry::Md5(..), Entry::Ao(..)) | (Entry::Ao(..), Entry::Md5(..)) => true,
            }
    }

    fn add(self, listener: &impl AsFd) -> io::Result<()> {
        match self {
            Entry::Md5(net, key) => set_md5(listener, net, key),
            Entry::Ao(net, key) => add_ao(listener, net, key, false),
        }
    }

    fn take(self, listener: &impl AsFd) -> io::Result<()> {
        match self {
            Entry::Md5(net, _) => set_md5(listener, net, &[]),
            Entry::Ao(net, key) => {
                let ids = (key.send_id, key.recv_id);
                tcp_ao::delete_key(listener, net, ids, true).map_err(|e| ao_error(&e))
            }
        }
    }
}

/// Brings a listening socket from the keys that it has to those that it needs. New ones come first: for a key that is
/// replaced by one of another ID there is no moment without.
pub(super) fn of_listener(
    listener: &impl AsFd,
    address: SocketAddr,
    old: &[(IpNet, Keys)],
    new: &[(IpNet, Keys)],
) -> io::Result<()> {
    let ours = |entry: &Entry<'_>| entry.net().addr().is_ipv4() == address.is_ipv4();
    let (old, new) = (entries(old), entries(new));
    let stays_md5 = |entry: &Entry<'_>| {
        let net = entry.net();
        let mut md5 = new.iter().filter(|new| matches!(new, Entry::Md5(..)));
        matches!(entry, Entry::Md5(..)) && md5.any(|new| new.net() == net)
    };
    let fresh: Vec<Entry<'_>> = (new.iter().copied())
        .filter(|entry| ours(entry) && !old.contains(entry))
        .collect();
    let gone = (old.iter().copied())
        .filter(|entry| ours(entry) && !new.contains(entry) && !stays_md5(entry));
    let (before, after): (Vec<Entry<'_>>, Vec<Entry<'_>>) =
        gone.partition(|gone| fresh.iter().any(|fresh| fresh.excludes(*gone)));
    before.iter().try_for_each(|entry| entry.take(listener))?;
    fresh.iter().try_for_each(|entry| entry.add(listener))?;
    after.iter().try_for_each(|entry| entry.take(listener))
}

/// Gives a socket that has not been connected yet its keys.
pub(super) fn to_dial(socket: &impl AsFd, remote: SocketAddr, keys: &Keys) -> io::Result<()> {
    let peers = tcp::only(remote);
    match keys {
        Keys::Md5(key) => set_md5(socket, peers, key.octets()),
        Keys::Ao(keys) => {
            for (at, key) in keys.iter().enumerate() {
                add_ao(socket, peers, key, at == 0)?;
            }
            tcp_ao::require(socket, None).map_err(|e| ao_error(&e))
        }
    }
}

/// Sees to it that an accepted connection is signed, and with no key but these.
pub(super) fn of_accepted(socket: &impl AsFd, remote: SocketAddr, keys: &Keys) -> io::Result<()> {
    match keys {
        Keys::Md5(key) => set_md5(socket, tcp::only(remote), key.octets()),
        Keys::Ao(keys) => {
            // It has the keys of the listening socket if its first segment was signed, else none: a key that is given to an
            // unsigned connection now would end it in silence.
            if tcp_ao::info(socket).map_err(|e| ao_error(&e))?.is_none() {
                return Err(super::refused("tcp-ao-unsigned"));
            }
            for held in change_ao(socket, remote, keys)? {
                // What signs cannot be taken away: the peer has come with a key that is not its own.
                let ids = (held.send_id, held.recv_id);
                tcp_ao::delete_key(socket, held.peers, ids, false).map_err(|e| ao_error(&e))?;
            }
            Ok(())
        }
    }
}

/// Gives a connection other keys. True when some that it had are still in use and stay: RFC 5925 §3.1 presumes that they
/// are not taken from an active connection. Then this is to be called again when something was heard.
pub(super) fn change(socket: &impl AsFd, remote: SocketAddr, keys: &Keys) -> io::Result<bool> {
    let keys = match keys {
        Keys::Md5(key) => return set_md5(socket, tcp::only(remote), key.octets()).map(|()| false),
        Keys::Ao(keys) => keys,
    };
    let mut stays = false;
    let others = change_ao(socket, remote, keys)?;
    // The peer signs with what it is asked for once it has signed one segment so.
    let held = tcp_ao::keys(socket).map_err(|e| ao_error(&e))?;
    let peer_changed = held.iter().any(|held| held.is_rnext && held.good > 0);
    for other in others {
        let ids = (other.send_id, other.recv_id);
        let signs = held
            .iter()
            .any(|held| held.is_current && (held.send_id, held.recv_id) == ids);
        if signs || !peer_changed {
            stays = true;
            continue;
        }
        match tcp_ao::delete_key(socket, other.peers, ids, false) {
            Ok(()) => tracing::info!("{remote}: TCP-AO key {}/{} is gone", ids.0, ids.1),
            // The peer has asked for it again.
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => stays = true,
            Err(error) => return Err(ao_error(&error)),
        }
    }
    Ok(stays)
}

/// Adds what of `keys` is not there, asks the peer for the first, and returns what else is there.
fn change_ao(
    socket: &impl AsFd,
    remote: SocketAddr,
    keys: &[AoKey],
) -> io::Result<Vec<tcp_ao::Held>> {
    let held = tcp_ao::keys(socket).map_err(|e| ao_error(&e))?;
    let is = |held: &tcp_ao::Held, key: &AoKey| {
        (held.send_id, held.recv_id) == (key.send_id, key.recv_id)
    };
    for key in keys {
        if !held.iter().any(|held| is(held, key)) {
            add_ao(socket, tcp::only(remote), key, false)?;
        }
    }
    let rnext = keys.first().map(|key| key.recv_id);
    tcp_ao::require(socket, rnext).map_err(|e| ao_error(&e))?;
    let others = held.into_iter();
    Ok(others
        .filter(|held| !keys.iter().any(|key| is(held, key)))
        .collect())
}

fn add_ao(socket: &impl AsFd, peers: IpNet, key: &AoKey, preferred: bool) -> io::Result<()> {
    let key = tcp_ao::Key {
        send_id: key.send_id,
        recv_id: key.recv_id,
        algorithm: algorithm(key.algorithm),
        secret: key.secret.octets(),
    };
    tcp_ao::add_key(socket, peers, &key, preferred).map_err(|error| {
        if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) {
            io::Error::new(io::ErrorKind::Unsupported, "tcp-ao-algorithm-not-in-kernel")
        } else {
            ao_error(&error)
        }
    })
}

/// The same for the kernel.
pub(crate) fn algorithm(algorithm: AoAlgorithm) -> tcp_ao::Algorithm {
    match algorithm {
        AoAlgorithm::HmacSha1 => tcp_ao::Algorithm::HmacSha1,
        AoAlgorithm::Aes128Cmac => tcp_ao::Algorithm::Aes128Cmac,
        AoAlgorithm::HmacSha256 => tcp_ao::Algorithm::HmacSha256,
    }
}

fn set_md5(socket: &impl AsFd, peers: IpNet, key: &[u8]) -> io::Result<()> {
    tcp::set_md5_key(socket, peers, key).map_err(|error| named(&error, "tcp-md5"))
}

fn ao_error(error: &io::Error) -> io::Error {
    named(error, "tcp-ao")
}

/// An error under the name of what the kernel did not take.
fn named(error: &io::Error, what: &str) -> io::Error {
    match error.raw_os_error() {
        Some(number) if number == Errno::NOPROTOOPT.raw_os_error() => {
            io::Error::new(io::ErrorKind::Unsupported, format!("{what}-not-in-kernel"))
        }
        Some(_) | None => io::Error::new(
            error.kind(),
            format!("{what}-key-refused: {}", words(error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::Secret;
    use std::net::{TcpListener, TcpStream};

    /// True, and said, when there is nothing to be tested here.
    fn lacking() -> bool {
        let lacking = tcp_ao::probe(tcp_ao::Algorithm::HmacSha1).is_err();
        if lacking {
            println!("skipped: no TCP-AO in this kernel");
        }
        lacking
    }

    fn ao(keys: &[(u8, u8, &str)]) -> Keys {
        let key = |(send_id, recv_id, secret): &(u8, u8, &str)| AoKey {
            send_id: *send_id,
            recv_id: *recv_id,
            algorithm: AoAlgorithm::HmacSha1,
            secret: Secret::new(secret.as_bytes()),
        };
        Keys::Ao(keys.iter().map(key).collect())
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let bound = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback");
        let address = bound.local_addr().expect("bound");
        (bound, address)
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn a_listener_goes_from_any_keys_to_any() {
        if lacking() {
            return;
        }
        let md5 = Keys::Md5(Secret::new(b"md5"));
        let states: Vec<Vec<(IpNet, Keys)>> = vec![
            vec![],
            vec![(net("10.0.0.0/8"), ao(&[(1, 1, "old")]))],
            // One more, the other way round, another secret under one ID, without the first.
            vec![(net("10.0.0.0/8"), ao(&[(2, 2, "new"), (1, 1, "old")]))],
            vec![(net("10.0.0.0/8"), ao(&[(2, 2, "another"), (1, 3, "old")]))],
            vec![(net("10.0.0.0/8"), ao(&[(2, 2, "another")]))],
            // The range's is now a member's, or of the other kind.
            vec![(net("10.1.0.1/32"), ao(&[(2, 2, "another")]))],
            vec![(net("10.1.0.0/16"), md5.clone())],
            vec![(net("10.1.0.0/16"), Keys::Md5(Secret::new(b"other")))],
            vec![
                (net("10.1.0.1/32"), ao(&[(2, 2, "x")])),
                (net("10.2.0.0/16"), md5),
            ],
            vec![(net("fd09::/64"), ao(&[(9, 9, "not this family")]))],
        ];
        for from in &states {
            for to in &states {
                let (listener, address) = listener();
                of_listener(&listener, address, &[], from).expect("the first");
                of_listener(&listener, address, from, to)
                    .unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
                let held = tcp_ao::keys(&listener).expect("read");
                let mut held: Vec<_> = held
                    .iter()
                    .map(|held| (held.peers, held.send_id, held.recv_id))
                    .collect();
                held.sort_unstable();
                let mut wanted = Vec::new();
                for entry in entries(to) {
                    if let Entry::Ao(net, key) = entry
                        && net.addr().is_ipv4()
                    {
                        wanted.push((net, key.send_id, key.recv_id));
                    }
                }
                wanted.sort_unstable();
                assert_eq!(held, wanted, "{from:?} to {to:?}");
            }
        }
    }

    /// Dials with some keys a listener with others, and gives what it accepted.
    fn accepted(accepts: &[Keys], signs: Option<&Keys>) -> (TcpStream, SocketAddr) {
        let (listener, address) = listener();
        let whole = IpNet::from(address.ip());
        let accepts: Vec<(IpNet, Keys)> = accepts.iter().map(|k| (whole, k.clone())).collect();
        of_listener(&listener, address, &[], &accepts).expect("taken");
        let domain = socket2::Domain::for_address(address);
        let client = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
        if let Some(keys) = signs {
            to_dial(&client, address, keys).expect("taken");
        }
        client.connect(&address.into()).expect("loopback");
        listener.accept().expect("it connected")
    }

    #[test]
    fn an_accepted_connection_is_signed_with_its_own_keys() {
        if lacking() {
            return;
        }
        let (one, two) = (ao(&[(1, 1, "one")]), ao(&[(2, 2, "two")]));
        let (stream, remote) = accepted(&[one.clone(), two.clone()], Some(&one));
        let keys = || tcp_ao::keys(&stream).expect("read");
        assert_eq!(keys().len(), 2, "all that the listener had for it");
        // Only what is its own stays; what it did not come with can be gone, what it came with cannot.
        let refused = of_accepted(&stream, remote, &two).expect_err("not its own");
        assert!(
            refused.to_string().starts_with("tcp-ao-key-refused"),
            "{refused}"
        );
        of_accepted(&stream, remote, &one).expect("the control");
        let ids: Vec<u8> = keys().iter().map(|held| held.send_id).collect();
        assert_eq!(ids, [1]);
        let info = tcp_ao::info(&stream).expect("asked").expect("signed");
        assert!(info.required);
        // One that came before the listener had keys.
        let (stream, remote) = accepted(&[], None);
        let refused = of_accepted(&stream, remote, &one).expect_err("not signed");
        assert_eq!(refused.to_string(), "tcp-ao-unsigned");
    }
}
