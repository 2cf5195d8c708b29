//! Where an object lives.

use std::fmt;

use ipnet::IpNet;

use crate::Kind;

/// The key of one stored value. Its [`path`](Key::path) is Calico's etcd v3 path (calico-compat §2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A v3 resource.
    Resource {
        /// Its kind.
        kind: Kind,
        /// Its namespace, for namespaced kinds.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// IPAM: a block of addresses.
    Block(IpNet),
    /// IPAM: a node's claim on a block.
    BlockAffinity {
        /// The node.
        host: String,
        /// The block.
        cidr: IpNet,
    },
    /// IPAM: the blocks in which a handle has addresses.
    Handle(String),
    /// IPAM's own configuration.
    IpamConfig,
}

/// What a list covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPrefix {
    /// Everything of ours.
    All,
    /// All objects of a kind, in every namespace.
    Kind(Kind),
    /// All objects of a namespaced kind in one namespace.
    Namespace(Kind, String),
    /// All blocks.
    Blocks,
    /// All affinities of all hosts.
    BlockAffinities,
    /// The affinities of one host.
    HostAffinities(String),
    /// All handles.
    Handles,
}

const CALICO: &str = "/calico/resources/v3/projectcalico.org/";
const KUBERNETES: &str = "/selvedge/kubernetes/";
const IPAM: &str = "/calico/ipam/v2/";

fn kind_root(kind: Kind) -> String {
    let group = if kind.is_kubernetes() {
        KUBERNETES
    } else {
        CALICO
    };
    format!("{group}{}/", kind.plural())
}

fn family(cidr: &IpNet) -> &'static str {
    match cidr {
        IpNet::V4(_) => "ipv4",
        IpNet::V6(_) => "ipv6",
    }
}

fn cidr_segment(cidr: &IpNet) -> String {
    cidr.to_string().replacen('/', "-", 1)
}

fn parse_cidr_segment(segment: &str) -> Option<IpNet> {
    let (address, length) = segment.rsplit_once('-')?;
    format!("{address}/{length}").parse().ok()
}

impl Key {
    /// A cluster-scoped resource's key.
    pub fn cluster(kind: Kind, name: impl Into<String>) -> Key {
        Key::Resource {
            kind,
            namespace: None,
            name: name.into(),
        }
    }

    /// A namespaced resource's key.
    pub fn in_namespace(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key::Resource {
            kind,
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }

    /// Calico's etcd path.
    pub fn path(&self) -> String {
        match self {
            Key::Resource {
                kind,
                namespace: Some(namespace),
                name,
            } => format!("{}{namespace}/{name}", kind_root(*kind)),
            Key::Resource {
                kind,
                namespace: None,
                name,
            } => format!("{}{name}", kind_root(*kind)),
            Key::Block(cidr) => format!(
                "{IPAM}assignment/{}/block/{}",
                family(cidr),
                cidr_segment(cidr)
            ),
            Key::BlockAffinity { host, cidr } => {
                format!(
                    "{IPAM}host/{host}/{}/block/{}",
                    family(cidr),
                    cidr_segment(cidr)
                )
            }
            Key::Handle(id) => format!("{IPAM}handle/{id}"),
            Key::IpamConfig => format!("{IPAM}config"),
        }
    }

    /// The key that has this path; `None` for a path that is not ours to know.
    pub fn from_path(path: &str) -> Option<Key> {
        if let Some(rest) = path
            .strip_prefix(CALICO)
            .or_else(|| path.strip_prefix(KUBERNETES))
        {
            let mut parts = rest.splitn(3, '/');
            let kind = Kind::from_plural(parts.next()?)?;
            let (first, second) = (parts.next()?, parts.next());
            return match (kind.namespaced(), second) {
                (true, Some(name)) => Some(Key::in_namespace(kind, first, name)),
                (false, None) => Some(Key::cluster(kind, first)),
                (true, None) | (false, Some(_)) => None,
            };
        }
        let rest = path.strip_prefix(IPAM)?;
        if rest == "config" {
            return Some(Key::IpamConfig);
        }
        if let Some(id) = rest.strip_prefix("handle/") {
            return Some(Key::Handle(id.to_string()));
        }
        let parts: Vec<&str> = rest.split('/').collect();
        match parts.as_slice() {
            ["assignment", _, "block", cidr] => Some(Key::Block(parse_cidr_segment(cidr)?)),
            ["host", host, _, "block", cidr] => Some(Key::BlockAffinity {
                host: (*host).to_string(),
                cidr: parse_cidr_segment(cidr)?,
            }),
            _ => None,
        }
    }
}

/// As Calico's messages name it: `IPPool(my-pool)`, `WorkloadEndpoint(default/x)`; the path for what is no resource.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Resource {
                kind,
                namespace: None,
                name,
            } => write!(f, "{kind}({name})"),
            Key::Resource {
                kind,
                namespace: Some(namespace),
                name,
            } => write!(f, "{kind}({namespace}/{name})"),
            Key::Block(_) | Key::BlockAffinity { .. } | Key::Handle(_) | Key::IpamConfig => {
                f.write_str(&self.path())
            }
        }
    }
}

impl KeyPrefix {
    /// The path prefixes covered, each ending in `/` (so that `a` does not cover `ab`).
    pub fn paths(&self) -> Vec<String> {
        match self {
            KeyPrefix::All => vec!["/calico/".to_string(), "/selvedge/".to_string()],
            KeyPrefix::Kind(kind) => vec![kind_root(*kind)],
            KeyPrefix::Namespace(kind, namespace) => {
                vec![format!("{}{namespace}/", kind_root(*kind))]
            }
            KeyPrefix::Blocks => vec![format!("{IPAM}assignment/")],
            KeyPrefix::BlockAffinities => vec![format!("{IPAM}host/")],
            KeyPrefix::HostAffinities(host) => vec![format!("{IPAM}host/{host}/")],
            KeyPrefix::Handles => vec![format!("{IPAM}handle/")],
        }
    }
}
