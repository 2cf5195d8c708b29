//! A store's content, built line by line, and what comes of it.

#![allow(dead_code, reason = "each test file uses some of it")]

use intent::{Intent, Reason, Resources, compute};
use resource::kinds::{
    BgpConfiguration, BgpConfigurationSpec, BgpPeer, BgpPeerSpec, EndpointSlice, IpPool,
    IpPoolSpec, Node, NodeBgpSpec, NodeSpec, PeerPolicy, Service, WorkloadEndpoint,
    WorkloadEndpointSpec,
};
use resource::{Change, Entry, Key, Metadata, Object, Spec};

/// A store's content, built line by line.
#[derive(Clone, Default)]
pub struct World {
    entries: Vec<Entry>,
}

impl World {
    pub fn entry(mut self, key: Key, value: impl Into<String>) -> World {
        let revision = self.entries.len() as u64 + 1;
        self.entries.push(Entry {
            key,
            value: value.into(),
            revision,
        });
        self
    }

    pub fn object<S: Spec>(self, object: Object<S>) -> World {
        self.entry(object.key(), object.to_stored())
    }

    pub fn node(self, name: &str, address: &str, reflector: bool) -> World {
        self.node_with(name, address, reflector, |_| {})
    }

    pub fn node_with(
        self,
        name: &str,
        address: &str,
        reflector: bool,
        set: impl FnOnce(&mut NodeBgpSpec),
    ) -> World {
        let mut node = Node::new(Metadata::named(name), NodeSpec::default());
        let mut bgp = NodeBgpSpec {
            ipv4_address: address.into(),
            ..Default::default()
        };
        if reflector {
            bgp.route_reflector_cluster_id = "244.0.0.1".into();
            node.metadata
                .labels
                .insert("route-reflector".into(), "true".into());
        }
        set(&mut bgp);
        node.spec.bgp = Some(bgp);
        self.object(node)
    }

    pub fn labelled_node(self, name: &str, address: &str, set: impl FnOnce(&mut Node)) -> World {
        let mut node = Node::new(Metadata::named(name), NodeSpec::default());
        node.spec.bgp = Some(NodeBgpSpec {
            ipv4_address: address.into(),
            ..Default::default()
        });
        set(&mut node);
        self.object(node)
    }

    pub fn mesh(self, enabled: bool) -> World {
        self.settings(|s| s.node_to_node_mesh_enabled = Some(enabled))
    }

    pub fn settings(self, set: impl FnOnce(&mut BgpConfigurationSpec)) -> World {
        let mut spec = BgpConfigurationSpec::default();
        set(&mut spec);
        self.object(BgpConfiguration::new(Metadata::named("default"), spec))
    }

    pub fn peer(self, name: &str, set: impl FnOnce(&mut BgpPeerSpec)) -> World {
        let mut spec = BgpPeerSpec::default();
        set(&mut spec);
        self.object(BgpPeer::new(Metadata::named(name), spec))
    }

    pub fn selectors(self, name: &str, nodes: &str, peers: &str) -> World {
        self.peer(name, |s| {
            s.node_selector = nodes.into();
            s.peer_selector = peers.into();
        })
    }

    pub fn pool(self, name: &str, cidr: &str, set: impl FnOnce(&mut IpPoolSpec)) -> World {
        let mut spec = IpPoolSpec {
            cidr: cidr.into(),
            ..Default::default()
        };
        set(&mut spec);
        self.object(IpPool::new(Metadata::named(name), spec))
    }

    pub fn block(self, host: &str, cidr: &str, state: &str) -> World {
        let key = Key::BlockAffinity {
            host: host.into(),
            cidr: cidr.parse().expect("a CIDR"),
        };
        self.entry(key, format!(r#"{{"state":"{state}","deleted":false}}"#))
    }

    pub fn workload(self, node: &str, name: &str, address: &str) -> World {
        let spec = WorkloadEndpointSpec {
            node: node.into(),
            interface_name: format!("cali{name}"),
            ip_networks: vec![address.into()],
            ..Default::default()
        };
        self.object(WorkloadEndpoint::new(
            Metadata::namespaced("default", name),
            spec,
        ))
    }

    /// A Service and its EndpointSlices, as Kubernetes' documents.
    pub fn service(self, spec: serde_json::Value, status: serde_json::Value) -> World {
        let document = serde_json::json!({
            "kind": "Service", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "shop"},
            "spec": spec, "status": status,
        });
        self.object(Service::from_value(document).expect("a Service"))
    }

    pub fn slice(self, name: &str, family: &str, endpoints: serde_json::Value) -> World {
        let document = serde_json::json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": family, "endpoints": endpoints,
        });
        self.object(EndpointSlice::from_value(document).expect("an EndpointSlice"))
    }

    pub fn policy(self, name: &str, spec: serde_json::Value) -> World {
        let spec = serde_json::from_value(spec).expect("a PeerPolicy's spec");
        self.object(PeerPolicy::new(Metadata::named(name), spec))
    }

    pub fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for entry in &self.entries {
            resources.put(entry);
        }
        resources
    }

    /// The intent, which must not depend on the way in which the resources came.
    pub fn intent(&self, node: &str) -> Intent {
        let straight = compute(&self.resources(), node);
        let mut reversed = Resources::default();
        for entry in self.entries.iter().rev() {
            reversed.put(entry);
        }
        assert_eq!(compute(&reversed, node), straight, "reversed");
        let mut detour = self.resources();
        for entry in &self.entries {
            detour.apply(&Change::Delete {
                key: entry.key.clone(),
                revision: 0,
            });
        }
        assert_eq!(detour, Resources::default(), "all deleted");
        for entry in &self.entries {
            let broken = Entry {
                value: "{".into(),
                ..entry.clone()
            };
            detour.apply(&Change::Put(broken));
            detour.apply(&Change::Put(entry.clone()));
        }
        assert_eq!(
            compute(&detour, node),
            straight,
            "deleted, broken and put again"
        );
        straight
    }

    /// One line a session.
    #[track_caller]
    pub fn check(&self, node: &str, expected: &[&str]) {
        let intent = self.intent(node);
        let lines: Vec<String> = intent.bgp.sessions.iter().map(line).collect();
        assert_eq!(lines, expected, "sessions of {node}");
    }

    #[track_caller]
    pub fn check_reasons(&self, node: &str, expected: &[Reason]) {
        let intent = self.intent(node);
        let reasons: Vec<Reason> = intent.refusals.iter().map(|r| r.reason).collect();
        assert_eq!(reasons, expected, "{:#?}", intent.refusals);
    }
}

pub fn line(session: &intent::Session) -> String {
    let mut line = format!("{} as {}", session.name, session.remote_as);
    if let Some(source) = session.source {
        line += &format!(" source {source}");
    }
    if session.passive {
        line += " passive";
    }
    if let Some(cluster) = session.rr_client {
        line += &format!(" client {cluster}");
    }
    line
}
