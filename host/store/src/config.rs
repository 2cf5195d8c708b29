//! Which store: Calico's config file, or the environment.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use resource::StoreError;
use serde::Deserialize;

use crate::etcd::{EtcdFields, EtcdOptions};
use crate::kubernetes::{KubernetesFields, KubernetesOptions};

/// Read when no config file is named and it is there (Calico: `calicoctl.cfg`).
pub const DEFAULT_CONFIG_FILE: &str = "/etc/calico/calicoctl.cfg";
/// The store file when nothing says otherwise.
pub const DEFAULT_SQLITE_PATH: &str = "/var/lib/selvedge/selvedge.db";

/// Which store, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The store.
    pub datastore: Datastore,
    /// What named it: a file, the environment, or nothing; for messages.
    pub origin: String,
}

/// A kind of store and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datastore {
    /// SQLite in a file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// etcd version 3.
    EtcdV3(EtcdOptions),
    /// The Kubernetes API.
    Kubernetes(KubernetesOptions),
}

impl Datastore {
    /// The name as `datastoreType` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Datastore::Sqlite { .. } => "sqlite",
            Datastore::EtcdV3(_) => "etcdv3",
            Datastore::Kubernetes(_) => "kubernetes",
        }
    }
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words; none when the file is not there.
        reason: Option<String>,
    },
    /// The configuration says something that cannot be; the text says what.
    Invalid(String),
    /// A datastore type that nobody knows.
    UnknownType {
        /// The type.
        name: String,
        /// What named it.
        origin: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Calico's words, which stop here.
            ConfigError::Unreadable { path, reason: None } => {
                write!(f, "Error reading config file: {}", path.display())
            }
            ConfigError::Unreadable {
                path,
                reason: Some(reason),
            } => write!(f, "Error reading config file: {}: {reason}", path.display()),
            ConfigError::Invalid(text) => f.write_str(text),
            ConfigError::UnknownType { name, origin } => write!(
                f,
                "unknown datastore type '{name}' ({origin}): expected sqlite, etcdv3 or kubernetes"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for StoreError {
    fn from(error: ConfigError) -> StoreError {
        StoreError::Backend(error.to_string())
    }
}

/// Calico's config file. Each field is known, so that a misspelt one is told from a foreign one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CalicoApiConfig {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_yaml_ng::Value,
    #[serde(default)]
    spec: Option<ConfigSpec>,
}

macro_rules! config_spec {
    ($($etcd_name:literal => $etcd:ident,)* ; $($name:literal => $field:ident,)* ; $($unused_name:literal => $unused:ident,)*) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ConfigSpec {
            #[serde(default, rename = "datastoreType")]
            datastore_type: String,
            /// Ours; Calico has no SQLite.
            #[serde(default, rename = "sqlitePath")]
            sqlite_path: Option<PathBuf>,
            #[serde(default, rename = "k8sInsecureSkipTLSVerify")]
            insecure: bool,
            $(#[serde(default, rename = $etcd_name)] $etcd: String,)*
            $(#[serde(default, rename = $name)] $field: String,)*
            $(#[serde(default, rename = $unused_name)] $unused: Option<serde::de::IgnoredAny>,)*
        }

        impl ConfigSpec {
            /// Whether it names an API server.
            fn names_kubernetes(&self) -> bool {
                [&self.kubeconfig, &self.kubeconfig_inline, &self.api_endpoint].iter().any(|f| !f.is_empty())
            }

            fn split(self) -> (EtcdFields, KubernetesFields) {
                let etcd = EtcdFields { $($etcd: self.$etcd,)* };
                let kubernetes = KubernetesFields {
                    $($field: self.$field,)*
                    insecure: self.insecure,
                    home: own("HOME").unwrap_or_default(),
                    service: service(own),
                };
                (etcd, kubernetes)
            }
        }
    };
}

config_spec! {
    "etcdEndpoints" => endpoints,
    "etcdDiscoverySrv" => discovery_srv,
    "etcdUsername" => username,
    "etcdPassword" => password,
    "etcdKeyFile" => key_file,
    "etcdCertFile" => cert_file,
    "etcdCACertFile" => ca_cert_file,
    "etcdKey" => key,
    "etcdCert" => cert,
    "etcdCACert" => ca_cert,
    ;
    "kubeconfig" => kubeconfig,
    "kubeconfigInline" => kubeconfig_inline,
    "k8sAPIEndpoint" => api_endpoint,
    "k8sKeyFile" => client_key_file,
    "k8sCertFile" => client_cert_file,
    "k8sCAFile" => server_ca_file,
    "k8sAPIToken" => token,
    "k8sCurrentContext" => context,
    "calicoAPIGroup" => api_group,
    ;
    "k8sDisableNodePoll" => _k8s_disable_node_poll,
    "usePodCIDR" => _use_pod_cidr,
    "k8sClientQPS" => _k8s_client_qps,
    "k8sClientBurst" => _k8s_client_burst,
}

/// A variable of this process.
fn own(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Variables among which the kubeconfig's context is the given one, where one is given.
pub fn in_context(
    context: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> impl Fn(&str) -> Option<String> {
    move |name| match (context, name) {
        (Some(context), "CALICO_K8S_CURRENT_CONTEXT") => Some(context.to_string()),
        (Some(_) | None, _) => variable(name),
    }
}

/// Where a pod finds the API server.
fn service(variable: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let set = |name: &str| variable(name).filter(|v| !v.is_empty());
    Some((
        set("KUBERNETES_SERVICE_HOST")?,
        set("KUBERNETES_SERVICE_PORT")?,
    ))
}

impl Config {
    /// The configuration of a program: the file that was named, else the default file where it is there, else the
    /// environment. A file replaces the environment entirely (Calico).
    ///
    /// # Errors
    /// A named file that is not there, a file that is no CalicoAPIConfig, an unknown datastore type.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        Config::load_in(file, None)
    }

    /// [`Config::load`] with another context of the kubeconfig than file and environment say, where one is given.
    ///
    /// # Errors
    /// As there; a context that the kubeconfig does not have.
    pub fn load_in(file: Option<&Path>, context: Option<&str>) -> Result<Config, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_CONFIG_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => Config::parse_in(&text, &path.display().to_string(), context),
            Err(e) if e.kind() == io::ErrorKind::NotFound => match file {
                None => Config::from_variables(in_context(context, own)),
                Some(_) => Err(ConfigError::Unreadable {
                    path: path.to_path_buf(),
                    reason: None,
                }),
            },
            Err(e) => Err(ConfigError::Unreadable {
                path: path.to_path_buf(),
                reason: Some(e.to_string()),
            }),
        }
    }

    /// The configuration that the environment gives; none means SQLite at its production path.
    ///
    /// # Errors
    /// An unknown `DATASTORE_TYPE`.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from_variables(own)
    }

    /// [`Config::from_env`] with the environment as an argument. `CALICO_` before a name wins over the name (Calico).
    ///
    /// # Errors
    /// As there.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        Config::from_source("environment", variable)
    }

    /// [`Config::from_variables`] of something else that answers to those names, which messages call `source`.
    ///
    /// # Errors
    /// As there.
    pub fn from_source(
        source: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let both = |name: &str| {
            [format!("CALICO_{name}"), name.to_string()]
                .into_iter()
                .find_map(|n| {
                    let value = variable(&n).filter(|v| !v.is_empty())?;
                    Some((n, value))
                })
        };
        let sqlite_path = variable("SELVEDGE_SQLITE_PATH")
            .filter(|p| !p.is_empty())
            .map(PathBuf::from);
        let text = |name: &str| both(name).map(|(_, value)| value).unwrap_or_default();
        // What is inline in a file has no variable (Calico).
        let etcd = EtcdFields {
            endpoints: text("ETCD_ENDPOINTS"),
            discovery_srv: text("ETCD_DISCOVERY_SRV"),
            username: text("ETCD_USERNAME"),
            password: text("ETCD_PASSWORD"),
            key_file: text("ETCD_KEY_FILE"),
            cert_file: text("ETCD_CERT_FILE"),
            ca_cert_file: text("ETCD_CA_CERT_FILE"),
            ..EtcdFields::default()
        };
        let insecure = text("K8S_INSECURE_SKIP_TLS_VERIFY");
        let kubernetes = KubernetesFields {
            kubeconfig: text("KUBECONFIG"),
            api_endpoint: text("K8S_API_ENDPOINT"),
            client_key_file: text("K8S_KEY_FILE"),
            client_cert_file: text("K8S_CERT_FILE"),
            server_ca_file: text("K8S_CA_FILE"),
            insecure: matches!(
                insecure.to_lowercase().as_str(),
                "1" | "t" | "true" | "y" | "yes"
            ),
            context: text("K8S_CURRENT_CONTEXT"),
            api_group: text("CALICO_API_GROUP"),
            home: variable("HOME").unwrap_or_default(),
            service: service(&variable),
            ..KubernetesFields::default()
        };
        let stores = (etcd, kubernetes);
        if let Some((name, value)) = both("DATASTORE_TYPE") {
            return Config::of(&value, sqlite_path, stores, format!("{source}, {name}"));
        }
        // Calico takes etcd's endpoints for a choice of etcd.
        if let (None, Some((name, _))) = (&sqlite_path, both("ETCD_ENDPOINTS")) {
            return Config::of("etcdv3", None, stores, format!("{source}, {name}"));
        }
        let origin = if sqlite_path.is_some() {
            format!("{source}, SELVEDGE_SQLITE_PATH")
        } else {
            "no configuration".to_string()
        };
        Config::of("sqlite", sqlite_path, stores, origin)
    }

    /// Reads the text of a config file; `origin` is its name.
    ///
    /// # Errors
    /// In Calico's words: another kind or apiVersion, an unknown field, text that is not YAML.
    pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
        Config::parse_in(text, origin, None)
    }

    fn parse_in(text: &str, origin: &str, context: Option<&str>) -> Result<Config, ConfigError> {
        let file: CalicoApiConfig = serde_yaml_ng::from_str(text)
            .map_err(|e| ConfigError::Invalid(parse_error(&e.to_string())))?;
        if file.api_version != "projectcalico.org/v3" {
            return Err(ConfigError::Invalid(format!(
                "invalid config file: unknown APIVersion '{}'",
                file.api_version
            )));
        }
        if file.kind != "CalicoAPIConfig" {
            return Err(ConfigError::Invalid(format!(
                "invalid config file: expected kind 'CalicoAPIConfig', got '{}'",
                file.kind
            )));
        }
        let mut spec = file.spec.unwrap_or_default();
        if let Some(context) = context {
            spec.context = context.to_string();
        }
        let name = if !spec.datastore_type.is_empty() {
            spec.datastore_type.clone()
        } else if !spec.endpoints.is_empty() {
            "etcdv3".to_string()
        } else if spec.names_kubernetes() {
            "kubernetes".to_string()
        } else {
            "sqlite".to_string()
        };
        let sqlite_path = spec.sqlite_path.clone();
        Config::of(&name, sqlite_path, spec.split(), origin.to_string())
    }

    fn of(
        name: &str,
        sqlite_path: Option<PathBuf>,
        (etcd, kubernetes): (EtcdFields, KubernetesFields),
        origin: String,
    ) -> Result<Config, ConfigError> {
        let datastore = match name {
            "sqlite" => Datastore::Sqlite {
                path: sqlite_path.unwrap_or_else(|| PathBuf::from(DEFAULT_SQLITE_PATH)),
            },
            "etcdv3" => Datastore::EtcdV3(etcd.options(&origin).map_err(ConfigError::Invalid)?),
            "kubernetes" => {
                let options = kubernetes.options(&origin).map_err(ConfigError::Invalid)?;
                Datastore::Kubernetes(options)
            }
            _ => {
                return Err(ConfigError::UnknownType {
                    name: name.to_string(),
                    origin,
                });
            }
        };
        Ok(Config { datastore, origin })
    }
}

/// calicoctl shortens every message of an unknown field to this one.
fn parse_error(text: &str) -> String {
    match text
        .split_once("unknown field `")
        .and_then(|(_, rest)| rest.split_once('`'))
    {
        Some((field, _)) => {
            format!("field in document is not recognized or is in the wrong location: {field}")
        }
        None => format!("invalid config file: {text}"),
    }
}
