//! Writing to a stream: what the server answered, and what it may have done without an answer.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use serde::Deserialize;

use crate::journal::Unavailable;

/// How long the server may take. What was not answered by then may be stored or not.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where.
    pub subject: String,
    /// With what headers.
    pub headers: HeaderMap,
    /// And what body.
    pub body: Bytes,
}

/// Why a message was not stored, or may not be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// It was not: what it depends on has changed, or is changing.
    #[error("another write came first")]
    Superseded,
    /// It was not: there is no room.
    #[error("the stream is full: {0}")]
    Full(String),
    /// It was not, for a reason that passes.
    #[error("{0}")]
    NotStored(String),
    /// It may be stored or not.
    #[error("no answer in time")]
    Unknown,
}

impl From<Unavailable> for PublishError {
    /// What had to be read before was not.
    fn from(error: Unavailable) -> Self {
        Self::NotStored(error.to_string())
    }
}

/// The header by which a write depends on the last message of a subject.
pub const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<ServerError>,
}

#[derive(Deserialize)]
struct ServerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// What the server calls "wrong last sequence", with a number or without.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// What the server calls "insufficient storage resources available".
const NO_STORAGE: u64 = 10047;

/// How it says that a stream has as many bytes as it may have.
const MOST_BYTES: &str = "maximum bytes exceeded";

/// Stores one message, and answers with its sequence when it is as durable as the stream is.
pub async fn publish(client: &Client, message: Outgoing) -> Result<u64, PublishError> {
    publish_within(client, message, TIMEOUT).await
}

/// The same, where the answer is waited for so long.
pub async fn publish_within(
    client: &Client,
    message: Outgoing,
    limit: Duration,
) -> Result<u64, PublishError> {
    if client.connection_state() != State::Connected {
        return Err(PublishError::NotStored("not connected to NATS".to_owned()));
    }
    let Outgoing { subject, headers, body } = message;
    let request = Request::new().headers(headers).payload(body).timeout(Some(limit));
    let answer = client.send_request(subject, request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => {
            PublishError::NotStored("no server of NATS leads the stream now".to_owned())
        }
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            PublishError::NotStored(error.to_string())
        }
        RequestErrorKind::TimedOut | RequestErrorKind::Other => PublishError::Unknown,
    })?;
    let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|error| {
        PublishError::NotStored(format!("an answer that is none of JetStream's: {error}"))
    })?;
    match answer.error {
        None => Ok(answer.seq),
        Some(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => Err(PublishError::Superseded),
        Some(error) if error.err_code == NO_STORAGE || error.description == MOST_BYTES => {
            Err(PublishError::Full(error.description))
        }
        Some(error) => Err(PublishError::NotStored(error.description)),
    }
}

/// Stores several messages one right after the other, all or none; answers with the sequence of
/// the last.
pub async fn publish_all(client: &Client, messages: Vec<Outgoing>) -> Result<u64, PublishError> {
    let id = uuid::Uuid::new_v4().to_string();
    let count = messages.len();
    for (number, mut message) in (1..).zip(messages) {
        if count > 1 {
            message.headers.insert("Nats-Batch-Id", id.as_str());
            message.headers.insert("Nats-Batch-Sequence", number.to_string());
        }
        if number == count {
            if count > 1 {
                message.headers.insert("Nats-Batch-Commit", "1");
            }
            return publish(client, message).await;
        }
        let Outgoing { subject, headers, body } = message;
        client
            .publish_with_headers(subject, headers, body)
            .await
            .map_err(|error| PublishError::NotStored(error.to_string()))?;
    }
    Ok(0)
}
