//! Reads one direction of a session: what the peer has been told so far. A decoder of its own,
//! as plain as can be, for sessions with four-octet AS numbers.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A route as one speaker tells it to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// ORIGIN.
    pub origin: u8,
    /// AS_PATH; no sets here.
    pub as_path: Vec<u32>,
    /// NEXT_HOP, or that of MP_REACH_NLRI.
    pub next_hop: Option<IpAddr>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<[u32; 3]>,
    /// ORIGINATOR_ID.
    pub originator: Option<Ipv4Addr>,
    /// CLUSTER_LIST.
    pub cluster_list: Vec<Ipv4Addr>,
}

/// Prefix and path identifier, which is 0 where the session has none.
pub type Key = (IpNet, u32);

/// Routes by what they are of.
pub type Told = BTreeMap<Key, Route>;

/// One direction of one connection.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    /// Prefixes come with path identifiers (RFC 7911), in both families.
    several: bool,
    buffer: Vec<u8>,
    keepalives: u64,
    /// What holds now.
    pub told: Told,
    /// UPDATEs seen, End-of-RIB not counted.
    pub updates: u64,
    /// End-of-RIB was seen, of IPv4 and of IPv6.
    pub ended: [bool; 2],
    /// Refreshes that were told from their beginning to their end (RFC 7313), of IPv4 and of IPv6.
    pub refreshed: [u64; 2],
    /// Of a refresh that has begun: what was told before and not again since.
    stale: [Option<BTreeSet<Key>>; 2],
    /// Code and subcode of a NOTIFICATION, the sender's last words.
    pub notification: Option<(u8, u8)>,
}

/// The octets could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

fn bad<T>(what: &str, octets: &[u8]) -> Result<T, Unreadable> {
    Err(Unreadable(format!("{what}: {octets:02x?}")))
}

fn word(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |n, octet| n << 8 | u32::from(*octet))
}

fn words(octets: &[u8]) -> Vec<u32> {
    octets.chunks(4).map(word).collect()
}

impl Tap {
    /// Of a session with path identifiers, or without.
    pub fn new(several: bool) -> Self {
        Tap {
            several,
            ..Tap::default()
        }
    }

    /// True between two messages.
    pub fn at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The sender has confirmed the session.
    pub fn is_established(&self) -> bool {
        self.keepalives > 0
    }

    /// Octets as they arrive.
    ///
    /// # Errors
    /// What was not a message as RFC 4271 §4 has it.
    pub fn read(&mut self, octets: &[u8]) -> Result<(), Unreadable> {
        self.buffer.extend_from_slice(octets);
        while self.buffer.len() >= 19 {
            let length = word(&self.buffer[16..18]) as usize;
            if self.buffer[..16] != [0xff; 16] || length < 19 {
                return bad("header", &self.buffer[..19]);
            }
            if self.buffer.len() < length {
                return Ok(());
            }
            let rest = self.buffer.split_off(length);
            let message = std::mem::replace(&mut self.buffer, rest);
            match message[18] {
                2 => self.update(&message[19..])?,
                3 if message.len() >= 21 => self.notification = Some((message[19], message[20])),
                4 => self.keepalives += 1,
                5 if message.len() == 23 => self.refresh(&message[19..]),
                _ => {}
            }
        }
        Ok(())
    }

    fn refresh(&mut self, body: &[u8]) {
        let ipv6 = body[1] == 2;
        let family = usize::from(ipv6);
        match body[2] {
            1 => {
                let held = self.told.keys().filter(|(p, _)| is_ipv6(*p) == ipv6);
                self.stale[family] = Some(held.copied().collect());
            }
            2 => {
                for key in self.stale[family].take().into_iter().flatten() {
                    self.told.remove(&key);
                }
                self.refreshed[family] += 1;
            }
            _ => {}
        }
    }

    fn update(&mut self, body: &[u8]) -> Result<(), Unreadable> {
        if body.len() < 4 {
            return bad("update", body);
        }
        let withdrawn = 2 + word(&body[..2]) as usize;
        let block = withdrawn + 2 + word(&body[withdrawn..withdrawn + 2]) as usize;
        if block > body.len() {
            return bad("update", body);
        }
        let mut route = Route::default();
        let mut reach = prefixes(&body[block..], false, self.several)?;
        let mut gone = prefixes(&body[2..withdrawn], false, self.several)?;
        let mut unreach = false;
        let (mut at, end) = (withdrawn + 2, block);
        while at < end {
            let (flags, kind) = (body[at], body[at + 1]);
            let head = if flags & 0x10 != 0 { 4 } else { 3 };
            let length = word(&body[at + 2..at + head]) as usize;
            let value = &body[at + head..at + head + length];
            at += head + length;
            match kind {
                14 => {
                    if value[..4] != [0, 2, 1, 16] {
                        return bad("mp_reach", value);
                    }
                    let octets: [u8; 16] = value[4..20].try_into().expect("sixteen were cut");
                    route.next_hop = Some(Ipv6Addr::from(octets).into());
                    reach.extend(prefixes(&value[21..], true, self.several)?);
                }
                15 => {
                    if value[..3] != [0, 2, 1] {
                        return bad("mp_unreach", value);
                    }
                    gone.extend(prefixes(&value[3..], true, self.several)?);
                    unreach = true;
                }
                _ => self::attribute(kind, value, &mut route)?,
            }
        }
        if reach.is_empty() && gone.is_empty() {
            self.ended[usize::from(unreach)] = true;
            return Ok(());
        }
        self.updates += 1;
        for key in gone {
            self.told.remove(&key);
        }
        for key in reach {
            if let Some(stale) = &mut self.stale[usize::from(is_ipv6(key.0))] {
                stale.remove(&key);
            }
            self.told.insert(key, route.clone());
        }
        Ok(())
    }
}

fn is_ipv6(prefix: IpNet) -> bool {
    matches!(prefix, IpNet::V6(_))
}

fn attribute(kind: u8, value: &[u8], route: &mut Route) -> Result<(), Unreadable> {
    let ip4 = |v: &[u8]| Ipv4Addr::from(word(v));
    match kind {
        1 => route.origin = value[0],
        2 => {
            let mut rest = value;
            while let [kind, count, tail @ ..] = rest {
                if *kind != 2 {
                    return bad("as_path segment", value);
                }
                let octets = usize::from(*count) * 4;
                route.as_path.extend(words(&tail[..octets]));
                rest = &tail[octets..];
            }
        }
        3 => route.next_hop = Some(ip4(value).into()),
        4 => route.med = Some(word(value)),
        5 => route.local_pref = Some(word(value)),
        8 => route.communities = words(value),
        9 => route.originator = Some(ip4(value)),
        10 => route.cluster_list = words(value).into_iter().map(Ipv4Addr::from).collect(),
        32 => {
            let triple = |c: &[u32]| [c[0], c[1], c[2]];
            route.large_communities = words(value).chunks(3).map(triple).collect();
        }
        _ => return bad("attribute", &[kind]),
    }
    Ok(())
}

fn prefixes(mut octets: &[u8], ipv6: bool, several: bool) -> Result<Vec<Key>, Unreadable> {
    let mut out = Vec::new();
    let mut id = 0;
    while !octets.is_empty() {
        if several {
            let Some((first, rest)) = octets.split_at_checked(4) else {
                return bad("path identifier", octets);
            };
            (id, octets) = (word(first), rest);
        }
        let [bits, rest @ ..] = octets else {
            return bad("prefix", octets);
        };
        let count = usize::from(*bits).div_ceil(8);
        let most = if ipv6 { 128 } else { 32 };
        if *bits > most || rest.len() < count {
            return bad("prefix", octets);
        }
        let mut address = [0; 16];
        address[..count].copy_from_slice(&rest[..count]);
        let prefix = if ipv6 {
            Ipv6Net::new(address.into(), *bits).expect("checked").into()
        } else {
            let four = Ipv4Addr::from(word(&address[..4]));
            Ipv4Net::new(four, *bits).expect("checked").into()
        };
        out.push((prefix, id));
        octets = &rest[count..];
    }
    Ok(out)
}
