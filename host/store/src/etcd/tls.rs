//! TLS to etcd: rustls with ring.

use std::path::Path;
use std::sync::Arc;

use resource::{StoreError, StoreResult};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::options::{EtcdOptions, Pem};

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
pub(super) fn config(options: &EtcdOptions) -> StoreResult<Arc<ClientConfig>> {
    let roots = roots(options)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| StoreError::Backend(format!("TLS: {e}")))?
        .with_root_certificates(roots);
    let mut config = match (&options.certificate, &options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "the client certificate (ETCD_CERT_FILE)")?;
            let what = "the client's private key (ETCD_KEY_FILE)";
            let text = read(key, what)?;
            let key_text = PrivateKeyDer::from_pem_slice(&text)
                .map_err(|e| refused(key, what, &e.to_string()))?;
            builder
                .with_client_auth_cert(chain, key_text)
                .map_err(|e| {
                    refused(
                        key,
                        what,
                        &format!("{e}; it must belong to the certificate"),
                    )
                })?
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(StoreError::Backend(format!(
                "etcd ({}): a client certificate and its private key belong together: set both ETCD_CERT_FILE and ETCD_KEY_FILE",
                options.origin
            )));
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(options: &EtcdOptions) -> StoreResult<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let what = "the authorities' certificates (ETCD_CA_CERT_FILE)";
    match &options.ca {
        Some(pem) => {
            for certificate in certificates(pem, what)? {
                roots
                    .add(certificate)
                    .map_err(|e| refused(pem, what, &e.to_string()))?;
            }
        }
        None => {
            if let Some(path) = SYSTEM.iter().map(Path::new).find(|p| p.exists()) {
                let found = certificates(&Pem::File(path.to_path_buf()), what)?;
                roots.add_parsable_certificates(found);
            }
        }
    }
    Ok(roots)
}

fn certificates(pem: &Pem, what: &str) -> StoreResult<Vec<CertificateDer<'static>>> {
    let text = read(pem, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(refused(pem, what, "there is no PEM certificate in it")),
        Err(e) => Err(refused(pem, what, &e.to_string())),
    }
}

fn read(pem: &Pem, what: &str) -> StoreResult<Vec<u8>> {
    match pem {
        Pem::Inline(text) => Ok(text.reveal().as_bytes().to_vec()),
        Pem::File(path) => std::fs::read(path).map_err(|e| refused(pem, what, &e.to_string())),
    }
}

fn refused(pem: &Pem, what: &str, why: &str) -> StoreError {
    let place = match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Inline(_) => "the configuration file".to_string(),
    };
    StoreError::Backend(format!("etcd: cannot use {what} in {place}: {why}"))
}
