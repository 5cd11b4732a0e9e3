//! `kind: Replay`: events are sent again, under the webhook's own bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use herald::api::{Replay, ReplayStatus, Webhook};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::delivery::{deliver_by, delivering_with, id_of};
use crate::support::objects::{until, until_there};
use crate::support::producer::event;
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Namespace, Producer};

/// Herald with one webhook that gives up at the first failure.
struct Scene {
    namespace: Namespace,
    herald: HeraldProcess,
    producer: Producer,
    endpoint: Endpoint,
}

impl Scene {
    async fn new(name: &str, settings: Value) -> Self {
        let namespace = Cluster::connect().await.namespace(name).await;
        let herald = HeraldProcess::start(&[&namespace]).await;
        let producer = Producer::new(&namespace).await;
        let endpoint = Endpoint::start().await;
        let mut delivery = json!({"maxAttempts": 1});
        delivery.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        delivering_with(&namespace, "audit", &endpoint, |webhook| deliver_by(webhook, delivery)).await;
        Self { namespace, herald, producer, endpoint }
    }

    /// Makes dead letters of so many events, less than open the circuit.
    async fn dead(&self, from: usize, to: usize) {
        self.endpoint.on_delivery(Behaviour::status(500));
        for n in from..to {
            self.producer.send(&self.herald, &event("user.created", &format!("e{n}"))).await;
        }
        self.await_dead(to as u64).await;
        self.endpoint.on_delivery(Behaviour::ok());
    }

    async fn await_dead(&self, count: u64) {
        self.namespace.await_webhook("audit", |webhook| dead(webhook) == Some(count)).await;
    }

    /// Applies a Replay for the webhook, with this beside it in its spec.
    async fn replay(&self, name: &str, settings: Value) -> Replay {
        let mut spec = json!({"webhook": "audit"});
        spec.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        self.namespace.apply(&replay(name, &spec)).await
    }

    /// Starts a replay whose first delivery has arrived and is answered when the gate opens.
    async fn replay_that_waits(&self, name: &str) -> CancellationToken {
        let before = self.endpoint.deliveries().len();
        let gate = CancellationToken::new();
        self.endpoint.on_delivery(Behaviour::ok().once(&gate));
        self.replay(name, json!({})).await;
        for _ in 0..=before {
            self.endpoint.next_delivery().await;
        }
        gate
    }

    async fn finished(&self, name: &str) -> ReplayStatus {
        self.in_state(name, "Finished").await
    }

    async fn in_state(&self, name: &str, reason: &str) -> ReplayStatus {
        let wanted = |replay: &Replay| reason_of(replay) == Some(reason);
        until_there(&self.namespace.api(), name, wanted).await.status.unwrap()
    }

    /// What came with the header of this Replay.
    fn replayed(&self, name: &str) -> Vec<String> {
        let all = self.endpoint.deliveries();
        all.iter().filter(|delivery| delivery.header("herald-replay") == Some(name)).map(id_of).collect()
    }

    async fn end(mut self) {
        self.herald.stop().await;
    }
}

fn replay(name: &str, spec: &Value) -> Replay {
    let replay = json!({
        "apiVersion": "herald.dev/v1alpha1", "kind": "Replay", "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(replay).unwrap()
}

fn dead(webhook: &Webhook) -> Option<u64> {
    webhook.status.as_ref()?.delivery.as_ref()?.dead_letters
}

fn reason_of(replay: &Replay) -> Option<&str> {
    let conditions = &replay.status.as_ref()?.conditions;
    Some(&conditions.iter().find(|condition| condition.type_ == "Ready")?.reason)
}

fn counts(status: &ReplayStatus) -> [u64; 3] {
    [status.matched, status.replayed, status.failed].map(Option::unwrap)
}

#[tokio::test]
async fn dead_letters_are_sent_again_under_their_own_id_and_are_gone_when_they_are_taken() {
    let scene = Scene::new("replay", json!({})).await;
    scene.dead(0, 4).await;
    let first: Vec<_> = scene.endpoint.deliveries();
    scene.replay("again", json!({})).await;
    let status = scene.finished("again").await;
    assert_eq!(counts(&status), [4, 4, 0]);
    let (start, finish) = (status.start_time.unwrap().0, status.finish_time.unwrap().0);
    assert!(finish.as_second() >= start.as_second());
    let deliveries = scene.endpoint.deliveries();
    let again = &deliveries[first.len()..];
    let named = |deliveries: &[crate::support::Received]| {
        deliveries.iter().map(|d| (id_of(d), d.message_id().to_owned())).collect::<BTreeSet<_>>()
    };
    assert_eq!((again.len(), named(again)), (4, named(&first)));
    assert!(again.iter().all(|delivery| delivery.header("herald-replay") == Some("again")));
    assert!(first.iter().all(|delivery| delivery.header("herald-replay").is_none()));
    scene.await_dead(0).await;
    scene.end().await;
}

#[tokio::test]
async fn replays_that_wait_for_their_webhook_keep_no_other_from_running() {
    let scene = Scene::new("replay-crowd", json!({})).await;
    scene.dead(0, 1).await;
    // As many as may run at one time, and one more.
    for n in 0..17 {
        let name = format!("waits-{n}");
        scene.namespace.apply(&replay(&name, &json!({"webhook": "missing"}))).await;
        scene.in_state(&name, "WebhookMissing").await;
    }
    scene.replay("again", json!({})).await;
    assert_eq!(counts(&scene.finished("again").await), [1, 1, 0]);
    scene.end().await;
}

#[tokio::test]
async fn replays_of_one_namespace_leave_the_others_their_turns() {
    let scene = Scene::new("replay-turns", json!({"maxInFlight": 1})).await;
    scene.dead(0, 1).await;
    let gate = scene.replay_that_waits("first").await;
    for n in 0..3 {
        scene.replay(&format!("more-{n}"), json!({})).await;
        scene.in_state(&format!("more-{n}"), "Running").await;
    }
    scene.replay("fifth", json!({})).await;
    scene.in_state("fifth", "Queued").await;
    gate.cancel();
    scene.finished("fifth").await;
    scene.end().await;
}

#[tokio::test]
async fn what_the_endpoint_does_not_take_stays_a_dead_letter_and_is_counted() {
    let scene = Scene::new("replay-fails", json!({"maxAttempts": 2, "backoff": {"initial": "100ms"}})).await;
    scene.dead(0, 3).await;
    let before = scene.endpoint.deliveries().len();
    scene.endpoint.on_delivery(Behaviour::status(503));
    scene.replay("again", json!({})).await;
    assert_eq!(counts(&scene.finished("again").await), [3, 0, 3]);
    assert_eq!(scene.endpoint.deliveries().len(), before + 6, "each as often as the policy has it");
    scene.await_dead(3).await;
    scene.endpoint.on_delivery(Behaviour::ok());
    scene.replay("once-more", json!({})).await;
    assert_eq!(counts(&scene.finished("once-more").await), [3, 3, 0]);
    scene.await_dead(0).await;
    scene.end().await;
}

#[tokio::test]
async fn everything_of_a_time_and_of_some_types_is_sent_again() {
    let scene = Scene::new("replay-all", json!({})).await;
    let sent = async |wire_type: &str, id: &str| {
        assert_eq!(scene.producer.send(&scene.herald, &event(wire_type, id)).await, 1);
        scene.endpoint.next_delivery().await;
    };
    // The API server keeps whole seconds: between them a second has to pass.
    sent("user.created", "early").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let since = Time(jiff::Timestamp::now());
    sent("user.created", "a").await;
    sent("user.deleted", "b").await;
    sent("user.created", "c").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let until = Time(jiff::Timestamp::now());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    sent("user.created", "late").await;
    let spec = json!({"which": "Everything", "since": since, "until": until, "events": ["User created"]});
    scene.replay("some", spec).await;
    assert_eq!(counts(&scene.finished("some").await), [2, 2, 0]);
    assert_eq!(
        scene.replayed("some").into_iter().collect::<BTreeSet<_>>(),
        ["a", "c"].map(str::to_owned).into()
    );
    scene.replay("all", json!({"which": "Everything"})).await;
    assert_eq!(counts(&scene.finished("all").await), [5, 5, 0]);
    scene.end().await;
}

#[tokio::test]
async fn a_replay_waits_while_its_webhook_is_held_and_says_why() {
    let scene = Scene::new("replay-held", json!({})).await;
    scene.dead(0, 3).await;
    let before = scene.endpoint.deliveries().len();
    scene.namespace.edit("audit", json!({"spec": {"enabled": false}})).await;
    scene.namespace.await_condition("audit", "Delivering", "False", "Disabled").await;
    scene.replay("again", json!({})).await;
    let status = scene.in_state("again", "WebhookHeld").await;
    assert!(status.conditions[0].message.starts_with("Disabled: "), "{status:?}");
    assert_eq!(scene.endpoint.deliveries().len(), before);
    scene.namespace.edit("audit", json!({"spec": {"enabled": true}})).await;
    assert_eq!(counts(&scene.finished("again").await), [3, 3, 0]);
    scene.end().await;
}

#[tokio::test]
async fn a_replay_that_is_deleted_sends_no_more() {
    let scene = Scene::new("replay-deleted", json!({"maxInFlight": 1, "timeout": "30s"})).await;
    scene.dead(0, 4).await;
    let gate = scene.replay_that_waits("again").await;
    scene.namespace.delete::<Replay>("again").await;
    // The dispatcher has seen that when it acts on what was asked for later.
    scene.replay("other", json!({"events": ["User deleted"]})).await;
    scene.finished("other").await;
    gate.cancel();
    scene.producer.send(&scene.herald, &event("user.created", "after")).await;
    assert_eq!(id_of(&scene.endpoint.next_delivery().await), "after");
    assert_eq!(scene.replayed("again").len(), 1, "the one that was on its way");
    // It was taken, but nobody was there any more to remove its letter.
    scene.await_dead(4).await;
    scene.end().await;
}

#[tokio::test]
async fn a_replay_keeps_to_the_webhooks_rate() {
    let scene = Scene::new("replay-rate", json!({"maxPerSecond": 2})).await;
    scene.dead(0, 4).await;
    let before = scene.endpoint.deliveries().len();
    scene.replay("again", json!({})).await;
    scene.finished("again").await;
    let times: Vec<_> = scene.endpoint.deliveries()[before..].iter().map(|delivery| delivery.at).collect();
    assert_eq!(times.len(), 4);
    for window in times.windows(3) {
        assert!(
            window[2] - window[0] >= Duration::from_millis(900),
            "three in less than a second: {times:?}"
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn a_replay_goes_on_after_a_restart() {
    let mut scene = Scene::new("replay-restart", json!({"maxInFlight": 1, "timeout": "30s"})).await;
    scene.dead(0, 4).await;
    let gate = scene.replay_that_waits("again").await;
    scene.herald.kill().await;
    gate.cancel();
    scene.herald.restart().await;
    let status = scene.finished("again").await;
    assert_eq!(counts(&status), [4, 4, 0]);
    let replayed = scene.replayed("again");
    assert_eq!(replayed.iter().collect::<BTreeSet<_>>().len(), 4);
    assert!(replayed.len() <= 5, "what was on its way came again: {replayed:?}");
    scene.await_dead(0).await;
    scene.end().await;
}

#[tokio::test]
async fn a_replay_is_deleted_when_its_time_after_the_end_is_over() {
    let scene = Scene::new("replay-ttl", json!({})).await;
    scene.replay("short", json!({"ttlSecondsAfterFinished": 0})).await;
    scene.replay("long", json!({"ttlSecondsAfterFinished": 3600})).await;
    until(&scene.namespace.api::<Replay>(), "short", |replay| replay.is_none()).await;
    scene.finished("long").await;
    scene.end().await;
}

#[tokio::test]
async fn a_replay_of_a_webhook_that_there_is_not_says_so_and_one_that_was_replaced_too() {
    let scene = Scene::new("replay-missing", json!({})).await;
    scene.dead(0, 2).await;
    scene.namespace.delete::<Webhook>("audit").await;
    until(&scene.namespace.api::<Webhook>(), "audit", |webhook| webhook.is_none()).await;
    scene.replay("again", json!({})).await;
    let status = scene.in_state("again", "WebhookMissing").await;
    let kinds: Vec<_> = status.conditions.iter().map(|c| format!("{}={}", c.type_, c.status)).collect();
    assert_eq!(kinds, ["Ready=False", "Stalled=True"]);
    // A new one has no dead letters.
    delivering_with(&scene.namespace, "audit", &scene.endpoint, |webhook| webhook).await;
    assert_eq!(counts(&scene.finished("again").await), [0, 0, 0]);
    scene.end().await;
}

#[tokio::test]
async fn a_replays_spec_is_what_it_was_created_with() {
    let namespace = Cluster::connect().await.namespace("replay-spec").await;
    let made = namespace.apply(&replay("r", &json!({"webhook": "audit"}))).await;
    assert_eq!((made.spec.events, made.spec.ttl_seconds_after_finished), (vec!["*".to_owned()], 86_400));
    assert_eq!(made.status.unwrap().observed_generation, Some(-1));
    let edit = Patch::Merge(json!({"spec": {"webhook": "other"}}));
    let refused = namespace.api::<Replay>().patch("r", &PatchParams::default(), &edit).await.unwrap_err();
    assert!(refused.to_string().contains("spec cannot be changed: delete this Replay"), "{refused}");
}
