//! One packet through one kernel's state: where it ends, and why.
//!
//! The order is the kernel's: raw prerouting, tracking, dstnat, reverse path, routing decision, forward, srcnat. The packet is
//! the first of its connection; later ones go as the first did. Only what [`Actual`] holds takes part: tables of others do not.

mod hash;
mod rules;

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::input::Protocol;
use crate::nft::Hook;
use crate::object::{Actual, Route, RouteKind, TABLE_LOCAL};
use crate::reason::Reason;

/// What a packet carries, as far as it decides its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Payload {
    /// TCP, UDP or SCTP.
    Transport {
        /// Which of them.
        protocol: Protocol,
        /// The client's port.
        source_port: u16,
        /// The server's port.
        destination_port: u16,
    },
    /// An ICMP echo request.
    Echo,
    /// Another protocol, by its number.
    Other(u8),
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Packet {
    /// The interface it came in by; `None` for one that a process of this host sends.
    pub input: Option<String>,
    /// Source; unspecified for a process that leaves the choice to the kernel.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Content.
    pub payload: Payload,
    /// Time to live.
    pub ttl: u8,
}

/// What a sender hears of a packet that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// ICMP type 3 code 0.
    NetworkUnreachable,
    /// ICMP type 3 code 1.
    HostUnreachable,
    /// ICMP type 3 code 2.
    ProtocolUnreachable,
    /// ICMP type 3 code 3.
    PortUnreachable,
    /// ICMP type 11 code 0.
    TimeExceeded,
    /// A TCP segment with RST.
    Reset,
    /// The process gets EINVAL.
    Invalid,
}

/// Where a packet ends on this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It leaves.
    Sent {
        /// By this interface.
        oif: String,
        /// To this neighbour.
        next_hop: IpAddr,
    },
    /// It reaches a process of this host, as far as a socket is there.
    Delivered,
    /// It is refused, and the sender hears so.
    Refused {
        /// Why.
        reason: Reason,
        /// What the sender hears.
        answer: Answer,
    },
    /// It vanishes.
    Dropped {
        /// Why.
        reason: Reason,
    },
}

/// What came of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Where it ends.
    pub verdict: Verdict,
    /// As it leaves or arrives, after translation.
    pub packet: Packet,
    /// Connection tracking knows it; an untracked one is nobody's INVALID.
    pub tracked: bool,
    /// It leaves by the interface that it came in by, and the kernel tells its sender of the shorter way (ICMP redirect).
    pub redirect: bool,
    /// What happened, in order, in words.
    pub steps: Vec<String>,
}

/// Follows one packet through a kernel.
pub fn walk(packet: &Packet, state: &Actual) -> Walk {
    let mut way = Way {
        state,
        packet: packet.clone(),
        original_destination: packet.destination,
        tracked: true,
        translated: Translated::default(),
        redirect: false,
        steps: Vec::new(),
    };
    let verdict = match &packet.input {
        Some(input) => way.arrive(input),
        None => way.depart(),
    };
    let verdict = verdict.unwrap_or_else(|end| end);
    Walk {
        verdict,
        packet: way.packet,
        tracked: way.tracked,
        redirect: way.redirect,
        steps: way.steps,
    }
}

/// Which translations have been decided: nat chains act on a connection once.
#[derive(Default)]
struct Translated {
    destination: bool,
    source: bool,
}

/// A packet on its way.
struct Way<'a> {
    state: &'a Actual,
    packet: Packet,
    original_destination: IpAddr,
    tracked: bool,
    translated: Translated,
    redirect: bool,
    steps: Vec<String>,
}

/// The end of a way, early.
type OrEnd<T> = Result<T, Verdict>;

impl Way<'_> {
    fn note(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    fn arrive(&mut self, input: &str) -> OrEnd<Verdict> {
        if !self.state.links.get(input).is_some_and(|link| link.up) {
            return Err(Verdict::Dropped {
                reason: Reason::LinkDown,
            });
        }
        self.hook(Hook::Prerouting, None)?;
        self.reverse_path(input)?;
        let route = self.route()?;
        if let RouteKind::Local { .. } = route.kind {
            self.hook(Hook::Input, None)?;
            return Ok(Verdict::Delivered);
        }
        if !self.forwarding(input) {
            self.note(format!("forwarding is off on {input}"));
            return Err(Verdict::Dropped {
                reason: Reason::ForwardingOff,
            });
        }
        if self.packet.ttl <= 1 {
            return Err(refused(Reason::TtlExceeded, Answer::TimeExceeded));
        }
        self.packet.ttl -= 1;
        let (oif, next_hop) = self.leave(&route)?;
        self.redirect = oif == input && self.parameter_either(input, "send_redirects");
        self.hook(Hook::Forward, Some(&oif))?;
        self.hook(Hook::Postrouting, Some(&oif))?;
        Ok(Verdict::Sent { oif, next_hop })
    }

    fn depart(&mut self) -> OrEnd<Verdict> {
        let route = self.route()?;
        if self.packet.source.is_unspecified() {
            self.packet.source = self.source_for(&route);
            self.note(format!("source {}", self.packet.source));
        }
        self.hook(Hook::Output, None)?;
        // Translated packets are routed anew.
        let route = self.route()?;
        if let RouteKind::Local { .. } = route.kind {
            self.hook(Hook::Input, None)?;
            return Ok(Verdict::Delivered);
        }
        let (oif, next_hop) = self.leave(&route)?;
        self.hook(Hook::Postrouting, Some(&oif))?;
        Ok(Verdict::Sent { oif, next_hop })
    }

    /// The routing decision for the packet as it is now.
    fn route(&mut self) -> OrEnd<Route> {
        let destination = self.packet.destination;
        let Some(route) = lookup(self.state, destination) else {
            self.note(format!("no route to {destination}"));
            return Err(refused(Reason::NoRoute, Answer::NetworkUnreachable));
        };
        self.note(format!("route {route}"));
        match route.kind {
            RouteKind::Blackhole if self.packet.input.is_none() => {
                Err(refused(Reason::Blackhole, Answer::Invalid))
            }
            RouteKind::Blackhole => Err(Verdict::Dropped {
                reason: Reason::Blackhole,
            }),
            RouteKind::Unreachable => Err(refused(Reason::Unreachable, Answer::HostUnreachable)),
            RouteKind::Other { .. } => Err(refused(Reason::NoRoute, Answer::NetworkUnreachable)),
            RouteKind::Via { .. }
            | RouteKind::Device { .. }
            | RouteKind::Multipath { .. }
            | RouteKind::Local { .. } => Ok(route),
        }
    }

    /// The interface and neighbour of a route that leads out.
    fn leave(&mut self, route: &Route) -> OrEnd<(String, IpAddr)> {
        let (oif, next_hop) = match &route.kind {
            RouteKind::Via { gateway, oif, .. } => (oif.clone(), *gateway),
            RouteKind::Multipath { hops } => {
                // The kernel's own hash has a secret seed; any hop will do, the same for the same addresses.
                let addresses = format!("{}{}", self.packet.source, self.packet.destination);
                let sum = addresses
                    .bytes()
                    .fold(0, |sum: usize, byte| sum + usize::from(byte));
                let hop = hops.get(sum % hops.len().max(1)).ok_or(Verdict::Dropped {
                    reason: Reason::NoRoute,
                })?;
                (hop.oif.clone(), hop.gateway)
            }
            RouteKind::Device { oif } | RouteKind::Local { oif } => {
                (oif.clone(), self.packet.destination)
            }
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Other { .. } => {
                return Err(Verdict::Dropped {
                    reason: Reason::NoRoute,
                });
            }
        };
        if !self.state.links.get(&oif).is_some_and(|link| link.up) {
            self.note(format!("{oif} is absent or down"));
            return Err(Verdict::Dropped {
                reason: Reason::LinkDown,
            });
        }
        Ok((oif, next_hop))
    }

    /// Source validation (RFC 3704): strict when `rp_filter` is 1, loose when it is 2.
    fn reverse_path(&mut self, input: &str) -> OrEnd<()> {
        let mode = self
            .parameter("all", "rp_filter")
            .max(self.parameter(input, "rp_filter"));
        if mode == 0 {
            return Ok(());
        }
        let back = lookup(self.state, self.packet.source);
        let good = match back.as_ref().map(|route| &route.kind) {
            Some(
                RouteKind::Local { .. }
                | RouteKind::Blackhole
                | RouteKind::Unreachable
                | RouteKind::Other { .. },
            )
            | None => false,
            Some(
                RouteKind::Via { .. } | RouteKind::Device { .. } | RouteKind::Multipath { .. },
            ) => {
                mode != 1
                    || back
                        .iter()
                        .flat_map(|route| route.interfaces())
                        .any(|oif| oif == input)
            }
        };
        if good {
            return Ok(());
        }
        self.note(format!(
            "rp_filter={mode} on {input}: {} is not reached that way",
            self.packet.source
        ));
        Err(Verdict::Dropped {
            reason: Reason::ReversePath,
        })
    }

    /// A number of `net/ipv4/conf`; absent ones are 0.
    fn parameter(&self, interface: &str, name: &str) -> u32 {
        let path = format!("net/ipv4/conf/{interface}/{name}");
        self.state
            .sysctls
            .get(&path)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    /// One that holds where `all` or the interface says so.
    fn parameter_either(&self, interface: &str, name: &str) -> bool {
        self.parameter("all", name) != 0 || self.parameter(interface, name) != 0
    }

    fn forwarding(&self, input: &str) -> bool {
        let own = self
            .state
            .sysctls
            .get(&format!("net/ipv4/conf/{input}/forwarding"));
        let value = own.or_else(|| self.state.sysctls.get("net/ipv4/ip_forward"));
        value.is_some_and(|value| value != "0")
    }

    /// The address that the kernel gives a process for this route.
    fn source_for(&self, route: &Route) -> IpAddr {
        if let Some(source) = route.source {
            return source;
        }
        if let RouteKind::Local { .. } = route.kind {
            return self.packet.destination;
        }
        route
            .interfaces()
            .first()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |oif| {
                self.address_of(oif)
            })
    }

    /// An interface's first address, or the first of another but the loopback's where it has none.
    fn address_of(&self, interface: &str) -> IpAddr {
        let ipv4 = || {
            self.state
                .addresses
                .iter()
                .filter(|address| address.address.addr().is_ipv4())
        };
        ipv4()
            .find(|address| address.interface == interface)
            .or_else(|| ipv4().find(|address| !address.address.addr().is_loopback()))
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| {
                address.address.addr()
            })
    }
}

fn refused(reason: Reason, answer: Answer) -> Verdict {
    Verdict::Refused { reason, answer }
}

/// What the routing tables say of a destination: `local` first, then `main`; the longest prefix, then the lowest metric.
pub fn lookup(state: &Actual, destination: IpAddr) -> Option<Route> {
    if let Some(on) = state
        .addresses
        .iter()
        .find(|address| address.address.addr() == destination)
    {
        let kind = RouteKind::Local {
            oif: on.interface.clone(),
        };
        return Some(Route {
            table: TABLE_LOCAL,
            ..Route::bird(destination.into(), kind)
        });
    }
    let best = |local: bool| {
        let matching = state.routes.iter().filter(|route| {
            (route.table == TABLE_LOCAL) == local && route.dst.contains(&destination)
        });
        matching
            .max_by_key(|route| (route.dst.prefix_len(), std::cmp::Reverse(route.metric)))
            .cloned()
    };
    best(true).or_else(|| best(false))
}
