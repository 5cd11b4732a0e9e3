//! What happened, for people: attempts in a stream of their own, events in the log itself.
//!
//! Attempts are gathered in memory and stored every [`EVERY`]: a crash loses
//! those, and nothing that is delivered depends on them.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::core::Core;
use super::publish::{Outgoing, publish};
use super::source::{Stored, Stretch};
use super::wire::{AppendIndex, INDEX, Number, decode_events};
use crate::journal::inspect::{Attempt, AttemptFilter, Cursor, Kept, KeptFilter, Page, PageRoom};
use crate::journal::record::{self, Reader, history};
use crate::journal::{Unavailable, record::Corrupt};

/// How long attempts are gathered.
const EVERY: Duration = Duration::from_millis(250);

/// The most bytes of attempts in a message.
const MESSAGE: usize = 256 << 10;

/// The most bytes of attempts that wait to be stored; beyond them they are lost, and counted.
const WAITING: usize = 8 << 20;

/// Sequences that are looked through at a time.
const STRIDE: u64 = 512;

/// Bytes that are asked for at a time.
const STRETCH: usize = 4 << 20;

/// How far the server's clock may be from ours.
const SKEW: Duration = Duration::from_mins(2);

/// Attempts that wait to be stored.
#[derive(Default)]
pub struct Waiting(Mutex<Gathered>);

#[derive(Default)]
struct Gathered {
    by_namespace: HashMap<String, Vec<u8>>,
    bytes: usize,
}

impl Waiting {
    /// See [`crate::journal::Journal::note`].
    pub fn note(&self, core: &Core, attempt: &Attempt) {
        if core.config.limits.attempts.bytes == 0 {
            return;
        }
        let mut body = Vec::new();
        history::encode_attempt(&mut body, attempt);
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.bytes + body.len() > WAITING {
            core.metrics.attempts_lost.inc();
            return;
        }
        gathered.bytes += body.len();
        let bytes = gathered.by_namespace.entry(attempt.event.namespace.clone()).or_default();
        record::put(bytes, &body);
    }

    fn take(&self) -> HashMap<String, Vec<u8>> {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.bytes = 0;
        mem::take(&mut gathered.by_namespace)
    }

    /// Stores what was noted.
    pub async fn store(&self, core: &Core) {
        for (namespace, bytes) in self.take() {
            for piece in pieces(&bytes) {
                let count = records(&piece).len();
                let subject = core.names.attempt(&namespace);
                let message = Outgoing { subject, headers: HeaderMap::new(), body: piece };
                if let Err(error) = publish(&core.client, message).await {
                    tracing::debug!(%error, "attempts were not kept");
                    core.metrics.attempts_lost.inc_by(count as u64);
                }
            }
        }
    }
}

/// Stores what is noted, until shutdown.
pub async fn run(core: Arc<Core>, waiting: Arc<Waiting>) {
    while core.shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        waiting.store(&core).await;
    }
    waiting.store(&core).await;
}

/// Records, in messages of at most [`MESSAGE`] bytes.
fn pieces(bytes: &[u8]) -> Vec<Bytes> {
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    for body in records(bytes) {
        if piece.len() + body.len() > MESSAGE && !piece.is_empty() {
            pieces.push(Bytes::from(mem::take(&mut piece)));
        }
        record::put(&mut piece, body);
    }
    if !piece.is_empty() {
        pieces.push(piece.into());
    }
    pieces
}

fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let mut reader = Reader { bytes, kind: "attempts" };
    let mut records = Vec::new();
    while let Ok(body) = reader.block() {
        records.push(body);
    }
    records
}

/// A place in a listing: a message, and a record in it.
type Position = (u64, u64);

/// See [`crate::journal::Inspect::attempts`].
pub async fn attempts(
    core: &Core,
    of: &AttemptFilter,
    from: Option<Cursor>,
    limit: usize,
) -> Result<Page<Attempt>, Unavailable> {
    let limit = limit.max(1);
    let info = core.attempts.stream().get_info().await.map_err(|error| Unavailable(error.to_string()))?;
    let mut before = from.as_ref().and_then(Cursor::pair).unwrap_or((info.state.last_sequence + 1, 0));
    let mut page = Page { items: Vec::new(), next: None };
    let first = info.state.first_sequence.max(1);
    while before > (first, 0) {
        let start = before.0.saturating_sub(STRIDE).max(first);
        let found = range(core, of, start, before).await?;
        for (at, attempt) in found.into_iter().rev() {
            if page.items.len() == limit {
                return Ok(page);
            }
            page.next = Some(Cursor::of_pair(at));
            page.items.push(attempt);
        }
        before = (start, 0);
    }
    page.next = None;
    Ok(page)
}

/// Attempts from the message `start` to `before`, oldest first.
async fn range(
    core: &Core,
    of: &AttemptFilter,
    start: u64,
    before: Position,
) -> Result<Vec<(Position, Attempt)>, Unavailable> {
    let (mut found, mut next) = (Vec::new(), start);
    while next <= before.0 {
        let stretch = Stretch {
            seq: Some(next),
            start_time: None,
            next_by_subj: core.names.attempt(&of.namespace),
            batch: usize::try_from(STRIDE).unwrap_or(usize::MAX),
            max_bytes: Some(STRETCH),
        };
        let (messages, ended) = core.attempts.stretch(&stretch).await?;
        for Stored { sequence, body, .. } in &messages {
            next = sequence + 1;
            for (place, bytes) in (0..).zip(records(body)) {
                let at = (*sequence, place);
                let attempt =
                    history::decode_attempt(bytes).map_err(|error| Unavailable(error.to_string()))?;
                if at < before && of.wants(&attempt) {
                    found.push((at, attempt));
                }
            }
        }
        if ended || messages.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// Messages of events that are read at a time.
const MESSAGES: usize = 64;

/// See [`crate::journal::Inspect::kept`].
pub async fn kept(
    core: &Core,
    of: &KeptFilter,
    from: Option<Cursor>,
    limit: usize,
) -> Result<Page<Kept>, Unavailable> {
    let mut at = from.as_ref().and_then(Cursor::pair);
    let mut page = Page { items: Vec::new(), next: None };
    let mut room = PageRoom::new(limit);
    loop {
        let since = of.since.before(SKEW).to_jiff().map(|moment| moment.to_string());
        let stretch = Stretch {
            seq: at.map(|(sequence, _)| sequence),
            start_time: if at.is_some() { None } else { since },
            next_by_subj: core.names.append(&of.namespace),
            batch: MESSAGES,
            max_bytes: Some(STRETCH),
        };
        let (messages, ended) = core.log.stretch(&stretch).await?;
        let events = events(core, &messages).map_err(|error| Unavailable(error.to_string()))?;
        // The last may go on in the next stretch.
        let whole = if ended || events.len() == 1 { events.len() } else { events.len().saturating_sub(1) };
        for (sequence, kept) in events.iter().take(whole) {
            for (place, kept) in (0..).zip(kept) {
                if at.is_some_and(|at| (*sequence, place) < at) {
                    continue;
                }
                if room.is_used_up() {
                    return Ok(page);
                }
                at = Some((*sequence, place + 1));
                page.next = at.map(Cursor::of_pair);
                if let Some(kept) = kept.as_ref().filter(|kept| of.wants(kept)) {
                    room.put(&kept.event);
                    page.items.push(kept.clone());
                }
            }
        }
        match events.get(whole) {
            Some((sequence, _)) => at = Some((*sequence, 0)),
            None if ended => break,
            None => at = messages.last().map(|last| (last.sequence + 1, 0)),
        }
    }
    page.next = None;
    Ok(page)
}

/// A message of the log: its sequence, and its events; `None` in the place of a repeat.
type Message = (u64, Vec<Option<Kept>>);

/// The events of messages of the log, each with all its webhooks.
fn events(core: &Core, messages: &[Stored]) -> Result<Vec<Message>, Corrupt> {
    let calendar = core.calendar();
    let mut found: Vec<Message> = Vec::new();
    for Stored { sequence, headers, body } in messages {
        let index = AppendIndex::decode(headers.get(INDEX).map_or("", async_nats::HeaderValue::as_str))?;
        if index.back > 0 {
            let (Some((of, kept)), [event]) = (found.last_mut(), index.events.as_slice()) else { continue };
            if *of == sequence.saturating_sub(index.back.into())
                && let Some(Some(kept)) = kept.get_mut(usize::from(index.first))
            {
                kept.webhooks.extend(&event.webhooks);
            }
            continue;
        }
        let events = decode_events(body)?.into_iter().zip(index.events).enumerate();
        let inner = core.lock();
        let kept = events.map(|(place, (event, indexed))| {
            let repeat = inner.fold.is_void(Number::new(*sequence, place));
            let accepted_at = indexed.before.map_or(index.accepted_at, |before| before.accepted_at);
            let at = calendar.day(accepted_at);
            (!repeat).then_some(Kept { at, event, webhooks: indexed.webhooks })
        });
        found.push((*sequence, kept.collect()));
    }
    Ok(found)
}
