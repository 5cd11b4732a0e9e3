//! Answers that say no, as RFC 9457 has them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::parse::{Fault, Refusal};
use super::quota::Over;
use crate::access::Denied;
use crate::access::problem::{self, Kind};

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
    /// The caller is not let in.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Another path.
    #[error("post events to /v1/namespaces/{{namespace}}/events, with the name of a namespace")]
    NotFound,
    /// The path is right and the method is not.
    #[error("only POST is allowed here")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the body must arrive within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// One request would become more deliveries than are stored at one time.
    #[error(
        "the {events} events of this request are for webhooks {deliveries} times, more than {most} times at once; \
         send at most {fitting} of them in one request"
    )]
    TooManyDeliveries {
        /// Of the request.
        events: usize,
        /// What it would become.
        deliveries: u64,
        /// What it may become.
        most: u64,
        /// How many events that is at least.
        fitting: u64,
    },
    /// The caller sends more than it may.
    #[error("{0}")]
    OverQuota(Over),
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
    /// Too many bodies are being read at one time.
    #[error("too many requests are being read now")]
    Memory,
    /// The journal has no room, or is away.
    #[error("the events cannot be stored now")]
    Journal,
    /// What is left of the journal's disk is kept for what was accepted before.
    #[error("the disk of Herald's journal is full")]
    Disk,
    /// The journal did not say; a repeat is recognised.
    #[error("it is not known whether the events were stored")]
    Unknown,
}

/// When to try again after a 503. Short, since a producer holds events meanwhile.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);
/// When to try again while the disk is full: that takes deliveries, or a person.
const DISK_RETRY: Duration = Duration::from_secs(10);

impl Problem {
    const fn kind(&self) -> Kind {
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
            Self::Denied(denied) => denied.kind(),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Unknown path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::TimedOut(_) => (StatusCode::REQUEST_TIMEOUT, "timed-out", "Body too slow"),
            Self::TooManyDeliveries { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
            Self::OverQuota(_) => (StatusCode::TOO_MANY_REQUESTS, "over-quota", "Over quota"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        }
    }

    /// What may be logged of it.
    pub(super) const fn name(&self) -> (StatusCode, &'static str) {
        let (status, name, _) = self.kind();
        (status, name)
    }

    /// The answer, with the headers that its status calls for.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let index = if let Self::Refused(refusal) = self { refusal.index } else { None };
        let mut response = problem::response(self.kind(), self.to_string(), index);
        let headers = response.headers_mut();
        match self {
            Self::Refused(_) | Self::BrokenBody(_) | Self::NotFound | Self::TooManyDeliveries { .. } => {}
            Self::Denied(denied) => denied.add_headers(headers),
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::TimedOut(_) => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::OverQuota(over) => {
                headers.insert(RETRY_AFTER, seconds(over.retry_after));
            }
            Self::Unavailable(Unavailable::Disk) => {
                headers.insert(RETRY_AFTER, seconds(DISK_RETRY));
            }
            Self::Unavailable(
                Unavailable::Starting | Unavailable::Memory | Unavailable::Journal | Unavailable::Unknown,
            ) => {
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
    use crate::ingest::quota::{Quota, Quotas};
    use crate::model::UnknownEventType;

    async fn answer(problem: Problem) -> (Response<()>, Value) {
        let (parts, body) = problem.response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&body).unwrap())
    }

    /// By half a thousand events, which take half a second.
    fn over_quota() -> Problem {
        let quota = Quota { events_per_second: 1000, ..Quota::default() };
        let quotas = Quotas::new(quota, true);
        quotas.take_events("identity", 1000, 0).unwrap();
        Problem::OverQuota(quotas.take_events("identity", 1000, 0).unwrap_err())
    }

    #[tokio::test]
    async fn each_problem_has_its_status_and_its_type() {
        let invalid = Fault::Invalid { name: "id", message: "must".to_owned() };
        let table = [
            (Refusal::from(Fault::Malformed(String::new())).into(), 400, "malformed"),
            (Problem::BrokenBody(String::new()), 400, "malformed"),
            (Denied::NoToken.into(), 401, "unauthenticated"),
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
            (Problem::TooManyDeliveries { events: 9, deliveries: 9, most: 8, fitting: 8 }, 413, "too-large"),
            (over_quota(), 429, "over-quota"),
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
        let quota = answer(over_quota()).await.0;
        assert_eq!(quota.headers()["retry-after"], "1");
        let unavailable = answer(Problem::Unavailable(Unavailable::Starting)).await.0;
        assert_eq!(unavailable.headers()["retry-after"], "1");
        let (full, document) = answer(Problem::Unavailable(Unavailable::Disk)).await;
        assert_eq!(full.headers()["retry-after"], "10");
        assert!(document["detail"].as_str().is_some_and(|text| text.contains("disk")), "{document}");
        assert_eq!(answer(Problem::MethodNotAllowed).await.0.headers()["allow"], "POST");
        let challenge = answer(Denied::NoToken.into()).await.0.headers()["www-authenticate"].clone();
        assert_eq!(challenge, "Bearer realm=\"herald\"");
    }
}
