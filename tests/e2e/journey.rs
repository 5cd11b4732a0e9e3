//! The whole way once: a Webhook is proved, and what is posted arrives.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::herald::AUDIENCE;
use crate::support::webhook::WebhookExt as _;
use crate::support::{Behaviour, Cluster, Endpoint, Herald, HeraldProcess, Namespace, Producer, webhook};

const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn user_created(id: &str) -> serde_json::Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/idp",
        "type": "user.created",
        "subject": "user-1",
        "data": {"email": "ada@example.com"},
    })
}

async fn proved_webhook(namespace: &Namespace, endpoint: &Endpoint) {
    namespace.secret("audit", &[("api-key", "the key"), ("signing-secret", SIGNING_SECRET)]).await;
    namespace.apply(&webhook("audit", &endpoint.uri()).signed_by("audit")).await;
    namespace.await_condition("audit", "Ready", "True", "Verified").await;
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
}

#[tokio::test]
async fn a_proved_endpoint_gets_the_event_with_api_key_and_signature() {
    let namespace = Cluster::connect().await.namespace("journey").await;
    let endpoint = Endpoint::start().await;
    let herald = Herald::start(&namespace).await;
    proved_webhook(&namespace, &endpoint).await;
    let token = namespace.sender("producer", AUDIENCE).await;
    let answer = herald.accepts(&token, &user_created("e1")).await;
    assert_eq!(answer["matched"], 1, "{answer}");

    let delivery = endpoint.next_delivery().await;
    assert_eq!(delivery.header("x-api-key"), Some("the key"));
    assert_eq!(delivery.signature_of(SIGNING_SECRET), Some(0));
    let body = delivery.json();
    assert_eq!((&body["id"], &body["type"]), (&json!(delivery.message_id()), &json!("user.created")));
    assert_eq!((&body["subject"], &body["data"]["email"]), (&json!("user-1"), &json!("ada@example.com")));
    assert_eq!(endpoint.challenges().len(), 1);
}

#[tokio::test]
async fn what_was_in_delivery_at_a_restart_arrives_after_it() {
    let namespace = Cluster::connect().await.namespace("journey").await;
    let endpoint = Endpoint::start().await;
    let mut herald = Herald::start(&namespace).await;
    proved_webhook(&namespace, &endpoint).await;
    let token = namespace.sender("producer", AUDIENCE).await;

    let gate = CancellationToken::new();
    endpoint.on_next_deliveries([Behaviour::status(503).once(&gate)]);
    herald.accepts(&token, &user_created("e1")).await;
    let first = endpoint.next_delivery().await;
    gate.cancel();
    herald.restart().await;
    assert_eq!(endpoint.next_delivery().await.message_id(), first.message_id());
}

#[tokio::test]
async fn what_was_in_delivery_when_the_process_was_killed_arrives_all_the_same() {
    let namespace = Cluster::connect().await.namespace("journey").await;
    let endpoint = Endpoint::start().await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    proved_webhook(&namespace, &endpoint).await;
    let producer = Producer::new(&namespace).await;

    endpoint.on_next_deliveries([Behaviour::hang()]);
    assert_eq!(producer.send(&herald, &user_created("e1")).await, 1);
    let first = endpoint.next_delivery().await;
    herald.kill().await;
    herald.restart().await;
    assert_eq!(endpoint.next_delivery().await.message_id(), first.message_id());
    assert_eq!(endpoint.challenges().len(), 1, "a restart proves nothing again");
}
