//! Any document: read and shown it is the same, or it is refused; never half read, and nothing panics.

use proptest::prelude::*;
use resource::{AnyObject, Kind, ParseError, parse_document, validate};
use serde_json::{Map, Value, json};

/// Words that stand somewhere in our kinds, and one that does not.
const FIELDS: &str = "cidr|blockSize|ipipMode|vxlanMode|natOutgoing|nodeSelector|bgp|asNumber|ipv4Address|peerIP|\
    peerSelector|node|ports|name|protocol|port|addresses|labels|orchRefs|maxRestartTime|serviceClusterIPs|\
    communities|prefixAdvertisements|endpoints|addressType|clusterIP|unknownField";

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u32..70_000).prop_map(Value::from),
        "[a-z0-9./:-]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "10.0.0.0/16",
            "10.0.0.1/24",
            "fd00::/64",
            "Always",
            "CrossSubnet",
            "has(a)",
            "1.10",
            "10s",
            "65:1",
            "TCP",
            "IPv4",
            "10.0.0.9:179",
        ])
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 5, |inner| {
        let field = prop::sample::select(FIELDS.split('|').collect::<Vec<_>>());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((field, inner), 0..4).prop_map(|fields| {
                let fields: Map<String, Value> = fields
                    .into_iter()
                    .map(|(k, v)| (k.to_string(), v))
                    .collect();
                Value::from(fields)
            }),
        ]
    })
}

/// Rules of a policy.
fn rules() -> Value {
    json!([
        {"action": "Allow", "protocol": "tcp", "destination": {"ports": [80, "81:82", "http"]}},
        {"action": "Deny", "protocol": 47, "source": {"notNets": ["10.0.0.0/8"]}, "destination": {}},
        {"action": "Log", "icmp": {"type": 8}, "http": {"methods": ["GET"]}, "ipVersion": 4},
    ])
}

/// Fields of each kind with values of their type; what they say need not hold together.
fn plausible(kind: Kind) -> Vec<(&'static str, Value)> {
    match kind {
        Kind::BgpConfiguration => vec![
            ("logSeverityScreen", json!("Debug")),
            ("nodeToNodeMeshEnabled", json!(false)),
            ("asNumber", json!("1.10")),
            ("serviceClusterIPs", json!([{"cidr": "10.0.0.0/16"}, {}])),
            ("communities", json!([{"name": "a", "value": "65:1"}])),
            (
                "prefixAdvertisements",
                json!([{"cidr": "10.0.0.0/16", "communities": ["a", null]}]),
            ),
            ("nodeMeshMaxRestartTime", json!("120s")),
            (
                "nodeMeshPassword",
                json!({"secretKeyRef": {"key": "k", "name": null}}),
            ),
        ],
        Kind::BgpPeer => vec![
            ("node", json!("n")),
            ("nodeSelector", json!("has(a)")),
            ("peerIP", json!("10.0.0.9:179")),
            ("asNumber", json!(0)),
            ("asNumber", json!("7")),
            ("maxRestartTime", json!("1h")),
            ("filters", json!(["a"])),
            ("ttlSecurity", json!(255)),
        ],
        Kind::BgpFilter => vec![
            (
                "importV4",
                json!([{"action": "Reject", "cidr": "10.0.0.0/8"}]),
            ),
            (
                "exportV6",
                json!([{"action": "Accept", "asPathPrefix": [1, "1.1"], "prefixLength": {"min": null}}]),
            ),
            (
                "exportV4",
                json!([{"operations": [{"setPriority": {"value": 1}}, {"prependASPath": {"prefix": ["7"]}}]}]),
            ),
        ],
        Kind::Node => vec![
            ("bgp", json!({"asNumber": null})),
            ("bgp", json!({"asNumber": 1, "ipv4Address": "10.0.0.1/24"})),
            ("orchRefs", json!([{"nodeName": "n"}])),
            (
                "addresses",
                json!([{"address": "10.0.0.1", "type": "InternalIP"}]),
            ),
            ("wireguard", json!({})),
        ],
        Kind::IpPool => vec![
            ("cidr", json!("10.0.0.0/16")),
            ("cidr", json!("FD00::/64")),
            ("blockSize", json!(0)),
            ("ipipMode", json!("CrossSubnet")),
            ("vxlanMode", json!("")),
            ("natOutgoing", json!(true)),
            ("allowedUses", json!(["Tunnel"])),
        ],
        Kind::IpReservation => vec![("reservedCIDRs", json!(["10.0.0.0/30", "10.0.0.9"]))],
        Kind::IpamConfiguration => vec![
            ("strictAffinity", json!(true)),
            ("autoAllocateBlocks", json!(false)),
            ("maxBlocksPerHost", json!(4)),
            ("kubeVirtVMAddressPersistence", json!("Disabled")),
        ],
        Kind::WorkloadEndpoint => vec![
            ("orchestrator", json!("cni")),
            ("node", json!("n")),
            (
                "ports",
                json!([{"name": "a", "protocol": "TCP", "port": 1, "hostPort": 0}]),
            ),
            ("ipNetworks", json!(["10.0.0.1/32"])),
            ("ipNATs", json!([{"internalIP": "10.0.0.1"}])),
            ("qosControls", json!({"ingressBandwidth": 1})),
        ],
        Kind::Tier => vec![
            ("order", json!(100)),
            ("order", json!(0.5)),
            ("defaultAction", json!("Pass")),
        ],
        Kind::GlobalNetworkPolicy | Kind::StagedGlobalNetworkPolicy => vec![
            ("tier", json!("default")),
            ("order", json!(1e6)),
            ("ingress", rules()),
            ("egress", rules()),
            ("preDNAT", json!(true)),
            ("types", json!(["Egress"])),
        ],
        Kind::NetworkPolicy | Kind::StagedNetworkPolicy => vec![
            ("ingress", rules()),
            ("egress", rules()),
            ("selector", json!("has(a)")),
            ("performanceHints", json!(["AssumeNeededOnEveryNode"])),
        ],
        Kind::StagedKubernetesNetworkPolicy => vec![
            ("stagedAction", json!("Ignore")),
            ("podSelector", json!({"matchLabels": {"a": "b"}})),
            (
                "ingress",
                json!([{"ports": [{"port": 80}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
            ),
            ("policyTypes", json!(["Ingress"])),
        ],
        Kind::GlobalNetworkSet | Kind::NetworkSet => {
            vec![("nets", json!(["10.0.0.0/8", "fd00::1"]))]
        }
        Kind::Profile => vec![("ingress", rules()), ("labelsToApply", json!({"a": "b"}))],
        Kind::HostEndpoint => vec![
            ("node", json!("n")),
            ("interfaceName", json!("*")),
            ("expectedIPs", json!(["10.0.0.1"])),
            (
                "ports",
                json!([{"name": "http", "protocol": "TCP", "port": 80}, {"protocol": 17}]),
            ),
        ],
        Kind::FelixConfiguration => vec![
            ("vxlanPort", json!(4789)),
            ("iptablesRefreshInterval", json!("90s")),
            ("failsafeInboundHostPorts", json!([])),
            ("routeTableRanges", json!([{"min": 1, "max": 250}])),
            ("bpfConnectTimeLoadBalancingEnabled", json!(true)),
            ("natPortRange", json!("32768:65535")),
        ],
        Kind::KubeControllersConfiguration => vec![
            ("controllers", json!({"node": {}, "loadBalancer": {}})),
            ("etcdV3CompactionPeriod", json!("10m")),
            ("healthChecks", json!("Disabled")),
        ],
        Kind::CalicoNodeStatus => vec![
            ("node", json!("n")),
            ("classes", json!(["BGP"])),
            ("updatePeriodSeconds", json!(10)),
        ],
        Kind::BlockAffinity => vec![
            ("state", json!("confirmed")),
            ("cidr", json!("10.0.0.0/26")),
        ],
        Kind::ClusterInformation => vec![
            ("clusterGUID", json!("a")),
            ("datastoreReady", json!(false)),
        ],
        Kind::NodeSessions => vec![
            ("reported", json!("2026-11-27T15:00:00Z")),
            ("periodSeconds", json!(180)),
            (
                "sessions",
                json!([{"name": "Mesh_10_0_0_2", "peerIP": "10.0.0.2", "families": [{"family": "IPv4", "received": 2}]}]),
            ),
        ],
        Kind::PeerPolicy => vec![
            ("bgpPeers", json!(["*"])),
            (
                "dynamicNeighbors",
                json!([{"cidr": "10.0.0.0/8", "asNumber": "1.1", "limit": null}]),
            ),
            ("imports", json!({"pods": "Deny"})),
            (
                "maxPrefixes",
                json!({"limit": 10, "action": "Restart", "restartTime": "5m"}),
            ),
            ("families", json!("Together")),
        ],
        Kind::Service => vec![
            ("clusterIP", json!("10.0.0.9")),
            (
                "ports",
                json!([{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8}]),
            ),
            ("selector", json!({"a": "b"})),
        ],
        Kind::EndpointSlice => vec![
            ("addressType", json!("IPv4")),
            (
                "endpoints",
                json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": null}}]),
            ),
            ("ports", json!([{"name": null, "port": 80}])),
        ],
    }
}

/// Documents of all kinds; one in eight has a field that anything may stand in.
fn document() -> impl Strategy<Value = Value> {
    let odd = prop::sample::select(FIELDS.split('|').collect::<Vec<_>>());
    let odd = proptest::option::weighted(0.125, (odd, value()));
    let spec = prop::sample::select(Kind::ALL.to_vec()).prop_flat_map(|kind| {
        let fields = plausible(kind);
        let count = fields.len();
        (Just(kind), prop::sample::subsequence(fields, 0..=count))
    });
    (spec, "[a-z0-9.-]{0,8}", odd).prop_map(|((kind, fields), name, odd)| {
        let fields = fields.into_iter().chain(odd);
        let spec: Map<String, Value> = fields.map(|(k, v)| (k.to_string(), v)).collect();
        let mut document = json!({
            "kind": kind.as_str(), "apiVersion": kind.api_version(),
            "metadata": {"name": name, "namespace": if kind.namespaced() { json!("ns") } else { Value::Null }},
        });
        if kind == Kind::EndpointSlice {
            document.as_object_mut().unwrap().extend(spec);
        } else {
            document["spec"] = Value::from(spec);
        }
        document
    })
}

fn shown(object: &AnyObject) -> AnyObject {
    parse_document(object.to_value()).expect("what is shown can be read")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_is_shown_and_stored_the_same(document in document()) {
        match parse_document(document) {
            Ok(mut object) => {
                prop_assert_eq!(&shown(&object), &object);
                let entry = resource::Entry { key: object.key(), value: object.to_stored(), revision: 3 };
                let mut read = AnyObject::from_entry(&entry).unwrap();
                let again = resource::Entry { value: read.to_stored(), ..entry };
                prop_assert_eq!(&AnyObject::from_entry(&again).unwrap(), &read);
                object.metadata_mut().resource_version = Some("3".to_string());
                let _ = validate::validate(&object);
                // Reading sets some of the defaults.
                validate::set_defaults(&mut object);
                validate::set_defaults(&mut read);
                prop_assert_eq!(&read, &object);
                let once = object.clone();
                validate::set_defaults(&mut object);
                prop_assert_eq!(object, once, "defaults are set once");
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn any_value_is_read_or_refused(value in value()) {
        let _ = parse_document(value);
    }
}

#[test]
fn types_and_fields_that_are_not_there_are_named() {
    let check = |document: Value, expected: &str| {
        assert_eq!(parse_document(document).unwrap_err().to_string(), expected);
    };
    check(json!({}), "unknown resource type () and/or version ()");
    check(json!("text"), "unknown resource type () and/or version ()");
    check(
        json!({"kind": "Node", "apiVersion": "v1"}),
        "unknown resource type (Node) and/or version (v1)",
    );
    check(
        json!({"kind": "Node", "apiVersion": "projectcalico.org/v3", "spec": {"bgp": {"asnumber": 1}}}),
        "field in document is not recognized or is in the wrong location: asnumber",
    );
    check(
        json!({"kind": "IPPool", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "p"},
               "spec": {"cidr": "10.0.0.0/33", "vxlanMode": "x", "ipipMode": "y"}}),
        "error with the following fields:\n\
         -  VXLANMode = 'x' (Reason: failed to validate Field: VXLANMode because of Tag: vxlanMode )\n\
         -  IPIPMode = 'y' (Reason: failed to validate Field: IPIPMode because of Tag: ipIpMode )\n\
         -  spec.vxlanMode (supported values: \"Never\", \"Always\", \"CrossSubnet\")\n\
         -  spec.ipipMode (supported values: \"Never\", \"Always\", \"CrossSubnet\")\n\
         -  CIDR = '10.0.0.0/33' (Reason: failed to validate Field: CIDR because of Tag: net )\n",
    );
    let invalid = parse_document(
        json!({"kind": "IPPool", "apiVersion": "projectcalico.org/v3",
        "spec": {"ipipMode": "Sometimes"}}),
    );
    assert!(matches!(
        invalid,
        Err(ParseError::Invalid {
            kind: Kind::IpPool,
            ..
        })
    ));
}
