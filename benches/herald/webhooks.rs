//! The Webhooks that the benchmark makes, and what it waits for in their status.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use herald::api::Webhook;
use herald::model::EventType;

use super::cluster::{Cluster, SECRET};

/// What a webhook has that says nothing of it.
pub const DEFAULT_IN_FLIGHT: usize = 16;

/// Webhooks that are alike but for their names.
#[derive(Clone, Debug)]
pub struct Alike {
    pub prefix: String,
    pub count: usize,
    /// Where on this machine they go.
    pub port: u16,
    pub path: &'static str,
    /// What each takes; the number of a webhook chooses among them.
    pub events: &'static [EventType],
    /// Their Secret: while it is away, all of them are held.
    pub secret: &'static str,
    /// `spec.delivery`
    pub delivery: Value,
}

impl Alike {
    /// Healthy ones for created users, each with so many attempts in flight.
    pub fn healthy(prefix: &str, count: usize, in_flight: usize, port: u16) -> Self {
        Self {
            prefix: prefix.to_owned(),
            count,
            port,
            path: "/users",
            events: &[EventType::UserCreated],
            secret: SECRET,
            delivery: json!({ "maxInFlight": in_flight }),
        }
    }
}

impl Cluster {
    /// Makes so many healthy ones, each with so many attempts in flight.
    pub async fn webhooks(&self, prefix: &str, count: usize, in_flight: usize, port: u16) {
        self.make(&Alike::healthy(prefix, count, in_flight, port)).await;
    }

    /// Makes webhooks: `PREFIX-0` and so on.
    pub async fn make(&self, alike: &Alike) {
        let Alike { prefix, count, port, path, events, secret, delivery } = alike;
        stream::iter(0..*count)
            .for_each_concurrent(32, |number| async move {
                self.create::<Webhook>(json!({
                    "apiVersion": "herald.dev/v1alpha1",
                    "kind": "Webhook",
                    "metadata": { "name": format!("{prefix}-{number}") },
                    "spec": {
                        "name": format!("{prefix} {number}"),
                        "uri": format!("https://localhost:{port}{path}"),
                        "apiKeySecretRef": { "name": secret, "key": "api-key" },
                        "signingSecretRef": { "name": secret, "key": "signing-secret" },
                        "events": [events[number % events.len()].display_name()],
                        "delivery": delivery,
                    },
                }))
                .await;
            })
            .await;
    }

    /// Takes all webhooks of the namespace away.
    pub async fn clear(&self) {
        self.api().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }

    /// Waits until every webhook has a condition of this type and status.
    pub async fn all_have(&self, condition: &str, status: &str) {
        loop {
            let begun = Instant::now();
            let list = self.api().list(&ListParams::default()).await.unwrap();
            // A list of ten thousand costs the API server much.
            let pause = Duration::from_millis(200).max(4 * begun.elapsed());
            let has = |webhook: &Webhook| {
                let conditions = webhook.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|c| c.type_ == condition && c.status == status)
            };
            if list.items.iter().all(has) {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The webhooks of the namespace.
    pub fn api(&self) -> Api<Webhook> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}
