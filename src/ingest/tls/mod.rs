//! The certificate of the server, and its renewal without a restart.
//!
//! ```text
//! certificate and key files ── read every few seconds ── changed? ── usable? ─> new connections
//!                                                                       └─ no: the old pair stays
//! ```
//!
//! Polled, since what mounts a Secret swaps a symbolic link, which not every
//! kind of volume tells of.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto, version};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::metrics::Metrics;
use crate::model::PemFault;

/// Where the certificate and its key are, and how often to look at them.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the certificate, then what it is signed by.
    pub certificate: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key: PathBuf,
    /// How soon a change is taken up.
    pub every: Duration,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What is in a file is not what should be there.
    #[error("{path} is not PEM of the kind it should be: {fault}", path = .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        fault: PemFault,
    },
    /// The key does not belong to the certificate, or neither can be used.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// The bytes of both files.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Keeps the settings for new connections up to date with the files.
pub(super) struct Renewal {
    files: TlsFiles,
    /// What was tried last, good or bad, so that each content is judged once.
    tried: Pair,
    current: watch::Sender<Arc<ServerConfig>>,
    metrics: Metrics,
}

impl Renewal {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be used.
    pub(super) async fn start(
        files: TlsFiles,
        metrics: Metrics,
    ) -> Result<(Self, watch::Receiver<Arc<ServerConfig>>), TlsError> {
        let pair = read(&files).await?;
        let config = configure(&files, &pair, &metrics)?;
        let (current, follower) = watch::channel(config);
        Ok((Self { files, tried: pair, current, metrics }, follower))
    }

    /// Looks at the files until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(self.files.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            // Nobody else renews: after a panic too, this goes on.
            match AssertUnwindSafe(self.look()).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => {
                    self.metrics.certificate_refused();
                    error!(%cause, "the new certificate cannot be used; the old one stays");
                }
                Err(_) => {
                    self.metrics.certificate_refused();
                    error!("the new certificate made Herald panic; the old one stays");
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), TlsError> {
        let pair = read(&self.files).await?;
        if pair == self.tried {
            return Ok(());
        }
        self.tried = pair;
        self.current.send_replace(configure(&self.files, &self.tried, &self.metrics)?);
        info!(certificate = %self.files.certificate.display(), "the certificate was renewed");
        Ok(())
    }
}

async fn read(files: &TlsFiles) -> Result<Pair, TlsError> {
    let read = async |path: &PathBuf| {
        tokio::fs::read(path).await.map_err(|cause| TlsError::Read { path: path.clone(), cause })
    };
    Ok(Pair { certificate: read(&files.certificate).await?, key: read(&files.key).await? })
}

fn configure(files: &TlsFiles, pair: &Pair, metrics: &Metrics) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&pair.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem { path: files.certificate.clone(), fault: PemFault::from(&error) })?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|error| TlsError::Pem { path: files.key.clone(), fault: PemFault::from(&error) })?;
    let not_after = chain.first().and_then(|leaf| not_after(leaf));
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    metrics.certificate_in_use(not_after);
    Ok(Arc::new(config))
}

/// When a certificate ends, in seconds since the epoch. For the metric alone:
/// whether it is good is for the client to say.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests;
