//! Sends events again, as Replays ask for it.
//!
//! ```text
//! Replays ─ watch ─> one task each ─> dead letters, or kept events ─> errands ─> the webhook's lane
//!                        │                                                           │
//!                        └── status: matched, replayed, failed <──── Answered ───────┘
//! ended ─ ttl ─> deleted
//! ```
//!
//! **Guarantees.** A replayed event goes through its webhook's lane, under its
//! rate, its places in flight, its circuit and its view: a Replay of a webhook
//! that is held waits. Deleting a Replay starts no more attempts. A dead letter
//! is removed when the endpoint has taken it. Memory is bounded by a hundred
//! events, and some MB, for each Replay that runs. At most sixteen run at one time,
//! four of one namespace, and each gives way to others after such a piece; one that
//! waits for its webhook keeps nobody from running.
//!
//! **Does not promise.** An order. After a restart a Replay goes on from what
//! its status says, and may send again what it had sent since that was written.

mod metrics;
mod plan;
mod status;
mod work;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::metrics::Metrics;
use crate::api::{Replay, StoredReplay};
use crate::dispatch::Errands;
use crate::journal::Inspect;
use crate::model::{Clock, Timestamp};
use crate::subscriptions::{Change, Namespaces, ObjectName, Subscriptions, follow};
use crate::turns::Turns;

/// The most Replays that run at one time; others wait their turn.
const MOST: usize = 16;
/// The most of them in one namespace.
const MOST_OF_EACH: usize = 4;
/// How often it is asked which process a Replay is for.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a deletion that failed it is tried again.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// What Replays work with.
pub struct Surroundings<J> {
    /// The API server.
    pub client: Client,
    /// Whose Replays.
    pub namespaces: Namespaces,
    /// What can be sent again.
    pub journal: J,
    /// To whom.
    pub subscriptions: Subscriptions,
    /// The way there.
    pub errands: Errands,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

/// What every task has.
struct Shared<J> {
    around: Surroundings<J>,
    turns: Turns,
}

/// Carries out Replays until `shutdown`; what runs then goes on in the next process.
pub async fn run<J: Inspect>(around: Surroundings<J>, shutdown: CancellationToken) {
    if shutdown.run_until_cancelled(around.subscriptions.ready()).await.is_none() {
        return;
    }
    let shared = Arc::new(Shared { around, turns: Turns::new(MOST, MOST_OF_EACH) });
    let (send, mut changes) = mpsc::unbounded_channel();
    let mut watches = JoinSet::new();
    for scope in shared.around.namespaces.scopes() {
        let send = send.clone();
        let apply = move |change: Change<StoredReplay>| {
            // The receiver lives for as long as the watch.
            let _ = send.send(change);
        };
        let api = scope.api::<StoredReplay>(&shared.around.client);
        watches.spawn(follow(api, kube::runtime::watcher::Config::default(), apply, shutdown.clone()));
    }
    let mut tasks = Tasks { shared, running: HashMap::new(), set: JoinSet::new() };
    loop {
        tokio::select! {
            Some(change) = changes.recv() => tasks.take(change),
            Some(ended) = tasks.set.join_next() => {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    tracing::error!("the task that tells of a Replay that cannot be read panicked");
                }
            }
            () = shutdown.cancelled() => break,
        }
    }
    tasks.set.shutdown().await;
    watches.join_all().await;
}

/// The tasks of the Replays, each from the moment it was seen until it is gone.
struct Tasks<J: Inspect> {
    shared: Arc<Shared<J>>,
    running: HashMap<ObjectName, (String, AbortHandle)>,
    set: JoinSet<()>,
}

impl<J: Inspect> Tasks<J> {
    fn take(&mut self, change: Change<StoredReplay>) {
        match change {
            Change::Applied(stored) => {
                let name = ObjectName::of(&stored);
                let uid = stored.uid().unwrap_or_default();
                // Its spec does not change, and its status is written by the task.
                if self.running.get(&name).is_some_and(|(running, _)| *running == uid) {
                    return;
                }
                self.stop(&name);
                let shared = Arc::clone(&self.shared);
                let task = match stored.0 {
                    Ok(replay) => self.set.spawn(carry_on(shared, replay)),
                    Err(invalid) => self.set.spawn(status::say_unreadable(shared, name.clone(), invalid)),
                };
                self.running.insert(name, (uid, task));
            }
            Change::Removed(name) => self.stop(&name),
            Change::Listed => {}
        }
    }

    fn stop(&mut self, name: &ObjectName) {
        if let Some((_, task)) = self.running.remove(name) {
            task.abort();
        }
    }
}

/// Carries out one Replay, and once more from where its status says it is after a panic.
async fn carry_on<J: Inspect>(shared: Arc<Shared<J>>, mut replay: Replay) {
    let namespace = replay.namespace().unwrap_or_default();
    let panicked = |shared: &Arc<Shared<J>>, replay: &Replay| {
        // Nothing of it is used again but what is behind locks, which take no harm of a panic.
        AssertUnwindSafe(carry_out(Arc::clone(shared), replay.clone())).catch_unwind().map(|end| end.is_err())
    };
    while panicked(&shared, &replay).await {
        tracing::error!(replay = replay.name_any(), namespace, "a Replay's task panicked and is begun again");
        tokio::time::sleep(AFTER_ERROR).await;
        // The watch tells whether it is gone, and ends this; until then what is known will do.
        replay = newest(&shared, replay).await;
    }
}

/// The Replay as it is now, or as it was known, if there is none or it cannot be asked for.
async fn newest<J: Inspect>(shared: &Shared<J>, replay: Replay) -> Replay {
    let namespace = replay.namespace().unwrap_or_default();
    let api: kube::Api<Replay> = kube::Api::namespaced(shared.around.client.clone(), &namespace);
    let by_name = ListParams::default().fields(&format!("metadata.name={}", replay.name_any()));
    let listed = api.list(&by_name).await.map(|list| list.items.into_iter().next());
    listed.ok().flatten().unwrap_or(replay)
}

/// Whether this process carries out a Replay: who runs its webhook's lane does, and where there is
/// no webhook, who would run one of its own UID.
fn is_ours<J: Inspect>(shared: &Shared<J>, replay: &Replay) -> bool {
    let namespace = replay.namespace().unwrap_or_default();
    let found = || shared.around.subscriptions.named(&ObjectName::new(&namespace, &replay.spec.webhook));
    let bound = replay.status.as_ref().and_then(|status| status.webhook_uid.as_deref());
    let bound = bound.and_then(|uid| uid.parse().ok());
    let own = || replay.uid().and_then(|uid| uid.parse().ok());
    bound.or_else(found).or_else(own).is_none_or(|uid| shared.around.journal.runs(uid))
}

/// Carries out one Replay, and deletes it when its time is over.
async fn carry_out<J: Inspect>(shared: Arc<Shared<J>>, replay: Replay) {
    let mut replay = replay;
    let finished = loop {
        if !is_ours(&shared, &replay) {
            while !is_ours(&shared, &replay) {
                tokio::time::sleep(LOOK).await;
            }
            // What the other process has done of it is in its status.
            replay = newest(&shared, replay).await;
        }
        let finished = replay.status.as_ref().and_then(|status| status.finish_time.as_ref());
        if let Some(finished) = finished {
            break Timestamp::from(finished);
        }
        let theirs = async {
            while is_ours(&shared, &replay) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            finished = work::run(&shared, &replay) => break finished,
            () = theirs => {}
        }
    };
    let ttl = Duration::from_secs(replay.spec.ttl_seconds_after_finished.into());
    // By the time of day, since the Replay may have ended in another process; never longer than it says.
    let left = finished.after(ttl).since(shared.around.clock.now()).min(ttl);
    tokio::time::sleep(left).await;
    delete(&shared, &replay).await;
}

async fn delete<J: Inspect>(shared: &Shared<J>, replay: &Replay) {
    let namespace = replay.namespace().unwrap_or_default();
    let api: kube::Api<Replay> = kube::Api::namespaced(shared.around.client.clone(), &namespace);
    let this = Preconditions { uid: replay.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
    loop {
        match api.delete(&replay.name_any(), &params).await {
            Ok(_) => return,
            // It is gone, or another has its name.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return,
            Err(error) => {
                tracing::warn!(replay = replay.name_any(), namespace, %error, "a Replay that has ended was not deleted");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
