//! IPPool (calico-compat §1.5).

use serde::{Deserialize, Serialize};

use crate::{Kind, NoStatus, Object, Spec};

/// A pool of addresses for workloads and tunnels.
pub type IpPool = Object<IpPoolSpec>;

/// When to encapsulate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncapMode {
    /// Never.
    #[default]
    Never,
    /// Always.
    Always,
    /// Only to nodes outside the own subnet.
    CrossSubnet,
}

/// What a pool is and for whom. Defaults are written when it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpPoolSpec {
    /// The range, strictly masked; it never changes.
    #[serde(default)]
    pub cidr: String,
    /// VXLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vxlan_mode: Option<EncapMode>,
    /// IP-in-IP; IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipip_mode: Option<EncapMode>,
    /// Masquerade what leaves for addresses outside all pools.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nat_outgoing: bool,
    /// No new allocations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Not told to BGP peers.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        rename = "disableBGPExport"
    )]
    pub disable_bgp_export: bool,
    /// Prefix length of its blocks: 20 to 32, 116 to 128 for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u8>,
    /// The nodes that may take blocks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// The namespaces whose pods may use it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// `Workload`, `Tunnel`, `LoadBalancer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_uses: Vec<String>,
    /// `Automatic` or `Manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment_mode: Option<String>,
}

impl Spec for IpPoolSpec {
    const KIND: Kind = Kind::IpPool;
    type Status = NoStatus;
}
