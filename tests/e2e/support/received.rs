//! A request as an endpoint received it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method};
use serde_json::Value;
use sha2::Sha256;
use tokio::time::Instant;

/// A request as an endpoint received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// GET is a challenge, POST a delivery.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// When its last byte was there.
    pub at: Instant,
    /// The number of the connection that brought it, from 0.
    pub connection: usize,
}

impl Received {
    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "{name} is there twice");
        Some(value)
    }

    /// `webhook-id`.
    pub fn message_id(&self) -> &str {
        self.header("webhook-id").expect("a webhook-id")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// Which of the signatures that it carries is the one of `secret` (`whsec_…`),
    /// worked out here, from the Standard Webhooks document and not by Herald's code.
    pub fn signature_of(&self, secret: &str) -> Option<usize> {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("whsec_…")).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        for part in [self.message_id(), ".", self.header("webhook-timestamp").expect("a time"), "."] {
            mac.update(part.as_bytes());
        }
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature")?.split(' ').position(|signature| signature == expected)
    }
}
