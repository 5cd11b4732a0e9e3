//! One Replay at work.
//!
//! ```text
//! may be sent to? ─> its turn ─> a piece of the list ─> wanted? ─> a few at a time: errand, again after a failure
//!       ^                                                                                       │
//!       └────────────────────────── the turn is over ─ status <─────────────────────────────────┘
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::ResourceExt as _;
use tokio::time::timeout;

use super::Shared;
use super::plan::{Progress, Selection};
use super::status::{Report, write, write_news};
use crate::api::{Replay, ReplayReason, Which};
use crate::dispatch::{Answered, Purpose};
use crate::journal::inspect::{KeptFilter, LetterId};
use crate::journal::{Inspect, Unavailable};
use crate::model::{Event, Jitter, Timestamp, WebhookUid};
use crate::subscriptions::{ObjectName, View};

/// Events that are read at a time.
pub(super) const PIECE: usize = 100;
/// Of those, so many are tried at one time, if the webhook lets.
const AT_ONCE: usize = 32;
/// The status is written no more often while it runs.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// How long until something is asked again that could not be done.
const AGAIN: Duration = Duration::from_secs(1);
/// How long until there is a place for an errand again.
const CROWDED: Duration = Duration::from_millis(20);

/// An event to be sent again.
struct Item {
    event: Arc<Event>,
    /// The letter that is not needed any more when it was taken.
    letter: Option<LetterId>,
}

/// Runs it to its end, and returns when that was. It ends with its task, too:
/// when the Replay is deleted or the process stops.
pub(super) async fn run<J: Inspect>(shared: &Arc<Shared<J>>, replay: &Replay) -> Timestamp {
    let around = &shared.around;
    let namespace = replay.namespace().unwrap_or_default();
    let mut status = replay.status.clone().unwrap_or_default();
    let began = status.start_time.as_ref().map_or_else(|| around.clock.now(), Timestamp::from);
    let mut progress = Progress::of(&status);
    let bound = status.webhook_uid.as_deref().and_then(|uid| uid.parse().ok());
    let uid = loop {
        let (reason, message) = match find(shared, replay, bound) {
            Ok(uid) => break uid,
            Err(missing) => missing,
        };
        let report = Report { reason, message, webhook: bound, began, progress: &progress };
        write_news(shared, replay, &mut status, &report).await;
        tokio::time::sleep(AGAIN).await;
    };
    let selection = loop {
        match Selection::of(&replay.spec, began) {
            Ok(selection) => break selection,
            // The API server has refused such a list.
            Err(error) => {
                let (reason, message) = (ReplayReason::Unreadable, format!("spec.events: {error}"));
                let report = Report { reason, message, webhook: Some(uid), began, progress: &progress };
                write(shared, replay, &mut status, &report).await;
                std::future::pending::<()>().await;
            }
        }
    };
    let mut written: Option<Instant> = None;
    loop {
        let (reason, message) = state(shared, replay, uid);
        let report = Report { reason, message, webhook: Some(uid), began, progress: &progress };
        if reason != ReplayReason::Running {
            write_news(shared, replay, &mut status, &report).await;
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        if written.is_none_or(|written| written.elapsed() >= WRITE_EVERY) {
            write(shared, replay, &mut status, &report).await;
            written = Some(Instant::now());
        }
        let mut turn = pin!(shared.turns.take(&namespace));
        let _turn = if let Ok(turn) = timeout(AGAIN, turn.as_mut()).await {
            turn
        } else {
            let message = "other Replays are running; this one goes on in its turn".to_owned();
            let report = Report { reason: ReplayReason::Queued, message, ..report };
            write_news(shared, replay, &mut status, &report).await;
            written = None;
            turn.await
        };
        let _running = around.metrics.running();
        let (items, next) = match piece(shared, replay, uid, &selection, &progress).await {
            Ok(piece) => piece,
            Err(error) => {
                tracing::warn!(replay = replay.name_any(), %error, "the journal could not be read for a Replay");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        progress.matched += items.len() as u64;
        let sending = items.into_iter().map(|item| send(Arc::clone(shared), uid, replay.name_any(), item));
        let sent = futures::stream::iter(sending).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let sent = watched(shared, replay, &mut status, uid, began, sent).await;
        let mut taken = Vec::new();
        for (replayed, letter) in sent {
            around.metrics.ended(replayed);
            if replayed {
                progress.replayed += 1;
                taken.extend(letter);
            } else {
                progress.failed += 1;
            }
        }
        forget(shared, uid, taken).await;
        progress.cursor.clone_from(&next);
        if next.is_none() {
            break;
        }
    }
    let message = format!("{} of {} events were taken", progress.replayed, progress.matched);
    let reason = ReplayReason::Finished;
    loop {
        let message = message.clone();
        let report = Report { reason, message, webhook: Some(uid), began, progress: &progress };
        if write(shared, replay, &mut status, &report).await {
            return around.clock.now();
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The webhook that it is for; if there is none, why it cannot go on.
fn find<J: Inspect>(
    shared: &Shared<J>,
    replay: &Replay,
    bound: Option<WebhookUid>,
) -> Result<WebhookUid, (ReplayReason, String)> {
    let namespace = replay.namespace().unwrap_or_default();
    let name = &replay.spec.webhook;
    let found = shared.around.subscriptions.named(&ObjectName::new(&namespace, name));
    match (found, bound) {
        (Some(found), Some(bound)) if found != bound => Err((
            ReplayReason::WebhookReplaced,
            format!(
                "the Webhook {name:?} was deleted and made again; its events are those of another: delete this Replay"
            ),
        )),
        (Some(found), _) => Ok(found),
        (None, _) => Err((
            ReplayReason::WebhookMissing,
            format!(
                "there is no Webhook {name:?} in the namespace {namespace:?}: create it, or delete this Replay"
            ),
        )),
    }
}

/// Whether the webhook is held or gone, and what to say.
fn state<J: Inspect>(shared: &Shared<J>, replay: &Replay, uid: WebhookUid) -> (ReplayReason, String) {
    if let Err(missing) = find(shared, replay, Some(uid)) {
        return missing;
    }
    let held = match shared.around.subscriptions.view(uid) {
        View::Gone => Some("WebhookMissing: the webhook was deleted".to_owned()),
        view @ (View::Unknown | View::Unreadable(_) | View::Known(_)) => view.held(),
    };
    match held {
        Some(why) => (ReplayReason::WebhookHeld, why),
        None => (ReplayReason::Running, "events are being sent".to_owned()),
    }
}

/// Waits for a piece to be sent, and says meanwhile if the webhook is held or gone.
async fn watched<J: Inspect, T>(
    shared: &Shared<J>,
    replay: &Replay,
    status: &mut crate::api::ReplayStatus,
    uid: WebhookUid,
    began: Timestamp,
    sent: impl Future<Output = T> + Send,
) -> T {
    let mut sent = pin!(sent);
    let before = Progress::of(status);
    loop {
        if let Ok(sent) = timeout(WRITE_EVERY, sent.as_mut()).await {
            return sent;
        }
        let (reason, message) = state(shared, replay, uid);
        let report = Report { reason, message, webhook: Some(uid), began, progress: &before };
        write_news(shared, replay, status, &report).await;
    }
}

type Piece = (Vec<Item>, Option<crate::journal::inspect::Cursor>);

/// The next events that are meant, and where to go on.
async fn piece<J: Inspect>(
    shared: &Shared<J>,
    replay: &Replay,
    uid: WebhookUid,
    selection: &Selection,
    progress: &Progress,
) -> Result<Piece, Unavailable> {
    let around = &shared.around;
    let cursor = progress.cursor.clone();
    match selection.which {
        Which::DeadLetters => {
            let page = around.journal.dead_letters(uid, cursor, PIECE).await?;
            let calendar = around.journal.calendar();
            let wanted = page
                .items
                .into_iter()
                .filter(|letter| selection.wants(&letter.event, calendar.day(letter.accepted_at)));
            Ok((
                wanted.map(|letter| Item { event: letter.event, letter: Some(letter.id) }).collect(),
                page.next,
            ))
        }
        Which::Everything => {
            let of = KeptFilter {
                namespace: replay.namespace().unwrap_or_default(),
                webhook: Some(uid),
                id: None,
                since: selection.since,
            };
            let page = around.journal.kept(of, cursor, PIECE).await?;
            let wanted = page.items.into_iter().filter(|kept| selection.wants(&kept.event, kept.at));
            Ok((wanted.map(|kept| Item { event: kept.event, letter: None }).collect(), page.next))
        }
    }
}

/// Sends one event, as often as the webhook's policy has it; whether it was taken, and its letter.
async fn send<J: Inspect>(
    shared: Arc<Shared<J>>,
    uid: WebhookUid,
    replay: String,
    item: Item,
) -> (bool, Option<LetterId>) {
    let Item { event, letter } = item;
    let around = &shared.around;
    let mut failures = 0;
    loop {
        let purpose = Purpose::Replay(replay.clone());
        let Ok(answer) = around.errands.send(uid, Arc::clone(&event), purpose) else {
            tokio::time::sleep(CROWDED).await;
            continue;
        };
        let Ok(Answered::Tried(tried)) = answer.await else {
            // Its lane has ended meanwhile, or the webhook was deleted.
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let Some(failure) = tried.failure else { return (true, letter) };
        failures += 1;
        let View::Known(known) = around.subscriptions.view(uid) else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let policy = &known.settings.policy;
        // After a 410 the webhook is held, and this event is not wanted whatever comes.
        if failures >= u32::from(policy.max_attempts.get()) || failure.reason == "Gone" {
            return (false, letter);
        }
        tokio::time::sleep(policy.backoff.delay(failures, Jitter::draw())).await;
    }
}

/// Removes the letters that were taken. Were that given up, they would be sent again by the next Replay.
async fn forget<J: Inspect>(shared: &Shared<J>, uid: WebhookUid, letters: Vec<LetterId>) {
    while !letters.is_empty() {
        match shared.around.journal.forget_dead(uid, letters.clone()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(webhook = %uid, %error, "replayed dead letters could not be removed");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
