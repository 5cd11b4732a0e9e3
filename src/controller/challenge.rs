//! Asks an endpoint whether it agrees to receive Herald's webhooks.
//!
//! ```text
//! GET uri, X-Verification-Key: <fresh key> ─> 2xx {"key": "<the same key>", …}
//! ```
//!
//! **Guarantees.** No secret of the webhook is sent: an endpoint that has not
//! proved itself gets none. The key is fresh for each try, compared in constant
//! time, and appears in no log, error or status.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::api::Reason;
use crate::model::{EndpointUri, without_query};
use crate::outbound::{self, Answer, Channel, ExchangeError, NoRoom, Pass, Request};

const KEY_HEADER: HeaderName = HeaderName::from_static("x-verification-key");
/// For all of it, from name resolution to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why an endpoint has not proved itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChallengeFailure {
    /// There was no whole answer.
    #[error(transparent)]
    NoAnswer(#[from] ExchangeError),
    /// The answer's status was not 2xx.
    #[error("{} answered with status {status}; it must answer the challenge with 2xx{hint}", without_query(uri.as_str()), hint = hint(*status))]
    UnexpectedStatus {
        /// What was asked.
        uri: EndpointUri,
        /// What it answered.
        status: StatusCode,
    },
    /// The answer's body was no JSON object with a `key` that is a string.
    #[error(
        "the answer of {} must be the JSON object {{\"key\": \"<the value of X-Verification-Key>\"}}, of at most 64 KiB",
        without_query(.0.as_str())
    )]
    MalformedAnswer(EndpointUri),
    /// The answer held another key.
    #[error(
        "the answer of {} holds another key than the X-Verification-Key of the request",
        without_query(.0.as_str())
    )]
    KeyMismatch(EndpointUri),
}

impl ChallengeFailure {
    /// The word for it in a condition.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::NoAnswer(error) => error.reason(),
            Self::UnexpectedStatus { .. } => Reason::UnexpectedStatus,
            Self::MalformedAnswer(_) => Reason::MalformedAnswer,
            Self::KeyMismatch(_) => Reason::KeyMismatch,
        }
    }
}

/// Challenges the endpoint at `uri` once: whether it has proved that it agrees.
///
/// # Errors
/// Its address has no room: nothing was tried.
pub(super) async fn challenge(
    channel: &Channel,
    uri: &EndpointUri,
    pass: Pass,
) -> Result<Result<(), ChallengeFailure>, NoRoom> {
    let key = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let mut headers = HeaderMap::with_capacity(3);
    if let Ok(mut value) = HeaderValue::from_str(&key) {
        value.set_sensitive(true);
        headers.insert(KEY_HEADER, value);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(outbound::USER_AGENT));
    let request = Request { method: Method::GET, headers, body: Bytes::new() };
    let exchange = channel.try_exchange(request, DEADLINE, pass).await?;
    Ok(exchange.end.map_err(ChallengeFailure::from).and_then(|answer| judge(&answer, &key, uri)))
}

pub(super) fn judge(answer: &Answer, key: &str, uri: &EndpointUri) -> Result<(), ChallengeFailure> {
    if !answer.status.is_success() {
        return Err(ChallengeFailure::UnexpectedStatus { uri: uri.clone(), status: answer.status });
    }
    let object = if answer.truncated { None } else { serde_json::from_slice(&answer.body).ok() };
    let object: Option<serde_json::Map<String, serde_json::Value>> = object;
    let Some(answered) = object.as_ref().and_then(|object| object.get("key")?.as_str()) else {
        return Err(ChallengeFailure::MalformedAnswer(uri.clone()));
    };
    if bool::from(answered.as_bytes().ct_eq(key.as_bytes())) {
        Ok(())
    } else {
        Err(ChallengeFailure::KeyMismatch(uri.clone()))
    }
}

fn hint(status: StatusCode) -> &'static str {
    if status.is_redirection() {
        ", and redirects are not followed: put the final address into spec.uri"
    } else {
        ""
    }
}

#[cfg(test)]
mod endpoints;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_in_a_whole_json_object_under_a_2xx_is_a_proof() {
        let table: [(u16, &str, bool, Option<Reason>); 14] = [
            (200, r#"{"key": "k"}"#, false, None),
            (204, r#"{"key":"k"}"#, false, None),
            (299, "\n{\"key\": \"k\", \"more\": [1]} ", false, None),
            (199, r#"{"key": "k"}"#, false, Some(Reason::UnexpectedStatus)),
            (302, r#"{"key": "k"}"#, false, Some(Reason::UnexpectedStatus)),
            (500, r#"{"key": "k"}"#, false, Some(Reason::UnexpectedStatus)),
            (200, "", false, Some(Reason::MalformedAnswer)),
            (200, "k", false, Some(Reason::MalformedAnswer)),
            (200, r#""k""#, false, Some(Reason::MalformedAnswer)),
            (200, r#"[{"key": "k"}]"#, false, Some(Reason::MalformedAnswer)),
            (200, r#"{"key": 1}"#, false, Some(Reason::MalformedAnswer)),
            (200, r#"{"key": "k"}"#, true, Some(Reason::MalformedAnswer)),
            (200, r#"{"key": "K"}"#, false, Some(Reason::KeyMismatch)),
            (200, r#"{"key": ""}"#, false, Some(Reason::KeyMismatch)),
        ];
        let uri: EndpointUri = "https://hooks.example.com/".parse().unwrap();
        for (status, body, truncated, expected) in table {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::from_static(body.as_bytes()),
                truncated,
            };
            let verdict = judge(&answer, "k", &uri);
            assert_eq!(
                verdict.as_ref().err().map(ChallengeFailure::reason),
                expected,
                "{status} {body}: {verdict:?}"
            );
        }
    }
}
