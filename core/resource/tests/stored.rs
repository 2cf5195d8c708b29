//! Values that Calico 3.32 wrote to etcd (`golden/etcd-values.txt`: a path, then its value) are read and written back
//! byte for byte.

use resource::kinds::{
    BgpConfiguration, BgpFilter, BgpPeer, ClusterInformation, EndpointSlice, IpPool, Node,
    PeerPolicy, Service, WorkloadEndpoint,
};
use resource::{Entry, Key, Kind, Object, Spec};

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

fn check_kind(entry: &Entry) -> Kind {
    let Key::Resource { kind, .. } = entry.key else {
        panic!("{}", entry.key)
    };
    match kind {
        Kind::BgpConfiguration => drop::<BgpConfiguration>(round_trip(entry)),
        Kind::BgpPeer => drop::<BgpPeer>(round_trip(entry)),
        Kind::BgpFilter => drop::<BgpFilter>(round_trip(entry)),
        Kind::Node => drop::<Node>(round_trip(entry)),
        Kind::IpPool => drop::<IpPool>(round_trip(entry)),
        Kind::WorkloadEndpoint => drop::<WorkloadEndpoint>(round_trip(entry)),
        Kind::ClusterInformation => drop::<ClusterInformation>(round_trip(entry)),
        Kind::PeerPolicy => drop::<PeerPolicy>(round_trip(entry)),
        Kind::Service => drop::<Service>(round_trip(entry)),
        Kind::EndpointSlice => drop::<EndpointSlice>(round_trip(entry)),
    }
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
    assert_eq!(kinds.len(), 6, "{kinds:?}");
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
