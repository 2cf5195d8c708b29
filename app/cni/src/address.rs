//! Addresses out of the cluster's pools: what `calico-ipam` does, alone or inside `calico`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipam::{Assigned, Family, Ipam, Owner, PoolChoice, Request, Use};
use ipnet::IpNet;
use store::{AnyStore, block_on};

use crate::call::Call;
use crate::conf::NetConf;
use crate::endpoint::{self, Identity};
use crate::failure::{self, Failure};
use crate::reply::Reply;
use crate::world;

/// ADD of `calico-ipam`.
pub fn add(call: &Call, conf: &NetConf) -> Result<String, Failure> {
    world::check_nodename_file(conf)?;
    let store = world::open_store(conf)?;
    world::check_ready(&store)?;
    let identity = Identity::of(call, world::node_name(conf));
    let addresses = assign(call, conf, &store, &identity)?;
    let reply = Reply {
        addresses,
        ..Reply::default()
    };
    Ok(reply.to_json(&conf.version))
}

/// DEL of `calico-ipam`.
pub fn del(call: &Call, conf: &NetConf) -> Result<(), Failure> {
    let store = world::open_store(conf)?;
    let identity = Identity::of(call, world::node_name(conf));
    release(conf, &store, &identity)
}

/// One address of each family that the configuration asks for, each with its block's length.
pub fn assign(
    call: &Call,
    conf: &NetConf,
    store: &AnyStore,
    identity: &Identity,
) -> Result<Vec<IpNet>, Failure> {
    let _lock = world::lock_ipam(conf);
    let now = world::now();
    let ipam = Ipam::new(store);
    let owner = owner(conf, identity, now);
    if let Some(text) = call.wanted_address() {
        let address: IpAddr = text.parse().map_err(|_| {
            Failure::new(
                failure::INVALID_ENVIRONMENT,
                format!("invalid IP address in CNI_ARGS: {text:?}"),
            )
        })?;
        let assigned = block_on(ipam.assign_ip(address, &owner, &identity.node, now))?;
        return Ok(vec![IpNet::from(assigned.address)]);
    }
    let labels = endpoint::namespace_labels(store, identity)?;
    let wanted = [
        (Family::V4, conf.ipam.wants_ipv4(), &conf.ipam.ipv4_pools),
        (Family::V6, conf.ipam.wants_ipv6(), &conf.ipam.ipv6_pools),
    ];
    let mut given = Vec::new();
    for (family, _, pools) in wanted.into_iter().filter(|(_, wants, _)| *wants) {
        let pools = match pools.as_slice() {
            [] => PoolChoice::Automatic {
                namespace_labels: labels.as_ref(),
            },
            pools => PoolChoice::Requested(pools),
        };
        let request = Request {
            count: 1,
            family,
            owner: &owner,
            host: &identity.node,
            pools,
            intended: Use::Workload,
            max_blocks: None,
            windows: false,
        };
        match one(&ipam, &request, now) {
            Ok(assigned) => given.push(assigned),
            Err(failure) => {
                // Half an answer is none: the other family's address goes back.
                give_back(&ipam, &given, &owner)?;
                return Err(failure);
            }
        }
    }
    let with_block = |a: &Assigned| {
        IpNet::new(a.address, a.block.prefix_len()).expect("a block's length fits its family")
    };
    Ok(given.iter().map(with_block).collect())
}

fn one(ipam: &Ipam<'_, AnyStore>, request: &Request<'_>, now: u64) -> Result<Assigned, Failure> {
    let assignment = block_on(ipam.auto_assign(request, now))?;
    if let (Some(refusal), Some(text)) = (&assignment.shortfall, assignment.shortfall_text()) {
        let text = match refusal {
            ipam::Refusal::BlockLimit => text,
            _ => format!("failed to request {} addresses: {text}", assignment.family),
        };
        return Err(failure::refused(refusal, text));
    }
    assignment
        .addresses
        .first()
        .copied()
        .ok_or_else(|| Failure::internal("no address was assigned"))
}

fn give_back(ipam: &Ipam<'_, AnyStore>, given: &[Assigned], owner: &Owner) -> Result<(), Failure> {
    let requests: Vec<_> = given
        .iter()
        .map(|assigned| ipam::ReleaseRequest {
            handle: owner.handle.clone(),
            ..ipam::ReleaseRequest::of(assigned.address)
        })
        .collect();
    if !requests.is_empty() {
        block_on(ipam.release_ips(&requests))?;
    }
    Ok(())
}

/// `node` and `timestamp`, and for a pod its name and namespace.
fn owner(conf: &NetConf, identity: &Identity, now: u64) -> Owner {
    let mut attributes = BTreeMap::from([
        ("node".to_string(), identity.node.clone()),
        ("timestamp".to_string(), ipam::time::go_string(now)),
    ]);
    if let Some(pod) = &identity.pod {
        attributes.insert("namespace".to_string(), identity.namespace.clone());
        attributes.insert("pod".to_string(), pod.clone());
    }
    Owner {
        handle: Some(identity.handle(conf)),
        attributes,
    }
}

/// Gives back all that the container has; nothing is no error. Older versions named handles after the workload.
pub fn release(conf: &NetConf, store: &AnyStore, identity: &Identity) -> Result<(), Failure> {
    let _lock = world::lock_ipam(conf);
    let ipam = Ipam::new(store);
    block_on(ipam.release_by_handle(&identity.handle(conf)))?;
    let legacy = match &identity.pod {
        Some(pod) => format!("{}.{pod}", identity.namespace),
        None => identity.container_id.clone(),
    };
    block_on(ipam.release_by_handle(&legacy))?;
    Ok(())
}

/// Gives back these addresses of the container, and no others that it has for another interface.
pub fn release_only(
    conf: &NetConf,
    store: &AnyStore,
    identity: &Identity,
    addresses: &[IpNet],
) -> Result<(), Failure> {
    let _lock = world::lock_ipam(conf);
    let handle = Some(identity.handle(conf));
    let ipam = Ipam::new(store);
    for address in addresses {
        let request = ipam::ReleaseRequest {
            handle: handle.clone(),
            ..ipam::ReleaseRequest::of(address.addr())
        };
        match block_on(ipam.release_ips(&[request])) {
            Ok(_) | Err(ipam::IpamError::Refused(ipam::Refusal::HandleMismatch(_))) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
