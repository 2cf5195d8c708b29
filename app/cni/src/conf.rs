//! The network configuration on standard input (calico-compat §8.1). What is not read here is passed over, as Calico does.

use serde::Deserialize;
use serde_json::Value;

use crate::call::name_is_plain;
use crate::failure::{self, Failure};

/// The versions of the specification that are spoken.
pub const SUPPORTED: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// What VERSION answers.
pub fn version_reply() -> String {
    let supported: Vec<String> = SUPPORTED.iter().map(|v| format!("\"{v}\"")).collect();
    format!(
        "{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[{}]}}\n",
        supported.join(",")
    )
}

/// Whether a version is this one or a later one; versions that cannot be read are not.
pub fn at_least(version: &str, than: &str) -> bool {
    let numbers =
        |text: &str| -> Option<Vec<u32>> { text.split('.').map(|n| n.parse().ok()).collect() };
    match (numbers(version), numbers(than)) {
        (Some(version), Some(than)) => version >= than,
        (Some(_) | None, Some(_) | None) => false,
    }
}

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NetConf {
    #[serde(rename = "cniVersion", default)]
    pub version: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub mtu: u32,
    #[serde(default)]
    pub nodename: String,
    #[serde(default)]
    pub nodename_file: String,
    #[serde(default)]
    pub nodename_file_optional: bool,
    #[serde(default)]
    pub hostname: String,
    /// `etcdv3`, `sqlite`, `kubernetes` or empty.
    #[serde(default)]
    pub datastore_type: String,
    #[serde(default)]
    pub etcd_endpoints: String,
    #[serde(default)]
    pub etcd_discovery_srv: String,
    #[serde(default)]
    pub etcd_key_file: String,
    #[serde(default)]
    pub etcd_cert_file: String,
    #[serde(default)]
    pub etcd_ca_cert_file: String,
    /// Deprecated: HOST:PORT of an etcd without TLS.
    #[serde(default)]
    pub etcd_authority: String,
    /// Ours: the store file.
    #[serde(default)]
    pub sqlite_path: String,
    #[serde(default)]
    pub kubernetes: KubernetesConf,
    #[serde(default)]
    pub calico_api_group: String,
    #[serde(default)]
    pub ipam: IpamConf,
    #[serde(default)]
    pub ipam_lock_file: String,
    #[serde(default)]
    pub policy: PolicyConf,
    #[serde(default)]
    pub container_settings: ContainerSettings,
    #[serde(default)]
    pub feature_control: FeatureControl,
    #[serde(default)]
    pub require_mtu_file: bool,
    #[serde(rename = "prevResult", default)]
    pub previous: Option<Value>,
}

/// The `ipam` part.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct IpamConf {
    #[serde(rename = "type", default)]
    pub kind: String,
    /// `"true"` unless it says otherwise; a string.
    #[serde(default)]
    pub assign_ipv4: Option<String>,
    /// `"false"` unless it says otherwise; a string.
    #[serde(default)]
    pub assign_ipv6: Option<String>,
    #[serde(default)]
    pub ipv4_pools: Vec<String>,
    #[serde(default)]
    pub ipv6_pools: Vec<String>,
}

/// The `kubernetes` part: where the API server is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KubernetesConf {
    pub kubeconfig: String,
    pub k8s_api_root: String,
}

/// The `policy` part. What is there of the API server is how it was said before there was a `kubernetes` part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PolicyConf {
    #[serde(rename = "type")]
    pub kind: String,
    pub k8s_api_root: String,
    pub k8s_client_certificate: String,
    pub k8s_client_key: String,
    pub k8s_certificate_authority: String,
}

/// The `container_settings` part.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ContainerSettings {
    #[serde(default)]
    pub allow_ip_forwarding: bool,
}

/// The `feature_control` part: what pods may ask for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FeatureControl {
    pub ip_addrs_no_ipam: bool,
    pub floating_ips: bool,
}

impl NetConf {
    pub fn parse(text: &str) -> Result<NetConf, Failure> {
        let mut conf: NetConf = serde_json::from_str(text).map_err(|e| {
            Failure::new(
                failure::DECODING,
                format!("error unmarshall network config: {e}"),
            )
        })?;
        if conf.version.is_empty() {
            conf.version = "0.1.0".to_string();
        }
        Ok(conf)
    }

    /// What the configuration says of the datastore under the name of an environment variable; `None` where it is silent. As
    /// Calico's plugin does, it has the environment's variables for what it does not say itself.
    pub fn datastore_variable(&self, name: &str) -> Option<String> {
        let authority = || match self.etcd_authority.as_str() {
            "" => String::new(),
            authority => format!("http://{authority}"),
        };
        let value = match name {
            "DATASTORE_TYPE" if self.datastore_type.is_empty() && self.sqlite_path.is_empty() => {
                let etcd = [&self.etcd_endpoints, &self.etcd_authority];
                let named = etcd.iter().any(|text| !text.is_empty());
                if named {
                    "etcdv3".to_string()
                } else {
                    String::new()
                }
            }
            "DATASTORE_TYPE" => self.datastore_type.clone(),
            "SELVEDGE_SQLITE_PATH" => self.sqlite_path.clone(),
            "ETCD_ENDPOINTS" if self.etcd_endpoints.is_empty() => authority(),
            "ETCD_ENDPOINTS" => self.etcd_endpoints.clone(),
            "ETCD_DISCOVERY_SRV" => self.etcd_discovery_srv.clone(),
            "ETCD_KEY_FILE" => self.etcd_key_file.clone(),
            "ETCD_CERT_FILE" => self.etcd_cert_file.clone(),
            "ETCD_CA_CERT_FILE" => self.etcd_ca_cert_file.clone(),
            "KUBECONFIG" => self.kubernetes.kubeconfig.clone(),
            "K8S_API_ENDPOINT" if self.kubernetes.k8s_api_root.is_empty() => {
                self.policy.k8s_api_root.clone()
            }
            "K8S_API_ENDPOINT" => self.kubernetes.k8s_api_root.clone(),
            "K8S_CERT_FILE" => self.policy.k8s_client_certificate.clone(),
            "K8S_KEY_FILE" => self.policy.k8s_client_key.clone(),
            "K8S_CA_FILE" => self.policy.k8s_certificate_authority.clone(),
            "CALICO_API_GROUP" => self.calico_api_group.clone(),
            _ => String::new(),
        };
        Some(value).filter(|v| !v.is_empty())
    }

    /// Whether the configuration says which datastore it is.
    pub fn names_a_datastore(&self) -> bool {
        let names = [
            "SELVEDGE_SQLITE_PATH",
            "ETCD_ENDPOINTS",
            "ETCD_DISCOVERY_SRV",
        ];
        !matches!(self.datastore_type.as_str(), "" | "sqlite")
            || names.iter().any(|n| self.datastore_variable(n).is_some())
    }

    pub fn check_name(&self) -> Result<(), Failure> {
        let bad = |text: &str| Failure::new(failure::INVALID_CONFIG, text);
        if self.name.is_empty() {
            return Err(bad("missing network name"));
        }
        if !name_is_plain(&self.name) {
            return Err(bad("invalid characters found in network name").with_details(&self.name));
        }
        Ok(())
    }

    pub fn check_version(&self) -> Result<(), Failure> {
        if SUPPORTED.contains(&self.version.as_str()) {
            return Ok(());
        }
        let supported: Vec<String> = SUPPORTED.iter().map(|v| format!("{v:?}")).collect();
        let details = format!(
            "config is {:?}, plugin supports [{}]",
            self.version,
            supported.join(" ")
        );
        Err(
            Failure::new(failure::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .with_details(details),
        )
    }
}

impl IpamConf {
    pub fn wants_ipv4(&self) -> bool {
        self.assign_ipv4.as_deref() != Some("false")
    }

    pub fn wants_ipv6(&self) -> bool {
        self.assign_ipv6.as_deref() == Some("true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert!(
            at_least("0.4.0", "0.4.0") && at_least("1.0.0", "0.4.0") && !at_least("0.3.1", "0.4.0")
        );
        assert!(!at_least("soon", "0.4.0"));
        let of = |version: &str| NetConf {
            version: version.to_string(),
            ..NetConf::default()
        };
        assert!(of("1.0.0").check_version().is_ok());
        let refused = of("1.1.0").check_version().unwrap_err();
        assert_eq!(
            refused.to_json(),
            "{\n    \"code\": 1,\n    \"msg\": \"incompatible CNI versions\",\n    \"details\": \"config is \\\"1.1.0\\\", plugin supports [\\\"0.1.0\\\" \\\"0.2.0\\\" \\\"0.3.0\\\" \\\"0.3.1\\\" \\\"0.4.0\\\" \\\"1.0.0\\\"]\"\n}"
        );
        assert_eq!(
            version_reply(),
            "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\"]}\n"
        );
    }

    #[test]
    fn the_datastore() {
        let said = |text: &str, name: &str| {
            NetConf::parse(text)
                .unwrap()
                .datastore_variable(name)
                .unwrap_or_default()
        };
        let conf = r#"{"etcd_endpoints":"https://a:2379","etcd_key_file":"/k","etcd_cert_file":"/c","etcd_ca_cert_file":"/ca"}"#;
        for (name, expected) in [
            ("DATASTORE_TYPE", "etcdv3"),
            ("ETCD_ENDPOINTS", "https://a:2379"),
            ("ETCD_KEY_FILE", "/k"),
            ("ETCD_CERT_FILE", "/c"),
            ("ETCD_CA_CERT_FILE", "/ca"),
            ("ETCD_USERNAME", ""),
        ] {
            assert_eq!(said(conf, name), expected, "{name}");
        }
        let old = r#"{"etcd_authority":"10.0.0.1:2379"}"#;
        assert_eq!(said(old, "ETCD_ENDPOINTS"), "http://10.0.0.1:2379");
        let kubernetes = r#"{"datastore_type":"kubernetes","kubernetes":{"kubeconfig":"/f","k8s_api_root":"https://a"},"policy":{"k8s_api_root":"https://b","k8s_certificate_authority":"/ca"},"calico_api_group":"projectcalico.org/v3"}"#;
        for (name, expected) in [
            ("DATASTORE_TYPE", "kubernetes"),
            ("KUBECONFIG", "/f"),
            ("K8S_API_ENDPOINT", "https://a"),
            ("K8S_CA_FILE", "/ca"),
            ("CALICO_API_GROUP", "projectcalico.org/v3"),
        ] {
            assert_eq!(said(kubernetes, name), expected, "{name}");
        }
        let names = |text: &str| NetConf::parse(text).unwrap().names_a_datastore();
        assert!(names(conf) && names(old) && names(r#"{"datastore_type":"etcdv3"}"#));
        assert!(!names("{}") && !names(r#"{"datastore_type":"sqlite"}"#));
        assert_eq!(said("{}", "DATASTORE_TYPE"), "");
        assert_eq!(said(r#"{"sqlite_path":"/x"}"#, "DATASTORE_TYPE"), "");
    }

    #[test]
    fn defaults() {
        let conf =
            NetConf::parse(r#"{"name":"n","ipam":{"type":"calico-ipam"},"foreign":{"a":1}}"#)
                .unwrap();
        assert_eq!(conf.version, "0.1.0");
        assert!(conf.ipam.wants_ipv4() && !conf.ipam.wants_ipv6());
        assert_eq!(NetConf::parse("{").unwrap_err().code, failure::DECODING);
        let nameless = NetConf::parse("{}").unwrap().check_name().unwrap_err();
        assert_eq!(
            (nameless.code, nameless.message.as_str()),
            (failure::INVALID_CONFIG, "missing network name")
        );
    }
}
