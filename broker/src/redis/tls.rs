//! TLS to Redis: whom to trust, and what to show.

use crate::config;
use crate::domain::{Error, Reason, Result};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{path::Path, sync::Arc};

/// Trusts the authorities of the settings, else the system's.
pub(super) fn client_config(settings: &config::Redis) -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots(settings.ca.as_deref())?);
    match &settings.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates("redis.client_certificate_file", certificate)?;
            let key =
                PrivateKeyDer::from_pem_file(key).map_err(|error| refused("redis.client_key_file", key, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| refused("redis.client_certificate_file", certificate, error))
        }
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // A root that rustls cannot read is one that nothing can be checked against.
            let _ = roots.add(certificate);
        }
        return Ok(roots);
    };
    for certificate in certificates("redis.ca_file", ca)? {
        roots.add(certificate).map_err(|error| refused("redis.ca_file", ca, error))?;
    }
    Ok(roots)
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(refused(setting, path, "it holds no certificate in PEM form")),
        Err(error) => Err(refused(setting, path, error)),
    }
}

fn refused(setting: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Reason::InvalidArgument, format!("`{setting}`, `{}`, cannot be used: {why}", path.display()))
}
