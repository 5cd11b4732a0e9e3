//! What a new process finds.

use super::super::OpenError;
use super::{Bench, append, claim, event, ids, logs, soon, webhook};
use crate::journal::embedded::Embedded;
use crate::journal::{
    Append, Appended, DeathNote, Inspect, Journal, Lane, LaneState, Lease, Outcome, RefusedReason, Settled,
};
use crate::model::Ordering;
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

#[tokio::test]
async fn what_is_pending_to_be_retried_or_dead_is_there_after_a_restart() {
    let bench = Bench::new();
    let accepted_at = {
        let journal = bench.open();
        let accepted_at = journal.now();
        let batch = ["done", "retry", "dead", "leased", "pending"].map(|id| append(id, &[1, 2])).to_vec();
        assert_eq!(soon(journal.append(batch)).await, vec![Appended::Stored; 5]);
        let mut lane = claim(&journal, 1).await;
        let leases = soon(lane.next(4)).await.expect("ours");
        let outcomes = [
            Outcome::Done,
            Outcome::Retry { after: Duration::from_secs(40) },
            Outcome::Dead(DeathNote { reason: "Gone".to_owned(), message: "410".to_owned() }),
        ];
        let mut leases = leases.into_iter();
        for outcome in outcomes {
            let lease = leases.next().expect("a lease");
            assert_eq!(soon(lease.settle(outcome)).await, Settled::Ok);
        }
        assert!(soon(lane.compare_and_set(None, LaneState(vec![7]))).await.expect("ours"));
        bench.hand.advance(Duration::from_secs(1));
        soon(journal.append(vec![append("later", &[3])])).await;
        soon(journal.close()).await.expect("closed");
        accepted_at
    };
    let journal = bench.open();
    for number in [1, 2] {
        assert_eq!(soon(journal.oldest(webhook(number))).await.expect("open"), Some(accepted_at), "{number}");
    }
    assert!(soon(journal.oldest(webhook(3))).await.expect("open") > Some(accepted_at));
    assert_eq!(soon(journal.oldest(webhook(4))).await.expect("open"), None);
    let depth = soon(journal.depth(webhook(1))).await.expect("open");
    assert_eq!((depth.pending, depth.dead), (3, 1));
    assert_eq!(soon(journal.depth(webhook(2))).await.expect("open").pending, 5);
    let letters = soon(journal.dead_letters(webhook(1), None, 10)).await.expect("open").items;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].event.id.as_str(), letters[0].attempts), ("dead", 1));
    assert_eq!(letters[0].note.reason, "Gone");
    let mut lane = claim(&journal, 1).await;
    assert_eq!(soon(lane.state()).await.expect("ours"), Some(LaneState(vec![7])));
    let leases = soon(lane.next(10)).await.expect("ours");
    let found: Vec<_> = leases.iter().map(|lease| lease.delivery().event.id.as_str()).collect();
    assert_eq!(found, ["leased", "pending"]);
    bench.hand.advance(Duration::from_secs(41));
    let retries = soon(lane.next(10)).await.expect("ours");
    assert_eq!(retries.len(), 1);
    assert_eq!(retries[0].delivery().event, event("retry", "user"));
    assert_eq!(retries[0].delivery().failures, 1);
    let mut other = claim(&journal, 2).await;
    assert_eq!(ids(&mut other, 5).await, ["done", "retry", "dead", "leased", "pending"]);
}

#[tokio::test]
async fn a_lane_lost_or_dropped_gives_back_what_was_not_settled() {
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![append("a", &[1]), append("b", &[1])])).await;
    assert_eq!(soon(journal.unclaimed()).await, [webhook(1)]);
    let mut lane = claim(&journal, 1).await;
    let mut leases = soon(lane.next(2)).await.expect("ours");
    let second = leases.pop().expect("two");
    assert!(journal.claim(webhook(1), Ordering::None).await.is_err(), "it is held");
    drop(lane);
    assert_eq!(soon(second.settle(Outcome::Done)).await, Settled::Stale);
    drop(leases);
    assert_eq!(soon(journal.unclaimed()).await, [webhook(1)]);
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 2).await, ["a", "b"]);
}

#[tokio::test]
async fn the_directory_has_one_user_and_says_so() {
    let bench = Bench::new();
    let journal = bench.open();
    let second = Embedded::open(bench.config(), bench.hand.clock()).err();
    assert!(matches!(second, Some(OpenError::Locked { .. })), "{second:?}");
    soon(journal.close()).await.expect("closed");
    assert_eq!(
        soon(journal.append(vec![append("a", &[1])])).await,
        [Appended::Refused(RefusedReason::Unavailable)]
    );
    bench.open();
    std::fs::write(bench.config().path.join("FORMAT"), "herald-journal 9\n").expect("written");
    let newer = Embedded::open(bench.config(), bench.hand.clock()).err();
    assert!(matches!(newer, Some(OpenError::TooNew { found: 9, .. })), "{newer:?}");
    std::fs::write(bench.config().path.join("FORMAT"), "shopping list").expect("written");
    let other = Embedded::open(bench.config(), bench.hand.clock()).err();
    assert!(matches!(other, Some(OpenError::NotAJournal { .. })), "{other:?}");
}

#[tokio::test]
async fn appends_that_arrive_together_share_an_fsync() {
    let bench = Bench::new();
    let journal = bench.open();
    let before = journal.syncs();
    let appends = (0..400).map(|i| {
        let journal = journal.clone();
        async move { journal.append(vec![append(&format!("e{i}"), &[1])]).await }
    });
    let answers = soon(futures::future::join_all(appends)).await;
    assert!(answers.iter().all(|answer| *answer == [Appended::Stored]));
    let syncs = journal.syncs() - before;
    assert!((1..100).contains(&syncs), "{syncs} fsyncs for 400 appends");
}

#[tokio::test]
async fn a_failed_fsync_leaves_the_answer_unknown_and_the_same_journal_goes_on_when_it_is_reopened() {
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![append("a", &[1])])).await;
    let mut lane = claim(&journal, 1).await;
    let lease = soon(lane.next(1)).await.expect("ours").pop().expect("one");
    journal.0.core.store().expect("open").fail_sync.store(true, Atomic::Relaxed);
    assert_eq!(soon(journal.append(vec![append("b", &[1])])).await, [Appended::Unknown]);
    assert!(soon(lane.next(1)).await.is_err(), "the lane is lost");
    assert_ne!(soon(lease.settle(Outcome::Done)).await, Settled::Ok, "and its leases");
    drop(lane);
    assert!(journal.is_alive());
    until_open(&journal).await;
    assert_eq!(journal.metrics().volume.reopened.get(), 1);
    let again = soon(journal.append(vec![append("b", &[1])])).await;
    assert!(matches!(again[..], [Appended::Stored | Appended::Duplicate]), "{again:?}");
    assert_eq!(soon(journal.unclaimed()).await, [webhook(1)], "the lane is named anew");
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 2).await, ["a", "b"]);
    drop(lane);
    soon(journal.close()).await.expect("closed");
    let journal = bench.open();
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 2).await, ["a", "b"]);
}

#[tokio::test]
async fn while_the_store_cannot_be_reopened_appends_are_refused_and_no_room_is_lost() {
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![append("a", &[1])])).await;
    let home = bench.config().path.join("store");
    let version = std::fs::read(home.join("version")).expect("readable");
    std::fs::write(home.join("version"), "not it").expect("written");
    let room = journal.0.core.room.available_permits();
    journal.0.core.store().expect("open").fail_sync.store(true, Atomic::Relaxed);
    assert_eq!(soon(journal.append(vec![append("b", &[1])])).await, [Appended::Unknown]);
    assert_eq!(
        soon(journal.append(vec![append("c", &[1])])).await,
        [Appended::Refused(RefusedReason::Unavailable)]
    );
    soon(async {
        // The failure that is told is the last one.
        while !journal.depth(webhook(1)).await.is_err_and(|failure| failure.to_string().contains("ersion")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!journal.is_open());
    let second = Embedded::open(bench.config(), bench.hand.clock()).err();
    assert!(matches!(second, Some(OpenError::Locked { .. })), "{second:?}");
    std::fs::write(home.join("version"), version).expect("written");
    until_open(&journal).await;
    assert_eq!(journal.0.core.room.available_permits(), room);
    assert_eq!(soon(journal.append(vec![append("c", &[1])])).await, [Appended::Stored]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_reopened_can_be_closed() {
    let bench = Bench::new();
    let journal = bench.open();
    std::fs::write(bench.config().path.join("store/version"), "not it").expect("written");
    journal.0.core.store().expect("open").fail_sync.store(true, Atomic::Relaxed);
    assert_eq!(soon(journal.append(vec![append("b", &[1])])).await, [Appended::Unknown]);
    assert!(soon(journal.close()).await.is_err());
    assert!(matches!(
        soon(journal.append(vec![append("c", &[1])])).await[..],
        [Appended::Refused(RefusedReason::Unavailable)]
    ));
}

#[tokio::test]
async fn who_waits_for_what_fails_is_told_the_cause_and_not_that_the_journal_is_closed() {
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![append("a", &[1])])).await;
    journal.0.core.store().expect("open").fail_sync.store(true, Atomic::Relaxed);
    let why = soon(journal.close()).await.expect_err("the last write fails").to_string();
    assert!(!why.contains("closed"), "{why}");
}

async fn until_open(journal: &Embedded) {
    soon(async {
        while !journal.is_open() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the lock is what the writer's thread waits for")]
async fn nothing_is_leased_before_its_fsync() {
    let bench = Bench::new();
    let journal = bench.open();
    let store = journal.0.core.store().expect("open");
    // One lane is up to date and would get it from memory; another would read it from the disk.
    let mut waiting = claim(&journal, 1).await;
    soon(journal.append(vec![append("first", &[1])])).await;
    let first = soon(waiting.next(9)).await.expect("ours");
    assert_eq!(first.len(), 1);
    let begun = store.syncs_begun.load(Atomic::Relaxed);
    let mut reading = claim(&journal, 2).await;
    let slow = store.slow_sync.lock().expect("free");
    let second = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(vec![append("second", &[1, 2])]).await }
    });
    soon(async {
        while store.syncs_begun.load(Atomic::Relaxed) == begun || store.ready.iter().count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for lane in [&mut waiting, &mut reading] {
        let early = tokio::time::timeout(Duration::from_millis(200), lane.next(9)).await;
        assert!(early.is_err(), "leased before it is durable");
    }
    drop(slow);
    assert_eq!(soon(second).await.expect("no panic"), [Appended::Stored]);
    assert_eq!(ids(&mut waiting, 1).await, ["second"]);
    assert_eq!(ids(&mut reading, 1).await, ["second"]);
}

#[tokio::test]
async fn an_event_goes_from_the_disk_with_the_last_of_its_deliveries() {
    let bench = Bench::new();
    let shared = Append { event: event("shared", "u"), webhooks: [1, 2, 3].map(webhook).to_vec() };
    {
        let journal = bench.open();
        soon(journal.append(vec![shared, append("own", &[1])])).await;
        let mut lane = claim(&journal, 1).await;
        for lease in soon(lane.next(2)).await.expect("ours") {
            soon(lease.settle(Outcome::Done)).await;
        }
        soon(journal.close()).await.expect("closed");
    }
    {
        let journal = bench.open();
        assert_eq!(events(&journal), 1, "two deliveries of the shared one are left");
        let mut lane = claim(&journal, 2).await;
        let lease = soon(lane.next(1)).await.expect("ours").pop().expect("one");
        let note = DeathNote { reason: "r".to_owned(), message: "m".to_owned() };
        soon(lease.settle(Outcome::Dead(note))).await;
        soon(journal.close()).await.expect("closed");
    }
    let journal = bench.open();
    assert_eq!(events(&journal), 1);
    let mut lane = claim(&journal, 3).await;
    let lease = soon(lane.next(1)).await.expect("ours").pop().expect("one");
    soon(lease.settle(Outcome::Done)).await;
    soon(journal.close()).await.expect("closed");
    let journal = {
        drop(lane);
        drop(journal);
        bench.open()
    };
    assert_eq!(events(&journal), 0);
    assert_eq!(journal.0.core.store().expect("open").shares.iter().count(), 0);
    assert_eq!(soon(journal.dead_letters(webhook(2), None, 9)).await.expect("open").items.len(), 1);
}

fn events(journal: &Embedded) -> usize {
    journal.0.core.store().expect("open").events.iter().count()
}

#[tokio::test]
async fn a_write_cut_short_by_a_crash_loses_nothing_that_was_acknowledged() {
    let bench = Bench::new();
    {
        let journal = bench.open();
        soon(journal.append(vec![append("a", &[1])])).await;
        soon(journal.append(vec![append("b", &[1])])).await;
        drop(journal);
    }
    // The library's log ends with the record of the close; cut into it.
    let log = logs(&bench.config().path).pop().expect("a log");
    let bytes = std::fs::read(&log).expect("readable");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
    let file = std::fs::File::options().write(true).open(&log).expect("writable");
    file.set_len(end as u64 - 3).expect("cut");
    let journal = bench.open();
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 2).await, ["a", "b"]);
}

#[tokio::test]
async fn an_event_of_one_webhook_stays_with_its_delivery_wherever_that_goes() {
    let bench = Bench::new();
    let of = |id: &str, user: &str| Append { event: event(id, user), webhooks: vec![webhook(1)] };
    {
        let journal = bench.open();
        let batch = vec![of("retried", "a"), of("behind", "a"), of("ready", "b")];
        soon(journal.append(batch)).await;
        assert_eq!(events(&journal), 0, "it stands in the queue");
        let mut lane = soon(journal.claim(webhook(1), Ordering::PerUser)).await.expect("free");
        let lease = soon(lane.next(1)).await.expect("ours").pop().expect("one");
        soon(lease.settle(Outcome::Retry { after: Duration::from_secs(5) })).await;
        drop(lane);
        let mut lane = soon(journal.claim(webhook(1), Ordering::PerUser)).await.expect("free");
        assert_eq!(ids(&mut lane, 1).await, ["ready"]);
        soon(journal.close()).await.expect("closed");
    }
    // Opening compares all of the counts with what is there.
    let journal = bench.open();
    assert_eq!(events(&journal), 2, "one is to be retried, one waits for it");
    bench.hand.advance(Duration::from_secs(6));
    let mut lane = soon(journal.claim(webhook(1), Ordering::PerUser)).await.expect("free");
    let mut done = Vec::new();
    while done.len() < 3 {
        for lease in soon(lane.next(1)).await.expect("ours") {
            done.push(lease.delivery().event.clone());
            assert_eq!(soon(lease.settle(Outcome::Done)).await, Settled::Ok);
        }
    }
    // Between users nothing is promised.
    done.sort_by_key(|event| event.subject.clone());
    assert_eq!(done, [event("retried", "a"), event("behind", "a"), event("ready", "b")]);
    soon(journal.close()).await.expect("closed");
    drop((lane, journal));
    let journal = bench.open();
    assert_eq!(events(&journal), 0);
    assert_eq!(soon(journal.depth(webhook(1))).await.expect("open").pending, 0);
}

#[tokio::test]
async fn what_is_dated_by_the_journals_clock_keeps_its_time_of_day_over_a_downtime() {
    let bench = Bench::new();
    let accepted = bench.hand.clock().now();
    {
        let journal = bench.open();
        soon(journal.append(vec![append("before", &[1])])).await;
        soon(journal.close()).await.expect("closed");
    }
    // Of five hours the journal counts a minute.
    bench.hand.advance(Duration::from_hours(5));
    let journal = bench.open();
    soon(journal.append(vec![append("after", &[1])])).await;
    let day_of = async |journal: &Embedded| {
        let pending = soon(journal.pending(webhook(1), None, 9)).await.expect("open").items;
        pending.iter().map(|pending| journal.calendar().day(pending.accepted_at)).collect::<Vec<_>>()
    };
    let expected = [accepted, accepted.after(Duration::from_hours(5))];
    assert_eq!(day_of(&journal).await, expected);
    soon(async {
        // The writer keeps the calendar when it next looks at the clock.
        while journal.0.core.store().expect("open").calendar().expect("readable").notes().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(journal.close()).await.expect("closed");
    drop(journal);
    bench.hand.advance(Duration::from_hours(1));
    assert_eq!(day_of(&bench.open()).await, expected);
}

#[tokio::test]
async fn a_journal_that_was_not_closed_in_order_is_made_durable_before_it_is_read() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let journal = bench.open();
    soon(journal.append(vec![append("a", &[1])])).await;
    soon(journal.close()).await.expect("closed");
    drop(journal);
    let log = || logs(&bench.config().path).pop().expect("a log").metadata().expect("readable").ino();
    let before = log();
    drop(bench.open());
    assert_eq!(log(), before, "in order");
    std::fs::remove_file(bench.config().path.join("CLEAN")).expect("it was closed in order");
    let journal = bench.open();
    assert_ne!(log(), before, "a copy");
    let mut lane = claim(&journal, 1).await;
    assert_eq!(ids(&mut lane, 1).await, ["a"]);
}

#[tokio::test]
async fn a_journal_that_fails_as_it_is_closed_ends_all_the_same() {
    for tells in [true, false] {
        let bench = Bench::new();
        let journal = bench.open();
        assert_eq!(soon(journal.append(vec![append("a", &[1])])).await, [Appended::Stored]);
        std::fs::remove_dir_all(bench.folder.path()).expect("removed under it");
        if tells {
            assert!(soon(journal.close()).await.is_err(), "it could not make durable what is gone");
        }
        // This waits for its writer.
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            drop(journal);
            let _ = ended.send(());
        });
        soon(end).await.expect("it ended");
    }
}
