//! Which API server, and as whom: the Kubernetes part of Calico's configuration (calico-compat §5.1).

use std::path::PathBuf;

use kubernetes::Group;

use super::kubeconfig::Kubeconfig;
use crate::secret::Secret;
use crate::tls::Pem;

/// Where a pod finds its service account (Kubernetes: accessing the API from a pod).
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// All that a connection to an API server needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesOptions {
    /// `https://HOST:PORT`, perhaps with a path.
    pub server: String,
    /// The authorities that the server's certificate may be signed by; the system's where none is named.
    pub ca: Option<Pem>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// The name that the server's certificate has, where it is not the server's.
    pub server_name: Option<String>,
    /// Who we are.
    pub login: Login,
    /// In which group Calico's custom resources are.
    pub group: Group,
    /// What named all this, for messages.
    pub origin: String,
}

/// Who we are to the API server. What is there is used: a certificate in the handshake, a token in each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Our certificate.
    pub certificate: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// Where a bearer token comes from.
    pub token: Option<Token>,
}

/// Where a bearer token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// The configuration.
    Inline(Secret),
    /// A file, which is read again, since tokens of pods are renewed in it.
    File(PathBuf),
    /// User and password.
    Basic(String, Secret),
    /// A program that prints an ExecCredential (client.authentication.k8s.io).
    Exec(Exec),
}

/// A program that says who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables of its environment, beside our own.
    pub env: Vec<(String, String)>,
    /// The version of its output.
    pub api_version: String,
    /// Where relative paths of the program begin.
    pub directory: PathBuf,
}

/// The Kubernetes part of a configuration as it is written; empty is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct KubernetesFields {
    pub(crate) kubeconfig: String,
    pub(crate) kubeconfig_inline: String,
    pub(crate) api_endpoint: String,
    pub(crate) client_key_file: String,
    pub(crate) client_cert_file: String,
    pub(crate) server_ca_file: String,
    pub(crate) token: String,
    pub(crate) insecure: bool,
    pub(crate) context: String,
    pub(crate) api_group: String,
    /// The user's home, where `.kube/config` is looked for.
    pub(crate) home: String,
    /// Where a pod finds the API server (`KUBERNETES_SERVICE_HOST` and `_PORT`).
    pub(crate) service: Option<(String, String)>,
}

impl KubernetesFields {
    /// Reads the fields, and the kubeconfig that they name. Without one and without an endpoint the service account of the pod that we
    /// are in is meant, and outside a pod `~/.kube/config`. What is set in the fields wins over the kubeconfig.
    ///
    /// # Errors
    /// What does not go together or cannot be read, and how to mend it.
    pub(crate) fn options(self, origin: &str) -> Result<KubernetesOptions, String> {
        let group = match self.api_group.as_str() {
            "" => Group::default(),
            text => Group::parse(text).ok_or_else(|| {
                format!(
                    "the API group '{text}' ({origin}, CALICO_API_GROUP or calicoAPIGroup) is not known: expected {} or {}",
                    Group::Crd,
                    Group::Native
                )
            })?,
        };
        let mut options = self.base(group, origin)?;
        let file = |path: &str| (!path.is_empty()).then(|| Pem::File(path.into()));
        if !self.api_endpoint.is_empty() {
            options.server = self.api_endpoint;
        }
        options.ca = file(&self.server_ca_file).or(options.ca);
        options.login.certificate = file(&self.client_cert_file).or(options.login.certificate);
        options.login.key = file(&self.client_key_file).or(options.login.key);
        if !self.token.is_empty() {
            options.login.token = Some(Token::Inline(self.token.into()));
        }
        options.insecure |= self.insecure;
        if options.server.is_empty() {
            return Err(format!(
                "no Kubernetes API server is named ({origin}): set KUBECONFIG (kubeconfig) to a kubeconfig file, or K8S_API_ENDPOINT (k8sAPIEndpoint)"
            ));
        }
        Ok(options)
    }

    /// What the kubeconfig or the pod says.
    fn base(&self, group: Group, origin: &str) -> Result<KubernetesOptions, String> {
        let empty = KubernetesOptions {
            server: String::new(),
            ca: None,
            insecure: false,
            server_name: None,
            login: Login::default(),
            group,
            origin: origin.to_string(),
        };
        let found = if !self.kubeconfig_inline.is_empty() {
            let place = format!("{origin}, kubeconfigInline");
            Some(Kubeconfig::parse(
                &self.kubeconfig_inline,
                &place,
                &PathBuf::new(),
            )?)
        } else if !self.kubeconfig.is_empty() {
            Some(Kubeconfig::read(&self.kubeconfig)?)
        } else if !self.api_endpoint.is_empty() {
            None
        } else if let Some(options) = self.in_cluster(&empty) {
            return Ok(options);
        } else {
            let path = format!("{}/.kube/config", self.home);
            match std::path::Path::new(&path).exists() {
                true => Some(Kubeconfig::read(&path)?),
                false => None,
            }
        };
        match found {
            Some(kubeconfig) => kubeconfig.options(&self.context, empty),
            None => Ok(empty),
        }
    }

    /// What a pod is given.
    fn in_cluster(&self, empty: &KubernetesOptions) -> Option<KubernetesOptions> {
        let (host, port) = self.service.as_ref()?;
        let directory = PathBuf::from(SERVICE_ACCOUNT);
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        Some(KubernetesOptions {
            server: format!("https://{host}:{port}"),
            ca: Some(Pem::File(directory.join("ca.crt"))),
            login: Login {
                token: Some(Token::File(directory.join("token"))),
                ..Login::default()
            },
            ..empty.clone()
        })
    }
}
