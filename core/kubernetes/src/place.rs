//! Which object of the API has what is at a key.

use ipnet::IpNet;
use resource::{Key, KeyPrefix, Kind};
use sha2::{Digest, Sha256};

use crate::group::Group;
use crate::pod;

/// A type of objects that something of Calico's or of ours is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Custom resources of a kind of Calico's or of ours.
    Custom(Kind),
    /// IPAMBlock.
    Block,
    /// BlockAffinity.
    Affinity,
    /// IPAMHandle.
    Handle,
    /// IPAMConfig, or IPAMConfiguration.
    IpamConfig,
    /// Kubernetes' Node.
    Node,
    /// Pod.
    Pod,
    /// Namespace.
    Namespace,
    /// ServiceAccount.
    ServiceAccount,
    /// Kubernetes' NetworkPolicy.
    NetworkPolicy,
    /// Service.
    Service,
    /// EndpointSlice.
    EndpointSlice,
    /// Lease, those of ours.
    Lease,
}

/// Where our leases are.
pub const LEASE_NAMESPACE: &str = "kube-system";
/// What marks them.
pub const LEASE_LABEL: &str = "selvedge.dev/lease";
/// Before a lease's name.
const LEASE_PREFIX: &str = "selvedge-";

/// An object of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its type.
    pub source: Source,
    /// For namespaced types.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// How a kind is kept.
fn source(kind: Kind) -> Option<Source> {
    match kind {
        Kind::Node => Some(Source::Node),
        Kind::WorkloadEndpoint => Some(Source::Pod),
        Kind::IpamConfiguration => Some(Source::IpamConfig),
        Kind::Service => Some(Source::Service),
        Kind::EndpointSlice => Some(Source::EndpointSlice),
        // Read from two types, and never written; affinities have keys of their own.
        Kind::Profile | Kind::BlockAffinity => None,
        _ => Some(Source::Custom(kind)),
    }
}

impl Source {
    /// Every source, in a fixed order.
    pub fn all() -> Vec<Source> {
        let of_kinds = Kind::ALL.iter().filter_map(|kind| source(*kind));
        let others = [
            Source::Block,
            Source::Affinity,
            Source::Handle,
            Source::Namespace,
            Source::ServiceAccount,
            Source::NetworkPolicy,
            Source::Lease,
        ];
        of_kinds.chain(others).collect()
    }

    /// What a list of a prefix is read from.
    pub fn of_prefix(prefix: &KeyPrefix) -> Vec<Source> {
        match prefix {
            KeyPrefix::All => Source::all(),
            KeyPrefix::Kind(kind) | KeyPrefix::Namespace(kind, _) => match kind {
                Kind::Profile => vec![Source::Namespace, Source::ServiceAccount],
                Kind::NetworkPolicy => vec![Source::Custom(*kind), Source::NetworkPolicy],
                _ => source(*kind).into_iter().collect(),
            },
            KeyPrefix::Blocks => vec![Source::Block],
            KeyPrefix::BlockAffinities
            | KeyPrefix::HostAffinities(_)
            | KeyPrefix::VirtualAffinities(_) => vec![Source::Affinity],
            KeyPrefix::Handles => vec![Source::Handle],
        }
    }

    /// Group and version: `v1`, `networking.k8s.io/v1`.
    pub fn api_version(self, group: Group) -> &'static str {
        match self {
            Source::Custom(kind) if kind.is_ours() => kind.api_version(),
            Source::Custom(_)
            | Source::Block
            | Source::Affinity
            | Source::Handle
            | Source::IpamConfig => group.api_version(),
            Source::Node
            | Source::Pod
            | Source::Namespace
            | Source::ServiceAccount
            | Source::Service => "v1",
            Source::NetworkPolicy => "networking.k8s.io/v1",
            Source::EndpointSlice => "discovery.k8s.io/v1",
            Source::Lease => "coordination.k8s.io/v1",
        }
    }

    /// As it stands in a URL.
    pub fn plural(self, group: Group) -> &'static str {
        match self {
            Source::Custom(kind) => kind.plural(),
            Source::Block => "ipamblocks",
            Source::Affinity => "blockaffinities",
            Source::Handle => "ipamhandles",
            Source::IpamConfig => match group {
                Group::Crd => "ipamconfigs",
                Group::Native => "ipamconfigurations",
            },
            Source::Node => "nodes",
            Source::Pod => "pods",
            Source::Namespace => "namespaces",
            Source::ServiceAccount => "serviceaccounts",
            Source::NetworkPolicy => "networkpolicies",
            Source::Service => "services",
            Source::EndpointSlice => "endpointslices",
            Source::Lease => "leases",
        }
    }

    /// As it stands in an object's `kind`.
    pub fn kind(self, group: Group) -> &'static str {
        match self {
            Source::Custom(kind) => kind.as_str(),
            Source::Block => "IPAMBlock",
            Source::Affinity => "BlockAffinity",
            Source::Handle => "IPAMHandle",
            Source::IpamConfig => match group {
                Group::Crd => "IPAMConfig",
                Group::Native => "IPAMConfiguration",
            },
            Source::Node => "Node",
            Source::Pod => "Pod",
            Source::Namespace => "Namespace",
            Source::ServiceAccount => "ServiceAccount",
            Source::NetworkPolicy => "NetworkPolicy",
            Source::Service => "Service",
            Source::EndpointSlice => "EndpointSlice",
            Source::Lease => "Lease",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn namespaced(self) -> bool {
        match self {
            Source::Custom(kind) => kind.namespaced(),
            Source::Block
            | Source::Affinity
            | Source::Handle
            | Source::IpamConfig
            | Source::Node
            | Source::Namespace => false,
            Source::Pod
            | Source::ServiceAccount
            | Source::NetworkPolicy
            | Source::Service
            | Source::EndpointSlice
            | Source::Lease => true,
        }
    }

    /// Whether the cluster has it without anybody's doing; the others need a CustomResourceDefinition.
    pub fn is_built_in(self) -> bool {
        match self {
            Source::Custom(_)
            | Source::Block
            | Source::Affinity
            | Source::Handle
            | Source::IpamConfig => false,
            Source::Node
            | Source::Pod
            | Source::Namespace
            | Source::ServiceAccount
            | Source::NetworkPolicy
            | Source::Service
            | Source::EndpointSlice
            | Source::Lease => true,
        }
    }

    /// Whether a delete takes two steps: its objects say that they are deleted before they go, since readers act on them (calico-compat §3.2).
    pub fn deleted_in_two_steps(self) -> bool {
        matches!(self, Source::Block | Source::Affinity | Source::Handle)
    }

    /// The path of its objects: of all, or of those in one namespace.
    pub fn collection(self, group: Group, namespace: Option<&str>) -> String {
        let api_version = self.api_version(group);
        let root = if api_version == "v1" { "api" } else { "apis" };
        let plural = self.plural(group);
        match namespace {
            Some(namespace) => format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
            None => format!("/{root}/{api_version}/{plural}"),
        }
    }

    /// The query that picks those of its objects that are ours.
    pub fn selector(self) -> Option<String> {
        (self == Source::Lease).then(|| format!("labelSelector={LEASE_LABEL}%3Dtrue"))
    }
}

impl Place {
    /// Where what is at a key is kept; `None` for what this datastore does not have.
    pub fn of(key: &Key) -> Option<Place> {
        let cluster = |source, name: String| Place {
            source,
            namespace: None,
            name,
        };
        match key {
            Key::Resource {
                kind: Kind::WorkloadEndpoint,
                ..
            } => {
                let (namespace, name) = pod::pod_of(key)?;
                Some(Place {
                    source: Source::Pod,
                    namespace: Some(namespace),
                    name,
                })
            }
            Key::Resource {
                kind: Kind::Profile,
                name,
                ..
            } => of_profile(name),
            Key::Resource {
                kind: Kind::NetworkPolicy,
                namespace,
                name,
            } if name.starts_with(POLICY_PREFIX) => Some(Place {
                source: Source::NetworkPolicy,
                namespace: namespace.clone(),
                name: name[POLICY_PREFIX.len()..].to_string(),
            }),
            Key::Resource {
                kind,
                namespace,
                name,
            } => Some(Place {
                source: source(*kind)?,
                namespace: namespace.clone(),
                name: name.clone(),
            }),
            Key::Block(cidr) => Some(cluster(Source::Block, cidr_name(cidr))),
            Key::BlockAffinity { host, cidr } | Key::VirtualAffinity { name: host, cidr } => {
                Some(cluster(Source::Affinity, affinity_name(host, cidr)))
            }
            Key::Handle(id) => Some(cluster(Source::Handle, id.to_lowercase())),
            Key::IpamConfig => Some(cluster(Source::IpamConfig, "default".to_string())),
            Key::Lease(name) => Some(Place {
                source: Source::Lease,
                namespace: Some(LEASE_NAMESPACE.to_string()),
                name: format!("{LEASE_PREFIX}{name}"),
            }),
        }
    }

    /// The path of the object.
    pub fn path(&self, group: Group) -> String {
        let collection = self.source.collection(group, self.namespace.as_deref());
        format!("{collection}/{}", self.name)
    }
}

/// The name of a lease's object, without what stands before each of ours.
pub(crate) fn lease_name(object: &str) -> Option<&str> {
    object.strip_prefix(LEASE_PREFIX)
}

/// Before the names of Kubernetes' own policies.
const POLICY_PREFIX: &str = "knp.default.";

fn of_profile(name: &str) -> Option<Place> {
    if let Some(namespace) = name.strip_prefix("kns.") {
        return Some(Place {
            source: Source::Namespace,
            namespace: None,
            name: namespace.to_string(),
        });
    }
    // A namespace's name has no dot in it.
    let (namespace, account) = name.strip_prefix("ksa.")?.split_once('.')?;
    Some(Place {
        source: Source::ServiceAccount,
        namespace: Some(namespace.to_string()),
        name: account.to_string(),
    })
}

/// `10-244-84-128-26`, `fd00-10-0-0-0-0-0-0-122`: without the characters that a name may not have.
fn cidr_name(cidr: &IpNet) -> String {
    // An IPv6 address keeps its `::` as two dashes (Calico).
    cidr.to_string().replace([':', '.', '/'], "-")
}

/// A Kubernetes name has at most this many octets.
const LONGEST_NAME: usize = 253;

/// `node-1-10-244-84-128-26`; a name that would be too long is cut, and told from others that are cut alike by a hash.
fn affinity_name(host: &str, cidr: &IpNet) -> String {
    let cidr = cidr_name(cidr);
    let name = format!("{host}-{cidr}");
    if name.len() < LONGEST_NAME {
        return name;
    }
    let hash = Sha256::digest(format!("{host}+{cidr}"));
    let hash: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
    let kept = (LONGEST_NAME - 1).saturating_sub(cidr.len() + 13);
    let host: String = host.chars().take(kept).collect();
    format!("{host}-{cidr}-{}", &hash[..11])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: Key) -> String {
        Place::of(&key).expect("a place").path(Group::Crd)
    }

    #[test]
    fn the_captured_names() {
        let cidr: IpNet = "10.244.84.128/26".parse().expect("a network");
        assert_eq!(
            path(Key::Block(cidr)),
            "/apis/crd.projectcalico.org/v1/ipamblocks/10-244-84-128-26"
        );
        let affinity = Key::BlockAffinity {
            host: "node-1".to_string(),
            cidr,
        };
        assert_eq!(
            path(affinity),
            "/apis/crd.projectcalico.org/v1/blockaffinities/node-1-10-244-84-128-26"
        );
        assert_eq!(
            path(Key::Handle("k8s-pod-network.ABCdef0123456789".to_string())),
            "/apis/crd.projectcalico.org/v1/ipamhandles/k8s-pod-network.abcdef0123456789"
        );
    }

    #[test]
    fn names_that_are_too_long_differ() {
        let cidr: IpNet = "10.244.84.128/26".parse().expect("a network");
        let [one, two] =
            ["a", "b"].map(|end| affinity_name(&format!("{}{end}", "n".repeat(240)), &cidr));
        assert_eq!((one.len(), two.len()), (252, 252));
        assert_ne!(one, two);
    }

    #[test]
    fn types_of_two_groups_and_of_kubernetes() {
        let native = |source: Source| source.collection(Group::Native, None);
        assert_eq!(
            native(Source::IpamConfig),
            "/apis/projectcalico.org/v3/ipamconfigurations"
        );
        assert_eq!(native(Source::Node), "/api/v1/nodes");
        assert_eq!(
            native(Source::Custom(Kind::PeerPolicy)),
            "/apis/selvedge.dev/v1alpha1/peerpolicies"
        );
        assert_eq!(
            path(Key::in_namespace(
                Kind::NetworkPolicy,
                "ns",
                "knp.default.web"
            )),
            "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies/web"
        );
        assert_eq!(
            path(Key::cluster(Kind::Profile, "ksa.ns.app.x")),
            "/api/v1/namespaces/ns/serviceaccounts/app.x"
        );
        assert_eq!(Place::of(&Key::cluster(Kind::Profile, "mine")), None);
    }
}
