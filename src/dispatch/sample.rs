//! Queue depths and ages, sampled: a scrape must not wait for the journal.

use std::time::Duration;

use super::Shared;
use super::metrics::{MOST_WEBHOOKS, WebhookLabel};
use crate::api::DeliveringReason;
use crate::journal::Journal;
use crate::subscriptions::View;

/// How old a sample may be.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Samples every webhook: one without a lane has nothing queued, and its dead
/// letters may have become too old.
pub(super) async fn take<J: Journal>(shared: &Shared<J>) {
    let metrics = &shared.metrics;
    metrics.view_age_seconds.set(seconds(shared.subscriptions.oldest()));
    let open = shared.board.count_held(DeliveringReason::CircuitOpen);
    metrics.circuits_open.set(i64::try_from(open).unwrap_or(i64::MAX));
    let mut queues = Vec::new();
    for uid in shared.subscriptions.all() {
        let View::Known(known) = shared.subscriptions.view(uid) else {
            continue;
        };
        if !shared.journal.runs(uid) {
            continue;
        }
        let Ok(depth) = shared.journal.depth(uid).await else {
            continue;
        };
        let reported = known.reported.delivery.as_ref();
        let told = reported.and_then(|delivery| delivery.pending.zip(delivery.dead_letters));
        if told != Some((depth.pending, depth.dead)) {
            shared.board.nudge(uid);
        }
        if depth.pending > 0 {
            let object = &known.object;
            let label = WebhookLabel { namespace: object.namespace.clone(), webhook: object.name.clone() };
            queues.push((depth.pending, uid, label));
        }
    }
    queues.sort_unstable_by_key(|(pending, ..)| std::cmp::Reverse(*pending));
    queues.truncate(MOST_WEBHOOKS);
    let mut shown = Vec::with_capacity(queues.len());
    for (pending, uid, label) in queues {
        let oldest = shared.journal.oldest(uid).await.unwrap_or_default();
        let age = oldest.map_or(Duration::ZERO, |oldest| shared.journal.now().since(oldest));
        shown.push((pending, age, label));
    }
    metrics.queue_depth.clear();
    metrics.queue_age_seconds.clear();
    for (pending, age, label) in shown {
        metrics.queue_depth.get_or_create(&label).set(i64::try_from(pending).unwrap_or(i64::MAX));
        metrics.queue_age_seconds.get_or_create(&label).set(seconds(age));
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
