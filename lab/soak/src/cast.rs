//! Who takes part: each peer's role, what it may say, and the configuration of the speaker that fits them all.

use bgp::{AddPath, Config, Family, PeerConfig};
use bgpsim::random::Random;
use bgpwire::say::{Capabilities, Restart};
use bgpwire::tap::{Key, Route, Told};
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// Where the speaker is.
pub const SPEAKER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SPEAKER_ID: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const CLUSTER: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
const SPEAKER_AS: u32 = 64512;
/// Seconds; of peers that are not killed by silence.
const LONG_HOLD: u16 = 90;
/// Seconds; of those that are.
pub const SHORT_HOLD: u16 = 6;
/// Seconds that a peer's routes are kept while it is away: longer than it ever is.
const LONG_RESTART: u16 = 240;
/// Seconds: shorter than it mostly is.
const SHORT_RESTART: u16 = 2;
/// Routes that nobody is told: NO_ADVERTISE. Source: RFC 1997.
const NO_ADVERTISE: u32 = 0xffff_ff02;

/// What the speaker has a peer as; a filter is for all of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Of another AS; connects.
    External,
    /// Of another AS; the speaker connects to it.
    Dialled,
    /// Of another AS, with all paths both ways.
    ExternalSeveral,
    /// Of the speaker's AS, no client.
    NonClient,
    /// A reflection client that is sent the two best paths, and sends several.
    ClientSeveral,
    /// A reflection client that is known by its range.
    Client,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::External,
        Role::Dialled,
        Role::ExternalSeveral,
        Role::NonClient,
        Role::ClientSeveral,
        Role::Client,
    ];
}

/// A peer, as it stays for the whole run.
#[derive(Clone, Debug)]
pub struct Player {
    /// From 1 on.
    pub number: usize,
    /// Where it is.
    pub address: Ipv4Addr,
    /// Its AS.
    pub asn: u32,
    /// Its BGP Identifier; in another order than the addresses.
    pub id: Ipv4Addr,
    /// What it is to the speaker.
    pub role: Role,
    /// What it says that it can; `restarting` is false.
    pub can: Capabilities,
    /// Seconds.
    pub hold_s: u16,
    /// Its receive buffer is small.
    pub small_buffer: bool,
}

impl Player {
    /// The peer of this number: ten kinds in turn.
    pub fn new(number: usize) -> Self {
        use Role::{Client, ClientSeveral, Dialled, External, ExternalSeveral, NonClient};
        let restart = |time_s, notification| {
            Some(Restart {
                time_s,
                notification,
                restarting: false,
            })
        };
        let (long, short) = (LONG_RESTART, SHORT_RESTART);
        let (role, restart, hold_s, ipv6) = match number % 10 {
            0 => (Dialled, restart(long, true), SHORT_HOLD, true),
            1 => (External, None, SHORT_HOLD, true),
            2 => (ExternalSeveral, restart(long, false), LONG_HOLD, true),
            3 => (NonClient, restart(long, false), SHORT_HOLD, true),
            4 => (ClientSeveral, restart(long, true), LONG_HOLD, true),
            5 => (Client, None, LONG_HOLD, false),
            6 => (Client, restart(long, false), LONG_HOLD, true),
            7 => (Client, restart(long, true), SHORT_HOLD, true),
            8 => (Client, None, SHORT_HOLD, true),
            _ => (Client, restart(short, false), LONG_HOLD, true),
        };
        let several = matches!(role, ExternalSeveral | ClientSeveral);
        let external = matches!(role, External | Dialled | ExternalSeveral);
        let net = if role == Client { 2 } else { 1 };
        let (high, low) = ((number / 250) as u8, (number % 250 + 1) as u8);
        Player {
            number,
            address: Ipv4Addr::new(127, net, high, low),
            asn: if external {
                65001 + (number / 10 % 7) as u32
            } else {
                SPEAKER_AS
            },
            id: Ipv4Addr::new(172, 16, (number * 37 % 251) as u8, low),
            role,
            can: Capabilities {
                ipv6,
                add_path: several,
                restart,
            },
            hold_s,
            small_buffer: number % 10 == 8,
        }
    }

    /// How messages call it.
    pub fn name(&self) -> String {
        format!("peer {} ({:?}, {})", self.number, self.role, self.address)
    }

    /// What the speaker's configuration calls it.
    pub fn entry(&self) -> String {
        format!("p{}", self.number)
    }

    /// What its hold time is.
    pub fn hold(&self) -> Duration {
        Duration::from_secs(u64::from(self.hold_s))
    }

    fn is_external(&self) -> bool {
        self.asn != SPEAKER_AS
    }

    /// The peer as the model has it: a node with one neighbour.
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.asn.into(), self.id);
        let mut entry = PeerConfig::new("speaker", SPEAKER.into(), SPEAKER_AS.into());
        entry.families = if self.can.ipv6 {
            Family::ALL.to_vec()
        } else {
            vec![Family::Ipv4]
        };
        entry.add_path = AddPath {
            receive: self.can.add_path,
            send: self.can.add_path,
            limit: None,
        };
        config.peers.push(entry);
        config
    }
}

/// The prefixes that all draw from, so that they compete.
pub fn pool(ipv6: bool) -> Vec<IpNet> {
    let four = (0..240u16).map(|i| {
        let (high, low) = (100 + (i >> 6) as u8, (i << 2) as u8);
        let length = [22, 24, 26, 32][usize::from(i % 4)];
        IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(10, high, low, 0), length))
    });
    let six = (0..80u16).map(|i| {
        let address = Ipv6Addr::new(0xfd00, i, 0, 0, 0, 0, 0, 0);
        IpNet::new_assert(address.into(), 40 + (i % 3) as u8 * 12)
    });
    if ipv6 {
        four.chain(six).collect()
    } else {
        four.collect()
    }
}

/// A path as this peer may say it: mostly sound, now and then one that must not count.
pub fn route(random: &mut Random, player: &Player, prefix: IpNet) -> Route {
    let far = random.below(4) as u8 + 1;
    let next_hop = match prefix {
        IpNet::V4(_) if random.chance(2) => SPEAKER.into(),
        IpNet::V4(_) => IpAddr::from([10, 99, 0, far]),
        IpNet::V6(_) => IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, u16::from(far)]),
    };
    let mut route = Route {
        origin: random.below(3) as u8,
        next_hop: Some(next_hop),
        med: random.pick(&[None, None, Some(0), Some(10), Some(20)]),
        ..Route::default()
    };
    if player.is_external() {
        route.as_path.push(player.asn);
    } else {
        route.local_pref = Some(random.pick(&[100, 100, 100, 50, 200]));
        if random.chance(20) {
            let originators = [SPEAKER_ID, [172, 30, 0, 1].into(), [172, 30, 0, 2].into()];
            route.originator = Some(random.pick(&originators));
            let clusters: [Ipv4Addr; 3] = [CLUSTER, [10, 255, 9, 1].into(), [10, 255, 9, 2].into()];
            route.cluster_list = vec![random.pick(&clusters)];
        }
    }
    for _ in 0..random.below(4) {
        let known = [65001, 65002, 65003, 3356, 4_200_000_000];
        route.as_path.push(random.pick(&known));
    }
    if random.chance(3) {
        route.as_path.push(SPEAKER_AS);
    }
    if random.chance(20) {
        let communities = [0xffff_ff01, NO_ADVERTISE, 64512 << 16 | 7, 64512 << 16 | 8];
        route.communities.push(random.pick(&communities));
    }
    if random.chance(10) {
        route
            .large_communities
            .push([64512, random.below(5) as u32, 0]);
    }
    route
}

/// One change to what a peer says: a path that is new, another or gone. Its key says which.
pub fn change(random: &mut Random, player: &Player, pool: &[IpNet], table: &mut Told) -> Change {
    let keys: Vec<Key> = table.keys().copied().collect();
    // Some tens, whatever happens.
    let gone = match keys.len() {
        0..=12 => false,
        13..=32 => random.chance(45),
        _ => true,
    };
    if gone {
        let key = random.pick(&keys);
        table.remove(&key);
        return (key, None);
    }
    let key = if !keys.is_empty() && random.chance(40) {
        random.pick(&keys)
    } else {
        let prefix = loop {
            let prefix = random.pick(pool);
            if player.can.ipv6 || prefix.addr().is_ipv4() {
                break prefix;
            }
        };
        let id = if player.can.add_path {
            1 + random.below(3) as u32
        } else {
            0
        };
        (prefix, id)
    };
    let route = route(random, player, key.0);
    table.insert(key, route.clone());
    (key, Some(route))
}

/// A path and what it is now.
pub type Change = (Key, Option<Route>);

/// A path that marks an audit.
pub type Marker = (Key, Route);

/// What only this peer says, to mark an audit; nobody is told.
pub fn own_marker(player: &Player, audit: u32) -> Marker {
    let [.., high, low] = player.address.octets();
    let mut route = marker(player, audit);
    route.communities = vec![NO_ADVERTISE];
    (host([10, 200, high, low]), route)
}

/// What only this peer says and all are told, in IPv4.
pub fn shared_marker(player: &Player, audit: u32) -> Marker {
    let [.., high, low] = player.address.octets();
    (host([10, 201, high, low]), marker(player, audit))
}

/// As [`shared_marker`], in IPv6.
pub fn shared_marker_ipv6(player: &Player, audit: u32) -> Marker {
    let [.., high, low] = player.address.octets();
    let address = Ipv6Addr::new(0xfdff, high.into(), low.into(), 0, 0, 0, 0, 1);
    let mut route = marker(player, audit);
    route.next_hop = Some(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1).into());
    ((IpNet::new_assert(address.into(), 128), 0), route)
}

fn host(octets: [u8; 4]) -> Key {
    (IpNet::new_assert(octets.into(), 32), 0)
}

fn marker(player: &Player, audit: u32) -> Route {
    Route {
        as_path: if player.is_external() {
            vec![player.asn]
        } else {
            Vec::new()
        },
        local_pref: (!player.is_external()).then_some(100),
        next_hop: Some(IpAddr::from([10, 99, 0, 1])),
        large_communities: vec![[SPEAKER_AS, audit, 0]],
        ..Route::default()
    }
}

/// What may change in the speaker's configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where it listens.
    pub port: u16,
    /// Its control socket.
    pub control: PathBuf,
    /// Where the peers are that it connects to.
    pub ports: BTreeMap<usize, u16>,
    /// Peers that have no entry.
    pub absent: BTreeSet<usize>,
    /// What a role may not say.
    pub import: BTreeMap<Role, IpNet>,
    /// What a role is not told.
    pub export: BTreeMap<Role, IpNet>,
    /// Its own routes, with their MED.
    pub origins: BTreeMap<IpNet, u32>,
}

impl Settings {
    /// The configuration file.
    pub fn text(&self, players: &[Player]) -> String {
        let mut out = format!(
            "router_id = \"{SPEAKER_ID}\"\nlocal_as = {SPEAKER_AS}\ncluster_id = \"{CLUSTER}\"\n\
             listen = [\"{SPEAKER}:{}\"]\ncontrol = \"{}\"\n",
            self.port,
            self.control.display()
        );
        for (prefix, med) in &self.origins {
            let _ = write!(
                out,
                "[[originate]]\nprefix = \"{prefix}\"\nmed = {med}\n{}",
                match prefix {
                    IpNet::V4(_) => "",
                    IpNet::V6(_) => "next_hop = \"fd98::1\"\n",
                }
            );
        }
        for player in players {
            if player.role == Role::Client || self.absent.contains(&player.number) {
                continue;
            }
            let _ = write!(
                out,
                "[[neighbor]]\nname = \"{}\"\naddress = \"{}\"\n",
                player.entry(),
                player.address
            );
            match self.ports.get(&player.number) {
                Some(port) => {
                    let _ = write!(out, "port = {port}\nsource = \"{SPEAKER}\"\n");
                }
                None => out.push_str("passive = true\n"),
            }
            self.neighbor(&mut out, player.role, player.asn);
        }
        out.push_str("[[neighbor]]\nname = \"client\"\nrange = \"127.2.0.0/16\"\n");
        self.neighbor(&mut out, Role::Client, SPEAKER_AS);
        out
    }

    fn neighbor(&self, out: &mut String, role: Role, asn: u32) {
        let _ = write!(
            out,
            "as = {asn}\nhold_time = {LONG_HOLD}\nconnect_retry = 1\nerror_wait = [1, 2]\n\
             own_next_hop = \"fd00::1\"\n"
        );
        out.push_str(match role {
            Role::External | Role::Dialled | Role::NonClient => "",
            Role::ExternalSeveral => "add_path = \"both\"\n",
            Role::ClientSeveral => "rr_client = true\nadd_path = \"both\"\nadd_path_limit = 2\n",
            Role::Client => "rr_client = true\n",
        });
        for (name, filters) in [("import", &self.import), ("export", &self.export)] {
            if let Some(prefix) = filters.get(&role) {
                let most = prefix.max_prefix_len();
                let _ = writeln!(
                    out,
                    "{name} = [{{ action = \"reject\", prefix = \"{prefix}\", le = {most} }}, {{ action = \"accept\" }}]"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_differ() {
        let players: Vec<Player> = (1..=400).map(Player::new).collect();
        let count = |key: fn(&Player) -> String| {
            let all: BTreeSet<String> = players.iter().map(key).collect();
            all.len()
        };
        assert_eq!(count(|p| p.address.to_string()), 400);
        assert_eq!(count(|p| p.id.to_string()), 400);
        let roles: BTreeSet<Role> = players.iter().map(|p| p.role).collect();
        assert_eq!(roles.len(), Role::ALL.len());
        let pool = pool(true);
        assert_eq!(pool.iter().collect::<BTreeSet<_>>().len(), pool.len());
    }
}
