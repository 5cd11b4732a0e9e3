//! A process that is killed keeps what it has acknowledged.
//!
//! The test starts this very test binary again, as the child that appends and
//! delivers and says what was acknowledged, and kills it in the middle.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::{append, soon, webhook};
use crate::journal::embedded::{Config, Embedded};
use crate::journal::{Appended, Journal, Lane, Lease, Outcome, Settled};
use crate::model::{Clock, Ordering};

/// Tells the child where its journal is; nobody else sets it.
const FOLDER: &str = "HERALD_TEST_KILL_FOLDER";

/// The child: it works until it is killed. Without a folder there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let journal = Embedded::open(Config::new(folder), Clock::default()).expect("it opens");
    let deliver = tokio::spawn({
        let journal = journal.clone();
        async move {
            let mut lane = journal.claim(webhook(1), Ordering::None).await.expect("free");
            loop {
                for lease in lane.next(16).await.expect("ours") {
                    let id = lease.delivery().event.id.clone();
                    say("DELIVERED", &id);
                    assert_eq!(lease.settle(Outcome::Done).await, Settled::Ok);
                }
            }
        }
    });
    for id in 0.. {
        let stored = journal.append(vec![append(&format!("e{id}"), &[1, 2])]).await;
        assert_eq!(stored, [Appended::Stored]);
        say("STORED", &format!("e{id}"));
    }
    deliver.await.expect("never");
}

/// One write, so that no other thread's comes between.
fn say(what: &str, id: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{what} {id} \n").as_bytes()).expect("written");
    out.flush().expect("flushed");
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    for round in 0..3 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["journal::embedded::tests::kill::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let (mut stored, mut delivered) = (BTreeSet::new(), BTreeSet::new());
        let mut take = |line: &str| {
            // The test harness may write into the first line.
            let words: Vec<_> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                match pair {
                    ["STORED", id] => drop(stored.insert((*id).to_owned())),
                    ["DELIVERED", id] => drop(delivered.insert((*id).to_owned())),
                    _ => {}
                }
            }
            stored.len()
        };
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let enough = 100 + round * 37;
        for line in lines.by_ref() {
            if take(&line.expect("readable")) >= enough {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        for line in lines {
            // The last one may be cut.
            take(&line.expect("readable"));
        }
        assert!(stored.len() >= enough, "the child stored {}", stored.len());
        let journal = Embedded::open(Config::new(folder.path()), Clock::default()).expect("it opens");
        // One more tells where the end is.
        assert_eq!(soon(journal.append(vec![append("last", &[1, 2])])).await, [Appended::Stored]);
        let mut of_both = Vec::new();
        for number in [1, 2] {
            let mut ids = BTreeSet::new();
            let mut lane = soon(journal.claim(webhook(number), Ordering::None)).await.expect("free");
            while !ids.contains("last") {
                for lease in soon(lane.next(64)).await.expect("ours") {
                    ids.insert(lease.delivery().event.id.clone());
                    soon(lease.settle(Outcome::Done)).await;
                }
            }
            of_both.push(ids);
        }
        let lost: Vec<_> = stored.iter().filter(|id| !of_both[1].contains(*id)).collect();
        assert!(lost.is_empty(), "lost for the webhook that had no deliveries: {lost:?}");
        let found = &of_both[0];
        let lost: Vec<_> =
            stored.iter().filter(|id| !found.contains(*id) && !delivered.contains(*id)).collect();
        assert!(lost.is_empty(), "neither delivered nor pending: {lost:?}");
    }
}
