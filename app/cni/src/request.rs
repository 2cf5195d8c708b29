//! What the pod asks for in its own annotations and its namespace's, where the Kubernetes API is the datastore (calico-compat §3.4).

use kubernetes::request::{Addresses, Family, Request};
use kubernetes::{Place, Source};
use serde_json::{Value, json};
use store::{AnyStore, KubernetesStore, block_on};

use crate::call::Call;
use crate::conf::NetConf;
use crate::endpoint::Identity;
use crate::failure::Failure;

/// The pod's wishes; none in another datastore, and for a container that is no pod.
pub fn read(store: &AnyStore, conf: &NetConf, identity: &Identity) -> Result<Request, Failure> {
    let (AnyStore::Kubernetes(store), Some(pod)) = (store, &identity.pod) else {
        return Ok(Request::default());
    };
    let place = |source, namespace, name: &str| Place {
        source,
        namespace,
        name: name.to_string(),
    };
    let namespace = identity.namespace.as_str();
    let pod = place(Source::Pod, Some(namespace.to_string()), pod);
    let namespace = place(Source::Namespace, None, namespace);
    let request = kubernetes::request::read(&object(store, &pod)?, &object(store, &namespace)?);
    let request = request.map_err(|e| Failure::internal(format!("pod {}: {e}", pod.name)))?;
    let without_ipam = matches!(request.addresses, Addresses::WithoutIpam(_));
    let features = &conf.feature_control;
    for (wanted, enabled, feature) in [
        (without_ipam, features.ip_addrs_no_ipam, "ip_addrs_no_ipam"),
        (
            !request.floating.is_empty(),
            features.floating_ips,
            "floating_ips",
        ),
    ] {
        if wanted && !enabled {
            return Err(Failure::internal(format!(
                "requested feature is not enabled: {feature}: set feature_control.{feature} to true in the CNI configuration"
            )));
        }
    }
    Ok(request)
}

fn object(store: &KubernetesStore, place: &Place) -> Result<Value, Failure> {
    block_on(store.object(place))?.ok_or_else(|| {
        let what = match place.source {
            Source::Namespace => "namespace",
            _ => "pod",
        };
        Failure::internal(format!("the Kubernetes API has no {what} {}", place.name))
    })
}

/// The call as it would be had the configuration said what the pod says: pools and families.
pub fn applied(request: &Request, call: &Call, conf: &NetConf) -> Result<(Call, NetConf), Failure> {
    let mut call = call.clone();
    let pools = [
        ("ipv4_pools", &request.ipv4_pools),
        ("ipv6_pools", &request.ipv6_pools),
    ];
    let mut changes: Vec<(&str, Value)> = pools
        .into_iter()
        .filter(|(_, pools)| !pools.is_empty())
        .map(|(field, pools)| (field, json!(pools)))
        .collect();
    if let Some(families) = &request.families {
        for (field, family) in [("assign_ipv4", Family::V4), ("assign_ipv6", Family::V6)] {
            changes.push((field, json!(families.contains(&family).to_string())));
        }
    }
    if changes.is_empty() {
        return Ok((call, conf.clone()));
    }
    let mut input: Value = serde_json::from_str(&call.stdin).unwrap_or_default();
    for (field, value) in changes {
        input["ipam"][field] = value;
    }
    call.stdin = input.to_string();
    let conf = NetConf::parse(&call.stdin)?;
    Ok((call, conf))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::call::Command;

    fn call(stdin: &str, args_text: &str) -> Call {
        Call {
            command: Command::Add,
            container_id: "c".to_string(),
            netns: PathBuf::new(),
            interface: "eth0".to_string(),
            path: String::new(),
            args_text: args_text.to_string(),
            args: BTreeMap::new(),
            stdin: stdin.to_string(),
        }
    }

    /// Another program is told in its input, ours by the configuration.
    #[test]
    fn what_the_pod_says_is_over_the_configuration() {
        let stdin = r#"{"name":"n","ipam":{"type":"calico-ipam","assign_ipv6":"false","ipv4_pools":["a"]},"x":1}"#;
        let (call, conf) = (call(stdin, ""), NetConf::parse(stdin).unwrap());
        let (same, _) = applied(&Request::default(), &call, &conf).unwrap();
        assert_eq!(same.stdin, stdin);
        let request = Request {
            ipv6_pools: vec!["b".to_string()],
            families: Some([Family::V6].into()),
            ..Request::default()
        };
        let (told, conf) = applied(&request, &call, &conf).unwrap();
        assert_eq!(
            told.stdin,
            r#"{"name":"n","ipam":{"type":"calico-ipam","assign_ipv6":"true","ipv4_pools":["a"],"ipv6_pools":["b"],"assign_ipv4":"false"},"x":1}"#
        );
        assert!(conf.ipam.wants_ipv6() && !conf.ipam.wants_ipv4());
        assert_eq!(conf.ipam.ipv6_pools, ["b"]);
    }

    #[test]
    fn a_call_for_a_certain_address() {
        let address = "10.0.0.1".parse().unwrap();
        for (args, expected) in [("", "IP=10.0.0.1"), ("A=b", "A=b;IP=10.0.0.1")] {
            let wanting = call("", args).wanting(address);
            assert_eq!(wanting.args_text, expected);
            assert_eq!(wanting.wanted_address(), Some("10.0.0.1"));
        }
    }
}
