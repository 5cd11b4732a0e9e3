//! Brings one Webhook's status to what [`decide`] says, and starts what it asks for.
//!
//! ```text
//! newest known object ─> Secrets' verdict ─> decide ─> store status ─> start challenge ─> announce
//!                                              ^          │ conflict
//!                                              └── get ───┘
//! ```
//!
//! **Guarantees.** A status is stored only when it differs, and only over the
//! resourceVersion that it was decided on; otherwise it is decided again. A
//! challenge starts only after the status that led to it is stored.
//!
//! **Assumes.** No two reconciles of one Webhook run at one time.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::mpsc::UnboundedSender;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use super::announce::Announcer;
use super::challenges::{Challenges, Known, Name};
use super::decide::{Observed, Plan, Progress, Wanted, decide};
use super::materials::Assessment;
use super::metrics::{Metrics, Reconciled};
use super::wait::Wait;
use super::watched::WatchedWebhook;
use crate::api::{CONTROLLER_MANAGER, Reason, WebhookStatus};
use crate::model::{Backoff, Clock, Jitter};
use crate::subscriptions::Materials;

/// How often a conflict is answered by deciding again at once.
const DECISIONS: usize = 4;
/// The delays after the API server refused.
const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(250), max: Duration::from_mins(1) };
/// How long what the API server answered counts as newer than what the watch has brought.
const AHEAD: Duration = Duration::from_secs(10);

/// Why a reconcile came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server refused, or was not reached.
    #[error("the API server did not take the status")]
    Api(#[from] kube::Error),
    /// Others wrote the object all the time.
    #[error("the object changed under each of {DECISIONS} decisions")]
    Conflicts,
    /// It met a bug: what it said is in the log, as far as it may be.
    #[error("the reconcile panicked")]
    Panicked,
}

/// What all reconciles of one watch share.
pub(super) struct Reconciler {
    pub(super) client: Client,
    pub(super) materials: Materials,
    pub(super) challenges: Challenges,
    pub(super) announcer: Arc<Announcer>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) ended: UnboundedSender<Name>,
    pub(super) memory: Mutex<HashMap<Name, Memory>>,
}

/// What is remembered of a Webhook, and may be lost.
#[derive(Default)]
pub(super) struct Memory {
    ahead: Option<(Arc<WatchedWebhook>, Instant)>,
    ready: Option<Reason>,
    wait: Option<Wait>,
    failures: u32,
}

enum Stored {
    As(Arc<WatchedWebhook>),
    Conflict,
    Gone,
}

/// All reconciles run in one task: a panic of one would end them all, and the
/// same object would end them again after each restart. What it leaves behind are
/// notes that may be lost, behind locks that take no harm of it.
async fn caught<T>(reconcile: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(reconcile).catch_unwind().await.unwrap_or(Err(Error::Panicked))
}

impl Reconciler {
    /// Reconciles one Webhook and says when to come again.
    pub(super) async fn reconcile(&self, webhook: Arc<WatchedWebhook>) -> Result<Action, Error> {
        let began = Instant::now();
        let name = Name::from_obj(&*webhook);
        let settled = caught(self.settle(&name, webhook)).await;
        let outcome = settled.as_ref().map_or(Reconciled::Failed, |(outcome, _)| *outcome);
        self.metrics.reconciled(outcome, began.elapsed());
        let mut memory = self.memory();
        let failures = &mut memory.entry(name).or_default().failures;
        *failures = if settled.is_err() { failures.saturating_add(1) } else { 0 };
        settled.map(|(_, again)| again.map_or_else(Action::await_change, Action::requeue))
    }

    /// When to come again after an error.
    pub(super) fn after_error(&self, webhook: &WatchedWebhook, error: &Error) -> Action {
        let name = Name::from_obj(webhook);
        let failures = self.memory().get(&name).map_or(1, |memory| memory.failures);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(webhook = %name, failures, cause, "{error}");
        Action::requeue(BACKOFF.delay(failures, Jitter::draw()))
    }

    async fn settle(
        &self,
        name: &Name,
        from_watch: Arc<WatchedWebhook>,
    ) -> Result<(Reconciled, Option<Duration>), Error> {
        let mut webhook = self.newest(name, from_watch);
        for _ in 0..DECISIONS {
            let assessed = Assessment::of(&self.client, &self.materials, &webhook).await;
            let known = self.challenges.known(name);
            let plan = self.plan(name, &webhook, &assessed, &known);
            if plan.abandon {
                self.challenges.forget(name);
            }
            let mut outcome = Reconciled::Unchanged;
            if plan.differs_from(&webhook.status) {
                match self.store(&webhook, &plan.status).await? {
                    Stored::As(stored) => {
                        webhook = stored;
                        self.memory().entry(name.clone()).or_default().ahead =
                            Some((webhook.clone(), Instant::now()));
                        outcome = Reconciled::Stored;
                    }
                    Stored::Conflict => match self.get(&webhook).await? {
                        Some(newer) => {
                            webhook = Arc::new(newer);
                            continue;
                        }
                        None => return Ok((Reconciled::Gone, None)),
                    },
                    Stored::Gone => return Ok((Reconciled::Gone, None)),
                }
            }
            if matches!(known, Known::Ended(_)) {
                self.challenges.forget(name);
            }
            self.act(name, &webhook, &plan, assessed).await;
            let left = self.wait(name, &webhook, &plan);
            return Ok((outcome, [plan.look_again, left].into_iter().flatten().min()));
        }
        Err(Error::Conflicts)
    }

    fn plan(&self, name: &Name, webhook: &WatchedWebhook, assessed: &Assessment, known: &Known) -> Plan {
        let spec = match &webhook.spec {
            Ok(readable) => Ok(Wanted {
                uri: readable.settings.uri.as_str(),
                tls_digest: &readable.settings.tls_digest,
                enabled: readable.settings.enabled,
                materials: assessed.fault.as_ref().map_or(Ok(()), Err),
                tls: assessed.tls.as_ref().map(|_| ()),
            }),
            Err(cause) => Err(cause.as_str()),
        };
        let waited = self.memory().get(name).and_then(|memory| memory.wait.as_ref()).is_some_and(|wait| {
            wait.is_over(&webhook.status, webhook.verify_requested(), self.clock.passed())
        });
        let observed = Observed {
            uid: webhook.uid(),
            generation: webhook.meta().generation.unwrap_or_default(),
            spec,
            verify_requested: webhook.verify_requested(),
            status: &webhook.status,
            progress: match known {
                Known::Nothing => Progress::Idle,
                Known::Running(target) => Progress::Running(target),
                Known::Ended(trial) => Progress::Ended(trial),
            },
            waited,
        };
        decide(&observed, self.clock.now(), Jitter::draw())
    }

    /// Remembers the wait for the next try, and says how much of it is left.
    fn wait(&self, name: &Name, webhook: &WatchedWebhook, plan: &Plan) -> Option<Duration> {
        let passed = self.clock.passed();
        let mut memory = self.memory();
        let wait = &mut memory.entry(name.clone()).or_default().wait;
        *wait = Wait::go_on(wait.take(), plan, webhook.verify_requested(), passed);
        wait.as_ref().map(|wait| wait.left(passed))
    }

    /// What follows from a plan whose status is stored.
    async fn act(&self, name: &Name, webhook: &WatchedWebhook, plan: &Plan, assessed: Assessment) {
        let before = self.memory().entry(name.clone()).or_default().ready.replace(plan.ready);
        self.metrics.ready(before, Some(plan.ready));
        if let (Some(order), Ok(readable), Ok(tls)) = (&plan.challenge, &webhook.spec, assessed.tls) {
            let uri = readable.settings.uri.clone();
            self.challenges.start(name.clone(), order.clone(), uri, tls, self.ended.clone());
        }
        for announcement in &plan.announcements {
            self.announcer.publish(webhook, announcement).await;
        }
    }

    /// The watch may not have brought yet what was stored a moment ago.
    fn newest(&self, name: &Name, from_watch: Arc<WatchedWebhook>) -> Arc<WatchedWebhook> {
        let mut memory = self.memory();
        let Some(memory) = memory.get_mut(name) else { return from_watch };
        let ahead = memory.ahead.take_if(|(_, since)| since.elapsed() < AHEAD);
        memory.ahead = ahead.filter(|(stored, _)| stored.version() > from_watch.version());
        memory.ahead.as_ref().map_or(from_watch, |(stored, _)| stored.clone())
    }

    async fn store(&self, over: &WatchedWebhook, status: &WebhookStatus) -> kube::Result<Stored> {
        let name = over.name_any();
        let body = json!({
            "apiVersion": WatchedWebhook::api_version(&()),
            "kind": WatchedWebhook::kind(&()),
            "metadata": { "name": name, "uid": over.uid(), "resourceVersion": over.resource_version() },
            "status": status,
        });
        let parameters = PatchParams::apply(CONTROLLER_MANAGER).force();
        match self.api_of(over).patch_status(&name, &parameters, &Patch::Apply(body)).await {
            Ok(mut stored) => {
                stored.slim();
                Ok(Stored::As(Arc::new(stored)))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Stored::Conflict),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Stored::Gone),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, webhook: &WatchedWebhook) -> kube::Result<Option<WatchedWebhook>> {
        let mut newer = self.api_of(webhook).get_opt(&webhook.name_any()).await?;
        newer.iter_mut().for_each(WatchedWebhook::slim);
        Ok(newer)
    }

    fn api_of(&self, webhook: &WatchedWebhook) -> Api<WatchedWebhook> {
        Api::namespaced(self.client.clone(), &webhook.namespace().unwrap_or_default())
    }

    /// Forgets a Webhook that is gone.
    pub(super) fn forget(&self, name: &Name) {
        self.challenges.forget(name);
        if let Some(memory) = self.memory().remove(name) {
            self.metrics.ready(memory.ready, None);
        }
    }

    /// All that are remembered.
    pub(super) fn names(&self) -> Vec<Name> {
        self.memory().keys().cloned().collect()
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Name, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reconciler {
    /// The gauges speak of this term of leadership only.
    fn drop(&mut self) {
        for memory in self.memory().values() {
            self.metrics.ready(memory.ready, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reconcile_that_panics_failed_and_is_tried_again_like_any_that_did() {
        let caught = caught(async { if true { panic!("as the test wants it") } else { Ok(()) } }).await;
        assert!(matches!(caught, Err(Error::Panicked)), "{caught:?}");
    }
}
