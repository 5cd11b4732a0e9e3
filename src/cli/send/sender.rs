//! Posts batches, and posts again what could not be stored.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use reqwest::Response;
use tokio::time::{Instant, sleep};

use super::input::Batch;
use crate::cli::connection::{Connection, Problem, retry_after};
use crate::ingest::Accepted;

/// For one request; the server has limits of its own below that.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Before the next try where the server does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a batch in the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored.
    Accepted(Accepted),
    /// Not stored, for the reason that is told.
    Refused(String),
}

/// A connection, and how long to go on.
pub(super) struct Sender {
    connection: Connection,
    limit: Duration,
}

/// What an answer means for what to do next.
enum Answer {
    Final(Outcome),
    /// The token may have expired meanwhile.
    BadToken(String),
    /// Try again.
    Later {
        after: Duration,
        message: String,
    },
}

impl Sender {
    /// A batch is tried again for at most `limit`.
    pub(super) const fn new(connection: Connection, limit: Duration) -> Self {
        Self { connection, limit }
    }

    /// Sends a batch until it is stored, or refused, or the time is up. A
    /// repeat does no harm: Herald knows an event by its source and id.
    pub(super) async fn send(&mut self, batch: &Batch) -> anyhow::Result<Outcome> {
        let deadline = Instant::now() + self.limit;
        loop {
            let (after, message) = match self.post(batch).await {
                Answer::Final(outcome) => return Ok(outcome),
                Answer::BadToken(message) => {
                    if !self.connection.renew().await? {
                        return Ok(Outcome::Refused(message));
                    }
                    (Duration::ZERO, message)
                }
                Answer::Later { after, message } => (after, message),
            };
            if Instant::now() + after > deadline {
                return Ok(Outcome::Refused(message));
            }
            sleep(after).await;
        }
    }

    async fn post(&self, batch: &Batch) -> Answer {
        let request = self
            .connection
            .request(Method::POST, &["events"])
            .header(CONTENT_TYPE, batch.content_type)
            .body(batch.body.clone());
        match request.send().await {
            Ok(response) => judge(response, batch).await,
            Err(error) => Answer::Later {
                after: PAUSE,
                message: format!("no answer: {:#}", anyhow::Error::from(error)),
            },
        }
    }
}

async fn judge(response: Response, batch: &Batch) -> Answer {
    let status = response.status();
    let after = retry_after(&response);
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => {
            return Answer::Later { after: PAUSE, message: format!("half an answer: {error}") };
        }
    };
    if status == StatusCode::ACCEPTED {
        return Answer::Final(match serde_json::from_slice(&body) {
            Ok(accepted) => Outcome::Accepted(accepted),
            Err(_) => Outcome::Refused("the server's answer is not Herald's".to_owned()),
        });
    }
    let problem = Problem::read(&body);
    let place = match problem.index {
        Some(index) => format!("event {} of the input: ", batch.first + index),
        None if batch.events > 1 => {
            format!("events {} to {} of the input: ", batch.first, batch.first + batch.events - 1)
        }
        None => String::new(),
    };
    let message = format!("{place}{}", problem.message(status));
    match status {
        StatusCode::UNAUTHORIZED => Answer::BadToken(message),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Answer::Later { after: after.map_or(PAUSE, Duration::from_secs), message }
        }
        _ => Answer::Final(Outcome::Refused(message)),
    }
}

#[cfg(test)]
mod tests;
