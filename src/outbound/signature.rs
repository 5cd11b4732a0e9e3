//! Signatures by Standard Webhooks 1.0.
//!
//! ```text
//! webhook-signature: v1,base64(HMAC-SHA256(secret, "id.timestamp.body"))
//! ```
//!
//! Made with `RustCrypto`'s `hmac` and `sha2`, and not with the
//! `standardwebhooks` crate, which copies each body into a new string, requires
//! UTF-8, prepares the key anew for each message and takes keys of any length.
//! The tests hold the two against each other.

use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use sha2::Sha256;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One key, or two while the secret is being rotated; overwritten when they are let go.
#[derive(Clone)]
pub struct SigningKeys {
    first: Hmac<Sha256>,
    second: Option<Hmac<Sha256>>,
}

/// Why a value is not a signing secret. It never quotes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// None, or more than two.
    #[error("must hold one signing secret, or two separated by white space, and holds {0}")]
    Count(usize),
    /// No prefix.
    #[error("each signing secret must begin with whsec_, followed by base64")]
    Prefix,
    /// Not base64.
    #[error(
        "what follows whsec_ must be base64 with padding, as printed by: echo whsec_$(openssl rand -base64 32)"
    )]
    Base64,
    /// Too short or too long.
    #[error("what follows whsec_ must encode 24 to 64 bytes, and encodes {0}")]
    Length(usize),
}

impl SigningKeys {
    /// Reads one or two `whsec_…` separated by white space.
    ///
    /// # Errors
    /// The value is something else.
    pub fn parse(secret_value: &[u8]) -> Result<Self, SigningKeyError> {
        let text = std::str::from_utf8(secret_value).map_err(|_| SigningKeyError::Prefix)?;
        let mut secrets = text.split_whitespace();
        match (secrets.next(), secrets.next(), secrets.count()) {
            (Some(first), second, 0) => {
                Ok(Self { first: parse_key(first)?, second: second.map(parse_key).transpose()? })
            }
            (first, _, more) => Err(SigningKeyError::Count(if first.is_some() { 2 + more } else { 0 })),
        }
    }

    /// The value of `webhook-signature`: a signature by each key, separated by a space.
    pub fn sign(&self, id: &str, timestamp_secs: u64, body: &[u8]) -> HeaderValue {
        let mut text = Vec::with_capacity(96);
        for key in std::iter::once(&self.first).chain(&self.second) {
            if !text.is_empty() {
                text.push(b' ');
            }
            sign_with(key.clone(), id, timestamp_secs, body, &mut text);
        }
        // Base64, a comma and a space are all visible ASCII, so that this is always a header.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.second.is_some() { "SigningKeys(2)" } else { "SigningKeys(1)" })
    }
}

fn parse_key(secret: &str) -> Result<Hmac<Sha256>, SigningKeyError> {
    let encoded = secret.strip_prefix(PREFIX).ok_or(SigningKeyError::Prefix)?;
    let key = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| SigningKeyError::Base64)?);
    if !KEY_BYTES.contains(&key.len()) {
        return Err(SigningKeyError::Length(key.len()));
    }
    Hmac::new_from_slice(&key).map_err(|_| SigningKeyError::Length(key.len()))
}

fn sign_with(mut mac: Hmac<Sha256>, id: &str, timestamp_secs: u64, body: &[u8], text: &mut Vec<u8>) {
    let mut middle = [0_u8; 24];
    let mut rest = middle.as_mut_slice();
    // 22 bytes at most, so that it always fits.
    let _ = write!(rest, ".{timestamp_secs}.");
    let unused = rest.len();
    mac.update(id.as_bytes());
    mac.update(middle.get(..24 - unused).unwrap_or_default());
    mac.update(body);
    let mut encoded = [0; 44];
    // 32 bytes are 44 characters.
    let length = BASE64_STANDARD.encode_slice(mac.finalize().into_bytes(), &mut encoded).unwrap_or_default();
    text.extend_from_slice(b"v1,");
    text.extend_from_slice(encoded.get(..length).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret, id, timestamp, body and signature that the Standard Webhooks libraries test with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        let keys = SigningKeys::parse(SECRET.as_bytes()).unwrap();
        assert_eq!(keys.sign(ID, TIMESTAMP, BODY), SIGNATURE);
    }

    #[test]
    fn two_keys_give_two_signatures() {
        let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let keys = SigningKeys::parse(format!(" {SECRET}\n\t{other}\n").as_bytes()).unwrap();
        let alone = SigningKeys::parse(other.as_bytes()).unwrap().sign(ID, TIMESTAMP, BODY);
        let both = format!("{SIGNATURE} {}", alone.to_str().unwrap());
        assert_eq!(keys.sign(ID, TIMESTAMP, BODY), both.as_str());
    }

    #[test]
    fn the_official_library_makes_the_same_signature() {
        let official = standardwebhooks::Webhook::new(SECRET).unwrap();
        let keys = SigningKeys::parse(SECRET.as_bytes()).unwrap();
        for (timestamp, body) in [(0, ""), (1, "x"), (u64::from(u32::MAX), "äöü"), (1_700_000_000, "{}")] {
            let expected =
                official.sign("msg_1", i64::try_from(timestamp).unwrap(), body.as_bytes()).unwrap();
            assert_eq!(keys.sign("msg_1", timestamp, body.as_bytes()), expected.as_str());
        }
    }

    #[test]
    fn what_is_not_a_secret_is_refused_and_not_quoted() {
        let key = |bytes: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes]));
        let three = [key(24), key(24), key(24)].join(" ");
        let table = [
            (String::new(), SigningKeyError::Count(0)),
            (" \n".to_owned(), SigningKeyError::Count(0)),
            (three, SigningKeyError::Count(3)),
            ("c2VjcmV0".to_owned(), SigningKeyError::Prefix),
            ("whsec_§".to_owned(), SigningKeyError::Base64),
            (key(23), SigningKeyError::Length(23)),
            (key(65), SigningKeyError::Length(65)),
            (format!("{} {}", key(24), key(1)), SigningKeyError::Length(1)),
        ];
        for (value, expected) in table {
            assert_eq!(SigningKeys::parse(value.as_bytes()).unwrap_err(), expected, "{value}");
        }
        assert!(SigningKeys::parse(key(24).as_bytes()).is_ok());
        assert!(SigningKeys::parse(key(64).as_bytes()).is_ok());
    }
}
