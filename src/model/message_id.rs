//! The `webhook-id` of a delivery.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::event::hash_parts;
use super::{Event, WebhookUid};

/// `msg_` and a hash of namespace, source, id and webhook: the same on every
/// try and every replay, and another for every other webhook.
pub fn message_id(event: &Event, webhook: WebhookUid) -> String {
    let digest = hash_parts([
        event.namespace.as_bytes(),
        event.source.as_bytes(),
        event.id.as_bytes(),
        webhook.as_bytes(),
    ]);
    format!("msg_{}", BASE64_URL_SAFE_NO_PAD.encode(&digest[..18]))
}
