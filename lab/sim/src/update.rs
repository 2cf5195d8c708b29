//! BGP UPDATE messages changed on their way: how a speaker with a fault is made of one without.

use std::net::Ipv4Addr;

const HEADER: usize = 19;
const UPDATE: u8 = 2;
const NEXT_HOP: u8 = 3;
const ORIGINATOR_ID: u8 = 9;
const CLUSTER_LIST: u8 = 10;
const EXTENDED_LENGTH: u8 = 0x10;

/// What is done to the path attributes of each UPDATE.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// ORIGINATOR_ID and CLUSTER_LIST are taken out.
    ForgetReflection,
    /// NEXT_HOP of a reflected route becomes this.
    NextHop(Ipv4Addr),
}

/// The stream with `change` made to each whole UPDATE; other messages, and what is not whole, stay as they are.
pub fn rewrite(stream: &[u8], change: Change) -> Vec<u8> {
    let mut out = Vec::with_capacity(stream.len());
    let mut rest = stream;
    while rest.len() >= HEADER {
        let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
        if length < HEADER || rest.len() < length {
            break;
        }
        let (message, after) = rest.split_at(length);
        match (message[18], update(&message[HEADER..], change)) {
            (UPDATE, Some(body)) => {
                out.extend_from_slice(&message[..16]);
                out.extend_from_slice(&((HEADER + body.len()) as u16).to_be_bytes());
                out.push(UPDATE);
                out.extend_from_slice(&body);
            }
            _ => out.extend_from_slice(message),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

fn update(body: &[u8], change: Change) -> Option<Vec<u8>> {
    let (withdrawn, rest) = counted(body)?;
    let (attributes, nlri) = counted(rest)?;
    let list = split(attributes)?;
    let reflected = list.iter().any(|(kind, _)| *kind == ORIGINATOR_ID);
    let mut changed = Vec::new();
    for (kind, bytes) in list {
        match change {
            Change::ForgetReflection if kind == ORIGINATOR_ID || kind == CLUSTER_LIST => {}
            Change::NextHop(address) if kind == NEXT_HOP && reflected => {
                changed.extend_from_slice(&[0x40, NEXT_HOP, 4]);
                changed.extend_from_slice(&address.octets());
            }
            Change::ForgetReflection | Change::NextHop(_) => changed.extend_from_slice(bytes),
        }
    }
    let mut out = (withdrawn.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(withdrawn);
    out.extend_from_slice(&(changed.len() as u16).to_be_bytes());
    out.extend_from_slice(&changed);
    out.extend_from_slice(nlri);
    Some(out)
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    (bytes.len() >= 2 + length).then(|| bytes[2..].split_at(length))
}

fn split(mut attributes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut list = Vec::new();
    while !attributes.is_empty() {
        let (flags, kind) = (*attributes.first()?, *attributes.get(1)?);
        let (head, length) = if flags & EXTENDED_LENGTH == 0 {
            (3, usize::from(*attributes.get(2)?))
        } else {
            (
                4,
                usize::from(u16::from_be_bytes([
                    *attributes.get(2)?,
                    *attributes.get(3)?,
                ])),
            )
        };
        if attributes.len() < head + length {
            return None;
        }
        let (attribute, rest) = attributes.split_at(head + length);
        list.push((kind, attribute));
        attributes = rest;
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[u8]) -> Vec<u8> {
        let mut out = vec![0xff; 16];
        out.extend_from_slice(&((HEADER + 4 + attributes.len() + 4) as u16).to_be_bytes());
        out.push(UPDATE);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        out.extend_from_slice(attributes);
        out.extend_from_slice(&[24, 192, 0, 2]);
        out
    }

    #[test]
    fn the_asked_attributes_change_and_nothing_else() {
        let origin = [0x40, 1, 1, 0];
        let hop = [0x40, NEXT_HOP, 4, 10, 0, 0, 1];
        let reflection = [
            0x80,
            ORIGINATOR_ID,
            4,
            10,
            0,
            0,
            1,
            0x80,
            CLUSTER_LIST,
            4,
            244,
            0,
            0,
            1,
        ];
        let full = message(&[&origin[..], &hop, &reflection].concat());
        assert_eq!(
            rewrite(&full, Change::ForgetReflection),
            message(&[&origin[..], &hop].concat())
        );
        let own = [0x40, NEXT_HOP, 4, 10, 0, 0, 9];
        assert_eq!(
            rewrite(&full, Change::NextHop([10, 0, 0, 9].into())),
            message(&[&origin[..], &own, &reflection].concat())
        );
        let plain = message(&[&origin[..], &hop].concat());
        assert_eq!(
            rewrite(&plain, Change::NextHop([10, 0, 0, 9].into())),
            plain,
            "not a reflected route"
        );
        assert_eq!(
            rewrite(&full[..30], Change::ForgetReflection),
            &full[..30],
            "not a whole message"
        );
    }
}
