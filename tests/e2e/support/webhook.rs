//! A Webhook manifest that a test starts from, and what it reads of one.

use herald::api::{Webhook, WebhookSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

/// A Webhook for every event, with its API key under `api-key` in the Secret of the same name.
pub fn webhook(name: &str, uri: &str) -> Webhook {
    let spec = json!({
        "name": format!("Webhook {name}"),
        "uri": uri,
        "apiKeySecretRef": {"name": name, "key": "api-key"},
        "events": ["*"],
    });
    Webhook::new(name, serde_json::from_value(spec).unwrap())
}

/// Edits of a manifest before it is applied, one after the other.
pub trait WebhookExt {
    /// With some of its settings changed.
    fn with(self, edit: impl FnOnce(&mut WebhookSpec)) -> Self;
    /// For these events only.
    fn events(self, names: &[&str]) -> Self;
    /// Not enabled.
    fn disabled(self) -> Self;
    /// Signed with the secrets under `signing-secret` in the Secret of this name.
    fn signed_by(self, secret: &str) -> Self;
}

impl WebhookExt for Webhook {
    fn with(mut self, edit: impl FnOnce(&mut WebhookSpec)) -> Self {
        edit(&mut self.spec);
        self
    }

    fn events(self, names: &[&str]) -> Self {
        self.with(|spec| spec.events = names.iter().map(ToString::to_string).collect())
    }

    fn disabled(self) -> Self {
        self.with(|spec| spec.enabled = false)
    }

    fn signed_by(self, secret: &str) -> Self {
        let reference = json!({"name": secret, "key": "signing-secret"});
        self.with(|spec| spec.signing_secret_ref = serde_json::from_value(reference).unwrap())
    }
}

/// The condition of this type.
pub fn condition<'w>(webhook: &'w Webhook, type_: &str) -> Option<&'w Condition> {
    webhook.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}
