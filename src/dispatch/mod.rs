//! Takes what the journal holds to the endpoints.
//!
//! ```text
//! journal ─ unclaimed ─> dispatcher ─ one task a webhook ─> lane ─> runners ─> outbound
//!                                                             │        │
//!                                              board <────────┴── verdict ─> settle
//!                                                │
//!                                                └─> reporter ─> status (condition Delivering)
//! ```
//!
//! **Guarantees.** A webhook has one lane here at most. A lane's panic or end
//! touches no other lane. What runs at shutdown is awaited; what has not begun
//! goes back to the journal.
//!
//! **Does not do.** It verifies nothing: what may be sent is read off the view.

mod circuit;
mod errand;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod lane;
mod memory;
mod metrics;
#[cfg(test)]
pub(crate) mod modelled;
mod rate;
mod report;
mod reporter;
pub mod request;
mod sample;
mod share;
mod stats;
mod status;
pub(crate) mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::errand::{Answered, Errands, Purpose, TooMany, Tried};
pub use self::metrics::Metrics;
pub(crate) use self::status::apply_status;

use self::lane::Lane;
use self::share::Places;
use self::stats::Board;
use crate::journal::Journal;
use crate::model::{Clock, WebhookUid};
use crate::outbound::Outbound;
use crate::subscriptions::Subscriptions;

/// What has panicked begins again after this long, lest that is all that happens.
const AFTER_PANIC: Duration = Duration::from_millis(100);

/// How the dispatcher is set up.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// The most attempts of all webhooks that run at one time, beyond the one
    /// that each lane is always granted.
    pub max_in_flight: usize,
    /// For how long the view of a namespace that was not confirmed is acted on.
    pub max_view_age: Duration,
    /// How many distinct events of a webhook fail in a row before its circuit
    /// opens; 0 for never.
    pub circuit_threshold: usize,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            max_view_age: Duration::from_mins(5),
            circuit_threshold: 5,
            clock: Clock::default(),
        }
    }
}

/// What the dispatcher works with.
#[derive(Clone)]
pub struct Surroundings<J> {
    /// What is to be delivered.
    pub journal: J,
    /// To whom.
    pub subscriptions: Subscriptions,
    /// The API server.
    pub client: Client,
    /// The way to the endpoints.
    pub outbound: Outbound,
    /// Attempts that somebody asks for.
    pub errands: Errands,
    /// What is counted.
    pub metrics: Metrics,
}

/// What every lane works with.
struct Shared<J> {
    journal: J,
    subscriptions: Subscriptions,
    client: Client,
    outbound: Outbound,
    errands: Errands,
    metrics: Metrics,
    clock: Clock,
    places: Places,
    /// Places for runners that wait for something to do.
    idle_runners: Semaphore,
    max_view_age: Duration,
    circuit_threshold: usize,
    /// Since when this process may own lanes: what another owner sent before
    /// then is not known here.
    started: Instant,
    board: Board,
}

impl<J> Shared<J> {
    /// Whether what is known of a namespace may be acted on.
    fn view_is_fresh(&self, namespace: &str) -> bool {
        self.subscriptions.age(namespace) <= self.max_view_age
    }
}

/// Delivers until `shutdown`, and then until what runs has ended. The journal
/// stays open: it is its owner's to close.
pub async fn run<J: Journal>(
    config: DispatchConfig,
    surroundings: Surroundings<J>,
    shutdown: CancellationToken,
) {
    let Surroundings { journal, subscriptions, client, outbound, errands, metrics } = surroundings;
    let shared = Arc::new(Shared {
        journal,
        subscriptions,
        client,
        outbound,
        errands,
        metrics,
        clock: config.clock,
        places: Places::new(config.max_in_flight),
        idle_runners: Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS)),
        max_view_age: config.max_view_age,
        circuit_threshold: config.circuit_threshold,
        started: Instant::now(),
        board: Board::default(),
    });
    if shutdown.run_until_cancelled(shared.subscriptions.ready()).await.is_none() {
        return;
    }
    let mut helpers = JoinSet::new();
    helpers.spawn(reporter::run(shared.clone(), shutdown.clone()));
    let mut lanes = Lanes::new(shared.clone(), shutdown.clone());
    // What a lane remembers is looked at, though nothing may be queued for it.
    reported_held(&shared.subscriptions).for_each(|uid| lanes.wake(uid));
    // A webhook that is deleted loses its queue, whether its lane runs or not.
    let mut gone = shared.subscriptions.gone();
    let mut sample = tokio::time::interval(sample::EVERY);
    while !shutdown.is_cancelled() {
        tokio::select! {
            webhooks = shared.journal.unclaimed() => webhooks.into_iter().for_each(|uid| lanes.wake(uid)),
            webhooks = shared.errands.wanted() => webhooks.into_iter().for_each(|uid| lanes.wake(uid)),
            webhooks = gone.next() => lanes.gone(webhooks).await,
            Some(ended) = lanes.tasks.join_next_with_id() => lanes.ended(&ended),
            // Without it, statuses would stay as they are for ever.
            Some(Err(_)) = helpers.join_next() => {
                tracing::error!("the task that writes statuses panicked and is begun again");
                tokio::time::sleep(AFTER_PANIC).await;
                helpers.spawn(reporter::run(shared.clone(), shutdown.clone()));
            }
            _ = sample.tick() => sample::take(&shared).await,
            () = shutdown.cancelled() => {}
        }
    }
    while lanes.tasks.join_next().await.is_some() {}
    while helpers.join_next().await.is_some() {}
}

fn reported_held(subscriptions: &Subscriptions) -> impl Iterator<Item = WebhookUid> {
    subscriptions.all().into_iter().filter(|uid| report::is_held_by_its_lane(&subscriptions.view(*uid)))
}

/// The tasks of the lanes.
struct Lanes<J: Journal> {
    shared: Arc<Shared<J>>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    by_webhook: HashMap<WebhookUid, Running>,
    by_task: HashMap<Id, WebhookUid>,
}

/// What is known of a lane's task while it runs.
#[derive(Default)]
struct Running {
    /// Something came for it after it began: it may have ended without seeing it.
    woken: bool,
}

impl<J: Journal> Lanes<J> {
    fn new(shared: Arc<Shared<J>>, shutdown: CancellationToken) -> Self {
        Self { shared, shutdown, tasks: JoinSet::new(), by_webhook: HashMap::new(), by_task: HashMap::new() }
    }

    fn wake(&mut self, uid: WebhookUid) {
        if let Some(running) = self.by_webhook.get_mut(&uid) {
            running.woken = true;
            return;
        }
        let lane = Lane::new(uid, self.shared.clone(), self.shutdown.clone());
        let task = self.tasks.spawn(lane.run());
        self.by_task.insert(task.id(), uid);
        self.by_webhook.insert(uid, Running::default());
        self.count();
    }

    /// A lane that runs drops its queue by itself; for the others it is done here.
    async fn gone(&mut self, webhooks: Vec<WebhookUid>) {
        for uid in webhooks {
            if self.by_webhook.contains_key(&uid) {
                continue;
            }
            if let Err(error) = self.shared.journal.drop_webhook(uid).await {
                tracing::warn!(webhook = %uid, %error, "the queue of a webhook that is gone remains");
            }
            self.shared.board.forget(uid);
            self.shared.errands.forget(uid);
        }
    }

    fn ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(uid) = self.by_task.remove(&id) else {
            return;
        };
        let woken = self.by_webhook.remove(&uid).is_some_and(|running| running.woken);
        self.count();
        if ended.is_err() {
            tracing::error!(webhook = %uid, "a lane's task panicked and is begun again");
            self.wake(uid);
        } else if woken {
            self.wake(uid);
        }
    }

    fn count(&self) {
        self.shared.metrics.lanes.set(i64::try_from(self.by_webhook.len()).unwrap_or(i64::MAX));
    }
}
