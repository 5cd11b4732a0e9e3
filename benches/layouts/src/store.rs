//! Storing messages, alone and in atomic batches.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use serde_json::Value;

/// The most messages of an atomic batch.
const MOST: usize = 1000;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The server did not store it.
#[derive(Debug)]
pub struct Refused {
    /// What the server calls the reason.
    pub code: u64,
    answer: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not stored: {}", self.answer)
    }
}

impl std::error::Error for Refused {}

/// A number that there was not yet.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What is to be stored.
pub struct Message {
    /// Where.
    pub subject: String,
    /// With what headers.
    pub headers: HeaderMap,
    /// And what body.
    pub body: Bytes,
}

impl Message {
    /// Without headers.
    pub fn new(subject: impl Into<String>, body: Bytes) -> Self {
        Self { subject: subject.into(), headers: HeaderMap::new(), body }
    }

    /// With a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}

/// A body of so many bytes.
pub fn body(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

/// Stores one message; its sequence, when it is on the disks of a majority.
pub async fn store(client: &Client, message: Message) -> Result<u64> {
    let Message { subject, headers, body } = message;
    let request = Request::new().headers(headers).payload(body).timeout(Some(TIMEOUT));
    let answer = client.send_request(subject, request).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    if let Some(error) = answer.get("error") {
        let code = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
        return Err(Refused { code, answer: error.to_string() }.into());
    }
    answer.get("seq").and_then(Value::as_u64).context("an answer without a sequence")
}

/// Stores messages in one atomic batch, or in as many as it takes, one after the other; the
/// sequence of the last.
pub async fn store_all(client: &Client, messages: Vec<Message>) -> Result<u64> {
    let (mut messages, mut last) = (messages.into_iter().peekable(), 0);
    while messages.peek().is_some() {
        last = batch(client, messages.by_ref().take(MOST).collect()).await?;
    }
    Ok(last)
}

async fn batch(client: &Client, messages: Vec<Message>) -> Result<u64> {
    let id = format!("layouts-{}", unique());
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
            return store(client, message).await;
        }
        client.publish_with_headers(message.subject, message.headers, message.body).await?;
    }
    bail!("a batch of nothing")
}
