//! Writes what the lanes report into the Webhooks' status, a few a second.

mod unreadable;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use unreadable::Told;

use super::Shared;
use super::report::{PROGRESS_EVERY, Worth, report, worth};
use super::status::apply_status;
use crate::api::Webhook;
use crate::journal::Journal;
use crate::model::WebhookUid;
use crate::subscriptions::{ObjectName, View};

/// Between two writes: twenty a second for the whole process.
const PACE: Duration = Duration::from_millis(50);
/// A webhook that has news all the time is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long after a write that failed the next is tried.
const AFTER_ERROR: Duration = Duration::from_secs(5);
/// How often it is asked whether a webhook is this process's to report.
const NOT_OURS: Duration = Duration::from_secs(2);

/// Which webhooks are to be looked at, the most urgent first.
#[derive(Debug, Default)]
struct Agenda {
    now: VecDeque<WebhookUid>,
    later: BTreeSet<(Instant, WebhookUid)>,
    /// When each webhook's progress was written last.
    written: HashMap<WebhookUid, Instant>,
    /// When each webhook was looked at last.
    looked: HashMap<WebhookUid, Instant>,
    queued: HashSet<WebhookUid>,
}

impl Agenda {
    fn soon(&mut self, uid: WebhookUid, now: Instant) {
        if let Some(due) = not_before(&self.looked, uid, LOOK_EVERY, now) {
            self.later.insert((due, uid));
        } else if self.queued.insert(uid) {
            self.now.push_back(uid);
        }
    }

    fn next(&mut self, now: Instant) -> Option<WebhookUid> {
        if let Some(uid) = self.now.pop_front() {
            self.queued.remove(&uid);
            return Some(uid);
        }
        if self.later.first()?.0 > now {
            return None;
        }
        self.later.pop_first().map(|(_, uid)| uid)
    }

    fn forget(&mut self, uid: WebhookUid) {
        self.written.remove(&uid);
        self.looked.remove(&uid);
    }

    /// The moment before which this webhook's progress may not be written; `None` if it may be now.
    fn progress_due(&self, uid: WebhookUid, now: Instant) -> Option<Instant> {
        not_before(&self.written, uid, PROGRESS_EVERY, now)
    }
}

/// When it is the webhook's turn again, if that is not now.
fn not_before(
    last: &HashMap<WebhookUid, Instant>,
    uid: WebhookUid,
    every: Duration,
    now: Instant,
) -> Option<Instant> {
    last.get(&uid).map(|last| *last + every).filter(|due| *due > now)
}

/// Reports until `shutdown`.
pub(super) async fn run<J: Journal>(shared: Arc<Shared<J>>, shutdown: CancellationToken) {
    let mut agenda = Agenda::default();
    let mut changes = shared.subscriptions.changes();
    shared.subscriptions.all().into_iter().for_each(|uid| agenda.soon(uid, Instant::now()));
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = agenda.later.first().map(|(due, _)| *due);
        tokio::select! {
            webhooks = changes.next() => webhooks.into_iter().for_each(|uid| agenda.soon(uid, Instant::now())),
            news = shared.board.news() => news.into_iter().for_each(|uid| agenda.soon(uid, Instant::now())),
            () = sleep_until(due), if agenda.now.is_empty() => {}
            () = shutdown.cancelled() => return,
            () = std::future::ready(()), if !agenda.now.is_empty() => {}
        }
        while let Some(uid) = agenda.next(Instant::now()) {
            if look(&shared, &mut agenda, uid).await {
                tokio::select! {
                    _ = pace.tick() => {}
                    () = shutdown.cancelled() => return,
                }
                break;
            }
        }
    }
}

/// Writes one webhook's report if it is worth it; `true` if it wrote.
async fn look<J: Journal>(shared: &Shared<J>, agenda: &mut Agenda, uid: WebhookUid) -> bool {
    if !shared.journal.runs(uid) {
        // Who runs its lane reports it.
        agenda.later.insert((Instant::now() + NOT_OURS, uid));
        return false;
    }
    agenda.looked.insert(uid, Instant::now());
    let known = match shared.subscriptions.view(uid) {
        View::Known(known) => known,
        View::Unreadable(unreadable) => {
            let told = unreadable::tell(shared, uid, &unreadable).await;
            if told == Told::Failed {
                agenda.later.insert((Instant::now() + AFTER_ERROR, uid));
            }
            return told != Told::Already;
        }
        View::Unknown | View::Gone => {
            agenda.forget(uid);
            return false;
        }
    };
    let snapshot = shared.board.snapshot(uid);
    let Ok(depth) = shared.journal.depth(uid).await else {
        return false;
    };
    let report = report(&known, &snapshot, depth, shared.clock.now());
    match worth(&known, &report) {
        Worth::Nothing => return false,
        Worth::Progress => {
            let now = Instant::now();
            if let Some(due) = agenda.progress_due(uid, now) {
                agenda.later.insert((due, uid));
                return false;
            }
            agenda.written.insert(uid, now);
        }
        Worth::Transition => {}
    }
    let status = json!({ "conditions": [report.condition], "delivery": report.delivery });
    if !write(shared, &known.object, uid, &status).await {
        agenda.later.insert((Instant::now() + AFTER_ERROR, uid));
    }
    true
}

/// `false` if it is to be tried again.
async fn write<J: Journal>(shared: &Shared<J>, object: &ObjectName, uid: WebhookUid, status: &Value) -> bool {
    shared.metrics.status_writes.inc();
    let written = apply_status::<Webhook>(&shared.client, object, Some(&uid.to_string()), status).await;
    if let Err(error) = &written {
        shared.metrics.status_write_errors.inc();
        tracing::warn!(webhook = %uid, %error, "a status was not written");
    }
    written.is_ok()
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: WebhookUid = WebhookUid::from_bytes([1; 16]);

    #[test]
    fn the_first_news_of_a_webhook_is_looked_at_at_once_and_what_follows_a_little_later() {
        let (mut agenda, start) = (Agenda::default(), Instant::now());
        agenda.soon(UID, start);
        assert_eq!(agenda.next(start), Some(UID));
        agenda.looked.insert(UID, start);
        for millis in [1, 2, 50] {
            agenda.soon(UID, start + Duration::from_millis(millis));
        }
        assert_eq!(agenda.next(start + Duration::from_millis(99)), None);
        assert_eq!(agenda.next(start + LOOK_EVERY), Some(UID));
        assert_eq!(agenda.next(start + LOOK_EVERY), None, "the news were one look");
        agenda.soon(UID, start + LOOK_EVERY);
        assert_eq!(agenda.next(start + LOOK_EVERY), Some(UID));
    }
}
