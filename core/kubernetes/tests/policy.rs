//! Kubernetes' policies as Calico's.

use kubernetes::policy::{ignored, of_network_policy};
use resource::kinds::NetworkPolicy;
use resource::{Key, Kind, Selector};
use serde_json::{Value, json};

/// A policy with this spec.
fn policy(spec: &str) -> Value {
    let spec: Value = serde_yaml_ng::from_str(spec).expect("YAML");
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "3059e257-a3d0-49b9-9d79-ef26f621f379",
            "creationTimestamp": "2026-11-22T22:50:18Z",
            "resourceVersion": "14",
            "labels": {"not": "shown"},
            "annotations": {"not": "shown"},
        },
        "spec": spec,
    })
}

/// Compares the spec of what a policy reads as.
#[track_caller]
fn check(spec: &str, expected: &str) {
    let object = policy(spec);
    let (_, document) = of_network_policy(&object).expect("a policy");
    let parsed: Value = serde_json::from_str(&document).expect("JSON");
    let expected: Value = serde_yaml_ng::from_str(expected).expect("YAML");
    assert_eq!(parsed["spec"], expected);
    assert_eq!(ignored(&object), Vec::<String>::new());
    // What is in it is what Calico takes.
    let policy = NetworkPolicy::from_json(&document).expect("a policy");
    let rules = policy.spec.ingress.iter().chain(&policy.spec.egress);
    let ends = rules.flat_map(|rule| [&rule.source, &rule.destination]);
    let selectors = ends.flat_map(|end| [&end.selector, &end.namespace_selector]);
    for selector in selectors.chain([&policy.spec.selector]) {
        assert!(Selector::parse(selector).is_ok(), "{selector}");
    }
}

#[test]
fn a_policy_that_denies_all() {
    let object = policy("{podSelector: {}, policyTypes: [Ingress, Egress]}");
    let (key, document) = of_network_policy(&object).expect("a policy");
    assert_eq!(
        key,
        Key::in_namespace(Kind::NetworkPolicy, "shop", "knp.default.web")
    );
    assert_eq!(
        document,
        r#"{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"knp.default.web","namespace":"shop","uid":"3059e257-a3d0-49b9-9d79-ef26f621f379","creationTimestamp":"2026-11-22T22:50:18Z","labels":{"projectcalico.org/tier":"default"},"annotations":{"projectcalico.org/metadata":"{\"name\":\"knp.default.web\"}"}},"spec":{"tier":"default","order":1000,"selector":"projectcalico.org/orchestrator == 'k8s'","types":["Ingress","Egress"]}}"#
    );
}

#[test]
fn pods_and_namespaces_and_ranges() {
    check(
        r#"
podSelector:
  matchLabels: {tier: db, app: shop}
policyTypes: [Ingress, Egress]
ingress:
- from:
  - podSelector:
      matchLabels: {role: web}
  - namespaceSelector:
      matchLabels: {team: a}
  - namespaceSelector: {}
    podSelector:
      matchExpressions:
      - {key: role, operator: In, values: [web, api]}
      - {key: env, operator: NotIn, values: [dev]}
      - {key: new, operator: Exists}
      - {key: old, operator: DoesNotExist}
  - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24, 172.17.2.0/24]}
  ports:
  - {port: 6379}
egress:
- to:
  - ipBlock: {cidr: "2001:db8::/32"}
  ports:
  - {protocol: UDP, port: 53}
  - {protocol: TCP, port: 53}
"#,
        r#"
tier: default
order: 1000
selector: projectcalico.org/orchestrator == 'k8s' && app == 'shop' && tier == 'db'
types: [Ingress, Egress]
ingress:
- action: Allow
  protocol: TCP
  source: {selector: "projectcalico.org/orchestrator == 'k8s' && role == 'web'"}
  destination: {ports: [6379]}
- action: Allow
  protocol: TCP
  source:
    selector: projectcalico.org/orchestrator == 'k8s'
    namespaceSelector: team == 'a'
  destination: {ports: [6379]}
- action: Allow
  protocol: TCP
  source:
    selector: projectcalico.org/orchestrator == 'k8s' && role in { 'web', 'api' } && env not in { 'dev' } && has(new) && ! has(old)
    namespaceSelector: all()
  destination: {ports: [6379]}
- action: Allow
  protocol: TCP
  source: {nets: [172.17.0.0/16], notNets: [172.17.1.0/24, 172.17.2.0/24]}
  destination: {ports: [6379]}
egress:
- action: Allow
  protocol: TCP
  destination: {nets: ["2001:db8::/32"], ports: [53]}
- action: Allow
  protocol: UDP
  destination: {nets: ["2001:db8::/32"], ports: [53]}
"#,
    );
}

#[test]
fn ports_in_all_their_forms() {
    check(
        r#"
podSelector: {}
policyTypes: [Ingress]
ingress:
- ports:
  - {port: 8080, endPort: 8090}
  - {port: http}
  - {port: 8085, endPort: 8100}
  - {port: 8101}
  - {port: 80}
- ports:
  - {port: 443}
  - {port: https}
# All of TCP, whatever else is said of it; one port of UDP.
- ports:
  - {port: 80}
  - {}
  - {port: 81}
  - {protocol: UDP, port: 65535}
  - {protocol: UDP, port: 65535}
- ports:
  - {protocol: SCTP}
"#,
        r#"
tier: default
order: 1000
selector: projectcalico.org/orchestrator == 'k8s'
types: [Ingress]
ingress:
- {action: Allow, protocol: TCP, destination: {ports: [http, 80, "8080:8101"]}}
- {action: Allow, protocol: TCP, destination: {ports: [443, https]}}
- {action: Allow, protocol: TCP}
- {action: Allow, protocol: UDP, destination: {ports: [65535]}}
- {action: Allow, protocol: SCTP}
"#,
    );
}

#[test]
fn what_is_not_said_is_all_or_nothing() {
    let selector = "projectcalico.org/orchestrator == 'k8s'";
    let expected =
        |rest: &str| format!(r#"{{tier: default, order: 1000, selector: "{selector}", {rest}}}"#);
    // A rule without peers is about all the world, a list without rules is about nobody.
    check(
        "{podSelector: {}, ingress: [{}]}",
        &expected("types: [Ingress], ingress: [{action: Allow}]"),
    );
    check(
        "{podSelector: {}, ingress: [{from: []}], policyTypes: [Ingress]}",
        &expected("types: [Ingress], ingress: [{action: Allow}]"),
    );
    check(
        "{podSelector: {}, ingress: []}",
        &expected("types: [Ingress]"),
    );
    // Without types it is about ingress, and about egress where it has such rules.
    check(
        "{podSelector: {}, egress: [{}]}",
        &expected("types: [Ingress, Egress], egress: [{action: Allow}]"),
    );
    check(
        "{podSelector: {}, egress: [{}], policyTypes: [Egress]}",
        &expected("types: [Egress], egress: [{action: Allow}]"),
    );
    // All pods of its own namespace.
    check(
        "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
        &expected(&format!(
            r#"types: [Ingress], ingress: [{{action: Allow, source: {{selector: "{selector}"}}}}]"#
        )),
    );
}

#[test]
fn a_rule_that_is_not_valid_allows_nothing() {
    let object = policy(
        r#"
podSelector: {}
policyTypes: [Ingress, Egress]
ingress:
- from: [{ipBlock: {cidr: everywhere}}]
- from: [{ipBlock: {cidr: 10.0.0.1/8}}]
- ports: [{port: 10, endPort: 9}]
- ports: [{port: http, endPort: 9}]
- ports: [{endPort: 9}]
- ports: [{port: 70000}]
egress:
- to: [{podSelector: {matchExpressions: [{key: a, operator: Like}]}}]
"#,
    );
    let (_, document) = of_network_policy(&object).expect("a policy");
    let policy: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(
        policy["spec"]["ingress"],
        json!([{"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}}])
    );
    assert_eq!(policy["spec"].get("egress"), None);
    assert_eq!(policy["spec"]["types"], json!(["Ingress", "Egress"]));
    assert_eq!(
        ignored(&object),
        [
            r#"ingress rule 0: its ipBlock: "everywhere" is no network"#,
            "ingress rule 2: its endPort 9 is no port from 10 on",
            r#"ingress rule 3: its port "http" has an endPort"#,
            "ingress rule 4: its endPort 9 has no port",
            "ingress rule 5: its port: json: cannot unmarshal number 70000 into Go value of type uint16",
            r#"egress rule 0: its selector: "Like" is no operator"#,
        ]
    );
}

#[test]
fn what_is_no_policy_is_refused() {
    let mut nowhere = policy("{}");
    nowhere["metadata"]["namespace"] = Value::Null;
    assert_eq!(
        of_network_policy(&nowhere),
        Err("it has no namespace".to_string())
    );
    let unknown = policy("{podSelector: {matchExpressions: [{key: a, operator: Like}]}}");
    assert_eq!(
        of_network_policy(&unknown),
        Err(r#"its selector: "Like" is no operator"#.to_string())
    );
    let error = of_network_policy(&policy("{podSelector: 5}")).expect_err("no selector");
    assert!(error.starts_with("its spec is not valid: "), "{error}");
}
