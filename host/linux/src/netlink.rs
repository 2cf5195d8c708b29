//! A synchronous route netlink socket: one request, its answer.
//!
//! A socket belongs to the network namespace in which it was opened and stays there, whatever its thread joins later.
//! The kernel's extended acknowledgement (`NLMSGERR_ATTR_MSG`) is kept in the error: it often says more than the errno.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The kernel refused a request, or the socket failed.
#[derive(Debug, thiserror::Error)]
#[error("{source}{}{}", if .detail.is_empty() { "" } else { ": " }, .detail)]
pub struct NetlinkError {
    /// The errno.
    pub source: io::Error,
    /// The kernel's own words, where it has any.
    pub detail: String,
}

impl NetlinkError {
    /// The errno, where the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the errno is `code` (`libc::EEXIST` and so on).
    pub fn is(&self, code: i32) -> bool {
        self.errno() == Some(code)
    }
}

impl From<io::Error> for NetlinkError {
    fn from(source: io::Error) -> NetlinkError {
        NetlinkError {
            source,
            detail: String::new(),
        }
    }
}

impl From<NetlinkError> for io::Error {
    fn from(error: NetlinkError) -> io::Error {
        io::Error::new(error.source.kind(), error.to_string())
    }
}

/// The result of a netlink call.
pub type NetlinkResult<T> = Result<T, NetlinkError>;

/// A route netlink socket.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// The largest datagram of a dump: the kernel fills at most 32 KiB, more only for a single large message.
const RECEIVE_SIZE: usize = 64 * 1024;

/// Requests in one datagram: their acknowledgements (about 800 bytes of kernel memory each) must fit the receive buffer.
const BATCH_MESSAGES: usize = 128;

/// A dump that changed underneath is asked again this often before its last, possibly torn, answer is an error.
const DUMP_TRIES: u32 = 20;

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// socket(2)'s and bind(2)'s.
    pub fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Old kernels have neither; what they do is only less strict and less wordy.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Netlink {
            socket,
            sequence: 0,
            sent: Vec::with_capacity(512),
            received: Vec::with_capacity(RECEIVE_SIZE),
        })
    }

    /// Sends a request with these flags (`NLM_F_CREATE` and so on) and waits for its acknowledgement.
    ///
    /// # Errors
    /// The kernel's errno with its words; the socket's.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> NetlinkResult<()> {
        let sequence = self.send(message, flags | NLM_F_ACK)?;
        self.answer(sequence, |_| ()).map(drop)
    }

    /// Sends a request that has one answer (`RTM_GETLINK` by name, `RTM_GETROUTE` to an address).
    ///
    /// # Errors
    /// The kernel's errno with its words (`ENODEV`, `ENETUNREACH`); the socket's.
    pub fn get(&mut self, message: RouteNetlinkMessage) -> NetlinkResult<RouteNetlinkMessage> {
        let mut found = None;
        let sequence = self.send(message, NLM_F_ACK)?;
        self.answer(sequence, |answer| found = Some(answer))?;
        found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }

    /// Lists everything of a kind. The kernel filters by what the message says (strict checking is on).
    ///
    /// # Errors
    /// The kernel's; `Interrupted` when the table went on changing underneath.
    pub fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> NetlinkResult<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            let sequence = self.send(message.clone(), NLM_F_DUMP)?;
            if self.answer(sequence, |answer| found.push(answer))? {
                return Ok(found);
            }
        }
        Err(NetlinkError {
            source: io::ErrorKind::Interrupted.into(),
            detail: format!("the table changed during each of {DUMP_TRIES} reads"),
        })
    }

    /// Sends many requests with one system call a hundred or so, and gives each its own result, in order.
    ///
    /// One that fails does not stop the next: the kernel goes through all messages of a datagram.
    ///
    /// # Errors
    /// The socket's; the kernel's are in the list.
    pub fn batch(
        &mut self,
        requests: Vec<(RouteNetlinkMessage, u16)>,
    ) -> io::Result<Vec<NetlinkResult<()>>> {
        let mut results = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        let mut datagram = Vec::with_capacity(BATCH_MESSAGES * 128);
        while requests.peek().is_some() {
            datagram.clear();
            let first = self.sequence.wrapping_add(1);
            let mut count = 0;
            for (message, flags) in requests.by_ref().take(BATCH_MESSAGES) {
                self.sequence = self.sequence.wrapping_add(1);
                let mut message = NetlinkMessage::from(message);
                message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
                message.header.sequence_number = self.sequence;
                message.finalize();
                let at = datagram.len();
                datagram.resize(at + message.buffer_len().next_multiple_of(4), 0);
                message.serialize(&mut datagram[at..]);
                count += 1;
            }
            self.socket.send(&datagram, 0)?;
            for offset in 0..count {
                results.push(self.answer(first.wrapping_add(offset), |_| ()).map(drop));
            }
        }
        Ok(results)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> NetlinkResult<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        self.sent.clear();
        self.sent.resize(message.buffer_len(), 0);
        message.serialize(&mut self.sent);
        self.socket.send(&self.sent, 0)?;
        Ok(self.sequence)
    }

    /// Reads until the acknowledgement or the end of the dump; false when the kernel said that the dump is torn.
    fn answer(
        &mut self,
        sequence: u32,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> NetlinkResult<bool> {
        let mut whole = true;
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, 0) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            }
            let mut rest = self.received.as_slice();
            while let Some((length, header_sequence)) = frame(rest) {
                let (one, after) = rest.split_at(length);
                rest = after
                    .get(length.next_multiple_of(4) - length..)
                    .unwrap_or(&[]);
                if header_sequence != sequence {
                    continue; // the tail of an answer that was given up
                }
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(one)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(whole),
                    NetlinkPayload::Done(done) => {
                        return Err(io::Error::from_raw_os_error(-done.code).into());
                    }
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(whole),
                            Some(code) => Err(NetlinkError {
                                source: io::Error::from_raw_os_error(-code.get()),
                                detail: extended_ack(one),
                            }),
                        };
                    }
                    NetlinkPayload::Noop | NetlinkPayload::Overrun(_) => {}
                    _ => {}
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Length and sequence number of the first message, when it is whole.
fn frame(bytes: &[u8]) -> Option<(usize, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(word(0)?).ok()?;
    let sequence = word(8)?;
    (length >= 16 && length <= bytes.len()).then_some((length, sequence))
}

/// `NLMSGERR_ATTR_MSG` of an `NLMSG_ERROR`: it follows the errno and the request's header (the request itself is left
/// out, `NETLINK_CAP_ACK`), when the flags say `NLM_F_ACK_TLVS`.
fn extended_ack(message: &[u8]) -> String {
    const HEADER: usize = 16;
    const ATTRIBUTES: usize = HEADER + 4 + HEADER;
    const ACK_TLVS: u16 = 0x200;
    const MSG: u16 = 1;
    let half = |at: usize| {
        Some(u16::from_ne_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    if half(6).is_none_or(|flags| flags & ACK_TLVS == 0) {
        return String::new();
    }
    let mut at = ATTRIBUTES;
    while let (Some(length), Some(kind)) = (half(at), half(at + 2)) {
        let length = usize::from(length);
        let Some(value) = message.get(at + 4..at + length) else {
            break;
        };
        if kind & 0x3fff == MSG {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return String::from_utf8_lossy(text).into_owned();
        }
        at += length.next_multiple_of(4).max(4);
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn by_name(name: &str) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_string()));
        RouteNetlinkMessage::GetLink(message)
    }

    #[test]
    fn loopback_is_found_by_name_and_in_the_dump() {
        let mut netlink = Netlink::open().unwrap();
        let RouteNetlinkMessage::NewLink(lo) = netlink.get(by_name("lo")).unwrap() else {
            panic!("not a link");
        };
        assert_eq!(lo.header.index, 1);
        let all = netlink
            .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .unwrap();
        assert!(
            all.iter()
                .any(|m| matches!(m, RouteNetlinkMessage::NewLink(l) if l.header.index == 1))
        );
        let missing = netlink.get(by_name("no-such-link")).unwrap_err();
        assert!(missing.is(libc::ENODEV), "{missing}");
    }

    #[test]
    fn the_kernel_s_words_are_kept() {
        let mut netlink = Netlink::open().unwrap();
        // A name of 16 bytes does not fit an interface; the kernel says which attribute it means, or the errno alone.
        let error = netlink
            .get(by_name("a-name-that-is-too-long-for-a-link"))
            .unwrap_err();
        assert!(error.errno().is_some(), "{error}");
        assert!(error.to_string().contains('('), "{error}");
    }
}
