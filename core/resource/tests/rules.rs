//! What documents are refused for, in calicoctl's words.

use resource::{ParseError, parse_document, validate};
use serde_json::{Value, json};

#[track_caller]
fn check(kind: &str, name: &str, spec: Value, expected: &[&str]) {
    let namespaced = [
        "NetworkPolicy",
        "StagedNetworkPolicy",
        "NetworkSet",
        "WorkloadEndpoint",
        "StagedKubernetesNetworkPolicy",
    ];
    let namespace = if namespaced.contains(&kind) {
        json!("ns")
    } else {
        Value::Null
    };
    let document = json!({
        "kind": kind, "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let found = match parse_document(document) {
        Ok(object) => validate::validate(&object),
        Err(ParseError::Invalid { error, .. }) => Err(error),
        Err(error) => panic!("{error}"),
    };
    let found: Vec<String> = found
        .err()
        .into_iter()
        .flat_map(|e| e.fields)
        .map(|f| f.to_string())
        .collect();
    assert_eq!(found, expected, "{kind} {spec}");
}

fn tag(field: &str, value: &str, tag: &str) -> String {
    format!(
        "{field} = '{value}' (Reason: failed to validate Field: {field} because of Tag: {tag} )"
    )
}

fn rule(rule: Value, expected: &[&str]) {
    check("NetworkPolicy", "x", json!({"ingress": [rule]}), expected);
}

const LABEL: &str = "name must consist of lower case alphanumeric characters or '-' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?)";

#[test]
fn rules_of_policies() {
    rule(
        json!({"action": "Allow", "protocol": "TCP", "source": {"ports": [80, "1:2", "http"]}}),
        &[],
    );
    rule(
        json!({"action": "Allow", "protocol": 132, "destination": {"ports": [80]}}),
        &[],
    );
    rule(
        json!({"action": "Allow", "source": {"ports": ["http"], "namespaceSelector": "global()"}}),
        &[],
    );
    rule(
        json!({"action": "allow", "ipVersion": 5}),
        &[
            &tag("Action", "allow", "action"),
            &tag("IPVersion", "5", "ipVersion"),
            "spec.ingress[0].action (supported values: \"Allow\", \"Deny\", \"Log\", \"Pass\")",
            "spec.ingress[0].ipVersion (supported values: \"4\", \"6\")",
        ],
    );
    rule(
        json!({"action": "Allow", "protocol": 0, "notProtocol": "tcp"}),
        &[
            "Protocol = '0' (protocol number invalid)",
            "Protocol = 'tcp' (protocol name invalid)",
        ],
    );
    rule(
        json!({"action": "Allow", "destination": {"ports": [80, "http"]}}),
        &[
            "Destination.Ports = '[80 http]' (rules with numeric port or port range must set protocol to TCP or UDP or SCTP)",
        ],
    );
    rule(
        json!({"action": "Allow", "protocol": "ICMP", "source": {"notPorts": ["http"]}}),
        &[
            "Source.NotPorts = '[http]' (rules that specify ports must set protocol to TCP or UDP or SCTP)",
        ],
    );
    rule(
        json!({"action": "Allow", "protocol": "TCP", "source": {"ports": [0]}}),
        &["Port = '0' (port range invalid, port number must be between 1 and 65535)"],
    );
    rule(
        json!({"action": "Allow", "protocol": "ICMP", "icmp": {"code": 256}, "ipVersion": 6}),
        &[
            &tag("Code", "256", "lte"),
            "Code = '256' (ICMP code specified without an ICMP type)",
            "IPVersion = '&{<nil> 256}' (must set ipversion to '4' with protocol icmp)",
            "spec.ingress[0].icmp.code (spec.ingress[0].icmp.code in body should be less than or equal to 255)",
            "spec.ingress[0].icmp (ICMP code specified without an ICMP type)",
        ],
    );
    rule(
        json!({"action": "Allow", "icmp": {"type": 8}}),
        &["ICMP = '&{8 <nil>}' (rules that specify ICMP fields must set protocol to ICMP)"],
    );
    rule(
        json!({"action": "Deny", "protocol": "UDP", "http": {"methods": ["GET", "GET"], "paths": [{"exact": "a"}]}}),
        &[
            "Methods = '[GET GET]' (Invalid methods (duplicates): [GET GET])",
            "Paths = '[{a }]' (Invalid path a. (must start with `/` and not contain `?` or `#`)",
            "Protocol = 'UDP' (rules that specify HTTP fields must set protocol to TCP or empty)",
            "HTTP = '&{[GET GET] [{a }]}' (only valid for Allow rules)",
            "spec.ingress[0] (rules with HTTP match must have protocol TCP or unset)",
            "spec.ingress[0] (HTTP match is only valid on Allow rules)",
        ],
    );
}

#[test]
fn ends_of_rules() {
    rule(
        json!({"action": "Allow", "source": {"nets": ["10.0.0.1/8"], "selector": "has(", "notNets": ["0.0.0.0/0"]}}),
        &[
            &tag("Nets[0]", "10.0.0.1/8", "net"),
            &tag("Selector", "has(", "selector"),
            "Source.NotNets = '0.0.0.0/0' (catch-all CIDR in negation creates logical contradiction (matches no traffic))",
        ],
    );
    rule(
        json!({"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}, "destination": {"nets": ["fd00::/8"]}}),
        &["Destination.Nets = '[fd00::/8]' (rule contains both IPv4 and IPv6 CIDRs)"],
    );
    rule(
        json!({"action": "Allow", "ipVersion": 6, "source": {"nets": ["10.0.0.0/8"]}}),
        &["Source.Nets = '[10.0.0.0/8]' (rule IP version doesn't match CIDR version)"],
    );
    rule(
        json!({"action": "Allow", "source": {"selector": "global()", "namespaceSelector": "global() && has(a)"}}),
        &[
            "Selector field = 'global()' (global() can only be used in an EntityRule namespaceSelector)",
            "NamespaceSelector field = 'global() && has(a)' (global() cannot be combined with other selectors)",
        ],
    );
    rule(
        json!({"action": "Allow", "source": {"services": {"namespace": "n"}, "nets": ["10.0.0.0/8"]}}),
        &[
            "Services field = '&{ n}' (must specify a service name)",
            "Services field = '&{ n}' (cannot specify Nets/NotNets and Services on the same rule)",
        ],
    );
    check(
        "NetworkPolicy",
        "x",
        json!({"egress": [{"action": "Allow", "protocol": "TCP", "source": {"services": {"name": "s"}},
            "destination": {"services": {"name": "s"}, "ports": [80]}}]}),
        &[
            "Destination.Ports = '[80]' (cannot specify ports with a service selector)",
            "Services = '&{s }' (not allowed in egress rule source)",
            "spec.egress[0] (ports and notPorts cannot be specified with services)",
        ],
    );
}

#[test]
fn policies() {
    check("NetworkPolicy", "a.b", json!({}), &[]);
    check("NetworkPolicy", "knp.default.a.b.c", json!({}), &[]);
    check(
        "NetworkPolicy",
        "a.b.c",
        json!({}),
        &[&format!("Metadata.Name = 'a.b.c' ({LABEL})")],
    );
    let foreign = format!("Metadata.Name = 'knp.default.a' ({LABEL})");
    check(
        "GlobalNetworkPolicy",
        "knp.default.a",
        json!({}),
        &[&foreign],
    );
    check(
        "NetworkPolicy",
        "x",
        json!({"tier": "A", "selector": "a =", "types": ["Ingress", "Ingress", "both"], "performanceHints": ["X"]}),
        &[
            &tag("Tier", "A", "name"),
            &tag("Selector", "a =", "selector"),
            &tag("Types[2]", "both", "policyType"),
            &tag("PerformanceHints[0]", "X", "oneof"),
            "NetworkPolicySpec.Types = '[Ingress Ingress both]' ('Ingress' type specified more than once)",
            "spec.performanceHints[0] (supported values: \"AssumeNeededOnEveryNode\")",
            "spec.types (spec.types in body should have at most 2 items)",
            "spec.types[2] (supported values: \"Ingress\", \"Egress\")",
        ],
    );
    check(
        "GlobalNetworkPolicy",
        "x",
        json!({"preDNAT": true, "doNotTrack": true, "selector": "global()"}),
        &[
            "PolicySpec.PreDNAT = 'true' (PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec)",
            "PolicySpec.ApplyOnForward = 'false' (ApplyOnForward must be true if either PreDNAT or DoNotTrack is true, for a given PolicySpec)",
            "GlobalNetworkPolicySpec.Selector = 'global()' (global() can only be used in an EntityRule namespaceSelector)",
            "spec (preDNAT and doNotTrack cannot both be true)",
            "spec (applyOnForward must be true if either preDNAT or doNotTrack is true)",
        ],
    );
    check(
        "GlobalNetworkPolicy",
        "x",
        json!({"preDNAT": true, "applyOnForward": true, "types": ["Ingress"]}),
        &[],
    );
    check(
        "StagedNetworkPolicy",
        "x",
        json!({"stagedAction": "Delete", "tier": "sec"}),
        &[],
    );
    check(
        "StagedNetworkPolicy",
        "x",
        json!({"stagedAction": "Delete", "selector": "all()"}),
        &[
            "StagedNetworkPolicySpec = '{...}' (Spec fields, except Tier, should all be zero-value if stagedAction is Delete)",
        ],
    );
    check(
        "StagedGlobalNetworkPolicy",
        "x",
        json!({"stagedAction": "Go"}),
        &[
            &tag("StagedAction", "Go", "stagedAction"),
            "spec.stagedAction (supported values: \"Set\", \"Delete\", \"Learn\", \"Ignore\")",
        ],
    );
}

#[test]
fn the_other_kinds() {
    check(
        "Tier",
        "a.b",
        json!({"order": 1}),
        &[&format!("Metadata.Name = 'a.b' ({LABEL})")],
    );
    check(
        "Tier",
        "default",
        json!({"defaultAction": "Pass", "order": 1_000_000}),
        &["Tier (The 'default' tier must have default action 'Deny')"],
    );
    check(
        "Tier",
        "kube-admin",
        json!({"order": 1000, "defaultAction": "Pass"}),
        &[],
    );
    check(
        "HostEndpoint",
        "x",
        json!({"ports": [{"name": "Web", "protocol": "ICMP", "port": 0}]}),
        &[
            &tag("Name", "Web", "portName"),
            &tag("Port", "0", "gt"),
            "EndpointPort.Protocol = 'ICMP' (EndpointPort protocol does not support ports.)",
            "InterfaceName = '' (no interface or expected IPs have been specified)",
            "InterfaceName = '' (no node has been specified)",
            "spec.ports[0].port (spec.ports[0].port in body should be greater than or equal to 1)",
            "spec (at least one of interfaceName or expectedIPs must be specified)",
            "spec (node must be specified)",
        ],
    );
    check(
        "HostEndpoint",
        "x",
        json!({"node": "n", "interfaceName": "*"}),
        &[],
    );
    check(
        "NetworkSet",
        "x",
        json!({"nets": ["10.0.0.1/8", "x"]}),
        &[&tag("Nets[1]", "x", "cidr")],
    );
    check(
        "IPReservation",
        "x",
        json!({"reservedCIDRs": ["10.0.0.0/30", "10.0.0.9"]}),
        &[],
    );
    check(
        "Profile",
        "x",
        json!({"labelsToApply": {"a b": "c"}}),
        &[&tag("LabelsToApply", "map[a b:c]", "labels")],
    );
    check(
        "CalicoNodeStatus",
        "x",
        json!({"classes": ["BGP", "BGP"], "updatePeriodSeconds": 86401}),
        &[
            &tag("Node", "", "required"),
            &tag("Classes", "[BGP BGP]", "unique"),
            &tag("UpdatePeriodSeconds", "86401", "lte"),
        ],
    );
    check(
        "FelixConfiguration",
        "default",
        json!({"logSeverityScreen": "warning", "vxlanPort": 4789, "nodeSelector": "all()", "debugPort": 70000,
            "chainInsertMode": "Push", "kubeNodePortRanges": ["http"], "natOutgoingAddress": "x", "logActionRateLimit": "0/second"}),
        &[
            &tag("LogSeverityScreen", "warning", "logLevel"),
            &tag("DebugPort", "70000", "lte"),
            "KubeNodePortRanges = '[http]' (node port ranges should not contain named ports)",
            "NATOutgoingAddress = 'x' (is not a valid IPv4 address)",
            "spec.chainInsertMode (spec.chainInsertMode in body should match '^(?i)(Insert|Append)?$')",
            "spec.logActionRateLimit (spec.logActionRateLimit in body should match '^[1-9]\\d{0,3}/(?:second|minute|hour|day)$')",
            "FelixConfiguration (nodeSelector must not be set on the 'default' or per-node ('node.*') FelixConfiguration)",
        ],
    );
    check(
        "KubeControllersConfiguration",
        "default",
        json!({"logSeverityScreen": "None", "controllers": {"loadBalancer": {"assignIPs": "Some"}}}),
        &[
            &tag("LogSeverityScreen", "None", "logLevel"),
            &tag("AssignIPs", "Some", "assignIPs"),
            "spec.controllers.loadBalancer.assignIPs (supported values: \"AllServices\", \"RequestedServicesOnly\")",
        ],
    );
    check(
        "IPAMConfiguration",
        "default",
        json!({"maxBlocksPerHost": -1}),
        &[
            "MaxBlocksPerHost = '-1' (must be greater than or equal to 0)",
            "spec.maxBlocksPerHost (spec.maxBlocksPerHost in body should be greater than or equal to 0)",
        ],
    );
}

#[test]
fn pools() {
    let pool = |spec: Value, expected: &[&str]| check("IPPool", "p", spec, expected);
    let balancer = |field: &str, value: Value, expected: &[&str]| {
        let mut spec = json!({"cidr": "10.0.0.0/16", "allowedUses": ["LoadBalancer"]});
        spec[field] = value;
        pool(spec, expected);
    };
    balancer("nodeSelector", json!("all()"), &[]);
    balancer("namespaceSelector", json!("team == 'a'"), &[]);
    balancer(
        "allowedUses",
        json!(["LoadBalancer", "Tunnel"]),
        &[
            "IPpool.AllowedUses = '[LoadBalancer Tunnel]' (LoadBalancer cannot be used at the same time as: Tunnel)",
            "spec (LoadBalancer cannot be combined with Workload or Tunnel allowed uses)",
        ],
    );
    for (field, value, shown) in [
        ("ipipMode", "Always", "Always"),
        ("vxlanMode", "CrossSubnet", "Never"),
    ] {
        let first = format!(
            "IPpool.IPIPMode = '{shown}' (Neither IPIPMode nor VXLANMode can be enabled on AllowedUses LoadBalancer IP pool)"
        );
        let second = "spec (LoadBalancer IP pool cannot have IPIP or VXLAN enabled)";
        balancer(field, json!(value), &[&first, second]);
    }
    balancer(
        "disableBGPExport",
        json!(true),
        &[
            "IPpool.DisableBGPExport = '10.0.0.0/16' (IP Pool with AllowedUse LoadBalancer must have DisableBGPExport set to true)",
        ],
    );
    balancer(
        "nodeSelector",
        json!("has(a)"),
        &[
            "IPpool.NodeSelector = '10.0.0.0/16' (IP Pool with AllowedUse LoadBalancer must have node selector set to all())",
        ],
    );
    balancer(
        "allowedUses",
        json!(["Nothing"]),
        &[
            "IPpool.AllowedUses = '[Nothing]' (unknown use: Nothing)",
            "spec.allowedUses[0] (supported values: \"Workload\", \"Tunnel\", \"LoadBalancer\")",
        ],
    );
    pool(
        json!({"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel"], "namespaceSelector": "has(a)"}),
        &[
            "IPpool.NamespaceSelector = 'has(a)' (IP Pool with AllowedUse Tunnel cannot have namespaceSelector specified - tunnel IPs are not namespaced resources)",
        ],
    );
    pool(
        json!({"cidr": "169.254.10.0/24"}),
        &[
            "IPpool.CIDR = '169.254.10.0/24' (IP pool range overlaps with IPv4 Link Local range 169.254.0.0/16)",
        ],
    );
    pool(
        json!({"cidr": "fe80::/9"}),
        &["IPpool.CIDR = 'fe80::/9' (IP pool range overlaps with IPv6 Link Local range fe80::/10)"],
    );
}
