//! OPEN and capabilities (RFC 4271 §4.2, RFC 5492, RFC 9072).

use super::notification::{Notification, code, open_error};
use super::{AS_TRANS, Kind, be16, be32, begin, finish};
use crate::Family;
use std::net::Ipv4Addr;

/// Address family number of a family (RFC 4760).
pub(crate) fn afi(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    }
}

/// The unicast family of these numbers, if known.
pub(crate) fn family(afi: u16, safi: u8) -> Option<Family> {
    match (afi, safi) {
        (1, 1) => Some(Family::Ipv4),
        (2, 1) => Some(Family::Ipv6),
        _ => None,
    }
}

/// The graceful restart capability (RFC 4724 §3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restart {
    /// R bit: the sender has just restarted.
    pub restarting: bool,
    /// N bit: the procedures also hold when a NOTIFICATION ends the session (RFC 8538 §2).
    pub notification: bool,
    pub time_s: u16,
    /// Families with their F bit: forwarding went on.
    pub families: Vec<(Family, bool)>,
}

/// What a speaker says of long-lived graceful restart in one family (RFC 9494 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongLivedFamily {
    pub family: Family,
    /// F bit: forwarding went on.
    pub forwarding: bool,
    /// How long stale routes are to be kept after the restart time, in seconds; 24 bits.
    pub stale_time_s: u32,
}

/// What a speaker says of add-path in one family (RFC 7911 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddPathMode {
    /// It takes several paths of a prefix.
    pub receive: bool,
    /// It may send several.
    pub send: bool,
}

/// What a speaker says it can do. Unknown capabilities are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub families: Vec<Family>,
    /// Some multiprotocol capability was there, of a known family or not.
    pub multiprotocol: bool,
    pub route_refresh: bool,
    pub enhanced_refresh: bool,
    pub extended_messages: bool,
    pub as4: Option<u32>,
    pub restart: Option<Restart>,
    /// Without `restart` it means nothing (RFC 9494 §4.5).
    pub long_lived: Option<Vec<LongLivedFamily>>,
    /// RFC 9234 §4.1; [`NO_ROLE`] for several that differ.
    pub role: Option<u8>,
    /// BFD strict mode (draft-ietf-idr-bgp-bfd-strict-mode).
    pub strict_bfd: bool,
    pub add_path: Vec<(Family, AddPathMode)>,
    /// IPv4 prefixes may come with an IPv6 next hop (RFC 8950 §4).
    pub extended_next_hop: bool,
}

/// Of a peer that says more than one role: it fits none.
pub(crate) const NO_ROLE: u8 = 255;

/// An OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Four-octet number where the capability gives it.
    pub asn: u32,
    pub hold_time_s: u16,
    pub id: Ipv4Addr,
    pub capabilities: Capabilities,
}

impl Open {
    /// From the body of a message. Errors are those of RFC 4271 §6.2 that need no configuration.
    pub fn decode(body: &[u8]) -> Result<Self, Notification> {
        let short = || Notification::new(code::OPEN, 0);
        let fixed: &[u8; 10] = body.first_chunk().ok_or_else(short)?;
        if fixed[0] != 4 {
            let ours = 4u16.to_be_bytes();
            return Err(Notification::with_data(
                code::OPEN,
                open_error::BAD_VERSION,
                &ours,
            ));
        }
        let asn_field = u16::from_be_bytes([fixed[1], fixed[2]]);
        let hold_time_s = u16::from_be_bytes([fixed[3], fixed[4]]);
        let id = Ipv4Addr::new(fixed[5], fixed[6], fixed[7], fixed[8]);
        let mut capabilities = Capabilities::default();
        parameters(&body[9..], &mut capabilities)?;
        let asn = capabilities.as4.unwrap_or(u32::from(asn_field));
        if asn == 0 {
            return Err(Notification::new(code::OPEN, open_error::BAD_PEER_AS));
        }
        if (1..3).contains(&hold_time_s) {
            return Err(Notification::new(code::OPEN, open_error::BAD_HOLD_TIME));
        }
        if id.is_unspecified() {
            return Err(Notification::new(code::OPEN, open_error::BAD_IDENTIFIER));
        }
        if !capabilities.multiprotocol {
            capabilities.families.push(Family::Ipv4);
        }
        Ok(Open {
            asn,
            hold_time_s,
            id,
            capabilities,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        let at = begin(&mut out, Kind::Open);
        out.push(4);
        let asn_field = u16::try_from(self.asn).unwrap_or(AS_TRANS);
        out.extend_from_slice(&asn_field.to_be_bytes());
        out.extend_from_slice(&self.hold_time_s.to_be_bytes());
        out.extend_from_slice(&self.id.octets());
        let capabilities = self.capabilities.encode();
        let length = u8::try_from(capabilities.len()).expect("our capabilities are few");
        if length == 0 {
            out.push(0);
        } else {
            out.extend_from_slice(&[length + 2, 2, length]);
            out.extend_from_slice(&capabilities);
        }
        finish(&mut out, at);
        out
    }
}

impl Capabilities {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for family in &self.families {
            out.extend_from_slice(&[1, 4]);
            out.extend_from_slice(&afi(*family).to_be_bytes());
            out.extend_from_slice(&[0, 1]);
        }
        if self.route_refresh {
            out.extend_from_slice(&[2, 0]);
        }
        if self.extended_next_hop {
            out.extend_from_slice(&[5, 6, 0, 1, 0, 1, 0, 2]);
        }
        if self.extended_messages {
            out.extend_from_slice(&[6, 0]);
        }
        if let Some(role) = self.role {
            out.extend_from_slice(&[9, 1, role]);
        }
        if let Some(restart) = &self.restart {
            out.extend_from_slice(&[64, 2 + 4 * restart.families.len() as u8]);
            let flags = u16::from(restart.restarting) << 15 | u16::from(restart.notification) << 14;
            out.extend_from_slice(&(flags | (restart.time_s & 0x0fff)).to_be_bytes());
            for (family, forwarding) in &restart.families {
                out.extend_from_slice(&afi(*family).to_be_bytes());
                out.extend_from_slice(&[1, if *forwarding { 0x80 } else { 0 }]);
            }
        }
        if let Some(asn) = self.as4 {
            out.extend_from_slice(&[65, 4]);
            out.extend_from_slice(&asn.to_be_bytes());
        }
        if !self.add_path.is_empty() {
            out.extend_from_slice(&[69, 4 * self.add_path.len() as u8]);
            for (family, mode) in &self.add_path {
                out.extend_from_slice(&afi(*family).to_be_bytes());
                out.extend_from_slice(&[1, u8::from(mode.receive) | u8::from(mode.send) << 1]);
            }
        }
        if self.enhanced_refresh {
            out.extend_from_slice(&[70, 0]);
        }
        if let Some(families) = &self.long_lived {
            out.extend_from_slice(&[71, 7 * families.len() as u8]);
            for entry in families {
                out.extend_from_slice(&afi(entry.family).to_be_bytes());
                out.extend_from_slice(&[1, if entry.forwarding { 0x80 } else { 0 }]);
                out.extend_from_slice(&entry.stale_time_s.to_be_bytes()[1..]);
            }
        }
        if self.strict_bfd {
            out.extend_from_slice(&[74, 0]);
        }
        out
    }

    fn take(&mut self, kind: u8, value: &[u8]) -> Result<(), Notification> {
        let malformed = || Notification::new(code::OPEN, 0);
        match kind {
            1 => {
                let (&[a, b, _, safi], true) = (
                    value.first_chunk::<4>().ok_or_else(malformed)?,
                    value.len() == 4,
                ) else {
                    return Err(malformed());
                };
                self.multiprotocol = true;
                if let Some(family) = family(u16::from_be_bytes([a, b]), safi)
                    && !self.families.contains(&family)
                {
                    self.families.push(family);
                }
            }
            2 => self.route_refresh = true,
            5 => {
                let (entries, rest) = value.as_chunks::<6>();
                if !rest.is_empty() {
                    return Err(malformed());
                }
                // IPv4, unicast, next hops of IPv6; what else there may be is not spoken here.
                self.extended_next_hop |= entries.contains(&[0, 1, 0, 1, 0, 2]);
            }
            6 => self.extended_messages = true,
            9 => {
                let &[role] = value else {
                    return Err(malformed());
                };
                let other = self.role.is_some_and(|said| said != role);
                self.role = Some(if other { NO_ROLE } else { role });
            }
            64 => self.restart = Some(restart(value).ok_or_else(malformed)?),
            65 => {
                let asn = be32(value, 0)
                    .filter(|_| value.len() == 4)
                    .ok_or_else(malformed)?;
                self.as4 = Some(asn);
            }
            69 => self.add_path = add_path(value).ok_or_else(malformed)?,
            70 => self.enhanced_refresh = true,
            71 => self.long_lived = Some(long_lived(value).ok_or_else(malformed)?),
            74 => self.strict_bfd = true,
            // RFC 5492 §3: a capability that is not known is ignored.
            _ => {}
        }
        Ok(())
    }
}

fn restart(value: &[u8]) -> Option<Restart> {
    let head = be16(value, 0)?;
    let (entries, rest) = value[2..].as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let families = entries
        .iter()
        .filter_map(|e| {
            Some((
                family(u16::from_be_bytes([e[0], e[1]]), e[2])?,
                e[3] & 0x80 != 0,
            ))
        })
        .collect();
    Some(Restart {
        restarting: head & 0x8000 != 0,
        notification: head & 0x4000 != 0,
        time_s: head & 0x0fff,
        families,
    })
}

/// Of several entries for a family the first counts.
fn long_lived(value: &[u8]) -> Option<Vec<LongLivedFamily>> {
    let (entries, rest) = value.as_chunks::<7>();
    let mut list: Vec<LongLivedFamily> = Vec::new();
    for [a, b, safi, flags, time @ ..] in entries {
        let known = family(u16::from_be_bytes([*a, *b]), *safi);
        if let Some(family) = known.filter(|f| list.iter().all(|entry| entry.family != *f)) {
            list.push(LongLivedFamily {
                family,
                forwarding: flags & 0x80 != 0,
                stale_time_s: u32::from_be_bytes([0, time[0], time[1], time[2]]),
            });
        }
    }
    rest.is_empty().then_some(list)
}

/// RFC 7911 §4: an entry with another mode is ignored; of several for a family the first counts.
fn add_path(value: &[u8]) -> Option<Vec<(Family, AddPathMode)>> {
    let (entries, rest) = value.as_chunks::<4>();
    let mut list: Vec<(Family, AddPathMode)> = Vec::new();
    for [a, b, safi, mode] in entries {
        let known = family(u16::from_be_bytes([*a, *b]), *safi);
        if let (Some(family), 1..=3) = (known, mode)
            && list.iter().all(|(seen, _)| *seen != family)
        {
            let mode = AddPathMode {
                receive: mode & 1 != 0,
                send: mode & 2 != 0,
            };
            list.push((family, mode));
        }
    }
    rest.is_empty().then_some(list)
}

/// Optional parameters, from their length octet on, in the plain and the extended form.
fn parameters(bytes: &[u8], into: &mut Capabilities) -> Result<(), Notification> {
    let malformed = || Notification::new(code::OPEN, 0);
    let (wide, mut rest) = match bytes {
        // RFC 9072 §2.
        [255, 255, a, b, rest @ ..] => (
            true,
            rest.get(..usize::from(u16::from_be_bytes([*a, *b])))
                .ok_or_else(malformed)?,
        ),
        [length, rest @ ..] => (
            false,
            rest.get(..usize::from(*length)).ok_or_else(malformed)?,
        ),
        [] => return Err(malformed()),
    };
    while let [kind, tail @ ..] = rest {
        let (length, head) = if wide {
            (usize::from(be16(tail, 0).ok_or_else(malformed)?), 2)
        } else {
            (usize::from(*tail.first().ok_or_else(malformed)?), 1)
        };
        let mut value = tail.get(head..head + length).ok_or_else(malformed)?;
        rest = &tail[head + length..];
        if *kind != 2 {
            return Err(Notification::new(
                code::OPEN,
                open_error::UNSUPPORTED_PARAMETER,
            ));
        }
        while let [kind, length, tail @ ..] = value {
            let body = tail.get(..usize::from(*length)).ok_or_else(malformed)?;
            into.take(*kind, body)?;
            value = &tail[body.len()..];
        }
        if !value.is_empty() {
            return Err(malformed());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Open {
        Open {
            asn: 4_200_000_000,
            hold_time_s: 240,
            id: Ipv4Addr::new(10, 20, 1, 81),
            capabilities: Capabilities {
                families: vec![Family::Ipv4, Family::Ipv6],
                multiprotocol: true,
                route_refresh: true,
                enhanced_refresh: true,
                extended_messages: true,
                strict_bfd: true,
                as4: Some(4_200_000_000),
                role: Some(3),
                restart: Some(Restart {
                    restarting: true,
                    notification: true,
                    time_s: 120,
                    families: vec![(Family::Ipv4, true), (Family::Ipv6, false)],
                }),
                long_lived: Some(vec![
                    LongLivedFamily {
                        family: Family::Ipv4,
                        forwarding: true,
                        stale_time_s: 0x00ff_ffff,
                    },
                    LongLivedFamily {
                        family: Family::Ipv6,
                        forwarding: false,
                        stale_time_s: 0,
                    },
                ]),
                extended_next_hop: true,
                add_path: vec![
                    (
                        Family::Ipv4,
                        AddPathMode {
                            receive: true,
                            send: false,
                        },
                    ),
                    (
                        Family::Ipv6,
                        AddPathMode {
                            receive: true,
                            send: true,
                        },
                    ),
                ],
            },
        }
    }

    #[test]
    fn round_trip() {
        let bytes = sample().encode();
        assert_eq!(&bytes[20..22], &AS_TRANS.to_be_bytes());
        assert_eq!(Open::decode(&bytes[19..]), Ok(sample()));
    }

    #[test]
    fn no_capabilities_means_ipv4() {
        let open = Open::decode(&[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 0]).expect("valid");
        assert_eq!(open.asn, 65000);
        assert_eq!(open.capabilities.families, vec![Family::Ipv4]);
    }

    #[test]
    fn add_path_modes() {
        let both = AddPathMode {
            receive: true,
            send: true,
        };
        // Mode 4 is not one; the second entry of a family is passed over.
        let value = [0, 1, 1, 4, 0, 2, 1, 3, 0, 2, 1, 1, 0, 9, 9, 1];
        assert_eq!(add_path(&value), Some(vec![(Family::Ipv6, both)]));
        assert_eq!(add_path(&value[..6]), None);
    }

    #[test]
    fn long_lived_families() {
        // The other flags and families that are not known are passed over; the second entry of a
        // family too.
        let value = [
            0, 2, 1, 0xff, 1, 2, 3, 0, 9, 9, 0, 0, 0, 1, 0, 2, 1, 0, 0, 0, 1,
        ];
        let expected = LongLivedFamily {
            family: Family::Ipv6,
            forwarding: true,
            stale_time_s: 0x01_0203,
        };
        assert_eq!(long_lived(&value), Some(vec![expected]));
        assert_eq!(long_lived(&[]), Some(vec![]));
        assert_eq!(long_lived(&value[..8]), None);
    }

    #[test]
    fn errors_of_section_6_2() {
        #[track_caller]
        fn check(body: &[u8], subcode: u8) {
            let error = Open::decode(body).expect_err("malformed");
            assert_eq!((error.code, error.subcode), (2, subcode), "{body:?}");
        }
        check(&[3, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 0], 1);
        check(&[4, 0, 0, 0, 90, 10, 0, 0, 1, 0], 2);
        check(&[4, 0xfd, 0xe8, 0, 90, 0, 0, 0, 0, 0], 3);
        check(&[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 2, 1, 0], 4);
        check(&[4, 0xfd, 0xe8, 0, 2, 10, 0, 0, 1, 0], 6);
        // Lengths that run over the end.
        check(&[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 9], 0);
        check(&[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 2, 2, 5], 0);
        check(&[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 4, 2, 2, 1, 9], 0);
        check(&[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 5, 2, 3, 65, 1, 0], 0);
    }

    #[test]
    fn extended_optional_parameters() {
        let body = [
            4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 1, 255, 255, 0, 9, 2, 0, 6, 1, 4, 0, 2, 0, 1,
        ];
        let open = Open::decode(&body).expect("RFC 9072 form");
        assert_eq!(open.capabilities.families, vec![Family::Ipv6]);
    }
}
