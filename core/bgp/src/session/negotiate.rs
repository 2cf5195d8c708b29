//! What our OPEN offers, and what both OPENs agree on.

use crate::wire::nlri::Ids;
use crate::wire::notification::{Notification, code, open_error};
use crate::wire::open::{AddPathMode, Capabilities, LongLivedFamily, Open, Restart};
use crate::wire::{MAX_EXTENDED, MAX_MESSAGE};
use crate::{AddPath, Asn, Family, PeerConfig, Role};
use std::net::Ipv4Addr;
use std::time::Duration;

/// What we say.
pub(crate) struct Proposal<'a> {
    pub config: &'a PeerConfig,
    pub local_as: u32,
    pub router_id: Ipv4Addr,
    /// R bit of graceful restart.
    pub restarting: bool,
    /// F bits of graceful restart.
    pub forwarding: bool,
}

impl Proposal<'_> {
    /// What we are to the neighbour, if that is of another AS.
    fn role(&self) -> Option<Role> {
        let ebgp = self.config.remote_as.is_external(Asn(self.local_as));
        self.config.role.filter(|_| ebgp)
    }

    /// Long-lived graceful restart, which is nothing without graceful restart (RFC 9494 §4.1).
    fn long_lived(&self) -> Option<Vec<LongLivedFamily>> {
        let wanted = self.config.long_lived.as_ref();
        let wanted = wanted.filter(|_| self.config.graceful_restart.is_some())?;
        let spoken = |family: &Family| self.config.families.contains(family);
        let families = wanted.stale_times.iter().filter(|(f, _)| spoken(f));
        let entry = |(family, time): (&Family, &Duration)| LongLivedFamily {
            family: *family,
            forwarding: self.forwarding,
            stale_time_s: time.as_secs().min(0x00ff_ffff) as u32,
        };
        Some(families.map(entry).collect())
    }

    pub fn open(&self) -> Open {
        let families = self.config.families.clone();
        let restart = self.config.graceful_restart.map(|restart| Restart {
            restarting: self.restarting,
            notification: true,
            time_s: restart.restart_time.as_secs().min(4095) as u16,
            families: families
                .iter()
                .map(|family| (*family, self.forwarding))
                .collect(),
        });
        let AddPath { receive, send, .. } = self.config.add_path;
        let mode = AddPathMode { receive, send };
        let add_path = families.iter().map(|family| (*family, mode));
        let add_path = add_path.filter(|_| receive || send).collect();
        Open {
            asn: self.local_as,
            hold_time_s: self.config.hold_time.as_secs().min(65535) as u16,
            id: self.router_id,
            capabilities: Capabilities {
                multiprotocol: true,
                families,
                route_refresh: true,
                enhanced_refresh: true,
                extended_messages: true,
                as4: Some(self.local_as),
                restart,
                long_lived: self.long_lived(),
                role: self.role().map(Role::code),
                strict_bfd: self.config.bfd.is_some_and(|bfd| bfd.strict.is_some()),
                extended_next_hop: self.config.extended_next_hop
                    && self.config.families.contains(&Family::Ipv4),
                add_path,
            },
        }
    }
}

/// What holds for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub families: Vec<Family>,
    pub remote_id: Ipv4Addr,
    pub remote_as: u32,
    pub ebgp: bool,
    pub as4: bool,
    pub refresh: bool,
    pub enhanced_refresh: bool,
    /// Greatest message that either side may send.
    pub max_message: usize,
    pub hold_time: Duration,
    pub keepalive: Duration,
    /// IPv4 prefixes may have an IPv6 next hop, either way (RFC 8950).
    pub extended_next_hop: bool,
    /// Where the peer sends path identifiers (RFC 7911).
    pub ids_in: Ids,
    /// Where we do.
    pub ids_out: Ids,
    /// The peer's graceful restart capability, when both have it.
    pub restart: Option<Restart>,
    /// What the peer says of long-lived graceful restart where both have it (RFC 9494).
    pub long_lived: Vec<LongLivedFamily>,
    /// The peer knows long-lived stale routes, whether we do or not (RFC 9494 §4.3).
    pub knows_stale: bool,
    /// What we are to the neighbour (RFC 9234).
    pub role: Option<Role>,
}

impl Negotiated {
    /// Routes also outlive a NOTIFICATION, other than a hard reset (RFC 8538 §2).
    pub fn outlives_notification(&self) -> bool {
        self.restart.as_ref().is_some_and(|r| r.notification)
    }
}

/// RFC 9234 §4.2.
fn check_role(proposal: &Proposal<'_>, theirs: &Open) -> Result<(), Notification> {
    let fits = match (proposal.role(), theirs.capabilities.role) {
        (None, _) => true,
        (Some(_), None) => !proposal.config.role_strict,
        (Some(ours), Some(code)) => ours.counterpart().code() == code,
    };
    let mismatch = || Notification::new(code::OPEN, open_error::ROLE_MISMATCH);
    fits.then_some(()).ok_or_else(mismatch)
}

/// How often we send KEEPALIVE, with this negotiated hold time (RFC 4271 §4.4).
pub(crate) fn keepalive_interval(config: &PeerConfig, hold: Duration) -> Duration {
    config.keepalive.unwrap_or(hold / 3).min(hold / 3)
}

/// Checks the peer's OPEN against the configuration (RFC 4271 §6.2).
pub(crate) fn negotiate(
    proposal: &Proposal<'_>,
    theirs: &Open,
) -> Result<Negotiated, Notification> {
    let config = proposal.config;
    if !(config.remote_as).admits(Asn(theirs.asn), Asn(proposal.local_as)) {
        return Err(Notification::new(code::OPEN, open_error::BAD_PEER_AS));
    }
    let ebgp = theirs.asn != proposal.local_as;
    // RFC 6286 §2.2: only within an AS must identifiers differ.
    if !ebgp && theirs.id == proposal.router_id {
        return Err(Notification::new(code::OPEN, open_error::BAD_IDENTIFIER));
    }
    check_role(proposal, theirs)?;
    let ours = proposal.open().capabilities;
    let capabilities = &theirs.capabilities;
    let families: Vec<Family> = ours
        .families
        .iter()
        .copied()
        .filter(|f| capabilities.families.contains(f))
        .collect();
    if families.is_empty() {
        let mut wanted = Vec::new();
        for family in &ours.families {
            wanted.extend_from_slice(&[1, 4, 0, crate::wire::open::afi(*family) as u8, 0, 1]);
        }
        return Err(Notification::with_data(
            code::OPEN,
            open_error::UNSUPPORTED_CAPABILITY,
            &wanted,
        ));
    }
    let hold = Duration::from_secs(u64::from(theirs.hold_time_s)).min(config.hold_time);
    let keepalive = keepalive_interval(config, hold);
    let (mut ids_in, mut ids_out) = (Ids::default(), Ids::default());
    for (family, mode) in &capabilities.add_path {
        if mode.send && config.add_path.receive {
            ids_in.set(*family);
        }
        if mode.receive && config.add_path.send {
            ids_out.set(*family);
        }
    }
    let extended = ours.extended_messages && capabilities.extended_messages;
    // RFC 9494 §4.5: without graceful restart it was not said.
    let their_long_lived = capabilities.long_lived.as_deref();
    let their_long_lived = their_long_lived.filter(|_| capabilities.restart.is_some());
    let our_long_lived = ours.long_lived.unwrap_or_default();
    let both_have = |entry: &&LongLivedFamily| {
        let mut ours = our_long_lived.iter();
        families.contains(&entry.family) && ours.any(|own| own.family == entry.family)
    };
    let long_lived = their_long_lived.unwrap_or_default().iter();
    let long_lived = long_lived.filter(both_have).copied().collect();
    Ok(Negotiated {
        long_lived,
        knows_stale: their_long_lived.is_some(),
        families,
        remote_id: theirs.id,
        remote_as: theirs.asn,
        ebgp,
        as4: capabilities.as4.is_some(),
        refresh: capabilities.route_refresh,
        enhanced_refresh: capabilities.enhanced_refresh,
        max_message: if extended { MAX_EXTENDED } else { MAX_MESSAGE },
        hold_time: hold,
        keepalive,
        role: proposal.role(),
        extended_next_hop: ours.extended_next_hop && capabilities.extended_next_hop,
        ids_in,
        ids_out,
        restart: capabilities
            .restart
            .clone()
            .filter(|_| config.graceful_restart.is_some()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn theirs() -> Open {
        let config = PeerConfig::new("us", IpAddr::from([10, 0, 0, 1]), 64512.into());
        let id = Ipv4Addr::new(10, 0, 0, 2);
        Proposal {
            config: &config,
            local_as: 65001,
            router_id: id,
            restarting: false,
            forwarding: true,
        }
        .open()
    }

    fn check(change: impl FnOnce(&mut Open, &mut PeerConfig)) -> Result<Negotiated, (u8, u8)> {
        let mut config = PeerConfig::new("them", IpAddr::from([10, 0, 0, 2]), 65001.into());
        let mut open = theirs();
        change(&mut open, &mut config);
        let router_id = Ipv4Addr::new(10, 0, 0, 1);
        let proposal = Proposal {
            config: &config,
            local_as: 64512,
            router_id,
            restarting: false,
            forwarding: false,
        };
        negotiate(&proposal, &open).map_err(|n| (n.code, n.subcode))
    }

    #[test]
    fn agreement() {
        let agreed = check(|_, _| {}).expect("agrees");
        assert_eq!(agreed.families, Family::ALL);
        assert_eq!(
            (agreed.ebgp, agreed.as4, agreed.max_message),
            (true, true, 65535)
        );
        assert_eq!(agreed.hold_time, Duration::from_secs(240));
        assert_eq!(agreed.keepalive, Duration::from_secs(80));
        let agreed = check(|open, config| {
            open.hold_time_s = 9;
            open.capabilities.families = vec![Family::Ipv6];
            open.capabilities.extended_messages = false;
            open.capabilities.as4 = None;
            config.graceful_restart = None;
        })
        .expect("agrees");
        assert_eq!(agreed.families, vec![Family::Ipv6]);
        assert_eq!(
            (agreed.as4, agreed.max_message, agreed.restart),
            (false, 4096, None)
        );
        assert_eq!(agreed.keepalive, Duration::from_secs(3));
        let agreed = check(|open, _| open.hold_time_s = 0).expect("agrees");
        assert!(agreed.hold_time.is_zero() && agreed.keepalive.is_zero());
    }

    #[test]
    fn extended_next_hop() {
        for (theirs, ours) in [(false, false), (false, true), (true, false), (true, true)] {
            let agreed = check(|open, config| {
                open.capabilities.extended_next_hop = theirs;
                config.extended_next_hop = ours;
            });
            let agreed = agreed.expect("agrees").extended_next_hop;
            assert_eq!(agreed, theirs && ours);
        }
    }

    /// Beside graceful restart only, and in families for which both have it (RFC 9494 §4.1, §4.5).
    #[test]
    fn long_lived() {
        let entry = |family| LongLivedFamily {
            family,
            forwarding: true,
            stale_time_s: 60,
        };
        let agreed = |change: fn(&mut Open, &mut PeerConfig)| {
            let agreed = check(|open, config| {
                open.capabilities.long_lived = Some(Family::ALL.map(entry).to_vec());
                let stale_times = [(Family::Ipv6, Duration::from_secs(5))].into();
                config.long_lived = Some(crate::LongLived {
                    stale_times,
                    limit: None,
                });
                change(open, config);
            });
            let agreed = agreed.expect("agrees");
            (agreed.long_lived, agreed.knows_stale)
        };
        let both = vec![entry(Family::Ipv6)];
        assert_eq!(agreed(|_, _| {}), (both, true));
        assert_eq!(
            agreed(|open, _| open.capabilities.restart = None),
            (Vec::new(), false)
        );
        assert_eq!(
            agreed(|open, _| open.capabilities.long_lived = None),
            (Vec::new(), false)
        );
        // It knows such routes although we have none to tell.
        let neither = (Vec::new(), true);
        assert_eq!(agreed(|_, config| config.long_lived = None), neither);
        assert_eq!(agreed(|_, config| config.graceful_restart = None), neither);
        assert_eq!(
            agreed(|_, config| config.families = vec![Family::Ipv4]),
            neither
        );
    }

    /// Who sends and who receives must fit (RFC 7911 §4).
    #[test]
    fn add_path() {
        let agreed = |theirs: [bool; 2], ours: [bool; 2]| {
            let agreed = check(|open, config| {
                let mode = AddPathMode {
                    receive: theirs[0],
                    send: theirs[1],
                };
                open.capabilities.add_path = vec![(Family::Ipv4, mode)];
                config.add_path.receive = ours[0];
                config.add_path.send = ours[1];
            })
            .expect("agrees");
            assert!(!agreed.ids_in.ipv6 && !agreed.ids_out.ipv6, "not offered");
            (agreed.ids_in.ipv4, agreed.ids_out.ipv4)
        };
        assert_eq!(agreed([true, true], [true, true]), (true, true));
        assert_eq!(agreed([true, false], [true, false]), (false, false));
        assert_eq!(agreed([true, false], [false, true]), (false, true));
        assert_eq!(agreed([false, true], [true, false]), (true, false));
    }

    #[test]
    fn roles() {
        let with = |ours, strict, theirs| {
            check(|open, config| {
                (config.role, config.role_strict) = (ours, strict);
                open.capabilities.role = theirs;
            })
        };
        let provider = Some(Role::Provider);
        let agreed = with(provider, true, Some(3)).expect("a customer");
        assert_eq!(agreed.role, provider);
        // What it does not say is not held against it, unless strict.
        assert_eq!(with(provider, false, None).expect("none").role, provider);
        assert_eq!(with(provider, true, None).expect_err("strict"), (2, 11));
        for wrong in [0, 1, 2, 4, 9, crate::wire::open::NO_ROLE] {
            let refused = with(provider, false, Some(wrong));
            assert_eq!(refused.expect_err("no customer"), (2, 11));
        }
        // Without a role of ours theirs does not matter, nor within an AS.
        assert_eq!(with(None, false, Some(0)).expect("any").role, None);
        let ibgp = check(|open, config| {
            (config.role, config.role_strict) = (provider, true);
            (open.asn, config.remote_as) = (64512, 64512.into());
        });
        assert_eq!(ibgp.expect("no roles here").role, None);
    }

    #[test]
    fn refusals() {
        assert_eq!(check(|open, _| open.asn = 65002).expect_err("AS"), (2, 2));
        assert_eq!(
            check(|open, _| open.capabilities.families.clear()).expect_err("families"),
            (2, 7)
        );
        let same_id = |open: &mut Open, config: &mut PeerConfig| {
            open.id = Ipv4Addr::new(10, 0, 0, 1);
            open.asn = 64512;
            config.remote_as = 64512.into();
        };
        assert_eq!(check(same_id).expect_err("identifier"), (2, 3));
        // The control: between ASes it may be equal.
        assert!(check(|open, _| open.id = Ipv4Addr::new(10, 0, 0, 1)).is_ok());
    }
}
