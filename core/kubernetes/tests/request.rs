//! What pods and namespaces ask of the plugin.

use kubernetes::request::{Addresses, Family, Request, read};
use serde_json::{Value, json};

/// A pod, or a namespace, with these annotations under Calico's prefix.
fn annotated(annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| (format!("cni.projectcalico.org/{name}"), json!(value)))
        .collect();
    json!({"metadata": {"name": "n", "namespace": "ns", "annotations": annotations}})
}

fn of_pod(annotations: &[(&str, &str)]) -> Result<Request, String> {
    read(&annotated(annotations), &annotated(&[]))
}

#[test]
fn a_pod_that_asks_for_nothing() {
    assert_eq!(of_pod(&[]), Ok(Request::default()));
    assert_eq!(
        of_pod(&[("ipv4pools", ""), ("ipAddrs", ""), ("hwAddr", "")]),
        Ok(Request::default())
    );
}

#[test]
fn pools_of_the_pod_are_over_those_of_its_namespace() {
    let namespace = annotated(&[
        ("ipv4pools", r#"["of-namespace"]"#),
        ("ipv6pools", r#"["fd00::/48"]"#),
        // What is one pod's is not for a namespace to ask.
        ("ipAddrs", r#"["10.0.0.1"]"#),
    ]);
    let request = read(
        &annotated(&[("ipv4pools", r#"["a", "10.0.0.0/16"]"#)]),
        &namespace,
    );
    let request = request.expect("a request");
    assert_eq!(request.ipv4_pools, ["a", "10.0.0.0/16"]);
    assert_eq!(request.ipv6_pools, ["fd00::/48"]);
    assert_eq!(request.addresses, Addresses::Any);
}

#[test]
fn addresses_and_families() {
    let addresses = |name| {
        of_pod(&[(name, r#"["192.168.0.1", "fd00::1"]"#)])
            .expect("a request")
            .addresses
    };
    let both = vec![
        "192.168.0.1".parse().expect("IPv4"),
        "fd00::1".parse().expect("IPv6"),
    ];
    assert_eq!(addresses("ipAddrs"), Addresses::These(both.clone()));
    assert_eq!(addresses("ipAddrsNoIpam"), Addresses::WithoutIpam(both));
    let request = of_pod(&[
        ("floatingIPs", r#"["10.0.0.1"]"#),
        ("hwAddr", "1c:0c:0a:c0:ff:ee"),
        ("ipFamilies", r#"["IPv6", "IPv4"]"#),
    ]);
    let request = request.expect("a request");
    assert_eq!(
        request.floating,
        ["10.0.0.1".parse::<std::net::IpAddr>().expect("IPv4")]
    );
    assert_eq!(request.mac.as_deref(), Some("1c:0c:0a:c0:ff:ee"));
    assert_eq!(request.families, Some([Family::V4, Family::V6].into()));
}

#[test]
fn what_cannot_be_had_is_refused() {
    for (name, value, why) in [
        (
            "ipv4pools",
            "a",
            "is not a JSON list of pools' names and CIDRs",
        ),
        (
            "ipv6pools",
            "[1]",
            "is not a JSON list of pools' names and CIDRs",
        ),
        (
            "ipAddrs",
            r#"["10.0.0.300"]"#,
            "is not a JSON list of addresses",
        ),
        (
            "ipAddrs",
            r#"["10.0.0.1", "10.0.0.2"]"#,
            "has more than one address of a family",
        ),
        (
            "ipAddrsNoIpam",
            r#"["fd00::1", "fd00::2"]"#,
            "has more than one address of a family",
        ),
        ("floatingIPs", "10.0.0.1", "is not a JSON list of addresses"),
        ("hwAddr", "1c-0c", "is not a MAC address"),
        (
            "ipFamilies",
            "[]",
            r#"is not a JSON list of "IPv4" and "IPv6""#,
        ),
        (
            "ipFamilies",
            r#"["ipv4"]"#,
            r#"is not a JSON list of "IPv4" and "IPv6""#,
        ),
    ] {
        let expected = format!("annotation cni.projectcalico.org/{name}: {value:?} {why}");
        assert_eq!(of_pod(&[(name, value)]), Err(expected));
    }
    assert_eq!(
        of_pod(&[("ipAddrs", r#"["10.0.0.1"]"#), ("ipAddrsNoIpam", r#"["10.0.0.1"]"#)]),
        Err("annotations cni.projectcalico.org/ipAddrs and cni.projectcalico.org/ipAddrsNoIpam cannot be in use at the same time: remove one".to_string())
    );
    assert_eq!(
        read(&json!({}), &annotated(&[])),
        Err("it has no name".to_string())
    );
}
