//! The `webhook-id` of a delivery.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::WebhookUid;
use super::event::hash_parts;

/// What every `webhook-id` begins with.
pub const MESSAGE_ID_PREFIX: &str = "msg_";

/// `msg_` and a hash of namespace, source, id and webhook: the same on every
/// try and every replay, and another for every other webhook.
pub fn message_id(namespace: &str, source: &str, id: &str, webhook: WebhookUid) -> String {
    let digest = hash_parts([namespace.as_bytes(), source.as_bytes(), id.as_bytes(), webhook.as_bytes()]);
    format!("{MESSAGE_ID_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&digest[..18]))
}
