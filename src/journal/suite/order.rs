//! A user's events, one after another.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::steps::{event, store, webhook, while_time_goes_on, work};
use crate::journal::{Append, DeathNote, Journal, Outcome};
use crate::model::{ManualClock, Ordering};

pub(super) async fn a_users_events_come_in_order<J: Journal>(journal: J, hand: ManualClock) {
    const USERS: usize = 5;
    const EVENTS: usize = 400;
    for first in (0..EVENTS).step_by(40) {
        let batch = (first..first + 40)
            .map(|id| Append { event: event(id, id % USERS), webhooks: vec![webhook(1)] })
            .collect();
        store(&journal, batch).await;
    }
    let ended: HashMap<String, String> = HashMap::new();
    let ended = RefCell::new(ended);
    let mut left: BTreeSet<_> = (0..EVENTS).map(|id| event(id, 0).id.clone()).collect();
    let mut turn = 0_usize;
    let ordered = work(
        &journal,
        1,
        Ordering::PerUser,
        |delivery| {
            let last = ended.borrow().get(&delivery.event.subject).cloned();
            let id: usize = delivery.event.id.parse().expect("a number");
            // Everything before it has ended, or it is a repeat.
            let last =
                last.map_or(id % USERS, |last: String| last.parse::<usize>().expect("a number") + USERS);
            assert!(id <= last, "{id} came before {last} had ended");
            turn += 1;
            match turn % 4 {
                0 => Outcome::Retry { after: Duration::from_secs(3) },
                1 => Outcome::Release,
                2 => Outcome::Dead(DeathNote { reason: "Test".to_owned(), message: "a test".to_owned() }),
                _ => Outcome::Done,
            }
        },
        |delivery, outcome, _| {
            // Also what may not stand: then it comes again, which is a repeat.
            if matches!(outcome, Outcome::Done | Outcome::Dead(_)) {
                let mut ended = ended.borrow_mut();
                let last = ended.entry(delivery.event.subject.clone()).or_default();
                *last = delivery.event.id.clone().max(std::mem::take(last));
                left.remove(&delivery.event.id);
            }
            left.is_empty()
        },
    );
    while_time_goes_on(&hand, ordered).await;
}

pub(super) async fn other_users_do_not_wait_behind_a_hundred_thousand_events<J: Journal>(
    journal: J,
    _: ManualClock,
) {
    const BEHIND: usize = 100_000;
    const BATCH: usize = 10_000;
    const OTHERS: usize = 200;
    let append = |id, user| Append { event: event(id, user), webhooks: vec![webhook(1)] };
    for first in (0..BEHIND).step_by(BATCH) {
        store(&journal, (first..first + BATCH).map(|id| append(id, 0)).collect()).await;
    }
    store(&journal, (1..=OTHERS).map(|user| append(BEHIND + user, user)).collect()).await;
    let blocked = event(0, 0);
    let mut left: BTreeSet<_> = (1..=OTHERS).map(|user| event(BEHIND + user, user).id.clone()).collect();
    // The clock stands still: the retry is never due.
    work(
        &journal,
        1,
        Ordering::PerUser,
        |delivery| {
            if delivery.event.subject != blocked.subject {
                return Outcome::Done;
            }
            assert_eq!(delivery.event.id, blocked.id, "it came before the one before it had ended");
            Outcome::Retry { after: Duration::from_hours(1) }
        },
        |delivery, _, _| {
            left.remove(&delivery.event.id);
            left.is_empty()
        },
    )
    .await;
}
