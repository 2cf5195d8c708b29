//! Agents on a real Kubernetes API: Nodes are the kubelet's, endpoints are pods', and Services come from the API itself.

mod world;

use std::path::Path;
use std::time::Duration;

use resource::kinds::{ClusterInformation, pod_interface};
use resource::{Key, Kind, Store};
use serde_json::{Value, json};
use store::block_on;
use store::testing::{Kubernetes, kubernetes_skipped};
use world::{World, attempt, in_own_namespaces, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);

/// What a kubelet does when it starts.
fn register(kubernetes: &Kubernetes, name: &str, address: &str) {
    let node = json!({"metadata": {"name": name}});
    kubernetes.post("/api/v1/nodes", &node);
    let addresses = json!([{"type": "InternalIP", "address": address}]);
    let status = json!({"status": {"addresses": addresses}});
    let path = format!("/api/v1/nodes/{name}/status");
    kubernetes.request("PATCH", &path, Some(&status));
}

/// A pod of a node, as the kubelet and the CNI plugin leave it.
fn pod(world: &World, kubernetes: &Kubernetes, node: &str, name: &str, address: &str) {
    world.plug(node, name, address, &pod_interface("cali", "default", name));
    let annotations = json!({"cni.projectcalico.org/podIP": format!("{address}/32")});
    let container = json!({"name": "c", "image": "x"});
    let pod = json!({"metadata": {"name": name, "annotations": annotations, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [container]}});
    kubernetes.post("/api/v1/namespaces/default/pods", &pod);
}

fn node(kubernetes: &Kubernetes, name: &str) -> Value {
    kubernetes.request("GET", &format!("/api/v1/nodes/{name}"), None)
}

/// A Service at an address, with a pod behind it.
fn service(kubernetes: &Kubernetes, address: &str, node: &str, pod: &str) {
    let port = json!({"port": 80, "protocol": "TCP"});
    let service =
        json!({"metadata": {"name": "web"}, "spec": {"clusterIP": address, "ports": [port]}});
    kubernetes.post("/api/v1/namespaces/default/services", &service);
    let endpoint = json!({"addresses": [pod], "conditions": {"ready": true}, "nodeName": node});
    let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"name": "", "port": 80, "protocol": "TCP"}]});
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    kubernetes.post(path, &slice);
}

#[test]
fn nodes_on_the_kubernetes_api() {
    if kubernetes_skipped() {
        return;
    }
    in_own_namespaces("nodes_on_the_kubernetes_api", |directory: &Path| {
        run("ip address add 10.20.0.1/23 dev lan");
        let mut kubernetes = Kubernetes::start_on("10.20.0.1");
        // All but what the kubelets do is done by a user who may do no more than the role says.
        let role = include_str!("../../../examples/kubernetes/clusterrole.yaml");
        let role = serde_yaml_ng::from_str(role).expect("a role");
        let place = kubernetes.kubeconfig_for(&role);
        let place = place.to_str().expect("text");
        let mut world = World::on(directory, "nodes_on_the_kubernetes_api", place);
        world.host("n84", "10.20.1.84/23");
        world.host("n85", "10.20.1.85/23");
        world.pool("pool", "10.200.0.0/23", |_| {});

        // An agent that is earlier than its kubelet waits for it, and says so.
        register(&kubernetes, "n85", "10.20.1.85");
        world.spawn("n84", &[("CLUSTER_TYPE", "k8s,bgp")]);
        world.spawn("n85", &[("CLUSTER_TYPE", "k8s,bgp")]);
        let waits = || world.log("n84").contains("node-not-registered");
        wait_for("node-not-registered", 40 * SECOND, waits, || {
            world.log("n84")
        });
        assert!(!world.log("n85").contains("node-not-registered"));
        register(&kubernetes, "n84", "10.20.1.84");
        world.wait_ready("n84");
        world.wait_ready("n85");

        world.block("n84", "10.200.0.192/26");
        world.block("n85", "10.200.1.192/26");
        let route = "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird";
        world.wait_route("n84", route);
        let route = "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird";
        world.wait_route("n85", route);
        pod(&world, &kubernetes, "n84", "p1", "10.200.0.193");
        pod(&world, &kubernetes, "n85", "p2", "10.200.1.193");
        let reach = || {
            let ping = attempt("ip netns exec p1 ping -c 1 -W 1 10.200.1.193");
            ping.status.success()
        };
        wait_for("answer", 20 * SECOND, reach, || world.log("n84"));

        what_the_agents_wrote(&world, &kubernetes);
        one_collects(&world, &kubernetes);
        services_of_the_api(&world, &kubernetes);
        the_api_is_lost_and_comes_back(&world, &mut kubernetes);
    });
}

fn what_the_agents_wrote(world: &World, kubernetes: &Kubernetes) {
    let up = || {
        let there = node(kubernetes, "n84");
        let conditions = there["status"]["conditions"].as_array().cloned();
        conditions.unwrap_or_default().iter().any(|c| {
            c["type"] == "NetworkUnavailable"
                && c["status"] == "False"
                && c["reason"] == "CalicoIsUp"
        })
    };
    wait_for("condition", 20 * SECOND, up, || {
        node(kubernetes, "n84").to_string() + &world.log("n84")
    });
    let there = node(kubernetes, "n84");
    let annotations = &there["metadata"]["annotations"];
    assert_eq!(
        annotations["projectcalico.org/IPv4Address"],
        "10.20.1.84/23"
    );
    // The kubelet's part is as it was.
    assert_eq!(there["status"]["addresses"][0]["address"], "10.20.1.84");
    let key = Key::cluster(Kind::ClusterInformation, "default");
    let entry = block_on(world.store.get(&key)).expect("read");
    let cluster = ClusterInformation::from_entry(&entry.expect("there")).expect("read");
    assert_eq!(cluster.spec.cluster_type, "k8s,bgp,kdd");
    let key = Key::cluster(Kind::NodeSessions, "n84");
    let told = || {
        let entry = block_on(world.store.get(&key)).expect("read");
        entry.is_some_and(|e| e.value.contains("10.20.1.85"))
    };
    wait_for("NodeSessions", 40 * SECOND, told, || world.log("n84"));
}

/// One of the agents collects for all, by a lease of Kubernetes' own kind.
fn one_collects(world: &World, kubernetes: &Kubernetes) {
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/selvedge-ipam-collector";
    kubernetes.request("GET", path, None);
    let collects = |name: &&str| {
        let log = world.log(name);
        log.contains("this node releases the cluster's addresses")
    };
    assert_eq!(["n84", "n85"].iter().filter(|n| collects(n)).count(), 1);
    for name in ["n84", "n85"] {
        let log = world.log(name);
        for failure in ["ipam-collector:", "node-report:", "tunnel"] {
            let failed = |line: &&str| line.contains("WARN") && line.contains(failure);
            assert_eq!(log.lines().find(failed), None);
        }
    }
}

/// What is known stays in force without the API server, and what is written later arrives.
fn the_api_is_lost_and_comes_back(world: &World, kubernetes: &mut Kubernetes) {
    let health = world.directory("n84").join("run").join(agent::HEALTH_FILE);
    let unreadable = || {
        let file = std::fs::read_to_string(&health).unwrap_or_default();
        file.contains("store-unreadable: ")
    };
    assert!(!unreadable());
    kubernetes.kill();
    wait_for("store-unreadable", 40 * SECOND, unreadable, || {
        world.log("n84")
    });
    run("ip netns exec p1 ping -c 3 -i 0.2 -W 1 10.200.1.193");
    kubernetes.start_again();
    world.wait_ready("n84");
    world.block("n85", "10.200.1.0/26");
    world.wait_route("n84", "10.200.1.0/26 via 10.20.1.85 dev ens192 proto bird");
}

/// What is advertised and forwarded is what the API's own Services and EndpointSlices say.
fn services_of_the_api(world: &World, kubernetes: &Kubernetes) {
    let rules = || run("ip netns exec n84 nft list ruleset");
    assert!(!rules().contains("10.96.7.7"), "not before it is there");
    service(kubernetes, "10.96.7.7", "n85", "10.200.1.193");
    let forwarded = || rules().contains("10.96.7.7") && rules().contains("10.200.1.193");
    wait_for("the service", 20 * SECOND, forwarded, || {
        rules() + &world.log("n84")
    });
}
