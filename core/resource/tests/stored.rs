//! Values that Calico 3.32 wrote to etcd (`golden/etcd-values.txt`: a path, then its value) are read and written back
//! byte for byte.

use resource::kinds::{
    EndpointSlice, FelixConfiguration, GlobalNetworkPolicy, Node, Service, TIER_LABEL,
};
use resource::{AnyObject, Entry, Key, Kind, KindVisitor, Object, Spec};
use serde_json::{Value, json};

fn entry(path: &str, value: &str) -> Entry {
    Entry {
        key: Key::from_path(path).unwrap_or_else(|| panic!("no key for {path}")),
        value: value.to_string(),
        revision: 7,
    }
}

fn round_trip<S: Spec>(entry: &Entry) -> Object<S> {
    let object = Object::<S>::from_entry(entry).unwrap();
    assert_eq!(object.to_stored(), entry.value);
    assert_eq!(object.key(), entry.key);
    assert_eq!(object.metadata.resource_version.as_deref(), Some("7"));
    // The slow way round, through a parsed document, sees the same.
    let again = Object::<S>::from_value(object.to_value()).unwrap();
    assert_eq!(again, object);
    object
}

struct RoundTrip<'a>(&'a Entry);

impl KindVisitor for RoundTrip<'_> {
    type Output = ();

    fn visit<S: Spec>(self)
    where
        AnyObject: From<Object<S>>,
    {
        round_trip::<S>(self.0);
    }
}

fn check_kind(entry: &Entry) -> Kind {
    let Key::Resource { kind, .. } = entry.key else {
        panic!("{}", entry.key)
    };
    kind.visit(RoundTrip(entry));
    kind
}

#[test]
fn what_calico_stored_is_written_back_byte_for_byte() {
    let text = include_str!("golden/etcd-values.txt");
    let lines: Vec<&str> = text.lines().collect();
    let mut kinds: Vec<Kind> = lines
        .chunks(2)
        .map(|pair| check_kind(&entry(pair[0], pair[1])))
        .collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 18, "{kinds:?}");
}

#[test]
fn every_field_is_written_in_calicos_order() {
    let root = "/calico/resources/v3/projectcalico.org";
    let head = |kind: &str| {
        format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"projectcalico.org/v3\",\"metadata\":{{\"name\":\"x\"}},\"spec\":"
        )
    };
    let check = |kind: &str, plural: &str, spec: &str, status: &str| {
        let value = format!("{}{spec}{status}}}", head(kind));
        check_kind(&entry(&format!("{root}/{plural}/x"), &value));
    };
    check(
        "BGPConfiguration",
        "bgpconfigurations",
        r#"{"logSeverityScreen":"Debug","nodeToNodeMeshEnabled":true,"asNumber":0,"serviceLoadBalancerIPs":[{"cidr":"10.1.0.0/16"}],"serviceExternalIPs":[{"cidr":"10.2.0.0/16"}],"serviceClusterIPs":[{"cidr":"10.3.0.0/16"}],"serviceLoadBalancerAggregation":"Disabled","communities":[{"name":"c","value":"1:2"}],"prefixAdvertisements":[{"cidr":"10.0.0.0/8","communities":["c","3:4:5"]}],"listenPort":178,"nodeMeshPassword":{"secretKeyRef":{"name":"s","key":"k","optional":true}},"nodeMeshMaxRestartTime":"3m20s","bindMode":"NodeIP","ignoredInterfaces":["docker0"],"localWorkloadPeeringIPV4":"169.254.0.1","localWorkloadPeeringIPV6":"fd00::1","programClusterRoutes":"Enabled","ipv4NormalRoutePriority":7,"ipv6NormalRoutePriority":8}"#,
        "",
    );
    check(
        "BGPPeer",
        "bgppeers",
        r#"{"nodeSelector":"all()","peerIP":"10.0.0.1","asNumber":1,"localASNumber":2,"keepOriginalNextHop":true,"nextHopMode":"Self","password":{"secretKeyRef":{"name":"s","key":"k"}},"sourceAddress":"None","maxRestartTime":"10s","keepaliveTime":"30s","numAllowedLocalASNumbers":0,"ttlSecurity":1,"reachableBy":"10.0.0.2","filters":["a","b"],"localWorkloadSelector":"has(x)","reversePeering":"Manual"}"#,
        "",
    );
    // Calico stored this one.
    check(
        "BGPFilter",
        "bgpfilters",
        r#"{"exportV4":[{"cidr":"77.0.0.0/16","source":"RemotePeers","matchOperator":"In","action":"Accept"},{"interface":"*.calico","action":"Reject"}],"importV6":[{"cidr":"7000:1::0/64","matchOperator":"NotEqual","action":"Reject"}]}"#,
        "",
    );
    check(
        "BGPFilter",
        "bgpfilters",
        r#"{"exportV4":[{"cidr":"10.0.0.0/8","prefixLength":{"min":24,"max":26},"matchOperator":"In","peerType":"eBGP","communities":{"values":["1:2"]},"asPathPrefix":[65001],"priority":100,"action":"Accept","operations":[{"addCommunity":{"value":"1:2:3"}},{"prependASPath":{"prefix":[1]}},{"setPriority":{"value":7}}]}],"importV4":[{"action":"Reject"}],"exportV6":[{"action":"Reject"}]}"#,
        "",
    );
    check(
        "Node",
        "nodes",
        r#"{"bgp":{"asNumber":4200000000,"ipv4Address":"10.0.0.1/24","ipv6Address":"fd00::1/64","ipv4IPIPTunnelAddr":"10.244.0.1","routeReflectorClusterID":"244.0.0.1"},"ipv4VXLANTunnelAddr":"10.244.0.2","vxlanTunnelMACAddr":"66:00:00:00:00:01","ipv6VXLANTunnelAddr":"fd00::2","vxlanTunnelMACAddrV6":"66:00:00:00:00:02","orchRefs":[{"nodeName":"n","orchestrator":"k8s"}],"wireguard":{"interfaceIPv4Address":"10.244.0.3","interfaceIPv6Address":"fd00::3"},"addresses":[{"address":"10.0.0.1/24","type":"CalicoNodeIP"},{"address":"10.0.0.1","type":"InternalIP"}],"interfaces":[{"name":"eth0","addresses":["10.0.0.1"]}]}"#,
        r#","status":{"wireguardPublicKey":"a","wireguardPublicKeyV6":"b","podCIDRs":["10.244.1.0/24"]}"#,
    );
}

#[test]
fn every_field_of_policies_and_their_like_is_written_in_calicos_order() {
    let root = "/calico/resources/v3/projectcalico.org";
    let check = |kind: &str, plural: &str, place: &str, metadata: &str, rest: &str| {
        let value = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"projectcalico.org/v3\",\"metadata\":{metadata},\"spec\":{rest}}}"
        );
        check_kind(&entry(&format!("{root}/{plural}/{place}"), &value));
    };
    let rule = r#"{"action":"Allow","ipVersion":4,"protocol":"ICMP","icmp":{"type":8,"code":0},"notProtocol":"TCP","notICMP":{"type":3},"source":{"nets":["10.0.0.0/8"],"selector":"a == 'b'","namespaceSelector":"global()","ports":[1,"2:3","http"],"notNets":["10.1.0.0/16"],"notSelector":"has(c)","notPorts":[9],"serviceAccounts":{"names":["x"],"selector":"has(d)"}},"destination":{"services":{"name":"s","namespace":"n"}},"http":{"methods":["GET"],"paths":[{"exact":"/a"},{"prefix":"/b"}]},"metadata":{"annotations":{"k":"v"}}}"#;
    let hidden = r#""labels":{"projectcalico.org/tier":"t"},"annotations":{"projectcalico.org/metadata":"{\"name\":\"x\"}"}}"#;
    let cluster = format!("{{\"name\":\"x\",{hidden}");
    let namespaced = format!("{{\"name\":\"x\",\"namespace\":\"n\",{hidden}");
    let head = format!(
        r#""tier":"t","order":0.5,"ingress":[{rule}],"egress":[{rule}],"selector":"all()","types":["Ingress","Egress"]"#
    );
    let hints = r#""performanceHints":["AssumeNeededOnEveryNode"]"#;
    let global = format!(
        r#""doNotTrack":true,"preDNAT":true,"applyOnForward":true,"serviceAccountSelector":"has(x)","namespaceSelector":"has(y)",{hints}"#
    );
    let local = format!(r#""serviceAccountSelector":"has(x)",{hints}"#);
    let staged = r#""stagedAction":"Learn""#;
    check(
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        "x",
        &cluster,
        &format!("{{{head},{global}}}"),
    );
    check(
        "NetworkPolicy",
        "networkpolicies",
        "n/x",
        &namespaced,
        &format!("{{{head},{local}}}"),
    );
    check(
        "StagedGlobalNetworkPolicy",
        "stagedglobalnetworkpolicies",
        "x",
        &cluster,
        &format!("{{{staged},{head},{global}}}"),
    );
    check(
        "StagedNetworkPolicy",
        "stagednetworkpolicies",
        "n/x",
        &namespaced,
        &format!("{{{staged},{head},{local}}}"),
    );
    let named = r#"{"name":"x"}"#;
    let in_n = r#"{"name":"x","namespace":"n"}"#;
    check(
        "StagedKubernetesNetworkPolicy",
        "stagedkubernetesnetworkpolicies",
        "n/x",
        in_n,
        r#"{"stagedAction":"Set","podSelector":{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"In","values":["d"]}]},"ingress":[{"ports":[{"protocol":"TCP","port":"http"},{"port":1,"endPort":2}],"from":[{"podSelector":{},"namespaceSelector":{"matchLabels":{"e":"f"}}},{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}]}],"egress":[{"ports":[{}],"to":[{"podSelector":{}}]}],"policyTypes":["Ingress"]}"#,
    );
    check(
        "NetworkSet",
        "networksets",
        "n/x",
        in_n,
        r#"{"nets":["10.0.0.0/8","10.0.0.1"]}"#,
    );
    check("GlobalNetworkSet", "globalnetworksets", "x", named, "{}");
    check(
        "IPReservation",
        "ipreservations",
        "x",
        named,
        r#"{"reservedCIDRs":["10.0.0.0/30"]}"#,
    );
    check(
        "Profile",
        "profiles",
        "x",
        named,
        &format!(r#"{{"ingress":[{rule}],"egress":[{rule}],"labelsToApply":{{"a":"b"}}}}"#),
    );
    check(
        "HostEndpoint",
        "hostendpoints",
        "x",
        named,
        r#"{"node":"n","interfaceName":"*","expectedIPs":["10.0.0.1"],"profiles":["p"],"ports":[{"name":"http","protocol":"TCP","port":80},{"name":"six","protocol":6,"port":81}]}"#,
    );
    check(
        "Tier",
        "tiers",
        "x",
        named,
        r#"{"order":-1.5,"defaultAction":"Pass"},"status":{"conditions":[{"type":"Ready"}]}"#,
    );
    check(
        "IPAMConfiguration",
        "ipamconfigurations",
        "x",
        named,
        r#"{"strictAffinity":true,"maxBlocksPerHost":4,"autoAllocateBlocks":false,"kubeVirtVMAddressPersistence":"Disabled"}"#,
    );
    let controllers = r#"{"logSeverityScreen":"Info","healthChecks":"Enabled","etcdV3CompactionPeriod":"10m0s","prometheusMetricsPort":0,"controllers":{"node":{"reconcilerPeriod":"5m0s","syncLabels":"Enabled","hostEndpoint":{"autoCreate":"Enabled","createDefaultHostEndpoint":"Disabled","templates":[{"generateName":"g","interfaceCIDRs":["10.0.0.0/8"],"interfacePattern":"eth.*","labels":{"a":"b"},"nodeSelector":"all()"}]},"leakGracePeriod":"15m0s"},"policy":{"reconcilerPeriod":"5m0s"},"workloadEndpoint":{},"serviceAccount":{},"namespace":{},"loadBalancer":{"assignIPs":"AllServices"},"policyMigration":{"enabled":"Enabled"}},"debugProfilePort":1}"#;
    check(
        "KubeControllersConfiguration",
        "kubecontrollersconfigurations",
        "default",
        r#"{"name":"default"}"#,
        &format!(
            r#"{controllers},"status":{{"runningConfig":{controllers},"environmentVars":{{"A":"b"}}}}"#
        ),
    );
    check(
        "CalicoNodeStatus",
        "caliconodestatuses",
        "x",
        named,
        r#"{"node":"n","classes":["BGP"],"updatePeriodSeconds":0},"status":{"lastUpdated":"2026-11-22T22:22:30Z","agent":{"birdV4":{"state":"Ready","version":"v","routerID":"10.0.0.1","lastBootTime":"a","lastReconfigurationTime":"b"},"birdV6":{}},"bgp":{"numberEstablishedV4":1,"numberNotEstablishedV4":0,"numberEstablishedV6":0,"numberNotEstablishedV6":0,"peersV4":[{"peerIP":"10.0.0.2","type":"NodeMesh","state":"Established","since":"c"}]},"routes":{"routesV4":[{"type":"FIB","destination":"10.0.0.0/8","gateway":"10.0.0.2","interface":"eth0","learnedFrom":{"sourceType":"BGPPeer","peerIP":"10.0.0.2"}}]}}"#,
    );
}

/// The fields of FelixConfiguration in version 3.32.1, in the order in which Calico writes them.
#[test]
fn every_parameter_of_felix_is_known_and_written_in_its_place() {
    let names: Vec<&str> = include_str!("golden/felix-fields.txt").lines().collect();
    // Objects first: a type of several fields is read from a list too, field by field.
    let candidates = [
        json!(true),
        json!(7),
        json!("1m30s"),
        json!({"min": 1, "max": 2}),
        json!({"tcpSynSent": "Auto"}),
        json!({"a": "b"}),
        json!([{"min": 1, "max": 2}]),
        json!([{"protocol": "tcp", "port": 22, "net": "10.0.0.0/8"}]),
        json!([{"name": "a", "timeout": "1m30s"}]),
        json!(["10.0.0.0/8"]),
        json!([80, "81:82"]),
    ];
    let document = |spec: Value| json!({"kind": "FelixConfiguration", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "x"}, "spec": spec});
    let mut spec = serde_json::Map::new();
    for name in &names {
        let fits = |value: &&Value| {
            FelixConfiguration::from_value(document(json!({*name: value}))).is_ok()
        };
        let value = candidates.iter().find(fits);
        spec.insert(
            name.to_string(),
            value.unwrap_or_else(|| panic!("{name}")).clone(),
        );
    }
    // The fields are given in another order than they are written in.
    let shuffled: serde_json::Map<String, Value> = spec
        .iter()
        .rev()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let object = FelixConfiguration::from_value(document(shuffled.into())).unwrap();
    let shown = object.to_value();
    let written: Vec<&String> = shown["spec"].as_object().unwrap().keys().collect();
    assert_eq!(written, names);
    for (name, value) in &spec {
        assert_eq!(shown["spec"][name], *value, "{name}");
    }
}

/// What other versions of Calico stored is read: fields that this one does not have are passed over, as Calico does.
#[test]
fn what_other_versions_stored_is_read() {
    let path = "/calico/resources/v3/projectcalico.org/felixconfigurations/default";
    let stored = r#"{"kind":"FelixConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","newer":1},"spec":{"iptablesLockFilePath":"/run/xtables.lock","vxlanPort":4789,"failsafeInboundHostPorts":[{"protocol":"tcp","port":22,"newer":{}}],"bpfLogLevel":""},"newer":[]}"#;
    let object = FelixConfiguration::from_entry(&entry(path, stored)).unwrap();
    assert_eq!(
        object.to_stored(),
        r#"{"kind":"FelixConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"default"},"spec":{"vxlanPort":4789,"failsafeInboundHostPorts":[{"protocol":"tcp","port":22}],"bpfLogLevel":""}}"#
    );
    // A document that somebody gives is read strictly, and what is no number is none in the store either.
    let refused = FelixConfiguration::from_json(stored)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("unknown field"), "{refused}");
    let wrong = stored.replace("4789", "\"x\"");
    assert!(FelixConfiguration::from_entry(&entry(path, &wrong)).is_err());
}

/// Policies that versions before 3.30 stored have no annotation, and those of the default tier another name.
#[test]
fn policies_of_older_versions_have_their_own_names() {
    let name = |stored: &str, tier: &str| {
        let path = format!("/calico/resources/v3/projectcalico.org/globalnetworkpolicies/{stored}");
        let value = format!(
            r#"{{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{stored}"}},"spec":{{"tier":"{tier}"}}}}"#
        );
        let policy = GlobalNetworkPolicy::from_entry(&entry(&path, &value)).unwrap();
        (
            policy.metadata.name.clone(),
            policy.metadata.labels[TIER_LABEL].clone(),
        )
    };
    let named = |name: &str| (name.to_string(), "default".to_string());
    assert_eq!(name("default.a", "default"), named("a"));
    assert_eq!(name("default.a", ""), named("a"));
    assert_eq!(name("default.a", "sec"), named("default.a"));
    assert_eq!(name("a", "default"), named("a"));
}

#[test]
fn kubernetes_documents_are_read_as_they_come() {
    let service = r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"nginx","namespace":"default","generation":3,
        "creationTimestamp":null,"managedFields":[{"manager":"kubectl"}],"ownerReferences":[{"kind":"X","name":"y"}],"aNewOne":1},
        "spec":{"clusterIP":"10.210.0.10","ports":[{"port":80,"protocol":"TCP","targetPort":"http","nodePort":0}],
        "internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"]},"status":{"loadBalancer":{}}}"#;
    let service = Service::from_json(service).unwrap();
    assert_eq!(service.spec.cluster_ip, "10.210.0.10");
    assert_eq!(service.metadata.owner_references.len(), 1);
    let slice = r#"{"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"nginx-x",
        "namespace":"default","labels":{"kubernetes.io/service-name":"nginx"},"managedFields":[]},
        "endpoints":[{"addresses":["10.200.0.1"],"conditions":{"ready":true},"nodeName":"a","zone":"z","targetRef":{"kind":"Pod"}}],
        "ports":[{"name":"","port":80,"protocol":"TCP","appProtocol":null}]}"#;
    let slice = EndpointSlice::from_json(slice).unwrap();
    assert_eq!(slice.spec.address_type, "IPv4");
    assert_eq!(slice.spec.endpoints[0].addresses, ["10.200.0.1"]);
    assert_eq!(slice.spec.ports[0].port, Some(80));
    let stored = slice.to_stored();
    assert!(
        stored.contains(r#"},"addressType":"IPv4","endpoints":[{"#),
        "the fields stand beside metadata: {stored}"
    );
    assert_eq!(EndpointSlice::from_json(&stored).unwrap(), slice);
    // Calico's own kinds are strict in the same place.
    let node = r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"n","aNewOne":1}}"#;
    let refused = Node::from_json(node).unwrap_err().to_string();
    assert!(refused.contains("unknown field `aNewOne`"), "{refused}");
}

#[test]
fn a_node_has_networks() {
    let networks = |address: &str| {
        let text = format!(
            r#"{{"kind":"Node","apiVersion":"projectcalico.org/v3","spec":{{"bgp":{{"ipv4Address":"{address}"}}}}}}"#
        );
        let spec = Node::from_json(&text).unwrap().spec;
        spec.networks().map(|n| n.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(networks("10.0.0.1/24"), ["10.0.0.1/24"]);
    assert_eq!(networks("10.0.0.1"), ["10.0.0.1/32"]);
    assert!(networks("x").is_empty());
}
