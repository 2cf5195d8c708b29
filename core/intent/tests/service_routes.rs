//! Which service addresses a node tells of: every row of Calico's truth table (calico-compat §6.6), each beside what it is
//! not.

mod world;

use resource::kinds::{BgpConfigurationSpec, OrchRef};
use serde_json::{Value, json};
use world::World;

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// One cluster with one Service: a line of the table.
#[derive(Clone)]
struct Row {
    settings: Value,
    spec: Value,
    status: Value,
    slices: Vec<(&'static str, Value)>,
    excluded: bool,
}

fn endpoint(node: &str, ready: Option<bool>) -> Value {
    json!({"addresses": ["10.1.0.5"], "nodeName": node, "conditions": {"ready": ready}})
}

/// A LoadBalancer Service with an address of each kind, ranges for all three, an endpoint on node a.
fn row() -> Row {
    Row {
        settings: json!({
            "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}],
            "serviceExternalIPs": [{"cidr": "198.51.100.0/24"}],
            "serviceLoadBalancerIPs": [{"cidr": "192.0.2.0/24"}],
        }),
        spec: json!({
            "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
            "externalIPs": ["198.51.100.7"], "externalTrafficPolicy": "Local", "ports": [{"port": 80}],
        }),
        status: json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}),
        slices: vec![("IPv4", json!([endpoint("a", Some(true))]))],
        excluded: false,
    }
}

impl Row {
    fn with(mut self, spec: &[(&str, Value)]) -> Row {
        for (field, value) in spec {
            self.spec[*field] = value.clone();
        }
        self
    }

    fn set(mut self, settings: &[(&str, Value)]) -> Row {
        for (field, value) in settings {
            self.settings[*field] = value.clone();
        }
        self
    }

    fn endpoints(mut self, slices: &[(&'static str, Value)]) -> Row {
        self.slices = slices.to_vec();
        self
    }

    fn world(&self) -> World {
        let settings: BgpConfigurationSpec =
            serde_json::from_value(self.settings.clone()).expect("settings");
        let mut world = World::default().settings(|s| *s = settings);
        for (name, address) in [("a", "10.0.0.1/24"), ("b", "10.0.0.2/24")] {
            world = world.labelled_node(name, address, |node| {
                if self.excluded {
                    node.metadata.labels.insert(EXCLUDE.into(), "true".into());
                }
            });
        }
        world = world.service(self.spec.clone(), self.status.clone());
        for (number, (family, endpoints)) in self.slices.iter().enumerate() {
            world = world.slice(&format!("web-{number}"), family, endpoints.clone());
        }
        world
    }

    fn told(&self, node: &str) -> Vec<String> {
        let origins = self.world().intent(node).bgp.origins;
        origins.iter().map(ToString::to_string).collect()
    }

    /// What of it is about the one Service on nodes a and b; the whole ranges are looked at elsewhere.
    #[track_caller]
    fn check(&self, what: &str, on_a: &[&str], on_b: &[&str]) {
        for (node, expected) in [("a", on_a), ("b", on_b)] {
            let mut told = self.told(node);
            told.retain(|text| text.ends_with("/32") || text.ends_with("/128"));
            assert_eq!(told, expected, "{what}: node {node}");
        }
    }
}

const ALL: &[&str] = &["10.96.0.7/32", "192.0.2.7/32", "198.51.100.7/32"];

#[test]
fn whole_ranges() {
    let ranges = ["10.96.0.0/16", "192.0.2.0/24", "198.51.100.0/24"];
    let quiet = row().with(&[("externalTrafficPolicy", json!("Cluster"))]);
    assert_eq!(quiet.told("a"), ranges);
    assert_eq!(quiet.told("b"), ranges, "every node");
    let mut excluded = quiet.clone();
    excluded.excluded = true;
    assert!(excluded.told("a").is_empty(), "the label");
    let apart = quiet
        .clone()
        .set(&[("serviceLoadBalancerAggregation", json!("Disabled"))]);
    let mut apart = apart.endpoints(&[]);
    assert_eq!(
        apart.told("a"),
        ["10.96.0.0/16", "198.51.100.0/24"],
        "no load balancer ranges without aggregation"
    );
    apart = apart.set(&[("serviceLoadBalancerAggregation", json!("Enabled"))]);
    assert_eq!(apart.told("a"), ranges, "control");
    let single = quiet.set(&[
        ("serviceExternalIPs", json!([{"cidr": "198.51.100.9/32"}])),
        ("serviceLoadBalancerIPs", json!([{"cidr": "192.0.2.9/32"}])),
        ("serviceClusterIPs", json!([{"cidr": "10.96.0.9/32"}])),
    ]);
    assert_eq!(
        single.told("a"),
        ["10.96.0.9/32"],
        "single addresses of services only"
    );
    // For the kernel they are all the same, on excluded nodes too.
    let all = excluded.world().intent("a").not_programmed;
    assert_eq!(
        all.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ranges
    );
}

#[test]
fn local_services_are_told_by_the_nodes_that_have_them() {
    row().check("ready here", ALL, &[]);
    let endpoints = |a| row().endpoints(&[("IPv4", json!([a]))]);
    endpoints(endpoint("b", Some(true))).check("ready there", &[], ALL);
    endpoints(endpoint("a", Some(false))).check("not ready", &[], &[]);
    endpoints(endpoint("a", None)).check("ready is not said", ALL, &[]);
    endpoints(json!({"addresses": ["10.1.0.5"]})).check("on no node", &[], &[]);
    row().endpoints(&[]).check("no endpoints", &[], &[]);
    let six = json!([{"addresses": ["fd00::5"], "nodeName": "a"}]);
    row().endpoints(&[("IPv6", six.clone())]).check(
        "of a family that the Service has not",
        &[],
        &[],
    );
    row()
        .with(&[("ipFamilies", json!(["IPv4", "IPv6"]))])
        .endpoints(&[("IPv6", six)])
        .check("of one that it has", ALL, &[]);
    row().with(&[("ipFamilies", json!([]))]).check(
        "families not filled in are those of its addresses",
        ALL,
        &[],
    );
    let mut excluded = row();
    excluded.excluded = true;
    excluded.check("the label", &[], &[]);
}

#[test]
fn kinds_of_services() {
    for kind in ["LoadBalancer", "NodePort", "ClusterIP"] {
        row().with(&[("type", json!(kind))]).check(kind, ALL, &[]);
    }
    row()
        .with(&[("type", json!("ExternalName"))])
        .check("ExternalName", &[], &[]);
    row()
        .with(&[
            ("clusterIP", json!("None")),
            ("clusterIPs", json!(["None"])),
        ])
        .check("headless", &[], &[]);
}

#[test]
fn cluster_services_are_told_whole() {
    let cluster = || row().with(&[("externalTrafficPolicy", json!("Cluster"))]);
    cluster().check("Cluster", &[], &[]);
    let mut unset = row();
    unset
        .spec
        .as_object_mut()
        .expect("an object")
        .remove("externalTrafficPolicy");
    unset.check("unset is Cluster", &[], &[]);

    // A range of one address: the Service is told by all nodes, whatever its endpoints.
    let lb = |cidr: &str| cluster().set(&[("serviceLoadBalancerIPs", json!([{"cidr": cidr}]))]);
    lb("192.0.2.7/32")
        .endpoints(&[])
        .check("single load balancer address", ALL, ALL);
    lb("192.0.2.8/32").check("another one's", &[], &[]);
    lb("192.0.2.7/32")
        .with(&[("type", json!("NodePort"))])
        .check("not of type LoadBalancer", &[], &[]);
    let external = |cidr: &str| cluster().set(&[("serviceExternalIPs", json!([{"cidr": cidr}]))]);
    external("198.51.100.7/32")
        .endpoints(&[])
        .with(&[("type", json!("ClusterIP"))])
        .check("single external address", ALL, ALL);
    external("198.51.100.8/32").check("another one's", &[], &[]);
    let mut excluded = lb("192.0.2.7/32");
    excluded.excluded = true;
    excluded.check("the label", &[], &[]);
}

#[test]
fn without_aggregation_each_service_is_told_by_all() {
    let apart = || {
        row()
            .with(&[("externalTrafficPolicy", json!("Cluster"))])
            .set(&[("serviceLoadBalancerAggregation", json!("Disabled"))])
    };
    apart().check("an endpoint somewhere", ALL, ALL);
    apart().endpoints(&[]).check("none", &[], &[]);
    apart()
        .endpoints(&[("IPv4", json!([endpoint("a", Some(false))]))])
        .check("none that is ready", &[], &[]);
    let local = apart().with(&[("externalTrafficPolicy", json!("Local"))]);
    local.check("Local stays with its node", ALL, &[]);
}

#[test]
fn which_addresses() {
    row().set(&[("serviceClusterIPs", json!([]))]).check(
        "no cluster range",
        &["192.0.2.7/32", "198.51.100.7/32"],
        &[],
    );
    row()
        .set(&[("serviceClusterIPs", json!([{"cidr": "10.97.0.0/16"}]))])
        .check("cluster addresses are not compared", ALL, &[]);
    row()
        .set(&[("serviceExternalIPs", json!([{"cidr": "198.51.100.128/25"}]))])
        .check("outside", &["10.96.0.7/32", "192.0.2.7/32"], &[]);
    row().set(&[("serviceLoadBalancerIPs", json!([]))]).check(
        "no range",
        &["10.96.0.7/32", "198.51.100.7/32"],
        &[],
    );
    row()
        .with(&[("clusterIPs", json!(["10.96.0.7", "fd00:96::7"]))])
        .check(
            "both families",
            &[
                "10.96.0.7/32",
                "192.0.2.7/32",
                "198.51.100.7/32",
                "fd00:96::7/128",
            ],
            &[],
        );
}

#[test]
fn endpoints_call_nodes_as_kubernetes_does() {
    let renamed = row().endpoints(&[("IPv4", json!([endpoint("k8s-a", Some(true))]))]);
    renamed.check("a name that nobody has", &[], &[]);
    let known = renamed.world().labelled_node("a", "10.0.0.1/24", |node| {
        node.spec.orch_refs = vec![OrchRef {
            node_name: "k8s-a".into(),
            orchestrator: "k8s".into(),
        }];
    });
    let origins = known.resources();
    let told = intent::compute(&origins, "a").bgp.origins;
    assert!(
        told.contains(&"192.0.2.7/32".parse().expect("a CIDR")),
        "{told:?}"
    );
}

/// CALICO_ADVERTISE_CLUSTER_IPS takes the place of serviceClusterIPs.
#[test]
fn the_environment_may_name_cluster_ranges() {
    let resources = row().world().resources();
    let other = "10.98.0.0/16".parse().expect("a CIDR");
    let environment = intent::Environment {
        advertise_cluster_ips: Some(vec![other]),
    };
    let intent = intent::compute_in(&resources, "b", &environment);
    let told: Vec<String> = intent.bgp.origins.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["10.98.0.0/16", "192.0.2.0/24", "198.51.100.0/24"]);
    assert!(intent.not_programmed.contains(&other));
}

/// An address that two Services have goes with the last of them.
#[test]
fn shared_addresses_are_counted() {
    let world = row().world();
    let second = json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": "other", "namespace": "shop"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.8", "externalIPs": ["198.51.100.7"], "externalTrafficPolicy": "Local"},
    });
    let slice = json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {"name": "other-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "other"}},
        "endpoints": [endpoint("a", Some(true))],
    });
    let world = world
        .object(resource::kinds::Service::from_value(second).expect("a Service"))
        .object(resource::kinds::EndpointSlice::from_value(slice).expect("an EndpointSlice"));
    let mut resources = world.resources();
    let shared = "198.51.100.7/32".parse().expect("a CIDR");
    let told = |resources: &intent::Resources| {
        intent::compute(resources, "a")
            .bgp
            .origins
            .contains(&shared)
    };
    for (name, still) in [("web", true), ("other", false)] {
        let key = resource::Key::in_namespace(resource::Kind::Service, "shop", name);
        resources.delete(&key);
        assert_eq!(told(&resources), still, "without {name}");
    }
}
