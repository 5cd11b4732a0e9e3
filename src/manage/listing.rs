//! A webhook's deliveries, by state.
//!
//! ```text
//! pending (what failed or waits, then the oldest) ─> dead (oldest first) ─> delivered (newest first)
//! ```
//!
//! With a state, only that stretch. A cursor names the stretch and the place in it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde::Deserialize;

use super::answers::{Delivery, EventHead, Listing, State as DeliveryState};
use super::problem::Problem;
use super::server::{Api, Shared};
use crate::access::{Action, Review};
use crate::journal::calendar::Calendar;
use crate::journal::inspect::{
    Attempt, AttemptFilter, AttemptKind, Cursor, EventName, Page, PendingDelivery, Wait,
};
use crate::journal::{DeadLetter, Inspect};
use crate::model::{Timestamp, WebhookUid};

const MOST: usize = 1000;

pub(super) const fn default_limit() -> usize {
    100
}

pub(super) fn check_limit(limit: usize) -> Result<usize, Problem> {
    match limit {
        1..=MOST => Ok(limit),
        _ => Err(Problem::Malformed(format!("limit must be a number from 1 to {MOST}"))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    webhook: String,
    state: Option<Stretch>,
    /// RFC 3339.
    since: Option<jiff::Timestamp>,
    #[serde(default = "default_limit")]
    limit: usize,
    r#continue: Option<String>,
}

/// One part of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stretch {
    Pending,
    Dead,
    Delivered,
}

impl Stretch {
    /// In cursors.
    const fn byte(self) -> u8 {
        match self {
            Self::Pending => b'p',
            Self::Dead => b'd',
            Self::Delivered => b'a',
        }
    }

    const fn next(self) -> Option<Self> {
        match self {
            Self::Pending => Some(Self::Dead),
            Self::Dead => Some(Self::Delivered),
            Self::Delivered => None,
        }
    }
}

/// The text of a cursor.
pub(super) fn text_of(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(&cursor.0)
}

/// The cursor of a text.
pub(super) fn cursor_of(text: &str) -> Result<Cursor, Problem> {
    let wrong = |_| Problem::Malformed("continue is not what an answer gave".to_owned());
    URL_SAFE_NO_PAD.decode(text).map(Cursor).map_err(wrong)
}

pub(super) async fn list<J: Inspect, R: Review>(
    State(api): Shared<J, R>,
    Path(namespace): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Listing<Delivery>>, Problem> {
    let _turn = api.admit(&headers, &namespace, Action::LIST_EVENTS).await?;
    let Query(asked) = asked.map_err(|error| Problem::Malformed(error.body_text()))?;
    let limit = check_limit(asked.limit)?;
    let (uid, _) = api.webhook(&namespace, &asked.webhook)?;
    let since = asked.since.map_or(Timestamp::from_millis(0), Timestamp::from);
    let of = Of { uid, name: Some(asked.webhook), since, calendar: api.calendar() };
    let (mut stretch, mut cursor) = match asked.r#continue.as_deref() {
        None => (asked.state.unwrap_or(Stretch::Pending), None),
        Some(text) => resume(&cursor_of(text)?)?,
    };
    let mut items = Vec::new();
    loop {
        let (found, next) = api.page(&of, &namespace, stretch, cursor, limit - items.len()).await?;
        items.extend(found);
        let place = |stretch: Stretch, at: &[u8]| text_of(&Cursor([&[stretch.byte()], at].concat()));
        let (next_stretch, at) = match (next, stretch.next().filter(|_| asked.state.is_none())) {
            (Some(next), _) => (stretch, next.0),
            (None, Some(following)) => (following, Vec::new()),
            (None, None) => return Ok(Json(Listing { items, next: None })),
        };
        if items.len() >= limit {
            return Ok(Json(Listing { items, next: Some(place(next_stretch, &at)) }));
        }
        stretch = next_stretch;
        cursor = (!at.is_empty()).then_some(Cursor(at));
    }
}

fn resume(cursor: &Cursor) -> Result<(Stretch, Option<Cursor>), Problem> {
    let stretches = [Stretch::Pending, Stretch::Dead, Stretch::Delivered];
    let (first, rest) = cursor.0.split_first().unwrap_or((&0, &[]));
    let stretch = stretches.into_iter().find(|stretch| stretch.byte() == *first);
    let stretch =
        stretch.ok_or_else(|| Problem::Malformed("continue is not what an answer gave".to_owned()))?;
    Ok((stretch, (!rest.is_empty()).then(|| Cursor(rest.to_vec()))))
}

/// Whose deliveries, and how to tell the time of them.
pub(super) struct Of {
    pub(super) uid: WebhookUid,
    pub(super) name: Option<String>,
    /// By the time of day.
    pub(super) since: Timestamp,
    pub(super) calendar: Calendar,
}

impl Of {
    fn delivery(&self, event: &EventName, state: DeliveryState) -> Delivery {
        Delivery {
            event: EventHead::from(event),
            webhook: self.name.clone(),
            webhook_uid: self.uid.to_string(),
            message_id: event.message_id(self.uid),
            state,
            accepted_at: None,
            ended_at: None,
            attempts: 0,
            next_attempt_at: None,
            waits_for: None,
            failure: None,
            tries: Vec::new(),
        }
    }

    /// A delivery that has not ended; `held` says why its webhook is held.
    pub(super) fn pending(&self, pending: &PendingDelivery, held: Option<&str>) -> Delivery {
        let (next_attempt_at, waits_for) = match pending.wait {
            Wait::Until(at) => (Some(self.calendar.day(at).to_string()), held.map(str::to_owned)),
            Wait::InLine => (None, held.map(str::to_owned)),
            Wait::BehindEarlier => (None, Some("an earlier event of the same user has not ended".to_owned())),
        };
        Delivery {
            accepted_at: Some(self.calendar.day(pending.accepted_at).to_string()),
            attempts: pending.failures,
            next_attempt_at,
            waits_for,
            ..self.delivery(&EventName::from(&*pending.event), DeliveryState::Pending)
        }
    }

    pub(super) fn dead(&self, letter: &DeadLetter) -> Delivery {
        Delivery {
            accepted_at: Some(self.calendar.day(letter.accepted_at).to_string()),
            ended_at: Some(self.calendar.day(letter.died_at).to_string()),
            attempts: letter.attempts,
            failure: Some(letter.note.clone().into()),
            ..self.delivery(&EventName::from(&*letter.event), DeliveryState::Dead)
        }
    }

    pub(super) fn delivered(&self, attempt: &Attempt) -> Delivery {
        let ended_at = attempt.at.after(attempt.phases.total());
        Delivery {
            ended_at: Some(ended_at.to_string()),
            attempts: attempt.number,
            ..self.delivery(&attempt.event, DeliveryState::Delivered)
        }
    }

    /// Of which nothing more is known.
    pub(super) fn unknown(&self, event: &EventName) -> Delivery {
        self.delivery(event, DeliveryState::Unknown)
    }
}

impl<J: Inspect, R: Review> Api<J, R> {
    /// What of a stretch is asked for, and where to go on. A page may be
    /// empty and not the last.
    async fn page(
        &self,
        of: &Of,
        namespace: &str,
        stretch: Stretch,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<Delivery>, Option<Cursor>), Problem> {
        let journal = &self.around().journal;
        let calendar = &of.calendar;
        Ok(match stretch {
            Stretch::Pending => {
                let held = self.around().subscriptions.view(of.uid).held();
                let Page { items, next } = journal.pending(of.uid, cursor, limit).await?;
                let recent = items.iter().filter(|pending| calendar.day(pending.accepted_at) >= of.since);
                (recent.map(|pending| of.pending(pending, held.as_deref())).collect(), next)
            }
            Stretch::Dead => {
                let Page { items, next } = journal.dead_letters(of.uid, cursor, limit).await?;
                let recent = items.iter().filter(|letter| calendar.day(letter.died_at) >= of.since);
                (recent.map(|letter| of.dead(letter)).collect(), next)
            }
            Stretch::Delivered => {
                let filter = AttemptFilter {
                    namespace: namespace.to_owned(),
                    webhook: Some(of.uid),
                    id: None,
                    since: of.since,
                };
                let Page { items, next } = journal.attempts(filter, cursor, limit).await?;
                let good = items
                    .iter()
                    .filter(|attempt| attempt.failure.is_none() && attempt.kind != AttemptKind::Test);
                (good.map(|attempt| of.delivered(attempt)).collect(), next)
            }
        })
    }
}
