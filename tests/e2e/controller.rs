//! The controller: what somebody sees who watches a Webhook's status.

mod operation;
mod running;
mod secrets;
mod verification;

use futures::TryStreamExt as _;
use herald::api::{VERIFY_REQUESTED_AT, Webhook};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{DEADLINE, Endpoint, Namespace, webhook};

/// Applies a Webhook whose API key is in the Secret `keys`.
async fn apply(namespace: &Namespace, name: &str, uri: &str) -> Webhook {
    let webhook = webhook(name, uri).with(|spec| "keys".clone_into(&mut spec.api_key_secret_ref.name));
    namespace.apply(&webhook).await
}

async fn apply_keys(namespace: &Namespace) {
    namespace.secret("keys", &[("api-key", "k")]).await;
}

/// Waits until Ready has this reason and speaks of what is stored now.
async fn until_ready(namespace: &Namespace, name: &str, reason: &str) -> Webhook {
    namespace
        .await_webhook(name, |webhook| {
            let observed = webhook.status.as_ref().and_then(|status| status.observed_generation);
            observed == webhook.metadata.generation && reason_of(webhook, "Ready") == reason
        })
        .await
}

fn is(webhook: &Webhook, type_: &str, status: &str) -> bool {
    condition(webhook, type_).is_some_and(|condition| condition.status == status)
}

fn reason_of<'a>(webhook: &'a Webhook, type_: &str) -> &'a str {
    condition(webhook, type_).map_or("", |condition| &condition.reason)
}

fn message_of<'a>(webhook: &'a Webhook, type_: &str) -> &'a str {
    condition(webhook, type_).map_or("", |condition| &condition.message)
}

fn proved_uri(webhook: &Webhook) -> Option<&str> {
    webhook.status.as_ref()?.verification.as_ref().map(|proof| proof.uri.as_str())
}

fn failures(webhook: &Webhook) -> u32 {
    let attempts = webhook.status.as_ref().and_then(|status| status.attempts.as_ref());
    attempts.map_or(0, |attempts| attempts.failures)
}

fn handled(webhook: &Webhook) -> Option<&str> {
    webhook.status.as_ref()?.last_handled_verify_request.as_deref()
}

/// The edit that asks for a verification.
fn request(value: &str) -> Value {
    json!({"metadata": {"annotations": {VERIFY_REQUESTED_AT: value}}})
}

/// What kstatus makes of an object, by its published rules.
pub(crate) fn kstatus(webhook: &Webhook) -> &'static str {
    let observed = webhook.status.as_ref().and_then(|status| status.observed_generation);
    if observed != webhook.metadata.generation || is(webhook, "Reconciling", "True") {
        "InProgress"
    } else if is(webhook, "Stalled", "True") {
        "Failed"
    } else if is(webhook, "Ready", "False") {
        "InProgress"
    } else {
        "Current"
    }
}

async fn await_challenges(endpoint: &Endpoint, count: usize) {
    for _ in 0..count {
        endpoint.next_challenge().await;
    }
}

/// The notes of the Kubernetes Events of one reason; waits for the first.
async fn events(namespace: &Namespace, reason: &str) -> Vec<String> {
    let api = namespace.api::<Event>();
    let selector = format!("reason={reason}");
    let mut watch =
        std::pin::pin!(watcher(api.clone(), watcher::Config::default().fields(&selector)).applied_objects());
    let first = timeout(DEADLINE, watch.try_next()).await;
    assert!(first.is_ok(), "no Event with the reason {reason}");
    let list = api.list(&ListParams::default().fields(&selector)).await.unwrap();
    list.items.into_iter().map(|event| event.note.unwrap_or_default()).collect()
}

/// Every version of one Webhook that there has been.
struct History {
    versions: watch::Receiver<Vec<Webhook>>,
    watch: AbortHandle,
}

impl History {
    async fn of(namespace: &Namespace, name: &str) -> Self {
        let (kept, versions) = watch::channel(Vec::new());
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let watch = namespace.api::<Webhook>().watch(&params, "0").await.unwrap();
        let watch = tokio::spawn(async move {
            let mut watch = std::pin::pin!(watch);
            while let Ok(Some(event)) = watch.try_next().await {
                if let WatchEvent::Added(webhook) | WatchEvent::Modified(webhook) = event {
                    kept.send_modify(|versions| versions.push(webhook));
                }
            }
        });
        Self { versions, watch: watch.abort_handle() }
    }

    /// The versions up to this one, which another watch may have shown earlier.
    async fn until(&self, last: &Webhook) -> Vec<Webhook> {
        let is_last = |version: &Webhook| version.resource_version() == last.resource_version();
        let mut versions = self.versions.clone();
        let there = timeout(DEADLINE, versions.wait_for(|versions| versions.iter().any(is_last))).await;
        let mut versions = there.expect("the watch shows it in time").expect("the watch goes on").clone();
        versions.truncate(versions.iter().position(is_last).map_or(0, |last| last + 1));
        versions
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
