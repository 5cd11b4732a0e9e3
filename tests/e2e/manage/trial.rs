//! `herald test`.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::delivery::{delivering, id_of};
use crate::support::nats::Server;
use crate::support::operator::{EVERYTHING, Printed};
use crate::support::{Behaviour, Cluster, DEADLINE, Endpoint, HeraldProcess, Operator};

#[tokio::test]
async fn a_test_sends_one_marked_event_and_prints_the_endpoints_answer() {
    let namespace = Cluster::connect().await.namespace("trial").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    endpoint.on_next_deliveries([
        Behaviour::status(201).body("welcome\u{1b}[0m"),
        Behaviour::status(500).body("no"),
    ]);
    let test = ["test", "audit", "--type", "User suspended"];

    let printed = operator.run(&herald, &test).await;
    assert_eq!(printed.status, Some(0), "{printed:?}");
    let delivery = endpoint.next_delivery().await;
    assert_eq!((delivery.header("herald-test"), delivery.header("x-api-key")), (Some("true"), Some("key")));
    let body = delivery.json();
    assert_eq!((&body["type"], &body["data"]), (&json!("user.suspended"), &json!({"test": true})));
    for part in [
        "Result:  delivered\n",
        "Status:  201\n",
        "Body:    welcome [0m\n",
        "first byte ",
        delivery.message_id(),
    ] {
        assert!(printed.out.contains(part), "{part:?} is not in {}", printed.out);
    }

    let printed = operator.run(&herald, &test).await;
    assert_eq!(printed.status, Some(1), "{printed:?}");
    assert!(printed.out.contains("failed with UnexpectedStatus"), "{}", printed.out);
    endpoint.next_delivery().await;
    // It is tried once, and is neither queued nor dead.
    let listed = operator.json(&herald, &["events", "list", "--webhook", "audit"]).await;
    assert_eq!(listed, json!([]));
    // What was sent can be looked up like any other.
    let id = delivery.json()["id"].as_str().unwrap().to_owned();
    let answer = operator.json(&herald, &["events", "get", &id]).await;
    assert_eq!(answer[0]["deliveries"][0]["tries"][0]["kind"], "Test");
    assert_eq!(endpoint.deliveries().len(), 2);
    herald.stop().await;
}

#[tokio::test]
async fn endpoints_that_leave_tests_waiting_keep_nobody_from_asking() {
    let namespace = Cluster::connect().await.namespace("trial-hangs").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    let gate = CancellationToken::new();
    endpoint.on_delivery(Behaviour::ok().once(&gate));
    let tests = join_all((0..6).map(|_| operator.run(&herald, &["test", "audit"])));
    let asking = async {
        for _ in 0..6 {
            endpoint.next_delivery().await;
        }
        let listed = operator.json(&herald, &["events", "list", "--webhook", "audit"]).await;
        gate.cancel();
        listed
    };
    let (tests, listed) = tokio::join!(tests, asking);
    assert_eq!(listed, json!([]));
    assert!(tests.iter().all(|printed| printed.status == Some(0)), "{tests:?}");
    herald.stop().await;
}

#[tokio::test]
async fn a_test_of_a_webhook_that_is_held_says_why_and_sends_nothing() {
    let namespace = Cluster::connect().await.namespace("trial-held").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    namespace.edit("audit", json!({"spec": {"enabled": false}})).await;
    namespace.await_condition("audit", "Delivering", "False", "Disabled").await;
    let printed = operator.run(&herald, &["test", "audit"]).await;
    assert_eq!((printed.status, printed.out.as_str()), (Some(1), ""));
    assert!(
        printed.err.contains("409 The webhook is held: nothing was sent") && printed.err.contains("Disabled"),
        "{}",
        printed.err
    );
    assert_eq!(endpoint.deliveries().len(), 0);
    herald.stop().await;
}

/// Tries a webhook by a dispatcher, again while lanes change hands and it says that nothing was sent.
async fn test_by(operator: &Operator, herald: &HeraldProcess) -> Printed {
    let tried = async {
        loop {
            let printed = operator.run(herald, &["test", "audit"]).await;
            if !(printed.err.contains("503") && printed.err.contains("nothing was sent")) {
                return printed;
            }
        }
    };
    timeout(DEADLINE, tried).await.expect("the lanes are spread in time")
}

#[tokio::test]
async fn whichever_dispatcher_is_asked_the_test_is_sent_once_and_has_the_same_answer() {
    let namespace = Cluster::connect().await.namespace("trial-of-two").await;
    let server = Arc::new(Server::start());
    let mut both = [
        HeraldProcess::start_on_nats(&server, &namespace).await,
        HeraldProcess::start_on_nats(&server, &namespace).await,
    ];
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    endpoint.on_delivery(Behaviour::status(201).body("welcome"));
    for herald in &both {
        let printed = test_by(&operator, herald).await;
        assert_eq!(printed.status, Some(0), "{printed:?}");
        let delivery = endpoint.next_delivery().await;
        for part in ["Status:  201\n", "Body:    welcome\n", delivery.message_id()] {
            assert!(printed.out.contains(part), "{part:?} is not in {}", printed.out);
        }
    }
    namespace.edit("audit", json!({"spec": {"enabled": false}})).await;
    namespace.await_condition("audit", "Delivering", "False", "Disabled").await;
    for herald in &both {
        let printed = test_by(&operator, herald).await;
        assert_eq!((printed.status, printed.out.as_str()), (Some(1), ""));
        assert!(printed.err.contains("409 The webhook is held: nothing was sent"), "{}", printed.err);
    }
    assert_eq!(endpoint.deliveries().len(), 2);
    for herald in &mut both {
        herald.stop().await;
    }
}

#[tokio::test]
async fn a_test_that_the_endpoint_takes_closes_an_open_circuit() {
    let namespace = Cluster::connect().await.namespace("trial-circuit").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let operator = Operator::with(&namespace, "operator", &EVERYTHING).await;
    let producer = crate::support::Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    endpoint.on_delivery(Behaviour::status(503).header("retry-after", "3600"));
    delivering(&namespace, "audit", &endpoint).await;
    let events: Vec<_> =
        (0..8).map(|n| crate::support::producer::event("user.created", &format!("e{n}"))).collect();
    producer.send_batch(&herald, &events).await;
    namespace.await_condition("audit", "Delivering", "False", "CircuitOpen").await;
    endpoint.on_delivery(Behaviour::ok());
    let printed = operator.run(&herald, &["test", "audit"]).await;
    assert_eq!(printed.status, Some(0), "{printed:?}");
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    let tests = endpoint.deliveries().into_iter().filter(|delivery| delivery.header("herald-test").is_some());
    assert_eq!(
        tests.map(|delivery| delivery.json()["subject"].clone()).collect::<Vec<_>>(),
        [json!("herald-test")]
    );
    assert!(
        endpoint.deliveries().iter().filter(|d| d.header("herald-test").is_none()).map(id_of).count() >= 5
    );
    herald.stop().await;
}
