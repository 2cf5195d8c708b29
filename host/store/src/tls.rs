//! TLS to a datastore: rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use resource::{StoreError, StoreResult};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::secret::Secret;

/// PEM text, or the file that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// A file.
    File(PathBuf),
    /// The text itself, from a configuration file.
    Inline(Secret),
}

/// What a client shows and whom it believes.
pub(crate) struct Identity<'a> {
    /// The datastore, for messages.
    pub(crate) datastore: &'a str,
    /// What named all this, for messages.
    pub(crate) origin: &'a str,
    /// The authorities; the system's where none is named.
    pub(crate) ca: Option<&'a Pem>,
    /// Whether any certificate will do.
    pub(crate) insecure: bool,
    /// Our certificate.
    pub(crate) certificate: Option<&'a Pem>,
    /// Its private key.
    pub(crate) key: Option<&'a Pem>,
    /// How the three are called where they are set, for messages.
    pub(crate) names: [&'a str; 3],
    /// What is spoken inside, the best first.
    pub(crate) protocols: &'a [&'a [u8]],
}

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Reads the files that the options name.
///
/// # Errors
/// Which file is missing or is not what it should be.
pub(crate) fn config(options: &Identity<'_>) -> StoreResult<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| StoreError::Backend(format!("TLS: {e}")))?;
    let builder = match options.insecure {
        false => builder.with_root_certificates(options.roots()?),
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    let [_, certificate_name, key_name] = options.names;
    let mut config = match (options.certificate, options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = options.certificates(
                certificate,
                &format!("the client certificate ({certificate_name})"),
            )?;
            let what = format!("the client's private key ({key_name})");
            let text = options.read(key, &what)?;
            let key_text = PrivateKeyDer::from_pem_slice(&text)
                .map_err(|e| options.refused(key, &what, &e.to_string()))?;
            builder
                .with_client_auth_cert(chain, key_text)
                .map_err(|e| {
                    options.refused(
                        key,
                        &what,
                        &format!("{e}; it must belong to the certificate"),
                    )
                })?
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(StoreError::Backend(format!(
                "{} ({}): a client certificate and its private key belong together: set both {certificate_name} and {key_name}",
                options.datastore, options.origin
            )));
        }
    };
    config.alpn_protocols = options.protocols.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Believes everybody, because the operator said so; signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Identity<'_> {
    fn roots(&self) -> StoreResult<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let what = format!("the authorities' certificates ({})", self.names[0]);
        match self.ca {
            Some(pem) => {
                for certificate in self.certificates(pem, &what)? {
                    roots
                        .add(certificate)
                        .map_err(|e| self.refused(pem, &what, &e.to_string()))?;
                }
            }
            None => {
                if let Some(path) = SYSTEM.iter().map(Path::new).find(|p| p.exists()) {
                    let found = self.certificates(&Pem::File(path.to_path_buf()), &what)?;
                    roots.add_parsable_certificates(found);
                }
            }
        }
        Ok(roots)
    }

    fn certificates(&self, pem: &Pem, what: &str) -> StoreResult<Vec<CertificateDer<'static>>> {
        let text = self.read(pem, what)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.refused(pem, what, "there is no PEM certificate in it")),
            Err(e) => Err(self.refused(pem, what, &e.to_string())),
        }
    }

    fn read(&self, pem: &Pem, what: &str) -> StoreResult<Vec<u8>> {
        match pem {
            Pem::Inline(text) => Ok(text.reveal().as_bytes().to_vec()),
            Pem::File(path) => {
                std::fs::read(path).map_err(|e| self.refused(pem, what, &e.to_string()))
            }
        }
    }

    fn refused(&self, pem: &Pem, what: &str, why: &str) -> StoreError {
        let place = match pem {
            Pem::File(path) => path.display().to_string(),
            Pem::Inline(_) => "the configuration file".to_string(),
        };
        let datastore = self.datastore;
        StoreError::Backend(format!("{datastore}: cannot use {what} in {place}: {why}"))
    }
}
