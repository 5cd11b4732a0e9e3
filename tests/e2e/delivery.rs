//! What endpoints receive, and when: matched, sent, held, tried again, given up.
//!
//! The tests of `held`, `attempts`, `bounds` and `circuit` run the dispatcher alone, by a
//! clock of theirs and with proofs that they write; the others run the real
//! binary, with its controller.

mod attempts;
mod bounds;
mod circuit;
mod clock;
mod destination;
mod disk;
mod flow;
mod guard;
mod held;
mod hostile;
mod networks;
mod proxy;
mod restart;
mod rotation;
mod status;
mod wire;

use std::collections::BTreeSet;

use herald::api::Webhook;
use serde_json::Value;

use crate::support::webhook::WebhookExt as _;
use crate::support::{Endpoint, Namespace, Received, webhook};

/// The `id` of the event: the tests put it into the data, which both payloads carry.
pub fn id_of(received: &Received) -> String {
    received.json().pointer("/data/id").and_then(Value::as_str).expect("data.id").to_owned()
}

fn ids_of(received: &[Received]) -> Vec<String> {
    received.iter().map(id_of).collect()
}

/// Reads deliveries until each of these events has arrived.
async fn all_arrive(endpoint: &Endpoint, events: &BTreeSet<String>) {
    let mut arrived = BTreeSet::new();
    while !events.is_subset(&arrived) {
        arrived.insert(id_of(&endpoint.next_delivery().await));
    }
}

/// Applies a Webhook for every event and its Secret, and waits until Herald
/// has proved it and delivers.
pub async fn delivering(namespace: &Namespace, name: &str, endpoint: &Endpoint) -> Webhook {
    delivering_with(namespace, name, endpoint, |webhook| webhook).await
}

pub async fn delivering_with(
    namespace: &Namespace,
    name: &str,
    endpoint: &Endpoint,
    edit: impl FnOnce(Webhook) -> Webhook,
) -> Webhook {
    namespace.secret(name, &[("api-key", "key")]).await;
    namespace.apply(&edit(webhook(name, &endpoint.uri()))).await;
    namespace.await_condition(name, "Delivering", "True", "Delivering").await
}

/// With these settings under `spec.delivery`.
pub fn deliver_by(webhook: Webhook, settings: Value) -> Webhook {
    webhook.with(|spec| spec.delivery = serde_json::from_value(settings).unwrap())
}
