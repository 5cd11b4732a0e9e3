//! Herald in this process, for one namespace: what `herald run` does, with a
//! clock and a journal that the test may hold.
//!
//! ```text
//! Herald::start ─> controller, dispatcher, ingestion ─> stop ─> start_again, on the same journal
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald::access::{self, Authenticator, ClusterReview, Lifetimes};
use herald::controller::{self, ControllerConfig};
use herald::dispatch::{self, DispatchConfig};
use herald::ingest::{self, Limits, Service};
use herald::journal::Journal as _;
use herald::journal::embedded::{Config as JournalConfig, Embedded};
use herald::model::Clock;
use herald::outbound::{Allowance, Guard, Outbound, OutboundConfig};
use herald::subscriptions::{Materials, Namespaces, Subscriptions};
use kube::Client;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::certificates::authority_pem;
use super::{Cluster, DEADLINE, Namespace};

/// The audience of the tokens that a Herald under test accepts.
pub const AUDIENCE: &str = "herald.test";

/// How a Herald under test is set up.
pub struct Settings {
    /// The clock of everything but the network.
    pub clock: Clock,
    /// Whether it verifies.
    pub controller: bool,
    /// Whether it takes and delivers events.
    pub dispatcher: bool,
    /// How long a granted right is remembered.
    pub lifetimes: Lifetimes,
    /// For how long an unconfirmed view is acted on.
    pub max_view_age: Duration,
    /// Adjusts the journal's limits.
    pub journal: fn(&mut JournalConfig),
}

impl Default for Settings {
    fn default() -> Self {
        let dispatch = DispatchConfig::default();
        Self {
            clock: dispatch.clock,
            controller: true,
            dispatcher: true,
            lifetimes: Lifetimes::default(),
            max_view_age: dispatch.max_view_age,
            journal: |_| {},
        }
    }
}

/// A Herald that serves one namespace, until stopped or dropped.
pub struct Herald {
    settings: Settings,
    namespace: String,
    cluster: Cluster,
    journal_dir: TempDir,
    running: Option<Running>,
}

struct Running {
    shutdown: CancellationToken,
    parts: JoinSet<()>,
    address: SocketAddr,
    journal: Embedded,
}

impl Herald {
    /// As `herald run` starts it.
    pub async fn start(namespace: &Namespace) -> Self {
        Self::start_with(namespace, Settings::default()).await
    }

    /// With settings of the test's own.
    pub async fn start_with(namespace: &Namespace, settings: Settings) -> Self {
        Self::start_at(namespace.cluster().clone(), namespace, settings).await
    }

    /// With a way of its own to the API server.
    pub async fn start_at(cluster: Cluster, namespace: &Namespace, settings: Settings) -> Self {
        let mut herald = Self {
            settings,
            namespace: namespace.name().to_owned(),
            cluster,
            journal_dir: tempfile::tempdir().unwrap(),
            running: None,
        };
        herald.start_again().await;
        herald
    }

    /// Stops as SIGTERM stops it: what runs ends, the journal is closed.
    pub async fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.shutdown.cancel();
        let ended = async {
            while let Some(part) = running.parts.join_next().await {
                part.unwrap();
            }
            running.journal.close().await.unwrap();
        };
        timeout(DEADLINE, ended).await.expect("it stops in time");
    }

    /// Starts on the journal that the last run left.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        self.running = Some(self.launch().await);
    }

    /// `stop`, then `start_again`.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Where events for a namespace are posted.
    pub fn events_url(&self, namespace: &str) -> String {
        let running = self.running.as_ref().expect("it runs");
        format!("http://{}/v1/namespaces/{namespace}/events", running.address)
    }

    /// Its journal.
    pub fn journal(&self) -> &Embedded {
        &self.running.as_ref().expect("it runs").journal
    }

    /// Posts one event, or a list of them as a batch.
    pub async fn post(&self, token: &str, events: &Value) -> (StatusCode, Value) {
        post(&self.events_url(&self.namespace), token, events).await
    }

    /// Posts what has to be accepted, and gives the answer's counts.
    pub async fn accepts(&self, token: &str, events: &Value) -> Value {
        let (status, answer) = self.post(token, events).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer
    }

    async fn launch(&self) -> Running {
        // Every client here names its provider, but reqwest wants one for the process.
        drop(rustls::crypto::ring::default_provider().install_default());
        let clock = self.settings.clock.clone();
        let namespaces = Namespaces::new(vec![self.namespace.clone()]);
        let shutdown = CancellationToken::new();
        let mut parts = JoinSet::new();

        let client = Client::try_from(self.cluster.config()).unwrap();
        let mut guard = Guard::default();
        guard.allow("127.0.0.0/8".parse::<Allowance>().unwrap());
        let extra_roots = Some(authority_pem().into_bytes());
        let outbound =
            Outbound::new(OutboundConfig { guard, extra_roots, ..OutboundConfig::default() }).unwrap();
        let materials = Materials::new(&namespaces);
        parts.spawn(materials.clone().run(client.clone(), shutdown.clone()));
        parts.spawn(outbound.clone().run(shutdown.clone()));

        if self.settings.controller {
            let mut config = ControllerConfig::new("herald-test".to_owned());
            config.namespaces = namespaces.clone();
            config.clock = clock.clone();
            let surroundings = controller::Surroundings {
                client: client.clone(),
                materials: materials.clone(),
                outbound: outbound.clone(),
                metrics: controller::Metrics::default(),
                pulse: controller::Pulse::default(),
                duties: Vec::new(),
            };
            parts.spawn(controller::run(config, surroundings, shutdown.clone()));
        }

        let mut config = JournalConfig::new(self.journal_dir.path());
        (self.settings.journal)(&mut config);
        let opening = clock.clone();
        let journal =
            tokio::task::spawn_blocking(move || Embedded::open(config, opening)).await.unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if self.settings.dispatcher {
            let subscriptions = Subscriptions::new(namespaces, materials);
            parts.spawn(subscriptions.clone().run(client.clone(), shutdown.clone()));
            let config = DispatchConfig {
                clock: clock.clone(),
                max_view_age: self.settings.max_view_age,
                ..DispatchConfig::default()
            };
            let surroundings = dispatch::Surroundings {
                errands: dispatch::Errands::default(),
                journal: journal.clone(),
                subscriptions: subscriptions.clone(),
                client: client.clone(),
                outbound,
                metrics: dispatch::Metrics::default(),
            };
            parts.spawn(dispatch::run(config, surroundings, shutdown.clone()));
            let metrics = ingest::Metrics::default();
            let review = ClusterReview::new(client, AUDIENCE.to_owned());
            let authenticator = Authenticator::new(
                review,
                self.settings.lifetimes,
                clock.clone(),
                access::Metrics::default(),
            );
            let ready = subscriptions.clone();
            let service = Service::new(
                authenticator,
                subscriptions,
                journal.clone(),
                metrics,
                Limits::default(),
                clock,
            );
            let serving = ingest::run(listener, None, Arc::new(service), shutdown.clone());
            parts.spawn(async move { serving.await.unwrap() });
            timeout(DEADLINE, ready.ready()).await.expect("the first list comes in");
        }
        Running { shutdown, parts, address, journal }
    }
}

/// Posts one event, or a list of them as a batch.
pub async fn post(url: &str, token: &str, events: &Value) -> (StatusCode, Value) {
    let form = if events.is_array() { "cloudevents-batch" } else { "cloudevents" };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(url)
        .bearer_auth(token)
        .header("content-type", format!("application/{form}+json"))
        .body(events.to_string());
    let answer = timeout(DEADLINE, request.send()).await.expect("an answer in time").unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}
