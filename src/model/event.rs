//! A user event as it was accepted.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{EventType, Timestamp};

/// A user event: a `CloudEvents` 1.0 event of a known type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The namespace that it was posted to; only webhooks there receive it.
    pub namespace: String,
    /// Unique within `source`.
    pub id: String,
    /// Who says that it happened: a URI reference.
    pub source: String,
    /// What happened.
    pub event_type: EventType,
    /// The id of the user; the key of per-user order.
    pub subject: String,
    /// When it happened; the time of receipt where the producer did not say.
    pub time: Timestamp,
    /// JSON text, byte for byte as the producer wrote it.
    pub data: Bytes,
}

/// The identity of an event: a hash of namespace, source and id, each with its
/// length before it, so that no two triples run into one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey([u8; 16]);

impl EventKey {
    /// From the 16 bytes that [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The first 16 bytes of the SHA-256 hash.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Event {
    /// What tells a repeat of this event from another event.
    pub fn key(&self) -> EventKey {
        let digest = hash_parts([self.namespace.as_bytes(), self.source.as_bytes(), self.id.as_bytes()]);
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        EventKey(key)
    }
}

/// SHA-256 over the parts, each preceded by its length as eight bytes.
pub(super) fn hash_parts<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, source: &str, id: &str) -> EventKey {
        Event {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            source: source.to_owned(),
            event_type: EventType::UserCreated,
            subject: "user-1".to_owned(),
            time: Timestamp::from_millis(0),
            data: Bytes::from_static(b"{}"),
        }
        .key()
    }

    #[test]
    fn the_key_depends_on_namespace_source_and_id_and_on_where_each_ends() {
        assert_eq!(key("ns", "/idp", "1"), key("ns", "/idp", "1"));
        let keys = [
            key("ns", "/idp", "1"),
            key("ns2", "/idp", "1"),
            key("ns", "/idp1", ""),
            key("ns", "/id", "p1"),
            key("n", "s/idp", "1"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b));
        }
    }
}
