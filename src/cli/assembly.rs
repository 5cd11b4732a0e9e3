//! Puts the parts of a process together, runs them, and ends them in order.
//!
//! ```text
//! SIGTERM, SIGINT ─> shutdown ─> ingest, dispatch, controller end ─> journal closes ─> telemetry ends
//!                                     └── not in time: broken off ──┘
//! ```

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::flags::{
    ClusterFlags, ControllerFlags, DispatchFlags, IngestFlags, JournalFlags, OutboundFlags, QuotaFlags,
    TelemetryFlags,
};
use super::memory;
use super::serving_certificate::ServingCertificateFlags;
use crate::certificates::{self, Keeper};
use crate::controller::{self, ControllerConfig, Duty, Election, Places, Pulse};
use crate::ingest::quota::Quotas;
use crate::journal::Journal as _;
use crate::journal::engine::Engine;
use crate::manage::Management;
use crate::model::Clock;
use crate::outbound::{ClusterNetworks, Outbound};
use crate::subscriptions::{Materials, Subscriptions};
use crate::telemetry::{Check, Health, init_logs, serve};
use crate::{access, dispatch, ingest, manage, networks, replays};

/// After this long without a turn of its loop, only a restart can help a controller.
const STUCK: Duration = Duration::from_mins(1);

/// For so long after its start a process sends nothing until it knows the cluster's own networks.
const FIND_OUT: Duration = Duration::from_secs(10);

/// How long parts may take to end where no flag says it: less than a pod's usual grace period.
const DRAIN: Duration = Duration::from_secs(25);

/// The parts of a process.
pub(super) struct Assembly {
    client: Client,
    cluster: ClusterFlags,
    own_namespace: String,
    materials: Materials,
    outbound: Outbound,
    registry: Registry,
    health: Health,
    telemetry: TcpListener,
    journal: Option<Engine>,
    /// How long they may take to end.
    drain: Duration,
    shutdown: CancellationToken,
    parts: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Assembly {
    /// What every process has.
    pub(super) async fn begin(
        cluster: ClusterFlags,
        outbound: &OutboundFlags,
        telemetry: &TelemetryFlags,
    ) -> anyhow::Result<Self> {
        init_logs(&telemetry.log, telemetry.log_format)?;
        if !telemetry.core_dumps {
            memory::seal()
                .context("cannot keep this process's memory to itself; --core-dumps does without")?;
        }
        let listener = listen(telemetry.metrics_listen)
            .await
            .with_context(|| format!("--metrics-listen {}", telemetry.metrics_listen))?;
        tracing::info!(address = %listener.local_addr()?, "serving metrics and health");
        let config = Config::infer().await.context("no cluster: run in a pod, or set KUBECONFIG")?;
        let client = Client::try_from(config.clone())?;
        let found_out = ClusterNetworks::awaited(Instant::now() + FIND_OUT);
        let looking = networks::Surroundings {
            client: outbound.discovers(&cluster.namespaces()).then(|| client.clone()),
            api_servers: api_servers(&config, outbound),
            networks: found_out.clone(),
            metrics: networks::Metrics::default(),
        };
        let outbound = Outbound::new(outbound.config(found_out)?)?;
        let own_namespace =
            cluster.own_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let shutdown = CancellationToken::new();
        let materials = Materials::new(&cluster.namespaces());
        let mut assembly = Self {
            client: client.clone(),
            own_namespace,
            materials: materials.clone(),
            outbound: outbound.clone(),
            registry: Registry::default(),
            health: Health::default(),
            telemetry: listener,
            journal: None,
            drain: DRAIN,
            shutdown: shutdown.clone(),
            parts: JoinSet::new(),
            cluster,
        };
        outbound.metrics().register(&mut assembly.registry);
        looking.metrics.register(&mut assembly.registry);
        assembly.part("networks", networks::run(looking, shutdown.clone()));
        assembly.part("secrets", materials.run(client, shutdown.clone()));
        assembly.part("outbound", outbound.run(shutdown));
        Ok(assembly)
    }

    /// Verifies Webhooks, and keeps the serving certificate if it is to.
    pub(super) fn controller(&mut self, flags: &ControllerFlags) -> anyhow::Result<()> {
        let instance = self.instance();
        let mut config = ControllerConfig::new(instance.clone());
        config.namespaces = self.cluster.namespaces();
        config.places = Places { first: flags.max_challenges, again: flags.max_challenges };
        if flags.leader_election {
            // A container that begins again keeps its pod's name, and is not who it was.
            let identity = format!("{instance}_{}", uuid::Uuid::new_v4());
            config.election = Some(Election::new(self.own_namespace.clone(), flags.lease.clone(), identity));
        }
        let metrics = controller::Metrics::default();
        metrics.register(&mut self.registry);
        let pulse = Pulse::default();
        let (ready, live) = (pulse.clone(), pulse.clone());
        self.health.ready.push(Check::new("controller", move || ready.is_ready()));
        self.health.live.push(Check::new("controller", move || live.last_beat() < STUCK));
        let surroundings = controller::Surroundings {
            client: self.client.clone(),
            materials: self.materials.clone(),
            outbound: self.outbound.clone(),
            metrics,
            pulse,
            duties: self.certificates(&flags.serving_certificate)?.into_iter().collect(),
        };
        self.part("controller", controller::run(config, surroundings, self.shutdown.clone()));
        Ok(())
    }

    /// Keeps the serving certificate, if it is to.
    fn certificates(&mut self, flags: &ServingCertificateFlags) -> anyhow::Result<Option<Duty>> {
        let Some(config) = flags.config(&self.own_namespace, self.cluster.namespaces())? else {
            return Ok(None);
        };
        let metrics = certificates::Metrics::default();
        metrics.register(&mut self.registry);
        let keeper = Keeper::new(self.client.clone(), config, metrics);
        Ok(Some(Duty::new("certificates", move |term| keeper.clone().run(term))))
    }

    /// Takes user events and delivers them.
    pub(super) async fn dispatcher(
        &mut self,
        ingestion: &IngestFlags,
        quota: &QuotaFlags,
        journal: &JournalFlags,
        dispatch: &DispatchFlags,
    ) -> anyhow::Result<()> {
        self.drain = dispatch.drain_timeout;
        let clock = Clock::default();
        ingest::check_exposure(ingestion.listen, ingestion.tls().is_some())?;
        let listener =
            listen(ingestion.listen).await.with_context(|| format!("--listen {}", ingestion.listen))?;
        let quotas = self.quotas(quota, journal);
        let journal = Engine::open(journal.place(&self.instance()), clock.clone()).await?;
        journal.register(&mut self.registry);
        let (ready, live) = (journal.clone(), journal.clone());
        self.health.ready.push(Check::new("journal", move || ready.is_open()));
        self.health.live.push(Check::new("journal", move || live.is_alive()));
        self.journal = Some(journal.clone());

        let subscriptions = Subscriptions::new(self.cluster.namespaces(), self.materials.clone());
        let ready = subscriptions.clone();
        self.health.ready.push(Check::new("webhooks", move || ready.is_ready()));
        self.part("webhooks", subscriptions.clone().run(self.client.clone(), self.shutdown.clone()));

        let metrics = dispatch::Metrics::default();
        metrics.register(&mut self.registry);
        let errands = dispatch::Errands::default();
        let surroundings = dispatch::Surroundings {
            journal: journal.clone(),
            subscriptions: subscriptions.clone(),
            client: self.client.clone(),
            outbound: self.outbound.clone(),
            errands: errands.clone(),
            metrics,
        };
        let dispatching = dispatch::run(dispatch.config(clock.clone()), surroundings, self.shutdown.clone());
        self.part("dispatch", dispatching);

        let metrics = ingest::Metrics::default();
        metrics.register(&mut self.registry);
        let audience = ingestion.audience.clone().unwrap_or_else(|| format!("herald/{}", self.own_namespace));
        let review = access::ClusterReview::new(self.client.clone(), audience);
        let lifetimes = access::Lifetimes { allowed: ingestion.auth_cache, ..access::Lifetimes::default() };
        let of_access = access::Metrics::default();
        of_access.register(&mut self.registry);
        let authenticator = Arc::new(access::Authenticator::new(review, lifetimes, clock.clone(), of_access));
        let of_replays = replays::Metrics::default();
        of_replays.register(&mut self.registry);
        let replaying = replays::Surroundings {
            client: self.client.clone(),
            namespaces: self.cluster.namespaces(),
            journal: journal.clone(),
            subscriptions: subscriptions.clone(),
            errands: errands.clone(),
            clock: clock.clone(),
            metrics: of_replays,
        };
        self.part("replays", replays::run(replaying, self.shutdown.clone()));

        let of_management = manage::Metrics::default();
        of_management.register(&mut self.registry);
        let management = Management::new(manage::Surroundings {
            authenticator: authenticator.clone(),
            journal: journal.clone(),
            subscriptions: subscriptions.clone(),
            errands,
            clock: clock.clone(),
            metrics: of_management,
        });
        self.part("management", management.clone().run(self.shutdown.clone()));
        let service =
            ingest::Service::new(authenticator, subscriptions, journal, metrics, ingestion.limits(), clock)
                .with_others(Arc::new(management))
                .with_quotas(quotas);
        let serving = ingest::run(listener, ingestion.tls(), Arc::new(service), self.shutdown.clone());
        self.parts.spawn(async move { ("ingest", serving.await.map_err(anyhow::Error::from)) });
        Ok(())
    }

    /// What each namespace may send, by flags and by what its Namespace says.
    fn quotas(&mut self, flags: &QuotaFlags, journal: &JournalFlags) -> Quotas {
        let namespaces = self.cluster.namespaces();
        let quotas = Quotas::new(flags.quota(journal, &namespaces), flags.annotations);
        if flags.annotations {
            let (client, shutdown) = (self.client.clone(), self.shutdown.clone());
            self.part("quotas", ingest::quota::run(quotas.clone(), client, namespaces, shutdown));
        }
        quotas
    }

    /// Runs until a signal, or until a part ends by itself, which no part should.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let telemetry_shutdown = CancellationToken::new();
        let registry = std::mem::take(&mut self.registry);
        let health = std::mem::take(&mut self.health);
        let telemetry = tokio::spawn(serve(self.telemetry, registry, health, telemetry_shutdown.clone()));
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut outcome = Ok(());
        let mut deadline = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("stopping, as SIGTERM asks"),
                _ = interrupt.recv() => tracing::info!("stopping, as SIGINT asks"),
                () = sleep_until(deadline) => {
                    tracing::warn!(after = ?self.drain, "not everything has ended in time; the rest is broken off");
                    deadline = None;
                    self.parts.abort_all();
                    continue;
                }
                ended = self.parts.join_next() => match ended {
                    None => break,
                    Some(Err(error)) if error.is_cancelled() => {}
                    Some(Ok((_, Ok(())))) if self.shutdown.is_cancelled() => {}
                    Some(Ok((part, Ok(())))) => outcome = Err(anyhow::anyhow!("{part} ended by itself")),
                    Some(Ok((part, Err(error)))) => outcome = Err(error.context(part)),
                    // What it said is in the log, as far as it may be.
                    Some(Err(_)) => outcome = Err(anyhow::anyhow!("a part panicked")),
                },
            }
            if !self.shutdown.is_cancelled() {
                self.shutdown.cancel();
                deadline = Some(Instant::now() + self.drain);
            }
        }
        if let Some(journal) = &self.journal {
            journal.close().await?;
        }
        telemetry_shutdown.cancel();
        telemetry.await?;
        outcome
    }

    fn part(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(async move {
            part.await;
            (name, Ok(()))
        });
    }

    fn instance(&self) -> String {
        self.cluster.instance.clone().unwrap_or_else(|| format!("herald-{}", uuid::Uuid::new_v4()))
    }
}

/// Where the API server is, by all that this process knows without asking it.
fn api_servers(config: &Config, outbound: &OutboundFlags) -> Vec<String> {
    let of_the_config = config.cluster_url.host().map(str::to_owned);
    of_the_config.into_iter().chain(outbound.kubernetes_service_host.clone()).collect()
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Where a kernel has no IPv6 at all, the unspecified address is that of IPv4.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}
