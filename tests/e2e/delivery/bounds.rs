//! What a webhook may use, and that it takes nothing from another.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{deliver_by, id_of, ids_of};
use crate::support::{Behaviour, Cluster, Dispatcher, Endpoint};

#[tokio::test]
async fn no_more_attempts_run_at_one_time_than_the_webhook_wants() {
    let namespace = Cluster::connect().await.namespace("in-flight").await;
    let endpoint = Endpoint::start().await;
    let gate = CancellationToken::new();
    endpoint.on_delivery(Behaviour::ok().once(&gate));
    let dispatcher = Dispatcher::start(&namespace).await;
    let three = json!({"maxInFlight": 3, "timeout": "30s"});
    dispatcher.proved_with("audit", &endpoint, |webhook| deliver_by(webhook, three)).await;
    for n in 0..10 {
        dispatcher.accept(&n.to_string()).await;
    }
    for _ in 0..3 {
        endpoint.next_delivery().await;
    }
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 3);
    gate.cancel();
    for _ in 3..10 {
        endpoint.next_delivery().await;
    }
    let ids: BTreeSet<_> = ids_of(&endpoint.deliveries()).into_iter().collect();
    assert_eq!(ids.len(), 10);
    dispatcher.stop().await;
}

#[tokio::test]
async fn no_sliding_second_has_more_attempts_than_the_webhook_wants() {
    let namespace = Cluster::connect().await.namespace("rate").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let five = json!({"maxPerSecond": 5});
    dispatcher.proved_with("audit", &endpoint, |webhook| deliver_by(webhook, five)).await;
    // No attempt starts before this moment or after it arrives, so the bounds are exact.
    let start = Instant::now();
    for n in 0..11 {
        dispatcher.accept(&n.to_string()).await;
    }
    let mut arrivals = Vec::new();
    for _ in 0..11 {
        arrivals.push(endpoint.next_delivery().await.at - start);
    }
    assert!(arrivals[5] >= Duration::from_secs(1), "{arrivals:?}");
    assert!(arrivals[10] >= Duration::from_secs(2), "{arrivals:?}");
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_pause_of_the_webhook_does_not_give_it_another_second() {
    let namespace = Cluster::connect().await.namespace("pause").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let one = json!({"maxPerSecond": 1});
    dispatcher.proved_with("audit", &endpoint, |webhook| deliver_by(webhook, one)).await;
    let start = Instant::now();
    for n in 0..2 {
        dispatcher.accept(&n.to_string()).await;
    }
    endpoint.next_delivery().await;
    for enabled in [false, true] {
        namespace.edit("audit", json!({"spec": {"enabled": enabled}})).await;
    }
    let second = endpoint.next_delivery().await.at - start;
    assert!(second >= Duration::from_secs(1), "{second:?}");
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_users_next_event_waits_for_the_end_of_the_one_before_it() {
    let namespace = Cluster::connect().await.namespace("per-user").await;
    let endpoint = Endpoint::start().await;
    endpoint.on_next_deliveries([Behaviour::status(500)]);
    let dispatcher = Dispatcher::start(&namespace).await;
    let per_user = json!({"ordering": "PerUser", "maxAttempts": 2});
    dispatcher.proved_with("audit", &endpoint, |webhook| deliver_by(webhook, per_user)).await;
    dispatcher.accept_of("ada", "ada-1").await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "ada-1");
    dispatcher.await_retries(1).await;
    dispatcher.accept_of("ada", "ada-2").await;
    dispatcher.accept_of("ada", "ada-3").await;
    dispatcher.accept_of("bob", "bob-1").await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "bob-1");
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 2);
    // Its end may be its death: then the next one goes.
    endpoint.on_next_deliveries([Behaviour::status(500)]);
    dispatcher.clock.advance(Duration::from_secs(1));
    for id in ["ada-1", "ada-2", "ada-3"] {
        assert_eq!(id_of(&endpoint.next_delivery().await), id);
    }
    assert_eq!(dispatcher.metric("herald_dead_letters_total{reason=\"UnexpectedStatus\"}"), 1);
    dispatcher.stop().await;
}

#[tokio::test]
async fn endpoints_that_hang_delay_no_other_even_when_they_take_every_place_they_can() {
    const EVENTS: usize = 200;
    let namespace = Cluster::connect().await.namespace("hanging").await;
    let (hanging, healthy) = (Endpoint::start().await, Endpoint::start().await);
    hanging.on_delivery(Behaviour::hang());
    // A quarter of the places is for webhooks that succeed. Of the others the last stays free:
    // a second attempt is for whoever finds two.
    let dispatcher = Dispatcher::with_places(&namespace, 32).await;
    for n in 0..24 {
        let long = json!({"maxInFlight": 256, "timeout": "30s"});
        dispatcher.proved_with(&format!("hanging-{n}"), &hanging, |webhook| deliver_by(webhook, long)).await;
    }
    for n in 0..20 {
        dispatcher.accept(&format!("first-{n}")).await;
    }
    let taken = 24 + 23;
    for _ in 0..taken {
        hanging.next_delivery().await;
    }
    dispatcher.proved("healthy", &healthy).await;
    dispatcher.accept("healthy-0").await;
    healthy.next_delivery().await;
    let gate = CancellationToken::new();
    healthy.on_delivery(Behaviour::ok().once(&gate));
    for n in 1..EVENTS {
        dispatcher.accept(&format!("healthy-{n}")).await;
    }
    // Several at one time, though the others want every place.
    for _ in 0..3 {
        healthy.next_delivery().await;
    }
    gate.cancel();
    for _ in 4..EVENTS {
        healthy.next_delivery().await;
    }
    assert_eq!(hanging.deliveries().len(), taken, "their attempts are all open still");
    assert_eq!(dispatcher.metric("herald_delivery_attempts_failed_total{reason=\"TimedOut\"}"), 0);
    hanging.on_delivery(Behaviour::ok());
    drop(hanging);
    dispatcher.stop().await;
}
