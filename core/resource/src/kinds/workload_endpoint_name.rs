//! The names of WorkloadEndpoints and of pods' interfaces, which are computed (calico-compat §2.4, §8.3).

use sha1::{Digest, Sha1};

use crate::kinds::WorkloadEndpointSpec;

/// What a WorkloadEndpoint's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadEndpointName {
    /// `node-k8s-pod-endpoint`.
    K8s {
        /// The node.
        node: String,
        /// The pod.
        pod: String,
        /// The interface inside.
        endpoint: String,
    },
    /// `node-cni-containerID-endpoint`.
    Cni {
        /// The node.
        node: String,
        /// The sandbox.
        container_id: String,
        /// The interface inside.
        endpoint: String,
    },
    /// `node-libnetwork-libnetwork-endpoint`.
    Libnetwork {
        /// The node.
        node: String,
        /// The endpoint.
        endpoint: String,
    },
    /// `node-orchestrator-workload-endpoint`.
    Other {
        /// The node.
        node: String,
        /// Any other orchestrator.
        orchestrator: String,
        /// The workload.
        workload: String,
        /// The endpoint.
        endpoint: String,
    },
}

/// A part of the name that is missing or may not stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEndpointNameError {
    /// The field of the spec, in Calico's spelling (`Node`, `Pod`, `ContainerID`, ...).
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl WorkloadEndpointName {
    /// The identifiers of a spec.
    ///
    /// # Errors
    /// The first field that is missing, or that begins or ends with `-`.
    pub fn of(
        spec: &WorkloadEndpointSpec,
    ) -> Result<WorkloadEndpointName, WorkloadEndpointNameError> {
        let segment = |field: &'static str, value: &str| {
            let reason = if value.is_empty() {
                "field is not assigned"
            } else if value.starts_with('-') {
                "field must not begin with a '-'"
            } else if value.ends_with('-') {
                "field must not end with a '-'"
            } else {
                return Ok(value.to_string());
            };
            Err(WorkloadEndpointNameError { field, reason })
        };
        let node = segment("Node", &spec.node)?;
        let orchestrator = segment("Orchestrator", &spec.orchestrator)?;
        Ok(match orchestrator.as_str() {
            "k8s" => WorkloadEndpointName::K8s {
                node,
                pod: segment("Pod", &spec.pod)?,
                endpoint: segment("Endpoint", &spec.endpoint)?,
            },
            "cni" => WorkloadEndpointName::Cni {
                node,
                container_id: segment("ContainerID", &spec.container_id)?,
                endpoint: segment("Endpoint", &spec.endpoint)?,
            },
            "libnetwork" => WorkloadEndpointName::Libnetwork {
                node,
                endpoint: segment("Endpoint", &spec.endpoint)?,
            },
            _ => WorkloadEndpointName::Other {
                node,
                orchestrator,
                workload: segment("Workload", &spec.workload)?,
                endpoint: segment("Endpoint", &spec.endpoint)?,
            },
        })
    }

    /// Reads a name; `None` where it has not four segments, or one is empty.
    pub fn parse(name: &str) -> Option<WorkloadEndpointName> {
        let segments = split(name);
        let [node, orchestrator, third, endpoint] = <[String; 4]>::try_from(segments).ok()?;
        if [&node, &orchestrator, &third, &endpoint]
            .iter()
            .any(|s| s.is_empty())
        {
            return None;
        }
        Some(match orchestrator.as_str() {
            "k8s" => WorkloadEndpointName::K8s {
                node,
                pod: third,
                endpoint,
            },
            "cni" => WorkloadEndpointName::Cni {
                node,
                container_id: third,
                endpoint,
            },
            "libnetwork" if third == "libnetwork" => {
                WorkloadEndpointName::Libnetwork { node, endpoint }
            }
            "libnetwork" => return None,
            _ => WorkloadEndpointName::Other {
                node,
                orchestrator,
                workload: third,
                endpoint,
            },
        })
    }
}

impl std::fmt::Display for WorkloadEndpointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (node, orchestrator, third, endpoint) = match self {
            WorkloadEndpointName::K8s {
                node,
                pod,
                endpoint,
            } => (node, "k8s", pod.as_str(), endpoint),
            WorkloadEndpointName::Cni {
                node,
                container_id,
                endpoint,
            } => (node, "cni", container_id.as_str(), endpoint),
            WorkloadEndpointName::Libnetwork { node, endpoint } => {
                (node, "libnetwork", "libnetwork", endpoint)
            }
            WorkloadEndpointName::Other {
                node,
                orchestrator,
                workload,
                endpoint,
            } => (node, orchestrator.as_str(), workload.as_str(), endpoint),
        };
        let doubled = [node, orchestrator, third, endpoint].map(|s| s.replace('-', "--"));
        f.write_str(&doubled.join("-"))
    }
}

/// What the interfaces of pods begin with where nothing else is configured.
pub const INTERFACE_PREFIX: &str = "cali";

/// A pod's interface on the host: the prefix and eleven digits of SHA-1 over `namespace.pod`.
pub fn pod_interface(prefix: &str, namespace: &str, pod: &str) -> String {
    let digest = Sha1::digest(format!("{namespace}.{pod}"));
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{}", &digits[..11])
}

/// Splits at single dashes; doubled ones become single. Segments neither begin nor end with a dash, so that a run of dashes of odd
/// length has its separator at the end.
fn split(name: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '-' && characters.next_if_eq(&'-').is_none() {
            segments.push(String::new());
        } else {
            segments
                .last_mut()
                .expect("it begins with one and only grows")
                .push(c);
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(orchestrator: &str, third: &str) -> WorkloadEndpointSpec {
        WorkloadEndpointSpec {
            orchestrator: orchestrator.to_string(),
            node: "node-1".to_string(),
            pod: third.to_string(),
            container_id: third.to_string(),
            workload: third.to_string(),
            endpoint: "eth0".to_string(),
            ..WorkloadEndpointSpec::default()
        }
    }

    #[test]
    fn names_are_computed_and_read_back() {
        let check = |spec: &WorkloadEndpointSpec, expected: &str| {
            let name = WorkloadEndpointName::of(spec).unwrap();
            assert_eq!(name.to_string(), expected);
            assert_eq!(WorkloadEndpointName::parse(expected), Some(name));
        };
        check(&spec("k8s", "my-pod-a"), "node--1-k8s-my--pod--a-eth0");
        check(
            &spec("cni", "c0123456789ab"),
            "node--1-cni-c0123456789ab-eth0",
        );
        check(
            &spec("libnetwork", "x"),
            "node--1-libnetwork-libnetwork-eth0",
        );
        check(&spec("openstack", "a--b"), "node--1-openstack-a----b-eth0");
    }

    #[test]
    fn interfaces_are_named_as_the_plugin_names_them() {
        for (namespace, pod, interface) in [
            ("default", "nginx", "calic440f455693"),
            ("kube-system", "coredns-5d78c9869d-abcde", "cali4d5f75c480c"),
            ("prod", "my-pod-a", "cali083c67b6e18"),
        ] {
            assert_eq!(pod_interface(INTERFACE_PREFIX, namespace, pod), interface);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let field = |spec: &WorkloadEndpointSpec| WorkloadEndpointName::of(spec).unwrap_err().field;
        assert_eq!(field(&spec("k8s", "")), "Pod");
        assert_eq!(field(&spec("cni", "-a")), "ContainerID");
        assert_eq!(field(&spec("", "a")), "Orchestrator");
        for bad in [
            "",
            "a",
            "a-k8s-b",
            "a-k8s-b-c-d",
            "a-k8s--c",
            "a-k8s-b-",
            "n-libnetwork-x-e",
        ] {
            assert_eq!(WorkloadEndpointName::parse(bad), None, "{bad}");
        }
    }
}
