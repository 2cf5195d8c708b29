//! Which pools a request may use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::{IpPool, IpPoolSpec, IpReservation, Node};
use resource::{Key, KeyPrefix, Kind, Object, Selector, Store};

use crate::refusal::IpamResult;
use crate::{Family, Ipam, Refusal};

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A pod.
    Workload,
    /// A node's own tunnel device.
    Tunnel,
    /// A service's address, which no node has.
    LoadBalancer,
}

impl Use {
    /// As `allowedUses` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Use::Workload => "Workload",
            Use::Tunnel => "Tunnel",
            Use::LoadBalancer => "LoadBalancer",
        }
    }
}

/// Which pools to take from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolChoice<'a> {
    /// Those whose selectors match the node and, where a pool has a namespaceSelector, these labels.
    Automatic {
        /// Labels of the pod's namespace, where there is one.
        namespace_labels: Option<&'a BTreeMap<String, String>>,
    },
    /// These, by name or whole CIDR, whatever their selectors say.
    Requested(&'a [String]),
}

/// A pool that addresses are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The IPPool's name.
    pub name: String,
    /// Its range.
    pub cidr: IpNet,
    /// Prefix length of its blocks.
    pub block_size: u8,
}

/// The pools of a request.
pub(crate) struct Pools {
    /// Those to take from, by name.
    pub usable: Vec<Pool>,
    /// Those that are enabled but do not select the node.
    pub unselected: Vec<Pool>,
}

fn invalid(pool: &IpPool, reason: impl ToString) -> Refusal {
    Refusal::PoolInvalid {
        pool: pool.metadata.name.clone(),
        reason: reason.to_string(),
    }
}

fn pool_of(object: &IpPool) -> Result<Pool, Refusal> {
    let cidr: IpNet = object
        .spec
        .cidr
        .parse()
        .map_err(|e| invalid(object, format!("cidr {:?}: {e}", object.spec.cidr)))?;
    let default = match cidr {
        IpNet::V4(_) => 26,
        IpNet::V6(_) => 122,
    };
    let block_size = object.spec.block_size.unwrap_or(default);
    let range = match cidr {
        IpNet::V4(_) => 20..=32,
        IpNet::V6(_) => 116..=128,
    };
    if !range.contains(&block_size) || block_size < cidr.prefix_len() {
        return Err(invalid(
            object,
            format!("blockSize {block_size} does not fit {cidr}"),
        ));
    }
    Ok(Pool {
        name: object.metadata.name.clone(),
        cidr: cidr.trunc(),
        block_size,
    })
}

pub(crate) fn allows(spec: &IpPoolSpec, intended: Use) -> bool {
    // Pools of before there were uses are for workloads and tunnels.
    let unsaid = spec.allowed_uses.is_empty() && intended != Use::LoadBalancer;
    unsaid || spec.allowed_uses.iter().any(|u| u == intended.as_str())
}

fn matches(
    object: &IpPool,
    selector: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, Refusal> {
    let parsed = Selector::parse(selector)
        .map_err(|e| invalid(object, format!("selector {selector:?}: {e}")))?;
    Ok(parsed.matches(labels))
}

/// Whether the pool's nodeSelector matches a node with these labels.
pub(crate) fn selects_node(
    object: &IpPool,
    labels: &BTreeMap<String, String>,
) -> Result<bool, Refusal> {
    matches(object, &object.spec.node_selector, labels)
}

fn selects_namespace(
    object: &IpPool,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<bool, Refusal> {
    let selector = object.spec.namespace_selector.as_str();
    match labels {
        _ if selector.is_empty() => Ok(true),
        Some(labels) => matches(object, selector, labels),
        None => Ok(false),
    }
}

impl<S: Store> Ipam<'_, S> {
    /// All pools of a family, by name.
    pub(crate) async fn all_pools(&self, family: Family) -> IpamResult<Vec<(IpPool, Pool)>> {
        let listing = self.store.list(&KeyPrefix::Kind(Kind::IpPool)).await?;
        let mut pools = Vec::new();
        for entry in &listing.entries {
            let object: IpPool = Object::from_entry(entry)?;
            let pool = pool_of(&object)?;
            if Family::of(&pool.cidr) == family {
                pools.push((object, pool));
            }
        }
        Ok(pools)
    }

    /// What the IPReservations cover.
    pub(crate) async fn reservations(&self) -> IpamResult<Vec<IpNet>> {
        let listing = self
            .store
            .list(&KeyPrefix::Kind(Kind::IpReservation))
            .await?;
        let mut reserved = Vec::new();
        for entry in &listing.entries {
            let object: IpReservation = Object::from_entry(entry)?;
            for text in &object.spec.reserved_cidrs {
                let net = text.parse::<IpNet>().map(|net| net.trunc());
                let net = net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                reserved.push(net.map_err(|_| Refusal::ReservationInvalid {
                    reservation: object.metadata.name.clone(),
                    cidr: text.clone(),
                })?);
            }
        }
        Ok(reserved)
    }

    /// A node.
    pub(crate) async fn node(&self, host: &str) -> IpamResult<Node> {
        let entry = self.store.get(&Key::cluster(Kind::Node, host)).await?;
        let entry = entry.ok_or_else(|| Refusal::NodeUnknown(host.to_string()))?;
        Ok(Object::from_entry(&entry)?)
    }

    /// The pools that a request may take from.
    pub(crate) async fn pools_for(
        &self,
        family: Family,
        host: &str,
        choice: PoolChoice<'_>,
        intended: Use,
    ) -> IpamResult<Pools> {
        // No node has a service's address; its pools select all nodes.
        let labels = match intended {
            Use::Workload | Use::Tunnel => self.node(host).await?.metadata.labels,
            Use::LoadBalancer => BTreeMap::new(),
        };
        let all = self.all_pools(family).await?;
        let none = if all.is_empty() {
            Refusal::NoPool
        } else {
            Refusal::PoolsDisabled
        };
        let enabled: Vec<_> = all
            .into_iter()
            .filter(|(object, _)| !object.spec.disabled)
            .collect();
        let mut unselected = Vec::new();
        for (object, pool) in &enabled {
            if !selects_node(object, &labels)? {
                unselected.push(pool.clone());
            }
        }
        let mut chosen = Vec::new();
        match choice {
            PoolChoice::Requested(wanted) if !wanted.is_empty() => {
                for name in wanted {
                    let found = enabled
                        .iter()
                        .find(|(_, p)| p.name == *name || p.cidr.to_string() == *name);
                    chosen.push(
                        found
                            .cloned()
                            .ok_or_else(|| Refusal::RequestedPool(name.clone()))?,
                    );
                }
            }
            PoolChoice::Requested(_) | PoolChoice::Automatic { .. } => {
                if enabled.is_empty() {
                    return Err(none.into());
                }
                let namespace_labels = match choice {
                    PoolChoice::Automatic { namespace_labels } => namespace_labels,
                    PoolChoice::Requested(_) => None,
                };
                for (object, pool) in enabled {
                    let manual = object.spec.assignment_mode.as_deref() == Some("Manual");
                    let selects = !manual && !unselected.contains(&pool);
                    if selects && selects_namespace(&object, namespace_labels)? {
                        chosen.push((object, pool));
                    }
                }
            }
        }
        if chosen.is_empty() {
            return Err(Refusal::NoPoolSelectsNode.into());
        }
        chosen.retain(|(object, _)| allows(&object.spec, intended));
        if chosen.is_empty() {
            return Err(Refusal::NoPoolForUse(intended.as_str()).into());
        }
        Ok(Pools {
            usable: chosen.into_iter().map(|(_, pool)| pool).collect(),
            unselected,
        })
    }
}
