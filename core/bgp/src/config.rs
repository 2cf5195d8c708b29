//! What a speaker is wanted to do, as a whole value.

use crate::{Asn, Authentication, Family, Filter, Role, SocketOptions};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The wanted configuration of a speaker. Handed over whole; the machine works out what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our AS. A change restarts the sessions that use it.
    pub local_as: Asn,
    /// BGP Identifier (RFC 4271 §4.2). A change restarts all sessions.
    pub router_id: Ipv4Addr,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Configured peers; names and `remote`, or `interface`, must each be unique.
    pub peers: Vec<PeerConfig>,
    /// Dynamic neighbours: whoever connects from one of these prefixes. The first match counts.
    pub ranges: Vec<RangeConfig>,
    /// The prefixes that we originate.
    pub origins: BTreeMap<IpNet, Origin>,
    /// Connected networks and the interface of each, for filters that ask for the interface.
    pub interfaces: BTreeMap<IpNet, Arc<str>>,
    /// Give [`crate::Output::Routes`]. Cannot be changed later.
    pub report_routes: bool,
    /// Give [`crate::Output::NextHops`]. Cannot be changed later.
    pub track_next_hops: bool,
    /// We were here a moment ago and forwarding went on: tells peers so (RFC 4724 §4.1, R bit),
    /// and holds back End-of-RIB until the peers have sent all they have. Read at start only.
    pub restarting: bool,
    /// How long [`crate::Output::InSync`] and, when restarting, our End-of-RIB wait for peers at
    /// most after start (Selection_Deferral_Timer, RFC 4724 §4.1).
    pub selection_deferral: Duration,
}

impl Config {
    /// A speaker without peers that listens nowhere.
    pub fn new(local_as: Asn, router_id: Ipv4Addr) -> Self {
        Config {
            local_as,
            router_id,
            listen: Vec::new(),
            peers: Vec::new(),
            ranges: Vec::new(),
            origins: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            report_routes: true,
            track_next_hops: false,
            restarting: false,
            selection_deferral: Duration::from_secs(30),
        }
    }
}

/// Attributes of a prefix that we originate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// LOCAL_PREF for iBGP peers; `None` sends 100.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// COMMUNITIES, `aa:nn` as `aa << 16 | nn` (RFC 1997).
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<[u32; 3]>,
    /// `None`: the local address of each session.
    pub next_hop: Option<IpAddr>,
    /// Where it leads to, for filters that ask for the interface.
    pub interface: Option<Arc<str>>,
}

/// Which AS a peer must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemoteAs {
    /// This one.
    Is(Asn),
    /// Any but ours on the session.
    External,
    /// Ours on the session.
    Internal,
}

impl RemoteAs {
    /// Whether a peer of this AS is the one that is meant; `local` is our AS on the session. AS 0 is nobody's (RFC 7607).
    pub fn admits(self, asn: Asn, local: Asn) -> bool {
        match self {
            RemoteAs::Is(wanted) => asn == wanted,
            RemoteAs::External => asn != local && asn != Asn(0),
            RemoteAs::Internal => asn == local,
        }
    }

    /// Whether the session is eBGP; `local` is our AS on it.
    pub fn is_external(self, local: Asn) -> bool {
        match self {
            RemoteAs::Is(asn) => asn != local,
            RemoteAs::External => true,
            RemoteAs::Internal => false,
        }
    }
}

impl From<Asn> for RemoteAs {
    fn from(asn: Asn) -> Self {
        RemoteAs::Is(asn)
    }
}

impl From<u32> for RemoteAs {
    fn from(number: u32) -> Self {
        RemoteAs::Is(Asn(number))
    }
}

impl fmt::Display for RemoteAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAs::Is(asn) => asn.fmt(f),
            RemoteAs::External => f.write_str("external"),
            RemoteAs::Internal => f.write_str("internal"),
        }
    }
}

/// What next hop the peer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopMode {
    /// Our address on eBGP sessions; unchanged on iBGP sessions.
    #[default]
    Auto,
    /// Always our address (Calico: `nextHopMode: Self`).
    SelfAddress,
    /// Always unchanged, for routes of others (Calico: `nextHopMode: Keep`).
    Keep,
    /// As `Auto`, but on eBGP sessions unchanged where it lies in the network that we share with
    /// the peer and is not the peer's own address (RFC 4271 §5.1.3).
    ThirdParty,
}

/// Several paths of a prefix on one session (RFC 7911), in all families of the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddPath {
    /// Take several from the peer.
    pub receive: bool,
    /// Send the peer all that it may have.
    pub send: bool,
    /// Of these at most so many, the best ones; `None`: all.
    pub limit: Option<u32>,
}

/// Graceful restart with one peer (RFC 4724).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GracefulRestart {
    /// How long the peer is asked to keep our routes while we are away; at most 4095 s.
    pub restart_time: Duration,
    /// How long we keep a peer's routes after it is back until it must have sent them again.
    pub stale_time: Duration,
}

impl Default for GracefulRestart {
    fn default() -> Self {
        GracefulRestart {
            restart_time: Duration::from_secs(120),
            stale_time: Duration::from_secs(360),
        }
    }
}

/// Long-lived graceful restart with one peer (RFC 9494), which goes on where graceful restart ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LongLived {
    /// The families for which it is on, and how long the peer is asked to keep our routes of each
    /// after the restart time; at most 2^24 - 1 s. Zero: not at all, we only keep the peer's.
    pub stale_times: BTreeMap<Family, Duration>,
    /// How long we keep a peer's routes after its restart time at most; `None`: as long as it asks.
    pub limit: Option<Duration>,
}

/// How the path to a peer is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bfd {
    /// Both of our intervals.
    pub interval: Duration,
    /// Detect Mult, not 0.
    pub multiplier: u8,
    /// The peer may be several hops away (RFC 5883).
    pub multihop: bool,
    /// Strict mode: the session is not established until the path is up, and given up when it is not after so long.
    pub strict: Option<Duration>,
}

/// What is done about more prefixes than [`PeerConfig::max_prefixes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitAction {
    /// The session ends (Cease, RFC 4486 subcode 1) and is tried again as after any error.
    #[default]
    End,
    /// The session ends, and is tried again after this time.
    Restart(Duration),
    /// The session stays, and what is more is kept out.
    Discard,
}

/// One configured peer, or the template of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Unique; shown in status, and what events refer to.
    pub name: String,
    /// Where the peer listens. An incoming connection is matched by its address alone. In a
    /// range the address is replaced.
    pub remote: SocketAddr,
    /// Unnumbered: the peer is who is found on this interface ([`crate::Input::Neighbor`]). Unique. Of `remote` only the
    /// port is read then, and the rest is what was found last.
    pub interface: Option<Arc<str>>,
    /// The peer's AS; equal to our AS on this session means iBGP.
    pub remote_as: RemoteAs,
    /// Our AS on this session, when it is not [`Config::local_as`].
    pub local_as: Option<Asn>,
    /// Bind to this address when dialling; also the address an incoming connection must come to.
    pub source: Option<IpAddr>,
    /// Never dial.
    pub passive: bool,
    /// The peer is our reflection client, in this cluster (RFC 4456). iBGP only.
    pub rr_client: Option<Ipv4Addr>,
    /// Families to speak; at least one.
    pub families: Vec<Family>,
    /// Proposed hold time, 0 or at least 3 s; 0 means no keepalives.
    pub hold_time: Duration,
    /// Keepalive interval; `None`: a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// How long the peer may take nothing of what is to be sent (RFC 9687 SendHoldTime). `None`:
    /// the greater of 8 minutes and twice the negotiated hold time. Zero: for ever.
    pub send_hold_time: Option<Duration>,
    /// Wait between attempts to connect (RFC 4271 ConnectRetryTime); jittered.
    pub connect_retry: Duration,
    /// Wait for the peer's OPEN before ours is sent (DelayOpenTime, RFC 4271 §8.1.1); `None`:
    /// ours is sent at once.
    pub delay_open: Option<Duration>,
    /// First and greatest wait after a protocol error (IdleHoldTime); doubles with each.
    pub error_wait: (Duration, Duration),
    /// TTL to send with; 64 as Calico's `multihop`, 255 with `min_ttl`.
    pub ttl: u8,
    /// Least TTL of what arrives (GTSM, RFC 5082).
    pub min_ttl: Option<u8>,
    /// How segments are authenticated. Another key is put to use without a new session.
    pub authentication: Authentication,
    /// Next hop of what we announce.
    pub next_hop: NextHopMode,
    /// Our next hop for the family that the session does not run over; without it, routes of
    /// that family that need one are not announced.
    pub own_next_hop: Option<IpAddr>,
    /// What we are to the neighbour (RFC 9234). eBGP only.
    pub role: Option<Role>,
    /// No session with a neighbour that says no role (RFC 9234 §4.2).
    pub role_strict: bool,
    /// No route counts, as there is no import filter and there should be one (RFC 8212 §2).
    /// eBGP only.
    pub lacks_import_policy: bool,
    /// No route is told, as there is no export filter and there should be one (RFC 8212 §2).
    /// eBGP only.
    pub lacks_export_policy: bool,
    /// How often our own AS may be in a received AS_PATH (Calico: `numAllowedLocalASNumbers`).
    pub allow_own_as: u8,
    /// IPv4 routes may have an IPv6 next hop, if the peer agrees (RFC 8950). What is received
    /// then can only be used by who can route IPv4 over IPv6.
    pub extended_next_hop: bool,
    /// Add our link-local address to our next hop where the peer is on the link (RFC 2545 §3).
    pub link_local_next_hop: bool,
    /// Several paths of a prefix, if spoken.
    pub add_path: AddPath,
    /// Graceful restart, if spoken.
    pub graceful_restart: Option<GracefulRestart>,
    /// Long-lived graceful restart, if spoken; nothing without `graceful_restart`.
    pub long_lived: Option<LongLived>,
    /// Tell long-lived stale routes to the peer although it does not know them, with LOCAL_PREF 0
    /// and NO_EXPORT (RFC 9494 §4.6). iBGP only.
    pub long_lived_partial: bool,
    /// Which of the peer's routes count.
    pub import: Filter,
    /// Which routes the peer gets, after the rules of BGP itself.
    pub export: Filter,
    /// BFD watches the path to the peer (RFC 5882 §10.2).
    pub bfd: Option<Bfd>,
    /// How many prefixes of each family are accepted at most.
    pub max_prefixes: Option<u32>,
    /// At how many hundredths of that there is a notice, once a session.
    pub max_prefixes_warning: Option<u8>,
    /// What is done when there are more.
    pub max_prefixes_action: LimitAction,
}

impl PeerConfig {
    /// An IPv4 and IPv6 peer on port 179 with Calico's timers, graceful restart on.
    pub fn new(name: impl Into<String>, remote: IpAddr, remote_as: RemoteAs) -> Self {
        PeerConfig {
            name: name.into(),
            remote: SocketAddr::new(remote, 179),
            interface: None,
            remote_as,
            local_as: None,
            source: None,
            passive: false,
            rr_client: None,
            families: Family::ALL.to_vec(),
            hold_time: Duration::from_secs(240),
            keepalive: None,
            send_hold_time: None,
            connect_retry: Duration::from_secs(5),
            delay_open: None,
            error_wait: (Duration::from_secs(5), Duration::from_secs(30)),
            ttl: 64,
            min_ttl: None,
            authentication: Authentication::None,
            next_hop: NextHopMode::Auto,
            own_next_hop: None,
            role: None,
            role_strict: false,
            lacks_import_policy: false,
            lacks_export_policy: false,
            allow_own_as: 0,
            extended_next_hop: false,
            link_local_next_hop: true,
            add_path: AddPath::default(),
            graceful_restart: Some(GracefulRestart::default()),
            long_lived: None,
            long_lived_partial: false,
            import: Filter::accept_all(),
            export: Filter::accept_all(),
            bfd: None,
            max_prefixes: None,
            max_prefixes_warning: None,
            max_prefixes_action: LimitAction::End,
        }
    }
}

impl PeerConfig {
    /// As [`PeerConfig::new`], for who is found on an interface; IPv4 routes have IPv6 next hops there.
    pub fn unnumbered(
        name: impl Into<String>,
        interface: impl Into<Arc<str>>,
        remote_as: RemoteAs,
    ) -> Self {
        PeerConfig {
            interface: Some(interface.into()),
            extended_next_hop: true,
            ..PeerConfig::new(name, Ipv6Addr::UNSPECIFIED.into(), remote_as)
        }
    }

    /// Who the peer is was not found yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.interface.is_some() && self.remote.ip().is_unspecified()
    }

    /// What a socket to this peer needs.
    pub(crate) fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            ttl: self.ttl,
            min_ttl: self.min_ttl,
            keys: self.authentication.keys(),
        }
    }
}

/// Neighbours that need no configuration of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeConfig {
    /// Who may connect.
    pub prefix: IpNet,
    /// What each of them gets; `name` becomes the stem of the names.
    pub template: PeerConfig,
    /// How many at a time.
    pub limit: u32,
}
