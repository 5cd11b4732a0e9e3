//! The disk fails under the whole program, while events come.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use http::header::RETRY_AFTER;
use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;

use super::{all_arrive, delivering};
use crate::support::disk::Disk;
use crate::support::producer::{Sending, event};
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Producer};

const REOPENED: &str = "herald_journal_reopened_total";
const PRODUCERS: usize = 4;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures of a run")]
async fn what_was_acknowledged_while_the_disk_failed_again_and_again_survives_a_power_cut() {
    let namespace = Cluster::connect().await.namespace("disk").await;
    let mut herald = HeraldProcess::start_on(Disk::new(), &[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    let shut = CancellationToken::new();
    endpoint.on_delivery(Behaviour::hang());
    let ledger = Ledger::default();
    let load = futures::future::join_all(
        (0..PRODUCERS).map(|n| produce(n, producer.sending(&herald), &ledger, &shut)),
    );
    let faults = async {
        for fault in ["fsync EIO 3", "write EIO 9", "fsync EIO 1", "write ENOSPC 5"] {
            let (before, acknowledged) = (herald.metric(REOPENED).await, ledger.acknowledged());
            herald.disk_fails(fault);
            herald.await_metric(REOPENED, |times| times > before).await;
            herald.disk_fails("");
            ledger.await_acknowledged(acknowledged + 50).await;
        }
        let acknowledged = ledger.acknowledged();
        herald.disk_fails("fsync slow 200");
        ledger.await_acknowledged(acknowledged + 20).await;
        shut.cancel();
    };
    futures::join!(load, faults);
    let (acknowledged, refused) = (ledger.acknowledged.into_inner(), ledger.refused.into_inner());
    println!("{} acknowledged, {} refused, opened again 4 times", acknowledged.len(), refused.len());
    assert!(refused.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{refused:?}");
    assert!(!refused.is_empty(), "no fault was felt");

    herald.lose_power().await;
    endpoint.on_delivery(Behaviour::ok());
    all_arrive(&endpoint, &acknowledged).await;
    herald.stop().await;
}

/// What the producers were told.
#[derive(Default)]
struct Ledger {
    acknowledged: RefCell<BTreeSet<String>>,
    /// With these codes.
    refused: RefCell<Vec<StatusCode>>,
}

impl Ledger {
    fn acknowledged(&self) -> usize {
        self.acknowledged.borrow().len()
    }

    async fn await_acknowledged(&self, count: usize) {
        let there = async {
            while self.acknowledged() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(crate::support::DEADLINE, there).await.expect("events are taken again");
    }
}

/// Sends one event after another, each until it is acknowledged.
async fn produce(number: usize, sending: Sending, ledger: &Ledger, shut: &CancellationToken) {
    for n in 0.. {
        let id = format!("{number}-{n}");
        loop {
            if shut.is_cancelled() {
                return;
            }
            let (status, headers) = sending.send(&event("user.created", &id)).await.unwrap();
            if status == StatusCode::ACCEPTED {
                ledger.acknowledged.borrow_mut().insert(id);
                break;
            }
            assert!(headers.contains_key(RETRY_AFTER), "{status} says not when to come again");
            ledger.refused.borrow_mut().push(status);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
