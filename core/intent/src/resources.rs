//! What the store says, by kind.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};
use resource::kinds::{
    AffinityState, BgpConfiguration, BgpFilter, BgpPeer, Block, BlockAffinity, ClusterInformation,
    EndpointSlice, IpPool, Node, Service, WorkloadEndpoint,
};
use resource::{Change, Entry, Key, Kind, Listing, StoreError};

/// Namespace and name.
pub type NamespacedName = (String, String);

/// Parts of the resources; says what a change touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// BGPConfiguration, BGPPeer, BGPFilter, Node, IPPool, ClusterInformation, blocks and affinities.
    Cluster,
    /// WorkloadEndpoint.
    Workloads,
    /// Service and EndpointSlice.
    Services,
}

/// Everything a node's intent is computed from, kept up to date by [`Resources::apply`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// By name.
    pub bgp_configurations: BTreeMap<String, BgpConfiguration>,
    /// By name.
    pub bgp_peers: BTreeMap<String, BgpPeer>,
    /// By name.
    pub bgp_filters: BTreeMap<String, BgpFilter>,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// By name.
    pub ip_pools: BTreeMap<String, IpPool>,
    /// By name.
    pub cluster_informations: BTreeMap<String, ClusterInformation>,
    /// By namespace and name.
    pub workload_endpoints: BTreeMap<NamespacedName, WorkloadEndpoint>,
    /// By namespace and name.
    pub services: BTreeMap<NamespacedName, Service>,
    /// By namespace and name.
    pub endpoint_slices: BTreeMap<NamespacedName, EndpointSlice>,
    /// By range.
    pub blocks: BTreeMap<IpNet, Block>,
    /// By host and range.
    pub affinities: BTreeMap<(String, IpNet), BlockAffinity>,
    /// What could not be read, by the text of its key, with the reason.
    pub malformed: BTreeMap<String, String>,
}

impl Resources {
    /// All that a listing holds.
    pub fn from_listing(listing: &Listing) -> Resources {
        let mut resources = Resources::default();
        for entry in &listing.entries {
            resources.put(entry);
        }
        resources
    }

    /// Takes one change of the store and says which part it touched; `None` for what no intent depends on.
    pub fn apply(&mut self, change: &Change) -> Option<Part> {
        match change {
            Change::Put(entry) => self.put(entry),
            Change::Delete { key, .. } => self.delete(key),
        }
    }

    /// Takes a created or updated value. What cannot be read counts as absent and is listed in
    /// [`Resources::malformed`], so that a restart comes to the same place.
    pub fn put(&mut self, entry: &Entry) -> Option<Part> {
        let part = part_of(&entry.key)?;
        if let Err(error) = self.try_put(entry) {
            self.remove(&entry.key);
            self.malformed.insert(entry.key.path(), error.to_string());
        } else {
            self.malformed.remove(&entry.key.path());
        }
        Some(part)
    }

    /// Takes a deletion.
    pub fn delete(&mut self, key: &Key) -> Option<Part> {
        let part = part_of(key)?;
        self.malformed.remove(&key.path());
        self.remove(key);
        Some(part)
    }

    fn try_put(&mut self, entry: &Entry) -> Result<(), StoreError> {
        match &entry.key {
            Key::Resource {
                kind,
                namespace,
                name,
            } => {
                let name = name.clone();
                let full = || (namespace.clone().unwrap_or_default(), name.clone());
                match kind {
                    Kind::BgpConfiguration => {
                        let object = BgpConfiguration::from_entry(entry)?;
                        self.bgp_configurations.insert(name, object);
                    }
                    Kind::BgpPeer => {
                        self.bgp_peers.insert(name, BgpPeer::from_entry(entry)?);
                    }
                    Kind::BgpFilter => {
                        self.bgp_filters.insert(name, BgpFilter::from_entry(entry)?);
                    }
                    Kind::Node => {
                        self.nodes.insert(name, Node::from_entry(entry)?);
                    }
                    Kind::IpPool => {
                        self.ip_pools.insert(name, IpPool::from_entry(entry)?);
                    }
                    Kind::ClusterInformation => {
                        let object = ClusterInformation::from_entry(entry)?;
                        self.cluster_informations.insert(name, object);
                    }
                    Kind::WorkloadEndpoint => {
                        let object = WorkloadEndpoint::from_entry(entry)?;
                        self.workload_endpoints.insert(full(), object);
                    }
                    Kind::Service => {
                        self.services.insert(full(), Service::from_entry(entry)?);
                    }
                    Kind::EndpointSlice => {
                        let object = EndpointSlice::from_entry(entry)?;
                        self.endpoint_slices.insert(full(), object);
                    }
                    // `part_of` has no part for the others.
                    _ => {}
                }
            }
            Key::Block(cidr) => {
                self.blocks.insert(*cidr, from_json(entry)?);
            }
            Key::BlockAffinity { host, cidr } => {
                // Calico: an empty value is a confirmed affinity of old.
                let affinity = if entry.value.trim().is_empty() {
                    BlockAffinity {
                        state: AffinityState::Confirmed,
                        deleted: false,
                    }
                } else {
                    from_json(entry)?
                };
                self.affinities.insert((host.clone(), *cidr), affinity);
            }
            Key::Handle(_) | Key::IpamConfig => {}
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Resource {
                kind,
                namespace,
                name,
            } => {
                let full = (namespace.clone().unwrap_or_default(), name.clone());
                match kind {
                    Kind::BgpConfiguration => drop(self.bgp_configurations.remove(name)),
                    Kind::BgpPeer => drop(self.bgp_peers.remove(name)),
                    Kind::BgpFilter => drop(self.bgp_filters.remove(name)),
                    Kind::Node => drop(self.nodes.remove(name)),
                    Kind::IpPool => drop(self.ip_pools.remove(name)),
                    Kind::ClusterInformation => drop(self.cluster_informations.remove(name)),
                    Kind::WorkloadEndpoint => drop(self.workload_endpoints.remove(&full)),
                    Kind::Service => drop(self.services.remove(&full)),
                    Kind::EndpointSlice => drop(self.endpoint_slices.remove(&full)),
                    _ => {}
                }
            }
            Key::Block(cidr) => drop(self.blocks.remove(cidr)),
            Key::BlockAffinity { host, cidr } => {
                self.affinities.remove(&(host.clone(), *cidr));
            }
            Key::Handle(_) | Key::IpamConfig => {}
        }
    }

    /// The blocks whose affinity to `host` is confirmed and not on its way out.
    ///
    /// Pending affinities are nobody's to act on (calico-compat §7.3); one that contradicts the block's own owner is
    /// stale and does not count either.
    pub fn confirmed_blocks(&self, host: &str) -> BTreeSet<IpNet> {
        let least = (host.to_string(), IpNet::V4(Ipv4Net::default()));
        self.affinities
            .range(least..)
            .take_while(|((owner, _), _)| owner == host)
            .filter(|((_, cidr), affinity)| self.stands(host, cidr, affinity))
            .map(|((_, cidr), _)| *cidr)
            .collect()
    }

    /// True when an affinity is confirmed and the block, where it is known, is that host's.
    pub fn stands(&self, host: &str, cidr: &IpNet, affinity: &BlockAffinity) -> bool {
        affinity.state == AffinityState::Confirmed
            && !affinity.deleted
            && self.blocks.get(cidr).is_none_or(|block| {
                block
                    .affinity
                    .as_deref()
                    .and_then(|a| a.strip_prefix("host:"))
                    == Some(host)
            })
    }
}

fn part_of(key: &Key) -> Option<Part> {
    match key {
        Key::Resource { kind, .. } => match kind {
            Kind::BgpConfiguration
            | Kind::BgpPeer
            | Kind::BgpFilter
            | Kind::Node
            | Kind::IpPool
            | Kind::ClusterInformation => Some(Part::Cluster),
            Kind::WorkloadEndpoint => Some(Part::Workloads),
            Kind::Service | Kind::EndpointSlice => Some(Part::Services),
            // A node does nothing by the other kinds (policies, Felix's parameters, ...).
            _ => None,
        },
        Key::Block(_) | Key::BlockAffinity { .. } => Some(Part::Cluster),
        Key::Handle(_) | Key::IpamConfig => None,
    }
}

fn from_json<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    serde_json::from_str(&entry.value).map_err(|e| StoreError::Malformed {
        key: entry.key.clone(),
        reason: e.to_string(),
    })
}
