//! Endpoints that do what none should hurt themselves only, and are told from outside.

use std::collections::BTreeSet;

use futures::future::join_all;
use herald::api::{DeliveryStatus, Webhook};
use serde_json::json;

use super::{deliver_by, delivering_with, id_of};
use crate::support::hostile::{Hostile, Hostility};
use crate::support::producer::event;
use crate::support::{Cluster, Endpoint, HeraldProcess, Namespace, Producer, webhook};

/// How many events are sent at a time.
const EVENTS: usize = 40;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// What each does, and the reason that its Webhook names; none for what is delivered nevertheless.
const TABLE: [(&str, Hostility, Option<&str>); 13] = [
    ("hangs-before-tls", Hostility::HangsBeforeTls, Some("TimedOut")),
    ("hangs", Hostility::Hangs, Some("TimedOut")),
    ("drips-head", Hostility::Drips("HTTP/1.1 200 OK\r\nx: ", "x"), Some("TimedOut")),
    ("drips-body", Hostility::Drips(CHUNKED, "1\r\nx\r\n"), Some("TimedOut")),
    ("no-tls", Hostility::NoTls, Some("TLSFailed")),
    ("resets", Hostility::Resets, Some("ConnectionFailed")),
    (
        "breaks-off",
        Hostility::Says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
        Some("ConnectionFailed"),
    ),
    ("garbage", Hostility::Says("\0\u{1}garbage\r\n\r\n"), Some("MalformedAnswer")),
    ("endless-head", Hostility::Floods("HTTP/1.1 200 OK\r\n", "x: y\r\n"), Some("MalformedAnswer")),
    ("endless-interim", Hostility::Floods("", "HTTP/1.1 100 Continue\r\n\r\n"), Some("MalformedAnswer")),
    ("endless-size", Hostility::Floods(CHUNKED, "0"), Some("MalformedAnswer")),
    (
        "redirects",
        Hostility::Says(
            "HTTP/1.1 307 Elsewhere\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
        ),
        Some("UnexpectedStatus"),
    ),
    ("endless-body", Hostility::Floods("HTTP/1.1 200 OK\r\n\r\n", "x"), None),
];

#[tokio::test]
async fn hostile_endpoints_hold_up_no_other_and_each_status_says_what_was_wrong() {
    let namespace = Cluster::connect().await.namespace("hostile").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let hostile = TABLE.map(|(name, hostility, reason)| proved(&namespace, name, hostility, reason));
    let _hostile = join_all(hostile).await;
    let healthy = Endpoint::start().await;
    let settings = json!({"timeout": "20s"});
    delivering_with(&namespace, "healthy", &healthy, |webhook| deliver_by(webhook, settings)).await;

    deliver(&herald, &producer, &healthy, "before").await;
    for (name, _, reason) in TABLE {
        await_end(&namespace, name, reason).await;
    }
    // Now each of them has something queued.
    deliver(&herald, &producer, &healthy, "beside").await;
    herald.stop().await;
    assert_eq!(healthy.deliveries().len(), 2 * EVENTS, "each event once");
}

/// Sends events to every webhook, which the healthy one then has.
async fn deliver(herald: &HeraldProcess, producer: &Producer, healthy: &Endpoint, prefix: &str) {
    let ids: BTreeSet<_> = (0..EVENTS).map(|n| format!("{prefix}-{n}")).collect();
    let batch: Vec<_> = ids.iter().map(|id| event("user.created", id)).collect();
    let matched = producer.send_batch(herald, &batch).await;
    assert_eq!(usize::try_from(matched).unwrap(), EVENTS * (TABLE.len() + 1));
    let mut received = BTreeSet::new();
    for _ in &ids {
        received.insert(id_of(&healthy.next_delivery().await));
    }
    assert_eq!(received, ids);
}

/// A hostile endpoint that has proved itself, and whose events wait for a long time.
async fn proved(namespace: &Namespace, name: &str, hostility: Hostility, reason: Option<&str>) -> Hostile {
    // What is not to run out of time has plenty, on a machine that all of them keep busy.
    let timeout = if reason == Some("TimedOut") { "1s" } else { "20s" };
    let endpoint = Hostile::start(hostility).await;
    namespace.secret(name, &[("api-key", "key")]).await;
    let patient = json!({"maxAttempts": 20, "timeout": timeout, "backoff": {"initial": "5s", "max": "1h"}});
    namespace.apply(&deliver_by(webhook(name, &endpoint.uri()), patient)).await;
    namespace.await_condition(name, "Delivering", "True", "Delivering").await;
    endpoint
}

/// Waits until the status says why its deliveries fail, and that all of them are still
/// pending; or that none is.
async fn await_end(namespace: &Namespace, name: &str, reason: Option<&str>) {
    let all = u64::try_from(EVENTS).unwrap();
    let as_expected = |webhook: &Webhook| {
        let Some(delivery) = webhook.status.as_ref().and_then(|status| status.delivery.clone()) else {
            return false;
        };
        let DeliveryStatus { pending, last_success, last_failure, .. } = delivery;
        let failed = last_failure.map(|failure| failure.reason);
        match reason {
            Some(reason) => {
                failed.as_deref() == Some(reason) && last_success.is_none() && pending == Some(all)
            }
            None => failed.is_none() && last_success.is_some() && pending == Some(0),
        }
    };
    namespace.await_webhook(name, as_expected).await;
}
