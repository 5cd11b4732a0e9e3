//! The process ends in the middle of its work, politely or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{deliver_by, delivering_with, id_of};
use crate::support::producer::event;
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Producer};

const IN_FLIGHT: usize = 4;

/// How far back a repeat may have arrived first: the promised 100 ms of
/// outcomes, and what a busy machine adds before an answer is read.
const RECENT: Duration = Duration::from_secs(2);

/// Everything that was acknowledged arrives; what arrives twice was in flight
/// or had just been taken when the process was killed.
#[tokio::test]
async fn what_was_acknowledged_arrives_whatever_ends_the_process() {
    let namespace = Cluster::connect().await.namespace("restart").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    endpoint.on_delivery(Behaviour::ok().after(Duration::from_millis(5)));
    let few = json!({"maxInFlight": IN_FLIGHT});
    delivering_with(&namespace, "audit", &endpoint, |webhook| deliver_by(webhook, few)).await;

    let mut acknowledged = BTreeSet::new();
    let mut kills: Vec<Instant> = Vec::new();
    let mut read = 0;
    for round in 0..4 {
        let batch: Vec<_> = (0..100).map(|n| format!("{round}-{n}")).collect();
        let events: Vec<_> = batch.iter().map(|id| event("user.created", id)).collect();
        assert_eq!(producer.send_batch(&herald, &events).await, 100);
        acknowledged.extend(batch);
        for _ in 0..30 {
            endpoint.next_delivery().await;
            read += 1;
        }
        if round == 0 {
            herald.stop().await;
            let ids: BTreeSet<_> = endpoint.deliveries().iter().map(id_of).collect();
            assert_eq!(ids.len(), endpoint.deliveries().len());
            assert!(ids.len() < 100, "it was in the middle of it");
        } else {
            kills.push(Instant::now());
            herald.kill().await;
        }
        herald.restart().await;
    }
    let arrived = || endpoint.deliveries().iter().map(id_of).collect::<BTreeSet<_>>();
    while arrived().len() < acknowledged.len() {
        endpoint.next_delivery().await;
        read += 1;
    }
    herald.stop().await;
    assert!(read >= acknowledged.len());
    assert_eq!(arrived(), acknowledged);

    let mut arrivals: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for delivery in endpoint.deliveries() {
        arrivals.entry(id_of(&delivery)).or_default().push(delivery.at);
        messages.entry(id_of(&delivery)).or_default().insert(delivery.message_id().to_owned());
    }
    assert!(messages.values().all(|ids| ids.len() == 1), "a repeat has the webhook-id of the first");
    for (id, times) in &arrivals {
        for repeat in &times[1..] {
            let explains =
                |kill: &Instant| times[0] < *kill + RECENT && times[0] + RECENT > *kill && repeat > kill;
            assert!(kills.iter().any(explains), "{id} came again for no reason: {times:?}, kills {kills:?}");
        }
    }
}

/// An attempt that outlasts the time for the end is broken off, and made again.
#[tokio::test]
async fn a_process_that_is_asked_to_end_does_so_in_time_and_hands_back_what_it_could_not_end() {
    let namespace = Cluster::connect().await.namespace("drain").await;
    let mut herald = HeraldProcess::start_with(&[&namespace], &["--drain-timeout", "1s"]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    endpoint.on_next_deliveries([Behaviour::hang(), Behaviour::hang()]);
    let patient = json!({"timeout": "30s", "maxInFlight": 2});
    let webhook =
        delivering_with(&namespace, "audit", &endpoint, |webhook| deliver_by(webhook, patient)).await;
    let events: Vec<_> = (0..4).map(|n| event("user.created", &n.to_string())).collect();
    producer.send_batch(&herald, &events).await;
    for _ in 0..2 {
        endpoint.next_delivery().await;
    }
    // It would take 30 s otherwise, and the test waits for less.
    herald.stop().await;
    assert_eq!(endpoint.deliveries().len(), 2);
    herald.restart().await;
    for _ in 0..4 {
        endpoint.next_delivery().await;
    }
    let arrived: BTreeSet<_> = endpoint.deliveries().iter().map(id_of).collect();
    assert_eq!(arrived.len(), 4);
    let failed = |webhook: &herald::api::Webhook| {
        webhook.status.as_ref().and_then(|status| status.delivery.as_ref()?.last_failure.clone())
    };
    assert_eq!(failed(&webhook), None, "breaking off is no failure of the endpoint");
    herald.stop().await;
}
