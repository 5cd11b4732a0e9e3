//! Tries a webhook with an event that nobody sent.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::answers::{EventHead, TestAnswer, TestRequest};
use super::problem::Problem;
use super::relay;
use super::server::{Shared, Surroundings};
use crate::access::{Action, Review};
use crate::dispatch::{Answered, Purpose};
use crate::journal::Inspect;
use crate::journal::inspect::EventName;
use crate::model::{Event, EventType, WebhookUid};
use crate::subscriptions::Known;

/// How long a test waits for its turn, beyond the webhook's own timeout.
const PATIENCE: Duration = Duration::from_secs(15);
/// No more of the answer's body is told.
const MOST_BODY: usize = 4096;
/// No request is larger.
const MOST_ASKED: usize = 4096;
/// How long a request may take to come.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn run<J: Inspect, R: Review>(
    State(api): Shared<J, R>,
    Path((namespace, webhook)): Path<(String, String)>,
    request: Request,
) -> Result<Json<TestAnswer>, Problem> {
    let (head, body) = request.into_parts();
    // It takes nothing of the disk, and waits for the endpoint in the row of its webhook.
    api.let_in(&head.headers, &namespace, Action::TEST_WEBHOOK).await?;
    let asked = read(&head.headers, body).await?;
    let (uid, known) = api.webhook(&namespace, &webhook)?;
    let event_type = if let Some(name) = &asked.r#type {
        EventType::of_any_name(name).map_err(|error| Problem::Malformed(error.to_string()))?
    } else {
        let wants = |event_type: &EventType| {
            known.as_ref().is_some_and(|known| known.settings.filter.wants(*event_type))
        };
        EventType::ALL.into_iter().find(wants).unwrap_or(EventType::UserCreated)
    };
    let trial = Trial { webhook: uid, namespace, id: Trial::new_id(), event_type };
    let (around, longest) = (api.around(), longest(known.as_deref()));
    let answer = if around.journal.runs(uid) {
        trial.run(around, longest).await
    } else {
        relay::ask(&around.journal, &trial, longest).await
    };
    answer.map(Json)
}

/// An event that nobody sent, to be tried.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) webhook: WebhookUid,
    pub(super) namespace: String,
    pub(super) id: String,
    pub(super) event_type: EventType,
}

/// What ids of tests begin with; a UUID follows.
const ID: &str = "test-";

impl Trial {
    fn new_id() -> String {
        format!("{ID}{}", uuid::Builder::from_random_bytes(rand::random()).into_uuid())
    }

    /// Whether it is an id of a test.
    pub(super) fn is_id(text: &str) -> bool {
        text.strip_prefix(ID).is_some_and(|uuid| uuid::Uuid::try_parse(uuid).is_ok())
    }

    /// Tries it by the lane of this process, in `longest`.
    pub(super) async fn run<J, R>(
        self,
        around: &Surroundings<J, R>,
        longest: Duration,
    ) -> Result<TestAnswer, Problem> {
        let event = Arc::new(Event {
            namespace: self.namespace,
            id: self.id,
            source: "/herald/test".to_owned(),
            event_type: self.event_type,
            subject: "herald-test".to_owned(),
            time: around.clock.now(),
            data: Bytes::from_static(b"{\"test\":true}"),
        });
        let answered = around
            .errands
            .send(self.webhook, Arc::clone(&event), Purpose::Trial)
            .map_err(|error| Problem::Busy(error.to_string()))?;
        let tried = match timeout(longest, answered).await {
            Ok(Ok(Answered::Tried(tried))) => tried,
            Ok(Ok(Answered::Held(reason, message))) => {
                return Err(Problem::Held { reason: reason.as_str().to_owned(), message });
            }
            Ok(Err(_)) => {
                let message =
                    "the webhook changed, or Herald is stopping: nothing is known of the test; try again";
                return Err(Problem::Unavailable(message.to_owned()));
            }
            Err(_) => {
                let message = format!(
                    "the test did not get its turn within {} s: the webhook's rate or places are taken",
                    longest.as_secs()
                );
                return Err(Problem::Unavailable(message));
            }
        };
        let name = EventName::from(&*event);
        let body = tried.body.get(..MOST_BODY).unwrap_or(&tried.body);
        Ok(TestAnswer {
            event: EventHead::from(&name),
            message_id: tried.message_id,
            delivered: tried.failure.is_none(),
            status: tried.status,
            failure: tried.failure.map(Into::into),
            body: String::from_utf8_lossy(body).into_owned(),
            durations: tried.phases.into(),
        })
    }
}

/// How long a test of a webhook may take.
pub(super) fn longest(known: Option<&Known>) -> Duration {
    known.map_or(Duration::ZERO, |known| known.settings.policy.timeout) + PATIENCE
}

/// What is asked for. A body is read only of who was let in, and kept as what it says: its frames
/// hold more memory than bytes.
async fn read(headers: &HeaderMap, mut body: Body) -> Result<TestRequest, Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::Malformed("send the header Content-Type: application/json".to_owned()));
    }
    let all = async {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::Malformed(format!("the body broke off: {error}")))?;
            let Some(data) = frame.data_ref() else { continue };
            if all.len() + data.len() > MOST_ASKED {
                return Err(Problem::Malformed(format!("the body is longer than {MOST_ASKED} bytes")));
            }
            all.extend_from_slice(data);
        }
        Ok(all)
    };
    let late = || Problem::Malformed(format!("the body did not come within {} s", ASKED_WITHIN.as_secs()));
    let all = timeout(ASKED_WITHIN, all).await.unwrap_or_else(|_elapsed| Err(late()))?;
    serde_json::from_slice(&all).map_err(|error| Problem::Malformed(format!("the body: {error}")))
}
