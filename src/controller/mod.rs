//! Verifies Webhooks and says in their status how they stand.
//!
//! ```text
//! Webhooks ── watch ──┐
//! Materials ─ change ─┼─> queue, one entry a Webhook ─> reconcile ─> status, Events
//! challenges ─ ended ─┤                                     │
//! retries ──── due ───┘                                     └─> challenge, a task of its own
//! ```
//!
//! **Guarantees.** Only the holder of the Lease acts; the others stand by. What
//! is proved is neither challenged nor written again by a restart, a resync or
//! a new leader. An endpoint that hangs delays no other Webhook. An object that
//! cannot be read disturbs no other and is told so in its status.
//!
//! **Does not do.** It never writes a spec, sets no finalizer, and sends no
//! event: deliveries are the dispatcher's.

mod announce;
mod challenge;
mod challenges;
pub mod decide;
mod duty;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod lease;
mod materials;
mod metrics;
#[cfg(test)]
pub(crate) mod modelled;
mod pulse;
mod reconcile;
mod wait;
mod watch;
mod watched;

use std::sync::Arc;

use futures::future::join_all;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::challenges::Places;
pub use self::duty::Duty;
pub use self::lease::Election;
pub use self::metrics::Metrics;
pub use self::pulse::Pulse;

use self::announce::Announcer;
use self::challenges::Challenges;
use crate::model::Clock;
use crate::outbound::Outbound;
use crate::subscriptions::{Materials, Namespaces};

/// How the controller is set up.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// The namespaces whose Webhooks are verified.
    pub namespaces: Namespaces,
    /// How the leader is found; without it this process leads.
    pub election: Option<Election>,
    /// How many reconciles run at one time. Challenges are not part of them.
    pub concurrency: u16,
    /// How many challenges run at one time.
    pub places: Places,
    /// The name of this process in the Kubernetes Events that it publishes.
    pub instance: String,
    /// Tells the time.
    pub clock: Clock,
}

impl ControllerConfig {
    /// All namespaces, without election.
    pub fn new(instance: String) -> Self {
        Self {
            namespaces: Namespaces::default(),
            election: None,
            concurrency: 64,
            places: Places::default(),
            instance,
            clock: Clock::default(),
        }
    }
}

/// What the controller works with, and what it reports to.
#[derive(Clone)]
pub struct Surroundings {
    /// The API server.
    pub client: Client,
    /// What the watches of Secrets and `ConfigMap`s have brought.
    pub materials: Materials,
    /// The way to the endpoints.
    pub outbound: Outbound,
    /// What is counted.
    pub metrics: Metrics,
    /// What probes ask.
    pub pulse: Pulse,
    /// What whoever leads does beside verifying.
    pub duties: Vec<Duty>,
}

/// Runs the controller until `shutdown`. It returns when every task of its own
/// has ended and the Lease is given back.
pub async fn run(config: ControllerConfig, surroundings: Surroundings, shutdown: CancellationToken) {
    let pulse = surroundings.pulse.clone();
    let work = |token| term(&config, &surroundings, token);
    match &config.election {
        None => work(shutdown).await,
        Some(election) => {
            let stand_by = || {
                pulse.beat();
                pulse.set_ready(true);
            };
            lease::lead(surroundings.client.clone(), election, work, stand_by, shutdown).await;
        }
    }
    surroundings.pulse.set_ready(false);
}

/// One term of leadership, until `token`.
async fn term(config: &ControllerConfig, surroundings: &Surroundings, token: CancellationToken) {
    let Surroundings { client, materials, outbound, metrics, pulse, duties } = surroundings;
    pulse.set_ready(false);
    metrics.leading(true);
    let challenges = Challenges::new(
        outbound.clone(),
        config.clock.clone(),
        metrics.clone(),
        config.places,
        token.clone(),
    );
    let announcer = Arc::new(Announcer::new(client.clone(), config.instance.clone()));
    let scopes = config.namespaces.scopes();
    let listed = watch::Listed::new(scopes.len(), pulse.clone());
    let watches = scopes.into_iter().map(|scope| watch::Watch {
        api: scope.api(client),
        client: client.clone(),
        materials: materials.clone(),
        challenges: challenges.clone(),
        announcer: announcer.clone(),
        metrics: metrics.clone(),
        clock: config.clock.clone(),
        concurrency: config.concurrency,
        listed: listed.clone(),
        pulse: pulse.clone(),
    });
    let mut working = JoinSet::new();
    for duty in duties {
        let (name, work) = (duty.name(), duty.begin(token.clone()));
        working.spawn(async move {
            work.await;
            name
        });
    }
    let watching = join_all(watches.map(watch::Watch::run));
    tokio::select! {
        () = token.cancelled() => {}
        _ = watching => {}
        Some(ended) = working.join_next() => {
            let duty = ended.unwrap_or("one that panicked");
            tracing::error!(duty, "a duty ended by itself: this term of leading ends too");
        }
    }
    // Were one of them to end by itself, what the others started would still have to.
    token.cancel();
    challenges.join().await;
    working.join_all().await;
    metrics.leading(false);
}
