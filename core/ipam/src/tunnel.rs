//! The addresses of a node's own tunnel devices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use resource::Store;
use resource::kinds::{EncapMode, IpPool, Node};

use crate::assign::Request;
use crate::block::Owner;
use crate::pools::{PoolChoice, Use, allows, selects_node};
use crate::refusal::IpamResult;
use crate::{Family, Ipam, Refusal};

/// A kind of tunnel device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// `tunl0`.
    Ipip,
    /// `vxlan.calico`.
    Vxlan,
    /// `vxlan-v6.calico`.
    VxlanV6,
    /// `wireguard.cali`.
    Wireguard,
    /// `wg-v6.cali`.
    WireguardV6,
}

impl TunnelKind {
    /// Every kind.
    pub const ALL: [TunnelKind; 5] = [
        TunnelKind::Ipip,
        TunnelKind::Vxlan,
        TunnelKind::VxlanV6,
        TunnelKind::Wireguard,
        TunnelKind::WireguardV6,
    ];

    /// The handle of a node's address.
    pub fn handle(self, host: &str) -> String {
        let prefix = match self {
            TunnelKind::Ipip => "ipip-tunnel-addr-",
            TunnelKind::Vxlan => "vxlan-tunnel-addr-",
            TunnelKind::VxlanV6 => "vxlan-v6-tunnel-addr-",
            TunnelKind::Wireguard => "wireguard-tunnel-addr-",
            TunnelKind::WireguardV6 => "wireguard-v6-tunnel-addr-",
        };
        format!("{prefix}{host}")
    }

    /// The `type` attribute.
    pub fn attribute(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "ipipTunnelAddress",
            TunnelKind::Vxlan => "vxlanTunnelAddress",
            TunnelKind::VxlanV6 => "vxlanV6TunnelAddress",
            TunnelKind::Wireguard => "wireguardTunnelAddress",
            TunnelKind::WireguardV6 => "wireguardV6TunnelAddress",
        }
    }

    fn family(self) -> Family {
        match self {
            TunnelKind::Ipip | TunnelKind::Vxlan | TunnelKind::Wireguard => Family::V4,
            TunnelKind::VxlanV6 | TunnelKind::WireguardV6 => Family::V6,
        }
    }

    /// Whether a pool wants the tunnel on a node. WireGuard is for every pool, once the node has a key.
    fn serves(self, pool: &IpPool, node: &Node) -> bool {
        let mode = match self {
            TunnelKind::Wireguard => return !node.status.wireguard_public_key.is_empty(),
            TunnelKind::WireguardV6 => return !node.status.wireguard_public_key_v6.is_empty(),
            TunnelKind::Ipip => pool.spec.ipip_mode,
            TunnelKind::Vxlan | TunnelKind::VxlanV6 => pool.spec.vxlan_mode,
        };
        match mode {
            Some(EncapMode::Always | EncapMode::CrossSubnet) => true,
            Some(EncapMode::Never) | None => false,
        }
    }

    fn owner(self, host: &str) -> Owner {
        Owner {
            handle: Some(self.handle(host)),
            attributes: BTreeMap::from([
                ("node".to_string(), host.to_string()),
                ("type".to_string(), self.attribute().to_string()),
            ]),
        }
    }
}

impl<S: Store> Ipam<'_, S> {
    /// The address that a node's tunnel device shall have: the current one while it is still the node's and inside a pool
    /// that wants the tunnel, else a new one; `None` when no pool wants it, and then the old one is released.
    ///
    /// With WireGuard between hosts (`wireguardHostEncryptionEnabled`) its device has no address of its own: the caller
    /// does not ask then.
    ///
    /// # Errors
    /// [`Refusal`], also [`Refusal::Exhausted`]; the store's.
    pub async fn ensure_tunnel_address(
        &self,
        host: &str,
        kind: TunnelKind,
        current: Option<IpAddr>,
        now: u64,
    ) -> IpamResult<Option<IpAddr>> {
        let node = self.node(host).await?;
        let labels = &node.metadata.labels;
        let mut wanting = Vec::new();
        for (object, pool) in self.all_pools(kind.family()).await? {
            let usable = !object.spec.disabled && allows(&object.spec, Use::Tunnel);
            if usable && kind.serves(&object, &node) && selects_node(&object, labels)? {
                wanting.push(pool);
            }
        }
        let owner = kind.owner(host);
        if let Some(address) = current
            && wanting.iter().any(|p| p.cidr.contains(&address))
            && let Some(attribute) = self.owner_of(address).await?
            && attribute.secondary.as_ref() == Some(&owner.attributes)
        {
            return Ok(current);
        }
        self.release_by_handle(&kind.handle(host)).await?;
        if wanting.is_empty() {
            return Ok(None);
        }
        let cidrs: Vec<String> = wanting.iter().map(|p| p.cidr.to_string()).collect();
        let request = Request {
            count: 1,
            family: kind.family(),
            owner: &owner,
            host,
            pools: PoolChoice::Requested(&cidrs),
            intended: Use::Tunnel,
            max_blocks: None,
            windows: false,
        };
        let assignment = self.auto_assign(&request, now).await?;
        match (assignment.addresses.first(), assignment.shortfall) {
            (Some(assigned), _) => Ok(Some(assigned.address)),
            (None, Some(refusal)) => Err(refusal.into()),
            (None, None) => Err(Refusal::Exhausted(Vec::new()).into()),
        }
    }
}
