//! What is stored is delivered, until it has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::steps::{claim, deliver_all, event, store, webhook, while_time_goes_on, work};
use crate::journal::{Append, Appended, DeathNote, Journal, Lane, Lease, Outcome, Settled};
use crate::model::{ManualClock, Ordering, Timestamp};

pub(super) async fn everything_stored_is_delivered_to_each_of_its_webhooks<J: Journal>(
    journal: J,
    _: ManualClock,
) {
    let mut expected: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    for first in (0..3000).step_by(50) {
        let batch: Vec<_> = (first..first + 50)
            .map(|id| {
                let webhooks: Vec<u8> = (1..=3).filter(|number| id % usize::from(*number) == 0).collect();
                for number in &webhooks {
                    expected.entry(*number).or_default().insert(event(id, id).id.clone());
                }
                Append { event: event(id, id), webhooks: webhooks.into_iter().map(webhook).collect() }
            })
            .collect();
        store(&journal, batch).await;
    }
    let mut named = BTreeSet::new();
    while named.len() < 3 {
        named.extend(journal.unclaimed().await.into_iter().filter(|uid| (1..=3).any(|n| webhook(n) == *uid)));
    }
    let deliveries = expected.iter().map(|(number, ids)| deliver_all(&journal, *number, ids));
    futures::future::join_all(deliveries).await;
}

pub(super) async fn a_repeat_is_a_duplicate_also_within_a_batch<J: Journal>(journal: J, _: ManualClock) {
    let append = |id| Append { event: event(id, 1), webhooks: vec![webhook(1)] };
    store(&journal, vec![append(1)]).await;
    let mut changed = append(1);
    Arc::make_mut(&mut changed.event).data = Bytes::from_static(b"\"another\"");
    let answers = loop {
        let answers = journal.append(vec![changed.clone(), append(2), append(2)]).await;
        if !answers.contains(&Appended::Unknown) {
            break answers;
        }
    };
    assert_eq!((&answers[0], &answers[2]), (&Appended::Duplicate, &Appended::Duplicate));
    let mut seen = BTreeSet::new();
    work(
        &journal,
        1,
        Ordering::None,
        |_| Outcome::Done,
        |delivery, _, _| {
            assert_ne!(delivery.event.data, "\"another\"", "the first content wins");
            seen.insert(delivery.event.id.clone());
            seen.len() == 2
        },
    )
    .await;
}

pub(super) async fn a_retry_comes_back_when_it_is_due_with_its_failures<J: Journal>(
    journal: J,
    hand: ManualClock,
) {
    store(&journal, vec![Append { event: event(1, 1), webhooks: vec![webhook(1)] }]).await;
    let mut due: Option<Timestamp> = None;
    let mut most = 0;
    let retries = work(
        &journal,
        1,
        Ordering::None,
        |delivery| {
            if delivery.failures >= 3 {
                Outcome::Done
            } else {
                Outcome::Retry { after: Duration::from_secs(20) }
            }
        },
        |delivery, outcome, settled| {
            assert!(delivery.failures <= most, "no failure is invented");
            if delivery.failures == most
                && let Some(due) = due
            {
                assert!(journal.now() >= due, "not before it is due");
            }
            // An unknown outcome may stand.
            if matches!(outcome, Outcome::Retry { .. })
                && settled != Settled::Stale
                && delivery.failures == most
            {
                most = delivery.failures + 1;
                due = Some(journal.now().after(Duration::from_secs(19))).filter(|_| settled == Settled::Ok);
            }
            *outcome == Outcome::Done
        },
    );
    while_time_goes_on(&hand, retries).await;
}

pub(super) async fn what_is_not_settled_comes_back<J: Journal>(journal: J, _: ManualClock) {
    let ids: BTreeSet<_> = (0..100).map(|id| event(id, id).id.clone()).collect();
    let batch = (0..100).map(|id| Append { event: event(id, id), webhooks: vec![webhook(1)] }).collect();
    store(&journal, batch).await;
    // Some leases are dropped with their lane, some before it, some released.
    for round in 0..4 {
        let mut lane = claim(&journal, 1, Ordering::None).await;
        let Ok(leases) = lane.next(20).await else { continue };
        for (i, lease) in leases.into_iter().enumerate() {
            match (i + round) % 3 {
                0 => drop(lease),
                1 => drop(lease.settle(Outcome::Release).await),
                _ => {
                    drop(lane);
                    drop(lease);
                    break;
                }
            }
        }
    }
    deliver_all(&journal, 1, &ids).await;
}

pub(super) async fn a_dropped_webhook_has_nothing_and_others_keep_theirs<J: Journal>(
    journal: J,
    _: ManualClock,
) {
    let both = vec![webhook(1), webhook(2)];
    let batch = (0..2500).map(|id| Append { event: event(id, id), webhooks: both.clone() }).collect();
    store(&journal, batch).await;
    let note = DeathNote { reason: "r".to_owned(), message: "m".to_owned() };
    let mut count = 0;
    work(
        &journal,
        1,
        Ordering::None,
        |_| Outcome::Dead(note.clone()),
        |_, _, _| {
            count += 1;
            count == 10
        },
    )
    .await;
    while journal.drop_webhook(webhook(1)).await.is_err() {}
    let depth = journal.depth(webhook(1)).await.expect("open");
    assert_eq!((depth.pending, depth.dead), (0, 0));
    assert_eq!(journal.oldest(webhook(1)).await.expect("open"), None);
    // What comes later is not dropped.
    store(&journal, vec![Append { event: event(9999, 1), webhooks: vec![webhook(1)] }]).await;
    deliver_all(&journal, 1, &BTreeSet::from([event(9999, 1).id.clone()])).await;
    deliver_all(&journal, 2, &(0..2500).map(|id| event(id, id).id.clone()).collect()).await;
}
