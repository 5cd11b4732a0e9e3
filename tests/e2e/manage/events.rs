//! `herald events`: an event that was delivered, that is pending, that is dead, and one that nobody knows.

use serde_json::{Value, json};

use crate::delivery::{deliver_by, delivering, delivering_with};
use crate::support::operator::EVERYTHING;
use crate::support::producer::event;
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Namespace, Operator, Producer};

/// One event that three webhooks wanted: one took it, one refused it twice, one may not be sent to.
struct Story {
    herald: HeraldProcess,
    operator: Operator,
    /// Of the webhook that took it.
    message_id: String,
}

async fn story(namespace: &Namespace) -> Story {
    let herald = HeraldProcess::start(&[namespace]).await;
    let operator = Operator::with(namespace, "operator", &EVERYTHING).await;
    let producer = Producer::new(namespace).await;
    let (taken, refused, held) = (Endpoint::start().await, Endpoint::start().await, Endpoint::start().await);
    delivering(namespace, "taken", &taken).await;
    refused.on_delivery(Behaviour::status(418));
    let twice = json!({"maxAttempts": 2, "backoff": {"initial": "1s", "max": "1s"}});
    delivering_with(namespace, "refused", &refused, |webhook| deliver_by(webhook, twice)).await;
    delivering(namespace, "held", &held).await;
    namespace.unlabel_secret("held").await;
    namespace.await_condition("held", "Delivering", "False", "SecretsUnresolved").await;
    assert_eq!(producer.send(&herald, &event("user.created", "e-1")).await, 3);
    let message_id = taken.next_delivery().await.message_id().to_owned();
    for _ in 0..2 {
        refused.next_delivery().await;
    }
    let dead = |webhook: &herald::api::Webhook| {
        webhook.status.as_ref().and_then(|status| status.delivery.as_ref()?.dead_letters) == Some(1)
    };
    namespace.await_webhook("refused", dead).await;
    Story { herald, operator, message_id }
}

/// The part of an answer that is about one webhook.
fn of<'a>(detail: &'a Value, webhook: &str) -> &'a Value {
    let deliveries = detail["deliveries"].as_array().unwrap();
    deliveries.iter().find(|delivery| delivery["webhook"] == webhook).unwrap_or_else(|| panic!("{detail:#}"))
}

#[tokio::test]
async fn an_id_that_many_sources_use_is_shown_for_the_source_that_is_named() {
    let namespace = Cluster::connect().await.namespace("event-sources").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    let of_source = |n: usize| {
        let mut event = event("user.created", "e-1");
        event["source"] = json!(format!("/idp/{n}"));
        event
    };
    producer.send_batch(&herald, &(0..17).map(of_source).collect::<Vec<_>>()).await;
    for _ in 0..17 {
        endpoint.next_delivery().await;
    }
    let printed = operator.run(&herald, &["events", "get", "e-1"]).await;
    assert_eq!(printed.status, Some(1), "{printed:?}");
    assert!(printed.err.contains("more than 16 events have the id"), "{}", printed.err);
    assert!(printed.err.contains("name the source"), "{}", printed.err);
    let answer = operator.json(&herald, &["events", "get", "e-1", "--source", "/idp/16"]).await;
    let [detail] = &answer.as_array().unwrap()[..] else { panic!("{answer:#}") };
    assert_eq!(detail["event"]["source"], "/idp/16");
    herald.stop().await;
}

#[tokio::test]
async fn one_event_is_shown_with_what_became_of_it_at_each_webhook() {
    let namespace = Cluster::connect().await.namespace("event").await;
    let Story { mut herald, operator, message_id } = story(&namespace).await;
    let answer = operator.json(&herald, &["events", "get", "e-1"]).await;
    let [detail] = &answer.as_array().unwrap()[..] else { panic!("{answer:#}") };
    let expected = json!({
        "namespace": namespace.name(), "id": "e-1", "source": "/idp", "type": "user.created", "subject": "user-1",
    });
    assert_eq!((&detail["event"], &detail["data"]), (&expected, &Value::Null));
    assert!(detail["acceptedAt"].is_string(), "{detail:#}");

    let taken = of(detail, "taken");
    assert_eq!((&taken["state"], &taken["attempts"]), (&json!("Delivered"), &json!(1)));
    assert_eq!(taken["messageId"], json!(message_id));
    let [attempt] = &taken["tries"].as_array().unwrap()[..] else { panic!("{taken:#}") };
    assert_eq!((&attempt["kind"], &attempt["status"]), (&json!("Delivery"), &json!(200)));
    let step = |name: &str| attempt["durations"][name].as_f64().unwrap();
    assert!(step("tlsMs") > 0.0 && step("firstByteMs") > 0.0, "{attempt:#}");

    let refused = of(detail, "refused");
    assert_eq!((&refused["state"], &refused["attempts"]), (&json!("Dead"), &json!(2)));
    assert_eq!(refused["failure"]["reason"], json!("UnexpectedStatus"));
    let tries = refused["tries"].as_array().unwrap();
    let statuses: Vec<_> = tries.iter().map(|attempt| (&attempt["number"], &attempt["status"])).collect();
    assert_eq!(statuses, [(&json!(1), &json!(418)), (&json!(2), &json!(418))], "oldest first");
    assert!(
        tries[0]["retriedAfterMs"].as_u64().is_some_and(|after| (500..=1000).contains(&after)),
        "{tries:#?}"
    );

    let held = of(detail, "held");
    assert_eq!((&held["state"], &held["attempts"]), (&json!("Pending"), &json!(0)));
    assert!(held["waitsFor"].as_str().unwrap().starts_with("SecretsUnresolved: "), "{held:#}");

    // The id that an endpoint sees names one delivery.
    let answer = operator.json(&herald, &["events", "get", &message_id]).await;
    assert_eq!(answer[0]["event"]["id"], "e-1");
    assert_eq!(answer[0]["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(answer[0]["deliveries"][0]["webhook"], "taken");

    // It is all there after a crash, but for the last second of the attempts.
    herald.kill().await;
    herald.restart().await;
    let answer = operator.json(&herald, &["events", "get", "e-1"]).await;
    assert_eq!(of(&answer[0], "refused")["state"], "Dead");
    assert_eq!(of(&answer[0], "held")["state"], "Pending");
    herald.stop().await;
}

#[tokio::test]
async fn a_person_reads_what_became_of_it_in_a_table() {
    let namespace = Cluster::connect().await.namespace("event-table").await;
    let Story { mut herald, operator, message_id } = story(&namespace).await;
    let printed = operator.run(&herald, &["events", "get", "e-1", "--payload"]).await;
    assert_eq!(printed.status, Some(0), "{printed:?}");
    for part in [
        "Event:     e-1\n",
        "User:      user-1\n",
        "Data:      {\"id\":\"e-1\"}\n",
        "WEBHOOK   STATE       ATTEMPTS   ENDED",
        "SecretsUnresolved: ",
        "UnexpectedStatus: given up after 2 of 2 attempts",
        "FIRST BYTE",
        &format!("taken ({message_id})"),
    ] {
        assert!(printed.out.contains(part), "{part:?} is not in\n{}", printed.out);
    }
    let unknown = operator.run(&herald, &["events", "get", "e-2"]).await;
    assert_eq!((unknown.status, unknown.out.as_str()), (Some(1), ""));
    assert!(
        unknown.err.contains("404 Not found: no event \"e-2\" is known in the namespace"),
        "{}",
        unknown.err
    );
    herald.stop().await;
}

#[tokio::test]
async fn a_webhooks_deliveries_are_listed_by_state_and_time() {
    let namespace = Cluster::connect().await.namespace("events").await;
    let Story { mut herald, operator, .. } = story(&namespace).await;
    let states = async |arguments: &[&str]| {
        let listed = operator.json(&herald, &[&["events", "list", "--webhook"], arguments].concat()).await;
        let state = |item: &Value| {
            format!("{} {}", item["event"]["id"].as_str().unwrap(), item["state"].as_str().unwrap())
        };
        listed.as_array().unwrap().iter().map(state).collect::<Vec<_>>()
    };
    for (webhook, state, expected) in [
        ("taken", "delivered", "e-1 Delivered"),
        ("refused", "dead", "e-1 Dead"),
        ("held", "pending", "e-1 Pending"),
    ] {
        assert_eq!(states(&[webhook]).await, [expected]);
        for asked in ["pending", "dead", "delivered"] {
            let found = states(&[webhook, "--state", asked, "--since", "1h"]).await;
            assert_eq!(found, if asked == state { vec![expected] } else { vec![] }, "{webhook} {asked}");
        }
        assert_eq!(states(&[webhook, "--since", "0s"]).await, [""; 0]);
    }
    let printed = operator.run(&herald, &["events", "list", "--webhook", "held"]).await;
    assert!(printed.out.starts_with("STATE     ACCEPTED"), "{printed:?}");
    let unknown = operator.run(&herald, &["events", "list", "--webhook", "nobody"]).await;
    assert_eq!(unknown.status, Some(1));
    assert!(unknown.err.contains("there is no Webhook \"nobody\""), "{}", unknown.err);
    herald.stop().await;
}

#[tokio::test]
async fn a_long_list_is_read_in_parts_and_has_each_delivery_once() {
    let namespace = Cluster::connect().await.namespace("events-parts").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    let webhook = delivering(&namespace, "audit", &endpoint).await;
    let batch = |from: usize, to: usize| {
        (from..to).map(|n| event("user.created", &format!("e{n:04}"))).collect::<Vec<_>>()
    };
    producer.send_batch(&herald, &batch(0, 700)).await;
    namespace
        .await_webhook("audit", |webhook| {
            let delivery =
                webhook.status.as_ref().and_then(|status| status.delivery.clone()).unwrap_or_default();
            delivery.pending == Some(0) && delivery.last_success.is_some()
        })
        .await;
    namespace
        .edit("audit", json!({"spec": {"uri": webhook.spec.uri.replace("https://", "https://x.")}}))
        .await;
    namespace.await_condition("audit", "Delivering", "False", "NotVerified").await;
    producer.send_batch(&herald, &batch(700, 1400)).await;
    let listed = operator.json(&herald, &["events", "list", "--webhook", "audit", "--limit", "5000"]).await;
    let mut ids: Vec<_> =
        listed.as_array().unwrap().iter().map(|item| item["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1400);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1400);
    let listed = operator.json(&herald, &["events", "list", "--webhook", "audit", "--limit", "1200"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 1200);
    herald.stop().await;
}
