//! Connection tracking: connections that were translated to a backend that is gone are forgotten.
//!
//! A UDP "connection" lives on as long as its client sends, so a resolver that keeps its port would go on asking a backend that left the
//! service long ago. TCP needs no help: its client gives up and connects anew. Source: linux/netfilter/nfnetlink_conntrack.h.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::message::{HEADER, attribute, messages};

const SUBSYSTEM: u16 = 1 << 8;
const CT_NEW: u16 = SUBSYSTEM;
const CT_GET: u16 = SUBSYSTEM | 1;
const CT_DELETE: u16 = SUBSYSTEM | 2;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// struct nfgenmsg: family, version, resource.
const NFGEN: [u8; 4] = [2, 0, 0, 0];
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
const ID: u16 = 12;
const NESTED: u16 = 0x8000;
const UDP: u8 = 17;

/// A UDP service port and one of its former backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Gone {
    /// The service address.
    pub(crate) service: IpAddr,
    /// The service's port.
    pub(crate) port: u16,
    /// The backend.
    pub(crate) backend: IpAddr,
}

/// Forgets all UDP connections to these; says how many there were.
pub(crate) fn forget(gone: &BTreeSet<Gone>) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let found = dump(&socket, gone)?;
    for connection in &found {
        socket.send(&request(CT_DELETE, REQUEST | ACK, connection), 0)?;
        let mut answer = Vec::with_capacity(4096);
        socket.recv(&mut answer, 0)?;
        if let Some(errno) =
            messages(&answer).find_map(|message| error_of(message.kind, message.body))
        {
            // It may have ended by itself.
            if errno != 0 && errno != libc::ENOENT {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
    }
    Ok(found.len())
}

/// The original tuple and the id, as they are sent back, of each connection that was translated to one of these.
fn dump(socket: &Socket, gone: &BTreeSet<Gone>) -> io::Result<Vec<Vec<u8>>> {
    socket.send(&request(CT_GET, REQUEST | DUMP, &[]), 0)?;
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        for message in messages(&buffer) {
            match message.kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => {
                    let errno = error_of(message.kind, message.body).unwrap_or(libc::EIO);
                    return Err(io::Error::from_raw_os_error(errno));
                }
                CT_NEW => {
                    let attributes = message.body.get(NFGEN.len()..).unwrap_or(&[]);
                    if connection(attributes).is_some_and(|connection| gone.contains(&connection)) {
                        found.extend(identity(attributes));
                    }
                }
                _ => {}
            }
        }
    }
}

fn error_of(kind: u16, body: &[u8]) -> Option<i32> {
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(-code)
}

fn request(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + NFGEN.len() + attributes.len();
    let mut request = Vec::with_capacity(length);
    request.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend(1u32.to_ne_bytes());
    request.extend(0u32.to_ne_bytes());
    request.extend(NFGEN);
    request.extend(attributes);
    request
}

/// Service, port and backend of a tracked UDP connection: it went to the first and is answered by the last.
fn connection(attributes: &[u8]) -> Option<Gone> {
    let original = attribute(attributes, TUPLE_ORIGINAL)?;
    let reply = attribute(attributes, TUPLE_REPLY)?;
    let protocol = attribute(original, TUPLE_PROTOCOL)?;
    if attribute(protocol, PROTOCOL_NUMBER)? != [UDP] {
        return None;
    }
    let address = |tuple, which| {
        let octets: [u8; 4] = attribute(attribute(tuple, TUPLE_IP)?, which)?
            .try_into()
            .ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(octets)))
    };
    let port = attribute(protocol, PROTOCOL_DESTINATION_PORT)?
        .try_into()
        .ok()?;
    Some(Gone {
        service: address(original, IPV4_DESTINATION)?,
        port: u16::from_be_bytes(port),
        backend: address(reply, IPV4_SOURCE)?,
    })
}

fn identity(attributes: &[u8]) -> Option<Vec<u8>> {
    let mut identity = Vec::new();
    for (kind, flag) in [(TUPLE_ORIGINAL, NESTED), (ID, 0)] {
        let value = attribute(attributes, kind)?;
        identity.extend(u16::try_from(value.len() + 4).ok()?.to_ne_bytes());
        identity.extend((kind | flag).to_ne_bytes());
        identity.extend(value);
        identity.resize(identity.len().next_multiple_of(4), 0);
    }
    Some(identity)
}
