//! One labelled object as it is kept: what a webhook can use of it, parsed once.
//!
//! ```text
//! value ─┬─ larger than any use of it may be ─> its key alone
//!        └─ kept ─ the first webhook that uses it ─> parsed, for all that do
//! ```
//!
//! Kubernetes lets an object have 1 MiB, and any number of webhooks name it.
//! **Guarantees.** What is parsed is bounded, happens once for each version of
//! the object, and all clones of the outcome share it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use http::HeaderValue;
use k8s_openapi::ByteString;
use zeroize::Zeroizing;

use super::Problem;
use crate::api::{Reason, SecretKeyRef};
use crate::outbound::{Authorities, ClientCertificate, SigningKeyError, SigningKeys, TlsError};

/// So many names are listed in a message.
const MOST_NAMES: usize = 8;

const CHAIN_KEY: &str = "tls.crt";
const PRIVATE_KEY_KEY: &str = "tls.key";

/// What a value is used as, how large it may be for that, and what to do about a larger one.
struct Usage {
    what: &'static str,
    kibibytes: usize,
    instead: &'static str,
}

const API_KEY: Usage = Usage { what: "an API key", kibibytes: 8, instead: "put the key there alone" };
const SIGNING_SECRET: Usage =
    Usage { what: "signing secrets", kibibytes: 8, instead: "put one there, or two that a space separates" };
const CHAIN: Usage = Usage {
    what: "a client certificate",
    kibibytes: 64,
    instead: "leave only the certificate there, and those between it and its CA",
};
const PRIVATE_KEY: Usage =
    Usage { what: "a private key", kibibytes: 16, instead: "put the key there alone, as PEM" };
const CAS: Usage = Usage {
    what: "CA certificates",
    kibibytes: 256,
    instead: "leave only those there that the endpoint's certificate may be signed by",
};

impl Usage {
    const fn admits(&self, bytes: usize) -> bool {
        bytes <= self.kibibytes << 10
    }

    fn too_large(&self, kind: &str, name: &str, key: &str) -> String {
        let Self { what, kibibytes, instead } = self;
        format!(
            "key {key:?} of {kind} {name:?} is larger than {kibibytes} KiB, the most for {what}; {instead}"
        )
    }
}

/// A Secret.
#[derive(Debug)]
pub(super) struct StoredSecret {
    /// Nothing of those that are too large.
    values: BTreeMap<String, Option<SecretValue>>,
    client_certificate: OnceLock<Result<ClientCertificate, TlsError>>,
}

/// What is made of it is in a box: there is room for a hundred thousand values that nobody uses.
#[derive(Debug)]
struct SecretValue {
    bytes: Hidden,
    header: OnceLock<Box<Option<HeaderValue>>>,
    signing_keys: OnceLock<Box<Result<SigningKeys, SigningKeyError>>>,
}

/// What a Secret has under a key: never shown, and overwritten when it is let go.
/// What is made of it for a request, and what it came in, is not.
#[derive(PartialEq, Eq)]
struct Hidden(Zeroizing<Vec<u8>>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

impl PartialEq for StoredSecret {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl StoredSecret {
    pub(super) fn new(data: BTreeMap<String, ByteString>) -> Self {
        let kept = |(key, value): (String, ByteString)| {
            // The bytes are moved, so that no copy stays behind; those that are let go are overwritten too.
            let bytes = Hidden(Zeroizing::new(value.0));
            let usage = match key.as_str() {
                CHAIN_KEY => &CHAIN,
                PRIVATE_KEY_KEY => &PRIVATE_KEY,
                _ => &API_KEY,
            };
            let value = usage.admits(bytes.0.len()).then(|| SecretValue {
                bytes,
                header: OnceLock::new(),
                signing_keys: OnceLock::new(),
            });
            (key, value)
        };
        Self { values: data.into_iter().map(kept).collect(), client_certificate: OnceLock::new() }
    }

    pub(super) fn api_key(&self, reference: &SecretKeyRef) -> Result<HeaderValue, Problem> {
        let value = self.value(&reference.name, &reference.key, &API_KEY)?;
        let header = value.header.get_or_init(|| {
            let mut header = HeaderValue::from_bytes(&value.bytes.0).ok();
            if let Some(header) = &mut header {
                header.set_sensitive(true);
            }
            Box::new(header)
        });
        Option::clone(header).ok_or_else(|| {
            let SecretKeyRef { name, key } = reference;
            problem(
                Reason::SecretMalformed,
                format!(
                    "key {key:?} of Secret {name:?} has a character that no HTTP header can carry; a line break at the \
                     end is the usual one: write the value with printf, not with echo"
                ),
            )
        })
    }

    pub(super) fn signing_keys(&self, reference: &SecretKeyRef) -> Result<SigningKeys, Problem> {
        let SecretKeyRef { name, key } = reference;
        let value = self.value(name, key, &SIGNING_SECRET)?;
        let keys = value.signing_keys.get_or_init(|| Box::new(SigningKeys::parse(&value.bytes.0)));
        Result::clone(keys).map_err(|error| {
            problem(Reason::SecretMalformed, format!("key {key:?} of Secret {name:?}: {error}"))
        })
    }

    pub(super) fn client_certificate(&self, name: &str) -> Result<ClientCertificate, Problem> {
        let chain = self.value(name, CHAIN_KEY, &CHAIN)?;
        let key = self.value(name, PRIVATE_KEY_KEY, &PRIVATE_KEY)?;
        let parsed =
            self.client_certificate.get_or_init(|| ClientCertificate::parse(&chain.bytes.0, &key.bytes.0));
        parsed.clone().map_err(|error| of_tls(&error))
    }

    fn value(&self, name: &str, key: &str, usage: &Usage) -> Result<&SecretValue, Problem> {
        match self.values.get(key) {
            Some(Some(value)) if value.bytes.0.is_empty() => Err(problem(
                Reason::SecretEmpty,
                format!("key {key:?} of Secret {name:?} is empty; put the value there"),
            )),
            Some(Some(value)) if usage.admits(value.bytes.0.len()) => Ok(value),
            Some(_) => Err(problem(Reason::SecretMalformed, usage.too_large("Secret", name, key))),
            None => {
                let names = list(self.values.keys());
                let message = format!("Secret {name:?} has no key {key:?}; add it, or name one of {names}");
                Err(problem(Reason::SecretKeyMissing, message))
            }
        }
    }
}

/// A `ConfigMap`.
#[derive(Debug)]
pub(super) struct StoredConfigMap {
    /// Nothing of those that are too large.
    values: BTreeMap<String, Option<Pem>>,
}

/// As in a Secret, in a box.
#[derive(Debug)]
struct Pem {
    text: String,
    authorities: OnceLock<Box<Result<Authorities, TlsError>>>,
}

impl PartialEq for StoredConfigMap {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl StoredConfigMap {
    pub(super) fn new(data: BTreeMap<String, String>) -> Self {
        let kept = |(key, text): (String, String)| {
            let value = CAS.admits(text.len()).then(|| Pem { text, authorities: OnceLock::new() });
            (key, value)
        };
        Self { values: data.into_iter().map(kept).collect() }
    }

    pub(super) fn authorities(&self, name: &str, key: &str) -> Result<Authorities, Problem> {
        let unusable = |message| problem(Reason::CaUnusable, message);
        match self.values.get(key) {
            Some(Some(pem)) => {
                let parsed =
                    pem.authorities.get_or_init(|| Box::new(Authorities::parse(pem.text.as_bytes())));
                Result::clone(parsed).map_err(|error| of_tls(&error))
            }
            Some(None) => Err(unusable(CAS.too_large("ConfigMap", name, key))),
            None => {
                let names = list(self.values.keys());
                Err(unusable(format!(
                    "ConfigMap {name:?} has no key {key:?}; add it, or name one of {names}"
                )))
            }
        }
    }
}

fn of_tls(error: &TlsError) -> Problem {
    problem(error.reason(), format!("spec.tls: {error}"))
}

/// What is wrong with an object that is there.
const fn problem(reason: Reason, message: String) -> Problem {
    Problem { reason, message, missing: None }
}

/// Some of the names: an object has room for a hundred thousand.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = names.len();
    let some: Vec<_> = names.take(MOST_NAMES).map(|name| format!("{name:?}")).collect();
    match count.saturating_sub(MOST_NAMES) {
        _ if count == 0 => "none, since it is empty".to_owned(),
        0 => some.join(", "),
        more => format!("{}, and {more} more", some.join(", ")),
    }
}
