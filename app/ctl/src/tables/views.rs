//! What each kind is called on the command line, and what its table shows.

use resource::Kind;
use resource::kinds::{LabelSelector, go_float_text};
use serde_json::Value;

use super::{Column, age, column, count, list, or, shown, text, texts};

mod policies;

use policies::*;

/// How people meet a kind.
pub struct View {
    /// Words for it beside its name and its plural, lower case.
    pub words: &'static [&'static str],
    /// By what lists are sorted; most are in the order of the store.
    pub rank: Option<fn(&Value) -> f64>,
    /// Whether calicoctl 3.32 has it, or it is ours to have.
    pub in_calicoctl: bool,
    pub(super) columns: &'static [Column],
    /// The headings of the usual table.
    pub(super) ps: &'static [&'static str],
    /// The headings of `-o wide`.
    pub(super) wide: &'static [&'static str],
}

/// The view of a kind.
pub fn view(kind: Kind) -> &'static View {
    match kind {
        Kind::BgpConfiguration => &BGP_CONFIGURATION,
        Kind::BgpPeer => &BGP_PEER,
        Kind::BgpFilter => &BGP_FILTER,
        Kind::Node => &NODE,
        Kind::IpPool => &IP_POOL,
        Kind::IpReservation => &IP_RESERVATION,
        Kind::IpamConfiguration => &IPAM_CONFIGURATION,
        Kind::WorkloadEndpoint => &WORKLOAD_ENDPOINT,
        Kind::ClusterInformation => &CLUSTER_INFORMATION,
        Kind::Tier => &TIER,
        Kind::GlobalNetworkPolicy => &GLOBAL_NETWORK_POLICY,
        Kind::NetworkPolicy => &NETWORK_POLICY,
        Kind::StagedGlobalNetworkPolicy => &STAGED_GLOBAL_NETWORK_POLICY,
        Kind::StagedNetworkPolicy => &STAGED_NETWORK_POLICY,
        Kind::StagedKubernetesNetworkPolicy => &STAGED_KUBERNETES_NETWORK_POLICY,
        Kind::GlobalNetworkSet => &GLOBAL_NETWORK_SET,
        Kind::NetworkSet => &NETWORK_SET,
        Kind::Profile => &PROFILE,
        Kind::HostEndpoint => &HOST_ENDPOINT,
        Kind::FelixConfiguration => &FELIX_CONFIGURATION,
        Kind::KubeControllersConfiguration => &KUBE_CONTROLLERS_CONFIGURATION,
        Kind::CalicoNodeStatus => &CALICO_NODE_STATUS,
        Kind::BlockAffinity => &BLOCK_AFFINITY,
        Kind::PeerPolicy => &PEER_POLICY,
        Kind::NodeSessions => &NODE_SESSIONS,
        Kind::Service => &SERVICE,
        Kind::EndpointSlice => &ENDPOINT_SLICE,
    }
}

const NAME: Column = column("NAME", |o, _| text(o, "/metadata/name"));
const NAMESPACE: Column = column("NAMESPACE", |o, _| text(o, "/metadata/namespace"));
const AGE: Column = column("AGE", |o, c| {
    age(&text(o, "/metadata/creationTimestamp"), c.now)
});

const PEER_POLICY: View = View {
    words: &[],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("BGPPEERS", |o, _| or(texts(o, "/spec/bgpPeers", ""), "-")),
        column("PREFIXES", |o, _| {
            or(text(o, "/spec/maxPrefixes/limit"), "-")
        }),
    ],
    ps: &["NAME", "BGPPEERS", "PREFIXES"],
    wide: &["NAME", "BGPPEERS", "PREFIXES"],
};

const NODE_SESSIONS: View = View {
    words: &[],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("SESSIONS", |o, _| count(o, "/spec/sessions")),
        column("ESTABLISHED", |o, _| {
            let sessions = list(o, "/spec/sessions").iter();
            let up = sessions.filter(|s| s["state"] == "Established");
            up.count().to_string()
        }),
        column("REPORTED", |o, c| age(&text(o, "/spec/reported"), c.now)),
    ],
    ps: &["NAME", "SESSIONS", "ESTABLISHED", "REPORTED"],
    wide: &["NAME", "SESSIONS", "ESTABLISHED", "REPORTED"],
};

const BGP_CONFIGURATION: View = View {
    words: &["bgpconfig", "bgpconfigs"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("LOGSEVERITY", |o, _| text(o, "/spec/logSeverityScreen")),
        column("MESHENABLED", |o, _| {
            or(text(o, "/spec/nodeToNodeMeshEnabled"), "-")
        }),
        column("ASNUMBER", |o, _| or(text(o, "/spec/asNumber"), "-")),
    ],
    ps: &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
    wide: &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
};

const BGP_PEER: View = View {
    words: &["bgpp", "bgpps", "bp", "bps"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("PEERIP", |o, _| text(o, "/spec/peerIP")),
        column("NODE", |o, _| {
            let selector = or(text(o, "/spec/nodeSelector"), "(global)");
            or(text(o, "/spec/node"), &selector)
        }),
        column("ASN", |o, _| or(text(o, "/spec/asNumber"), "0")),
    ],
    ps: &["NAME", "PEERIP", "NODE", "ASN"],
    wide: &["NAME", "PEERIP", "NODE", "ASN"],
};

const BGP_FILTER: View = View {
    words: &["bgpf", "bgpfs", "bf", "bfs"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("NUMEXPORTV4", |o, _| count(o, "/spec/exportV4")),
        column("NUMIMPORTV4", |o, _| count(o, "/spec/importV4")),
        column("NUMEXPORTV6", |o, _| count(o, "/spec/exportV6")),
        column("NUMIMPORTV6", |o, _| count(o, "/spec/importV6")),
    ],
    ps: &[
        "NAME",
        "NUMEXPORTV4",
        "NUMIMPORTV4",
        "NUMEXPORTV6",
        "NUMIMPORTV6",
    ],
    wide: &[
        "NAME",
        "NUMEXPORTV4",
        "NUMIMPORTV4",
        "NUMEXPORTV6",
        "NUMIMPORTV6",
    ],
};

const NODE: View = View {
    words: &["no", "nos"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("ASN", |o, c| match o.pointer("/spec/bgp") {
            None => String::new(),
            Some(bgp) => or(text(bgp, "/asNumber"), &format!("({})", c.as_number)),
        }),
        column("IPV4", |o, _| text(o, "/spec/bgp/ipv4Address")),
        column("IPV6", |o, _| text(o, "/spec/bgp/ipv6Address")),
    ],
    ps: &["NAME"],
    wide: &["NAME", "ASN", "IPV4", "IPV6"],
};

const IP_POOL: View = View {
    words: &["ipp", "ipps", "pool", "pools"],
    rank: None,
    in_calicoctl: true,
    columns: &[
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
    ],
    ps: &["NAME", "CIDR", "SELECTOR"],
    wide: &[
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
};

const IP_RESERVATION: View = View {
    words: &["reservation", "reservations"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("CIDRS", |o, _| truncated(o, "/spec/reservedCIDRs")),
    ],
    ps: &["NAME"],
    wide: &["NAME", "CIDRS"],
};

const IPAM_CONFIGURATION: View = View {
    words: &["ipamconfig", "ipamconfigs"],
    rank: None,
    in_calicoctl: false,
    columns: &[
        NAME,
        column("STRICTAFFINITY", |o, _| text(o, "/spec/strictAffinity")),
        column("AUTOALLOCATEBLOCKS", |o, _| {
            text(o, "/spec/autoAllocateBlocks")
        }),
        column("MAXBLOCKSPERHOST", |o, _| {
            or(text(o, "/spec/maxBlocksPerHost"), "0")
        }),
    ],
    ps: &["NAME", "STRICTAFFINITY", "AUTOALLOCATEBLOCKS"],
    wide: &[
        "NAME",
        "STRICTAFFINITY",
        "AUTOALLOCATEBLOCKS",
        "MAXBLOCKSPERHOST",
    ],
};

const WORKLOAD_ENDPOINT: View = View {
    words: &["wep", "weps"],
    rank: None,
    in_calicoctl: true,
    columns: &[
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
    ],
    ps: &["NAMESPACE", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
    wide: &[
        "NAMESPACE",
        "NAME",
        "WORKLOAD",
        "NODE",
        "NETWORKS",
        "INTERFACE",
        "PROFILES",
        "NATS",
    ],
};

const CLUSTER_INFORMATION: View = View {
    words: &["clusterinfo", "clusterinfos"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("CLUSTERGUID", |o, _| text(o, "/spec/clusterGUID")),
        column("CLUSTERTYPE", |o, _| text(o, "/spec/clusterType")),
        column("CALICOVERSION", |o, _| text(o, "/spec/calicoVersion")),
        column("DATASTOREREADY", |o, _| text(o, "/spec/datastoreReady")),
    ],
    ps: &[
        "NAME",
        "CLUSTERGUID",
        "CLUSTERTYPE",
        "CALICOVERSION",
        "DATASTOREREADY",
    ],
    wide: &[
        "NAME",
        "CLUSTERGUID",
        "CLUSTERTYPE",
        "CALICOVERSION",
        "DATASTOREREADY",
    ],
};

const GLOBAL_NETWORK_SET: View = View {
    words: &["gnetsets"],
    rank: None,
    in_calicoctl: true,
    columns: &[NAME, column("NETS", |o, _| truncated(o, "/spec/nets"))],
    ps: &["NAME"],
    wide: &["NAME", "NETS"],
};

const NETWORK_SET: View = View {
    words: &["netsets"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAMESPACE,
        NAME,
        column("NETS", |o, _| truncated(o, "/spec/nets")),
    ],
    ps: &["NAMESPACE", "NAME"],
    wide: &["NAMESPACE", "NAME", "NETS"],
};

const PROFILE: View = View {
    words: &["pro", "pros"],
    rank: None,
    in_calicoctl: true,
    columns: &[NAME, column("LABELS", |o, _| labels(o))],
    ps: &["NAME"],
    wide: &["NAME", "LABELS"],
};

const HOST_ENDPOINT: View = View {
    words: &["hep", "heps"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("NODE", |o, _| text(o, "/spec/node")),
        column("INTERFACE", |o, _| text(o, "/spec/interfaceName")),
        column("IPS", |o, _| texts(o, "/spec/expectedIPs", "")),
        column("PROFILES", |o, _| texts(o, "/spec/profiles", "")),
    ],
    ps: &["NAME", "NODE"],
    wide: &["NAME", "NODE", "INTERFACE", "IPS", "PROFILES"],
};

const FELIX_CONFIGURATION: View = View {
    words: &["felixconfig", "felixconfigs"],
    rank: None,
    in_calicoctl: true,
    columns: &[NAME],
    ps: &["NAME"],
    wide: &["NAME"],
};

const KUBE_CONTROLLERS_CONFIGURATION: View = View {
    words: &["kubecontrollersconfig", "kubecontrollersconfigs"],
    rank: None,
    in_calicoctl: true,
    columns: &[NAME],
    ps: &["NAME"],
    wide: &["NAME"],
};

const CALICO_NODE_STATUS: View = View {
    words: &["nodestatus", "nodestatuses"],
    rank: None,
    in_calicoctl: false,
    columns: &[
        NAME,
        column("NODE", |o, _| text(o, "/spec/node")),
        column("CLASSES", |o, _| texts(o, "/spec/classes", "")),
    ],
    ps: &["NAME", "NODE"],
    wide: &["NAME", "NODE", "CLASSES"],
};

const BLOCK_AFFINITY: View = View {
    words: &[],
    rank: None,
    in_calicoctl: false,
    columns: &[
        NAME,
        column("NODE", |o, _| text(o, "/spec/node")),
        column("CIDR", |o, _| text(o, "/spec/cidr")),
        column("STATE", |o, _| text(o, "/spec/state")),
    ],
    ps: &["NAME", "NODE", "CIDR"],
    wide: &["NAME", "NODE", "CIDR", "STATE"],
};

const SERVICE: View = View {
    words: &["svc"],
    rank: None,
    in_calicoctl: true,
    columns: &[
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
    ],
    ps: &[
        "NAMESPACE",
        "NAME",
        "TYPE",
        "CLUSTER-IP",
        "EXTERNAL-IP",
        "PORT(S)",
        "AGE",
    ],
    wide: &[
        "NAMESPACE",
        "NAME",
        "TYPE",
        "CLUSTER-IP",
        "EXTERNAL-IP",
        "PORT(S)",
        "AGE",
        "SELECTOR",
    ],
};

const ENDPOINT_SLICE: View = View {
    words: &[],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAMESPACE,
        NAME,
        column("ADDRESSTYPE", |o, _| text(o, "/addressType")),
        column("PORTS", |o, _| or(texts(o, "/ports", "/port"), "<unset>")),
        column("ENDPOINTS", |o, _| {
            or(texts(o, "/endpoints", "/addresses/0"), "<unset>")
        }),
        AGE,
    ],
    ps: &[
        "NAMESPACE",
        "NAME",
        "ADDRESSTYPE",
        "PORTS",
        "ENDPOINTS",
        "AGE",
    ],
    wide: &[
        "NAMESPACE",
        "NAME",
        "ADDRESSTYPE",
        "PORTS",
        "ENDPOINTS",
        "AGE",
    ],
};

fn service_port(port: &Value) -> String {
    let protocol = or(text(port, "/protocol"), "TCP");
    match text(port, "/nodePort").as_str() {
        "" => format!("{}/{protocol}", text(port, "/port")),
        node_port => format!("{}:{node_port}/{protocol}", text(port, "/port")),
    }
}

/// A list joined, and cut at 80 characters.
fn truncated(object: &Value, pointer: &str) -> String {
    const MOST: usize = 80;
    let all = texts(object, pointer, "");
    if all.chars().count() <= MOST {
        return all;
    }
    all.chars().take(MOST - 3).chain("...".chars()).collect()
}

/// Labels as Calico joins them: each with a comma behind it.
fn labels(profile: &Value) -> String {
    let labels = profile
        .pointer("/spec/labelsToApply")
        .and_then(Value::as_object);
    let mut labels: Vec<_> = labels.into_iter().flatten().collect();
    labels.sort_by_key(|(key, _)| *key);
    let labels = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", shown(value)));
    labels.collect::<Vec<_>>().join(",")
}

/// A label selector as Go prints Kubernetes' type.
fn pod_selector(policy: &Value) -> String {
    let selector = policy
        .pointer("/spec/podSelector")
        .cloned()
        .unwrap_or_default();
    let selector: LabelSelector = serde_json::from_value(selector).unwrap_or_default();
    let labels: String = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key}: {value},"))
        .collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .map(|e| {
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                e.key,
                e.operator,
                e.values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
