//! A webhook's dead letters.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use http::HeaderMap;
use serde::Deserialize;

use super::answers::{DeadLetterItem, Deleted, Listing};
use super::listing::{cursor_of, text_of};
use super::problem::Problem;
use super::server::Shared;
use crate::access::{Action, Review};
use crate::journal::inspect::{EventName, LetterId};
use crate::journal::{DeadLetter, Inspect};

/// Letters that are deleted at one time.
const PIECE: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default = "super::listing::default_limit")]
    limit: usize,
    r#continue: Option<String>,
}

pub(super) async fn list<J: Inspect, R: Review>(
    State(api): Shared<J, R>,
    Path((namespace, webhook)): Path<(String, String)>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Listing<DeadLetterItem>>, Problem> {
    let _turn = api.admit(&headers, &namespace, Action::LIST_DEAD_LETTERS).await?;
    let Query(asked) = asked.map_err(|error| Problem::Malformed(error.body_text()))?;
    let (uid, _) = api.webhook(&namespace, &webhook)?;
    let cursor = asked.r#continue.as_deref().map(cursor_of).transpose()?;
    let limit = super::listing::check_limit(asked.limit)?;
    let page = api.around().journal.dead_letters(uid, cursor, limit).await?;
    let calendar = api.calendar();
    let item = |letter: DeadLetter| {
        let event = EventName::from(&*letter.event);
        DeadLetterItem {
            id: hex::encode(&letter.id.0),
            event: (&event).into(),
            message_id: event.message_id(uid),
            accepted_at: calendar.day(letter.accepted_at).to_string(),
            died_at: calendar.day(letter.died_at).to_string(),
            attempts: letter.attempts,
            failure: letter.note.into(),
        }
    };
    Ok(Json(Listing {
        items: page.items.into_iter().map(item).collect(),
        next: page.next.map(|cursor| text_of(&cursor)),
    }))
}

pub(super) async fn delete_all<J: Inspect, R: Review>(
    State(api): Shared<J, R>,
    Path((namespace, webhook)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Deleted>, Problem> {
    let _turn = api.admit(&headers, &namespace, Action::DELETE_DEAD_LETTERS).await?;
    let (uid, _) = api.webhook(&namespace, &webhook)?;
    let journal = &api.around().journal;
    let (mut cursor, mut deleted) = (None, 0);
    loop {
        let page = journal.dead_letters(uid, cursor, PIECE).await?;
        let letters: Vec<_> = page.items.into_iter().map(|letter| letter.id).collect();
        deleted += letters.len() as u64;
        journal.forget_dead(uid, letters).await?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Json(Deleted { deleted }));
        }
    }
}

pub(super) async fn delete_one<J: Inspect, R: Review>(
    State(api): Shared<J, R>,
    Path((namespace, webhook, letter)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Deleted>, Problem> {
    let _turn = api.admit(&headers, &namespace, Action::DELETE_DEAD_LETTERS).await?;
    let (uid, _) = api.webhook(&namespace, &webhook)?;
    let id = hex::decode(&letter).map_err(|_| {
        Problem::Malformed(format!("{letter:?} is not the id of a dead letter; list them first"))
    })?;
    let journal = &api.around().journal;
    let dead = async || Ok::<_, Problem>(journal.depth(uid).await?.dead);
    let before = dead().await?;
    journal.forget_dead(uid, vec![LetterId(id)]).await?;
    match before.saturating_sub(dead().await?) {
        0 => Err(Problem::NotFound(format!("the webhook {webhook:?} has no dead letter {letter}"))),
        deleted => Ok(Json(Deleted { deleted })),
    }
}
