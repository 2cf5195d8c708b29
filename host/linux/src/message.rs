//! Netlink messages and attributes as they lie in a datagram, for the protocols that have no crate of their own here.
//! Source: netlink(7).

/// struct nlmsghdr.
pub(crate) const HEADER: usize = 16;

/// A message of a datagram: its type and what follows the header.
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) body: &'a [u8],
}

/// The messages of a datagram, in order; it ends with the first that is cut off.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?.max(HEADER);
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Message { kind, body })
    })
}

/// The value of the first attribute of this type.
pub(crate) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        if kind & 0x3fff == wanted {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4).max(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lengths_end_the_walk() {
        let whole = [
            20u32.to_ne_bytes(),
            [28, 0, 0, 0],
            [0; 4],
            [0; 4],
            [1, 2, 3, 4],
        ]
        .concat();
        let kinds = |bytes: &[u8]| {
            messages(bytes)
                .map(|message| (message.kind, message.body.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(&whole), [(28, 4)]);
        assert_eq!(
            kinds(&[whole.clone(), whole.clone()].concat()),
            [(28, 4), (28, 4)]
        );
        for cut in 0..whole.len() {
            assert_eq!(kinds(&whole[..cut]), []);
        }
        for length in [0u32, 1, 15, u32::MAX] {
            let mut wrong = whole.clone();
            wrong[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(kinds(&wrong).len() <= 2);
        }
        assert_eq!(
            attribute(&[8, 0, 5, 0, 1, 2, 3, 4], 5),
            Some(&[1, 2, 3, 4][..])
        );
        assert_eq!(
            attribute(&[5, 0, 1, 0, 9, 0, 0, 0, 6, 0, 2, 0x80, 7, 8], 2),
            Some(&[7, 8][..])
        );
        for hostile in [
            &[][..],
            &[0, 0, 0, 0],
            &[2, 0, 5, 0, 1, 2, 3, 4],
            &[255, 255, 5, 0],
        ] {
            assert_eq!(attribute(hostile, 5), None);
        }
    }
}
