//! Writes what a peer says: routes with all that [`Route`] holds, capabilities, refreshes.

use crate::message::{attribute, kind, message, words};
use crate::tap::Route;
use ipnet::IpNet;
use std::net::IpAddr;

/// Graceful restart as a peer says it. Source: RFC 4724 §3, RFC 8538 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Seconds.
    pub time_s: u16,
    /// N bit: a NOTIFICATION does not end it either.
    pub notification: bool,
    /// R bit: the peer was there before. Its F bits are always set.
    pub restarting: bool,
}

/// What a peer can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// IPv6 unicast besides IPv4 unicast.
    pub ipv6: bool,
    /// Both ways, in each family. Source: RFC 7911 §4.
    pub add_path: bool,
    /// `None`: not spoken.
    pub restart: Option<Restart>,
}

impl Capabilities {
    fn families(self) -> &'static [u8] {
        if self.ipv6 { &[1, 2] } else { &[1] }
    }

    /// As they stand in an OPEN, with route refresh, enhanced route refresh and four-octet AS numbers.
    pub fn encode(self, asn: u32) -> Vec<u8> {
        let mut out = vec![2, 0, 70, 0, 65, 4];
        out.extend_from_slice(&asn.to_be_bytes());
        for afi in self.families() {
            out.extend_from_slice(&[1, 4, 0, *afi, 0, 1]);
        }
        let count = self.families().len() as u8;
        if let Some(restart) = self.restart {
            let flags = u16::from(restart.restarting) << 15 | u16::from(restart.notification) << 14;
            out.extend_from_slice(&[64, 2 + 4 * count]);
            out.extend_from_slice(&(flags | restart.time_s & 0x0fff).to_be_bytes());
            for afi in self.families() {
                out.extend_from_slice(&[0, *afi, 1, 0x80]);
            }
        }
        if self.add_path {
            out.extend_from_slice(&[69, 4 * count]);
            for afi in self.families() {
                out.extend_from_slice(&[0, *afi, 1, 3]);
            }
        }
        out
    }
}

fn nlri(out: &mut Vec<u8>, prefix: IpNet, id: Option<u32>) {
    if let Some(id) = id {
        out.extend_from_slice(&id.to_be_bytes());
    }
    let count = usize::from(prefix.prefix_len()).div_ceil(8);
    out.push(prefix.prefix_len());
    match prefix.addr() {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..count]),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..count]),
    }
}

/// An UPDATE around what `attributes` appends, with `nlri` and `withdrawn` of IPv4.
fn update(out: &mut Vec<u8>, withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) {
    message(out, kind::UPDATE, |out| {
        out.extend_from_slice(&(withdrawn.len() as u16).to_be_bytes());
        out.extend_from_slice(withdrawn);
        out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        out.extend_from_slice(attributes);
        out.extend_from_slice(nlri);
    });
}

/// Appends an UPDATE that announces one path; `id` where the session has path identifiers. A next hop of the other family
/// than the prefix's is left out, which makes the UPDATE malformed.
pub fn announce(out: &mut Vec<u8>, route: &Route, prefix: IpNet, id: Option<u32>) {
    let mut field = Vec::new();
    nlri(&mut field, prefix, id);
    let mut block = Vec::new();
    attribute(&mut block, 0x40, 1, &[route.origin]);
    let mut path = Vec::new();
    if !route.as_path.is_empty() {
        path.extend_from_slice(&[2, route.as_path.len() as u8]);
        path.extend(words(&route.as_path));
    }
    attribute(&mut block, 0x40, 2, &path);
    if let (IpNet::V4(_), Some(IpAddr::V4(hop))) = (prefix, route.next_hop) {
        attribute(&mut block, 0x40, 3, &hop.octets());
    }
    if let Some(med) = route.med {
        attribute(&mut block, 0x80, 4, &med.to_be_bytes());
    }
    if let Some(preference) = route.local_pref {
        attribute(&mut block, 0x40, 5, &preference.to_be_bytes());
    }
    if !route.communities.is_empty() {
        attribute(&mut block, 0xc0, 8, &words(&route.communities));
    }
    if let Some(originator) = route.originator {
        attribute(&mut block, 0x80, 9, &originator.octets());
    }
    if !route.cluster_list.is_empty() {
        let list: Vec<u32> = route.cluster_list.iter().map(|c| u32::from(*c)).collect();
        attribute(&mut block, 0x80, 10, &words(&list));
    }
    if !route.large_communities.is_empty() {
        let all = words(route.large_communities.iter().flatten());
        attribute(&mut block, 0xc0, 32, &all);
    }
    match prefix {
        IpNet::V4(_) => update(out, &[], &block, &field),
        IpNet::V6(_) => {
            let mut reach = vec![0, 2, 1];
            if let Some(IpAddr::V6(hop)) = route.next_hop {
                reach.push(16);
                reach.extend_from_slice(&hop.octets());
            } else {
                reach.push(0);
            }
            reach.push(0);
            reach.extend_from_slice(&field);
            attribute(&mut block, 0x80, 14, &reach);
            update(out, &[], &block, &[]);
        }
    }
}

/// Appends an UPDATE that withdraws one path.
pub fn withdraw(out: &mut Vec<u8>, prefix: IpNet, id: Option<u32>) {
    let mut field = Vec::new();
    match prefix {
        IpNet::V4(_) => {
            nlri(&mut field, prefix, id);
            update(out, &field, &[], &[]);
        }
        IpNet::V6(_) => {
            let mut gone = vec![0, 2, 1];
            nlri(&mut gone, prefix, id);
            attribute(&mut field, 0x80, 15, &gone);
            update(out, &[], &field, &[]);
        }
    }
}

/// Appends the End-of-RIB marker of a family. Source: RFC 4724 §2.
pub fn end_of_rib(out: &mut Vec<u8>, ipv6: bool) {
    let mut block = Vec::new();
    if ipv6 {
        attribute(&mut block, 0x80, 15, &[0, 2, 1]);
    }
    update(out, &[], &block, &[]);
}

/// Appends a request to be told all of a family again. Source: RFC 2918 §3.
pub fn refresh(out: &mut Vec<u8>, ipv6: bool) {
    let afi = if ipv6 { 2 } else { 1 };
    message(out, kind::ROUTE_REFRESH, |out| {
        out.extend_from_slice(&[0, afi, 0, 1]);
    });
}

/// Appends a NOTIFICATION.
pub fn notification(out: &mut Vec<u8>, code: u8, subcode: u8) {
    message(out, kind::NOTIFICATION, |out| {
        out.extend_from_slice(&[code, subcode]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Tap;

    fn route(next_hop: &str) -> Route {
        Route {
            origin: 2,
            as_path: vec![65001, 4_200_000_000],
            next_hop: Some(next_hop.parse().expect("an address")),
            med: Some(7),
            local_pref: Some(200),
            communities: vec![64512 << 16 | 7, 0xffff_ff01],
            large_communities: vec![[1, 2, 3]; 30],
            originator: Some([10, 0, 0, 1].into()),
            cluster_list: vec![[10, 0, 0, 2].into(), [10, 0, 0, 3].into()],
        }
    }

    #[test]
    fn what_is_said_is_read_back() {
        for several in [false, true] {
            let id = several.then_some(9);
            let mut tap = Tap::new(several);
            let four: IpNet = "10.1.2.0/23".parse().expect("a prefix");
            let six: IpNet = "fd00:1::/33".parse().expect("a prefix");
            let mut out = Vec::new();
            announce(&mut out, &route("192.0.2.1"), four, id);
            announce(&mut out, &route("fd00::1"), six, id);
            tap.read(&out).expect("well formed");
            let key = |prefix| (prefix, id.unwrap_or(0));
            assert_eq!(tap.told[&key(four)], route("192.0.2.1"));
            assert_eq!(tap.told[&key(six)], route("fd00::1"));
            out.clear();
            withdraw(&mut out, four, id);
            withdraw(&mut out, six, id);
            assert_eq!(tap.ended, [false; 2]);
            end_of_rib(&mut out, false);
            end_of_rib(&mut out, true);
            tap.read(&out).expect("well formed");
            assert!(tap.told.is_empty(), "{:?}", tap.told);
            assert_eq!((tap.ended, tap.updates), ([true; 2], 4));
        }
    }

    /// RFC 7313 §4: what was not told again between the marks is gone.
    #[test]
    fn a_refresh_replaces_what_was_told() {
        let prefix = |n: u8| format!("10.{n}.0.0/16").parse::<IpNet>().expect("a prefix");
        let mut out = Vec::new();
        announce(&mut out, &route("192.0.2.1"), prefix(1), None);
        announce(&mut out, &route("192.0.2.1"), prefix(2), None);
        let mark = |out: &mut Vec<u8>, step| {
            message(out, kind::ROUTE_REFRESH, |o| {
                o.extend_from_slice(&[0, 1, step, 1]);
            });
        };
        mark(&mut out, 1);
        announce(&mut out, &route("192.0.2.2"), prefix(2), None);
        let mut tap = Tap::default();
        tap.read(&out).expect("well formed");
        assert_eq!((tap.told.len(), tap.refreshed), (2, [0, 0]));
        out.clear();
        mark(&mut out, 2);
        tap.read(&out).expect("well formed");
        assert_eq!((tap.told.len(), tap.refreshed), (1, [1, 0]));
    }
}
