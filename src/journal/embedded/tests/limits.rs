//! Its bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;

use super::{Bench, append, claim, event, ids, soon, webhook};
use crate::journal::embedded::BACKLOG_FULL;
use crate::journal::{
    Append, Appended, DeathNote, Inspect, Journal, Lane, Lease, Outcome, RefusedReason, Settled,
};

#[tokio::test]
async fn a_full_backlog_makes_dead_letters_of_that_webhook_alone() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.limits.backlog = 3;
    let journal = bench.open_with(config);
    for i in 0..5 {
        let webhooks: &[u8] = if i == 4 { &[1, 2] } else { &[1] };
        assert_eq!(soon(journal.append(vec![append(&format!("e{i}"), webhooks)])).await, [Appended::Stored]);
    }
    let depth = soon(journal.depth(webhook(1))).await.expect("open");
    assert_eq!((depth.pending, depth.dead), (3, 2));
    let letters = soon(journal.dead_letters(webhook(1), None, 9)).await.expect("open").items;
    assert_eq!(letters.iter().map(|l| l.event.id.as_str()).collect::<Vec<_>>(), ["e3", "e4"]);
    assert!(letters.iter().all(|letter| letter.note.reason == BACKLOG_FULL && letter.attempts == 0));
    let mut lane = claim(&journal, 2).await;
    assert_eq!(ids(&mut lane, 1).await, ["e4"]);
    let mut lane = claim(&journal, 1).await;
    let lease = soon(lane.next(1)).await.expect("ours").pop().expect("one");
    soon(lease.settle(Outcome::Done)).await;
    drop(lane);
    drop(claim(&journal, 1).await);
    soon(journal.append(vec![append("e5", &[1])])).await;
    let depth = soon(journal.depth(webhook(1))).await.expect("open");
    assert_eq!((depth.pending, depth.dead), (3, 2), "there is room for one again");
}

/// Makes dead letters of the next `count` deliveries of webhook 1.
async fn bury(journal: &crate::journal::embedded::Embedded, count: usize) {
    let mut lane = claim(journal, 1).await;
    let before = soon(journal.depth(webhook(1))).await.expect("open");
    let mut dead = 0;
    while dead < count {
        for lease in soon(lane.next(count - dead)).await.expect("ours") {
            let note = DeathNote { reason: "TimedOut".to_owned(), message: "too slow".to_owned() };
            soon(lease.settle(Outcome::Dead(note))).await;
            dead += 1;
        }
    }
    // They die when that is written.
    let all = before.dead + before.evicted + count as u64;
    soon(async {
        loop {
            let depth = journal.depth(webhook(1)).await.expect("open");
            if depth.dead + depth.evicted == all {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The dead letters of webhook 1, when so many were evicted.
async fn letters_left(journal: &crate::journal::embedded::Embedded, evicted: u64) -> Vec<String> {
    // The writer looks once in a second, and counts a moment before it writes.
    soon(async {
        loop {
            let depth = journal.depth(webhook(1)).await.expect("open");
            let letters = journal.dead_letters(webhook(1), None, 99).await.expect("open").items;
            if (depth.dead, depth.evicted) == (letters.len() as u64, evicted) {
                return letters.iter().map(|letter| letter.event.id.clone()).collect();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn dead_letters_beyond_their_bytes_are_evicted_the_oldest_first_also_after_a_restart() {
    let bench = Bench::new();
    let mut config = bench.config();
    {
        let journal = bench.open_with(config.clone());
        soon(journal.append((0..6).map(|i| append(&format!("e{i}"), &[1])).collect())).await;
        bury(&journal, 6).await;
        soon(journal.close()).await.expect("closed");
    }
    // A letter of these has 97 bytes.
    config.limits.dead_bytes = 4 * 97;
    let journal = bench.open_with(config.clone());
    assert_eq!(letters_left(&journal, 2).await, ["e2", "e3", "e4", "e5"]);
    soon(journal.append(vec![append("e6", &[1])])).await;
    bury(&journal, 1).await;
    assert_eq!(letters_left(&journal, 3).await, ["e3", "e4", "e5", "e6"]);
    soon(journal.close()).await.expect("closed");
    drop(journal);
    assert_eq!(letters_left(&bench.open_with(config), 3).await, ["e3", "e4", "e5", "e6"]);
}

#[tokio::test]
async fn dead_letters_that_are_too_old_are_evicted() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.limits.dead_age = Duration::from_mins(10);
    let journal = bench.open_with(config);
    for (id, minutes) in [("old", 6), ("new", 5)] {
        soon(journal.append(vec![append(id, &[1])])).await;
        bury(&journal, 1).await;
        for _ in 0..minutes {
            bench.hand.advance(Duration::from_mins(1));
            journal.now();
        }
    }
    assert_eq!(letters_left(&journal, 1).await, ["new"]);
}

#[tokio::test]
async fn a_full_journal_refuses_and_takes_again_when_there_is_room() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.limits.max_bytes = 300;
    let journal = bench.open_with(config);
    let full = [Appended::Refused(RefusedReason::Full)];
    let mut stored = 0;
    while soon(journal.append(vec![append(&format!("e{stored}"), &[1])])).await != full {
        stored += 1;
        assert!(stored < 10, "300 bytes are not full");
    }
    assert!(stored > 1, "{stored}");
    let mut lane = claim(&journal, 1).await;
    for lease in soon(lane.next(1)).await.expect("ours") {
        soon(lease.settle(Outcome::Done)).await;
    }
    drop(lane);
    drop(claim(&journal, 1).await);
    assert_eq!(soon(journal.append(vec![append("more", &[1])])).await, [Appended::Stored]);
}

#[tokio::test]
async fn a_full_disk_refuses_delivers_on_and_takes_again_when_there_is_room() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.reserve_bytes = 1000;
    let journal = bench.open_with(config);
    let free = |bytes| *journal.0.core.pretended_space.lock().expect("free") = Some(bytes);
    let becomes = |bytes| {
        free(bytes);
        let metrics = journal.metrics();
        soon(async move {
            // The writer asks once in a second.
            while metrics.volume.free.get() != i64::try_from(bytes).expect("a number") {
                tokio::task::yield_now().await;
            }
        })
    };
    let of = |id: &str| journal.append(vec![append(id, &[1])]);
    becomes(5000).await;
    assert_eq!(soon(of("a")).await, [Appended::Stored]);
    becomes(900).await;
    let full = [Appended::Refused(RefusedReason::DiskFull)];
    assert_eq!(soon(of("b")).await, full);
    let mut lane = claim(&journal, 1).await;
    for lease in soon(lane.next(1)).await.expect("ours") {
        assert_eq!(soon(lease.settle(Outcome::Done)).await, Settled::Ok);
    }
    drop(lane);
    drop(claim(&journal, 1).await);
    assert_eq!(soon(journal.depth(webhook(1))).await.expect("open").pending, 0);
    becomes(1100).await;
    assert_eq!(soon(of("b")).await, full, "a little more is not enough");
    becomes(1300).await;
    assert_eq!(soon(of("b")).await, [Appended::Stored]);
}

#[tokio::test]
async fn the_disk_is_full_before_what_waits_has_no_room_for_its_outcomes() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.reserve_bytes = 1000;
    let journal = bench.open_with(config);
    let free = |bytes| *journal.0.core.pretended_space.lock().expect("free") = Some(bytes);
    let mut large = (*event("large", "user")).clone();
    large.data = Bytes::from(vec![b' '; 16_000]);
    free(5000);
    let large = Append { event: Arc::new(large), webhooks: vec![webhook(1)] };
    assert_eq!(soon(journal.append(vec![large])).await, [Appended::Stored]);
    // The reserve is there, but not the sixteenth of what waits beside it. With so little of a
    // reserve the disk is asked for each event, and not only once in a second.
    free(1900);
    let full = [Appended::Refused(RefusedReason::DiskFull)];
    assert_eq!(soon(journal.append(vec![append("a", &[1])])).await, full);
    free(2100);
    let metrics = journal.metrics();
    soon(async {
        while metrics.volume.free.get() != 2100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(soon(journal.append(vec![append("a", &[1])])).await, full, "it was asked in between");
}

#[tokio::test]
async fn what_outlives_the_retention_is_dropped_and_counted_whether_or_not_anybody_reads() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.limits.retention = Duration::from_mins(10);
    let journal = bench.open_with(config);
    soon(journal.append(vec![append("retried", &[1]), append("old", &[1, 2])])).await;
    let mut lane = claim(&journal, 1).await;
    let lease = soon(lane.next(1)).await.expect("ours").pop().expect("one");
    soon(lease.settle(Outcome::Retry { after: Duration::from_hours(1) })).await;
    for _ in 0..11 {
        bench.hand.advance(Duration::from_mins(1));
        journal.now();
    }
    soon(journal.append(vec![append("new", &[1])])).await;
    assert_eq!(ids(&mut lane, 1).await, ["new"]);
    soon(async {
        // The writer looks once in a second.
        while journal.metrics().expired.get() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(soon(journal.depth(webhook(1))).await.expect("open").pending, 1);
    assert_eq!(soon(journal.depth(webhook(2))).await.expect("open").pending, 0);
}

#[tokio::test]
async fn a_step_of_a_day_expires_nothing_and_fires_nothing() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.limits.retention = Duration::from_hours(1);
    {
        let journal = bench.open_with(config.clone());
        soon(journal.append(vec![append("a", &[1])])).await;
        bench.hand.advance(Duration::from_hours(24));
        let mut lane = claim(&journal, 1).await;
        assert_eq!(ids(&mut lane, 1).await, ["a"]);
        drop(lane);
        soon(journal.close()).await.expect("closed");
    }
    bench.hand.advance(Duration::from_hours(24));
    let journal = bench.open_with(config);
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 1).await, ["a"]);
}

#[tokio::test]
async fn a_retry_comes_when_it_is_due_whatever_the_time_of_day_does() {
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![append("a", &[1])])).await;
    let mut lane = claim(&journal, 1).await;
    let noon = bench.hand.now();
    let day = Duration::from_hours(24);
    for set in [noon.before(day), noon.after(day), noon] {
        let [lease] = <[_; 1]>::try_from(soon(lane.next(1)).await.expect("held")).ok().expect("one lease");
        let after = Duration::from_secs(30);
        assert_eq!(soon(lease.settle(Outcome::Retry { after })).await, Settled::Ok);
        bench.hand.set(set);
        bench.hand.advance_stopped(after.saturating_sub(Duration::from_millis(1)));
        assert!(lane.next(1).now_or_never().is_none(), "set to {set}, it came too early");
        bench.hand.advance_stopped(Duration::from_millis(1));
    }
    assert_eq!(ids(&mut lane, 1).await, ["a"]);
}
