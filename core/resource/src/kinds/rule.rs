//! Rules of policies and profiles (calico-compat §1.11).

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::forms::{Port, Protocol};
use crate::validate::FieldError;
use crate::validate::checks::{Checks, go_list, is_name, is_net};

/// One rule: what matches, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// `Allow`, `Deny`, `Log` or `Pass`.
    #[serde(default)]
    pub action: String,
    /// 4 or 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<i64>,
    /// The protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// ICMP's type and code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpFields>,
    /// Any protocol but this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<Protocol>,
    /// Any ICMP type and code but these.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "notICMP")]
    pub not_icmp: Option<IcmpFields>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "EntityRule::is_empty")]
    pub source: EntityRule,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "EntityRule::is_empty")]
    pub destination: EntityRule,
    /// HTTP requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
    /// Notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RuleMetadata>,
}

/// One end of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityRule {
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<String>,
    /// Endpoints and network sets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Their namespaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// A Service's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMatch>,
    /// Ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Any address but these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_nets: Vec<String>,
    /// Any endpoint but these.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub not_selector: String,
    /// Any port but these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<Port>,
    /// Service accounts of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountMatch>,
}

impl EntityRule {
    /// Whether it says nothing: then it matches all, and is not written.
    pub fn is_empty(&self) -> bool {
        *self == EntityRule::default()
    }
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceMatch {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its namespace; the policy's where it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Service accounts, by name and by label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountMatch {
    /// By name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// By label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
}

/// ICMP's type, and a code of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcmpFields {
    /// 0 to 254.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub icmp_type: Option<i64>,
    /// 0 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
}

impl fmt::Display for IcmpFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |number: Option<i64>| number.map_or("<nil>".to_string(), |n| n.to_string());
        write!(f, "&{{{} {}}}", text(self.icmp_type), text(self.code))
    }
}

/// HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpMatch {
    /// `GET` and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<HttpPath>,
}

impl fmt::Display for HttpMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "&{{{} {}}}",
            go_list(&self.methods),
            go_list(&self.paths)
        )
    }
}

/// A path, whole or by its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpPath {
    /// Whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exact: String,
    /// Its beginning.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl fmt::Display for HttpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{} {}}}", self.exact, self.prefix)
    }
}

/// Notes on a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleMetadata {
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

pub(super) const GLOBAL: &str = "global()";
pub(super) const GLOBAL_ELSEWHERE: &str =
    "global() can only be used in an EntityRule namespaceSelector";
const NEEDS_PROTOCOL: &str =
    "rules with numeric port or port range must set protocol to TCP or UDP or SCTP";
const NEEDS_PORTS: &str = "rules that specify ports must set protocol to TCP or UDP or SCTP";
const CATCH_ALL: &str =
    "catch-all CIDR in negation creates logical contradiction (matches no traffic)";

/// The validator's checks on the rules of one direction.
pub(super) fn validate(rules: &[Rule], checks: &mut Checks) {
    for rule in rules {
        fields(rule, checks);
        ports(rule, checks);
        protocols(rule, checks);
        nets(rule, checks);
        if let Some(http) = rule.http.as_ref().filter(|_| rule.action != "Allow") {
            checks.rule(true, "HTTP", http.to_string(), "only valid for Allow rules");
        }
        if rule.destination.services.is_some() {
            let destination = &rule.destination;
            checks.rule(
                !destination.ports.is_empty(),
                "Destination.Ports",
                go_list(&destination.ports),
                "cannot specify ports with a service selector",
            );
            checks.rule(
                !destination.not_ports.is_empty(),
                "Destination.NotPorts",
                go_list(&destination.not_ports),
                "cannot specify notports with a service selector",
            );
        }
    }
}

/// The rules on each field, in the fields' order.
fn fields(rule: &Rule, checks: &mut Checks) {
    const ACTIONS: [&str; 4] = ["Allow", "Deny", "Log", "Pass"];
    if !ACTIONS.contains(&rule.action.as_str()) {
        checks
            .fields
            .push(FieldError::tag("Action", &rule.action, "action"));
    }
    if let Some(version) = rule.ip_version.filter(|v| ![4, 6].contains(v)) {
        checks.fields.push(FieldError::tag(
            "IPVersion",
            version.to_string(),
            "ipVersion",
        ));
    }
    protocol(rule.protocol.as_ref(), checks);
    icmp(rule.icmp.as_ref(), checks);
    protocol(rule.not_protocol.as_ref(), checks);
    icmp(rule.not_icmp.as_ref(), checks);
    entity(&rule.source, checks);
    entity(&rule.destination, checks);
    if let Some(http) = &rule.http {
        self::http(http, checks);
    }
}

fn protocol(protocol: Option<&Protocol>, checks: &mut Checks) {
    match protocol {
        Some(Protocol::Number(0)) => checks.rule(true, "Protocol", "0", "protocol number invalid"),
        Some(Protocol::Name(name)) if !is_protocol(name) => {
            checks.rule(true, "Protocol", name, "protocol name invalid");
        }
        Some(_) | None => (),
    }
}

/// The names of protocols, as they must be written.
pub(super) fn is_protocol(name: &str) -> bool {
    ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"].contains(&name)
}

fn icmp(icmp: Option<&IcmpFields>, checks: &mut Checks) {
    let Some(icmp) = icmp else {
        return;
    };
    for (field, number, most) in [("Type", icmp.icmp_type, 254), ("Code", icmp.code, 255)] {
        if let Some(number) = number {
            let tag = match number {
                ..0 => "gte",
                n if n > most => "lte",
                _ => continue,
            };
            checks
                .fields
                .push(FieldError::tag(field, number.to_string(), tag));
        }
    }
    if let (None, Some(code)) = (icmp.icmp_type, icmp.code) {
        let reason = "ICMP code specified without an ICMP type";
        checks.rule(true, "Code", code.to_string(), reason);
    }
}

fn entity(entity: &EntityRule, checks: &mut Checks) {
    for (i, net) in entity.nets.iter().enumerate() {
        checks.item("Nets", i, net, "net", is_net);
    }
    checks.selector_tag("Selector", &entity.selector);
    checks.selector_tag("NamespaceSelector", &entity.namespace_selector);
    if let Some(services) = &entity.services {
        checks.tag("Name", &services.name, "name", is_name);
        checks.tag("Namespace", &services.namespace, "name", is_name);
    }
    port_numbers(&entity.ports, checks);
    for (i, net) in entity.not_nets.iter().enumerate() {
        checks.item("NotNets", i, net, "net", is_net);
    }
    checks.selector_tag("NotSelector", &entity.not_selector);
    port_numbers(&entity.not_ports, checks);
    if let Some(accounts) = &entity.service_accounts {
        checks.selector_tag("Selector", &accounts.selector);
    }
    checks.rule(
        entity.selector.contains(GLOBAL),
        "Selector field",
        &entity.selector,
        GLOBAL_ELSEWHERE,
    );
    let namespaces = entity.namespace_selector.trim();
    checks.rule(
        namespaces.contains("global(") && namespaces.replace(' ', "") != GLOBAL,
        "NamespaceSelector field",
        &entity.namespace_selector,
        "global() cannot be combined with other selectors",
    );
    if let Some(services) = &entity.services {
        let value = format!("&{{{} {}}}", services.name, services.namespace);
        for (wrong, reason) in [
            (services.name.is_empty(), "must specify a service name"),
            (
                !entity.namespace_selector.is_empty(),
                "cannot specify NamespaceSelector and Services on the same rule",
            ),
            (
                !entity.selector.is_empty() || !entity.not_selector.is_empty(),
                "cannot specify Selector/NotSelector and Services on the same rule",
            ),
            (
                entity.service_accounts.is_some(),
                "cannot specify ServiceAccounts and Services on the same rule",
            ),
            (
                !entity.nets.is_empty() || !entity.not_nets.is_empty(),
                "cannot specify Nets/NotNets and Services on the same rule",
            ),
        ] {
            checks.rule(wrong, "Services field", &value, reason);
        }
    }
}

/// Ports are from 1.
pub(super) fn port_numbers(ports: &[Port], checks: &mut Checks) {
    let reason = "port range invalid, port number must be between 1 and 65535";
    for port in ports {
        if matches!(port, Port::Range(0, _)) {
            checks.rule(true, "Port", "0", reason);
        }
    }
}

fn http(http: &HttpMatch, checks: &mut Checks) {
    let mut methods = http.methods.clone();
    methods.sort();
    methods.dedup();
    let all = go_list(&http.methods);
    let reason = format!("Invalid methods (duplicates): {all}");
    checks.rule(methods.len() != http.methods.len(), "Methods", all, &reason);
    let wrong = http.paths.iter().find_map(|path| {
        let text = match (path.exact.as_str(), path.prefix.as_str()) {
            ("", "") => {
                return Some(
                    "Invalid path match. Either 'exact' or 'prefix' must be set".to_string(),
                );
            }
            ("", text) | (text, "") => text,
            _ => {
                return Some("Invalid path match. Both 'exact' and 'prefix' are set".to_string());
            }
        };
        (!text.starts_with('/') || text.contains(['?', ' ', '#'])).then(|| {
            format!("Invalid path {text}. (must start with `/` and not contain `?` or `#`")
        })
    });
    if let Some(reason) = wrong {
        checks.rule(true, "Paths", go_list(&http.paths), &reason);
    }
}

/// Ports need a protocol that has some.
fn ports(rule: &Rule, checks: &mut Checks) {
    for (end, entity) in [("Source", &rule.source), ("Destination", &rule.destination)] {
        for (field, ports) in [("Ports", &entity.ports), ("NotPorts", &entity.not_ports)] {
            let (wrong, reason) = match &rule.protocol {
                None => (!ports.iter().all(Port::is_named), NEEDS_PROTOCOL),
                Some(protocol) => (!protocol.supports_ports() && !ports.is_empty(), NEEDS_PORTS),
            };
            checks.rule(wrong, &format!("{end}.{field}"), go_list(ports), reason);
        }
    }
}

/// What the protocol must be for the rest.
fn protocols(rule: &Rule, checks: &mut Checks) {
    let protocol = rule.protocol.as_ref();
    if let Some(protocol) = protocol.filter(|p| rule.http.is_some() && !p.is("TCP")) {
        let reason = "rules that specify HTTP fields must set protocol to TCP or empty";
        checks.rule(true, "Protocol", protocol.to_string(), reason);
    }
    let is = |name: &str| protocol.is_some_and(|p| p.is(name));
    if let Some(icmp) = rule.icmp.as_ref().filter(|_| !is("ICMP") && !is("ICMPv6")) {
        let reason = "rules that specify ICMP fields must set protocol to ICMP";
        checks.rule(true, "ICMP", icmp.to_string(), reason);
    }
    let either = |name: &str| is(name) || rule.not_protocol.as_ref().is_some_and(|p| p.is(name));
    let shown = rule
        .icmp
        .as_ref()
        .map_or("<nil>".to_string(), ToString::to_string);
    let version = |wanted: i64| rule.ip_version.is_some_and(|v| v != wanted);
    checks.rule(
        either("ICMP") && version(4),
        "IPVersion",
        &shown,
        "must set ipversion to '4' with protocol icmp",
    );
    checks.rule(
        either("ICMPv6") && version(6),
        "IPVersion",
        &shown,
        "must set ipversion to '6' with protocol icmpv6",
    );
}

/// All addresses of a rule are of one family, and of the rule's.
fn nets(rule: &Rule, checks: &mut Checks) {
    let (mut seen_v4, mut seen_v6) = (false, false);
    for (field, nets) in [
        ("Source.Nets", &rule.source.nets),
        ("Source.NotNets", &rule.source.not_nets),
        ("Destination.Nets", &rule.destination.nets),
        ("Destination.NotNets", &rule.destination.not_nets),
    ] {
        let (mut v4, mut v6) = (false, false);
        for net in nets {
            let parsed = net.parse::<IpNet>().or_else(|_| {
                net.parse()
                    .map(|address: std::net::IpAddr| IpNet::from(address))
            });
            match parsed {
                Err(_) => checks.rule(true, field, net, "invalid CIDR"),
                Ok(parsed) => {
                    v4 |= parsed.addr().is_ipv4();
                    v6 |= parsed.addr().is_ipv6();
                    let all = parsed.prefix_len() == 0 && field.ends_with("NotNets");
                    checks.rule(all && parsed == parsed.trunc(), field, net, CATCH_ALL);
                }
            }
        }
        checks.rule(
            rule.ip_version
                .is_some_and(|v| v4 && v != 4 || v6 && v != 6),
            field,
            go_list(&rule.source.nets),
            "rule IP version doesn't match CIDR version",
        );
        checks.rule(
            v4 && seen_v6 || v6 && seen_v4 || v4 && v6,
            field,
            go_list(nets),
            "rule contains both IPv4 and IPv6 CIDRs",
        );
        seen_v4 |= v4;
        seen_v6 |= v6;
    }
}

/// The rules of the CRD's schema; `path` is `spec.ingress`.
pub(super) fn schema(path: &str, rules: &[Rule], checks: &mut Checks) {
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{i}]");
        checks.supported(
            &format!("{path}.action"),
            Some(&rule.action),
            &["Allow", "Deny", "Log", "Pass"],
        );
        let version = format!("{path}.ipVersion");
        let wrong = rule.ip_version.is_some_and(|v| ![4, 6].contains(&v));
        checks.schema(wrong, &version, "supported values: \"4\", \"6\"");
        for (name, icmp) in [("icmp", &rule.icmp), ("notICMP", &rule.not_icmp)] {
            let Some(icmp) = icmp else {
                continue;
            };
            let path = format!("{path}.{name}");
            checks.bounds(&format!("{path}.type"), icmp.icmp_type, 0, 254);
            checks.bounds(&format!("{path}.code"), icmp.code, 0, 255);
            checks.schema(
                icmp.icmp_type.is_none() && icmp.code.is_some(),
                &path,
                "ICMP code specified without an ICMP type",
            );
        }
        if let Some(http) = &rule.http {
            http_schema(&path, rule, http, checks);
        }
        let destination = &rule.destination;
        checks.schema(
            destination.services.is_some()
                && !(destination.ports.is_empty() && destination.not_ports.is_empty()),
            &path,
            "ports and notPorts cannot be specified with services",
        );
    }
}

fn http_schema(path: &str, rule: &Rule, http: &HttpMatch, checks: &mut Checks) {
    checks.max_items(&format!("{path}.http.methods"), http.methods.len(), 20);
    checks.max_items(&format!("{path}.http.paths"), http.paths.len(), 20);
    for (i, own) in http.paths.iter().enumerate() {
        let path = format!("{path}.http.paths[{i}]");
        checks.max_length(&format!("{path}.exact"), &own.exact, 1024);
        checks.max_length(&format!("{path}.prefix"), &own.prefix, 1024);
    }
    let tcp = |p: &Protocol| p.is("TCP") || *p == Protocol::Number(6);
    checks.schema(
        rule.protocol.as_ref().is_some_and(|p| !tcp(p)),
        path,
        "rules with HTTP match must have protocol TCP or unset",
    );
    checks.schema(
        rule.action != "Allow",
        path,
        "HTTP match is only valid on Allow rules",
    );
}
