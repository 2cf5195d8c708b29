//! Who has which address, and who uses it: what a check and a collection look at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::{AffinityState, AllocationAttribute, Block, Handle, Node, Service};
use resource::kinds::{IpPool, WorkloadEndpoint};
use resource::{KeyPrefix, Kind, Object, Spec, Store, StoreResult};

use crate::claimant::Claimant;
use crate::records::{Stored, parse_affinity};
use crate::{Ipam, TunnelKind, block, load_balancer};

/// One address that a block says is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The address.
    pub address: IpAddr,
    /// Its block.
    pub block: IpNet,
    /// Its owner; one that its block does not know is empty.
    pub owner: AllocationAttribute,
    /// The sequence number at which it was given.
    pub sequence: Option<u64>,
}

impl Allocation {
    /// The handle, without what old versions put behind it.
    pub fn handle(&self) -> Option<&str> {
        self.owner.handle_id.as_deref().map(block::plain_handle)
    }

    /// An attribute; `None` also for an empty one.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        let text = self.owner.secondary.as_ref()?.get(key)?;
        (!text.is_empty()).then_some(text.as_str())
    }

    /// The network that a CNI handle begins with.
    fn network(&self) -> Option<&str> {
        Some(self.handle()?.rsplit_once('.')?.0)
    }
}

/// The addresses of a block that are given, by ordinal.
pub fn allocations(block: &Block) -> Vec<Allocation> {
    let ordinals = block.allocations.iter().enumerate();
    let given = ordinals.filter_map(|(ordinal, index)| Some((ordinal, (*index)?)));
    given
        .map(|(ordinal, index)| {
            let address = block::address(&block.cidr, ordinal);
            Allocation {
                address,
                block: block.cidr,
                owner: block.attributes.get(index).cloned().unwrap_or_default(),
                sequence: block::allocation_sequence(block, address),
            }
        })
        .collect()
}

/// An affinity as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose: a block's affinity text.
    pub claimant: String,
    /// The block.
    pub cidr: IpNet,
    /// Its state.
    pub state: AffinityState,
    /// The revision at which it was written.
    pub revision: u64,
}

/// What stands in the store about addresses and their users.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The blocks, in the store's order.
    pub blocks: Vec<Block>,
    /// Every handle, with the revision at which it was written.
    pub handles: BTreeMap<String, (Handle, u64)>,
    /// Every affinity.
    pub claims: Vec<Claim>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The pools, by name.
    pub pools: Vec<IpPool>,
    /// The workloads.
    pub workloads: Vec<WorkloadEndpoint>,
    /// The services.
    pub services: Vec<Service>,
}

/// How an allocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Somebody uses it.
    Used,
    /// Nothing tells whether somebody does; it is left alone.
    Unknown,
    /// Nobody uses it.
    Unused,
    /// Nobody uses it, and its node is gone.
    NodeGone,
}

/// Who uses addresses, for many questions.
pub(crate) struct Users<'a> {
    workloads: BTreeSet<IpAddr>,
    nodes: BTreeSet<&'a str>,
    services: BTreeSet<String>,
    networks: BTreeSet<String>,
}

impl Survey {
    /// Every allocation, in the order of the blocks.
    pub fn allocations(&self) -> Vec<Allocation> {
        self.blocks.iter().flat_map(allocations).collect()
    }

    pub(crate) fn users(&self) -> Users<'_> {
        let workloads: BTreeSet<IpAddr> =
            self.workloads.iter().flat_map(workload_addresses).collect();
        let services = self.services.iter().map(|service| {
            let metadata = &service.metadata;
            load_balancer::handle(
                &metadata.name,
                metadata.namespace.as_deref().unwrap_or_default(),
                metadata.uid.as_deref().unwrap_or_default(),
            )
        });
        let mut networks = BTreeSet::new();
        for allocation in self.allocations() {
            if let Some(network) = allocation.network()
                && workloads.contains(&allocation.address)
            {
                networks.insert(network.to_string());
            }
        }
        Users {
            workloads,
            nodes: self
                .nodes
                .iter()
                .map(|n| n.metadata.name.as_str())
                .collect(),
            services: services.collect(),
            networks,
        }
    }

    /// The nodes that are gone but have affinities or blocks.
    pub(crate) fn gone_nodes(&self) -> BTreeSet<String> {
        let nodes: BTreeSet<&str> = self
            .nodes
            .iter()
            .map(|n| n.metadata.name.as_str())
            .collect();
        let claims = self.claims.iter().map(|c| c.claimant.as_str());
        let blocks = self.blocks.iter().filter_map(|b| b.affinity.as_deref());
        let hosts = claims.chain(blocks).filter_map(Claimant::from_affinity);
        let gone = hosts.filter_map(|claimant| match claimant {
            Claimant::Host(name) if !nodes.contains(name) => Some(name.to_string()),
            Claimant::Host(_) | Claimant::Virtual(_) => None,
        });
        gone.collect()
    }
}

impl Users<'_> {
    /// How an allocation stands.
    ///
    /// A workload is known by its WorkloadEndpoint. Where no workload of a network ever has one (another plugin uses
    /// `calico-ipam`), its addresses are left alone: nothing in the store tells whether they are used.
    pub(crate) fn standing(&self, allocation: &Allocation) -> Standing {
        let handle = allocation.handle();
        if self.workloads.contains(&allocation.address) || handle == Some(block::WINDOWS_RESERVED) {
            return Standing::Used;
        }
        if let Some(handle) = handle
            && handle.starts_with(load_balancer::HANDLE_PREFIX)
        {
            return match self.services.contains(handle) {
                true => Standing::Used,
                false => Standing::Unused,
            };
        }
        let Some(node) = allocation.attribute("node") else {
            return Standing::Unknown;
        };
        if !self.nodes.contains(node) {
            return Standing::NodeGone;
        }
        let tunnel = TunnelKind::ALL
            .iter()
            .any(|kind| allocation.attribute("type") == Some(kind.attribute()));
        let network = allocation.network();
        match network.is_some_and(|n| self.networks.contains(n)) {
            _ if tunnel => Standing::Used,
            true => Standing::Unused,
            false => Standing::Unknown,
        }
    }
}

/// The addresses of a workload; those that cannot be read are none.
pub fn workload_addresses(workload: &WorkloadEndpoint) -> Vec<IpAddr> {
    let networks = workload.spec.ip_networks.iter();
    networks
        .filter_map(|text| {
            let net = text.parse::<IpNet>().map(|net| net.addr());
            net.or_else(|_| text.parse()).ok()
        })
        .collect()
}

/// The addresses of a node's tunnel devices.
pub fn tunnel_addresses(node: &Node) -> Vec<IpAddr> {
    let spec = &node.spec;
    let wireguard = spec.wireguard.as_ref();
    let texts = [
        Some(spec.ipv4_vxlan_tunnel_addr.as_str()),
        Some(spec.ipv6_vxlan_tunnel_addr.as_str()),
        wireguard.map(|w| w.interface_ipv4_address.as_str()),
        wireguard.map(|w| w.interface_ipv6_address.as_str()),
        spec.bgp.as_ref().map(|b| b.ipv4_ipip_tunnel_addr.as_str()),
    ];
    texts
        .into_iter()
        .flatten()
        .filter_map(|text| text.parse().ok())
        .collect()
}

impl<S: Store> Ipam<'_, S> {
    /// Reads what [`Survey`] has. Who has addresses is read before who uses them: a workload that comes in between is
    /// seen with its address or not at all.
    ///
    /// # Errors
    /// The store's; what is malformed there.
    pub async fn survey(&self) -> StoreResult<Survey> {
        let blocks = self.listed_blocks().await?;
        let handles = self.handles().await?;
        let listing = self.store.list(&KeyPrefix::BlockAffinities).await?;
        let mut claims = Vec::new();
        for entry in &listing.entries {
            if let Some((claimant, cidr)) = Claimant::of_key(&entry.key)
                && let Some(Stored { value, revision }) = parse_affinity(entry)?
            {
                claims.push(Claim {
                    claimant: claimant.to_string(),
                    cidr,
                    state: value,
                    revision,
                });
            }
        }
        let handle = |(id, stored): (String, Stored<Handle>)| (id, (stored.value, stored.revision));
        Ok(Survey {
            blocks: blocks.into_iter().map(|b| b.value).collect(),
            handles: handles.into_iter().map(handle).collect(),
            claims,
            nodes: self.objects(Kind::Node).await?,
            pools: self.objects(Kind::IpPool).await?,
            workloads: self.objects(Kind::WorkloadEndpoint).await?,
            services: self.objects(Kind::Service).await?,
        })
    }

    async fn objects<T: Spec>(&self, kind: Kind) -> StoreResult<Vec<Object<T>>> {
        let listing = self.store.list(&KeyPrefix::Kind(kind)).await?;
        listing.entries.iter().map(Object::from_entry).collect()
    }
}
