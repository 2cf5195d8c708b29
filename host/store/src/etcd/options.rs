//! Where etcd is, and how it is spoken to: the etcd part of Calico's configuration (calico-compat §5.1).

use std::fmt;

use crate::secret::Secret;
use crate::tls::{Identity, Pem};

/// One member's client URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, an IPv6 address without brackets.
    pub host: String,
    /// The TCP port; 2379 where none is given.
    pub port: u16,
    /// Whether TLS is spoken: `https`.
    pub tls: bool,
}

impl Endpoint {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let bad = |why: &str| {
            format!(
                "etcd endpoint '{text}': {why}; write it like http://10.0.0.1:2379 or https://etcd-1:2379"
            )
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(bad(&format!("the scheme '{scheme}' is not known here")));
            }
            None => (false, text),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            // An IPv6 address without a port.
            _ if rest.ends_with(']') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let port = match port {
            None => 2379,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(bad("the port is no number from 1 to 65535")),
                Ok(port) => port,
            },
        };
        let host = match host.strip_prefix('[').map(|h| h.strip_suffix(']')) {
            Some(Some(address)) => address,
            Some(None) => return Err(bad("a bracket is not closed")),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(bad("there is no host name or address in it"));
        }
        Ok(Endpoint {
            host: host.to_string(),
            port,
            tls,
        })
    }

    /// `HOST:PORT`, as it stands in a URL.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// All that a connection to etcd needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// The members; any of them will do, and one that is down is passed over.
    pub endpoints: Vec<Endpoint>,
    /// The domain whose SRV records name the members, where these are not named themselves; else empty.
    pub discovery_srv: String,
    /// User and password, where etcd asks for them.
    pub login: Option<(String, Secret)>,
    /// The authorities that etcd's certificate may be signed by; the system's where none is named.
    pub ca: Option<Pem>,
    /// Our certificate.
    pub certificate: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// What named all this, for messages.
    pub origin: String,
}

impl EtcdOptions {
    /// What TLS needs of them.
    pub(super) fn identity(&self) -> Identity<'_> {
        Identity {
            datastore: "etcd",
            origin: &self.origin,
            ca: self.ca.as_ref(),
            insecure: false,
            certificate: self.certificate.as_ref(),
            key: self.key.as_ref(),
            names: ["ETCD_CA_CERT_FILE", "ETCD_CERT_FILE", "ETCD_KEY_FILE"],
            protocols: &[b"h2"],
        }
    }
}

/// The etcd part of a configuration as it is written; empty is absent.
#[derive(Clone, Default)]
pub(crate) struct EtcdFields {
    pub(crate) endpoints: String,
    pub(crate) discovery_srv: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) key_file: String,
    pub(crate) cert_file: String,
    pub(crate) ca_cert_file: String,
    pub(crate) key: String,
    pub(crate) cert: String,
    pub(crate) ca_cert: String,
}

impl EtcdFields {
    /// Reads the fields.
    ///
    /// # Errors
    /// Calico's words for what does not go together, and for no endpoints.
    pub(crate) fn options(self, origin: &str) -> Result<EtcdOptions, String> {
        if !self.endpoints.is_empty() && !self.discovery_srv.is_empty() {
            return Err("multiple discovery or bootstrap options specified, use either \"etcdEndpoints\" or \"etcdDiscoverySrv\"".to_string());
        }
        let endpoints = self.endpoints.split(',').map(str::trim);
        let endpoints: Vec<Endpoint> = endpoints
            .filter(|e| !e.is_empty())
            .map(Endpoint::parse)
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() && self.discovery_srv.is_empty() {
            return Err(format!(
                "no etcd endpoints specified ({origin}): set ETCD_ENDPOINTS (etcdEndpoints), like http://10.0.0.1:2379"
            ));
        }
        let inline = [&self.ca_cert, &self.cert, &self.key];
        let files = [&self.ca_cert_file, &self.cert_file, &self.key_file];
        let any = |texts: [&String; 3]| texts.iter().any(|t| !t.is_empty());
        if any(inline) && any(files) {
            return Err(
                "Cannot mix inline certificate-key and certificate / key files".to_string(),
            );
        }
        let pem = |inline: String, file: String| match (inline.is_empty(), file.is_empty()) {
            (false, _) => Some(Pem::Inline(inline.into())),
            (true, false) => Some(Pem::File(file.into())),
            (true, true) => None,
        };
        // One without the other is passed over (Calico).
        let both = !self.username.is_empty() && !self.password.is_empty();
        Ok(EtcdOptions {
            endpoints,
            discovery_srv: self.discovery_srv,
            login: both.then_some((self.username, Secret::from(self.password))),
            ca: pem(self.ca_cert, self.ca_cert_file),
            certificate: pem(self.cert, self.cert_file),
            key: pem(self.key, self.key_file),
            origin: origin.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let shown = |text: &str| Endpoint::parse(text).map(|e| e.to_string());
        for (text, expected) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            (
                "https://etcd-1.example:4001/",
                "https://etcd-1.example:4001",
            ),
            ("10.0.0.1", "http://10.0.0.1:2379"),
            ("https://[fd00::1]:2380", "https://[fd00::1]:2380"),
            ("http://[fd00::1]", "http://[fd00::1]:2379"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "http://",
            "unix:///run/etcd",
            "http://a:b",
            "http://a:0",
            "http://[::1:2379",
            "http://a b:1",
        ] {
            let refused = shown(text).unwrap_err();
            assert!(
                refused.starts_with(&format!("etcd endpoint '{text}': ")),
                "{refused}"
            );
        }
    }
}
