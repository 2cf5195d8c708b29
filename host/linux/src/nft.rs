//! nftables: transactions through nft(8), the generation number through nfnetlink.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use dataplane::nft::{Family, NftChange, NftTable, TABLE_NAME};
use dataplane::{nft_json, nft_text};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::message::{HEADER, attribute, messages};

/// `NFNL_SUBSYS_NFTABLES << 8`. Source: linux/netfilter/nfnetlink.h.
pub(crate) const SUBSYSTEM: u16 = 10 << 8;
const MSG_NEWGEN: u16 = SUBSYSTEM | 15;
const MSG_GETGEN: u16 = SUBSYSTEM | 16;
const GEN_ID: u16 = 1;
const NFGEN_HEADER: usize = 4;

/// nft could not do it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program did not start.
    #[error(
        "cannot run nft: {0}; install nftables (apt-get install nftables), or put nft on the PATH"
    )]
    Start(io::Error),
    /// It ended with an error; nothing of the transaction has happened.
    #[error("nft refused: {0}")]
    Refused(String),
    /// Its listing is not understood.
    #[error(
        "nft's listing is not understood: {0}; nftables 1.0.2 or newer is needed (nft --version)"
    )]
    Listing(String),
}

/// Applies all changes in one transaction, or none of them; says how many transactions it took.
///
/// Only where the kernel takes no message of that length does it take several: without CAP_NET_ADMIN in the first user namespace nft
/// cannot raise its socket's buffer above `net.core.wmem_max`. Changes keep their order then, so nothing names what is not there yet.
pub(crate) fn apply(changes: &[NftChange]) -> Result<u32, NftError> {
    match run(&["-f", "-"], &nft_text::transaction(changes)) {
        Ok(_) => Ok(1),
        Err(NftError::Refused(text)) if text.contains("Message too long") => {
            let pieces = pieces(changes);
            for piece in &pieces {
                run(&["-f", "-"], &nft_text::transaction(piece))?;
            }
            Ok(u32::try_from(pieces.len()).unwrap_or(u32::MAX))
        }
        Err(error) => Err(error),
    }
}

/// Elements in one of several transactions: some 120 bytes each, in a buffer of 208 KiB.
const ELEMENTS_A_PIECE: usize = 1000;

/// The same changes in several transactions, in order.
fn pieces(changes: &[NftChange]) -> Vec<Vec<NftChange>> {
    let mut pieces = vec![Vec::new()];
    let mut elements = 0;
    for change in changes.iter().flat_map(split) {
        let count = match &change {
            NftChange::AddElements(.., some) | NftChange::DeleteElements(.., some) => some.len(),
            NftChange::AddMapElements(.., some) | NftChange::DeleteMapElements(.., some) => {
                some.len()
            }
            _ => 1,
        };
        if elements > 0 && elements + count > ELEMENTS_A_PIECE {
            pieces.push(Vec::new());
            elements = 0;
        }
        elements += count;
        pieces.last_mut().expect("one at least").push(change);
    }
    pieces
}

/// One change as several of few elements.
fn split(change: &NftChange) -> Vec<NftChange> {
    fn parts<T: Clone, C: FromIterator<T>>(
        all: impl Iterator<Item = T>,
        make: impl Fn(C) -> NftChange,
    ) -> Vec<NftChange> {
        let all: Vec<T> = all.collect();
        all.chunks(ELEMENTS_A_PIECE / 2)
            .map(|some| make(some.iter().cloned().collect()))
            .collect()
    }
    let name = |name: &String| name.clone();
    match change {
        NftChange::AddElements(family, set, all) => parts(all.iter().cloned(), |some| {
            NftChange::AddElements(*family, name(set), some)
        }),
        NftChange::DeleteElements(family, set, all) => parts(all.iter().cloned(), |some| {
            NftChange::DeleteElements(*family, name(set), some)
        }),
        NftChange::AddMapElements(family, map, all) => {
            let all = all.iter().map(|(key, datum)| (key.clone(), datum.clone()));
            parts(all, |some| {
                NftChange::AddMapElements(*family, name(map), some)
            })
        }
        NftChange::DeleteMapElements(family, map, all) => {
            let all = all.iter().map(|(key, datum)| (key.clone(), datum.clone()));
            parts(all, |some| {
                NftChange::DeleteMapElements(*family, name(map), some)
            })
        }
        other => vec![other.clone()],
    }
}

/// Our table of one family, or `None` when there is none.
pub(crate) fn list(family: Family) -> Result<Option<NftTable>, NftError> {
    let family = match family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
    };
    let listing = match run(&["-j", "list", "table", family, TABLE_NAME], "") {
        Ok(listing) => listing,
        Err(NftError::Refused(text)) if text.contains("No such file or directory") => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let json =
        serde_json::from_slice(&listing).map_err(|error| NftError::Listing(error.to_string()))?;
    nft_json::parse(&json).map_err(NftError::Listing)
}

fn run(arguments: &[&str], input: &str) -> Result<Vec<u8>, NftError> {
    let mut child = Command::new("nft")
        .args(arguments)
        // Its words are looked at.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NftError::Start)?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let output = std::thread::scope(|scope| {
        // nft may say something before it has read all; written from here, both sides could wait for ever.
        scope.spawn(move || {
            // When nft ends early its own words say why.
            let _ = stdin.write_all(input.as_bytes());
        });
        child.wait_with_output()
    })
    .map_err(NftError::Start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<_> = words
        .lines()
        .filter(|line| {
            !line.trim().is_empty()
                && !line
                    .trim()
                    .chars()
                    .all(|c| c == '^' || c == '~' || c == ' ')
        })
        .take(4)
        .map(str::trim)
        .collect();
    Err(NftError::Refused(if words.is_empty() {
        format!("it ended with {}", output.status)
    } else {
        words.join("; ")
    }))
}

/// A socket that asks for the generation number, which every transaction raises by one.
#[derive(Debug)]
pub(crate) struct Generation {
    socket: Socket,
}

impl Generation {
    /// Opens it in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Generation> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Generation { socket })
    }

    /// The number now.
    pub(crate) fn get(&self) -> io::Result<u32> {
        let length = u32::try_from(HEADER + NFGEN_HEADER).expect("20");
        let mut request = Vec::with_capacity(HEADER + NFGEN_HEADER);
        request.extend(length.to_ne_bytes());
        request.extend(MSG_GETGEN.to_ne_bytes());
        request.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
        request.extend(1u32.to_ne_bytes());
        request.extend(0u32.to_ne_bytes());
        request.extend([0, 0, 0, 0]); // nfgenmsg: any family, version 0
        self.socket.send(&request, 0)?;
        let mut answer = Vec::with_capacity(4096);
        self.socket.recv(&mut answer, 0)?;
        generation_of(&answer).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel does not tell nftables' generation; load the module (modprobe nf_tables)",
            )
        })
    }
}

/// The generation in a NEWGEN message.
fn generation_of(datagram: &[u8]) -> Option<u32> {
    let message = messages(datagram).find(|message| message.kind == MSG_NEWGEN)?;
    let id = attribute(message.body.get(NFGEN_HEADER..)?, GEN_ID)?;
    id.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use dataplane::nft::Value;

    use super::*;

    #[test]
    fn pieces_are_small_and_lose_nothing() {
        let element = |index: u32| vec![Value::Address(Ipv4Addr::from(index).into())];
        let all: BTreeSet<_> = (0..2345).map(element).collect();
        let changes = [
            NftChange::AddTable(Family::Ip),
            NftChange::AddElements(Family::Ip, "pools".to_owned(), all.clone()),
            NftChange::FlushChain(Family::Ip, "refuse".to_owned()),
        ];
        let pieces = pieces(&changes);
        assert_eq!(pieces.len(), 3);
        let flat: Vec<_> = pieces.into_iter().flatten().collect();
        assert_eq!(flat.first(), changes.first());
        assert_eq!(flat.last(), changes.last());
        let mut again = BTreeSet::new();
        for change in &flat[1..flat.len() - 1] {
            let NftChange::AddElements(Family::Ip, _, some) = change else {
                panic!("{change:?}")
            };
            assert!(some.len() <= ELEMENTS_A_PIECE);
            again.extend(some.iter().cloned());
        }
        assert_eq!(again, all);
    }
}
