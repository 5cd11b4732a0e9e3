//! The identity of one Webhook object.

use std::fmt;
use std::str::FromStr;

/// The `metadata.uid` of a Webhook: another object of the same name has another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookUid(uuid::Uuid);

/// A UID that is not a UUID, which Kubernetes says it always is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata.uid {0:?} is not a UUID")]
pub struct InvalidUid(String);

impl WebhookUid {
    /// From the 16 bytes that [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the UUID, for keys and hashes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for WebhookUid {
    type Err = InvalidUid;

    fn from_str(text: &str) -> Result<Self, InvalidUid> {
        text.parse().map(Self).map_err(|_| InvalidUid(text.to_owned()))
    }
}

impl fmt::Display for WebhookUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for WebhookUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
