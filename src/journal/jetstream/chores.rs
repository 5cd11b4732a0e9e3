//! What has to be done for lanes whether anybody delivers or not: end what outlived the
//! retention, give up what is beyond a webhook's backlog, evict dead letters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, Inner};
use super::dead;
use super::fold::Entry;
use super::names::partition;
use super::wire::{Change, Number};
use crate::journal::DeathNote;
use crate::journal::embedded::BACKLOG_FULL;
use crate::model::WebhookUid;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(500);

/// The most of one lane that is done at a look.
const PIECE: usize = 1000;

/// Looks, until shutdown.
pub async fn run(core: Arc<Core>) {
    while core.shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let over = {
            let mut inner = core.lock();
            let mine = mine(&inner);
            let mut over = Vec::new();
            for webhook in mine {
                expire(&core, &mut inner, webhook);
                evict(&core, &mut inner, webhook);
                over.extend(
                    beyond(&core, &mut inner, webhook)
                        .into_iter()
                        .map(|(number, entry)| (webhook, number, entry)),
                );
            }
            over
        };
        for (webhook, number, entry) in over {
            give_up(&core, webhook, number, entry).await;
        }
    }
}

/// The webhooks whose lanes this dispatcher runs.
fn mine(inner: &Inner) -> Vec<WebhookUid> {
    let now = Instant::now();
    inner
        .fold
        .lanes()
        .map(|(webhook, _)| webhook)
        .filter(|webhook| inner.may_act(partition(*webhook), now))
        .collect()
}

fn expire(core: &Core, inner: &mut Inner, webhook: WebhookUid) {
    let cutoff = core.cutoff(core.clock.now());
    let Some(lane) = inner.fold.lane(webhook) else { return };
    // In the order of acceptance, about.
    let old: Vec<Number> = lane
        .entries
        .iter()
        .take_while(|(_, entry)| entry.accepted_at < cutoff)
        .map(|(number, _)| *number)
        .take(PIECE)
        .collect();
    for number in old {
        if inner.withdraw(webhook, number) {
            core.metrics.expired.inc();
            inner.send(webhook, Change::Ended(number));
        }
    }
}

fn evict(core: &Core, inner: &mut Inner, webhook: WebhookUid) {
    let oldest = core.clock.now().before(core.config.limits.dead_age);
    let Some(lane) = inner.fold.lane(webhook) else { return };
    let mut bytes = lane.dead_bytes;
    let (mut by_age, mut by_bytes, mut evicted) = (0, 0, Vec::new());
    for (died_at, number) in lane.oldest_letters.iter().take(PIECE) {
        if *died_at < oldest {
            by_age += 1;
        } else if bytes > core.config.limits.dead_bytes {
            by_bytes += 1;
        } else {
            break;
        }
        bytes = bytes.saturating_sub(lane.letter(*number).map_or(0, |letter| letter.size.into()));
        evicted.push(*number);
    }
    core.metrics.evicted("age", by_age);
    core.metrics.evicted("bytes", by_bytes);
    for number in evicted {
        inner.send(webhook, Change::Evicted(number));
    }
}

/// The newest deliveries of a webhook with more than its backlog.
fn beyond(core: &Core, inner: &mut Inner, webhook: WebhookUid) -> Vec<(Number, Entry)> {
    let Some(lane) = inner.fold.lane(webhook) else { return Vec::new() };
    let more =
        lane.entries.len().saturating_sub(usize::try_from(core.config.limits.backlog).unwrap_or(usize::MAX));
    let newest: Vec<_> =
        lane.entries.iter().rev().take(more.min(PIECE)).map(|(number, entry)| (*number, *entry)).collect();
    newest.into_iter().filter(|(number, _)| inner.withdraw(webhook, *number)).collect()
}

async fn give_up(core: &Core, webhook: WebhookUid, number: Number, entry: Entry) {
    let limit = core.config.limits.backlog;
    let note = DeathNote {
        reason: BACKLOG_FULL.to_owned(),
        message: format!("the webhook already had {limit} deliveries waiting"),
    };
    let change = match core.event(number).await {
        Ok(Some(event)) => {
            let letter = dead::letter(core, &entry, &event, note, entry.failures);
            dead::keep(core, webhook, &letter).await.ok().map(|kept| kept.change(number))
        }
        Ok(None) => {
            core.metrics.unreadable.inc();
            Some(Change::Ended(number))
        }
        Err(_) => None,
    };
    let mut inner = core.lock();
    match change {
        Some(change) => inner.send(webhook, change),
        None => inner.restore(webhook, number),
    }
}
