//! What happens to the store besides people's commands: a node's start-up, and pods coming and going.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use dataplane::{LinkKind, PROTOCOL_BOOT, Route, RouteKind};
use ipam::{Family, Ipam, Owner, PoolChoice, Request, Use};
use ipnet::IpNet;
use resource::kinds::{
    BgpConfigurationSpec, ClusterInformationSpec, EncapMode, IpPoolSpec, NodeBgpSpec, NodeSpec,
    WorkloadEndpointSpec,
};
use resource::{Key, Metadata, Object, Spec, Store, StoreError};

use crate::bug::Bug;
use crate::tasks::{SteppedStore, TaskId, now_or_never};
use crate::world::{Event, World};

/// The network's name in handles (Calico's conflist).
const NETWORK: &str = "k8s-pod-network";

/// A pod as the runtime knows it.
#[derive(Clone, Debug)]
pub struct SimPod {
    /// Its node.
    pub node: String,
    /// `NETWORK.CONTAINER`.
    pub handle: String,
    /// The host's end of its pair.
    pub interface: String,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// Its place in the store, once it is there.
    pub endpoint: Option<Key>,
    /// The allocation that is under way.
    pub task: Option<TaskId>,
}

/// How an allocation ended.
pub type Allocated = (String, Result<IpAddr, String>);

impl World {
    fn stamped(&mut self, metadata: Metadata) -> Metadata {
        let seconds = self.now().wall.as_secs();
        let timestamp = ipam::time::rfc3339(seconds * 1_000_000_000);
        Metadata {
            uid: Some(self.random.uid()),
            creation_timestamp: Some(timestamp),
            ..metadata
        }
    }

    fn create_if_absent<S: Spec>(&mut self, metadata: Metadata, spec: S) {
        let object = Object::new(self.stamped(metadata), spec);
        match now_or_never(self.store.create(&object.key(), &object.to_stored())) {
            Ok(_) | Err(StoreError::Exists(_)) => {}
            Err(error) => self.note(format_args!("not created: {error}")),
        }
    }

    /// What a node writes before its agent runs, as a Calico start does: itself, the BGPConfiguration `default` with the
    /// mesh on, the ClusterInformation.
    pub fn register(&mut self, name: &str) {
        let Some(port) = self
            .hosts
            .get(name)
            .and_then(|host| host.ports.values().next())
        else {
            return;
        };
        let bgp = NodeBgpSpec {
            ipv4_address: port.address.to_string(),
            ..NodeBgpSpec::default()
        };
        self.create_if_absent(
            Metadata::named(name),
            NodeSpec {
                bgp: Some(bgp),
                ..NodeSpec::default()
            },
        );
        let mesh = BgpConfigurationSpec {
            node_to_node_mesh_enabled: Some(true),
            as_number: Some(64512),
            ..BgpConfigurationSpec::default()
        };
        self.create_if_absent(Metadata::named("default"), mesh);
        let cluster = ClusterInformationSpec {
            cluster_guid: format!("{:016x}{:016x}", self.random.bits(), self.random.bits()),
            datastore_ready: Some(true),
            ..ClusterInformationSpec::default()
        };
        self.create_if_absent(Metadata::named("default"), cluster);
        self.announce_store();
    }

    /// The pool that a start creates when its environment names a range (Calico: `default-ipv4-ippool`).
    pub fn default_pool(&mut self, cidr: &str) {
        let spec = IpPoolSpec {
            cidr: cidr.to_string(),
            vxlan_mode: Some(EncapMode::Never),
            ipip_mode: Some(EncapMode::Never),
            nat_outgoing: true,
            block_size: Some(26),
            node_selector: "all()".to_string(),
            allowed_uses: vec!["Workload".to_string(), "Tunnel".to_string()],
            assignment_mode: Some("Automatic".to_string()),
            ..IpPoolSpec::default()
        };
        self.create_if_absent(Metadata::named("default-ipv4-ippool"), spec);
        self.announce_store();
    }

    /// Begins to start a pod, as a runtime does by CNI ADD; with an address, by `IP=` in CNI_ARGS.
    pub fn add_pod(&mut self, namespace: &str, name: &str, node: &str, wanted: Option<IpAddr>) {
        let container = format!("{:016x}", self.random.bits());
        let handle = format!("{NETWORK}.{container}");
        let interface = format!(
            "cali{:011x}",
            fnv(&format!("{namespace}.{name}")) & 0xfff_ffff_ffff
        );
        let mut pod = SimPod {
            node: node.to_string(),
            handle: handle.clone(),
            interface,
            address: None,
            endpoint: None,
            task: None,
        };
        let store = SteppedStore::new(
            self.store.clone(),
            self.bug == Some(Bug::WritesWithoutComparing),
        );
        let (now, label, node) = (
            self.unix_nanos(),
            format!("{namespace}/{name}"),
            node.to_string(),
        );
        let owner = Owner {
            handle: Some(handle),
            attributes: BTreeMap::from([
                ("namespace".to_string(), namespace.to_string()),
                ("node".to_string(), node.clone()),
                ("pod".to_string(), name.to_string()),
            ]),
        };
        let named = label.clone();
        let task = self.tasks.add(async move {
            let result = match wanted {
                Some(address) => assign(&store, &owner, &node, address, now).await,
                None => auto_assign(&store, &owner, &node, now).await,
            };
            (named, result)
        });
        pod.task = Some(task);
        self.pods.insert(label, pod);
        self.step_later(task);
    }

    fn step_later(&mut self, task: TaskId) {
        let delay = self
            .random
            .between(Duration::from_micros(50), Duration::from_micros(2_000));
        self.queue
            .after(delay, &mut self.random, Event::Task { task });
    }

    pub(crate) fn step_task(&mut self, task: TaskId) {
        match self.tasks.step(task) {
            None if self.tasks.runs(task) => self.step_later(task),
            None => {}
            Some((label, Ok(address))) => self.plumb(&label, address),
            Some((label, Err(why))) => {
                self.note(format_args!("pod {label}: no address: {why}"));
                if let Some(pod) = self.pods.get_mut(&label) {
                    pod.task = None;
                }
            }
        }
    }

    /// What the plugin does once it has an address: the pair and its route first, then the store.
    fn plumb(&mut self, label: &str, address: IpAddr) {
        let Some(pod) = self.pods.get_mut(label) else {
            return;
        };
        (pod.address, pod.task) = (Some(address), None);
        let (node, interface, handle) =
            (pod.node.clone(), pod.interface.clone(), pod.handle.clone());
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.powered) else {
            return;
        };
        host.add_link(&interface, LinkKind::Veth);
        let kind = RouteKind::Device {
            oif: interface.clone(),
        };
        let route = Route {
            protocol: PROTOCOL_BOOT,
            ..Route::bird(IpNet::from(address), kind)
        };
        host.kernel.routes.insert(route);
        let (namespace, name) = label.split_once('/').unwrap_or(("default", label));
        let double = |text: &str| text.replace('-', "--");
        let object = Object::new(
            self.stamped(Metadata::namespaced(
                namespace,
                format!("{}-k8s-{}-eth0", double(&node), double(name)),
            )),
            WorkloadEndpointSpec {
                orchestrator: "k8s".to_string(),
                node: node.clone(),
                container_id: handle.rsplit('.').next().unwrap_or_default().to_string(),
                pod: name.to_string(),
                endpoint: "eth0".to_string(),
                ip_networks: vec![IpNet::from(address).to_string()],
                interface_name: interface,
                ..WorkloadEndpointSpec::default()
            },
        );
        let key = object.key();
        if let Err(error) = now_or_never(self.store.create(&key, &object.to_stored())) {
            self.note(format_args!("pod {label}: endpoint not written: {error}"));
        }
        if let Some(pod) = self.pods.get_mut(label) {
            pod.endpoint = Some(key);
        }
        self.note(format_args!("pod {label} on {node} has {address}"));
        self.disturb(&node);
        self.publish_endpoints();
    }

    /// Ends a pod, as a runtime does by CNI DEL; also one whose start was killed half-way.
    pub fn remove_pod(&mut self, label: &str) {
        let Some(pod) = self.pods.remove(label) else {
            return;
        };
        if let Some(task) = pod.task {
            self.tasks.kill(task);
        }
        let store = self.store.clone();
        let released =
            now_or_never(async { Ipam::new(&store).release_by_handle(&pod.handle).await });
        if let Err(error) = released {
            self.note(format_args!("pod {label}: not released: {error}"));
        }
        if let Some(key) = pod.endpoint {
            let _gone_already = now_or_never(self.store.delete(&key, None));
        }
        if let Some(host) = self.hosts.get_mut(&pod.node) {
            dataplane::remove_link(&mut host.kernel, &pod.interface);
        }
        self.note(format_args!("pod {label} is gone"));
        self.disturb(&pod.node);
        self.publish_endpoints();
    }
}

async fn auto_assign(
    store: &SteppedStore,
    owner: &Owner,
    node: &str,
    now: u64,
) -> Result<IpAddr, String> {
    let request = Request {
        count: 1,
        family: Family::V4,
        owner,
        host: node,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: None,
        windows: false,
    };
    let assignment = Ipam::new(store)
        .auto_assign(&request, now)
        .await
        .map_err(|error| error.to_string())?;
    let first = assignment
        .addresses
        .first()
        .map(|assigned| assigned.address);
    first.ok_or_else(|| assignment.shortfall_text().unwrap_or_default())
}

async fn assign(
    store: &SteppedStore,
    owner: &Owner,
    node: &str,
    address: IpAddr,
    now: u64,
) -> Result<IpAddr, String> {
    let assigned = Ipam::new(store).assign_ip(address, owner, node, now).await;
    assigned
        .map(|assigned| assigned.address)
        .map_err(|error| error.to_string())
}

/// FNV-1a, 64 bits: names of interfaces here, where Calico takes SHA-1.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
