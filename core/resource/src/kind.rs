//! The names of the kinds, and the one list of them.

use std::fmt;

use crate::{AnyObject, Object, Spec};

/// Calls a macro with every kind: the variant, its spec, its name, its plural, whether it lives in a namespace, its API group.
/// A new kind is a line here, its spec beside it in `kinds`, and its table in the command.
macro_rules! for_each_kind {
    ($callback:ident) => {
        $callback! {
            BgpConfiguration, BgpConfigurationSpec, "BGPConfiguration", "bgpconfigurations", false, CALICO;
            BgpPeer, BgpPeerSpec, "BGPPeer", "bgppeers", false, CALICO;
            BgpFilter, BgpFilterSpec, "BGPFilter", "bgpfilters", false, CALICO;
            Node, NodeSpec, "Node", "nodes", false, CALICO;
            IpPool, IpPoolSpec, "IPPool", "ippools", false, CALICO;
            IpReservation, IpReservationSpec, "IPReservation", "ipreservations", false, CALICO;
            IpamConfiguration, IpamConfigurationSpec, "IPAMConfiguration", "ipamconfigurations", false, CALICO;
            WorkloadEndpoint, WorkloadEndpointSpec, "WorkloadEndpoint", "workloadendpoints", true, CALICO;
            ClusterInformation, ClusterInformationSpec, "ClusterInformation", "clusterinformations", false, CALICO;
            Tier, TierSpec, "Tier", "tiers", false, CALICO;
            GlobalNetworkPolicy, GlobalNetworkPolicySpec, "GlobalNetworkPolicy", "globalnetworkpolicies", false, CALICO;
            NetworkPolicy, NetworkPolicySpec, "NetworkPolicy", "networkpolicies", true, CALICO;
            StagedGlobalNetworkPolicy, StagedGlobalNetworkPolicySpec, "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", false, CALICO;
            StagedNetworkPolicy, StagedNetworkPolicySpec, "StagedNetworkPolicy", "stagednetworkpolicies", true, CALICO;
            StagedKubernetesNetworkPolicy, StagedKubernetesNetworkPolicySpec, "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", true, CALICO;
            GlobalNetworkSet, GlobalNetworkSetSpec, "GlobalNetworkSet", "globalnetworksets", false, CALICO;
            NetworkSet, NetworkSetSpec, "NetworkSet", "networksets", true, CALICO;
            Profile, ProfileSpec, "Profile", "profiles", false, CALICO;
            HostEndpoint, HostEndpointSpec, "HostEndpoint", "hostendpoints", false, CALICO;
            FelixConfiguration, FelixConfigurationSpec, "FelixConfiguration", "felixconfigurations", false, CALICO;
            KubeControllersConfiguration, KubeControllersConfigurationSpec, "KubeControllersConfiguration", "kubecontrollersconfigurations", false, CALICO;
            CalicoNodeStatus, CalicoNodeStatusSpec, "CalicoNodeStatus", "caliconodestatuses", false, CALICO;
            BlockAffinity, BlockAffinitySpec, "BlockAffinity", "blockaffinities", false, CALICO;
            PeerPolicy, PeerPolicySpec, "PeerPolicy", "peerpolicies", false, OURS;
            NodeSessions, NodeSessionsSpec, "NodeSessions", "nodesessions", false, OURS;
            Service, ServiceSpec, "Service", "services", true, CORE;
            EndpointSlice, EndpointSliceSpec, "EndpointSlice", "endpointslices", true, DISCOVERY;
        }
    };
}
pub(crate) use for_each_kind;

/// Something that is done with the type of a kind that is only known at run time; see [`Kind::visit`].
pub trait KindVisitor {
    /// What comes of it.
    type Output;
    /// Called with the kind's spec.
    fn visit<S: Spec>(self) -> Self::Output
    where
        AnyObject: From<Object<S>>;
}

macro_rules! kinds {
    ($($variant:ident, $spec:ident, $kind:literal, $plural:literal, $namespaced:literal, $group:ident;)*) => {
        /// A kind of resource: Calico's v3 kinds, our own, and the Kubernetes-shaped ones that services are read from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $kind] $variant,)* }

        impl Kind {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name as written in a document's `kind` field.
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $kind,)* }
            }

            /// The lower-case plural, as it stands in datastore paths (`ippools`).
            pub fn plural(self) -> &'static str {
                match self { $(Kind::$variant => $plural,)* }
            }

            /// Whether objects of this kind live in a namespace.
            pub fn namespaced(self) -> bool {
                match self { $(Kind::$variant => $namespaced,)* }
            }

            /// The `apiVersion` of its documents.
            pub fn api_version(self) -> &'static str {
                match self { $(Kind::$variant => api::$group,)* }
            }

            /// Calls the visitor with the spec of this kind.
            pub fn visit<V: KindVisitor>(self, visitor: V) -> V::Output {
                match self { $(Kind::$variant => visitor.visit::<crate::kinds::$spec>(),)* }
            }
        }
    };
}

for_each_kind!(kinds);

mod api {
    pub const CALICO: &str = "projectcalico.org/v3";
    pub const OURS: &str = "selvedge.dev/v1alpha1";
    pub const CORE: &str = "v1";
    pub const DISCOVERY: &str = "discovery.k8s.io/v1";
}

impl Kind {
    /// Whether its documents are Kubernetes' own: fields that are not known here are passed over, not refused.
    pub fn is_kubernetes(self) -> bool {
        self.api_version() != api::CALICO && !self.is_ours()
    }

    /// Whether it is of our own API group.
    pub fn is_ours(self) -> bool {
        self.api_version() == api::OURS
    }

    /// The kind with this plural, if there is one.
    pub fn from_plural(plural: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|k| k.plural() == plural)
    }

    /// The kind with this `kind` field and `apiVersion`, if there is one.
    pub fn from_type(kind: &str, api_version: &str) -> Option<Kind> {
        Kind::ALL
            .iter()
            .copied()
            .find(|k| k.as_str() == kind && k.api_version() == api_version)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
