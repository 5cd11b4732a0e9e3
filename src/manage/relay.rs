//! Tests of webhooks that another dispatcher delivers to.
//!
//! ```text
//! caller ──> this dispatcher: who, may they, what ── journal ──> the one that runs the lane: try it
//!    ^                                                                      │
//!    └────────────────── the same answer as if it had been there <──────────┘
//! ```
//!
//! **Assumes** that whoever can ask by the journal's way may have a webhook tested: who asked in
//! the first place was looked at by the dispatcher that they asked.
//!
//! What is asked is made into an event by the dispatcher that tries it, so that nothing but a test of
//! a Webhook of that namespace can come of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answers::TestAnswer;
use super::problem::Problem;
use super::server::Api;
use super::test::{Trial, longest};
use crate::access::Review;
use crate::journal::{AskError, Inspect, Question};
use crate::model::EventType;

/// How much longer than the one that tries it, whoever asked that one waits.
const MARGIN: Duration = Duration::from_secs(5);

/// How long tests that have begun are waited for at the end.
const LAST: Duration = Duration::from_secs(5);

/// What one dispatcher asks another.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    namespace: String,
    id: String,
    r#type: String,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Tested(Box<TestAnswer>),
    Held { reason: String, message: String },
    Busy(String),
    Malformed(String),
    Unavailable(String),
}

impl From<Result<TestAnswer, Problem>> for Answer {
    fn from(result: Result<TestAnswer, Problem>) -> Self {
        match result {
            Ok(answer) => Self::Tested(Box::new(answer)),
            Err(Problem::Held { reason, message }) => Self::Held { reason, message },
            Err(Problem::Busy(message)) => Self::Busy(message),
            Err(Problem::Malformed(message)) => Self::Malformed(message),
            Err(
                problem @ (Problem::Unavailable(_)
                | Problem::Denied(_)
                | Problem::NotFound(_)
                | Problem::NoSuchPath
                | Problem::MethodNotAllowed),
            ) => Self::Unavailable(problem.to_string()),
        }
    }
}

impl From<Answer> for Result<TestAnswer, Problem> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Tested(answer) => Ok(*answer),
            Answer::Held { reason, message } => Err(Problem::Held { reason, message }),
            Answer::Busy(message) => Err(Problem::Busy(message)),
            Answer::Malformed(message) => Err(Problem::Malformed(message)),
            Answer::Unavailable(message) => Err(Problem::Unavailable(message)),
        }
    }
}

/// Has another dispatcher try it.
pub(super) async fn ask<J: Inspect>(
    journal: &J,
    trial: &Trial,
    longest: Duration,
) -> Result<TestAnswer, Problem> {
    let Trial { webhook, namespace, id, event_type } = trial;
    let asked =
        Asked { namespace: namespace.clone(), id: id.clone(), r#type: event_type.wire_name().to_owned() };
    let unreadable = |error: serde_json::Error| {
        Problem::Unavailable(format!(
            "the dispatcher that delivers to this webhook answered something else: {error}"
        ))
    };
    let question = serde_json::to_vec(&asked).map_err(unreadable)?;
    match journal.ask(*webhook, question.into(), longest + MARGIN).await {
        Ok(bytes) => serde_json::from_slice::<Answer>(&bytes).map_err(unreadable)?.into(),
        Err(AskError::Busy) => Err(Problem::Busy(format!("{}; nothing was sent", AskError::Busy))),
        Err(AskError::Unknown) => Err(Problem::Unavailable(format!(
            "{}: the test {id} may have been sent or not; if it was, `herald events get {id}` shows it",
            AskError::Unknown
        ))),
        Err(error @ (AskError::Nobody | AskError::Moved | AskError::Unavailable(_))) => {
            Err(Problem::Unavailable(format!("{error}; nothing was sent; try again in a moment")))
        }
    }
}

/// Tries what other dispatchers ask for, until shutdown.
pub(super) async fn answer<J: Inspect, R: Review>(api: Arc<Api<J, R>>, shutdown: CancellationToken) {
    let mut open = JoinSet::new();
    while let Some(question) = shutdown.run_until_cancelled(api.around().journal.asked()).await {
        while open.try_join_next().is_some() {}
        let api = Arc::clone(&api);
        open.spawn(async move {
            let answer = Answer::from(tried(&api, &question).await);
            // What cannot be written is dropped, which says that nothing is known.
            if let Ok(bytes) = serde_json::to_vec(&answer) {
                question.answer(Bytes::from(bytes));
            }
        });
    }
    // What is being tried ends with the attempts of this process.
    let _ = timeout(LAST, async { while open.join_next().await.is_some() {} }).await;
}

async fn tried<J: Inspect, R: Review>(api: &Api<J, R>, question: &Question) -> Result<TestAnswer, Problem> {
    let malformed = |what: &str| Problem::Malformed(format!("another dispatcher asks for {what}"));
    let asked: Asked =
        serde_json::from_slice(&question.bytes).map_err(|error| malformed(&error.to_string()))?;
    let Asked { namespace, id, r#type } = asked;
    let webhook = question.webhook;
    let known = api.known(webhook);
    if known.as_ref().is_some_and(|known| known.object.namespace != namespace) {
        return Err(malformed("a webhook of another namespace"));
    }
    let event_type = EventType::of_any_name(&r#type).map_err(|error| malformed(&error.to_string()))?;
    if !Trial::is_id(&id) {
        return Err(malformed("an id that no test has"));
    }
    Trial { webhook, namespace, id, event_type }.run(api.around(), longest(known.as_deref())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_the_same_problem_wherever_it_was_met() {
        let problems = [
            Problem::Held { reason: "Disabled".to_owned(), message: "it is disabled".to_owned() },
            Problem::Busy("64 wait".to_owned()),
            Problem::Malformed("what".to_owned()),
            Problem::Unavailable("no turn within 20 s".to_owned()),
        ];
        for problem in problems {
            let bytes = serde_json::to_vec(&Answer::from(Err(problem.clone()))).expect("it is written");
            let answer: Answer = serde_json::from_slice(&bytes).expect("it is read");
            assert_eq!(Result::from(answer), Err(problem));
        }
    }
}
