//! One request, from its header to its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, timeout};

use super::framing;
use super::limits::Limits;
use super::metrics::Metrics;
use super::parse::{Fault, Head, MAX_BATCH_BYTES, Refusal};
use super::problem::{Problem, Unavailable};
use super::quota::Quotas;
use crate::access::{Action, Authenticator, Review};
use crate::journal::{Append, Appended, Journal, RefusedReason};
use crate::model::{Clock, Event, EventType, WebhookUid};
use crate::subscriptions::Subscriptions;

/// How long the body of a refused request is read and thrown away, so that the
/// caller, who is still sending, gets to see the answer.
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// No request of several events becomes more deliveries.
const MOST_DELIVERIES: u64 = 100_000;
/// Bodies are counted in units of so many bytes.
const UNIT_BYTES: usize = 1024;

/// What ingestion needs of the subscriptions.
pub trait Matching: Send + Sync + 'static {
    /// Whether every Webhook has been read once: before that, an event would
    /// be matched to too few.
    fn ready(&self) -> bool;

    /// The webhooks that an event accepted now goes to.
    fn matching(&self, namespace: &str, event_type: EventType) -> Vec<WebhookUid>;
}

impl Matching for Subscriptions {
    fn ready(&self) -> bool {
        self.is_ready()
    }

    fn matching(&self, namespace: &str, event_type: EventType) -> Vec<WebhookUid> {
        Self::matching(self, namespace, event_type)
    }
}

/// Answers every request but a `POST` of events.
pub trait Others: Send + Sync + 'static {
    /// Answers one.
    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'_, Response<Full<Bytes>>>;
}

/// What became of the events of an accepted request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Accepted {
    /// Events that are stored by this request.
    pub accepted: u64,
    /// Events that were stored before, and are not delivered again.
    pub duplicate: u64,
    /// Deliveries that the accepted ones were matched to.
    pub matched: u64,
}

/// Answers requests.
pub struct Service<J, S, R> {
    authenticator: Arc<Authenticator<R>>,
    subscriptions: S,
    journal: J,
    metrics: Metrics,
    limits: Limits,
    clock: Clock,
    body_units: Semaphore,
    quotas: Quotas,
    others: Option<Arc<dyn Others>>,
}

impl<J: Journal, S: Matching, R: Review> Service<J, S, R> {
    /// Puts the parts together.
    pub fn new(
        authenticator: impl Into<Arc<Authenticator<R>>>,
        subscriptions: S,
        journal: J,
        metrics: Metrics,
        limits: Limits,
        clock: Clock,
    ) -> Self {
        let body_units = Semaphore::new(limits.body_bytes.max(MAX_BATCH_BYTES) / UNIT_BYTES);
        let authenticator = authenticator.into();
        let (quotas, others) = (Quotas::default(), None);
        Self { authenticator, subscriptions, journal, metrics, limits, clock, body_units, quotas, others }
    }

    /// Holds namespaces to these.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Has others answer what is not ingestion's.
    #[must_use]
    pub fn with_others(mut self, others: Arc<dyn Others>) -> Self {
        self.others = Some(others);
        self
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let fault = framing::fault(request.version(), request.headers());
        let last = fault.is_some() || framing::is_last(request.headers());
        let mut response = match fault {
            Some(fault) => {
                let problem = Problem::from(Refusal::from(fault));
                self.metrics.answered(StatusCode::BAD_REQUEST, Duration::ZERO);
                problem.response()
            }
            None => self.answer_framed(request).await,
        };
        if last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer_framed(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(others) = &self.others
            && (request.method() != Method::POST || namespace(request.uri().path()).is_none())
        {
            return others.answer(request).await;
        }
        let begun = Instant::now();
        let (head, mut body) = request.into_parts();
        let response = match self.accept(&head, &mut body).await {
            Ok(accepted) => accepted.response(),
            Err(problem) => {
                // Its message may repeat what the caller wrote.
                let (status, name) = problem.name();
                tracing::debug!(path = head.uri.path(), %status, name, "refused a request");
                if let Problem::OverQuota(over) = &problem {
                    self.metrics.over_quota(over.measure);
                    self.quotas.log(over);
                }
                // Who waits for a 100 Continue sends no body to throw away.
                if !head.headers.contains_key(EXPECT) {
                    discard(body).await;
                }
                problem.response()
            }
        };
        self.metrics.answered(response.status(), begun.elapsed());
        response
    }

    async fn accept(&self, head: &request::Parts, body: &mut Incoming) -> Result<Accepted, Problem> {
        let namespace = namespace(head.uri.path()).ok_or(Problem::NotFound)?;
        if head.method != Method::POST {
            return Err(Problem::MethodNotAllowed);
        }
        self.authenticator.admit(&head.headers, namespace, Action::SEND_EVENTS).await?;
        if !self.subscriptions.ready() {
            return Err(Problem::Unavailable(Unavailable::Starting));
        }
        let content = Head::read(&head.headers)?;
        // Who does not say how much it will be has to have room for the most.
        let announced = announced(body, content.max_body_bytes())?;
        self.quotas.take_bytes(namespace, announced as u64).map_err(Problem::OverQuota)?;
        let (bytes, _units) = timeout(self.limits.body, self.read(body, content.max_body_bytes(), announced))
            .await
            .unwrap_or(Err(Problem::TimedOut(self.limits.body)))?;
        let read = bytes.len();
        self.quotas.give_back_bytes(namespace, announced.saturating_sub(read) as u64);
        let events = content.events(&bytes, namespace, self.clock.now())?;
        drop(bytes);
        self.quotas.take_events(namespace, events.len() as u64, read as u64).map_err(Problem::OverQuota)?;
        self.store(namespace, events).await
    }

    /// Reads the body, with the memory for it taken first.
    async fn read(
        &self,
        body: &mut Incoming,
        limit: usize,
        announced: usize,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Problem> {
        let units = u32::try_from(announced.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let units = match self.body_units.try_acquire_many(units) {
            Ok(units) => units,
            // Half of the time for the body, so that there is an answer before its end.
            Err(_) => match timeout(self.limits.body / 2, self.body_units.acquire_many(units)).await {
                Ok(Ok(units)) => units,
                Ok(Err(_)) | Err(_) => return Err(Problem::Unavailable(Unavailable::Memory)),
            },
        };
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::BrokenBody(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + all.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    all.reserve(announced);
                    all.extend_from_slice(&std::mem::take(&mut first));
                }
                all.extend_from_slice(&data);
            }
        }
        Ok((if all.is_empty() { first } else { all.freeze() }, units))
    }

    /// Matches and stores. The events are durable when it returns `Ok`.
    async fn store(&self, namespace: &str, events: Vec<Event>) -> Result<Accepted, Problem> {
        if events.is_empty() {
            return Ok(Accepted::default());
        }
        let batch: Vec<Append> = events
            .into_iter()
            .map(|event| Append {
                webhooks: self.subscriptions.matching(&event.namespace, event.event_type),
                event: Arc::new(event),
            })
            .collect();
        let matched: Vec<u64> = batch.iter().map(|append| append.webhooks.len() as u64).collect();
        check_deliveries(&matched)?;
        // The journal may have stored what it did not answer for in time; the
        // producer's repeat is then a duplicate.
        let unknown = Problem::Unavailable(Unavailable::Unknown);
        let quota = self.quotas.of(namespace);
        let append = self.journal.append_within(batch, quota.most_queued());
        let Ok(outcomes) = timeout(self.limits.store, append).await else {
            return Err(unknown);
        };
        if outcomes.len() != matched.len() {
            return Err(unknown);
        }
        let mut answer = Accepted::default();
        for (outcome, matched) in outcomes.into_iter().zip(matched) {
            match outcome {
                Appended::Stored => {
                    answer.accepted += 1;
                    answer.matched += matched;
                }
                Appended::Duplicate => answer.duplicate += 1,
                Appended::Refused(RefusedReason::Full | RefusedReason::Unavailable) => {
                    return Err(Problem::Unavailable(Unavailable::Journal));
                }
                Appended::Refused(RefusedReason::OverQuota) => {
                    return Err(Problem::OverQuota(self.quotas.full(namespace, quota)));
                }
                Appended::Refused(RefusedReason::DiskFull) => {
                    return Err(Problem::Unavailable(Unavailable::Disk));
                }
                Appended::Unknown => return Err(unknown),
            }
        }
        self.metrics.stored(answer.accepted, answer.duplicate, answer.matched);
        Ok(answer)
    }
}

impl Accepted {
    fn response(self) -> Response<Full<Bytes>> {
        // A struct of numbers always has a JSON text.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = StatusCode::ACCEPTED;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// How many bytes a body may turn out to have.
fn announced(body: &Incoming, limit: usize) -> Result<usize, Problem> {
    let announced =
        body.size_hint().exact().map_or(limit, |size| usize::try_from(size).unwrap_or(usize::MAX));
    if announced > limit { Err(too_large(limit)) } else { Ok(announced) }
}

/// Each is written and held in memory on its way, also of events that are small. One event cannot be parted.
fn check_deliveries(matched: &[u64]) -> Result<(), Problem> {
    let deliveries = matched.iter().sum();
    if matched.len() == 1 || deliveries <= MOST_DELIVERIES {
        return Ok(());
    }
    let widest = matched.iter().copied().max().unwrap_or(1);
    let fitting = (MOST_DELIVERIES / widest.max(1)).max(1);
    Err(Problem::TooManyDeliveries { events: matched.len(), deliveries, most: MOST_DELIVERIES, fitting })
}

fn too_large(limit: usize) -> Problem {
    let fault = if limit == MAX_BATCH_BYTES { Fault::BatchTooLarge } else { Fault::EventTooLarge };
    Problem::Refused(fault.into())
}

/// The namespace in the path: a DNS label, which needs no decoding.
fn namespace(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/v1/namespaces/")?.strip_suffix("/events")?;
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    fits.then_some(name)
}

/// Reads on, for a while and up to a size, and keeps nothing.
async fn discard(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    let read = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > 2 * MAX_BATCH_BYTES {
                return;
            }
        }
    };
    // The connection closes if this is not enough.
    let _ = timeout(DISCARD_TIME, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_too_many_deliveries_at_once_is_to_be_sent_in_parts_and_one_event_never_is() {
        let batch = |events: usize, webhooks: u64| vec![webhooks; events];
        assert_eq!(check_deliveries(&batch(1000, 100)), Ok(()));
        assert_eq!(check_deliveries(&batch(1, 100_001)), Ok(()));
        let refused = check_deliveries(&batch(1000, 101)).unwrap_err();
        let Problem::TooManyDeliveries { events, deliveries, fitting, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!((events, deliveries, fitting), (1000, 101_000, 990));
        assert_eq!(check_deliveries(&vec![101; usize::try_from(fitting).unwrap()]), Ok(()), "as it was told");
    }

    #[test]
    fn the_path_has_a_namespace_or_is_not_ours() {
        let long = format!("/v1/namespaces/{}/events", "a".repeat(64));
        assert_eq!(namespace("/v1/namespaces/identity/events"), Some("identity"));
        assert_eq!(namespace("/v1/namespaces/a-1/events"), Some("a-1"));
        for path in [
            "/",
            "/v1/namespaces/identity",
            "/v1/namespaces//events",
            "/v1/namespaces/events",
            "/v1/namespaces/identity/events/",
            "/v1/namespaces/a/b/events",
            "/v1/namespaces/..%2f/events",
            "/v1/namespaces/Identity/events",
            "/v1/namespaces/-a/events",
            "/v1/namespaces/a-/events",
            "/v2/namespaces/identity/events",
            &long,
        ] {
            assert_eq!(namespace(path), None, "{path}");
        }
    }
}
