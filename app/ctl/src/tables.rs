//! Which columns a kind has, and what stands in them (calico-compat §5.5).

use resource::Kind;
use serde_json::Value;

use crate::columns::align;

/// What a cell may need besides its object.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The cluster's AS number, for nodes that have none of their own.
    pub as_number: u64,
    /// The time, for ages.
    pub now: jiff::Timestamp,
}

/// A column: its heading and what it shows of an object.
struct Column {
    heading: &'static str,
    cell: fn(&Value, &Context) -> String,
}

const fn column(heading: &'static str, cell: fn(&Value, &Context) -> String) -> Column {
    Column { heading, cell }
}

/// Which columns are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The usual ones.
    Ps,
    /// More.
    Wide,
    /// These.
    Custom(Vec<String>),
}

/// Lays out objects of one kind. With `namespace` namespaced kinds show theirs.
///
/// # Errors
/// A heading that the kind does not have.
pub fn table(
    kind: Kind,
    objects: &[Value],
    layout: &Layout,
    namespace: bool,
    context: &Context,
) -> Result<String, String> {
    let columns = columns(kind);
    let mut headings: Vec<&str> = match layout {
        Layout::Ps => ps(kind).to_vec(),
        Layout::Wide => wide(kind).to_vec(),
        Layout::Custom(names) => names.iter().map(String::as_str).collect(),
    };
    if !namespace && !matches!(layout, Layout::Custom(_)) {
        headings.retain(|heading| *heading != "NAMESPACE");
    }
    let chosen: Option<Vec<&Column>> = headings
        .iter()
        .map(|heading| columns.iter().find(|c| c.heading == *heading))
        .collect();
    let Some(chosen) = chosen else {
        let valid: Vec<&str> = columns.iter().map(|c| c.heading).collect();
        return Err(format!(
            "unknown heading name, valid values are: {}",
            valid.join(", ")
        ));
    };
    let mut rows = vec![chosen.iter().map(|c| c.heading.to_string()).collect()];
    for object in objects {
        rows.push(chosen.iter().map(|c| (c.cell)(object, context)).collect());
    }
    Ok(align(&rows))
}

fn ps(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::BgpConfiguration => &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
        Kind::BgpPeer => &["NAME", "PEERIP", "NODE", "ASN"],
        Kind::BgpFilter => &[
            "NAME",
            "NUMEXPORTV4",
            "NUMIMPORTV4",
            "NUMEXPORTV6",
            "NUMIMPORTV6",
        ],
        Kind::Node => &["NAME"],
        Kind::IpPool => &["NAME", "CIDR", "SELECTOR"],
        Kind::WorkloadEndpoint => &["NAMESPACE", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
        Kind::ClusterInformation => &[
            "NAME",
            "CLUSTERGUID",
            "CLUSTERTYPE",
            "CALICOVERSION",
            "DATASTOREREADY",
        ],
        Kind::PeerPolicy => &["NAME", "BGPPEERS", "PREFIXES"],
        Kind::Service => &[
            "NAMESPACE",
            "NAME",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
            "AGE",
        ],
        Kind::EndpointSlice => &[
            "NAMESPACE",
            "NAME",
            "ADDRESSTYPE",
            "PORTS",
            "ENDPOINTS",
            "AGE",
        ],
    }
}

fn wide(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Node => &["NAME", "ASN", "IPV4", "IPV6"],
        Kind::IpPool => &[
            "NAME",
            "CIDR",
            "NAT",
            "IPIPMODE",
            "VXLANMODE",
            "DISABLED",
            "DISABLEBGPEXPORT",
            "SELECTOR",
            "ASSIGNMENTMODE",
        ],
        Kind::WorkloadEndpoint => &[
            "NAMESPACE",
            "NAME",
            "WORKLOAD",
            "NODE",
            "NETWORKS",
            "INTERFACE",
            "PROFILES",
            "NATS",
        ],
        Kind::Service => &[
            "NAMESPACE",
            "NAME",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
            "AGE",
            "SELECTOR",
        ],
        Kind::BgpConfiguration
        | Kind::BgpPeer
        | Kind::BgpFilter
        | Kind::ClusterInformation
        | Kind::PeerPolicy
        | Kind::EndpointSlice => ps(kind),
    }
}

const NAME: Column = column("NAME", |o, _| text(o, "/metadata/name"));
const NAMESPACE: Column = column("NAMESPACE", |o, _| text(o, "/metadata/namespace"));
const AGE: Column = column("AGE", |o, c| {
    age(&text(o, "/metadata/creationTimestamp"), c.now)
});

fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::BgpConfiguration => BGP_CONFIGURATION,
        Kind::BgpPeer => BGP_PEER,
        Kind::BgpFilter => BGP_FILTER,
        Kind::Node => NODE,
        Kind::IpPool => POOL,
        Kind::WorkloadEndpoint => WORKLOAD_ENDPOINT,
        Kind::ClusterInformation => CLUSTER_INFORMATION,
        Kind::PeerPolicy => PEER_POLICY,
        Kind::Service => SERVICE,
        Kind::EndpointSlice => ENDPOINT_SLICE,
    }
}

const PEER_POLICY: &[Column] = &[
    NAME,
    column("BGPPEERS", |o, _| {
        let names = o.pointer("/spec/bgpPeers").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        or(names.collect::<Vec<_>>().join(","), "-")
    }),
    column("PREFIXES", |o, _| {
        or(text(o, "/spec/maxPrefixes/limit"), "-")
    }),
];

const BGP_CONFIGURATION: &[Column] = &[
    NAME,
    column("LOGSEVERITY", |o, _| text(o, "/spec/logSeverityScreen")),
    column("MESHENABLED", |o, _| {
        or(text(o, "/spec/nodeToNodeMeshEnabled"), "-")
    }),
    column("ASNUMBER", |o, _| or(text(o, "/spec/asNumber"), "-")),
];

const BGP_PEER: &[Column] = &[
    NAME,
    column("PEERIP", |o, _| text(o, "/spec/peerIP")),
    column("NODE", |o, _| {
        let selector = or(text(o, "/spec/nodeSelector"), "(global)");
        or(text(o, "/spec/node"), &selector)
    }),
    column("ASN", |o, _| or(text(o, "/spec/asNumber"), "0")),
];

const BGP_FILTER: &[Column] = &[
    NAME,
    column("NUMEXPORTV4", |o, _| count(o, "/spec/exportV4")),
    column("NUMIMPORTV4", |o, _| count(o, "/spec/importV4")),
    column("NUMEXPORTV6", |o, _| count(o, "/spec/exportV6")),
    column("NUMIMPORTV6", |o, _| count(o, "/spec/importV6")),
];

const NODE: &[Column] = &[
    NAME,
    column("ASN", |o, c| match o.pointer("/spec/bgp") {
        None => String::new(),
        Some(bgp) => or(text(bgp, "/asNumber"), &format!("({})", c.as_number)),
    }),
    column("IPV4", |o, _| text(o, "/spec/bgp/ipv4Address")),
    column("IPV6", |o, _| text(o, "/spec/bgp/ipv6Address")),
];

const CLUSTER_INFORMATION: &[Column] = &[
    NAME,
    column("CLUSTERGUID", |o, _| text(o, "/spec/clusterGUID")),
    column("CLUSTERTYPE", |o, _| text(o, "/spec/clusterType")),
    column("CALICOVERSION", |o, _| text(o, "/spec/calicoVersion")),
    column("DATASTOREREADY", |o, _| text(o, "/spec/datastoreReady")),
];

const ENDPOINT_SLICE: &[Column] = &[
    NAMESPACE,
    NAME,
    column("ADDRESSTYPE", |o, _| text(o, "/addressType")),
    column("PORTS", |o, _| or(texts(o, "/ports", "/port"), "<unset>")),
    column("ENDPOINTS", |o, _| {
        or(texts(o, "/endpoints", "/addresses/0"), "<unset>")
    }),
    AGE,
];

const POOL: &[Column] = &[
    NAME,
    column("CIDR", |o, _| text(o, "/spec/cidr")),
    column("NAT", |o, _| or(text(o, "/spec/natOutgoing"), "false")),
    column("IPIPMODE", |o, _| text(o, "/spec/ipipMode")),
    column("VXLANMODE", |o, _| text(o, "/spec/vxlanMode")),
    column("DISABLED", |o, _| or(text(o, "/spec/disabled"), "false")),
    column("DISABLEBGPEXPORT", |o, _| {
        or(text(o, "/spec/disableBGPExport"), "false")
    }),
    column("SELECTOR", |o, _| text(o, "/spec/nodeSelector")),
    column("ASSIGNMENTMODE", |o, _| text(o, "/spec/assignmentMode")),
];

const WORKLOAD_ENDPOINT: &[Column] = &[
    NAMESPACE,
    NAME,
    column("WORKLOAD", |o, _| {
        let which = if text(o, "/spec/orchestrator") == "k8s" {
            "/spec/pod"
        } else {
            "/spec/workload"
        };
        text(o, which)
    }),
    column("NODE", |o, _| text(o, "/spec/node")),
    column("NETWORKS", |o, _| texts(o, "/spec/ipNetworks", "")),
    column("INTERFACE", |o, _| text(o, "/spec/interfaceName")),
    column("PROFILES", |o, _| texts(o, "/spec/profiles", "")),
    column("NATS", |o, _| texts(o, "/spec/ipNATs", "/internalIP")),
];

const SERVICE: &[Column] = &[
    NAMESPACE,
    NAME,
    column("TYPE", |o, _| or(text(o, "/spec/type"), "ClusterIP")),
    column("CLUSTER-IP", |o, _| {
        or(text(o, "/spec/clusterIP"), "<none>")
    }),
    column("EXTERNAL-IP", |o, _| {
        let external = or(
            texts(o, "/spec/externalIPs", ""),
            &text(o, "/spec/externalName"),
        );
        or(
            or(external, &texts(o, "/status/loadBalancer/ingress", "/ip")),
            "<none>",
        )
    }),
    column("PORT(S)", |o, _| {
        let ports: Vec<String> = list(o, "/spec/ports").iter().map(service_port).collect();
        or(ports.join(","), "<none>")
    }),
    AGE,
    column("SELECTOR", |o, _| {
        let selector = o.pointer("/spec/selector").and_then(Value::as_object);
        let pairs: Vec<String> = selector
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", shown(value)))
            .collect();
        or(pairs.join(","), "<none>")
    }),
];

fn service_port(port: &Value) -> String {
    let protocol = or(text(port, "/protocol"), "TCP");
    match text(port, "/nodePort").as_str() {
        "" => format!("{}/{protocol}", text(port, "/port")),
        node_port => format!("{}:{node_port}/{protocol}", text(port, "/port")),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).map(shown).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn count(object: &Value, pointer: &str) -> String {
    list(object, pointer).len().to_string()
}

fn texts(object: &Value, pointer: &str, within: &str) -> String {
    let all: Vec<String> = list(object, pointer)
        .iter()
        .map(|v| text(v, within))
        .collect();
    all.join(",")
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() {
        otherwise.to_string()
    } else {
        text
    }
}

/// How long ago, as kubectl says it: `45s`, `12m`, `5h`, `3d`.
fn age(created: &str, now: jiff::Timestamp) -> String {
    let Ok(created) = created.parse::<jiff::Timestamp>() else {
        return "<unknown>".to_string();
    };
    let seconds = (now.as_second() - created.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: Kind, objects: Value, layout: &Layout, namespace: bool, expected: &str) {
        let context = Context {
            as_number: 64512,
            now: "2026-11-22T23:00:00Z".parse().unwrap(),
        };
        let objects: Vec<Value> = objects.as_array().unwrap().clone();
        assert_eq!(
            table(kind, &objects, layout, namespace, &context).unwrap(),
            expected
        );
    }

    #[test]
    fn every_heading_of_a_layout_is_a_column() {
        for kind in Kind::ALL {
            for heading in ps(*kind).iter().chain(wide(*kind)) {
                assert!(
                    columns(*kind).iter().any(|c| c.heading == *heading),
                    "{kind} {heading}"
                );
            }
        }
    }

    #[test]
    fn tables_as_captured() {
        check(
            Kind::WorkloadEndpoint,
            json!([{"metadata": {"name": "node--1-cni-c0123456789ab-eth0", "namespace": "default"}, "spec": {"orchestrator": "cni", "node": "node-1", "ipNetworks": ["10.244.84.128/32"], "profiles": ["k8s-pod-network"], "interfaceName": "calic0123456789"}}]),
            &Layout::Wide,
            true,
            "\
NAMESPACE   NAME                             WORKLOAD   NODE     NETWORKS           INTERFACE         PROFILES          NATS   
default     node--1-cni-c0123456789ab-eth0              node-1   10.244.84.128/32   calic0123456789   k8s-pod-network          

",
        );
        check(
            Kind::BgpPeer,
            json!([{"metadata": {"name": "a"}, "spec": {"node": "n", "asNumber": 1, "peerIP": "::1"}}, {"metadata": {"name": "b"}, "spec": {}}]),
            &Layout::Ps,
            false,
            "\
NAME   PEERIP   NODE       ASN   
a      ::1      n          1     
b               (global)   0     

",
        );
    }

    #[test]
    fn services_look_as_with_kubectl() {
        check(
            Kind::Service,
            json!([{"metadata": {"name": "nginx", "namespace": "default", "creationTimestamp": "2026-11-22T22:50:00Z"}, "spec": {"clusterIP": "10.210.0.20", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}], "selector": {"app": "nginx"}}}]),
            &Layout::Wide,
            false,
            "\
NAME    TYPE        CLUSTER-IP    EXTERNAL-IP   PORT(S)         AGE   SELECTOR    
nginx   ClusterIP   10.210.0.20   <none>        80/TCP,53/UDP   10m   app=nginx   

",
        );
        check(
            Kind::EndpointSlice,
            json!([{"metadata": {"name": "nginx-1"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.200.0.1"]}, {"addresses": ["10.200.0.2"]}], "ports": [{"port": 80}]}]),
            &Layout::Ps,
            false,
            "\
NAME      ADDRESSTYPE   PORTS   ENDPOINTS               AGE         
nginx-1   IPv4          80      10.200.0.1,10.200.0.2   <unknown>   

",
        );
    }

    #[test]
    fn headings_are_case_sensitive() {
        let context = Context {
            as_number: 64512,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let custom = Layout::Custom(vec!["name".to_string()]);
        assert_eq!(
            table(Kind::IpPool, &[], &custom, false, &context).unwrap_err(),
            "unknown heading name, valid values are: NAME, CIDR, NAT, IPIPMODE, VXLANMODE, DISABLED, DISABLEBGPEXPORT, SELECTOR, ASSIGNMENTMODE"
        );
    }
}
