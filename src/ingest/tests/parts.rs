//! A server to test, what stands behind it, and a client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Client, RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, crypto, version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::quota::Quotas;
use super::super::*;
use crate::access::{self, Action, Authenticator, Lifetimes, Review, Verdict};
use crate::journal::{
    Append, Appended, Attempt, ClaimError, Delivery, Depth, Journal, Lane, LaneState, Lease, Lost, Outcome,
    Settled, Unavailable as Away,
};
use crate::model::{Clock, EventType, Ordering, Timestamp, WebhookUid};

/// No test waits for anything longer.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Remembers what was appended, and answers as it is told to.
#[derive(Clone)]
pub(super) struct ScriptedJournal {
    pub(super) appended: Arc<Mutex<Vec<Append>>>,
    pub(super) answer: Arc<Mutex<Appended>>,
    /// Each append takes one.
    pub(super) permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// What the last append was allowed to leave of its namespace.
    pub(super) most: Arc<Mutex<Option<u64>>>,
}

impl ScriptedJournal {
    /// How many appends have begun and have no answer yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(atomic::Ordering::SeqCst)
    }
}

impl Default for ScriptedJournal {
    fn default() -> Self {
        Self {
            appended: Arc::default(),
            answer: Arc::new(Mutex::new(Appended::Stored)),
            permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            waiting: Arc::default(),
            most: Arc::default(),
        }
    }
}

/// There is nothing to deliver from it.
pub(super) enum NoLane {}

impl Journal for ScriptedJournal {
    type Lane = NoLane;

    fn now(&self) -> Timestamp {
        Clock::default().now()
    }

    async fn append_within(&self, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        *self.most.lock().unwrap() = most;
        self.waiting.fetch_add(1, atomic::Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        self.waiting.fetch_sub(1, atomic::Ordering::SeqCst);
        let answers = vec![self.answer.lock().unwrap().clone(); batch.len()];
        self.appended.lock().unwrap().extend(batch);
        answers
    }

    async fn claim(&self, _: WebhookUid, _: Ordering) -> Result<NoLane, ClaimError> {
        Err(ClaimError::Held)
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        Vec::new()
    }

    async fn drop_webhook(&self, _: WebhookUid) -> Result<(), Away> {
        Ok(())
    }

    async fn depth(&self, _: WebhookUid) -> Result<Depth, Away> {
        Ok(Depth::default())
    }

    async fn oldest(&self, _: WebhookUid) -> Result<Option<Timestamp>, Away> {
        Ok(None)
    }

    fn note(&self, _: Attempt) {}

    async fn close(&self) -> Result<(), Away> {
        Ok(())
    }
}

impl Lane for NoLane {
    type Lease = Infallible;

    async fn next(&mut self, _: usize) -> Result<Vec<Infallible>, Lost> {
        match *self {}
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        match *self {}
    }

    async fn compare_and_set(&mut self, _: Option<&LaneState>, _: LaneState) -> Result<bool, Lost> {
        match *self {}
    }
}

impl Lease for Infallible {
    fn delivery(&self) -> &Delivery {
        match *self {}
    }

    async fn settle(self, _: Outcome) -> Settled {
        match self {}
    }
}

/// The token says what the verdict on it is.
pub(super) struct ByToken;

impl Review for ByToken {
    async fn review(&self, token: &str, namespace: &str, _: Action) -> Verdict {
        match token {
            "good" if ["identity", "second"].contains(&namespace) => Verdict::Allowed,
            "good" => Verdict::Forbidden { user: "system:serviceaccount:idp:sender".to_owned() },
            "away" => Verdict::Unavailable,
            "hostile" => panic!("as the test wants it"),
            _ => Verdict::Unauthenticated,
        }
    }
}

/// Two webhooks want every creation, none anything else.
pub(super) struct TwoForCreated {
    pub(super) ready: bool,
}

impl Matching for TwoForCreated {
    fn ready(&self) -> bool {
        self.ready
    }

    fn matching(&self, namespace: &str, event_type: EventType) -> Vec<WebhookUid> {
        let webhooks = [1, 2].map(|n| WebhookUid::from_bytes([n; 16])).to_vec();
        if namespace == "identity" && event_type == EventType::UserCreated { webhooks } else { Vec::new() }
    }
}

/// A server with a certificate of its own.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) journal: ScriptedJournal,
    pub(super) metrics: Metrics,
    pub(super) directory: TempDir,
    pub(super) shutdown: CancellationToken,
    pub(super) running: JoinHandle<Result<(), RunError>>,
    pub(super) certificate: CertificateDer<'static>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(Limits::default(), true).await
    }

    pub(super) async fn start_with(limits: Limits, ready: bool) -> Self {
        Self::start_all(limits, ready, Quotas::default()).await
    }

    pub(super) async fn start_with_quotas(quotas: Quotas) -> Self {
        Self::start_all(Limits::default(), true, quotas).await
    }

    async fn start_all(limits: Limits, ready: bool, quotas: Quotas) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = write_certificate(directory.path());
        let files = TlsFiles {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
            every: Duration::from_millis(20),
        };
        let journal = ScriptedJournal::default();
        let metrics = Metrics::default();
        let authenticator =
            Authenticator::new(ByToken, Lifetimes::default(), Clock::default(), access::Metrics::default());
        let service = Service::new(
            authenticator,
            TwoForCreated { ready },
            journal.clone(),
            metrics.clone(),
            limits,
            Clock::default(),
        );
        let service = Arc::new(service.with_quotas(quotas));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(listener, Some(files), service, shutdown.clone()));
        Self { address, journal, metrics, directory, shutdown, running, certificate }
    }

    pub(super) fn client(&self) -> Client {
        Client::builder()
            .tls_backend_preconfigured(trusting([self.certificate.clone()]))
            .resolve("localhost", self.address)
            .timeout(DEADLINE)
            .build()
            .unwrap()
    }

    /// As Prometheus would read it.
    pub(super) fn metrics_text(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    pub(super) fn url(&self, namespace: &str) -> String {
        format!("https://localhost:{}/v1/namespaces/{namespace}/events", self.address.port())
    }

    /// A request that is all right but for what the test changes in it.
    pub(super) fn post(&self, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client()
            .post(self.url("identity"))
            .bearer_auth("good")
            .header("content-type", content_type)
            .body(body)
    }

    pub(super) async fn send(&self, body: &Value) -> Response {
        self.post("application/cloudevents+json", body.to_string()).send().await.unwrap()
    }

    /// Tells it to stop and waits until nothing of it runs any more.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.expect("it stops").unwrap().unwrap();
    }
}

pub(super) fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/idp", "type": "user.created", "subject": "u", "data": {}})
}

/// A body whose length is not announced.
pub(super) fn chunked(chunks: Vec<Vec<u8>>) -> reqwest::Body {
    let frames = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))));
    reqwest::Body::wrap(StreamBody::new(futures::stream::iter(frames)))
}

pub(super) fn write_certificate(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

pub(super) fn trusting(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
