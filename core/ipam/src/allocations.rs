//! What goes when a node or a pool is deleted.

use std::net::IpAddr;

use ipnet::IpNet;
use resource::{Allocations, Store};

use crate::{Ipam, IpamError, ReleaseRequest};

impl<S: Store + Sync> Allocations for Ipam<'_, S> {
    async fn release_node(&self, node: &str, addresses: &[IpAddr]) -> Result<(), String> {
        let said = |e: IpamError| e.to_string();
        let requests: Vec<ReleaseRequest> =
            addresses.iter().copied().map(ReleaseRequest::of).collect();
        self.release_ips(&requests).await.map_err(said)?;
        self.release_host(node).await.map_err(said)
    }

    async fn release_pool(&self, cidr: IpNet) -> Result<(), String> {
        self.release_pool_affinities(cidr)
            .await
            .map_err(|e| e.to_string())
    }
}
