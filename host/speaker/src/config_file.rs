//! The configuration file of the stand-alone speaker.

mod filter;
mod neighbor;
mod observers;
mod paths;
mod session;
mod tcp_ao;

use anyhow::{Context, Result, bail, ensure};
use bgp::{Config, Family, NextHopMode, Origin, PeerConfig, RangeConfig};
use filter::{FilterEntry, Named, PrefixListEntry, RuleEntry};
use ipnet::IpNet;
use linux::fib::Owner;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The protocol number of our routes, as Calico's own are (`proto bird`).
const PROTOCOL: u8 = 12;

/// A TOML document, as written by a person.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    router_id: Ipv4Addr,
    local_as: u32,
    /// Where to listen; 0.0.0.0:179 and [::]:179 when left out.
    listen: Option<Vec<SocketAddr>>,
    /// The cluster of reflection clients; the router ID when left out.
    cluster_id: Option<Ipv4Addr>,
    /// The control socket.
    #[serde(default = "default_control")]
    control: PathBuf,
    /// Forwarding went on while we were away: tells peers to keep our routes (RFC 4724).
    #[serde(default)]
    restarting: bool,
    /// Chosen routes go into the kernel.
    #[serde(default)]
    kernel: bool,
    /// The kernel's table; 254, the main one, when left out.
    kernel_table: Option<u32>,
    /// The metric of our routes there; 32 when left out.
    kernel_metric: Option<u32>,
    /// Paths through next hops that the kernel knows no way to are kept out; as `kernel` when left out.
    next_hop_tracking: Option<bool>,
    /// Neighbors of other ASes without `import` or `export` give or get no routes (RFC 8212).
    #[serde(default)]
    require_policy: bool,
    #[serde(default)]
    bmp: Vec<observers::BmpEntry>,
    mrt: Option<observers::MrtEntry>,
    #[serde(default)]
    neighbor: Vec<NeighborEntry>,
    #[serde(default)]
    originate: Vec<OriginateEntry>,
    #[serde(default)]
    prefix_list: Vec<PrefixListEntry>,
    #[serde(default)]
    filter: Vec<FilterEntry>,
    /// Connected networks by interface, for rules that ask for the interface.
    #[serde(default)]
    interfaces: BTreeMap<String, Vec<IpNet>>,
}

fn default_control() -> PathBuf {
    PathBuf::from("/var/run/selvedge/speaker.ctl")
}

/// One neighbour (`address`) or all of a prefix (`range`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NeighborEntry {
    address: Option<IpAddr>,
    /// Who is found on this interface (unnumbered).
    interface: Option<String>,
    range: Option<IpNet>,
    /// How many at a time, of a range.
    limit: Option<u32>,
    name: Option<String>,
    #[serde(rename = "as")]
    remote_as: neighbor::As,
    port: Option<u16>,
    local_as: Option<u32>,
    source: Option<IpAddr>,
    #[serde(default)]
    passive: bool,
    #[serde(default)]
    rr_client: bool,
    families: Option<Vec<FamilyName>>,
    hold_time: Option<u16>,
    keepalive: Option<u16>,
    /// Seconds; 0 turns it off.
    send_hold_time: Option<u16>,
    connect_retry: Option<u16>,
    delay_open: Option<u16>,
    /// The first and the greatest, in seconds.
    error_wait: Option<[u16; 2]>,
    ttl: Option<u8>,
    /// How many hops away the neighbor may be at most (RFC 5082).
    ttl_security: Option<u8>,
    password: Option<session::Password>,
    password_file: Option<PathBuf>,
    /// Keys of TCP-AO (RFC 5925).
    tcp_ao: Option<Vec<tcp_ao::AoEntry>>,
    /// What we are to the neighbor (RFC 9234).
    role: Option<session::RoleName>,
    #[serde(default)]
    role_strict: bool,
    next_hop: Option<NextHopName>,
    own_next_hop: Option<IpAddr>,
    allow_own_as: Option<u8>,
    add_path: Option<paths::AddPathName>,
    add_path_limit: Option<u32>,
    extended_next_hop: Option<bool>,
    link_local_next_hop: Option<bool>,
    /// Seconds; 0 turns it off.
    graceful_restart: Option<u16>,
    stale_time: Option<u16>,
    long_lived: Option<session::LongLivedEntry>,
    /// Seconds.
    long_lived_limit: Option<u32>,
    #[serde(default)]
    long_lived_partial: bool,
    bfd: Option<BfdEntry>,
    max_prefixes: Option<u32>,
    /// Per cent.
    max_prefixes_warning: Option<u8>,
    max_prefixes_action: Option<session::LimitName>,
    /// Seconds, for the action `restart`.
    max_prefixes_restart: Option<u16>,
    import: Option<Vec<RuleEntry>>,
    export: Option<Vec<RuleEntry>>,
    /// Shared filters, in order, before the rules above.
    #[serde(default)]
    import_filters: Vec<String>,
    #[serde(default)]
    export_filters: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FamilyName {
    Ipv4,
    Ipv6,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NextHopName {
    Auto,
    #[serde(rename = "self")]
    SelfAddress,
    Keep,
    #[serde(rename = "third-party")]
    ThirdParty,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginateEntry {
    prefix: IpNet,
    next_hop: Option<IpAddr>,
    local_pref: Option<u32>,
    med: Option<u32>,
    #[serde(default)]
    communities: Vec<String>,
    #[serde(default)]
    large_communities: Vec<String>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and what is wrong in it, with line and column where TOML knows them.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        let file: ConfigFile = toml::from_str(&text)
            .map_err(|error| without_text(&text, &error))
            .with_context(|| format!("{} is not a valid configuration", path.display()))?;
        file.config()
            .with_context(|| format!("{} is not valid", path.display()))?;
        Ok(file)
    }

    /// The control socket's path.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Whose routes go into the kernel; `None`: none do.
    pub(crate) fn kernel(&self) -> Option<Owner> {
        self.kernel.then(|| Owner {
            table: self.kernel_table.unwrap_or(254),
            protocol: PROTOCOL,
            metric: self.kernel_metric.unwrap_or(32),
        })
    }

    /// Whether the kernel's routing table says which next hops can be reached.
    pub(crate) fn tracks_next_hops(&self) -> bool {
        self.next_hop_tracking.unwrap_or(self.kernel)
    }

    /// What the machine is to do.
    ///
    /// # Errors
    /// Says which entry contradicts itself or another one.
    pub fn config(&self) -> Result<Config> {
        ensure!(self.local_as != 0, "local_as must not be 0");
        ensure!(
            !self.router_id.is_unspecified(),
            "router_id must not be 0.0.0.0"
        );
        ensure!(
            self.kernel || self.kernel_table.is_none() && self.kernel_metric.is_none(),
            "kernel_table and kernel_metric need kernel = true"
        );
        ensure!(
            !matches!(self.kernel_table, Some(0 | 255)),
            "kernel_table is not 0 or 255 (the kernel's own)"
        );
        self.check_observers()?;
        let mut config = Config::new(self.local_as.into(), self.router_id);
        config.listen = self.listen.clone().unwrap_or_else(|| {
            let port = 179;
            vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
            ]
        });
        for (name, networks) in &self.interfaces {
            let entries = networks.iter().map(|n| (n.trunc(), name.as_str().into()));
            config.interfaces.extend(entries);
        }
        config.restarting = self.restarting;
        config.report_routes = self.kernel;
        config.track_next_hops = self.tracks_next_hops();
        let named = Named::read(&self.prefix_list, &self.filter)?;
        for entry in &self.neighbor {
            let peer = self.peer(entry, &named)?;
            match entry.range {
                None => config.peers.push(peer),
                Some(prefix) => config.ranges.push(RangeConfig {
                    prefix,
                    template: peer,
                    limit: entry.limit.unwrap_or(1000),
                }),
            }
        }
        let mut names = BTreeSet::new();
        let (mut remotes, mut interfaces) = (BTreeSet::new(), BTreeSet::new());
        for peer in &config.peers {
            ensure!(
                names.insert(&peer.name),
                "two neighbors are called {}",
                peer.name
            );
            match &peer.interface {
                None => ensure!(
                    remotes.insert(peer.remote),
                    "two neighbors have the address {}",
                    peer.remote
                ),
                Some(interface) => ensure!(
                    interfaces.insert(interface),
                    "two neighbors have the interface {interface}"
                ),
            }
        }
        session::check_keys(&config)?;
        for entry in &self.originate {
            let origin = entry
                .origin()
                .with_context(|| format!("originate {}", entry.prefix))?;
            let twice = config
                .origins
                .insert(entry.prefix.trunc(), origin)
                .is_some();
            ensure!(!twice, "originate: {} is there twice", entry.prefix);
        }
        Ok(config)
    }

    fn peer(&self, entry: &NeighborEntry, named: &Named) -> Result<PeerConfig> {
        let remote_as = entry.remote_as.0;
        let mut peer = entry.who(remote_as)?;
        let what = peer.name.clone();
        ensure!(remote_as != 0.into(), "{what}: as must not be 0");
        let local_as = entry.local_as.unwrap_or(self.local_as);
        let external = remote_as.is_external(local_as.into());
        ensure!(
            !entry.rr_client || !external,
            "{what}: rr_client is for neighbors in our own AS {local_as}"
        );
        peer.remote.set_port(entry.port.unwrap_or(179));
        peer.local_as = entry.local_as.map(Into::into);
        peer.source = entry.source;
        peer.passive = entry.passive || entry.range.is_some();
        peer.rr_client = entry
            .rr_client
            .then(|| self.cluster_id.unwrap_or(self.router_id));
        if let Some(families) = &entry.families {
            ensure!(
                !families.is_empty(),
                "{what}: families must name at least one"
            );
            peer.families = families.iter().map(|name| name.family()).collect();
        }
        entry.session(&what, &mut peer)?;
        entry.long_lived(&what, local_as, &mut peer)?;
        entry.roles(&what, external, &mut peer)?;
        if self.require_policy && external {
            peer.lacks_import_policy = entry.import.is_none();
            peer.lacks_export_policy = entry.export.is_none();
        }
        entry.paths(&what, &mut peer)?;
        peer.next_hop = entry.next_hop.map_or(NextHopMode::Auto, NextHopName::mode);
        peer.own_next_hop = entry.own_next_hop;
        peer.allow_own_as = entry.allow_own_as.unwrap_or(0);
        let bfd = entry.bfd.as_ref().map(BfdEntry::bfd).transpose();
        peer.bfd = bfd.with_context(|| format!("{what}: bfd"))?;
        entry.limit(&what, &mut peer)?;
        peer.import = named
            .filter("import", &entry.import_filters, entry.import.as_deref())
            .with_context(|| format!("{what}: import"))?;
        peer.export = named
            .filter("export", &entry.export_filters, entry.export.as_deref())
            .with_context(|| format!("{what}: export"))?;
        Ok(peer)
    }
}

/// Where and what an error is, without the line itself or a value, in which a password may be.
fn without_text(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let message = error.message();
    // `invalid type: string "...", expected ...`
    let value = message.split_once(" \"").zip(message.rsplit_once("\", "));
    let message = match value {
        Some(((kind, _), (_, expected))) => format!("{kind}, {expected}"),
        None => message.to_owned(),
    };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return anyhow::anyhow!("{message}");
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    anyhow::anyhow!("line {line}, column {column}: {message}")
}

fn seconds(count: u16) -> Duration {
    Duration::from_secs(u64::from(count))
}

/// How BFD watches the path to a neighbour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BfdEntry {
    interval_ms: Option<u32>,
    multiplier: Option<u8>,
    #[serde(default)]
    multihop: bool,
    #[serde(default)]
    strict: bool,
    /// Seconds that a session in strict mode waits for its path.
    strict_hold: Option<u16>,
}

impl BfdEntry {
    fn bfd(&self) -> Result<bgp::Bfd> {
        let interval = self.interval_ms.unwrap_or(50);
        ensure!(
            (3..=60_000).contains(&interval),
            "interval_ms is {interval}, wanted 3 to 60000"
        );
        let multiplier = self.multiplier.unwrap_or(3);
        ensure!(multiplier > 0, "multiplier must not be 0");
        ensure!(
            self.strict || self.strict_hold.is_none(),
            "strict_hold needs strict = true"
        );
        Ok(bgp::Bfd {
            interval: Duration::from_millis(u64::from(interval)),
            multiplier,
            multihop: self.multihop,
            strict: self.strict.then(|| seconds(self.strict_hold.unwrap_or(30))),
        })
    }
}

impl FamilyName {
    fn family(self) -> Family {
        match self {
            FamilyName::Ipv4 => Family::Ipv4,
            FamilyName::Ipv6 => Family::Ipv6,
        }
    }
}

impl NextHopName {
    fn mode(self) -> NextHopMode {
        match self {
            NextHopName::Auto => NextHopMode::Auto,
            NextHopName::SelfAddress => NextHopMode::SelfAddress,
            NextHopName::Keep => NextHopMode::Keep,
            NextHopName::ThirdParty => NextHopMode::ThirdParty,
        }
    }
}

impl OriginateEntry {
    fn origin(&self) -> Result<Origin> {
        let parts = |text: &str| -> Result<Vec<u32>> {
            let parse = |part: &str| part.parse::<u32>();
            text.split(':')
                .map(parse)
                .collect::<Result<_, _>>()
                .with_context(|| format!("community {text}"))
        };
        let mut communities = Vec::new();
        for text in &self.communities {
            match parts(text)?[..] {
                [a, b] if a <= 0xffff && b <= 0xffff => communities.push(a << 16 | b),
                _ => bail!("community {text}: wanted two numbers up to 65535, as in 64512:7"),
            }
        }
        let mut large_communities = Vec::new();
        for text in &self.large_communities {
            match parts(text)?[..] {
                [a, b, c] => large_communities.push([a, b, c]),
                _ => bail!("large community {text}: wanted three numbers, as in 64512:7:9"),
            }
        }
        Ok(Origin {
            local_pref: self.local_pref,
            med: self.med,
            communities,
            large_communities,
            next_hop: self.next_hop,
            interface: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::Action;

    fn read(text: &str) -> Result<Config> {
        toml::from_str::<ConfigFile>(text)?.config()
    }

    #[test]
    fn reflector() {
        let config = read(
            r#"
            router_id = "10.20.1.81"
            local_as = 64512
            listen = ["10.20.1.81:1179"]
            cluster_id = "244.0.0.1"
            [[neighbor]]
            address = "10.20.1.84"
            as = 64512
            rr_client = true
            hold_time = 9
            families = ["ipv4"]
            export = [{ action = "accept", prefix = "10.200.0.0/23", le = 26 }]
            [[neighbor]]
            range = "10.20.0.0/23"
            as = 64512
            limit = 7
            [[originate]]
            prefix = "10.200.0.0/26"
            communities = ["64512:7"]
            "#,
        )
        .expect("valid");
        let peer = &config.peers[0];
        assert_eq!(peer.rr_client, Some(Ipv4Addr::new(244, 0, 0, 1)));
        assert_eq!(
            (peer.name.as_str(), peer.remote.port()),
            ("neighbor_10.20.1.84", 179)
        );
        assert_eq!(peer.hold_time, Duration::from_secs(9));
        assert_eq!(peer.export.otherwise, Action::Reject);
        assert_eq!(
            (config.ranges[0].limit, config.ranges[0].template.passive),
            (7, true)
        );
        let origin = config.origins.values().next().expect("one");
        assert_eq!(origin.communities, vec![64512 << 16 | 7]);
    }

    /// What the how-to shows is read as it says.
    #[test]
    fn how_to() {
        let page = include_str!("../../../docs/howto/speaker.md");
        let (_, rest) = page.split_once("```toml\n").expect("an example");
        let (text, _) = rest.split_once("```").expect("its end");
        let config = read(text).expect("valid");
        let import = &config.peers[0].import;
        let decide =
            |prefix: &str| import.decide(prefix.parse().expect("prefix"), bgp::Source::Peers);
        assert_eq!(decide("0.0.0.0/0"), Action::Reject);
        assert_eq!(decide("10.0.0.0/8"), Action::Accept);
        assert_eq!(config.ranges[0].limit, 1000);
        assert_eq!(config.origins.len(), 1);
        let (_, rest) = page.split_once("## Filters").expect("the section");
        let (_, rest) = rest.split_once("```toml\n").expect("an example");
        let (text, _) = rest.split_once("```").expect("its end");
        let head = "router_id = \"10.20.1.81\"\nlocal_as = 64512\n";
        let config = read(&format!("{head}{text}")).expect("valid");
        let peer = &config.peers[0];
        let names: Vec<&str> = peer
            .import
            .rules
            .iter()
            .flat_map(|r| r.name.as_deref())
            .collect();
        assert_eq!((names.len(), names[3]), (4, "import rule 1"));
        assert_eq!(peer.export.rules[0].operations.len(), 3);
        let (_, rest) = page.split_once("## Unnumbered").expect("the section");
        let (_, rest) = rest.split_once("```toml\n").expect("an example");
        let (text, _) = rest.split_once("```").expect("its end");
        let config = read(&format!("{head}{text}")).expect("valid");
        assert_eq!(config.peers[0].interface.as_deref(), Some("eth0"));
    }

    #[test]
    fn tracking_goes_with_kernel_routes() {
        let check = |settings: &str, expected: bool| {
            let text = format!("router_id = \"10.0.0.1\"\nlocal_as = 64512\n{settings}");
            let config = read(&text).expect("valid");
            assert_eq!(config.track_next_hops, expected, "{settings}");
        };
        check("", false);
        check("next_hop_tracking = true", true);
        check("kernel = true", true);
        check("kernel = true\nnext_hop_tracking = false", false);
    }

    #[test]
    fn refusals() {
        #[track_caller]
        fn check(rest: &str, expected: &str) {
            let text = format!("router_id = \"10.0.0.1\"\nlocal_as = 64512\n{rest}");
            let error = format!("{:#}", read(&text).expect_err("invalid"));
            assert!(error.contains(expected), "{error}");
        }
        check("colour = 1", "unknown field `colour`");
        check("[[neighbor]]\nas = 1", "address");
        check(
            "[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\nrange = \"10.0.0.0/8\"",
            "either",
        );
        check(
            "[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\nrr_client = true",
            "our own AS",
        );
        check(
            "[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\nhold_time = 2",
            "at least 3",
        );
        check(
            "[[originate]]\nprefix = \"10.0.0.0/8\"\ncommunities = [\"70000:1\"]",
            "65535",
        );
        let twice = "[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\n".repeat(2);
        check(&twice, "two neighbors");
        let rule = "[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\nimport = [{action = \"accept\", prefix = \"10.0.0.0/24\", ge = 8}]";
        check(rule, "wanted 24 <= ge");
        check("kernel_table = 100", "need kernel = true");
        let mrt = |text: &str| format!("[mrt]\n{text}");
        check(&mrt("interval = 60"), "interval needs updates");
        check(&mrt("table_interval = 60"), "table_interval needs table");
        check(&mrt("updates = \"/u.%q\""), "there are %Y");
        check(&mrt("updates = \"/u\"\ninterval = 0"), "at least 1");
        check(&mrt("updates = \"/u\"\ntable = \"/u\""), "the same files");
        check(&mrt(""), "`updates`, `table` or both");
        let tell = "[[bmp]]\nstation = \"10.0.0.9:1790\"\ntell = [\"adj-in\"]";
        check(tell, "adj-in-pre");
        check("kernel = true\nkernel_table = 255", "kernel's own");
        let bfd =
            |text: &str| format!("[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\nbfd = {text}");
        check(&bfd("{ interval_ms = 1 }"), "wanted 3 to 60000");
        check(&bfd("{ multiplier = 0 }"), "multiplier must not be 0");
        check(&bfd("{ strict_hold = 5 }"), "strict_hold needs strict");
        check(&bfd("{ echo = true }"), "unknown field `echo`");
    }
}
