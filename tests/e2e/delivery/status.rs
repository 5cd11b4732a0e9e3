//! What can be seen from outside: status, metrics, logs.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{deliver_by, delivering, delivering_with};
use crate::support::producer::event;
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Producer, webhook};

#[tokio::test]
async fn the_status_tells_what_became_of_the_events() {
    let namespace = Cluster::connect().await.namespace("status").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    let gate = CancellationToken::new();
    endpoint.on_delivery(Behaviour::status(418).once(&gate));
    let once = json!({"maxAttempts": 1, "timeout": "30s", "maxInFlight": 1});
    let webhook = delivering_with(&namespace, "audit", &endpoint, |webhook| deliver_by(webhook, once)).await;
    let delivery = webhook.status.as_ref().unwrap().delivery.clone().unwrap();
    assert_eq!((delivery.pending, delivery.last_success, delivery.last_failure), (Some(0), None, None));

    for n in 0..3 {
        assert_eq!(producer.send(&herald, &event("user.created", &n.to_string())).await, 1);
    }
    let delivery = |webhook: &herald::api::Webhook| webhook.status.clone().unwrap().delivery.unwrap();
    namespace.await_webhook("audit", |webhook| delivery(webhook).pending == Some(3)).await;
    gate.cancel();
    endpoint.next_delivery().await;
    endpoint.on_delivery(Behaviour::ok());
    let webhook = namespace
        .await_webhook("audit", |webhook| {
            let delivery = delivery(webhook);
            delivery.pending == Some(0) && delivery.last_success.is_some() && delivery.last_failure.is_some()
        })
        .await;
    let failure = delivery(&webhook).last_failure.unwrap();
    assert_eq!(failure.reason, "UnexpectedStatus");
    assert!(failure.message.contains("418"), "{}", failure.message);
    // Each part has its own manager, and neither takes away what the other wrote.
    for type_ in ["Ready", "Verified", "Delivering"] {
        assert!(condition(&webhook, type_).is_some_and(|condition| condition.status == "True"), "{type_}");
    }
    let managers = webhook.metadata.managed_fields.unwrap_or_default();
    let of_status = managers.iter().filter(|entry| entry.subresource.as_deref() == Some("status"));
    let mut names: Vec<_> = of_status.filter_map(|entry| entry.manager.as_deref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["herald-controller", "herald-dispatcher"]);
    herald.stop().await;
}

#[tokio::test]
async fn a_controllers_write_leaves_the_dispatchers_part_and_the_other_way_round() {
    let namespace = Cluster::connect().await.namespace("managers").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    for enabled in [false, true, false, true] {
        namespace.edit("audit", json!({"spec": {"enabled": enabled}})).await;
        let (status, reason) = if enabled { ("True", "Delivering") } else { ("False", "Disabled") };
        namespace.await_condition("audit", "Delivering", status, reason).await;
        let reason = if enabled { "Verified" } else { "Disabled" };
        let webhook = namespace.await_condition("audit", "Ready", "True", reason).await;
        assert!(condition(&webhook, "Verified").is_some_and(|verified| verified.status == "True"));
        assert!(webhook.status.as_ref().is_some_and(|status| status.verification.is_some()));
    }
    assert_eq!(endpoint.challenges().len(), 1);
    herald.stop().await;
}

#[tokio::test]
async fn the_metrics_move_and_no_secret_shows_in_them_or_in_the_log() {
    const SECRETS: [&str; 3] = ["canary-api-key", "Y2FuYXJ5LXNpZ25pbmctc2VjcmV0LTEyMw==", "canary-payload"];
    let namespace = Cluster::connect().await.namespace("metrics").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    let signing = format!("whsec_{}", SECRETS[1]);
    namespace.secret("audit", &[("api-key", SECRETS[0]), ("signing-secret", &signing)]).await;
    let manifest =
        deliver_by(webhook("audit", &endpoint.uri()), json!({"maxAttempts": 2, "ordering": "PerUser"}));
    namespace.apply(&manifest.signed_by("audit")).await;
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    endpoint.on_next_deliveries([Behaviour::status(500), Behaviour::status(500)]);
    let secret_event = |id: &str| {
        let mut event = event("user.created", id);
        event["data"]["password"] = json!(SECRETS[2]);
        event
    };
    for id in ["dies", "arrives", "arrives too"] {
        assert_eq!(producer.send(&herald, &secret_event(id)).await, 1);
    }
    assert_eq!(producer.send(&herald, &secret_event("arrives")).await, 0, "a repeat");
    for (sample, value) in [
        ("herald_ingest_events_accepted_total", 3.0),
        ("herald_delivery_attempts_failed_total{reason=\"UnexpectedStatus\"}", 2.0),
        ("herald_deliveries_retried_total", 1.0),
        ("herald_dead_letters_total{reason=\"UnexpectedStatus\"}", 1.0),
        ("herald_deliveries_delivered_total", 2.0),
    ] {
        herald.await_metric(sample, |now| now >= value).await;
        assert!(herald.metric(sample).await <= value, "{sample}");
    }
    // Held: what waits is counted by webhook.
    namespace.delete::<k8s_openapi::api::core::v1::Secret>("audit").await;
    namespace.await_condition("audit", "Delivering", "False", "SecretsUnresolved").await;
    assert_eq!(producer.send(&herald, &secret_event("held")).await, 1);
    let depth = format!("herald_webhook_queue_depth{{namespace=\"{}\",webhook=\"audit\"}}", namespace.name());
    herald.await_metric(&depth, |depth| depth > 0.5).await;

    let text = herald.metrics().await;
    for name in [
        "herald_ingest_deliveries_matched_total",
        "herald_ingest_events_duplicate_total",
        "herald_delivery_attempt_duration_seconds_count",
        "herald_delivery_latency_seconds_count",
        "herald_webhook_queue_oldest_age_seconds{",
        "herald_view_age_seconds",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
    herald.stop().await;
    let log = herald.log();
    assert!(log.contains("taking user events"), "there is a log");
    for secret in SECRETS.into_iter().chain([producer.token()]) {
        assert!(!text.contains(secret), "{secret} is in the metrics");
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for challenge in endpoint.challenges() {
        let key = challenge.header("x-verification-key").unwrap().to_owned();
        assert!(!log.contains(&key), "the key of a challenge is in the log");
    }
}
