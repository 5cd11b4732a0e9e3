//! What people see: what is pending, and what is dead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::steps::{event, store, webhook, work};
use crate::journal::inspect::{Cursor, Page, PendingDelivery, Wait};
use crate::journal::{Append, DeathNote, Delivery, Inspect, Outcome, Settled, Unavailable};
use crate::model::{Event, ManualClock, Ordering};

/// At most so many are asked for at a time.
const PAGE: usize = 4;

/// A listing, from its first page to its last.
async fn all<T>(list: impl AsyncFn(Option<Cursor>) -> Result<Page<T>, Unavailable>) -> Vec<T> {
    let (mut cursor, mut listed) = (None, Vec::new());
    loop {
        let Ok(page) = list(cursor.clone()).await else { continue };
        assert!(page.items.len() <= PAGE);
        listed.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return listed;
        }
    }
}

pub(super) async fn the_dead_are_kept_and_listed_in_pages<J: Inspect>(journal: J, _: ManualClock) {
    let batch = (0..25).map(|id| Append { event: event(id, id), webhooks: vec![webhook(1)] }).collect();
    store(&journal, batch).await;
    let mut dead = BTreeSet::new();
    let note = DeathNote { reason: "UnexpectedStatus".to_owned(), message: "the answer was 400".to_owned() };
    work(
        &journal,
        1,
        Ordering::None,
        |_| Outcome::Dead(note.clone()),
        |delivery, _, settled| {
            if settled == Settled::Ok {
                dead.insert(delivery.event.id.clone());
            }
            // The others come again; here only these are looked for.
            dead.len() >= 15
        },
    )
    .await;
    // A listing may be stale: it is asked until it shows them.
    loop {
        let listed = all(async |cursor| journal.dead_letters(webhook(1), cursor, PAGE).await).await;
        for letter in &listed {
            assert_eq!((&letter.note, letter.attempts), (&note, 1));
        }
        assert!(listed.is_sorted_by_key(|letter| letter.died_at), "oldest first");
        let ids: Vec<_> = listed.iter().map(|letter| letter.event.id.clone()).collect();
        let set: BTreeSet<_> = ids.iter().cloned().collect();
        assert_eq!(set.len(), ids.len(), "each once");
        if dead.is_subset(&set) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn what_is_pending_is_listed_in_pages<J: Inspect>(journal: J, _: ManualClock) {
    let batch = (0..30).map(|id| Append { event: event(id, id), webhooks: vec![webhook(1)] }).collect();
    store(&journal, batch).await;
    let (mut retried, mut done) = (BTreeSet::new(), BTreeSet::new());
    work(
        &journal,
        1,
        Ordering::None,
        |delivery| match delivery.event.id.parse::<usize>().expect("a number") % 2 {
            0 => Outcome::Done,
            _ => Outcome::Retry { after: Duration::from_hours(1) },
        },
        |delivery, outcome, settled| {
            let set = if *outcome == Outcome::Done { &mut done } else { &mut retried };
            if settled == Settled::Ok {
                set.insert(delivery.event.id.clone());
            }
            retried.len() + done.len() >= 10
        },
    )
    .await;
    // A listing may be stale, and an outcome that was unknown may stand.
    loop {
        let listed = all(async |cursor| journal.pending(webhook(1), cursor, PAGE).await).await;
        let ids: BTreeSet<_> = listed.iter().map(|pending| pending.event.id.clone()).collect();
        assert_eq!(ids.len(), listed.len(), "each once");
        let waits =
            |pending: &&PendingDelivery| matches!(pending.wait, Wait::Until(at) if at > journal.now());
        let waiting: BTreeSet<_> = listed.iter().filter(waits).map(|p| p.event.id.clone()).collect();
        if ids.is_disjoint(&done) && retried.is_subset(&waiting) {
            assert!(ids.len() >= 30 - 15, "those that were not tried, and all that were not delivered");
            break;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn a_page_of_large_events_is_short_and_none_is_left_out<J: Inspect>(
    journal: J,
    _: ManualClock,
) {
    const BYTES: usize = 256 << 10;
    let large = |id: usize| {
        let data = Bytes::from(format!("\"{}\"", "x".repeat(BYTES)));
        Append { event: Arc::new(Event { data, ..(*event(id, id)).clone() }), webhooks: vec![webhook(1)] }
    };
    for id in 0..40 {
        store(&journal, vec![large(id)]).await;
    }
    let list = async || {
        let (mut cursor, mut listed) = (None, BTreeSet::new());
        loop {
            let Ok(page) = journal.pending(webhook(1), cursor.clone(), 1000).await else { continue };
            assert!(page.items.len() < 20, "{} events of {BYTES} bytes are in memory", page.items.len());
            listed.extend(page.items.into_iter().map(|pending| pending.event.id.clone()));
            cursor = page.next;
            if cursor.is_none() {
                return listed;
            }
        }
    };
    // A listing may be stale, but leaves nothing out for ever.
    while list().await.len() < 40 {}
}

pub(super) async fn a_forgotten_letter_is_gone_and_others_stay<J: Inspect>(journal: J, _: ManualClock) {
    let batch = (0..6).map(|id| Append { event: event(id, id), webhooks: vec![webhook(1)] }).collect();
    store(&journal, batch).await;
    let note = DeathNote { reason: "r".to_owned(), message: "m".to_owned() };
    let mut dead = BTreeSet::new();
    let give_up = |_: &Delivery| Outcome::Dead(note.clone());
    work(&journal, 1, Ordering::None, give_up, |delivery, _, settled| {
        if settled == Settled::Ok {
            dead.insert(delivery.event.id.clone());
        }
        dead.len() == 4
    })
    .await;
    let list = async |at_least: usize| loop {
        match journal.dead_letters(webhook(1), None, 100).await {
            Ok(page) if page.items.len() >= at_least => return page.items,
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    };
    let letters = list(4).await;
    let forgotten = vec![letters[0].id.clone(), letters[2].id.clone(), letters[0].id.clone()];
    while journal.forget_dead(webhook(1), forgotten.clone()).await.is_err() {}
    // Of another webhook, they are not there.
    while journal.forget_dead(webhook(2), vec![letters[1].id.clone()]).await.is_err() {}
    loop {
        let left: Vec<_> = list(1).await.into_iter().map(|letter| letter.id).collect();
        assert!(left.contains(&letters[1].id));
        if forgotten.iter().all(|id| !left.contains(id)) {
            break;
        }
        tokio::task::yield_now().await;
    }
}
