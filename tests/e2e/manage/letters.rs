//! `herald deadletters`.

use serde_json::{Value, json};

use crate::delivery::{deliver_by, delivering_with};
use crate::support::operator::EVERYTHING;
use crate::support::producer::event;
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Operator, Producer};

#[tokio::test]
async fn dead_letters_are_listed_and_deleted_one_or_all() {
    let namespace = Cluster::connect().await.namespace("letters").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    endpoint.on_delivery(Behaviour::status(422));
    let once = json!({"maxAttempts": 1});
    delivering_with(&namespace, "audit", &endpoint, |webhook| deliver_by(webhook, once)).await;
    for n in 0..4 {
        producer.send(&herald, &event("user.deleted", &n.to_string())).await;
    }
    let await_dead = async |count: u64| {
        let dead = |webhook: &herald::api::Webhook| {
            webhook.status.as_ref().and_then(|status| status.delivery.as_ref()?.dead_letters) == Some(count)
        };
        namespace.await_webhook("audit", dead).await;
    };
    await_dead(4).await;
    let list = ["deadletters", "list", "--webhook", "audit"];
    let letters = operator.json(&herald, &list).await;
    let letters = letters.as_array().unwrap().clone();
    assert_eq!(letters.len(), 4);
    let first = &letters[0];
    assert_eq!((&first["event"]["type"], &first["attempts"]), (&json!("user.deleted"), &json!(1)));
    assert_eq!(first["failure"]["reason"], "UnexpectedStatus");
    let printed = operator.run(&herald, &list).await;
    assert!(printed.out.starts_with("DIED ") && printed.out.lines().count() == 5, "{printed:?}");

    let id = first["id"].as_str().unwrap();
    let delete = ["deadletters", "delete", "--webhook", "audit"];
    let delete_first = [&delete[..], &["--id", id]].concat();
    assert_eq!(operator.run(&herald, &delete_first).await.out, "1 deleted\n");
    let again = operator.run(&herald, &delete_first).await;
    assert_eq!(again.status, Some(1));
    assert!(again.err.contains("has no dead letter"), "{}", again.err);
    let left = operator.json(&herald, &list).await;
    let ids: Vec<&Value> = left.as_array().unwrap().iter().map(|letter| &letter["id"]).collect();
    assert_eq!(ids, letters[1..].iter().map(|letter| &letter["id"]).collect::<Vec<_>>());
    await_dead(3).await;
    assert_eq!(operator.run(&herald, &[&delete[..], &["--all"]].concat()).await.out, "3 deleted\n");
    assert_eq!(operator.run(&herald, &list).await.out, "there are none\n");
    await_dead(0).await;
    herald.stop().await;
}
