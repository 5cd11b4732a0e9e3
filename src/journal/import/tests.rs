//! From a real journal in a directory to a real server of NATS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Count, Ledger, run};
use crate::journal::embedded::export::Export;
use crate::journal::embedded::{self, Embedded, OpenError};
use crate::journal::inspect::Wait;
use crate::journal::jetstream::import::Import;
use crate::journal::jetstream::tests::nats::Server;
use crate::journal::jetstream::tests::{Arrived, deliver, dispatcher, event, soon, webhook};
use crate::journal::jetstream::{self, JetStream};
use crate::journal::limits::{Bounds, Limits, Window};
use crate::journal::{Append, Appended, DeathNote, Inspect, Journal, Lane as _, Lease as _, Outcome};
use crate::model::{Clock, Ordering, WebhookUid};

const HOUR: Duration = Duration::from_hours(1);

fn config(folder: &Path) -> embedded::Config {
    embedded::Config::new(folder)
}

async fn target(server: &Server) -> Import {
    let config = jetstream::Config { replicas: 1, ..jetstream::Config::new(server.url()) };
    soon(Box::pin(Import::open(config, Clock::default()))).await.expect("it opens")
}

/// An import of all that is in a folder; waits until who had it open before has let go of it.
async fn import(folder: &Path, server: &Server) -> Ledger {
    import_with(folder, server, &[]).await
}

async fn import_with(folder: &Path, server: &Server, names: &[String]) -> Ledger {
    let (export, target) = (export(folder).await, target(server).await);
    soon(Box::pin(run(export, &target, names, |_| {}))).await.expect("it is moved")
}

async fn export(folder: &Path) -> Export {
    let opened = async {
        loop {
            match Export::open(&config(folder), Clock::default()) {
                Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => return opened.expect("it opens"),
            }
        }
    };
    soon(opened).await
}

async fn store(journal: &Embedded, numbers: std::ops::Range<usize>, webhooks: &[WebhookUid]) {
    let append = |number| Append { event: event(number, number % 5), webhooks: webhooks.to_vec() };
    let answers = soon(journal.append(numbers.map(append).collect())).await;
    assert!(answers.iter().all(|answer| *answer == Appended::Stored), "{answers:?}");
}

/// Settles the deliveries of a webhook that come first, as many as there are outcomes.
async fn settle(journal: &Embedded, webhook: WebhookUid, ordering: Ordering, outcomes: Vec<Outcome>) {
    let mut lane = soon(journal.claim(webhook, ordering)).await.expect("it is free");
    for outcome in outcomes {
        let lease = soon(lane.next(1)).await.expect("a lease").remove(0);
        lease.settle(outcome).await;
    }
}

fn dead(message: &str) -> Outcome {
    Outcome::Dead(DeathNote { reason: "Refused".to_owned(), message: message.to_owned() })
}

/// What people see of a webhook: what waits with how often it failed and in about how many hours
/// it is due, and what was given up.
async fn seen(
    journal: &impl Inspect,
    webhook: WebhookUid,
) -> (BTreeMap<String, (u16, u64)>, BTreeSet<[String; 3]>) {
    let pending = soon(journal.pending(webhook, None, 10_000)).await.expect("it is open");
    let due = |wait: Wait| match wait {
        Wait::Until(at) => at.since(journal.now()).as_secs().div_ceil(HOUR.as_secs()),
        Wait::InLine | Wait::BehindEarlier => 0,
    };
    let waits = pending.items.iter().map(|item| (item.event.id.clone(), (item.failures, due(item.wait))));
    let letters = soon(journal.dead_letters(webhook, None, 10_000)).await.expect("it is open");
    let letters = letters
        .items
        .into_iter()
        .map(|letter| [letter.event.id.clone(), letter.note.message, letter.attempts.to_string()]);
    (waits.collect(), letters.collect())
}

/// Makes a journal in which there is something of everything.
async fn fill(folder: &Path) {
    let journal = Embedded::open(config(folder), Clock::default()).expect("it opens");
    let [plain, ordered, held] = [1, 2, 3].map(webhook);
    store(&journal, 0..60, &[plain, ordered, held]).await;
    store(&journal, 60..80, &[held]).await;
    store(&journal, 80..100, &[]).await;
    let retry = |hours| Outcome::Retry { after: HOUR * hours };
    let mut outcomes = vec![Outcome::Done; 20];
    outcomes.extend([retry(2), retry(5), dead("no"), dead("never")]);
    settle(&journal, plain, Ordering::None, outcomes).await;
    // Others of that user wait behind it.
    settle(&journal, ordered, Ordering::PerUser, vec![retry(3), Outcome::Done]).await;
    settle(&journal, held, Ordering::None, vec![dead("gone")]).await;
    soon(journal.close()).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_left_is_on_nats_as_it_was_and_a_second_import_adds_nothing() {
    let (folder, server) = (tempfile::tempdir().expect("a folder"), Server::start());
    let webhooks = [1, 2, 3].map(webhook);
    fill(folder.path()).await;
    let before = Embedded::open(config(folder.path()), Clock::default()).expect("it opens");
    let expected = futures::future::join_all(webhooks.map(|webhook| seen(&before, webhook))).await;
    soon(before.close()).await.expect("closed");
    drop(before);
    let ledger = import(folder.path(), &server).await;
    let all = |read| Count { read, written: read, there: 0 };
    let waiting: usize = expected.iter().map(|(waits, _)| waits.len()).sum();
    let expected_ledger = Ledger {
        // Of the first 20 one webhook has nothing left.
        events: all(80),
        deliveries: all(waiting as u64),
        letters: all(3),
        ids: all(20),
        unnamed: 0,
        unreadable: 0,
    };
    assert_eq!(ledger, expected_ledger);
    assert!(ledger.is_complete());
    let journal = dispatcher(&server.url(), 1).await;
    let on_nats = || futures::future::join_all(webhooks.map(|webhook| seen(&journal, webhook)));
    assert_eq!(on_nats().await, expected);

    let repeated = import(folder.path(), &server).await;
    let there = |count: Count| Count { read: count.read, written: 0, there: count.read };
    let Ledger { events, deliveries, letters, ids, .. } = ledger;
    let nothing_new = Ledger {
        events: there(events),
        deliveries: there(deliveries),
        letters: there(letters),
        ids: there(ids),
        ..ledger
    };
    assert_eq!(repeated, nothing_new);
    assert_eq!(on_nats().await, expected);
    // What was delivered, what waits, what nobody wanted: each is known.
    let repeats = [0, 50, 90].map(|number| Append { event: event(number, 0), webhooks: webhooks.to_vec() });
    assert_eq!(soon(journal.append(repeats.to_vec())).await, [const { Appended::Duplicate }; 3]);
}

/// Aborts an import after so many steps.
async fn break_off(folder: &Path, server: &Server, steps: usize) {
    let (export, target) = (export(folder).await, target(server).await);
    let (step, mut steps_done) = mpsc::unbounded_channel();
    let importing = run(export, &target, &[], |_| {
        let _ = step.send(());
    });
    let done = async {
        for _ in 0..steps {
            soon(steps_done.recv()).await.expect("it goes on");
        }
    };
    tokio::select! {
        biased;
        () = done => {}
        ended = Box::pin(importing) => panic!("it ended before: {ended:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_breaks_off_again_and_again_is_done_in_the_end_and_each_event_is_delivered_once() {
    let (folder, server) = (tempfile::tempdir().expect("a folder"), Server::start());
    let webhooks = [1, 2].map(webhook);
    let before = Embedded::open(config(folder.path()), Clock::default()).expect("it opens");
    for batch in 0..30 {
        store(&before, batch * 100..(batch + 1) * 100, &webhooks).await;
    }
    drop(before);
    // A dispatcher delivers meanwhile.
    let journal = dispatcher(&server.url(), 1).await;
    let arrived = Arrived::default();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(deliver(journal.clone(), Ordering::PerUser, arrived.clone(), |_| true));
    for steps in [1, 2, 4] {
        break_off(folder.path(), &server, steps).await;
    }
    let ledger = import(folder.path(), &server).await;
    assert!(ledger.is_complete(), "{ledger:?}");
    assert!(ledger.events.there >= 4 * 512 && ledger.events.read == 3000, "{ledger:?}");
    arrived.all(&webhooks, 3000).await;
    let after = import(folder.path(), &server).await;
    assert_eq!((after.events.there, after.deliveries.there), (3000, 6000));
    nothing_waits(&journal, &webhooks).await;
    assert_eq!(arrived.repeated(), 0);
    for webhook in webhooks {
        arrived.assert_order(webhook);
    }
}

async fn nothing_waits(journal: &JetStream, webhooks: &[WebhookUid]) {
    for webhook in webhooks {
        let nothing = async {
            while journal.depth(*webhook).await.expect("open").pending > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_came_again_after_its_id_was_forgotten_is_moved_as_often_as_it_waits() {
    let (folder, server) = (tempfile::tempdir().expect("a folder"), Server::start());
    let window = Window { age: HOUR, ids: 1 };
    let limits = Limits { window, ..Limits::default() };
    let before = Embedded::open(embedded::Config { limits, ..config(folder.path()) }, Clock::default());
    let before = before.expect("it opens");
    for number in [1, 2, 1] {
        store(&before, number..number + 1, &[webhook(1)]).await;
    }
    drop(before);
    assert_eq!(import(folder.path(), &server).await.deliveries, Count { read: 3, written: 3, there: 0 });
    assert_eq!(import(folder.path(), &server).await.deliveries, Count { read: 3, written: 0, there: 3 });
    let journal = dispatcher(&server.url(), 1).await;
    assert_eq!(soon(journal.depth(webhook(1))).await.expect("open").pending, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_in_use_or_has_no_journal_is_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = Export::open(&config(folder.path()), Clock::default());
    assert!(matches!(nothing, Err(OpenError::Missing { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    let journal = Embedded::open(config(folder.path()), Clock::default()).expect("it opens");
    let in_use = Export::open(&config(folder.path()), Clock::default());
    assert!(matches!(in_use, Err(OpenError::Locked { .. })));
    drop(journal);
    // What was exported can be opened by a dispatcher again.
    drop(export(folder.path()).await);
    Embedded::open(config(folder.path()), Clock::default()).expect("it opens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_a_namespace_that_nothing_names_are_left_out_until_somebody_names_it() {
    let (folder, server) = (tempfile::tempdir().expect("a folder"), Server::start());
    let events = Bounds { bytes: 0, age: HOUR };
    let limits = Limits { events, ..Limits::default() };
    let before = Embedded::open(embedded::Config { limits, ..config(folder.path()) }, Clock::default());
    let before = before.expect("it opens");
    store(&before, 0..5, &[]).await;
    drop(before);
    let ledger = import(folder.path(), &server).await;
    assert_eq!((ledger.unnamed, ledger.ids.written, ledger.is_complete()), (5, 0, false));
    let ledger = import_with(folder.path(), &server, &["identity".to_owned()]).await;
    assert_eq!((ledger.unnamed, ledger.ids.written, ledger.is_complete()), (0, 5, true));
}
