//! What a status has to say in the end, by the objects alone.

use herald::api::Webhook;
use serde_json::{Value, json};

use super::edits::Key;
use crate::support::webhook::condition;

/// Whether the status says it of the object as it is. Its endpoint agrees by now.
pub(super) fn is_settled(webhook: &Webhook, key: Key) -> bool {
    let Some(status) = &webhook.status else { return false };
    let uid = webhook.metadata.uid.as_deref();
    let proved = status.verification.as_ref().is_some_and(|proof| {
        Some(proof.uid.as_str()) == uid && proof.uri == webhook.spec.uri && proof.revoked_time.is_none()
    });
    let ready: (&str, &[&str]) = match (webhook.spec.enabled, key) {
        (false, _) => ("True", &["Disabled"]),
        (true, Key::Good) => ("True", &["Verified"]),
        // That a Secret without the label has appeared is found out within a minute.
        (true, Key::Absent | Key::Unlabelled) => ("False", &["SecretMissing", "SecretNotAllowed"]),
        (true, Key::Empty) => ("False", &["SecretEmpty"]),
        (true, Key::Malformed) => ("False", &["SecretMalformed"]),
        (true, Key::Elsewhere) => ("False", &["SecretKeyMissing"]),
    };
    let delivering: (&str, &[&str]) = match (webhook.spec.enabled, key) {
        (false, _) => ("False", &["Disabled"]),
        (true, Key::Good) => ("True", &["Delivering"]),
        (true, _) => ("False", &["SecretsUnresolved"]),
    };
    let says = |type_: &str, (holds, reasons): (&str, &[&str])| {
        condition(webhook, type_).is_some_and(|it| {
            it.status == holds
                && reasons.contains(&it.reason.as_str())
                && it.observed_generation == webhook.metadata.generation
        })
    };
    let requested =
        webhook.metadata.annotations.as_ref().and_then(|all| all.get(herald::api::VERIFY_REQUESTED_AT));
    status.observed_generation == webhook.metadata.generation
        && proved
        && says("Verified", ("True", &["Verified"]))
        && says("Ready", ready)
        && says("Delivering", delivering)
        && requested.is_none_or(|value| status.last_handled_verify_request.as_ref() == Some(value))
}

/// What a status says: with the times of each change and proof, so that nothing was found out
/// anew, and without what is counted.
pub(super) fn summary(webhook: &Webhook) -> Value {
    let Some(status) = &webhook.status else { return Value::Null };
    let mut conditions = status.conditions.clone();
    conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    for condition in &mut conditions {
        condition.message.clear();
    }
    json!({
        "conditions": conditions,
        "verification": status.verification,
        "observedGeneration": status.observed_generation,
        "lastHandledVerifyRequest": status.last_handled_verify_request,
    })
}
