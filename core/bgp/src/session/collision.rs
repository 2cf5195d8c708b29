//! Connection collision (RFC 4271 §6.8, RFC 6286 §2.3).

use std::net::Ipv4Addr;

/// Which of two connections between the same speakers stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survivor {
    /// The one that we opened.
    Dialled,
    /// The one that the peer opened.
    Accepted,
}

/// The connection opened by the speaker with the higher identifier stays; equal identifiers are
/// told apart by AS number.
pub(crate) fn survivor(own: (Ipv4Addr, u32), peer: (Ipv4Addr, u32)) -> Survivor {
    let key = |(id, asn): (Ipv4Addr, u32)| (u32::from(id), asn);
    if key(own) > key(peer) {
        Survivor::Dialled
    } else {
        Survivor::Accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree() {
        let a = (Ipv4Addr::new(10, 0, 0, 2), 1);
        let b = (Ipv4Addr::new(10, 0, 0, 10), 1);
        let c = (Ipv4Addr::new(10, 0, 0, 2), 2);
        for (high, low) in [(b, a), (b, c), (c, a)] {
            assert_eq!(survivor(high, low), Survivor::Dialled);
            assert_eq!(survivor(low, high), Survivor::Accepted);
        }
    }
}
