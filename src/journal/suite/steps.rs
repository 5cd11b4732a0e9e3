//! What the tests do with any journal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::journal::{Append, Appended, Delivery, Journal, Lane, Lease, Outcome, Settled};
use crate::model::{Event, EventType, ManualClock, Ordering, Timestamp, WebhookUid};

pub(super) fn webhook(number: u8) -> WebhookUid {
    WebhookUid::from_bytes([number; 16])
}

pub(super) fn event(id: usize, user: usize) -> Arc<Event> {
    Arc::new(Event {
        namespace: "identity".to_owned(),
        id: format!("{id:06}"),
        source: "/idp".to_owned(),
        event_type: EventType::UserUpdated,
        subject: format!("user-{user}"),
        time: Timestamp::from_millis(id as u64),
        data: Bytes::from(format!("{{\"n\": {id}}}")),
    })
}

/// Appends until everything is stored, as a producer that repeats does.
pub(super) async fn store(journal: &impl Journal, batch: Vec<Append>) {
    loop {
        let answers = journal.append(batch.clone()).await;
        assert_eq!(answers.len(), batch.len());
        if answers.iter().all(|answer| matches!(answer, Appended::Stored | Appended::Duplicate)) {
            return;
        }
        assert!(!answers.iter().any(|answer| matches!(answer, Appended::Refused(_))), "{answers:?}");
    }
}

pub(super) async fn claim<J: Journal>(journal: &J, number: u8, ordering: Ordering) -> J::Lane {
    loop {
        if let Ok(lane) = journal.claim(webhook(number), ordering).await {
            return lane;
        }
        tokio::task::yield_now().await;
    }
}

/// Settles what is leased as `decide` says, claiming again when the lane is
/// lost, until `done` says so.
pub(super) async fn work<J: Journal>(
    journal: &J,
    number: u8,
    ordering: Ordering,
    mut decide: impl FnMut(&Delivery) -> Outcome,
    mut done: impl FnMut(&Delivery, &Outcome, Settled) -> bool,
) {
    loop {
        let mut lane = claim(journal, number, ordering).await;
        while let Ok(leases) = lane.next(7).await {
            assert!(leases.len() <= 7);
            for lease in leases {
                let delivery = lease.delivery().clone();
                let outcome = decide(&delivery);
                let settled = lease.settle(outcome.clone()).await;
                if done(&delivery, &outcome, settled) {
                    return;
                }
            }
        }
    }
}

/// Moves the clock a second whenever a millisecond has passed.
pub(super) async fn while_time_goes_on(hand: &ManualClock, work: impl Future<Output = ()>) {
    let time = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            hand.advance(Duration::from_secs(1));
        }
    };
    tokio::select! {
        () = work => {}
        () = time => {}
    }
}

/// Delivers everything, until each of `expected` ids was.
pub(super) async fn deliver_all<J: Journal>(journal: &J, number: u8, expected: &BTreeSet<String>) {
    let mut left = expected.clone();
    work(
        journal,
        number,
        Ordering::None,
        |delivery| {
            assert!(expected.contains(&delivery.event.id), "{} was never stored for it", delivery.event.id);
            Outcome::Done
        },
        |delivery, _, _| {
            left.remove(&delivery.event.id);
            left.is_empty()
        },
    )
    .await;
}
