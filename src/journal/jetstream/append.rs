//! Appending: what waits goes into one message, which is durable before anybody is answered.
//!
//! ```text
//! append ── known? coming? full? ──> waiting ── as many as fit ──> one message ──> server
//!                                                                       │
//!                              Stored | NotStored | Unknown <── answer ─┘
//! ```
//!
//! Messages are on their way side by side, so a message is as large as what
//! came while those before it were: few events a message when little comes,
//! many when much does. A call that does not fit into one message is a batch of its own,
//! which the server stores whole or not at all.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::core::{Core, WAITING_BYTES};
use super::layout::lay_out;
use super::publish::{Outgoing, PublishError, publish_all};
use super::wire::{AppendIndex, INDEX, Indexed, MOST_EVENTS, MOST_INDEX, encode_events};
use crate::journal::record::{event_length, short_hash};
use crate::journal::{Append, Appended, RefusedReason};
use crate::model::{Event, EventKey, WebhookUid};

/// Messages that are on their way at one time.
const SIDE_BY_SIDE: usize = 4;

/// The most bytes of events in a message that several calls share.
const BODY: usize = 256 << 10;

/// Bytes of a message that are for its headers.
const HEADERS: usize = 80 << 10;

/// A call that waits for its message.
struct Call {
    namespace: Arc<str>,
    items: Vec<Item>,
    bytes: usize,
    answer: oneshot::Sender<Result<(), PublishError>>,
}

/// An event that is not known.
struct Item {
    event: Arc<Event>,
    indexed: Indexed,
}

/// Takes calls to [`run`].
#[derive(Clone)]
pub struct Appends(mpsc::UnboundedSender<Call>);

/// Where [`run`] takes them from.
pub struct Calls(mpsc::UnboundedReceiver<Call>);

/// A way for calls; what is in it is bounded by [`Core::room`].
pub fn channel() -> (Appends, Calls) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Appends(sender), Calls(receiver))
}

/// What is to be done with a batch.
enum Admission {
    /// Some of it is on its way already.
    Wait,
    Refuse(RefusedReason),
    /// All of it is known.
    Known,
    /// It is on its way; whether each item is a repeat, and where the answer comes.
    Sent(Vec<bool>, oneshot::Receiver<Result<(), PublishError>>),
}

impl Appends {
    /// See [`crate::journal::Journal::append_within`].
    pub async fn append(&self, core: &Core, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        let count = batch.len();
        let all = |answer: Appended| vec![answer; count];
        let Some(namespace) = batch.first().map(|append| Arc::from(append.event.namespace.as_str())) else {
            return Vec::new();
        };
        let bytes: usize = batch.iter().map(|append| event_length(&append.event)).sum();
        let permits = u32::try_from(bytes.clamp(1, WAITING_BYTES)).unwrap_or(u32::MAX);
        let Ok(_room) = core.room.acquire_many(permits).await else {
            return all(Appended::Refused(RefusedReason::Unavailable));
        };
        let keys: Vec<EventKey> = batch.iter().map(|append| append.event.key()).collect();
        let mut batch = Some(batch);
        let (repeats, answer) = loop {
            let ended = core.appended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !core.is_open() {
                return all(Appended::Refused(RefusedReason::Unavailable));
            }
            match self.admit(core, &namespace, &keys, &mut batch, most) {
                Admission::Wait => ended.await,
                Admission::Refuse(reason) => return all(Appended::Refused(reason)),
                Admission::Known => return all(Appended::Duplicate),
                Admission::Sent(repeats, answer) => break (repeats, answer),
            }
        };
        let stored = answer.await.unwrap_or(Err(PublishError::Unknown));
        let answer = match stored {
            Ok(()) => {
                let each = |repeat| if repeat { Appended::Duplicate } else { Appended::Stored };
                return repeats.into_iter().map(each).collect();
            }
            Err(PublishError::Full(_)) => Appended::Refused(RefusedReason::Full),
            Err(PublishError::Superseded | PublishError::NotStored(_)) => {
                Appended::Refused(RefusedReason::Unavailable)
            }
            Err(PublishError::Unknown) => Appended::Unknown,
        };
        all(answer)
    }

    /// Looks at a batch and sends what is new of it, under one lock: of two with the same event,
    /// one waits for the other.
    fn admit(
        &self,
        core: &Core,
        namespace: &Arc<str>,
        keys: &[EventKey],
        batch: &mut Option<Vec<Append>>,
        most: Option<u64>,
    ) -> Admission {
        let mut inner = core.lock();
        if keys.iter().any(|key| inner.coming.has(key)) {
            return Admission::Wait;
        }
        let mut seen = HashSet::new();
        let repeats: Vec<bool> =
            keys.iter().map(|key| inner.fold.knows(namespace, key) || !seen.insert(*key)).collect();
        let appends = batch.as_deref().unwrap_or_default();
        let new = |repeat: &&bool| !**repeat;
        if !repeats.iter().any(|repeat| !repeat) {
            return Admission::Known;
        }
        let bytes: u64 = appends
            .iter()
            .zip(&repeats)
            .filter(|(append, repeat)| new(repeat) && !append.webhooks.is_empty())
            .map(|(append, _)| event_length(&append.event) as u64)
            .sum();
        let (of_namespace, of_all) = inner.waiting(namespace);
        if bytes > 0 && most.is_some_and(|most| of_namespace + bytes > most) {
            return Admission::Refuse(RefusedReason::OverQuota);
        }
        if of_all + bytes > core.config.limits.max_bytes
            || inner.fold.deliveries() > core.config.max_deliveries
        {
            return Admission::Refuse(RefusedReason::Full);
        }
        let items: Vec<Item> = batch
            .take()
            .unwrap_or_default()
            .into_iter()
            .zip(keys.iter().zip(&repeats))
            .filter(|(_, (_, repeat))| new(repeat))
            .map(|(append, (key, _))| Item::new(append, *key))
            .collect();
        for item in &items {
            let waits = if item.indexed.webhooks.is_empty() { 0 } else { u64::from(item.indexed.size) };
            inner.coming.add(item.indexed.key, namespace, waits);
        }
        let (answer, answered) = oneshot::channel();
        let bytes = items.iter().map(|item| item.indexed.size as usize + 4).sum();
        let _ = self.0.send(Call { namespace: Arc::clone(namespace), items, bytes, answer });
        Admission::Sent(repeats, answered)
    }
}

impl Item {
    fn new(append: Append, key: EventKey) -> Self {
        let Append { event, webhooks } = append;
        let size = u32::try_from(event_length(&event)).unwrap_or(u32::MAX);
        let user = short_hash(&event.subject);
        Self { indexed: Indexed { key, user, size, webhooks, before: None }, event }
    }
}

/// How many bytes they add to an index in which these webhooks stand already.
fn weight(items: &[Item], known: &mut HashSet<WebhookUid>) -> usize {
    let mut each = |item: &Item| {
        let fresh = item.indexed.webhooks.iter().filter(|webhook| known.insert(**webhook)).count();
        item.indexed.weight(fresh)
    };
    items.iter().map(&mut each).sum()
}

/// Stores what comes, until shutdown.
pub async fn run(core: Arc<Core>, Calls(mut calls): Calls) {
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut sending = JoinSet::new();
    let mut left: Option<Call> = None;
    loop {
        // The place first: what comes meanwhile goes into the same message.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while sending.try_join_next().is_some() {}
        let first = match left.take() {
            Some(call) => Some(call),
            None => core.shutdown.run_until_cancelled(calls.recv()).await.unwrap_or_else(|| {
                // What came before is stored; nothing comes after.
                calls.close();
                calls.try_recv().ok()
            }),
        };
        let Some(first) = first else { break };
        let (mut bytes, mut index, mut events) = (0, 0, 0);
        let mut known = HashSet::new();
        let mut add = |call: &Call| {
            bytes += call.bytes;
            index += weight(&call.items, &mut known);
            events += call.items.len();
            (bytes, index, events)
        };
        add(&first);
        let mut group = vec![first];
        while let Ok(call) = calls.try_recv() {
            let (bytes, index, events) = add(&call);
            let same = group.first().is_some_and(|first| first.namespace == call.namespace);
            if !same || bytes > BODY || index > MOST_INDEX || events > MOST_EVENTS {
                left = Some(call);
                break;
            }
            group.push(call);
        }
        let core = Arc::clone(&core);
        sending.spawn(async move {
            store(&core, group).await;
            drop(place);
        });
    }
    while sending.join_next().await.is_some() {}
}

async fn store(core: &Core, group: Vec<Call>) {
    let Some(namespace) = group.first().map(|call| Arc::clone(&call.namespace)) else { return };
    let (mut items, mut answers) = (Vec::new(), Vec::new());
    for call in group {
        items.extend(call.items);
        answers.push(call.answer);
    }
    core.metrics.batch.observe(u32::try_from(items.len()).map_or(f64::MAX, f64::from));
    let accepted_at = core.clock.now();
    let plan = lay_out(items.iter().map(|item| &item.indexed), accepted_at, most_body(core));
    let bodies: Vec<Arc<[Arc<Event>]>> =
        plan.iter().map(|(_, places)| items.get(places.clone()).unwrap_or_default()).map(events_of).collect();
    let messages = plan
        .iter()
        .zip(&bodies)
        .map(|((index, _), events)| message(core, &namespace, index, events))
        .collect();
    let sent = Instant::now();
    let stored = publish_all(&core.client, messages).await;
    if stored.is_ok() {
        core.metrics.nats.append.observe(sent.elapsed().as_secs_f64());
    }
    let mut inner = core.lock();
    match &stored {
        Ok(last) => {
            let first = last + 1 - bodies.len() as u64;
            for (sequence, body) in (first..).zip(bodies) {
                if !body.is_empty() {
                    core.bodies.put(sequence, body);
                }
            }
            // What was stored is coming until it is read, so that a repeat of it waits.
        }
        Err(error) => {
            if !matches!(error, PublishError::Unknown) {
                tracing::debug!(%error, "events were not stored");
            }
            for item in &items {
                inner.coming.remove(&item.indexed.key);
            }
        }
    }
    drop(inner);
    for answer in answers {
        let _ = answer.send(stored.clone().map(|_| ()));
    }
    core.appended.notify_waiters();
}

/// The most bytes of events that the server takes in a message.
pub fn most_body(core: &Core) -> usize {
    core.client.max_payload().saturating_sub(HEADERS).max(HEADERS)
}

/// An append of these events; without any, it says only what its index does.
pub fn message(core: &Core, namespace: &str, index: &AppendIndex, events: &[Arc<Event>]) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert(INDEX, index.encode());
    let body = if events.is_empty() {
        Bytes::new()
    } else {
        encode_events(events.iter().map(AsRef::as_ref), index.accepted_at)
    };
    Outgoing { subject: core.names.append(namespace), headers, body }
}

fn events_of(items: &[Item]) -> Arc<[Arc<Event>]> {
    items.iter().map(|item| Arc::clone(&item.event)).collect()
}
