//! Ingestion with the files of a Secret, as a kubelet would mount them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use herald::access::{self, Action, Authenticator, Lifetimes, Review, Verdict};
use herald::ingest::{self, Limits, Matching, Metrics, Service, TlsFiles};
use herald::journal::embedded::{Config, Embedded};
use herald::model::{Clock, EventType, WebhookUid};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::watcher::watch_object;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::objects::{end, entry, until_there};
use crate::support::DEADLINE;

/// Nothing wants anything: what is stored is another test's affair.
struct Nothing;

impl Matching for Nothing {
    fn ready(&self) -> bool {
        true
    }

    fn matching(&self, _: &str, _: EventType) -> Vec<WebhookUid> {
        Vec::new()
    }
}

/// Everybody may send: who may is another test's affair.
struct Everybody;

impl Review for Everybody {
    async fn review(&self, _: &str, _: &str, _: Action) -> Verdict {
        Verdict::Allowed
    }
}

/// Ingestion, and the kubelet of its pod; both end when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    registry: Registry,
    files: TlsFiles,
    _directory: TempDir,
    kubelet: Option<AbortOnDropHandle<()>>,
    _ingestion: AbortOnDropHandle<()>,
}

impl Server {
    /// With the certificate of this Secret, as it is and as it becomes.
    pub async fn start(secrets: &Api<Secret>, name: &str) -> Self {
        let mut server = Self::without_kubelet(secrets, name).await;
        let kubelet = tokio::spawn(mount(secrets.clone(), name.to_owned(), server.files.clone()));
        server.kubelet = Some(AbortOnDropHandle::new(kubelet));
        server
    }

    /// With the certificate of this Secret, as it is until the test mounts another.
    pub async fn without_kubelet(secrets: &Api<Secret>, name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
            every: Duration::from_millis(5),
        };
        write(&files, &until_there(secrets, name, |_| true).await);

        let clock = Clock::default();
        let journal = Embedded::open(Config::new(directory.path().join("journal")), clock.clone()).unwrap();
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let authenticator =
            Authenticator::new(Everybody, Lifetimes::default(), clock.clone(), access::Metrics::default());
        let service = Service::new(authenticator, Nothing, journal, metrics, Limits::default(), clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ingestion =
            ingest::run(listener, Some(files.clone()), Arc::new(service), CancellationToken::new());
        let ingestion = tokio::spawn(async { ingestion.await.unwrap() });
        Self {
            address,
            registry,
            files,
            _directory: directory,
            kubelet: None,
            _ingestion: AbortOnDropHandle::new(ingestion),
        }
    }

    /// Mounts this Secret, and waits until new connections get its certificate.
    pub async fn mount(&self, secret: &Secret) {
        write(&self.files, secret);
        let end = end(&entry(secret, "tls.crt"));
        let sample = format!("herald_ingest_certificate_expiry_timestamp_seconds {end}");
        // Nothing tells of a metric's change: a scrape asks again and again.
        let scrape = async {
            let mut scrapes = interval(Duration::from_millis(5));
            while !self.metrics().lines().any(|line| line == sample) {
                scrapes.tick().await;
            }
        };
        timeout(DEADLINE, scrape).await.unwrap_or_else(|_| panic!("no {sample} in {}", self.metrics()));
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

async fn mount(secrets: Api<Secret>, name: String, files: TlsFiles) {
    let mut states = Box::pin(watch_object(secrets, &name));
    loop {
        match states.try_next().await {
            Ok(Some(Some(secret))) => write(&files, &secret),
            // What is mounted stays when the Secret goes.
            Ok(Some(None)) | Err(_) => {}
            Ok(None) => return,
        }
    }
}

fn write(files: &TlsFiles, secret: &Secret) {
    for (path, key) in [(&files.certificate, "tls.crt"), (&files.key, "tls.key")] {
        let new = PathBuf::from(format!("{}.new", path.display()));
        std::fs::write(&new, entry(secret, key)).unwrap();
        std::fs::rename(&new, path).unwrap();
    }
}
