//! Addresses of services of type LoadBalancer (calico-compat §7.8).
//!
//! They come from pools whose only use is `LoadBalancer`, in blocks that are no node's (`virtual:load-balancer`), and are
//! found again by a handle made of the service's name and uid.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What these handles begin with.
pub const HANDLE_PREFIX: &str = "lb-";

/// The longest handle.
const HANDLE_LENGTH: usize = 253;

/// The handle of a service's addresses.
pub fn handle(service: &str, namespace: &str, uid: &str) -> String {
    let text = format!("{service}-{namespace}-{uid}").to_lowercase();
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
    let plain: String = hash.chars().filter(|c| !"-_.".contains(*c)).collect();
    let mut handle = format!("{HANDLE_PREFIX}{plain}");
    handle.truncate(HANDLE_LENGTH);
    handle
}

/// Which services get addresses (KubeControllersConfiguration `controllers.loadBalancer.assignIPs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssignIps {
    /// Each of type LoadBalancer.
    #[default]
    AllServices,
    /// Those that ask for one.
    RequestedServicesOnly,
}

/// The annotations with which a service asks for pools or addresses: JSON lists.
pub const ANNOTATIONS: [&str; 3] = [
    "projectcalico.org/ipv4pools",
    "projectcalico.org/ipv6pools",
    "projectcalico.org/loadBalancerIPs",
];

/// Whether a service's addresses are ours to give. Of other classes than `calico` they never are.
pub fn is_ours(
    assign: AssignIps,
    service_type: &str,
    class: Option<&str>,
    wanted_ip: &str,
    annotations: &BTreeMap<String, String>,
) -> bool {
    if service_type != "LoadBalancer" || class.is_some_and(|class| class != "calico") {
        return false;
    }
    let asks = || !wanted_ip.is_empty() || ANNOTATIONS.iter().any(|a| annotations.contains_key(*a));
    match assign {
        AssignIps::AllServices => true,
        AssignIps::RequestedServicesOnly => class == Some("calico") || asks(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_plain_and_the_same_for_either_case() {
        let made = handle("web", "default", "5C8F8A38-FCC2-4F39-B7B6-F41D7B3A9317");
        assert_eq!(
            made,
            handle("web", "default", "5c8f8a38-fcc2-4f39-b7b6-f41d7b3a9317")
        );
        assert!(made.starts_with("lb-") && made.len() <= 3 + 43, "{made}");
        assert!(
            made[3..].bytes().all(|b| b.is_ascii_alphanumeric()),
            "{made}"
        );
        assert_ne!(
            made,
            handle("web", "other", "5c8f8a38-fcc2-4f39-b7b6-f41d7b3a9317")
        );
    }

    #[test]
    fn which_services_are_ours() {
        let none = BTreeMap::new();
        let asks = BTreeMap::from([(ANNOTATIONS[2].to_string(), "[]".to_string())]);
        let all = AssignIps::AllServices;
        let requested = AssignIps::RequestedServicesOnly;
        for (assign, kind, class, ip, annotations, ours) in [
            (all, "LoadBalancer", None, "", &none, true),
            (all, "LoadBalancer", Some("calico"), "", &none, true),
            (all, "LoadBalancer", Some("metallb"), "", &asks, false),
            (all, "ClusterIP", None, "", &asks, false),
            (requested, "LoadBalancer", None, "", &none, false),
            (requested, "LoadBalancer", None, "10.0.0.1", &none, true),
            (requested, "LoadBalancer", None, "", &asks, true),
            (requested, "LoadBalancer", Some("calico"), "", &none, true),
            (
                requested,
                "LoadBalancer",
                Some("metallb"),
                "10.0.0.1",
                &asks,
                false,
            ),
        ] {
            assert_eq!(
                is_ours(assign, kind, class, ip, annotations),
                ours,
                "{assign:?} {kind} {class:?} {ip:?} {annotations:?}"
            );
        }
    }
}
