//! A dispatcher in this process, by a clock that the test moves.
//!
//! ```text
//! accept(event) ─> Subscriptions::matching ─> journal ─> dispatch ─> real endpoint
//! prove(webhook) ─> the proof in its status, as the controller would write it
//! ```
//!
//! There is no controller: what is proved, and when, is the test's to say.
//! Delays between attempts go by the clock; a request's deadline is real time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use herald::api::{CONTROLLER_MANAGER, DeliveringReason, Webhook, tls_digest};
use herald::dispatch::{DispatchConfig, Errands, Metrics, Surroundings, run};
use herald::journal::embedded::{Config, Embedded};
use herald::journal::{Append, Appended, DeadLetter, Inspect as _, Journal as _};
use herald::model::{Event, EventType, ManualClock, Timestamp, WebhookUid};
use herald::outbound::{Guard, Outbound, OutboundConfig};
use herald::subscriptions::{Materials, Namespaces, Standing, Subscriptions, View};
use k8s_openapi::jiff;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::certificates::authority_pem;
use super::garbling::garbling;
use super::webhook::WebhookExt as _;
use super::{DEADLINE, Endpoint, Namespace, webhook};

/// A dispatcher that runs until it is stopped.
pub struct Dispatcher<'n> {
    namespace: &'n Namespace,
    /// The hand of its clock.
    pub clock: ManualClock,
    directory: Arc<TempDir>,
    view: ViewOf,
    max_in_flight: usize,
    journal: Embedded,
    subscriptions: Subscriptions,
    registry: Registry,
    witness: Arc<Endpoint>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

/// How it sees the Webhooks.
#[derive(Clone, Copy)]
enum ViewOf {
    /// As they are.
    Everything,
    /// Those with the payload `CloudEvents` as none that this version can read.
    WithUnreadable,
    /// As they are, and always too long ago.
    Stale,
}

impl<'n> Dispatcher<'n> {
    /// With an empty journal; what it works with is loaded when this returns.
    pub async fn start(namespace: &'n Namespace) -> Self {
        Self::with(namespace, ViewOf::Everything, DispatchConfig::default().max_in_flight).await
    }

    /// With a limit on the attempts of all webhooks.
    pub async fn with_places(namespace: &'n Namespace, max_in_flight: usize) -> Self {
        Self::with(namespace, ViewOf::Everything, max_in_flight).await
    }

    /// One that cannot read a Webhook with the payload `CloudEvents`.
    pub async fn that_cannot_read_cloud_events(namespace: &'n Namespace) -> Self {
        Self::with(namespace, ViewOf::WithUnreadable, DispatchConfig::default().max_in_flight).await
    }

    /// One whose view of the cluster is always too old to act on.
    pub async fn with_a_stale_view(namespace: &'n Namespace) -> Self {
        Self::with(namespace, ViewOf::Stale, DispatchConfig::default().max_in_flight).await
    }

    async fn with(namespace: &'n Namespace, view: ViewOf, max_in_flight: usize) -> Self {
        // At a whole second, so that what is told in seconds is exact.
        let now = jiff::Timestamp::now().as_second();
        let clock = ManualClock::new(Timestamp::from_millis(u64::try_from(now).unwrap() * 1000));
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let witness = Arc::new(Endpoint::start().await);
        let dispatcher = Self::run(namespace, clock, directory, view, max_in_flight, witness).await;
        let events = |webhook: Webhook| webhook.events(&["User logged out"]);
        dispatcher.proved_with("witness", &dispatcher.witness, events).await;
        dispatcher
    }

    async fn run(
        namespace: &'n Namespace,
        clock: ManualClock,
        directory: Arc<TempDir>,
        view: ViewOf,
        max_in_flight: usize,
        witness: Arc<Endpoint>,
    ) -> Self {
        let client = namespace.cluster().client();
        let namespaces = Namespaces::new(vec![namespace.name().to_owned()]);
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let materials = Materials::new(&namespaces);
        tasks.spawn(materials.clone().run(client.clone(), shutdown.clone()));
        let watching = match view {
            ViewOf::Everything | ViewOf::Stale => client.clone(),
            ViewOf::WithUnreadable => garbling(client.clone(), namespace.name()),
        };
        let subscriptions = Subscriptions::new(namespaces, materials);
        tasks.spawn(subscriptions.clone().run(watching, shutdown.clone()));
        let mut guard = Guard::default();
        guard.allow("127.0.0.0/8".parse().unwrap());
        let outbound = Outbound::new(OutboundConfig {
            guard,
            extra_roots: Some(authority_pem().into_bytes()),
            ..OutboundConfig::default()
        })
        .unwrap();
        tasks.spawn(outbound.clone().run(shutdown.clone()));
        let journal = Embedded::open(Config::new(directory.path()), clock.clock()).unwrap();
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let surroundings = Surroundings {
            journal: journal.clone(),
            subscriptions: subscriptions.clone(),
            client,
            outbound,
            errands: Errands::default(),
            metrics,
        };
        let mut config = DispatchConfig { max_in_flight, clock: clock.clock(), ..DispatchConfig::default() };
        if matches!(view, ViewOf::Stale) {
            config.max_view_age = Duration::ZERO;
        }
        tasks.spawn(run(config, surroundings, shutdown.clone()));
        timeout(DEADLINE, subscriptions.ready()).await.expect("the first lists come in");
        Self {
            namespace,
            clock,
            directory,
            view,
            max_in_flight,
            journal,
            subscriptions,
            registry,
            witness,
            shutdown,
            tasks,
        }
    }

    /// Stops it, does `meanwhile`, and starts it again on the same journal.
    pub async fn restart_after(self, meanwhile: impl Future<Output = ()>) -> Self {
        let (namespace, clock) = (self.namespace, self.clock.clone());
        let (directory, view, permits) = (self.directory.clone(), self.view, self.max_in_flight);
        let witness = self.witness.clone();
        self.stop().await;
        meanwhile.await;
        Self::run(namespace, clock, directory, view, permits, witness).await
    }

    /// Stops it and starts it again with a view that is as new as it can be.
    pub async fn restart_with_a_fresh_view(mut self) -> Self {
        self.view = ViewOf::Everything;
        self.restart_after(async {}).await
    }

    /// Stops it, as SIGTERM would, and waits until all of it has ended.
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.tasks.join_all()).await.expect("all tasks end in time");
        self.journal.close().await.unwrap();
    }

    /// Applies a Webhook for users created and deleted, and its Secret, and proves it.
    pub async fn proved(&self, name: &str, endpoint: &Endpoint) -> Webhook {
        self.proved_with(name, endpoint, |webhook| webhook).await
    }

    /// The same with a Webhook that was edited before it was applied.
    pub async fn proved_with(
        &self,
        name: &str,
        endpoint: &Endpoint,
        edit: impl FnOnce(Webhook) -> Webhook,
    ) -> Webhook {
        self.namespace.secret(name, &[("api-key", "key")]).await;
        let webhook = webhook(name, &endpoint.uri()).events(&["User created", "User deleted"]);
        let webhook = self.namespace.apply(&edit(webhook)).await;
        self.prove(&webhook).await
    }

    /// Writes the proof of a Webhook as it is, and waits until the dispatcher knows it.
    pub async fn prove(&self, webhook: &Webhook) -> Webhook {
        let webhook = self.write_proof(webhook, &webhook.uid().unwrap()).await;
        let proved_at = webhook.status.as_ref().and_then(|status| status.verification.clone()).unwrap().time;
        let proved_at = proved_at.0.to_string();
        self.await_view(&webhook, "proved", |view| {
            matches!(view, View::Known(known) if known.proof == herald::subscriptions::Proof::Current(proved_at.clone()))
        })
        .await;
        webhook
    }

    /// Writes a proof of what the Webhook says now, for an object with this UID.
    pub async fn write_proof(&self, webhook: &Webhook, uid: &str) -> Webhook {
        let patch = json!({
            "apiVersion": "herald.dev/v1alpha1",
            "kind": "Webhook",
            "metadata": {"name": webhook.name_any()},
            "status": {
                "observedGeneration": webhook.metadata.generation,
                "verification": {
                    "uid": uid,
                    "uri": webhook.spec.uri,
                    "tlsDigest": tls_digest(webhook.spec.tls.as_ref()),
                    "time": jiff::Timestamp::now(),
                },
            },
        });
        let params = PatchParams::apply(CONTROLLER_MANAGER).force();
        self.namespace.api().patch_status(&webhook.name_any(), &params, &Patch::Apply(patch)).await.unwrap()
    }

    /// Waits until the dispatcher itself sees the Webhook so.
    pub async fn await_view(&self, webhook: &Webhook, what: &str, wanted: impl Fn(&View) -> bool) {
        let mut views = self.subscriptions.follow(uid(webhook));
        let seen = timeout(DEADLINE, views.wait_for(&wanted)).await.map(|seen| seen.map(|_| ()));
        assert!(matches!(seen, Ok(Ok(()))), "not {what}: {:?}", self.subscriptions.view(uid(webhook)));
    }

    /// Waits until the dispatcher may send to the Webhook as it was applied.
    pub async fn await_sendable(&self, webhook: &Webhook) {
        self.await_view(webhook, "sendable", |view| {
            matches!(view.standing(), Standing::Sendable(known) if Some(known.generation) == webhook.metadata.generation)
        })
        .await;
    }

    /// Waits until the dispatcher's view of the Webhook holds what it has for it.
    pub async fn await_held(&self, webhook: &Webhook, reason: DeliveringReason) {
        let held = |view: &View| matches!(view.standing(), Standing::Held(held, _) if held == reason);
        self.await_view(webhook, reason.as_str(), held).await;
    }

    /// Accepts a `user.created`; says how many webhooks it was matched to.
    pub async fn accept(&self, id: &str) -> usize {
        self.accept_of("user-1", id).await
    }

    /// Accepts a `user.created` of this user; says how many webhooks it was matched to.
    pub async fn accept_of(&self, user: &str, id: &str) -> usize {
        self.append(EventType::UserCreated, user, id).await
    }

    async fn append(&self, event_type: EventType, user: &str, id: &str) -> usize {
        let webhooks = self.subscriptions.matching(self.namespace.name(), event_type);
        let matched = webhooks.len();
        let event = Event {
            namespace: self.namespace.name().to_owned(),
            id: id.to_owned(),
            source: "/idp".to_owned(),
            event_type,
            subject: user.to_owned(),
            time: self.clock.now(),
            data: Bytes::from(json!({"id": id}).to_string()),
        };
        let answers = self.journal.append(vec![Append { event: Arc::new(event), webhooks }]).await;
        assert_eq!(answers, [Appended::Stored]);
        matched
    }

    /// Takes an event all the way to an endpoint of its own: what was due
    /// before has had its chance then.
    pub async fn let_others_go_first(&self) {
        for _ in 0..3 {
            let id = format!("{:016x}", rand::random::<u64>());
            assert_eq!(self.append(EventType::UserLoggedOut, "witness", &id).await, 1);
            assert_eq!(self.witness.next_delivery().await.header("x-api-key"), Some("key"));
        }
    }

    /// Moves the clock to so long after `start`.
    pub fn advance_to(&self, start: Timestamp, after: Duration) {
        self.clock.advance(start.after(after).since(self.clock.now()));
    }

    /// The dead letters of a Webhook, as soon as there are so many: a listing
    /// may be behind what was settled.
    pub async fn dead_letters(&self, webhook: &Webhook, count: usize) -> Vec<DeadLetter> {
        let list = async {
            let mut asks = interval(Duration::from_millis(10));
            loop {
                let page = self.journal.dead_letters(uid(webhook), None, 100).await.unwrap();
                if page.items.len() >= count {
                    return page.items;
                }
                asks.tick().await;
            }
        };
        timeout(DEADLINE, list).await.unwrap_or_else(|_| panic!("fewer than {count} dead letters"))
    }

    /// Waits until so many deliveries of a Webhook have not ended.
    pub async fn await_pending(&self, webhook: &Webhook, pending: u64) {
        let depth = || async { self.journal.depth(uid(webhook)).await.unwrap().pending };
        let ask = async {
            let mut asks = interval(Duration::from_millis(10));
            while depth().await != pending {
                asks.tick().await;
            }
        };
        let in_time = timeout(DEADLINE, ask).await.is_ok();
        assert!(in_time, "{} are pending, not {pending}", depth().await);
    }

    /// A sample as a scrape reads it; zero if there is none.
    pub fn metric(&self, sample: &str) -> i64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a sample has come to `value`.
    pub async fn await_metric(&self, sample: &str, value: i64) {
        // Nothing tells of a metric's change: a scrape asks again and again.
        let scrape = async {
            let mut scrapes = interval(Duration::from_millis(10));
            while self.metric(sample) < value {
                scrapes.tick().await;
            }
        };
        let done = timeout(DEADLINE, scrape).await;
        assert!(done.is_ok(), "{sample} is {} after {DEADLINE:?}", self.metric(sample));
    }

    /// Waits until so many failed attempts have their next time in the journal.
    pub async fn await_retries(&self, count: i64) {
        self.await_metric("herald_deliveries_retried_total", count).await;
    }
}

/// The UID of a Webhook that the API server gave.
pub fn uid(webhook: &Webhook) -> WebhookUid {
    webhook.uid().unwrap().parse().unwrap()
}
