//! The names of the kinds.

use std::fmt;

macro_rules! kinds {
    ($($variant:ident, $kind:literal, $plural:literal, $namespaced:literal, $group:ident;)*) => {
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
        }
    };
}

mod api {
    pub const CALICO: &str = "projectcalico.org/v3";
    pub const CORE: &str = "v1";
    pub const OURS: &str = "selvedge.dev/v1alpha1";
    pub const DISCOVERY: &str = "discovery.k8s.io/v1";
}

kinds! {
    BgpConfiguration, "BGPConfiguration", "bgpconfigurations", false, CALICO;
    BgpPeer, "BGPPeer", "bgppeers", false, CALICO;
    BgpFilter, "BGPFilter", "bgpfilters", false, CALICO;
    Node, "Node", "nodes", false, CALICO;
    IpPool, "IPPool", "ippools", false, CALICO;
    WorkloadEndpoint, "WorkloadEndpoint", "workloadendpoints", true, CALICO;
    ClusterInformation, "ClusterInformation", "clusterinformations", false, CALICO;
    PeerPolicy, "PeerPolicy", "peerpolicies", false, OURS;
    Service, "Service", "services", true, CORE;
    EndpointSlice, "EndpointSlice", "endpointslices", true, DISCOVERY;
}

impl Kind {
    /// Whether its documents are Kubernetes' own: fields that are not known here are passed over, not refused.
    pub fn is_kubernetes(self) -> bool {
        ![api::CALICO, api::OURS].contains(&self.api_version())
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
