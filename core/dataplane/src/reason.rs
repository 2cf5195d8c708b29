//! Every refusal has a name, the same in logs, metrics, pages and documents.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something asked for is not in the kernel, or why a packet did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    // what cannot be programmed
    /// A pool wants IPIP and this kernel has none; packets within the subnet travel as they are.
    IpipNotInKernel,
    /// A next hop in another subnet needs IPIP, which this kernel has not; the route is left out.
    CrossSubnetWithoutIpip,
    /// A pool wants VXLAN, which is not programmed yet; packets within the subnet travel as they are.
    VxlanNotProgrammed,
    /// A next hop in another subnet needs VXLAN, which is not programmed yet; the route is left out.
    CrossSubnetWithoutVxlan,
    /// The next hop is on no interface's subnet and no route leads to it.
    NextHopUnresolved,
    /// The prefix lies inside a service range; service addresses are translated, not routed.
    PrefixInServiceRange,
    /// A route with the same destination and metric is there and is not ours.
    RouteKeyTaken,
    /// A service address or a backend is of another family than the table.
    FamilyNotProgrammed,

    // what happened to a packet
    /// No route matches.
    NoRoute,
    /// A blackhole route matched.
    Blackhole,
    /// An unreachable route matched.
    Unreachable,
    /// An address of an own block that no workload has.
    AddressUnallocated,
    /// An address of a service range that no service has.
    ServiceAddressUnused,
    /// A service has the address, but not this port, or no backend for it.
    ServicePortUnused,
    /// Connection tracking can make nothing of a packet for a service address.
    ConnectionInvalid,
    /// The source is not reached by the interface it came in by (`rp_filter=1`).
    ReversePath,
    /// Forwarding is off on the interface.
    ForwardingOff,
    /// The TTL reached zero.
    TtlExceeded,
    /// The interface is absent or down.
    LinkDown,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 19] = [
        Reason::IpipNotInKernel,
        Reason::CrossSubnetWithoutIpip,
        Reason::VxlanNotProgrammed,
        Reason::CrossSubnetWithoutVxlan,
        Reason::NextHopUnresolved,
        Reason::PrefixInServiceRange,
        Reason::RouteKeyTaken,
        Reason::FamilyNotProgrammed,
        Reason::NoRoute,
        Reason::Blackhole,
        Reason::Unreachable,
        Reason::AddressUnallocated,
        Reason::ServiceAddressUnused,
        Reason::ServicePortUnused,
        Reason::ConnectionInvalid,
        Reason::ReversePath,
        Reason::ForwardingOff,
        Reason::TtlExceeded,
        Reason::LinkDown,
    ];

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Its stable name: lower case, words joined by dashes.
    pub fn name(self) -> &'static str {
        match self {
            Reason::IpipNotInKernel => "ipip-not-in-kernel",
            Reason::CrossSubnetWithoutIpip => "cross-subnet-without-ipip",
            Reason::VxlanNotProgrammed => "vxlan-not-programmed",
            Reason::CrossSubnetWithoutVxlan => "cross-subnet-without-vxlan",
            Reason::NextHopUnresolved => "next-hop-unresolved",
            Reason::PrefixInServiceRange => "prefix-in-service-range",
            Reason::RouteKeyTaken => "route-key-taken",
            Reason::FamilyNotProgrammed => "family-not-programmed",
            Reason::NoRoute => "no-route",
            Reason::Blackhole => "blackhole",
            Reason::Unreachable => "unreachable",
            Reason::AddressUnallocated => "address-unallocated",
            Reason::ServiceAddressUnused => "service-address-unused",
            Reason::ServicePortUnused => "service-port-unused",
            Reason::ConnectionInvalid => "connection-invalid",
            Reason::ReversePath => "reverse-path",
            Reason::ForwardingOff => "forwarding-off",
            Reason::TtlExceeded => "ttl-exceeded",
            Reason::LinkDown => "link-down",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that was asked for and is not programmed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Which object: a pool, a prefix, a service port.
    pub object: String,
    /// The whole sentence, with how to mend it.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.reason, self.object, self.text)
    }
}
