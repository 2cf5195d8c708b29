//! A peer that says anything, as a whole session or as one message of one that is established.

use bgp::{Chunk, Config, ConnId, Family, Input, Now, Output, PeerConfig, Speaker};

const CONN: ConnId = ConnId::Accepted(1);
/// Another peer, which hears of what the first one announces.
const OTHER: ConnId = ConnId::Accepted(2);

fn speaker() -> Speaker {
    let mut config = Config::new(64512.into(), [192, 0, 2, 1].into());
    for last in [2, 3] {
        let mut peer = PeerConfig::new(format!("p{last}"), [192, 0, 2, last].into(), 64512.into());
        peer.passive = true;
        peer.rr_client = Some([244, 0, 0, 1].into());
        config.peers.push(peer);
    }
    Speaker::new(config, 1, Now::default())
}

fn accept(speaker: &mut Speaker, conn: ConnId, last: u8) {
    let address = |last| ([192, 0, 2, last], 179).into();
    let (remote, local) = (address(last), address(1));
    let input = Input::Accepted {
        conn,
        remote,
        local,
    };
    speaker.handle(input, Now::default());
}

/// Runs what follows from the inputs, writes all that is to be written; the connections that were
/// closed.
fn settle(speaker: &mut Speaker) -> Vec<ConnId> {
    let now = Now::default();
    let mut closed = Vec::new();
    while let Some(output) = speaker.poll(now) {
        match output {
            Output::Send(conn) => loop {
                let mut chunks: Vec<Chunk> = Vec::new();
                speaker.transmit(conn, 4096, &mut chunks);
                let count = chunks.iter().map(|c| c.as_ref().len()).sum();
                if count == 0 {
                    break;
                }
                speaker.transmitted(conn, count, now);
            },
            Output::Close { conn, .. } => closed.push(conn),
            _ => {}
        }
    }
    closed
}

fn receive(speaker: &mut Speaker, conn: ConnId, bytes: &[u8]) {
    speaker.handle(Input::Received { conn, bytes }, Now::default());
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(4077)];
    let length = (19 + body.len()) as u16;
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

fn handshake(speaker: &mut Speaker, conn: ConnId, last: u8) {
    accept(speaker, conn, last);
    let mut open = vec![4, 0xfc, 0, 0, 90, 192, 0, 2, last, 22, 2, 20];
    open.extend_from_slice(&[
        1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, 0xfc, 0, 2, 0,
    ]);
    receive(speaker, conn, &message(1, &open));
    receive(speaker, conn, &message(4, &[]));
    settle(speaker);
}

fn established() -> Speaker {
    let mut speaker = speaker();
    handshake(&mut speaker, CONN, 2);
    handshake(&mut speaker, OTHER, 3);
    let peers = speaker.peers();
    let up = peers.iter().all(|p| p.state == bgp::PeerState::Established);
    assert!(up, "the handshakes are right");
    speaker
}

/// Everything that can be asked for is answered, and the other session is not harmed.
fn look(speaker: &mut Speaker) {
    assert!(!settle(speaker).contains(&OTHER), "the other peer stays");
    for family in Family::ALL {
        for prefix in speaker.prefixes(family) {
            assert!(!speaker.explain(prefix).paths.is_empty(), "{prefix}");
        }
    }
    let _ = speaker.peers();
}

/// A whole session from the first octet on: answered, closed, or waited for.
pub fn bgp_session(bytes: &[u8]) {
    let mut speaker = speaker();
    handshake(&mut speaker, OTHER, 3);
    accept(&mut speaker, CONN, 2);
    for part in bytes.chunks(64) {
        receive(&mut speaker, CONN, part);
        look(&mut speaker);
    }
}

/// The body of an OPEN.
pub fn bgp_open(bytes: &[u8]) {
    let mut speaker = speaker();
    accept(&mut speaker, CONN, 2);
    receive(&mut speaker, CONN, &message(1, bytes));
    look(&mut speaker);
}

/// The body of an UPDATE.
pub fn bgp_update(bytes: &[u8]) {
    let mut speaker = established();
    receive(&mut speaker, CONN, &message(2, bytes));
    look(&mut speaker);
}

/// One attribute (flags, type, value) beside right ones, and a prefix.
pub fn bgp_attribute(bytes: &[u8]) {
    let [flags, kind, value @ ..] = bytes else {
        return;
    };
    let value = &value[..value.len().min(3000)];
    let mut block = vec![flags | 0x10, *kind];
    block.extend_from_slice(&(value.len() as u16).to_be_bytes());
    block.extend_from_slice(value);
    let right: [(u8, &[u8]); 4] = [
        (1, &[0x40, 1, 1, 0]),
        (2, &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9]),
        (3, &[0x40, 3, 4, 192, 0, 2, 2]),
        (5, &[0x40, 5, 4, 0, 0, 0, 100]),
    ];
    for (_, octets) in right.iter().filter(|(own, _)| own != kind) {
        block.extend_from_slice(octets);
    }
    let mut body = vec![0, 0];
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend_from_slice(&block);
    body.extend_from_slice(&[24, 10, 1, 2]);
    bgp_update(&body);
}

/// The body of a NOTIFICATION: whatever it says, the session ends and none is sent back.
pub fn bgp_notification(bytes: &[u8]) {
    let mut speaker = established();
    let body = if bytes.len() < 2 { &[6, 2] } else { bytes };
    receive(&mut speaker, CONN, &message(3, body));
    let closed = settle(&mut speaker);
    assert_eq!(
        closed,
        [CONN],
        "a NOTIFICATION ends its session and no other"
    );
}
