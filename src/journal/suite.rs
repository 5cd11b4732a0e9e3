//! What every engine must show: the trait's promises and nothing more.
//!
//! Each function takes a fresh journal and a hand on its clock. It asserts only
//! what [`super`] promises, so a journal that repeats, reorders and forgets
//! within its rights passes; one that loses or invents does not. `engine!` runs
//! all of them against an engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::inspect::{PendingDelivery, Wait};
use super::{
    Append, Appended, DeathNote, Delivery, Inspect, Journal, Lane, LaneState, Lease, Outcome, Settled,
};
use crate::model::{Event, EventType, ManualClock, Ordering, Timestamp, WebhookUid};

/// Runs the suite against what `$make` makes of a clock: a journal, and what keeps it.
macro_rules! engine {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;
            engine!(@tests $make =>
                everything_stored_is_delivered_to_each_of_its_webhooks
                a_repeat_is_a_duplicate_also_within_a_batch
                a_retry_comes_back_when_it_is_due_with_its_failures
                what_is_not_settled_comes_back
                a_users_events_come_in_order
                the_dead_are_kept_and_listed_in_pages
                what_is_pending_is_listed_in_pages
                a_forgotten_letter_is_gone_and_others_stay
                a_dropped_webhook_has_nothing_and_others_keep_theirs
                a_lanes_state_is_replaced_only_if_it_is_the_expected_one
                a_lane_has_one_holder
            );
        }
    };
    (@tests $make:expr => $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let hand = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
                let make = $make;
                let (journal, _keep) = make(hand.clock());
                tokio::time::timeout(Duration::from_mins(1), super::$test(journal, hand))
                    .await
                    .expect("it ends within a minute");
            }
        )*
    };
}

fn webhook(number: u8) -> WebhookUid {
    WebhookUid::from_bytes([number; 16])
}

fn event(id: usize, user: usize) -> Arc<Event> {
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
async fn store(journal: &impl Journal, batch: Vec<Append>) {
    loop {
        let answers = journal.append(batch.clone()).await;
        assert_eq!(answers.len(), batch.len());
        if answers.iter().all(|answer| matches!(answer, Appended::Stored | Appended::Duplicate)) {
            return;
        }
        assert!(!answers.iter().any(|answer| matches!(answer, Appended::Refused(_))), "{answers:?}");
    }
}

async fn claim<J: Journal>(journal: &J, number: u8, ordering: Ordering) -> J::Lane {
    loop {
        if let Ok(lane) = journal.claim(webhook(number), ordering).await {
            return lane;
        }
        tokio::task::yield_now().await;
    }
}

/// Settles what is leased as `decide` says, claiming again when the lane is
/// lost, until `done` says so.
async fn work<J: Journal>(
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
async fn while_time_goes_on(hand: &ManualClock, work: impl Future<Output = ()>) {
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
async fn deliver_all<J: Journal>(journal: &J, number: u8, expected: &BTreeSet<String>) {
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

async fn everything_stored_is_delivered_to_each_of_its_webhooks<J: Journal>(journal: J, _: ManualClock) {
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

async fn a_repeat_is_a_duplicate_also_within_a_batch<J: Journal>(journal: J, _: ManualClock) {
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

async fn a_retry_comes_back_when_it_is_due_with_its_failures<J: Journal>(journal: J, hand: ManualClock) {
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

async fn what_is_not_settled_comes_back<J: Journal>(journal: J, _: ManualClock) {
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

async fn a_users_events_come_in_order<J: Journal>(journal: J, hand: ManualClock) {
    const USERS: usize = 5;
    const EVENTS: usize = 400;
    for first in (0..EVENTS).step_by(40) {
        let batch = (first..first + 40)
            .map(|id| Append { event: event(id, id % USERS), webhooks: vec![webhook(1)] })
            .collect();
        store(&journal, batch).await;
    }
    let ended: HashMap<String, String> = HashMap::new();
    let ended = std::cell::RefCell::new(ended);
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

async fn the_dead_are_kept_and_listed_in_pages<J: Inspect>(journal: J, _: ManualClock) {
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
        let (mut cursor, mut listed) = (None, Vec::new());
        loop {
            let Ok(page) = journal.dead_letters(webhook(1), cursor.clone(), 4).await else { continue };
            assert!(page.items.len() <= 4);
            listed.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
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

async fn what_is_pending_is_listed_in_pages<J: Inspect>(journal: J, _: ManualClock) {
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
        let (mut cursor, mut listed) = (None, Vec::new());
        loop {
            let Ok(page) = journal.pending(webhook(1), cursor.clone(), 4).await else { continue };
            assert!(page.items.len() <= 4);
            listed.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
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

async fn a_forgotten_letter_is_gone_and_others_stay<J: Inspect>(journal: J, _: ManualClock) {
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

async fn a_dropped_webhook_has_nothing_and_others_keep_theirs<J: Journal>(journal: J, _: ManualClock) {
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

async fn a_lanes_state_is_replaced_only_if_it_is_the_expected_one<J: Journal>(journal: J, _: ManualClock) {
    let state = |byte| LaneState(vec![byte; 3]);
    let mut current: Option<LaneState> = None;
    let mut step = 0_u8;
    while step < 20 {
        let mut lane = claim(&journal, 1, Ordering::None).await;
        while step < 20 {
            let Ok(found) = lane.state().await else { break };
            assert_eq!(found, current);
            let wrong = state(100 + step);
            match lane.compare_and_set(Some(&wrong), state(200)).await {
                Ok(replaced) => assert!(!replaced),
                Err(_) => break,
            }
            match lane.compare_and_set(current.as_ref(), state(step)).await {
                Ok(replaced) => assert!(replaced),
                Err(_) => break,
            }
            current = Some(state(step));
            step += 1;
        }
    }
}

async fn a_lane_has_one_holder<J: Journal>(journal: J, _: ManualClock) {
    let lane = claim(&journal, 1, Ordering::None).await;
    for _ in 0..20 {
        assert!(journal.claim(webhook(1), Ordering::None).await.is_err());
    }
    drop(lane);
    claim(&journal, 1, Ordering::None).await;
}

fn embedded(clock: crate::model::Clock) -> (super::embedded::Embedded, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = super::embedded::Config::new(folder.path());
    (super::embedded::Embedded::open(config, clock).expect("it opens"), folder)
}

engine!(of_the_embedded_engine, embedded);
engine!(of_a_misbehaving_engine, |clock| {
    let (journal, folder) = embedded(clock);
    (crate::journal::chaos::Chaos::new(journal, 1), folder)
});
engine!(of_another_misbehaving_engine, |clock| {
    let (journal, folder) = embedded(clock);
    (crate::journal::chaos::Chaos::new(journal, 2), folder)
});
