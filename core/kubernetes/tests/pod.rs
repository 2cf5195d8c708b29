//! Endpoints as a real calicoctl showed them, from the pods that a real plugin wrote.

use kubernetes::pod::{endpoints, endpoints_named, ignored, patch, pod_of, removal};
use resource::{Key, Kind};
use serde_json::{Value, json};

/// Captured: `kubectl get pod web-0 -o yaml`, after a CNI ADD.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  annotations:
    cni.projectcalico.org/containerID: abcdef0123456789
    cni.projectcalico.org/podIP: 10.244.84.128/32
    cni.projectcalico.org/podIPs: 10.244.84.128/32
  creationTimestamp: "2026-11-22T22:50:27Z"
  generation: 1
  labels:
    app: web
  name: web-0
  namespace: default
  resourceVersion: "164"
  uid: b490ae9b-12b2-47f1-9ad5-36550d634549
spec:
  containers:
  - image: x
    imagePullPolicy: Always
    name: c
    ports:
    - containerPort: 80
      name: http
      protocol: TCP
    resources: {}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  nodeName: node-1
  preemptionPolicy: PreemptLowerPriority
  priority: 0
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: app
  serviceAccountName: app
  terminationGracePeriodSeconds: 30
  tolerations:
  - effect: NoExecute
    key: node.kubernetes.io/not-ready
    operator: Exists
    tolerationSeconds: 300
status:
  phase: Pending
  qosClass: BestEffort
"#;

/// Captured: `calicoctl get wep -o yaml`, but for the list and the resourceVersion.
const ENDPOINT: &str = r#"
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  creationTimestamp: "2026-11-22T22:50:27Z"
  labels:
    app: web
    projectcalico.org/namespace: default
    projectcalico.org/orchestrator: k8s
    projectcalico.org/serviceaccount: app
  name: node--1-k8s-web--0-eth0
  namespace: default
  uid: b490ae9b-12b2-47f1-9ad5-36550d634549
spec:
  containerID: abcdef0123456789
  endpoint: eth0
  interfaceName: cali0d7763386da
  ipNetworks:
  - 10.244.84.128/32
  node: node-1
  orchestrator: k8s
  pod: web-0
  ports:
  - hostIP: ""
    hostPort: 0
    name: http
    port: 80
    protocol: TCP
  profiles:
  - kns.default
  - ksa.default.app
  serviceAccountName: app
"#;

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).expect("captured YAML")
}

fn pod() -> Value {
    yaml(POD)
}

fn annotated(annotations: &[(&str, &str)]) -> Value {
    let mut pod = pod();
    for (name, value) in annotations {
        pod["metadata"]["annotations"][*name] = json!(value);
    }
    pod
}

fn key() -> Key {
    Key::in_namespace(Kind::WorkloadEndpoint, "default", "node--1-k8s-web--0-eth0")
}

/// The spec of the endpoint; null where there is none.
fn spec(pod: &Value) -> Value {
    match endpoints(pod).expect("a pod") {
        Some((_, document)) => {
            serde_json::from_str::<Value>(&document).expect("JSON")["spec"].take()
        }
        None => Value::Null,
    }
}

#[test]
fn the_captured_pod_reads_as_calicoctl_shows_it() {
    let (found, document) = endpoints(&pod()).expect("a pod").expect("an endpoint");
    assert_eq!(found, key());
    let parsed: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(parsed, yaml(ENDPOINT));
    assert!(ignored(&pod()).is_empty());
    let order = r#""spec":{"orchestrator":"k8s","node":"node-1","containerID":"abcdef0123456789","pod":"web-0","endpoint":"eth0","serviceAccountName":"app","ipNetworks":["#;
    assert!(document.contains(order), "Calico's order: {document}");
}

#[test]
fn the_captured_add_and_del() {
    let document = serde_json::to_string(&yaml(ENDPOINT)).expect("JSON");
    assert_eq!(
        patch(&document),
        Ok(json!({"metadata": {"annotations": {
            "cni.projectcalico.org/containerID": "abcdef0123456789",
            "cni.projectcalico.org/podIP": "10.244.84.128/32",
            "cni.projectcalico.org/podIPs": "10.244.84.128/32",
        }}}))
    );
    let mut both = yaml(ENDPOINT);
    both["spec"]["ipNetworks"] = json!(["10.244.84.128/32", "fd00::1/128"]);
    let both = patch(&both.to_string()).expect("a patch");
    let annotations = &both["metadata"]["annotations"];
    assert_eq!(
        annotations["cni.projectcalico.org/podIP"],
        "10.244.84.128/32"
    );
    assert_eq!(
        annotations["cni.projectcalico.org/podIPs"],
        "10.244.84.128/32,fd00::1/128"
    );

    // After a DEL the sandbox's name is still there.
    let mut deleted = pod();
    let removal = removal();
    let removed = removal["metadata"]["annotations"]
        .as_object()
        .expect("annotations");
    for (name, value) in removed {
        deleted["metadata"]["annotations"][name] = value.clone();
    }
    assert_eq!(
        deleted["metadata"]["annotations"],
        json!({
            "cni.projectcalico.org/containerID": "abcdef0123456789",
            "cni.projectcalico.org/podIP": "",
            "cni.projectcalico.org/podIPs": "",
        })
    );
    assert_eq!(endpoints(&deleted), Ok(None));
}

#[test]
fn what_is_no_pod_s_endpoint_is_not_written() {
    let mut other = yaml(ENDPOINT);
    other["spec"]["orchestrator"] = json!("cni");
    assert_eq!(
        patch(&other.to_string()),
        Err(
            r#"its orchestrator is "cni", and Kubernetes keeps endpoints of pods alone ("k8s")"#
                .to_string()
        )
    );
    let refused = patch("{").expect_err("no JSON");
    assert!(
        refused.starts_with("it is no WorkloadEndpoint: "),
        "{refused}"
    );
}

#[test]
fn which_pods_have_endpoints() {
    let changed = |path: &str, value: Value| {
        let mut pod = pod();
        *pod.pointer_mut(path).expect("there") = value;
        pod
    };
    let mut host_network = pod();
    host_network["spec"]["hostNetwork"] = json!(true);
    assert_eq!(endpoints(&host_network), Ok(None));
    assert_eq!(endpoints(&changed("/spec/nodeName", json!(""))), Ok(None));
    assert_eq!(
        endpoints(&changed("/metadata/annotations", json!({}))),
        Ok(None),
        "no address"
    );

    // Finished: the endpoint is there, its addresses are no longer its.
    for phase in ["Failed", "Succeeded"] {
        let finished = changed("/status/phase", json!(phase));
        assert_eq!(spec(&finished).get("ipNetworks"), None);
        assert_eq!(spec(&finished)["containerID"], "abcdef0123456789");
    }
    assert_ne!(
        spec(&changed("/status/phase", json!("Running"))).get("ipNetworks"),
        None
    );

    // On its way out, before and after the plugin took it down.
    let mut deleted = pod();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-22T22:51:27Z");
    deleted["status"]["podIP"] = json!("10.244.84.128");
    assert_eq!(spec(&deleted)["ipNetworks"], json!(["10.244.84.128/32"]));
    deleted["metadata"]["annotations"] = json!({"cni.projectcalico.org/podIP": ""});
    assert_eq!(spec(&deleted).get("ipNetworks"), None);
    deleted["metadata"]["annotations"] = json!({});
    assert_eq!(
        spec(&deleted)["ipNetworks"],
        json!(["10.244.84.128/32"]),
        "another plugin's pod"
    );

    assert_eq!(endpoints(&json!({})), Err("it has no name".to_string()));
    let error = endpoints(&changed("/spec/containers", json!("c"))).expect_err("no list");
    assert!(error.starts_with("its spec is not valid: "), "{error}");
}

#[test]
fn where_addresses_come_from() {
    let mut pod = pod();
    pod["status"] = json!({"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]});
    let annotations = "/metadata/annotations";
    let mut networks = |present: Value| {
        *pod.pointer_mut(annotations).expect("there") = present;
        endpoints(&pod).map(|read| {
            let (_, document) = read.expect("an endpoint");
            serde_json::from_str::<Value>(&document).expect("JSON")["spec"]["ipNetworks"].take()
        })
    };
    let (all, one) = (
        "cni.projectcalico.org/podIPs",
        "cni.projectcalico.org/podIP",
    );
    let amazon = "vpc.amazonaws.com/pod-ips";
    assert_eq!(
        networks(json!({all: "10.1.0.1/32,fd00::1/128", one: "10.1.0.2/32", amazon: "10.1.0.3"})),
        Ok(json!(["10.1.0.1/32", "fd00::1/128"]))
    );
    assert_eq!(
        networks(json!({one: "10.1.0.2", amazon: "10.1.0.3"})),
        Ok(json!(["10.1.0.2/32"]))
    );
    assert_eq!(
        networks(json!({amazon: "10.1.0.3, 10.1.0.4"})),
        Ok(json!(["10.1.0.3/32", "10.1.0.4/32"]))
    );
    assert_eq!(
        networks(json!({})),
        Ok(json!(["10.0.0.9/32", "fd00::9/128"]))
    );
    assert_eq!(
        networks(json!({all: "10.1.0.1/32,x"})),
        Err("annotation cni.projectcalico.org/podIPs: \"x\" is not an address".to_string())
    );
    pod["metadata"]["annotations"] = json!({});
    pod["status"] = json!({"podIP": "10.0.0.9"});
    assert_eq!(
        spec(&pod)["ipNetworks"],
        json!(["10.0.0.9/32"]),
        "an older kubelet"
    );
    pod["status"] = json!({"podIP": "x"});
    assert_eq!(
        endpoints(&pod),
        Err("its status: \"x\" is not an address".to_string())
    );
}

#[test]
fn names_of_sets_and_of_interfaces() {
    let mut pod = pod();
    pod["metadata"]["generateName"] = json!("web-");
    let document = endpoints(&pod).expect("a pod").expect("an endpoint").1;
    assert!(document.contains(r#""metadata":{"name":"node--1-k8s-web--0-eth0","generateName":"web-","namespace":"default","#));
    let (_, named) = endpoints_named(&pod, "eni")
        .expect("a pod")
        .expect("an endpoint");
    assert!(
        named.contains(r#""interfaceName":"eni0d7763386da""#),
        "{named}"
    );

    // A name that is as long as a label's value may be is no label.
    for (length, is_label) in [(62, true), (63, false)] {
        let account = "a".repeat(length);
        pod["spec"]["serviceAccountName"] = json!(account);
        let document = endpoints(&pod).expect("a pod").expect("an endpoint").1;
        assert_eq!(
            document.contains("projectcalico.org/serviceaccount"),
            is_label
        );
        assert!(document.contains(&format!(r#""ksa.default.{account}""#)));
    }
    pod["spec"]["serviceAccountName"] = json!("");
    assert_eq!(spec(&pod)["profiles"], json!(["kns.default"]));
}

#[test]
fn ports_that_have_a_name_or_are_the_host_s() {
    let mut pod = pod();
    pod["spec"]["containers"] = json!([
        {"name": "a", "ports": [
            {"containerPort": 80},
            {"containerPort": 53, "name": "dns", "protocol": "UDP"},
            {"containerPort": 99, "name": "odd", "protocol": "QUIC"},
        ]},
        {"name": "b"},
    ]);
    pod["spec"]["initContainers"] = json!([
        {"name": "c", "ports": [{"containerPort": 8080, "hostPort": 18080, "hostIP": "10.0.0.1", "protocol": "SCTP"}]},
    ]);
    assert_eq!(
        spec(&pod)["ports"],
        json!([
            {"name": "dns", "protocol": "UDP", "port": 53, "hostPort": 0, "hostIP": ""},
            {"name": "", "protocol": "SCTP", "port": 8080, "hostPort": 18080, "hostIP": "10.0.0.1"},
        ])
    );
}

#[test]
fn addresses_outside_and_other_sources() {
    let asked = annotated(&[
        (
            "cni.projectcalico.org/podIPs",
            "10.244.84.128/32,fd00::1/128",
        ),
        (
            "cni.projectcalico.org/floatingIPs",
            r#"["192.0.2.1", "2001:db8::1", "192.0.2.2"]"#,
        ),
        (
            "cni.projectcalico.org/allowedSourcePrefixes",
            r#"["8.8.8.8/32", "1.1.1.1/24"]"#,
        ),
    ]);
    let found = spec(&asked);
    assert_eq!(
        found["ipNATs"],
        json!([
            {"internalIP": "10.244.84.128", "externalIP": "192.0.2.1"},
            {"internalIP": "fd00::1", "externalIP": "2001:db8::1"},
            {"internalIP": "10.244.84.128", "externalIP": "192.0.2.2"},
        ])
    );
    assert_eq!(
        found["allowSpoofedSourcePrefixes"],
        json!(["8.8.8.8/32", "1.1.1.0/24"])
    );
    assert!(ignored(&asked).is_empty());

    let wrong = annotated(&[
        ("cni.projectcalico.org/floatingIPs", r#"["2001:db8::1"]"#),
        ("cni.projectcalico.org/allowedSourcePrefixes", "8.8.8.8/32"),
    ]);
    let found = spec(&wrong);
    assert_eq!(
        (found.get("ipNATs"), found.get("allowSpoofedSourcePrefixes")),
        (None, None)
    );
    assert_eq!(
        ignored(&wrong),
        [
            r#"annotation cni.projectcalico.org/floatingIPs: "[\"2001:db8::1\"]" has 2001:db8::1, and the pod has no address of its family"#,
            r#"annotation cni.projectcalico.org/allowedSourcePrefixes: "8.8.8.8/32" is not a JSON list of networks"#,
        ]
    );
}

#[test]
fn limits_of_traffic() {
    let asked = annotated(&[
        ("qos.projectcalico.org/ingressBandwidth", "100M"),
        ("qos.projectcalico.org/ingressPeakrate", "200M"),
        ("qos.projectcalico.org/ingressMinburst", "2k"),
        ("qos.projectcalico.org/egressBurst", "1Mi"),
        ("qos.projectcalico.org/egressPacketRate", "500"),
        ("qos.projectcalico.org/egressMaxConnections", "10"),
        ("qos.projectcalico.org/dscp", "AF11"),
        ("kubernetes.io/ingress-bandwidth", "1M"),
        ("kubernetes.io/egress-bandwidth", "10M"),
    ]);
    assert_eq!(
        spec(&asked)["qosControls"],
        json!({
            "ingressBandwidth": 100_000_000,
            "ingressBurst": 4_294_967_296_i64,
            "ingressPeakrate": 200_000_000,
            "ingressMinburst": 2_000,
            "egressBandwidth": 10_000_000,
            "egressBurst": 1_048_576,
            "egressPacketRate": 500,
            "egressPacketBurst": 5,
            "egressMaxConnections": 10,
            "dscp": "AF11",
        })
    );
    assert!(ignored(&asked).is_empty());

    let wrong = annotated(&[
        ("qos.projectcalico.org/ingressBandwidth", "fast"),
        ("qos.projectcalico.org/egressPeakrate", "1M"),
        ("qos.projectcalico.org/ingressPacketRate", "1G"),
        ("qos.projectcalico.org/egressMaxConnections", "0"),
        ("qos.projectcalico.org/dscp", "64"),
        ("kubernetes.io/ingress-bandwidth", "1M"),
    ]);
    assert_eq!(
        spec(&wrong)["qosControls"],
        json!({
            "ingressBandwidth": 1_000_000,
            "ingressBurst": 4_294_967_296_i64,
            "ingressPacketRate": 10_000,
            "ingressPacketBurst": 5,
            "egressMaxConnections": 1,
        })
    );
    assert_eq!(
        ignored(&wrong),
        [
            r#"annotation qos.projectcalico.org/ingressBandwidth: "fast" is not a quantity"#,
            r#"annotation qos.projectcalico.org/ingressPacketRate: "1G" is not from 1 to 10000: taken as 10000"#,
            r#"annotation qos.projectcalico.org/egressMaxConnections: "0" is not from 1 to 4294967295: taken as 1"#,
            r#"annotation qos.projectcalico.org/egressPeakrate: "1M" is not above a bandwidth"#,
            r#"annotation qos.projectcalico.org/dscp: "64" is not 0 to 63 or the name of a code point"#,
        ]
    );
    assert_eq!(spec(&pod()).get("qosControls"), None);
}

#[test]
fn a_pod_from_its_endpoint_s_name() {
    let pod = |name: &str| pod_of(&Key::in_namespace(Kind::WorkloadEndpoint, "ns", name));
    let own = Some(("default".to_string(), "web-0".to_string()));
    assert_eq!(pod_of(&key()), own);
    assert_eq!(
        pod("node--1-k8s-a----b-eth0"),
        Some(("ns".to_string(), "a--b".to_string()))
    );
    for name in [
        "node--1-k8s-web--0-net1",
        "node--1-cni-c0123456789ab-eth0",
        "node--1-libnetwork-libnetwork-eth0",
        "node--1-openstack-x-eth0",
        // Captured: what a delete of a node asks for.
        "node--2-*",
    ] {
        assert_eq!(pod(name), None, "{name}");
    }
    assert_eq!(pod_of(&Key::cluster(Kind::Node, "node-1")), None);
}
