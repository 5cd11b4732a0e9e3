//! Reading a stream: one message, or a stretch of them.

use std::time::Duration;

use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind, Stream};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Serialize;

use crate::journal::Unavailable;

/// How often a message that a server does not have yet is asked for, before the leader is.
const AGAIN: u32 = 3;

/// How long any server may take for one message before another is asked: the one that was may be cut
/// off, which the others notice late.
pub const QUICK: Duration = Duration::from_secs(1);

/// How long the server may take for a stretch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that is read.
#[derive(Clone)]
pub struct Source {
    client: Client,
    stream: Stream<()>,
    /// The same, for requests that are answered within [`QUICK`] or made again.
    quick: Stream<()>,
    subject: String,
}

/// A message of a stream.
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// Its headers, with those of the server.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Which messages of a stretch.
#[derive(Clone, Debug, Serialize)]
pub struct Stretch {
    /// From this sequence on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// From this time on, by the server's clock: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Of this subject.
    pub next_by_subj: String,
    /// At most so many.
    pub batch: usize,
    /// At most about so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<usize>,
}

impl Source {
    /// Of the stream of this name.
    pub fn new(client: Client, stream: Stream<()>, quick: Stream<()>, name: &str) -> Self {
        Self { client, stream, quick, subject: format!("$JS.API.DIRECT.GET.{name}") }
    }

    /// The handle of the stream.
    pub const fn stream(&self) -> &Stream<()> {
        &self.stream
    }

    /// The body of the message of this sequence; `None` if there is none any more.
    ///
    /// # Errors
    /// The server does not answer, or does not have it yet.
    pub async fn get(&self, sequence: u64) -> Result<Option<Bytes>, Unavailable> {
        let away = |error: &dyn std::fmt::Display| Unavailable(format!("message {sequence}: {error}"));
        for attempt in 0..AGAIN {
            match self.quick.direct_get(sequence).await {
                Ok(message) => return Ok(Some(message.payload)),
                // One that follows the leader may be behind it.
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                    tokio::time::sleep(Duration::from_millis(20) * attempt).await;
                }
                Err(error) => tracing::debug!(sequence, %error, "a message is asked for again"),
            }
        }
        if let Some(body) = self.of_leader(sequence).await? {
            return Ok(Some(body));
        }
        // Whoever told of it may have been ahead of the leader: only what that has passed is gone.
        let info = self.stream.get_info().await.map_err(|error| away(&error))?;
        if info.state.last_sequence < sequence {
            return Err(away(&"the leader does not have it yet"));
        }
        self.of_leader(sequence).await
    }

    async fn of_leader(&self, sequence: u64) -> Result<Option<Bytes>, Unavailable> {
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Unavailable(format!("message {sequence}: {error}"))),
        }
    }

    /// The last message of a subject; `None` if there is none.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn last(&self, subject: &str) -> Result<Option<Stored>, Unavailable> {
        // Of the leader: one that follows may be behind.
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(Stored {
                sequence: message.sequence,
                headers: message.headers,
                body: message.payload,
            })),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Unavailable(format!("the last message of {subject}: {error}"))),
        }
    }

    /// The first sequence that there is.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn first(&self) -> Result<u64, Unavailable> {
        let info = self.stream.get_info().await.map_err(|error| Unavailable(error.to_string()))?;
        Ok(info.state.first_sequence)
    }

    /// The messages of a stretch, and whether there are no more.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn stretch(&self, stretch: &Stretch) -> Result<(Vec<Stored>, bool), Unavailable> {
        let away = |error: &dyn std::fmt::Display| Unavailable(format!("a stretch of messages: {error}"));
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| away(&error))?;
        let request = serde_json::to_vec(stretch).map_err(|error| away(&error))?;
        self.client
            .publish_with_reply(self.subject.clone(), inbox, request.into())
            .await
            .map_err(|error| away(&error))?;
        let mut found = Vec::new();
        loop {
            let answer = tokio::time::timeout(TIMEOUT, answers.next()).await;
            let Ok(Some(answer)) = answer else { return Err(away(&"no answer")) };
            let headers = answer.headers.unwrap_or_default();
            match answer.status.map(|status| status.as_u16()) {
                None => {
                    let sequence = headers.get("Nats-Sequence").and_then(|text| text.as_str().parse().ok());
                    found.push(Stored { sequence: sequence.unwrap_or(0), headers, body: answer.payload });
                }
                // The end of what was asked for, and how much there would be beyond it.
                Some(204) => {
                    let more = headers.get("Nats-Num-Pending").is_some_and(|text| text.as_str() != "0");
                    return Ok((found, !more));
                }
                Some(404) => return Ok((found, true)),
                Some(status) => return Err(away(&format!("the server says {status}"))),
            }
        }
    }
}
