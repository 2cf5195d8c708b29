//! Kubernetes' kubeconfig files: which server, which user (Kubernetes: organizing cluster access using kubeconfig files).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::options::{Exec, KubernetesOptions, Login, Token};
use crate::tls::Pem;

/// One or more files; of two entries with one name the first counts.
#[derive(Debug, Default)]
pub(super) struct Kubeconfig {
    current_context: String,
    clusters: Vec<(String, Cluster)>,
    contexts: Vec<(String, Context)>,
    users: Vec<(String, User)>,
    /// The file or files, for messages.
    place: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct File {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
    proxy_url: String,
    #[serde(skip)]
    directory: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: String,
    exec: Option<ExecConfig>,
    auth_provider: Option<serde::de::IgnoredAny>,
    #[serde(skip)]
    directory: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecConfig {
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
}

#[derive(Debug, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl Kubeconfig {
    /// Reads the files of a list with colons between. One that is not there is passed over if another is.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub(super) fn read(list: &str) -> Result<Kubeconfig, String> {
        let mut all = Kubeconfig::default();
        let mut missing = Vec::new();
        let mut any = false;
        for path in list.split(':').filter(|p| !p.is_empty()) {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing.push(path);
                    continue;
                }
                Err(error) => return Err(format!("kubeconfig {path}: {error}")),
            };
            let directory = Path::new(path).parent().map(Path::to_path_buf);
            all.join(Kubeconfig::parse(
                &text,
                path,
                &directory.unwrap_or_default(),
            )?);
            any = true;
        }
        if !any {
            return Err(format!(
                "kubeconfig {}: there is no such file: set KUBECONFIG (kubeconfig) to one",
                missing.join(", ")
            ));
        }
        Ok(all)
    }

    /// Reads the text of one; relative paths in it begin at `directory`.
    ///
    /// # Errors
    /// What is not as it should be, and where.
    pub(super) fn parse(text: &str, place: &str, directory: &Path) -> Result<Kubeconfig, String> {
        let file: File = serde_yaml_ng::from_str(text)
            .map_err(|e| format!("kubeconfig {place}: it is no kubeconfig: {e}"))?;
        let mut kubeconfig = Kubeconfig {
            current_context: file.current_context,
            clusters: file
                .clusters
                .into_iter()
                .map(|c| (c.name, c.cluster))
                .collect(),
            contexts: file
                .contexts
                .into_iter()
                .map(|c| (c.name, c.context))
                .collect(),
            users: file.users.into_iter().map(|u| (u.name, u.user)).collect(),
            place: place.to_string(),
        };
        for (_, cluster) in &mut kubeconfig.clusters {
            cluster.directory = directory.to_path_buf();
        }
        for (_, user) in &mut kubeconfig.users {
            user.directory = directory.to_path_buf();
        }
        Ok(kubeconfig)
    }

    fn join(&mut self, other: Kubeconfig) {
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        self.clusters.extend(other.clusters);
        self.contexts.extend(other.contexts);
        self.users.extend(other.users);
        if !self.place.is_empty() {
            self.place.push_str(", ");
        }
        self.place.push_str(&other.place);
    }

    /// What a context says, or the current one where none is named.
    ///
    /// # Errors
    /// What it names that is not there or cannot be used.
    pub(super) fn options(
        &self,
        context: &str,
        empty: KubernetesOptions,
    ) -> Result<KubernetesOptions, String> {
        let place = &self.place;
        let context_name = if context.is_empty() {
            &self.current_context
        } else {
            context
        };
        if context_name.is_empty() {
            return Err(format!(
                "kubeconfig {place}: it has no current-context: name one there, or with K8S_CURRENT_CONTEXT or --context"
            ));
        }
        let missing = |what: &str, name: &str, there: Vec<&str>| {
            format!(
                "kubeconfig {place}: there is no {what} '{name}' in it (there is: {})",
                if there.is_empty() {
                    "none".to_string()
                } else {
                    there.join(", ")
                }
            )
        };
        let context = named(&self.contexts, context_name)
            .map_err(|there| missing("context", context_name, there))?;
        let cluster = named(&self.clusters, &context.cluster)
            .map_err(|there| missing("cluster", &context.cluster, there))?;
        if !cluster.proxy_url.is_empty() {
            return Err(format!(
                "kubeconfig {place}: proxy-url of cluster '{}' is not followed here: name a server that is reached without",
                context.cluster
            ));
        }
        let mut options = KubernetesOptions {
            server: cluster.server.clone(),
            ca: pem(
                &cluster.certificate_authority_data,
                &cluster.certificate_authority,
                &cluster.directory,
                place,
            )?,
            insecure: cluster.insecure_skip_tls_verify,
            server_name: Some(cluster.tls_server_name.clone()).filter(|n| !n.is_empty()),
            ..empty
        };
        if !context.user.is_empty() {
            let user = named(&self.users, &context.user)
                .map_err(|there| missing("user", &context.user, there))?;
            options.login = user.login(&context.user, place)?;
        }
        Ok(options)
    }
}

fn named<'a, T>(all: &'a [(String, T)], name: &str) -> Result<&'a T, Vec<&'a str>> {
    let found = all.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    found.ok_or_else(|| all.iter().map(|(n, _)| n.as_str()).collect())
}

fn pem(data: &str, file: &str, directory: &Path, place: &str) -> Result<Option<Pem>, String> {
    if !data.is_empty() {
        let octets = STANDARD.decode(data.trim()).ok();
        let text = octets.and_then(|o| String::from_utf8(o).ok());
        let text = text.ok_or_else(|| {
            format!("kubeconfig {place}: a certificate or key in it is not base64 of PEM")
        })?;
        return Ok(Some(Pem::Inline(text.into())));
    }
    Ok((!file.is_empty()).then(|| Pem::File(directory.join(file))))
}

impl User {
    fn login(&self, name: &str, place: &str) -> Result<Login, String> {
        if self.auth_provider.is_some() {
            return Err(format!(
                "kubeconfig {place}: auth-provider of user '{name}' is a way of old that Kubernetes has taken out: use exec, a token or a certificate"
            ));
        }
        let token = if !self.token.is_empty() {
            Some(Token::Inline(self.token.clone().into()))
        } else if !self.token_file.is_empty() {
            Some(Token::File(self.directory.join(&self.token_file)))
        } else if let Some(exec) = &self.exec {
            Some(Token::Exec(Exec {
                command: exec.command.clone(),
                args: exec.args.clone().unwrap_or_default(),
                env: exec
                    .env
                    .iter()
                    .flatten()
                    .map(|v| (v.name.clone(), v.value.clone()))
                    .collect(),
                api_version: exec.api_version.clone(),
                directory: self.directory.clone(),
            }))
        } else if !self.username.is_empty() {
            Some(Token::Basic(
                self.username.clone(),
                self.password.clone().into(),
            ))
        } else {
            None
        };
        Ok(Login {
            certificate: pem(
                &self.client_certificate_data,
                &self.client_certificate,
                &self.directory,
                place,
            )?,
            key: pem(
                &self.client_key_data,
                &self.client_key,
                &self.directory,
                place,
            )?,
            token,
        })
    }
}
