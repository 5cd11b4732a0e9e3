//! What counts as a failure, when it is tried again, and when it is given up.

use std::time::{Duration, SystemTime};

use herald::subscriptions::View;
use serde_json::json;

use super::{deliver_by, id_of};
use crate::support::{Behaviour, Cluster, Dispatcher, Endpoint, Received};

const DEAD: &str = "herald_dead_letters_total";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test]
async fn a_delivery_is_tried_again_after_a_second_and_two_and_then_given_up() {
    let namespace = Cluster::connect().await.namespace("retries").await;
    let endpoint = Endpoint::start().await;
    endpoint.on_delivery(Behaviour::status(500));
    let dispatcher = Dispatcher::start(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    dispatcher.accept("e1").await;
    for (attempt, longest) in [(1, 1000), (2, 2000)] {
        endpoint.next_delivery().await;
        dispatcher.await_retries(attempt).await;
        // Of the delay d, a time in [d/2, d] was drawn.
        let failed = dispatcher.clock.now();
        dispatcher.advance_to(failed, millis(longest / 2 - 1));
        dispatcher.let_others_go_first().await;
        assert_eq!(endpoint.deliveries().len(), usize::try_from(attempt).unwrap(), "too early");
        dispatcher.advance_to(failed, millis(longest));
    }
    let last = endpoint.next_delivery().await;
    assert_eq!(last.message_id(), endpoint.deliveries()[0].message_id());
    dispatcher.await_metric(&format!("{DEAD}{{reason=\"UnexpectedStatus\"}}"), 1).await;
    let [letter] = &dispatcher.dead_letters(&webhook, 1).await[..] else { panic!("one dead letter") };
    assert_eq!((letter.event.id.as_str(), letter.attempts), ("e1", 3));
    assert_eq!(letter.note.reason, "UnexpectedStatus");
    assert!(letter.note.message.contains("500"), "{}", letter.note.message);
    dispatcher.clock.advance(Duration::from_mins(1));
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), 3);
    dispatcher.stop().await;
}

#[tokio::test]
async fn an_endpoint_may_ask_for_more_time_within_the_webhooks_limit() {
    let namespace = Cluster::connect().await.namespace("retry-after").await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let start = dispatcher.clock.now();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(start.as_secs() + 40);
    let table = [
        ("seconds", 503, "30".to_owned(), "5m", 30),
        ("date", 429, httpdate::fmt_http_date(date), "5m", 40),
        ("clamped", 503, "86400".to_owned(), "50s", 50),
    ];
    let mut endpoints = Vec::new();
    for (name, status, retry_after, max, _) in &table {
        let endpoint = Endpoint::start().await;
        endpoint.on_next_deliveries([Behaviour::status(*status).header("retry-after", retry_after)]);
        let backoff = json!({"backoff": {"initial": "1s", "max": max}});
        dispatcher.proved_with(name, &endpoint, |webhook| deliver_by(webhook, backoff)).await;
        endpoints.push(endpoint);
    }
    dispatcher.accept("e1").await;
    dispatcher.await_retries(3).await;
    for ((name, .., seconds), endpoint) in table.iter().zip(&endpoints) {
        dispatcher.advance_to(start, millis(seconds * 1000 - 1));
        dispatcher.let_others_go_first().await;
        assert_eq!(endpoint.deliveries().len(), 1, "{name}: too early");
        dispatcher.advance_to(start, Duration::from_secs(*seconds));
        endpoint.next_delivery().await;
        endpoint.next_delivery().await;
    }
    dispatcher.stop().await;
}

#[tokio::test]
async fn every_end_but_a_2xx_in_time_is_a_failure_with_its_reason() {
    let namespace = Cluster::connect().await.namespace("failures").await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let elsewhere = Endpoint::start().await;
    let table = [
        ("drip", Behaviour::drip(), Some("TimedOut")),
        ("hang", Behaviour::hang(), Some("TimedOut")),
        ("hang-up", Behaviour::hang_up(), Some("ConnectionFailed")),
        ("cut", Behaviour::cut(), Some("ConnectionFailed")),
        ("redirect", Behaviour::redirect(&elsewhere.uri()), Some("UnexpectedStatus")),
        ("client-error", Behaviour::status(404), Some("UnexpectedStatus")),
        ("server-error", Behaviour::status(503), Some("UnexpectedStatus")),
        ("no-content", Behaviour::status(204), None),
        ("accepted", Behaviour::status(202).body("taken"), None),
    ];
    let mut webhooks = Vec::new();
    for (name, behaviour, _) in &table {
        let endpoint = Endpoint::start().await;
        endpoint.on_delivery(behaviour.clone());
        let once = json!({"maxAttempts": 1, "timeout": "1s"});
        let webhook = dispatcher.proved_with(name, &endpoint, |webhook| deliver_by(webhook, once)).await;
        webhooks.push((webhook, endpoint));
    }
    dispatcher.accept("e1").await;
    for ((name, _, reason), (webhook, endpoint)) in table.iter().zip(&webhooks) {
        dispatcher.await_pending(webhook, 0).await;
        let letters = dispatcher.dead_letters(webhook, usize::from(reason.is_some())).await;
        let reasons: Vec<_> = letters.iter().map(|letter| letter.note.reason.as_str()).collect();
        assert_eq!(reasons, reason.iter().copied().collect::<Vec<_>>(), "{name}");
        assert_eq!(endpoint.deliveries().len(), 1, "{name}");
    }
    assert_eq!(elsewhere.deliveries().len() + elsewhere.challenges().len(), 0);
    dispatcher.stop().await;
}

#[tokio::test]
async fn an_attempt_takes_the_settings_and_secrets_of_its_own_time() {
    let namespace = Cluster::connect().await.namespace("attempt").await;
    let endpoint = Endpoint::start().await;
    endpoint.on_next_deliveries([Behaviour::status(500)]);
    let dispatcher = Dispatcher::start(&namespace).await;
    let webhook = dispatcher.proved("audit", &endpoint).await;
    dispatcher.accept("e1").await;
    let first = endpoint.next_delivery().await;
    dispatcher.await_retries(1).await;
    namespace.secret("audit", &[("api-key", "rotated")]).await;
    let rotated = |view: &View| {
        let View::Known(known) = view else { return false };
        known.credentials.as_ref().is_ok_and(|credentials| credentials.api_key == "rotated")
    };
    dispatcher.await_view(&webhook, "rotated", rotated).await;
    dispatcher.clock.advance(Duration::from_secs(1));
    let second = endpoint.next_delivery().await;
    assert_eq!((first.header("x-api-key"), second.header("x-api-key")), (Some("key"), Some("rotated")));
    assert_eq!((id_of(&first), first.message_id()), (id_of(&second), second.message_id()));
    let time =
        |delivery: &Received| -> u64 { delivery.header("webhook-timestamp").unwrap().parse().unwrap() };
    assert_eq!(time(&second), time(&first) + 1, "of this try");
    dispatcher.stop().await;
}
