//! What a Webhook is to those who keep it in Git: to kubectl, Flux and Argo CD.
//!
//! What a person or a tool does with kubectl is done here with the real one,
//! while Herald runs and writes the status.

mod apply;
mod deletion;
mod diff;
mod examples;
mod explain;
mod health;
mod kubectl;
mod shown;

use herald::api::Webhook;

use self::kubectl::Kubectl;
use crate::support::Namespace;

/// A manifest that says the least that a Webhook needs.
fn manifest(name: &str, uri: &str) -> String {
    format!(
        "apiVersion: herald.dev/v1alpha1\n\
         kind: Webhook\n\
         metadata: {{name: {name}}}\n\
         spec:\n\
         \x20 name: Audit trail\n\
         \x20 uri: {uri}\n\
         \x20 apiKeySecretRef: {{name: keys, key: api-key}}\n\
         \x20 events: [User created]\n"
    )
}

/// The Secret of every manifest here.
async fn apply_keys(namespace: &Namespace) {
    namespace.secret("keys", &[("api-key", "k")]).await;
}

/// Waits until Herald has proved the Webhook as it is, and delivers.
async fn until_delivering(namespace: &Namespace, name: &str) -> Webhook {
    namespace.await_condition(name, "Ready", "True", "Verified").await;
    namespace.await_condition(name, "Delivering", "True", "Delivering").await
}
