//! What goes with what is deleted (calico-compat §1.4, §1.5, §1.12).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Allocations, Client, ClientError, ClientResult};
use crate::kinds::{
    BgpPeer, GlobalNetworkPolicySpec, HostEndpoint, NetworkPolicySpec, Node,
    StagedGlobalNetworkPolicySpec, StagedNetworkPolicySpec, WorkloadEndpoint,
};
use crate::{Key, Kind, Object, Spec, Store, StoreError};

impl<S: Store, A: Allocations> Client<'_, S, A> {
    /// Deletes what a node leaves behind (calico-compat §1.4), the node itself last.
    pub(super) async fn release_node(&self, node: &Node) -> ClientResult<()> {
        let name = node.metadata.name.as_str();
        let endpoints: Vec<WorkloadEndpoint> = self.list_of().await?;
        let endpoints: Vec<_> = endpoints.iter().filter(|e| e.spec.node == name).collect();
        let mut addresses: BTreeSet<IpAddr> = tunnel_addresses(node).collect();
        for network in endpoints.iter().flat_map(|e| &e.spec.ip_networks) {
            let net = network.parse::<IpNet>().map(|n| n.addr());
            addresses.extend(net.or_else(|_| network.parse()));
        }
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        self.allocations
            .release_node(name, &addresses)
            .await
            .map_err(ClientError::Allocations)?;
        let peers: Vec<BgpPeer> = self.list_of().await?;
        let peers = peers.iter().filter(|p| p.spec.node == name);
        let hosts: Vec<HostEndpoint> = self.list_of().await?;
        let hosts = hosts.iter().filter(|h| h.spec.node == name);
        let configurations = [Kind::FelixConfiguration, Kind::BgpConfiguration]
            .map(|kind| Key::cluster(kind, format!("node.{name}")));
        let sessions = Key::cluster(Kind::NodeSessions, name);
        let keys = endpoints
            .iter()
            .map(|e| e.key())
            .chain(peers.map(Object::key))
            .chain(hosts.map(Object::key))
            .chain(configurations)
            .chain([sessions]);
        for key in keys {
            match self.store.delete(&key, None).await {
                Ok(_) | Err(StoreError::NotFound(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A tier with policies in it is not deleted.
    pub(super) async fn must_be_empty(&self, tier: &str) -> ClientResult<()> {
        let used = self.any_in::<NetworkPolicySpec>(tier, |s| &s.tier).await?
            || self
                .any_in::<GlobalNetworkPolicySpec>(tier, |s| &s.tier)
                .await?
            || self
                .any_in::<StagedNetworkPolicySpec>(tier, |s| &s.tier)
                .await?
            || self
                .any_in::<StagedGlobalNetworkPolicySpec>(tier, |s| &s.tier)
                .await?;
        if used {
            let text = format!(
                "operation delete is not supported on {tier}: Cannot delete a non-empty tier"
            );
            return Err(ClientError::Refused(text));
        }
        Ok(())
    }

    async fn any_in<T: Spec>(&self, tier: &str, of: fn(&T) -> &str) -> ClientResult<bool> {
        let policies: Vec<Object<T>> = self.list_of().await?;
        Ok(policies.iter().any(|p| of(&p.spec) == tier))
    }
}

/// The addresses of a node's tunnels.
fn tunnel_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let spec = &node.spec;
    let bgp = spec.bgp.as_ref().map(|b| b.ipv4_ipip_tunnel_addr.as_str());
    let wireguard = spec.wireguard.as_ref();
    [
        bgp,
        Some(spec.ipv4_vxlan_tunnel_addr.as_str()),
        Some(spec.ipv6_vxlan_tunnel_addr.as_str()),
        wireguard.map(|w| w.interface_ipv4_address.as_str()),
        wireguard.map(|w| w.interface_ipv6_address.as_str()),
    ]
    .into_iter()
    .flatten()
    .filter_map(|address| address.parse().ok())
}
