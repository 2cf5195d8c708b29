//! A NetworkPolicy that is read from Kubernetes' own (calico-compat §3.4).
//!
//! Each of Kubernetes' rules becomes one for each protocol and peer that it names. All of them allow; that other traffic of the pods
//! is denied is the tier's to say.

use std::collections::BTreeMap;

use ipnet::IpNet;
use resource::kinds::{
    EntityRule, IpBlock, KubernetesPolicyPeer, KubernetesPolicyPort, LabelSelector, NetworkPolicy,
    NetworkPolicySpec, NumberOrName, Port, Rule, StagedKubernetesNetworkPolicySpec, TIER_LABEL,
};
use resource::{Key, Metadata};
use serde_json::Value;

use crate::metadata::{metadata, part};

/// Before the names of Kubernetes' policies.
const PREFIX: &str = "knp.default.";
const TIER: &str = "default";
const ORDER: f64 = 1000.0;
/// Endpoints of pods: Kubernetes' policies are about no others.
const PODS: &str = "projectcalico.org/orchestrator == 'k8s'";

/// Calico's policy that says what Kubernetes' does, as it would be stored, and its key.
///
/// # Errors
/// What is wrong with the object. A rule that is not valid is left out, and so allows nothing; see [`ignored`].
pub fn of_network_policy(object: &Value) -> Result<(Key, String), String> {
    let (policy, _) = parse(object)?;
    Ok((policy.key(), policy.to_stored()))
}

/// The rules that are not valid, and why: for the log.
pub fn ignored(object: &Value) -> Vec<String> {
    parse(object).map_or_else(|_| Vec::new(), |(_, ignored)| ignored)
}

fn parse(object: &Value) -> Result<(NetworkPolicy, Vec<String>), String> {
    let own = metadata(object)?;
    // What a staged policy would be is the same spec.
    let spec: StagedKubernetesNetworkPolicySpec = part(object, "spec")?;
    let mut ignored = Vec::new();
    let mut ingress = Vec::new();
    for (i, rule) in spec.ingress.iter().enumerate() {
        match matches(&rule.ports, &rule.from) {
            Ok(matches) => ingress.extend(matches.into_iter().map(Match::ingress)),
            Err(why) => ignored.push(format!("ingress rule {i}: {why}")),
        }
    }
    let mut egress = Vec::new();
    for (i, rule) in spec.egress.iter().enumerate() {
        match matches(&rule.ports, &rule.to) {
            Ok(matches) => egress.extend(matches.into_iter().map(Match::egress)),
            Err(why) => ignored.push(format!("egress rule {i}: {why}")),
        }
    }
    let mut types = spec.policy_types;
    if types.is_empty() {
        types.push("Ingress".to_string());
        if !spec.egress.is_empty() {
            types.push("Egress".to_string());
        }
    }
    let policy = NetworkPolicySpec {
        tier: TIER.to_string(),
        order: Some(ORDER),
        ingress,
        egress,
        selector: pods(&spec.pod_selector)?,
        types,
        ..NetworkPolicySpec::default()
    };
    let metadata = Metadata {
        name: format!("{PREFIX}{}", own.name),
        namespace: Some(own.namespace.ok_or("it has no namespace")?),
        uid: own.uid,
        creation_timestamp: own.creation_timestamp,
        labels: BTreeMap::from([(TIER_LABEL.to_string(), TIER.to_string())]),
        ..Metadata::default()
    };
    Ok((NetworkPolicy::new(metadata, policy), ignored))
}

/// What one of Calico's rules matches.
struct Match {
    protocol: Option<NumberOrName>,
    /// Of the destination.
    ports: Vec<Port>,
    peer: EntityRule,
}

impl Match {
    fn ingress(self) -> Rule {
        let destination = EntityRule {
            ports: self.ports,
            ..EntityRule::default()
        };
        allow(self.protocol, self.peer, destination)
    }

    fn egress(self) -> Rule {
        let destination = EntityRule {
            ports: self.ports,
            ..self.peer
        };
        allow(self.protocol, EntityRule::default(), destination)
    }
}

fn allow(protocol: Option<NumberOrName>, source: EntityRule, destination: EntityRule) -> Rule {
    Rule {
        action: "Allow".to_string(),
        protocol,
        source,
        destination,
        ..Rule::default()
    }
}

/// Every protocol with every peer; without ports all protocols, without peers all the world.
fn matches(
    ports: &[KubernetesPolicyPort],
    peers: &[KubernetesPolicyPeer],
) -> Result<Vec<Match>, String> {
    let peers: Vec<EntityRule> = if peers.is_empty() {
        vec![EntityRule::default()]
    } else {
        peers.iter().map(peer).collect::<Result<_, _>>()?
    };
    let protocols = if ports.is_empty() {
        vec![(None, Vec::new())]
    } else {
        let protocols = by_protocol(ports)?.into_iter();
        let named = protocols.map(|(name, ports)| (Some(NumberOrName::Name(name)), ports));
        named.collect()
    };
    let mut matches = Vec::new();
    for (protocol, ports) in protocols {
        matches.extend(peers.iter().map(|peer| Match {
            protocol: protocol.clone(),
            ports: ports.clone(),
            peer: peer.clone(),
        }));
    }
    Ok(matches)
}

/// The ports of each protocol; none means all of them.
fn by_protocol(ports: &[KubernetesPolicyPort]) -> Result<BTreeMap<String, Vec<Port>>, String> {
    let mut protocols: BTreeMap<String, Option<Vec<Port>>> = BTreeMap::new();
    for port in ports {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_string());
        let known = protocols
            .entry(protocol)
            .or_insert_with(|| Some(Vec::new()));
        match (self::port(port)?, known) {
            (Some(port), Some(known)) => known.push(port),
            // One entry without a port is about all of them.
            (None, known) => *known = None,
            (Some(_), None) => (),
        }
    }
    let simple = |ports: Option<Vec<Port>>| ports.map(simplified).unwrap_or_default();
    Ok(protocols
        .into_iter()
        .map(|(protocol, ports)| (protocol, simple(ports)))
        .collect())
}

/// `None` for all ports.
fn port(port: &KubernetesPolicyPort) -> Result<Option<Port>, String> {
    let Some(value) = &port.port else {
        return match port.end_port {
            None => Ok(None),
            Some(end) => Err(format!("its endPort {end} has no port")),
        };
    };
    let first = serde_json::from_value(value.clone()).map_err(|e| format!("its port: {e}"))?;
    match (first, port.end_port) {
        (first, None) => Ok(Some(first)),
        (Port::Range(first, _), Some(end)) => match u16::try_from(end) {
            Ok(end) if first <= end => Ok(Some(Port::Range(first, end))),
            Ok(_) | Err(_) => Err(format!("its endPort {end} is no port from {first} on")),
        },
        (Port::Named(name), Some(_)) => Err(format!("its port {name:?} has an endPort")),
    }
}

/// The same ports in as few ranges as there can be, names first; what has at most one range is as it was.
fn simplified(ports: Vec<Port>) -> Vec<Port> {
    if ports.iter().filter(|port| !port.is_named()).count() < 2 {
        return ports;
    }
    let (mut simple, ranges): (Vec<Port>, Vec<Port>) = ports.into_iter().partition(Port::is_named);
    let mut ranges: Vec<(u16, u16)> = ranges
        .into_iter()
        .filter_map(|port| match port {
            Port::Range(from, to) => Some((from, to)),
            Port::Named(_) => None,
        })
        .collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
            Some(_) | None => joined.push((from, to)),
        }
    }
    simple.extend(joined.into_iter().map(|(from, to)| Port::Range(from, to)));
    simple
}

/// One end of the traffic: a range of addresses, or pods. Pods without a namespace are the policy's own.
fn peer(peer: &KubernetesPolicyPeer) -> Result<EntityRule, String> {
    if let Some(block) = &peer.ip_block {
        return of_block(block);
    }
    let all = LabelSelector::default();
    let namespaces = peer.namespace_selector.as_ref().map(namespaces);
    Ok(EntityRule {
        selector: pods(peer.pod_selector.as_ref().unwrap_or(&all))?,
        namespace_selector: namespaces.transpose()?.unwrap_or_default(),
        ..EntityRule::default()
    })
}

fn of_block(block: &IpBlock) -> Result<EntityRule, String> {
    let net = |text: &String| match text.parse::<IpNet>() {
        Ok(net) => Ok(net.trunc().to_string()),
        Err(_) => Err(format!("its ipBlock: {text:?} is no network")),
    };
    Ok(EntityRule {
        nets: vec![net(&block.cidr)?],
        not_nets: block.except.iter().map(net).collect::<Result<_, _>>()?,
        ..EntityRule::default()
    })
}

/// Pods that match.
fn pods(selector: &LabelSelector) -> Result<String, String> {
    let mut terms = vec![PODS.to_string()];
    terms.extend(self::terms(selector)?);
    Ok(terms.join(" && "))
}

/// Namespaces that match.
fn namespaces(selector: &LabelSelector) -> Result<String, String> {
    let terms = terms(selector)?;
    if terms.is_empty() {
        return Ok("all()".to_string());
    }
    Ok(terms.join(" && "))
}

/// What must hold, in Calico's words.
fn terms(selector: &LabelSelector) -> Result<Vec<String>, String> {
    let labels = selector.match_labels.iter();
    let mut terms: Vec<String> = labels.map(|(k, v)| format!("{k} == '{v}'")).collect();
    for expression in &selector.match_expressions {
        let (key, values) = (&expression.key, expression.values.join("', '"));
        terms.push(match expression.operator.as_str() {
            "In" => format!("{key} in {{ '{values}' }}"),
            "NotIn" => format!("{key} not in {{ '{values}' }}"),
            "Exists" => format!("has({key})"),
            "DoesNotExist" => format!("! has({key})"),
            other => return Err(format!("its selector: {other:?} is no operator")),
        });
    }
    Ok(terms)
}
