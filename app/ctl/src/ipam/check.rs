//! `ipam check`: the addresses that are given against those that are in use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use ipam::survey::{Allocation, Survey, tunnel_addresses, workload_addresses};
use ipnet::IpNet;
use resource::{Kind, Store};
use store::block_on;

use super::report::{Allocated, Report};
use crate::args::Args;
use crate::client::Client;
use crate::command::Persona;
use crate::version;
use crate::world::{Failure, World};

/// How many nodes are listed.
const TOP_NODES: usize = 20;

/// Says what does not fit together, and writes a report where one is wanted. Problems are no failure.
///
/// # Errors
/// A store that cannot be read; a report that cannot be written; as calicoctl on etcd, where no kubeconfig is named: its
/// workloads are Kubernetes' then.
pub fn run<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let kubeconfig = || (world.environment)("KUBECONFIG").filter(|path| !path.is_empty());
    if world.persona == Persona::Calicoctl
        && world.etcd.get()
        && !args.has("kubeconfig")
        && kubeconfig().is_none()
    {
        return Err(Failure::message(
            "KUBECONFIG environment variable or --kubeconfig parameter not set",
        ));
    }
    let survey = block_on(client.ipam.survey()).map_err(Failure::message)?;
    let mut check = Check {
        survey: &survey,
        allocations: survey.allocations(),
        in_use: BTreeMap::new(),
        show_all: args.has("show-all-ips"),
        show_problems: args.has("show-problem-ips"),
        problems: 0,
    };
    world.print("Checking IPAM for inconsistencies...\n\n")?;
    check.blocks(world)?;
    let pools = check.pools(world)?;
    check.nodes(world)?;
    let controlled = controls_services(client);
    // Calico's client has such a configuration on Kubernetes, or stops.
    if let (Err(error), true) = (&controlled, client.is_kubernetes())
        && world.persona == Persona::Calicoctl
    {
        world.print("Loading all service load balancer IPs.\n")?;
        return Err(Failure::message(error));
    }
    check.services(controlled.unwrap_or(false), world)?;
    check.workloads(world)?;
    check.top_nodes(world)?;
    check.unused(world)?;
    check.unallocated(&pools, world)?;
    let leaked = check.handles(world)?;
    let problems = check.problems;
    world.print(format_args!("Check complete; found {problems} problems.\n"))?;
    match args.get("output") {
        Some(path) => check.write(path, &leaked, client),
        None => Ok(()),
    }
}

/// Whether the KubeControllersConfiguration has a controller of services' addresses.
fn controls_services<S: Store + Sync>(client: &Client<'_, S>) -> Result<bool, String> {
    let found = client.get(Kind::KubeControllersConfiguration, None, "default")?;
    Ok(found.pointer("/spec/controllers/loadBalancer").is_some())
}

struct Check<'a> {
    survey: &'a Survey,
    allocations: Vec<Allocation>,
    /// Who uses which address.
    in_use: BTreeMap<IpAddr, Vec<String>>,
    show_all: bool,
    show_problems: bool,
    problems: usize,
}

impl Check<'_> {
    fn blocks(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        world.print(format_args!(
            "Loading all IPAM blocks...\nFound {} IPAM blocks.\n",
            self.survey.blocks.len()
        ))?;
        for block in &self.survey.blocks {
            let affinity = block.affinity.as_deref().unwrap_or("<none>");
            world.print(format_args!(
                " IPAM block {} affinity={affinity}:\n",
                block.cidr
            ))?;
            if self.show_all {
                for allocation in ipam::survey::allocations(block) {
                    world.print(format_args!(
                        "  {} allocated; attrs {}\n",
                        allocation.address,
                        attributes(&allocation)
                    ))?;
                }
            }
        }
        let addresses: BTreeSet<IpAddr> = self.allocations.iter().map(|a| a.address).collect();
        world.print(format_args!(
            "IPAM blocks record {} allocations.\n\n",
            addresses.len()
        ))
    }

    /// The pools that are not disabled.
    fn pools(&self, world: &mut World<'_>) -> Result<Vec<IpNet>, Failure> {
        world.print("Loading all IPAM pools...\n")?;
        let mut cidrs = Vec::new();
        for pool in self.survey.pools.iter().filter(|p| !p.spec.disabled) {
            world.print(format_args!("  {}\n", pool.spec.cidr))?;
            let cidr = pool.spec.cidr.parse::<IpNet>().map_err(|error| {
                Failure::message(format!("failed to parse IP pool CIDR: {error}"))
            })?;
            cidrs.push(cidr);
        }
        world.print(format_args!("Found {} active IP pools.\n\n", cidrs.len()))?;
        Ok(cidrs)
    }

    fn uses(&mut self, address: IpAddr, who: &str, world: &mut World<'_>) -> Result<(), Failure> {
        if self.show_all {
            world.print(format_args!("  {address} belongs to {who}\n"))?;
        }
        self.in_use
            .entry(address)
            .or_default()
            .push(who.to_string());
        Ok(())
    }

    fn nodes(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        world.print("Loading all nodes.\n")?;
        let mut count = 0;
        for node in &self.survey.nodes {
            for address in tunnel_addresses(node) {
                count += 1;
                self.uses(address, &format!("Node({})", node.metadata.name), world)?;
            }
        }
        world.print(format_args!("Found {count} node tunnel IPs.\n\n"))
    }

    fn services(&mut self, controlled: bool, world: &mut World<'_>) -> Result<(), Failure> {
        world.print("Loading all service load balancer IPs.\n")?;
        let ours = self.service_addresses();
        if ours.is_empty() && !controlled {
            return world.print(
                "No configuration for LoadBalancer kubecontroller found, skipping service check\n\n",
            );
        }
        for (address, who) in &ours {
            self.uses(*address, who, world)?;
        }
        world.print(format_args!(
            "Found {} service load balancer IPs.\n\n",
            ours.len()
        ))
    }

    /// The addresses that services have from us.
    fn service_addresses(&self) -> Vec<(IpAddr, String)> {
        let mut found = Vec::new();
        for service in &self.survey.services {
            let metadata = &service.metadata;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            let uid = metadata.uid.as_deref().unwrap_or_default();
            let handle = ipam::load_balancer::handle(&metadata.name, namespace, uid);
            for allocation in &self.allocations {
                if allocation.handle() == Some(handle.as_str()) {
                    let who = format!("Service({namespace}/{})", metadata.name);
                    found.push((allocation.address, who));
                }
            }
        }
        found
    }

    fn workloads(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        world.print("Loading all workload endpoints.\n")?;
        let mut count = 0;
        for workload in &self.survey.workloads {
            let metadata = &workload.metadata;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            for address in workload_addresses(workload) {
                count += 1;
                let who = format!("Workload({namespace}/{})", metadata.name);
                self.uses(address, &who, world)?;
            }
        }
        world.print(format_args!(
            "Found {count} workload IPs.\nWorkloads and nodes are using {} IPs.\n\n",
            self.in_use.len()
        ))
    }

    fn top_nodes(&self, world: &mut World<'_>) -> Result<(), Failure> {
        world.print("Loading all handles\nLooking for top (up to 20) nodes by allocations...\n")?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for allocated in self.report().values().flatten() {
            *counts.entry(allocated.node.clone()).or_default() += 1;
        }
        let mut nodes: Vec<(String, usize)> = counts
            .into_iter()
            .filter(|(node, _)| !node.is_empty())
            .collect();
        nodes.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
        for (node, count) in nodes.iter().take(TOP_NODES) {
            world.print(format_args!("  {node} has {count} allocations\n"))?;
        }
        if let (Some((_, most)), Some((_, median))) = (nodes.first(), nodes.get(nodes.len() / 2)) {
            world.print(format_args!(
                "Node with most allocations has {most}; median is {median}\n"
            ))?;
        }
        world.print("\n")
    }

    fn unused(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        world.print("Scanning for IPs that are allocated but not actually in use...\n")?;
        let unused: Vec<&Allocation> = self
            .allocations
            .iter()
            .filter(|a| !self.in_use.contains_key(&a.address))
            .collect();
        if self.show_problems {
            for allocation in &unused {
                world.print(format_args!(
                    "  {} leaked; attrs {}\n",
                    allocation.address,
                    attributes(allocation)
                ))?;
            }
        }
        let count = unused.len();
        self.problems += count;
        world.print(format_args!(
            "Found {count} IPs that are allocated in IPAM but not actually in use.\n"
        ))
    }

    fn unallocated(&mut self, pools: &[IpNet], world: &mut World<'_>) -> Result<(), Failure> {
        world.print(
            "Scanning for IPs that are in use by a workload or node but not allocated in IPAM...\n",
        )?;
        let given: BTreeSet<IpAddr> = self.allocations.iter().map(|a| a.address).collect();
        let (mut outside, mut inside) = (0, 0);
        for (address, owners) in &self.in_use {
            if self.show_problems && owners.len() > 1 {
                world.print(format_args!("  {address} has multiple owners.\n"))?;
            }
            if given.contains(address) {
                continue;
            }
            let in_pool = pools.iter().any(|pool| pool.contains(address));
            let (count, trouble) = match in_pool {
                true => (
                    &mut inside,
                    "and in active IPAM pool but has no IPAM allocation.",
                ),
                false => (&mut outside, "is not in any active IP pool."),
            };
            *count += 1;
            if self.show_problems {
                for owner in owners {
                    world.print(format_args!("  {address} in use by {owner} {trouble}\n"))?;
                }
            }
        }
        self.problems += inside;
        world.print(format_args!(
            "Found {outside} in-use IPs that are not in active IP pools.\n\
             Found {inside} in-use IPs that are in active IP pools but have no corresponding IPAM allocation.\n\n"
        ))
    }

    /// The handles that have no address.
    fn handles(&mut self, world: &mut World<'_>) -> Result<Vec<String>, Failure> {
        world.print("Scanning for IPAM handles with no matching IPs...\n")?;
        let known: BTreeSet<&str> = self
            .allocations
            .iter()
            .filter_map(Allocation::handle)
            .collect();
        let ids = self.survey.handles.keys();
        let (matched, leaked): (Vec<&String>, Vec<&String>) =
            ids.partition(|id| known.contains(ipam::block::plain_handle(id)));
        if self.show_all {
            for id in &leaked {
                world.print(format_args!("  {id} doesn't have any active IPs.\n"))?;
            }
        }
        world.print(format_args!(
            "Found {} handles with no matching IPs (and {} handles with matches).\n\
             Scanning for IPs with missing handle...\n",
            leaked.len(),
            matched.len()
        ))?;
        let missing = || {
            let stored = &self.survey.handles;
            known.iter().filter(|id| !stored.contains_key(**id))
        };
        if self.show_problems {
            for id in missing() {
                world.print(format_args!(
                    "  {id} is in use in a block but doesn't exist.\n"
                ))?;
            }
        }
        world.print(format_args!(
            "Found {} handles mentioned in blocks with no matching handle resource.\n",
            missing().count()
        ))?;
        let leaked: Vec<String> = leaked.into_iter().cloned().collect();
        self.problems += leaked.len();
        Ok(leaked)
    }

    fn report(&self) -> BTreeMap<String, Vec<Allocated>> {
        let affinities: BTreeMap<IpNet, Option<&str>> = self
            .survey
            .blocks
            .iter()
            .map(|b| (b.cidr, b.affinity.as_deref()))
            .collect();
        let mut by_address: BTreeMap<String, Vec<Allocated>> = BTreeMap::new();
        for allocation in &self.allocations {
            let affinity = affinities.get(&allocation.block).copied().flatten();
            let owners = self.in_use.get(&allocation.address);
            let owners = owners.map(Vec::as_slice).unwrap_or_default();
            by_address
                .entry(allocation.address.to_string())
                .or_default()
                .push(Allocated::new(allocation, affinity, owners));
        }
        by_address
    }

    fn write<S: Store + Sync>(
        &self,
        path: &str,
        leaked: &[String],
        client: &Client<'_, S>,
    ) -> Result<(), Failure> {
        let information = version::information(client).map_err(Failure::message)?;
        let report = Report::new(&information, self.report(), leaked, self.survey);
        let text = serde_json::to_string_pretty(&report)
            .expect("our own types have string keys and finite numbers");
        fs::write(path, text)
            .map_err(|error| Failure::message(format!("cannot write the report {path}: {error}")))
    }
}

/// As calicoctl writes an owner: its handle, then its attributes by name.
fn attributes(allocation: &Allocation) -> String {
    let handle = allocation.owner.handle_id.as_deref().unwrap_or("<none>");
    let secondary = allocation.owner.secondary.iter().flatten();
    let pairs: Vec<String> = secondary
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("Main:{handle} Extra:{}", pairs.join(","))
}
