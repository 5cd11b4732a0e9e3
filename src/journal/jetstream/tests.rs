//! The engine against real servers: several dispatchers, and what goes wrong.

#[path = "../../../tests/nats/mod.rs"]
pub(in crate::journal) mod nats;

mod ask;
mod away;
mod durability;
mod gauges;
mod many;
mod rights;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Config, JetStream, JetStreamLane};
use crate::journal::{Append, Appended, Delivery, Journal, Lane, Lease, Outcome};
use crate::model::{Clock, Event, EventType, Ordering, Timestamp, WebhookUid};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(90);

/// A dispatcher of these servers.
pub(in crate::journal) async fn dispatcher(servers: &str, replicas: usize) -> JetStream {
    opened(Config { replicas, ..Config::new(servers) }).await
}

pub(in crate::journal) async fn opened(config: Config) -> JetStream {
    let journal = soon(Box::pin(JetStream::open(config, Clock::default()))).await.expect("it opens");
    soon(journal.ready()).await;
    journal
}

pub(in crate::journal) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("in time")
}

/// A lane, once it may be claimed.
async fn claimed(journal: &JetStream, webhook: WebhookUid, ordering: Ordering) -> JetStreamLane {
    let lane = async {
        loop {
            if let Ok(lane) = journal.claim(webhook, ordering).await {
                return lane;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(lane).await
}

pub(in crate::journal) fn webhook(number: usize) -> WebhookUid {
    // Spread over the partitions.
    let mut bytes = [7; 16];
    bytes[0] = u8::try_from(number).expect("a small number");
    WebhookUid::from_bytes(bytes)
}

pub(in crate::journal) fn event(number: usize, user: usize) -> Arc<Event> {
    Arc::new(Event {
        namespace: "identity".to_owned(),
        id: format!("{number:06}"),
        source: "/idp".to_owned(),
        event_type: EventType::UserUpdated,
        subject: format!("user-{user}"),
        time: Timestamp::from_millis(0),
        data: Bytes::from(format!("{{\"n\": {number}}}")),
    })
}

/// Stores events, as a producer that sends again what it is not sure of; which were acknowledged.
async fn store(journal: &JetStream, numbers: std::ops::Range<usize>, webhooks: &[WebhookUid]) {
    let append = |number| Append { event: event(number, number % 5), webhooks: webhooks.to_vec() };
    let batch: Vec<_> = numbers.map(append).collect();
    let stored = async {
        loop {
            let answers = journal.append(batch.clone()).await;
            if answers.iter().all(|answer| matches!(answer, Appended::Stored | Appended::Duplicate)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(stored).await;
}

/// What arrived, by webhook, in the order of arrival.
#[derive(Clone, Default)]
pub(in crate::journal) struct Arrived(Arc<std::sync::Mutex<BTreeMap<WebhookUid, Vec<Arc<Event>>>>>);

impl Arrived {
    fn put(&self, webhook: WebhookUid, delivery: &Delivery) {
        self.0.lock().expect("free").entry(webhook).or_default().push(Arc::clone(&delivery.event));
    }

    pub(in crate::journal) fn ids(&self, webhook: WebhookUid) -> BTreeSet<String> {
        let arrived = self.0.lock().expect("free");
        arrived.get(&webhook).into_iter().flatten().map(|event| event.id.clone()).collect()
    }

    /// How many arrived more than once.
    pub(in crate::journal) fn repeated(&self) -> usize {
        let arrived = self.0.lock().expect("free");
        let distinct =
            |events: &Vec<Arc<Event>>| events.iter().map(|event| &event.id).collect::<BTreeSet<_>>().len();
        arrived.values().map(|events| events.len() - distinct(events)).sum()
    }

    /// The first arrival of each event comes after those of all earlier events of its user.
    pub(in crate::journal) fn assert_order(&self, webhook: WebhookUid) {
        let arrived = self.0.lock().expect("free");
        let (mut last, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for event in arrived.get(&webhook).into_iter().flatten() {
            if seen.insert(event.id.clone()) {
                let before = last.insert(event.subject.clone(), event.id.clone());
                assert!(before.is_none_or(|before| before < event.id), "{} came too late", event.id);
            }
        }
    }

    pub(in crate::journal) async fn all(&self, webhooks: &[WebhookUid], count: usize) {
        let arrived = async {
            while webhooks.iter().any(|webhook| self.ids(*webhook).len() < count) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, arrived).await;
        let counts: Vec<_> = webhooks.iter().map(|webhook| self.ids(*webhook).len()).collect();
        assert!(in_time.is_ok(), "{counts:?} of {count}");
    }
}

/// Delivers whatever is this dispatcher's to deliver, as long as the task runs.
pub(in crate::journal) async fn deliver(
    journal: JetStream,
    ordering: Ordering,
    arrived: Arrived,
    wanted: impl Fn(WebhookUid) -> bool,
) {
    let mut lanes = tokio::task::JoinSet::new();
    loop {
        for webhook in journal.unclaimed().await.into_iter().filter(|webhook| wanted(*webhook)) {
            let (journal, arrived) = (journal.clone(), arrived.clone());
            lanes.spawn(async move { lane(&journal, webhook, ordering, &arrived).await });
        }
    }
}

async fn lane(journal: &JetStream, webhook: WebhookUid, ordering: Ordering, arrived: &Arrived) {
    while journal.runs(webhook) {
        let Ok(mut lane) = journal.claim(webhook, ordering).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while let Ok(leases) = lane.next(8).await {
            for lease in leases {
                if lease.is_good() {
                    arrived.put(webhook, lease.delivery());
                    lease.settle(Outcome::Done).await;
                }
            }
        }
    }
}
