//! What became of one event.
//!
//! ```text
//! id or webhook-id ─> kept events ─┐
//!                     attempts ────┼─> for each webhook: pending? dead? delivered?
//!                     queues, dead ┘
//! ```
//!
//! Nothing is indexed by an event's id, so all of it is looked through. Queues
//! are looked through last, and only those that may have the event.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

use super::answers::{Delivery, EventDetail, EventHead, State as DeliveryState, Try};
use super::listing::Of;
use super::problem::Problem;
use super::server::{Api, Shared};
use crate::access::{Action, Review};
use crate::journal::Inspect;
use crate::journal::inspect::{Attempt, AttemptFilter, AttemptKind, EventName, Kept, KeptFilter};
use crate::model::{Event, Timestamp, WebhookUid};
use crate::subscriptions::View;

/// Read at a time.
const PIECE: usize = 1000;
/// The most events of an answer. A producer may give one id to many, by different sources.
const MOST_EVENTS: usize = 16;
/// The most attempts of an answer, the newest ones.
const MOST_TRIES: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Only of this source, if several use the same id.
    source: Option<String>,
    /// Whether to answer what the event says.
    #[serde(default)]
    payload: bool,
}

pub(super) async fn get<J: Inspect, R: Review>(
    State(api): Shared<J, R>,
    Path((namespace, id)): Path<(String, String)>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Vec<EventDetail>>, Problem> {
    let _turn = api.admit(&headers, &namespace, Action::GET_EVENT).await?;
    let Query(asked) = asked.map_err(|error| Problem::Malformed(error.body_text()))?;
    if asked.payload {
        api.may(&headers, &namespace, Action::GET_PAYLOAD).await?;
    }
    let mut search =
        Search { namespace, id, source: asked.source, payload: asked.payload, found: BTreeMap::new() };
    api.find(&mut search).await?;
    let Search { namespace, id, found, .. } = search;
    if found.is_empty() {
        return Err(Problem::NotFound(format!(
            "no event {id:?} is known in the namespace {namespace:?}: it was not accepted there, or it has ended longer \
             ago than events and attempts are kept (--max-kept-age, --max-attempt-age)"
        )));
    }
    let details = found.into_values().map(|found| found.detail(&api));
    Ok(Json(details.collect()))
}

/// An event, by its source and its id.
type Key = (String, String);

/// What is looked for, and what was found.
struct Search {
    namespace: String,
    /// Of an event, or a `webhook-id`.
    id: String,
    source: Option<String>,
    /// Whether what events say is kept.
    payload: bool,
    found: BTreeMap<Key, Found>,
}

impl Search {
    /// Where to put what is known of an event; `None` if it is of another source.
    fn entry(&mut self, name: &EventName) -> Result<Option<&mut Found>, Problem> {
        if self.source.as_ref().is_some_and(|source| *source != name.source) {
            return Ok(None);
        }
        let key = (name.source.clone(), name.id.clone());
        if self.found.len() >= MOST_EVENTS && !self.found.contains_key(&key) {
            let id = &self.id;
            return Err(Problem::Malformed(format!(
                "more than {MOST_EVENTS} events have the id {id:?}; name the source of the one that is meant"
            )));
        }
        Ok(Some(self.found.entry(key).or_insert_with(|| Found::new(name.clone()))))
    }

    /// A delivery of an event stands in a queue, or among the dead.
    fn stands(
        &mut self,
        event: &Event,
        accepted_at: Timestamp,
        uid: WebhookUid,
        delivery: Delivery,
    ) -> Result<(), Problem> {
        let payload = self.payload;
        if let Some(entry) = self.entry(&EventName::from(event))? {
            entry.accepted_at.get_or_insert(accepted_at);
            if payload {
                entry.data.get_or_insert_with(|| event.data.clone());
            }
            entry.deliveries.entry(uid).or_default().stands = Some(delivery);
        }
        Ok(())
    }
}

/// What was found of one event.
struct Found {
    name: EventName,
    accepted_at: Option<Timestamp>,
    data: Option<Bytes>,
    deliveries: BTreeMap<WebhookUid, Of1>,
}

/// What was found of one delivery.
#[derive(Default)]
struct Of1 {
    /// Newest first.
    attempts: Vec<Attempt>,
    /// It is in the queue, or among the dead.
    stands: Option<Delivery>,
}

impl Found {
    fn new(name: EventName) -> Self {
        Self { name, accepted_at: None, data: None, deliveries: BTreeMap::new() }
    }

    fn detail<J: Inspect, R: Review>(self, api: &Api<J, R>) -> EventDetail {
        let Self { name, accepted_at, data, deliveries } = self;
        let data = data.and_then(|data| serde_json::from_slice(&data).ok());
        let deliveries =
            deliveries.into_iter().map(|(uid, found)| found.delivery(&name, &api.of(uid), accepted_at));
        EventDetail {
            event: EventHead::from(&name),
            accepted_at: accepted_at.map(|at| at.to_string()),
            deliveries: deliveries.collect(),
            data,
        }
    }
}

impl Of1 {
    fn delivery(self, name: &EventName, of: &Of, accepted_at: Option<Timestamp>) -> Delivery {
        let Self { attempts, stands } = self;
        let good =
            attempts.iter().find(|attempt| attempt.failure.is_none() && attempt.kind != AttemptKind::Test);
        let mut delivery = match (stands, good) {
            // A replay may have delivered what is still among the dead.
            (Some(stands), None) => stands,
            (Some(stands), Some(_)) if stands.state == DeliveryState::Pending => stands,
            (_, Some(good)) => of.delivered(good),
            (None, None) => of.unknown(name),
        };
        if delivery.accepted_at.is_none() {
            delivery.accepted_at = accepted_at.map(|at| at.to_string());
        }
        if delivery.failure.is_none() && delivery.state != DeliveryState::Delivered {
            let last = attempts.iter().find_map(|attempt| attempt.failure.clone());
            delivery.failure = last.map(Into::into);
        }
        delivery.tries = attempts.iter().rev().map(Try::from).collect();
        delivery
    }
}

impl<J: Inspect, R: Review> Api<J, R> {
    fn of(&self, uid: WebhookUid) -> Of {
        let name = match self.around().subscriptions.view(uid) {
            View::Known(known) => Some(known.object.name.clone()),
            View::Unreadable(unreadable) => Some(unreadable.object.name.clone()),
            View::Unknown | View::Gone => None,
        };
        Of { uid, name, since: Timestamp::from_millis(0), calendar: self.calendar() }
    }

    /// Looks for everything that is known of the events of this id, or of the delivery of this `webhook-id`.
    async fn find(&self, search: &mut Search) -> Result<(), Problem> {
        self.find_kept(search).await?;
        self.find_attempts(search).await?;
        // An event that is not kept any more, or was lost by a crash, may be in any queue.
        let in_namespace = self.around().subscriptions.in_namespace(&search.namespace);
        let mut webhooks: BTreeSet<_> = in_namespace.into_iter().map(|(_, uid)| uid).collect();
        webhooks.extend(search.found.values().flat_map(|event| event.deliveries.keys().copied()));
        for uid in webhooks {
            let known = search.found.values().any(|event| event.accepted_at.is_some());
            let concerns = search.found.values().any(|event| event.deliveries.contains_key(&uid));
            // Where the acceptance is known, so is to whom it went.
            if !known || concerns {
                self.find_queued(uid, search).await?;
            }
        }
        Ok(())
    }

    async fn find_kept(&self, search: &mut Search) -> Result<(), Problem> {
        let (id, payload) = (search.id.clone(), search.payload);
        let mut cursor = None;
        loop {
            let of = KeptFilter {
                namespace: search.namespace.clone(),
                webhook: None,
                id: Some(id.clone()),
                since: Timestamp::from_millis(0),
            };
            let page = self.around().journal.kept(of, cursor, PIECE).await?;
            for Kept { at, event, webhooks } in page.items {
                let Some(entry) = search.entry(&EventName::from(&*event))? else { continue };
                entry.accepted_at = Some(at);
                entry.data = payload.then(|| event.data.clone());
                for webhook in webhooks {
                    if entry.name.is_called(&id, &[webhook]) {
                        entry.deliveries.entry(webhook).or_default();
                    }
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn find_attempts(&self, search: &mut Search) -> Result<(), Problem> {
        let (mut cursor, mut left) = (None, MOST_TRIES);
        loop {
            let of = AttemptFilter {
                namespace: search.namespace.clone(),
                webhook: None,
                id: Some(search.id.clone()),
                since: Timestamp::from_millis(0),
            };
            let page = self.around().journal.attempts(of, cursor, PIECE.min(left)).await?;
            left = left.saturating_sub(page.items.len());
            for attempt in page.items {
                if let Some(entry) = search.entry(&attempt.event)? {
                    entry.deliveries.entry(attempt.webhook).or_default().attempts.push(attempt);
                }
            }
            cursor = page.next;
            if cursor.is_none() || left == 0 {
                return Ok(());
            }
        }
    }

    /// Looks through a webhook's queue and its dead letters.
    async fn find_queued(&self, uid: WebhookUid, search: &mut Search) -> Result<(), Problem> {
        let of = self.of(uid);
        let held = self.around().subscriptions.view(uid).held();
        let id = search.id.clone();
        let asked = |event: &Event| EventName::from(event).is_called(&id, &[uid]);
        let journal = &self.around().journal;
        let mut cursor = None;
        loop {
            let page = journal.pending(uid, cursor, PIECE).await?;
            for pending in page.items.iter().filter(|pending| asked(&pending.event)) {
                let delivery = of.pending(pending, held.as_deref());
                search.stands(&pending.event, of.calendar.day(pending.accepted_at), uid, delivery)?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        loop {
            let page = journal.dead_letters(uid, cursor, PIECE).await?;
            for letter in page.items.iter().filter(|letter| asked(&letter.event)) {
                search.stands(&letter.event, of.calendar.day(letter.accepted_at), uid, of.dead(letter))?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
