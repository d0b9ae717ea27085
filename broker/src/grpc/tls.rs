//! TLS of the gRPC port: from files to a configuration, and again when the files change.
//!
//! Promises: new connections get what the files said last that could be used; a change that cannot be used costs a line in
//! the log and no connection. Never done here: handshakes, which the accept loop bounds.

use crate::{
    config::TlsFiles,
    domain::{Error, Reason, Result},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// Between looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// The configuration for the next handshake.
#[derive(Clone, Debug)]
pub struct Tls(watch::Receiver<Arc<ServerConfig>>);

/// Keeps a [`Tls`] true to its files.
pub struct Reloader {
    files: TlsFiles,
    seen: Contents,
    current: watch::Sender<Arc<ServerConfig>>,
}

/// What the files held.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Reads the files. The error names the setting and says what is wrong with its file.
pub fn open(files: TlsFiles) -> Result<(Tls, Reloader)> {
    let seen = Contents::read(&files)?;
    let (current, tls) = watch::channel(seen.server_config()?);
    Ok((Tls(tls), Reloader { files, seen, current }))
}

impl Tls {
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.0.borrow().clone()
    }
}

impl Reloader {
    /// Looks at the files from time to time until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(LOOK) => self.look(),
            }
        }
    }

    fn look(&mut self) {
        // Files are replaced one after the other: what does not fit together now may do so at the next look.
        let contents = match Contents::read(&self.files) {
            Ok(contents) if contents == self.seen => return,
            Ok(contents) => contents,
            Err(error) => return tracing::warn!(%error, "the files of TLS cannot be read; the old certificate stays"),
        };
        match contents.server_config() {
            Ok(config) => {
                self.current.send_replace(config);
                tracing::info!("new connections get the changed certificate");
            }
            Err(error) => tracing::warn!(%error, "the changed files of TLS cannot be used; the old certificate stays"),
        }
        self.seen = contents;
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self> {
        Ok(Self {
            certificate: read("server.tls_certificate_file", &files.certificate)?,
            key: read("server.tls_key_file", &files.key)?,
            client_ca: files.client_ca.as_ref().map(|path| read("server.tls_client_ca_file", path)).transpose()?,
        })
    }

    fn server_config(&self) -> Result<Arc<ServerConfig>> {
        let chain = certificates("server.tls_certificate_file", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| refused("server.tls_key_file", "holds no private key in PEM form"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?;
        let builder = match &self.client_ca {
            Some(pem) => builder.with_client_cert_verifier(verifier(pem, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| refused("server.tls_key_file", &format!("does not go with the certificate: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn verifier(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let setting = "server.tls_client_ca_file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, pem)? {
        roots
            .add(certificate)
            .map_err(|error| refused(setting, &format!("holds a certificate that is no root: {error}")))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refused(setting, &format!("cannot be used: {error}")))
}

fn certificates(setting: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| refused(setting, "holds no certificate in PEM form"))
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| refused(setting, &format!("`{}` cannot be read: {error}", path.display())))
}

fn refused(setting: &str, what: &str) -> Error {
    Error::new(Reason::InvalidArgument, format!("`{setting}` {what}"))
}
