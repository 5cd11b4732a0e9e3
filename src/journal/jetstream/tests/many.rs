//! Several dispatchers of one journal.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::nats::{Cluster, Server};
use super::{Arrived, claimed, deliver, dispatcher, event, opened, soon, store, webhook};
use crate::journal::jetstream::{Config, JetStream};
use crate::journal::{Append, Appended, Inspect, Journal, Lane as _, Lease as _};
use crate::model::{Ordering, WebhookUid};

/// Dispatchers that deliver.
struct Fleet {
    journals: Vec<JetStream>,
    tasks: JoinSet<()>,
    handles: Vec<AbortHandle>,
    arrived: Arrived,
    ordering: Ordering,
}

impl Fleet {
    fn new(ordering: Ordering) -> Self {
        let (journals, tasks, handles) = (Vec::new(), JoinSet::new(), Vec::new());
        Self { journals, tasks, handles, arrived: Arrived::default(), ordering }
    }

    async fn join(&mut self, servers: &str, replicas: usize) {
        let journal = dispatcher(servers, replicas).await;
        let arrived = self.arrived.clone();
        self.handles.push(self.tasks.spawn(deliver(journal.clone(), self.ordering, arrived, |_| true)));
        self.journals.push(journal);
    }

    /// Ends one as a crash would: it says nothing to anybody.
    fn crash(&mut self, index: usize) {
        self.handles.remove(index).abort();
        drop(self.journals.remove(index));
    }

    /// Ends one in order.
    async fn leave(&mut self, index: usize) {
        soon(self.journals.remove(index).close()).await.expect("closed");
        self.handles.remove(index).abort();
    }

    /// Waits until each webhook has one dispatcher, and none has more than its part.
    async fn spread(&self, webhooks: &[WebhookUid]) {
        let spread = async {
            loop {
                let counts: Vec<usize> = self
                    .journals
                    .iter()
                    .map(|journal| webhooks.iter().filter(|webhook| journal.runs(**webhook)).count())
                    .collect();
                let each = webhooks.len() / self.journals.len();
                if counts.iter().sum::<usize>() == webhooks.len()
                    && counts.iter().all(|count| *count >= each / 2)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon(spread).await;
    }
}

/// The number of the server that leads the log, which is in its name.
async fn leader(journal: &JetStream) -> usize {
    let info = journal.0.core.log.stream().get_info().await.expect("it answers");
    let leader = info.cluster.and_then(|cluster| cluster.leader).expect("there is one");
    leader.trim_start_matches('n').parse().expect("a number")
}

fn webhooks(count: usize) -> Vec<WebhookUid> {
    (0..count).map(webhook).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_spread_and_each_event_goes_to_each_webhook_once() {
    let server = Server::start();
    let webhooks = webhooks(64);
    let mut fleet = Fleet::new(Ordering::None);
    for _ in 0..3 {
        fleet.join(&server.url(), 1).await;
    }
    fleet.spread(&webhooks).await;
    for (at, journal) in (0..).zip(&fleet.journals) {
        store(journal, at * 20..(at + 1) * 20, &webhooks).await;
    }
    fleet.arrived.all(&webhooks, 60).await;
    assert_eq!(fleet.arrived.repeated(), 0);
    // Any of them answers for all.
    for journal in &fleet.journals {
        for webhook in &webhooks {
            let nothing = async {
                while journal.depth(*webhook).await.expect("open").pending > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            soon(nothing).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_told_by_whichever_dispatcher_it_comes_to() {
    let server = Server::start();
    let first = dispatcher(&server.url(), 1).await;
    let second = dispatcher(&server.url(), 1).await;
    let batch = |number: usize| vec![Append { event: event(number, 0), webhooks: vec![webhook(1)] }];
    assert_eq!(soon(first.append(batch(1))).await, [Appended::Stored]);
    let told = async {
        while second.depth(webhook(1)).await.expect("open").pending == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        second.append(batch(1)).await
    };
    assert_eq!(soon(told).await, [Appended::Duplicate]);
    // At one and the same time neither may know of the other: then it counts once all the same.
    for number in 2..30 {
        let (one, other) =
            soon(async { tokio::join!(first.append(batch(number)), second.append(batch(number))) }).await;
        assert!(
            [&one, &other].iter().all(|answer| matches!(answer[0], Appended::Stored | Appended::Duplicate))
        );
    }
    let third = dispatcher(&server.url(), 1).await;
    for journal in [&first, &second, &third] {
        let once = async {
            loop {
                let page = journal.pending(webhook(1), None, 100).await.expect("open");
                let ids: BTreeSet<_> = page.items.iter().map(|pending| pending.event.id.clone()).collect();
                if ids.len() == 29 {
                    return page.items.len();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert_eq!(soon(once).await, 29);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dispatcher_had_is_delivered_by_the_others_when_it_crashes_and_when_it_leaves() {
    let cluster = Cluster::start();
    let webhooks = webhooks(32);
    let mut fleet = Fleet::new(Ordering::None);
    for _ in 0..3 {
        fleet.join(&cluster.urls(), 3).await;
    }
    fleet.spread(&webhooks).await;
    let mut stored = 0;
    for change in 0..2 {
        for _ in 0..10 {
            store(&fleet.journals[0], stored..stored + 20, &webhooks).await;
            stored += 20;
        }
        if change == 0 {
            fleet.crash(2);
        } else {
            fleet.leave(1).await;
        }
        store(&fleet.journals[0], stored..stored + 20, &webhooks).await;
        stored += 20;
        fleet.arrived.all(&webhooks, stored).await;
        fleet.spread(&webhooks).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_keep_their_order_while_dispatchers_come_and_go() {
    let server = Server::start();
    let webhooks = webhooks(8);
    let mut fleet = Fleet::new(Ordering::PerUser);
    fleet.join(&server.url(), 1).await;
    let mut stored = 0;
    for round in 0..3 {
        for _ in 0..5 {
            store(&fleet.journals[0], stored..stored + 20, &webhooks).await;
            stored += 20;
        }
        if round < 2 {
            fleet.join(&server.url(), 1).await;
        } else {
            fleet.leave(1).await;
        }
    }
    fleet.arrived.all(&webhooks, stored).await;
    for webhook in &webhooks {
        fleet.arrived.assert_order(*webhook);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_server_is_killed_and_two_of_three_stop_acceptance_until_they_are_back() {
    let mut cluster = Cluster::start();
    let webhooks = webhooks(8);
    let mut fleet = Fleet::new(Ordering::None);
    for _ in 0..2 {
        fleet.join(&cluster.urls(), 3).await;
    }
    store(&fleet.journals[0], 0..20, &webhooks).await;
    let leader = leader(&fleet.journals[0]).await;
    cluster.servers[leader].kill();
    store(&fleet.journals[1], 20..40, &webhooks).await;
    fleet.arrived.all(&webhooks, 40).await;
    let other = (leader + 1) % 3;
    cluster.servers[other].kill();
    let last = Append { event: event(40, 0), webhooks: webhooks.clone() };
    let answer = soon(fleet.journals[0].append(vec![last])).await;
    assert!(matches!(answer[0], Appended::Unknown | Appended::Refused(_)), "{answer:?}");
    cluster.servers[leader].restart();
    cluster.servers[other].restart();
    store(&fleet.journals[0], 40..60, &webhooks).await;
    fleet.arrived.all(&webhooks, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heralds_with_prefixes_of_their_own_share_servers_and_nothing_else() {
    let server = Server::start();
    let with_prefix =
        |prefix: &str| Config { prefix: prefix.to_owned(), replicas: 1, ..Config::new(server.url()) };
    let (one, other) = (opened(with_prefix("one")).await, opened(with_prefix("other")).await);
    let webhook = webhook(1);
    store(&one, 0..3, &[webhook]).await;
    let again = Append { event: event(0, 0), webhooks: vec![webhook] };
    assert_eq!(soon(other.append(vec![again])).await, [Appended::Stored], "it knows nothing of the first");
    for (journal, pending) in [(&one, 3), (&other, 1)] {
        let runs = async {
            while !journal.runs(webhook) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(runs).await;
        assert_eq!(soon(journal.depth(webhook)).await.expect("open").pending, pending);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_nobody_has_begun_hold_up_no_partition_that_goes_to_another() {
    let server = Server::start();
    let webhooks = webhooks(32);
    let first = dispatcher(&server.url(), 1).await;
    store(&first, 0..2, &webhooks).await;
    let mut held = Vec::new();
    for webhook in &webhooks {
        let mut lane = claimed(&first, *webhook, Ordering::None).await;
        let leases = soon(lane.next(1)).await.expect("ours");
        held.push((lane, leases));
    }
    // Each partition would take as long as an attempt may.
    let second = dispatcher(&server.url(), 1).await;
    let shared = async {
        while webhooks.iter().filter(|webhook| second.runs(**webhook)).count() < 16 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(shared).await;
    let good = held.iter().flat_map(|(_, leases)| leases).filter(|lease| lease.is_good()).count();
    assert!(good <= 16, "{good} attempts could begin here of what is another's");
}
