//! The process ends in the middle of its work, politely or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{all_arrive, deliver_by, delivering, delivering_with, id_of};
use crate::support::producer::{Sending, event};
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Producer, number};

const IN_FLIGHT: usize = 4;
const PRODUCERS: usize = 8;

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

    repeats_that_kills_explain(&endpoint, &kills);
}

/// Everything acknowledged while kills come at any moment of it arrives.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures of a run")]
async fn kills_at_random_moments_under_load_lose_nothing_that_was_acknowledged() {
    let rounds = number("HERALD_TEST_KILLS").unwrap_or(20);
    let namespace = Cluster::connect().await.namespace("kills").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    let mut acknowledged = BTreeSet::new();
    let mut kills: Vec<Instant> = Vec::new();
    let mut silence = Duration::ZERO;
    for round in 0..rounds {
        let mut load = JoinSet::new();
        let some = Arc::new(Notify::new());
        for n in 0..PRODUCERS {
            let ids = (0..).map(move |event| format!("{round}-{n}-{event}"));
            load.spawn(send_until_it_ends(producer.sending(&herald), ids, some.clone()));
        }
        some.notified().await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
        let killed = Instant::now();
        herald.kill().await;
        let sent: Vec<_> = load.join_all().await.into_iter().flatten().collect();
        if let Some(first) = sent.iter().map(|(at, _)| *at).min()
            && let Some(last) = kills.last()
        {
            silence = silence.max(first.saturating_duration_since(*last));
        }
        kills.push(killed);
        acknowledged.extend(sent.into_iter().map(|(_, id)| id));
        herald.restart().await;
    }
    all_arrive(&endpoint, &acknowledged).await;
    herald.stop().await;
    let repeated = repeats_that_kills_explain(&endpoint, &kills);
    println!(
        "{rounds} kills, {} acknowledged, 0 lost, {repeated} repeated, at most {} ms from a kill to the next that \
         was acknowledged",
        acknowledged.len(),
        silence.as_millis()
    );
}

/// Sends one event after another until the connection ends; which were acknowledged, and when. Says that some were.
async fn send_until_it_ends(
    sending: Sending,
    ids: impl Iterator<Item = String>,
    some: Arc<Notify>,
) -> Vec<(Instant, String)> {
    let mut acknowledged = Vec::new();
    for id in ids {
        match sending.send(&event("user.created", &id)).await {
            Ok((StatusCode::ACCEPTED, _)) => {
                acknowledged.push((Instant::now(), id));
                some.notify_one();
            }
            Ok((status, _)) => panic!("{id}: {status}"),
            Err(_) => break,
        }
    }
    acknowledged
}

/// How many deliveries were made again. Each has the `webhook-id` of the first,
/// and a kill explains it.
fn repeats_that_kills_explain(endpoint: &Endpoint, kills: &[Instant]) -> usize {
    let mut arrivals: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for delivery in endpoint.deliveries() {
        arrivals.entry(id_of(&delivery)).or_default().push(delivery.at);
        messages.entry(id_of(&delivery)).or_default().insert(delivery.message_id().to_owned());
    }
    assert!(messages.values().all(|ids| ids.len() == 1), "a repeat has the webhook-id of the first");
    for (id, times) in &arrivals {
        let Some((first, repeats)) = times.split_first() else { continue };
        for repeat in repeats {
            let explains =
                |kill: &Instant| *first < *kill + RECENT && *first + RECENT > *kill && repeat > kill;
            assert!(kills.iter().any(explains), "{id} came again for no reason: {times:?}, kills {kills:?}");
        }
    }
    arrivals.values().map(|times| times.len() - 1).sum()
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
