//! What one task's panic costs the others: nothing.
//!
//! The dispatcher and the Replays run over a journal in which a test has set
//! traps; everything else is real.

use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use herald::api::{CONTROLLER_MANAGER, Replay, Webhook, tls_digest};
use herald::dispatch::{self, DispatchConfig, Errands};
use herald::journal::calendar::Calendar;
use herald::journal::embedded::{Config, Embedded};
use herald::journal::inspect::{AttemptFilter, Cursor, Kept, KeptFilter, LetterId, Page, PendingDelivery};
use herald::journal::{
    Append, Appended, Attempt, ClaimError, DeadLetter, Depth, Inspect, Journal, Lane, LaneState, Lost,
    Unavailable,
};
use herald::model::{Clock, Event, EventType, Ordering, Timestamp, WebhookUid};
use herald::outbound::{Guard, Outbound, OutboundConfig};
use herald::replays;
use herald::subscriptions::{Materials, Namespaces, Standing, Subscriptions};
use k8s_openapi::jiff;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::delivery::id_of;
use crate::support::certificates::authority_pem;
use crate::support::objects::until_there;
use crate::support::{Cluster, DEADLINE, Endpoint, Namespace, webhook};

/// Where the next to come panics, once.
#[derive(Default)]
struct Traps {
    /// A runner, when it notes an attempt of this event.
    note: Mutex<Option<String>>,
    /// A lane, when it asks for more.
    next: AtomicBool,
    /// A Replay, when it looks for events.
    kept: AtomicBool,
}

fn spring(trap: &AtomicBool) {
    assert!(!trap.swap(false, Atomic::SeqCst), "as the test wants it");
}

#[derive(Clone)]
struct Trapped {
    inner: Embedded,
    traps: Arc<Traps>,
}

struct TrappedLane {
    inner: <Embedded as Journal>::Lane,
    traps: Arc<Traps>,
}

impl Journal for Trapped {
    type Lane = TrappedLane;

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn append_within(&self, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        self.inner.append_within(batch, most).await
    }

    async fn claim(&self, webhook: WebhookUid, ordering: Ordering) -> Result<TrappedLane, ClaimError> {
        let inner = self.inner.claim(webhook, ordering).await?;
        Ok(TrappedLane { inner, traps: self.traps.clone() })
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        self.inner.unclaimed().await
    }

    async fn drop_webhook(&self, webhook: WebhookUid) -> Result<(), Unavailable> {
        self.inner.drop_webhook(webhook).await
    }

    async fn depth(&self, webhook: WebhookUid) -> Result<Depth, Unavailable> {
        self.inner.depth(webhook).await
    }

    async fn oldest(&self, webhook: WebhookUid) -> Result<Option<Timestamp>, Unavailable> {
        self.inner.oldest(webhook).await
    }

    fn note(&self, attempt: Attempt) {
        let trapped = self.traps.note.lock().unwrap().take_if(|id| *id == attempt.event.id).is_some();
        assert!(!trapped, "as the test wants it");
        self.inner.note(attempt);
    }

    async fn close(&self) -> Result<(), Unavailable> {
        self.inner.close().await
    }
}

impl Lane for TrappedLane {
    type Lease = <<Embedded as Journal>::Lane as Lane>::Lease;

    async fn next(&mut self, n: usize) -> Result<Vec<Self::Lease>, Lost> {
        let leases = self.inner.next(n).await;
        spring(&self.traps.next);
        leases
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        self.inner.state().await
    }

    async fn compare_and_set(&mut self, expected: Option<&LaneState>, new: LaneState) -> Result<bool, Lost> {
        self.inner.compare_and_set(expected, new).await
    }
}

impl Inspect for Trapped {
    fn calendar(&self) -> Calendar {
        self.inner.calendar()
    }

    async fn pending(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PendingDelivery>, Unavailable> {
        self.inner.pending(webhook, cursor, limit).await
    }

    async fn dead_letters(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, Unavailable> {
        self.inner.dead_letters(webhook, cursor, limit).await
    }

    async fn forget_dead(&self, webhook: WebhookUid, letters: Vec<LetterId>) -> Result<(), Unavailable> {
        self.inner.forget_dead(webhook, letters).await
    }

    async fn attempts(
        &self,
        of: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Attempt>, Unavailable> {
        self.inner.attempts(of, cursor, limit).await
    }

    async fn kept(
        &self,
        of: KeptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Kept>, Unavailable> {
        spring(&self.traps.kept);
        self.inner.kept(of, cursor, limit).await
    }
}

/// Two webhooks that have proved themselves, and what delivers to them.
struct Scene {
    namespace: Namespace,
    endpoints: [Endpoint; 2],
    journal: Trapped,
    subscriptions: Subscriptions,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    _directory: TempDir,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let namespace = Cluster::connect().await.namespace(name).await;
        let client = namespace.cluster().client();
        let namespaces = Namespaces::new(vec![namespace.name().to_owned()]);
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let materials = Materials::new(&namespaces);
        tasks.spawn(materials.clone().run(client.clone(), shutdown.clone()));
        let subscriptions = Subscriptions::new(namespaces.clone(), materials);
        tasks.spawn(subscriptions.clone().run(client.clone(), shutdown.clone()));
        let mut guard = Guard::default();
        guard.allow("127.0.0.0/8".parse().unwrap());
        let outbound = Outbound::new(OutboundConfig {
            guard,
            extra_roots: Some(authority_pem().into_bytes()),
            ..OutboundConfig::default()
        })
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let inner = Embedded::open(Config::new(directory.path()), Clock::default()).unwrap();
        let journal = Trapped { inner, traps: Arc::default() };
        let errands = Errands::default();
        let surroundings = dispatch::Surroundings {
            journal: journal.clone(),
            subscriptions: subscriptions.clone(),
            client: client.clone(),
            outbound,
            errands: errands.clone(),
            metrics: dispatch::Metrics::default(),
        };
        tasks.spawn(dispatch::run(DispatchConfig::default(), surroundings, shutdown.clone()));
        let replaying = replays::Surroundings {
            client,
            namespaces,
            journal: journal.clone(),
            subscriptions: subscriptions.clone(),
            errands,
            clock: Clock::default(),
            metrics: replays::Metrics::default(),
        };
        tasks.spawn(replays::run(replaying, shutdown.clone()));
        let endpoints = [Endpoint::start().await, Endpoint::start().await];
        let scene =
            Self { namespace, endpoints, journal, subscriptions, shutdown, tasks, _directory: directory };
        for (name, endpoint) in ["a", "b"].into_iter().zip(&scene.endpoints) {
            scene.prove(name, endpoint).await;
        }
        scene
    }

    async fn prove(&self, name: &str, endpoint: &Endpoint) {
        self.namespace.secret(name, &[("api-key", "k")]).await;
        let webhook = self.namespace.apply(&webhook(name, &endpoint.uri())).await;
        let patch = json!({
            "apiVersion": "herald.dev/v1alpha1", "kind": "Webhook", "metadata": {"name": name},
            "status": {
                "observedGeneration": webhook.metadata.generation,
                "verification": {
                    "uid": webhook.uid(), "uri": webhook.spec.uri,
                    "tlsDigest": tls_digest(None), "time": jiff::Timestamp::now(),
                },
            },
        });
        let params = PatchParams::apply(CONTROLLER_MANAGER).force();
        self.namespace.api::<Webhook>().patch_status(name, &params, &Patch::Apply(patch)).await.unwrap();
        let mut view = self.subscriptions.follow(webhook.uid().unwrap().parse().unwrap());
        let sendable = view.wait_for(|view| matches!(view.standing(), Standing::Sendable(_)));
        assert!(timeout(DEADLINE, sendable).await.is_ok_and(|seen| seen.is_ok()), "{name} is proved");
    }

    /// Accepts an event that both want.
    async fn accept(&self, id: &str) {
        let webhooks = self.subscriptions.matching(self.namespace.name(), EventType::UserCreated);
        assert_eq!(webhooks.len(), 2);
        let event = Event {
            namespace: self.namespace.name().to_owned(),
            id: id.to_owned(),
            source: "/idp".to_owned(),
            event_type: EventType::UserCreated,
            subject: "user-1".to_owned(),
            time: Clock::default().now(),
            data: Bytes::from(json!({"id": id}).to_string()),
        };
        let stored = self.journal.append(vec![Append { event: Arc::new(event), webhooks }]).await;
        assert_eq!(stored, [Appended::Stored]);
    }

    /// Waits until both have this one; how often each has had it.
    async fn both_get(&self, id: &str) -> [usize; 2] {
        let mut counts = [0; 2];
        for (endpoint, count) in self.endpoints.iter().zip(&mut counts) {
            while id_of(&endpoint.next_delivery().await) != id {}
            *count = endpoint.deliveries().iter().filter(|delivery| id_of(delivery) == id).count();
        }
        counts
    }

    async fn stop(self) {
        self.shutdown.cancel();
        // Fails with any task that panicked and should not have.
        timeout(DEADLINE, self.tasks.join_all()).await.expect("all tasks end in time");
        self.journal.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_attempt_that_panics_is_made_again_and_nothing_else_is_touched() {
    let scene = Scene::new("panic-runner").await;
    *scene.journal.traps.note.lock().unwrap() = Some("1".to_owned());
    scene.accept("1").await;
    scene.accept("2").await;
    scene.both_get("2").await;
    // One of the two got the first once more, since its outcome was lost.
    let repeated = async {
        let [a, b] = &scene.endpoints;
        let of = |endpoint: &Endpoint| endpoint.deliveries().iter().filter(|it| id_of(it) == "1").count();
        while of(a) + of(b) < 3 {
            tokio::select! { _ = a.next_delivery() => {}, _ = b.next_delivery() => {} }
        }
    };
    assert!(timeout(DEADLINE, repeated).await.is_ok(), "what panicked is tried again");
    scene.accept("3").await;
    assert_eq!(scene.both_get("3").await, [1, 1]);
    scene.stop().await;
}

#[tokio::test]
async fn a_lane_that_panics_is_begun_again_with_what_it_had_leased() {
    let scene = Scene::new("panic-lane").await;
    scene.journal.traps.next.store(true, Atomic::SeqCst);
    scene.accept("1").await;
    assert_eq!(scene.both_get("1").await, [1, 1]);
    assert!(!scene.journal.traps.next.load(Atomic::SeqCst));
    scene.accept("2").await;
    assert_eq!(scene.both_get("2").await, [1, 1]);
    scene.stop().await;
}

#[tokio::test]
async fn a_replay_that_panics_goes_on_and_deliveries_do_meanwhile() {
    let scene = Scene::new("panic-replay").await;
    scene.accept("1").await;
    scene.both_get("1").await;
    scene.journal.traps.kept.store(true, Atomic::SeqCst);
    let replay = json!({
        "apiVersion": "herald.dev/v1alpha1", "kind": "Replay", "metadata": {"name": "again"},
        "spec": {"webhook": "a", "which": "Everything"},
    });
    scene.namespace.apply::<Replay>(&serde_json::from_value(replay).unwrap()).await;
    let running = |replay: &Replay| replay.status.is_some();
    until_there(&scene.namespace.api::<Replay>(), "again", running).await;
    scene.accept("2").await;
    scene.both_get("2").await;
    let finished = |replay: &Replay| replay.status.as_ref().is_some_and(|it| it.finish_time.is_some());
    let replay = until_there(&scene.namespace.api::<Replay>(), "again", finished).await;
    assert!(replay.status.unwrap().replayed >= Some(1));
    assert!(!scene.journal.traps.kept.load(Atomic::SeqCst));
    scene.stop().await;
}
