//! Answers that say no, as RFC 9457 has them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::parse::{Fault, Refusal};

/// Why a request was not accepted. The message is for whoever sent it: it says
/// what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The events are not as they must be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The body broke off, or its framing is wrong.
    #[error("the body could not be read: {0}")]
    BrokenBody(String),
    /// No bearer token.
    #[error("send a bearer token of a ServiceAccount in the header Authorization")]
    NoToken,
    /// The token is not good here.
    #[error(
        "the token is not valid, has expired, or is not meant for this Herald; \
         ask for a new one with the audience that Herald was started with"
    )]
    BadToken,
    /// RBAC does not let the caller send to the namespace.
    #[error(
        "{user:?} may not create userevents.herald.dev in the namespace {namespace:?}; \
         bind a Role that allows it"
    )]
    Forbidden {
        /// Who called.
        user: String,
        /// Where to.
        namespace: String,
    },
    /// Another path.
    #[error("post events to /v1/namespaces/{{namespace}}/events, with the name of a namespace")]
    NotFound,
    /// The path is right and the method is not.
    #[error("only POST is allowed here")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the body must arrive within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The caller sends more than it may.
    #[error("over quota; send again in {} seconds", .retry_after.as_secs())]
    OverQuota {
        /// When there is room again.
        retry_after: Duration,
    },
    /// Nothing can be accepted now, through no fault of the caller.
    #[error("{0}; send the whole request again")]
    Unavailable(Unavailable),
}

/// What is missing for an event to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It is not known yet who wants what.
    #[error("Herald is starting and has not read the Webhooks yet")]
    Starting,
    /// The API server does not say who the caller is.
    #[error("the API server cannot be asked about the token now")]
    Authentication,
    /// Too many bodies are being read at one time.
    #[error("too many requests are being read now")]
    Memory,
    /// The journal has no room, or is away.
    #[error("the events cannot be stored now")]
    Journal,
    /// The journal did not say; a repeat is recognised.
    #[error("it is not known whether the events were stored")]
    Unknown,
}

/// When to try again after a 503. Short, since a producer holds events meanwhile.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);
/// Where the types of problems live. They are names; nothing need be there.
const TYPES: &str = "https://herald.dev/problems/";

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

impl Problem {
    /// Status, last segment of the type, and title.
    const fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Refused(refusal) => match refusal.fault {
                Fault::ContentType(_) => {
                    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "Unsupported content type")
                }
                Fault::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
                Fault::EventTooLarge
                | Fault::BatchTooLarge
                | Fault::TooManyEvents
                | Fault::DataTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
                Fault::Missing(_) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "missing-attribute", "Missing attribute")
                }
                Fault::Invalid { .. } => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "invalid-attribute", "Invalid attribute")
                }
                Fault::UnknownType(_) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "unknown-event-type", "Unknown event type")
                }
            },
            Self::BrokenBody(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Self::NoToken | Self::BadToken => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated")
            }
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden", "Not allowed in this namespace"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Unknown path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::TimedOut(_) => (StatusCode::REQUEST_TIMEOUT, "timed-out", "Body too slow"),
            Self::OverQuota { .. } => (StatusCode::TOO_MANY_REQUESTS, "over-quota", "Over quota"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        }
    }

    /// The answer, with the headers that its status calls for.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let (status, name, title) = self.kind();
        let document = Document {
            r#type: format!("{TYPES}{name}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            index: if let Self::Refused(refusal) = self { refusal.index } else { None },
        };
        // A struct of strings and numbers always has a JSON text.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Refused(_) | Self::BrokenBody(_) | Self::Forbidden { .. } | Self::NotFound => {}
            // Who has shown no good token must not hold a connection.
            Self::NoToken => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"herald\""));
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::BadToken => {
                let challenge = HeaderValue::from_static("Bearer realm=\"herald\", error=\"invalid_token\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::TimedOut(_) => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::OverQuota { retry_after } => {
                headers.insert(RETRY_AFTER, seconds(*retry_after));
            }
            Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, seconds(UNAVAILABLE_RETRY));
            }
        }
        response
    }
}

/// Whole seconds, at least one: a zero would invite a busy loop.
fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::UnknownEventType;

    async fn answer(problem: Problem) -> (Response<()>, Value) {
        let (parts, body) = problem.response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn each_problem_has_its_status_and_its_type() {
        let forbidden = Problem::Forbidden { user: "u".to_owned(), namespace: "ns".to_owned() };
        let invalid = Fault::Invalid { name: "id", message: "must".to_owned() };
        let table = [
            (Refusal::from(Fault::Malformed(String::new())).into(), 400, "malformed"),
            (Problem::BrokenBody(String::new()), 400, "malformed"),
            (Problem::NoToken, 401, "unauthenticated"),
            (Problem::BadToken, 401, "unauthenticated"),
            (forbidden, 403, "forbidden"),
            (Problem::NotFound, 404, "not-found"),
            (Problem::MethodNotAllowed, 405, "method-not-allowed"),
            (Problem::TimedOut(Duration::from_secs(1)), 408, "timed-out"),
            (Refusal::from(Fault::EventTooLarge).into(), 413, "too-large"),
            (Refusal::from(Fault::BatchTooLarge).into(), 413, "too-large"),
            (Refusal::from(Fault::TooManyEvents).into(), 413, "too-large"),
            (Refusal::from(Fault::DataTooLarge(1)).into(), 413, "too-large"),
            (Refusal::from(Fault::ContentType(String::new())).into(), 415, "content-type"),
            (Refusal::from(Fault::Missing("id")).into(), 422, "missing-attribute"),
            (Refusal::from(invalid).into(), 422, "invalid-attribute"),
            (
                Refusal::from(Fault::UnknownType(UnknownEventType("x".to_owned()))).into(),
                422,
                "unknown-event-type",
            ),
            (Problem::OverQuota { retry_after: Duration::from_millis(1500) }, 429, "over-quota"),
            (Problem::Unavailable(Unavailable::Journal), 503, "unavailable"),
        ];
        for (problem, status, name) in table {
            let (response, document) = answer(problem.clone()).await;
            assert_eq!(response.status(), status, "{problem:?}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(document["status"], status, "{problem:?}");
            assert_eq!(document["type"], format!("https://herald.dev/problems/{name}"), "{problem:?}");
            assert_eq!(document["detail"], problem.to_string());
            assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
            assert_eq!(document.get("index"), None);
        }
    }

    #[tokio::test]
    async fn a_fault_in_a_batch_has_its_index_as_a_member() {
        let (_, document) = answer(Refusal::at(7, Fault::Missing("id")).into()).await;
        assert_eq!(document["index"], json!(7));
    }

    #[tokio::test]
    async fn a_problem_that_passes_says_when_to_try_again() {
        let quota = answer(Problem::OverQuota { retry_after: Duration::from_millis(1500) }).await.0;
        assert_eq!(quota.headers()["retry-after"], "2");
        let unavailable = answer(Problem::Unavailable(Unavailable::Starting)).await.0;
        assert_eq!(unavailable.headers()["retry-after"], "1");
        assert_eq!(answer(Problem::MethodNotAllowed).await.0.headers()["allow"], "POST");
        let challenge = answer(Problem::NoToken).await.0.headers()["www-authenticate"].clone();
        assert_eq!(challenge, "Bearer realm=\"herald\"");
    }
}
