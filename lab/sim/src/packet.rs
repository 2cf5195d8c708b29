//! Packets from host to host, each kernel asked by [`dataplane::walk`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use dataplane::{Answer, Packet, Payload, Protocol, Reason, Verdict, walk};

use crate::check::{Truth, Violation};
use crate::world::World;

/// How asking ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers; the pod or host that does.
    Answered(String),
    /// Somebody says no.
    Refused(String, Reason, Answer),
    /// Nothing is heard.
    Silence(String),
}

/// More hosts than this on a packet's way mean that it goes round.
const HOPS: usize = 8;

impl World {
    /// Asks for an address from a host: there, and back.
    pub fn reach(&self, from: &str, to: IpAddr, payload: Payload) -> Reach {
        let packet = Packet {
            input: None,
            source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            destination: to,
            payload,
            ttl: 64,
        };
        match self.carry(from, packet) {
            Arrival::At {
                place,
                packet,
                translated_by,
            } => self.answer(from, &place, &packet, translated_by.as_deref()),
            Arrival::Refused(host, reason, answer) => Reach::Refused(host, reason, answer),
            Arrival::Lost(why) => Reach::Silence(why),
        }
    }

    /// Carries the reply back; what was translated on the way there has to pass the translator again.
    fn answer(
        &self,
        client: &str,
        place: &Place,
        packet: &Packet,
        translator: Option<&str>,
    ) -> Reach {
        let back = Packet {
            input: place.interface.clone(),
            source: packet.destination,
            destination: packet.source,
            payload: reversed(packet.payload),
            ttl: 64,
        };
        let home = translator.unwrap_or(client);
        if place.host == home
            && self
                .hosts
                .get(home)
                .is_some_and(|host| host.has_address(packet.source))
        {
            return Reach::Answered(place.name.clone());
        }
        match self.carry(&place.host, back) {
            Arrival::At { place: end, .. } if end.host == home => {
                Reach::Answered(place.name.clone())
            }
            // Translation without a change of source is undone by the translator's own tracking, on its way through.
            Arrival::At { place: end, .. }
                if end.host == client && translator == Some(place.host.as_str()) =>
            {
                Reach::Answered(place.name.clone())
            }
            Arrival::At { place: end, .. } => {
                Reach::Silence(format!("the reply went to {} past {home}", end.name))
            }
            Arrival::Refused(host, reason, _) => {
                Reach::Silence(format!("the reply was refused by {host}: {reason}"))
            }
            Arrival::Lost(why) => Reach::Silence(format!("the reply was lost: {why}")),
        }
    }

    fn carry(&self, from: &str, packet: Packet) -> Arrival {
        let (mut host, mut packet, mut translated_by) = (from.to_string(), packet, None);
        for _ in 0..HOPS {
            let Some(machine) = self.hosts.get(&host).filter(|machine| machine.powered) else {
                return Arrival::Lost(format!("{host} is off"));
            };
            let wanted = packet.destination;
            let walked = walk(&packet, &machine.kernel);
            packet = walked.packet;
            if packet.destination != wanted {
                translated_by = Some(host.clone());
            }
            let (oif, next_hop) = match walked.verdict {
                Verdict::Delivered => {
                    let place = Place {
                        name: host.clone(),
                        host,
                        interface: None,
                    };
                    return Arrival::At {
                        place,
                        packet,
                        translated_by,
                    };
                }
                Verdict::Refused { reason, answer } => {
                    return Arrival::Refused(host, reason, answer);
                }
                Verdict::Dropped { reason } => return Arrival::Lost(format!("{host}: {reason}")),
                Verdict::Sent { oif, next_hop } => (oif, next_hop),
            };
            if let Some((label, _)) = self
                .pods
                .iter()
                .find(|(_, pod)| pod.node == host && pod.interface == oif)
            {
                let there = self
                    .pods
                    .get(label)
                    .is_some_and(|pod| pod.address == Some(packet.destination));
                let place = Place {
                    name: label.clone(),
                    host: host.clone(),
                    interface: Some(oif),
                };
                return if there {
                    Arrival::At {
                        place,
                        packet,
                        translated_by,
                    }
                } else {
                    Arrival::Lost(format!("{label} has another address"))
                };
            }
            let Some((next, input)) = self.neighbour(&host, &oif, next_hop) else {
                return Arrival::Refused(host, Reason::NoRoute, Answer::HostUnreachable);
            };
            (host, packet.input) = (next, Some(input));
        }
        Arrival::Lost(format!("it goes round: {HOPS} hosts passed"))
    }

    /// The host on the same segment that has this address, and its interface there.
    fn neighbour(&self, host: &str, oif: &str, address: IpAddr) -> Option<(String, String)> {
        let port = self
            .hosts
            .get(host)?
            .ports
            .get(oif)
            .filter(|port| port.plugged)?;
        self.hosts
            .iter()
            .filter(|(_, other)| other.powered)
            .find_map(|(name, other)| {
                let found = other.ports.iter().find(|(_, p)| {
                    p.plugged && p.lan == port.lan && IpAddr::V4(p.address.addr()) == address
                });
                found.map(|(interface, _)| (name.clone(), interface.clone()))
            })
    }
}

struct Place {
    name: String,
    host: String,
    interface: Option<String>,
}

enum Arrival {
    At {
        place: Place,
        packet: Packet,
        translated_by: Option<String>,
    },
    Refused(String, Reason, Answer),
    Lost(String),
}

fn reversed(payload: Payload) -> Payload {
    match payload {
        Payload::Transport {
            protocol,
            source_port,
            destination_port,
        } => Payload::Transport {
            protocol,
            source_port: destination_port,
            destination_port: source_port,
        },
        // An echo reply is a packet of its own kind; for routing it is one of ICMP.
        Payload::Echo => Payload::Other(1),
        Payload::Other(number) => Payload::Other(number),
    }
}

/// A connection attempt to a port.
pub fn tcp(source_port: u16, destination_port: u16) -> Payload {
    Payload::Transport {
        protocol: Protocol::Tcp,
        source_port,
        destination_port,
    }
}

/// Every host reaches every pod; a free address of a pool is refused by somebody, and nothing goes round.
pub fn reachability(world: &World) -> Vec<Violation> {
    let check = "reachability";
    let truth = Truth::read(world);
    let mut found = Vec::new();
    let taken: BTreeSet<IpAddr> = world.pods.values().filter_map(|pod| pod.address).collect();
    let asking = world
        .hosts
        .iter()
        .filter(|(name, host)| host.powered && world.routes_to_pools(name, &truth));
    for from in asking.map(|(name, _)| name) {
        for (label, pod) in &world.pods {
            let (Some(address), true) = (
                pod.address,
                world.hosts.get(&pod.node).is_some_and(|host| host.powered),
            ) else {
                continue;
            };
            match world.reach(from, address, tcp(40_000, 80)) {
                Reach::Answered(who) if who == *label => {}
                other => found.push(Violation::new(
                    check,
                    format!("{from} asks {label} at {address}: {other:?}"),
                )),
            }
        }
        for pool in &truth.pools {
            let free = pool
                .hosts()
                .skip(1)
                .step_by(67)
                .filter(|address| !taken.contains(address))
                .take(3);
            for address in free {
                match world.reach(from, address, Payload::Echo) {
                    Reach::Refused(..) => {}
                    other => found.push(Violation::new(
                        check,
                        format!("{from} asks the free {address}: {other:?}"),
                    )),
                }
            }
        }
        found.extend(services(world, from));
    }
    found
}

impl World {
    /// Whether a host has a route to the pools at all; the others are not of this network.
    fn routes_to_pools(&self, name: &str, truth: &Truth) -> bool {
        let Some(host) = self.hosts.get(name) else {
            return false;
        };
        truth.pools.iter().all(|pool| {
            host.kernel
                .routes
                .iter()
                .any(|route| route.dst.prefix_len() > 0 && route.dst.contains(pool))
        })
    }
}

/// A service with live backends answers, always from one of them.
fn services(world: &World, from: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (frontend, live) in world.live_backends() {
        for source_port in 40_000..40_004 {
            match world.reach(from, frontend.0, tcp(source_port, frontend.1)) {
                Reach::Answered(who) if live.contains(&who) => {}
                other if !live.is_empty() => {
                    found.push(Violation::new(
                        "services",
                        format!("{from} asks the service {}: {other:?}", frontend.0),
                    ));
                }
                Reach::Refused(..) => {}
                other => found.push(Violation::new(
                    "services",
                    format!("{from} asks a service of nobody: {other:?}"),
                )),
            }
        }
    }
    found
}
