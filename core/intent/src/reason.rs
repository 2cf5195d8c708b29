//! Why a part of what the resources say is not done.

use std::fmt;

/// The name of a refusal, the same in log, metric, status and documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A stored value cannot be read.
    MalformedResource,
    /// The store has no Node of this name.
    NodeMissing,
    /// The Node has no BGP section.
    NodeWithoutBgp,
    /// An address of the Node cannot be read.
    NodeAddressInvalid,
    /// No IPv4 address and no router id given: BGP cannot start.
    RouterIdMissing,
    /// The cluster ID is no dotted quad.
    ClusterIdInvalid,
    /// A selector cannot be read.
    SelectorInvalid,
    /// A peer's address cannot be read.
    PeerIpInvalid,
    /// A peer by address has no AS.
    PeerAsMissing,
    /// This node has no address in the peer's family.
    FamilyWithoutAddress,
    /// Another resource already has a session with this peer.
    SessionDuplicate,
    /// A field of a BGPPeer has a value that is not known.
    PeerFieldInvalid,
    /// A BGPPeer names a BGPFilter that is not there.
    BgpFilterMissing,
    /// A rule of a BGPFilter cannot be read.
    BgpFilterInvalid,
    /// An entry of prefixAdvertisements cannot be read.
    PrefixAdvertisementInvalid,
    /// A password does not say which key of which Secret it is.
    PasswordInvalid,
    /// A PeerPolicy's entry cannot be read.
    PeerPolicyInvalid,
    /// Another PeerPolicy is for the same session.
    PeerPolicyShadowed,
    /// A pool's range cannot be read.
    PoolCidrInvalid,
    /// A pool overlaps with one of a lesser name.
    PoolOverlap,
    /// A range of service addresses cannot be read.
    ServiceRangeInvalid,
    /// An affinity of this node is not confirmed.
    AffinityNotConfirmed,
    /// An affinity says the block is this node's, the block says otherwise.
    BlockOfAnother,
    /// A workload's interface or address cannot be used.
    WorkloadInvalid,
    /// A service that nodes answer has no address or no port for DNS.
    DnsServiceInvalid,
    /// ClusterInformation says that the datastore is locked.
    DatastoreLocked,
}

impl Reason {
    /// Every reason, in the order of their declaration.
    pub const ALL: &'static [Reason] = &[
        Reason::MalformedResource,
        Reason::NodeMissing,
        Reason::NodeWithoutBgp,
        Reason::NodeAddressInvalid,
        Reason::RouterIdMissing,
        Reason::ClusterIdInvalid,
        Reason::SelectorInvalid,
        Reason::PeerIpInvalid,
        Reason::PeerAsMissing,
        Reason::FamilyWithoutAddress,
        Reason::SessionDuplicate,
        Reason::PeerFieldInvalid,
        Reason::BgpFilterMissing,
        Reason::BgpFilterInvalid,
        Reason::PrefixAdvertisementInvalid,
        Reason::PasswordInvalid,
        Reason::PeerPolicyInvalid,
        Reason::PeerPolicyShadowed,
        Reason::PoolCidrInvalid,
        Reason::PoolOverlap,
        Reason::ServiceRangeInvalid,
        Reason::AffinityNotConfirmed,
        Reason::BlockOfAnother,
        Reason::WorkloadInvalid,
        Reason::DnsServiceInvalid,
        Reason::DatastoreLocked,
    ];

    /// The stable name: lower case, words joined by dashes.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::MalformedResource => "malformed-resource",
            Reason::NodeMissing => "node-missing",
            Reason::NodeWithoutBgp => "node-without-bgp",
            Reason::NodeAddressInvalid => "node-address-invalid",
            Reason::RouterIdMissing => "router-id-missing",
            Reason::ClusterIdInvalid => "cluster-id-invalid",
            Reason::SelectorInvalid => "selector-invalid",
            Reason::PeerIpInvalid => "peer-ip-invalid",
            Reason::PeerAsMissing => "peer-as-missing",
            Reason::FamilyWithoutAddress => "family-without-address",
            Reason::SessionDuplicate => "session-duplicate",
            Reason::PeerFieldInvalid => "peer-field-invalid",
            Reason::BgpFilterMissing => "bgp-filter-missing",
            Reason::BgpFilterInvalid => "bgp-filter-invalid",
            Reason::PrefixAdvertisementInvalid => "prefix-advertisement-invalid",
            Reason::PasswordInvalid => "password-invalid",
            Reason::PeerPolicyInvalid => "peer-policy-invalid",
            Reason::PeerPolicyShadowed => "peer-policy-shadowed",
            Reason::PoolCidrInvalid => "pool-cidr-invalid",
            Reason::PoolOverlap => "pool-overlap",
            Reason::ServiceRangeInvalid => "service-range-invalid",
            Reason::AffinityNotConfirmed => "affinity-not-confirmed",
            Reason::BlockOfAnother => "block-of-another",
            Reason::WorkloadInvalid => "workload-invalid",
            Reason::DnsServiceInvalid => "dns-service-invalid",
            Reason::DatastoreLocked => "datastore-locked",
        }
    }

    /// True for what is an everyday passing state and no fault: it is shown on request, not warned of.
    pub fn passing(self) -> bool {
        matches!(self, Reason::AffinityNotConfirmed)
    }

    /// What to do about it, as a sentence.
    fn cure(self) -> &'static str {
        match self {
            Reason::MalformedResource => "Apply it again, or delete it.",
            Reason::NodeMissing => "Start `selvedge node run` again, or apply a Node of this name.",
            Reason::NodeWithoutBgp => "Set spec.bgp.ipv4Address of the Node.",
            Reason::NodeAddressInvalid => {
                "Write the address with its prefix length, such as 10.20.1.84/23."
            }
            Reason::RouterIdMissing => "Give the Node an IPv4 address, or set CALICO_ROUTER_ID.",
            Reason::ClusterIdInvalid => {
                "Write routeReflectorClusterID as a dotted quad, such as 244.0.0.1."
            }
            Reason::SelectorInvalid => "Mend the selector, such as route-reflector == 'true'.",
            Reason::PeerIpInvalid => {
                "Write peerIP as ADDRESS or ADDRESS:PORT ([ADDRESS]:PORT for IPv6)."
            }
            Reason::PeerAsMissing => "Set asNumber of the BGPPeer.",
            Reason::FamilyWithoutAddress => {
                "Give the Node an address of that family, or restrict the BGPPeer with node or nodeSelector."
            }
            Reason::SessionDuplicate => "Let only one BGPPeer name this peer for this node.",
            Reason::PeerFieldInvalid => "Mend the field.",
            Reason::BgpFilterMissing => "Apply the BGPFilter, or take its name out of the BGPPeer.",
            Reason::BgpFilterInvalid => "Mend the rule and apply the BGPFilter again.",
            Reason::PrefixAdvertisementInvalid => {
                "Write cidr as a CIDR, and communities as 64512:7, 64512:7:9 or names from communities."
            }
            Reason::PasswordInvalid => {
                "Write password as {secretKeyRef: {name: NAME, key: KEY}}, or remove it."
            }
            Reason::PeerPolicyInvalid => "Mend the entry.",
            Reason::PeerPolicyShadowed => "Let only one PeerPolicy be for it.",
            Reason::PoolCidrInvalid => "Delete the pool and create it with a valid CIDR.",
            Reason::PoolOverlap => "Delete one of the two pools.",
            Reason::ServiceRangeInvalid => "Write a list of cidr, such as - cidr: 10.210.0.0/24.",
            Reason::AffinityNotConfirmed => {
                "Nothing, if it passes; else an allocation was cut off and the next one finishes it."
            }
            Reason::BlockOfAnother => {
                "Nothing: the next allocation on this node removes the stale affinity."
            }
            Reason::WorkloadInvalid => {
                "Delete the pod, so that the CNI plugin writes the WorkloadEndpoint anew."
            }
            Reason::DnsServiceInvalid => {
                "Give the Service a clusterIP, and a port named dns or numbered 53."
            }
            Reason::DatastoreLocked => "Unlock it with `calicoctl datastore migrate unlock`.",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that was refused: its name, where, and what was found there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The name.
    pub reason: Reason,
    /// The resource and field, such as `BGPPeer(tor) spec.peerIP`.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, at: impl Into<String>, what: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            at: at.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}. {}",
            self.reason,
            self.at,
            self.what,
            self.reason.cure()
        )
    }
}
