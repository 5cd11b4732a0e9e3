//! A controller in this process, for one namespace.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use herald::controller::{ControllerConfig, Metrics, Pulse, Surroundings};
use herald::outbound::{Guard, Outbound, OutboundConfig, Resolver};
use herald::subscriptions::{Materials, Namespaces};
use kube::Client;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::certificates::authority_pem;
use crate::support::{DEADLINE, Namespace};

/// A controller that runs until it is stopped.
pub struct Running {
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    registry: Registry,
    pulse: Pulse,
}

impl Running {
    /// For the Webhooks of a namespace.
    pub fn start(namespace: &Namespace) -> Self {
        Self::with(namespace, namespace.cluster().client(), |_| ())
    }

    /// With another way to the API server and other settings.
    pub fn with(namespace: &Namespace, client: Client, change: impl FnOnce(&mut ControllerConfig)) -> Self {
        let namespaces = Namespaces::new(vec![namespace.name().to_owned()]);
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let materials = Materials::new(&namespaces);
        tasks.spawn(materials.clone().run(client.clone(), shutdown.clone()));
        let outbound = outbound();
        tasks.spawn(outbound.clone().run(shutdown.clone()));
        let (metrics, pulse) = (Metrics::default(), Pulse::default());
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut config = ControllerConfig { namespaces, ..ControllerConfig::new("test".to_owned()) };
        change(&mut config);
        let pulse_too = pulse.clone();
        let surroundings =
            Surroundings { client, materials, outbound, metrics, pulse: pulse_too, duties: Vec::new() };
        tasks.spawn(herald::controller::run(config, surroundings, shutdown.clone()));
        Self { shutdown, tasks, registry, pulse }
    }

    /// Stops it, as SIGTERM would, and waits until all of it has ended.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // Much less than a challenge that hangs would take.
        timeout(Duration::from_secs(5), self.tasks.join_all()).await.expect("all tasks end in time");
    }

    /// What a readiness probe is told.
    pub fn is_ready(&self) -> bool {
        self.pulse.is_ready()
    }

    /// Waits until a liveness probe would be told that the loop came round since now.
    pub async fn await_beat(&self) {
        let now = Instant::now();
        let beats = async {
            let mut asks = interval(Duration::from_millis(10));
            while self.pulse.last_beat() > now.elapsed() {
                asks.tick().await;
            }
        };
        timeout(DEADLINE, beats).await.expect("the loop comes round");
    }

    /// A sample as a scrape reads it; zero if there is none.
    pub fn metric(&self, sample: &str) -> i64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a sample is as `wanted` says.
    pub async fn await_metric(&self, sample: &str, wanted: impl Fn(i64) -> bool) {
        // Nothing tells of a metric's change: a scrape asks again and again.
        let scrape = async {
            let mut scrapes = interval(Duration::from_millis(10));
            while !wanted(self.metric(sample)) {
                scrapes.tick().await;
            }
        };
        let done = timeout(DEADLINE, scrape).await;
        assert!(done.is_ok(), "{sample} is {} after {DEADLINE:?}", self.metric(sample));
    }
}

/// Trusts the test endpoints' authority, may call this machine, and knows these names alone.
fn outbound() -> Outbound {
    let names: [(&str, Vec<IpAddr>); 2] =
        [("metadata.test", vec![[169, 254, 169, 254].into()]), ("here.test", vec![[127, 0, 0, 1].into()])];
    let mut guard = Guard::default();
    guard.allow("127.0.0.0/8".parse().unwrap());
    Outbound::new(OutboundConfig {
        guard,
        extra_roots: Some(authority_pem().into_bytes()),
        resolver: Some(Resolver::table(names)),
        ..OutboundConfig::default()
    })
    .unwrap()
}
