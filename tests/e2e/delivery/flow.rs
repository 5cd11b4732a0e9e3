//! The whole way through the real binary: which events go to which endpoint.

use std::collections::BTreeSet;

use herald::api::VERIFY_REQUESTED_AT;
use serde_json::json;

use super::{deliver_by, delivering, delivering_with, id_of, ids_of};
use crate::support::producer::event;
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Producer, webhook};

#[tokio::test]
async fn an_event_goes_to_the_proved_and_enabled_of_its_namespace_that_want_its_type() {
    let cluster = Cluster::connect().await;
    let (namespace, elsewhere) = (cluster.namespace("matched").await, cluster.namespace("matched").await);
    let herald = HeraldProcess::start(&[&namespace, &elsewhere]).await;
    let producer = Producer::new(&namespace).await;
    let (all, created, disabled) =
        (Endpoint::start().await, Endpoint::start().await, Endpoint::start().await);
    let (unproved, other) = (Endpoint::start().await, Endpoint::start().await);
    unproved.on_challenge(Behaviour::wrong_key());
    delivering(&namespace, "all", &all).await;
    delivering_with(&namespace, "created", &created, |webhook| webhook.events(&["User created"])).await;
    delivering(&elsewhere, "other", &other).await;
    for (name, endpoint) in [("disabled", &disabled), ("unproved", &unproved)] {
        namespace.secret(name, &[("api-key", "key")]).await;
        let manifest = webhook(name, &endpoint.uri());
        namespace.apply(&if name == "disabled" { manifest.disabled() } else { manifest }).await;
    }
    namespace.await_condition("disabled", "Delivering", "False", "Disabled").await;
    namespace.await_condition("unproved", "Verified", "False", "KeyMismatch").await;

    assert_eq!(producer.send(&herald, &event("user.created", "1")).await, 2);
    assert_eq!(producer.send(&herald, &event("user.deleted", "2")).await, 1);
    namespace.edit("disabled", json!({"spec": {"enabled": true}})).await;
    namespace.await_condition("disabled", "Delivering", "True", "Delivering").await;
    assert_eq!(producer.send(&herald, &event("user.logged_in", "3")).await, 2);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(id_of(&all.next_delivery().await));
    }
    ids.sort();
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(id_of(&created.next_delivery().await), "1");
    assert_eq!(id_of(&disabled.next_delivery().await), "3", "only what came after it was enabled");
    let mut herald = herald;
    herald.stop().await;
    assert_eq!((created.deliveries().len(), disabled.deliveries().len()), (1, 1));
    assert_eq!((unproved.deliveries().len(), other.deliveries().len()), (0, 0));
}

#[tokio::test]
async fn edits_that_race_with_events_neither_lose_one_nor_misdirect_one() {
    let namespace = Cluster::connect().await.namespace("racing").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let (a, b, never) = (Endpoint::start().await, Endpoint::start().await, Endpoint::start().await);
    never.on_challenge(Behaviour::status(404));
    delivering(&namespace, "audit", &a).await;

    let edits = async {
        let uris = [b.uri(), never.uri(), a.uri(), never.uri(), b.uri(), a.uri()];
        for turn in 0..48 {
            let spec = match turn % 4 {
                0 => json!({"uri": uris[turn / 4 % uris.len()]}),
                1 => json!({"enabled": turn % 8 != 1}),
                2 => json!({"events": [if turn % 8 == 2 { "User created" } else { "*" }]}),
                _ => json!({"enabled": true}),
            };
            namespace.edit("audit", json!({"spec": spec})).await;
        }
        namespace.edit("audit", json!({"spec": {"uri": a.uri(), "enabled": true, "events": ["*"]}})).await;
    };
    let events = async {
        let (mut matched, mut sent) = (BTreeSet::new(), 0);
        for n in 0..150 {
            let wire_type = if n % 2 == 0 { "user.created" } else { "user.deleted" };
            let id = n.to_string();
            sent += 1;
            if producer.send(&herald, &event(wire_type, &id)).await == 1 {
                matched.insert(id);
            }
        }
        assert!(!matched.is_empty() && matched.len() <= sent);
        matched
    };
    let ((), mut matched) = tokio::join!(edits, events);
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    assert_eq!(producer.send(&herald, &event("user.deleted", "last")).await, 1);
    matched.insert("last".to_owned());
    let received =
        || [&a, &b].iter().flat_map(|endpoint| ids_of(&endpoint.deliveries())).collect::<BTreeSet<_>>();
    // All of it arrives at one of the two; the metric tells when.
    let all = f64::from(u32::try_from(matched.len()).unwrap());
    herald.await_metric("herald_deliveries_delivered_total", |delivered| delivered >= all).await;
    herald.stop().await;
    assert_eq!(received(), matched, "what was matched, and nothing else");
    assert_eq!(never.deliveries().len(), 0, "it never proved itself");
    for endpoint in [&a, &b] {
        if let Some(delivery) = endpoint.deliveries().first() {
            assert!(endpoint.challenges().first().unwrap().at < delivery.at, "the proof comes first");
        }
    }
}

#[tokio::test]
async fn events_for_an_endpoint_that_took_back_its_proof_are_held_until_it_proves_itself_again() {
    let namespace = Cluster::connect().await.namespace("revoked").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    endpoint.on_challenge(Behaviour::wrong_key());
    let annotate = |value| json!({"metadata": {"annotations": {VERIFY_REQUESTED_AT: value}}});
    namespace.edit("audit", annotate("again")).await;
    namespace.await_condition("audit", "Verified", "False", "KeyMismatch").await;
    namespace.await_condition("audit", "Delivering", "False", "NotVerified").await;
    assert_eq!(producer.send(&herald, &event("user.created", "held")).await, 1, "it is matched");
    let proofs = endpoint.challenges().len();
    endpoint.on_challenge(Behaviour::proof());
    let delivery = endpoint.next_delivery().await;
    assert_eq!(id_of(&delivery), "held");
    assert!(endpoint.challenges().len() > proofs, "it proved itself before");
    herald.stop().await;
    assert_eq!(endpoint.deliveries().len(), 1);
}

#[tokio::test]
async fn a_verification_on_demand_brings_back_an_endpoint_that_was_gone() {
    let namespace = Cluster::connect().await.namespace("gone").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    endpoint.on_next_deliveries([Behaviour::status(410)]);
    let one_by_one = json!({"maxInFlight": 1});
    delivering_with(&namespace, "audit", &endpoint, |webhook| deliver_by(webhook, one_by_one)).await;
    let batch: Vec<_> = ["1", "2"].map(|id| event("user.created", id)).into();
    assert_eq!(producer.send_batch(&herald, &batch).await, 2);
    let webhook = namespace.await_condition("audit", "Delivering", "False", "Gone").await;
    let ready = condition(&webhook, "Ready").unwrap();
    assert_eq!(ready.status, "True", "Ready does not depend on it");
    herald.kill().await;
    herald.restart().await;
    assert_eq!(producer.send(&herald, &event("user.created", "3")).await, 1);
    namespace.await_condition("audit", "Delivering", "False", "Gone").await;
    assert_eq!(endpoint.deliveries().len(), 1);
    namespace.edit("audit", json!({"metadata": {"annotations": {VERIFY_REQUESTED_AT: "now"}}})).await;
    let gone = id_of(&endpoint.next_delivery().await);
    let mut ids = ids_of(&[endpoint.next_delivery().await, endpoint.next_delivery().await]);
    ids.push(gone);
    ids.sort();
    assert_eq!(ids, ["1", "2", "3"]);
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    assert_eq!(endpoint.challenges().len(), 2);
    herald.stop().await;
}
