//! An endpoint that fails again and again: its events are held, not spent.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::{deliver_by, id_of, ids_of};
use crate::support::webhook::condition;
use crate::support::{Behaviour, Cluster, Dispatcher, Endpoint, Namespace};

const OPENED: &str = "herald_circuits_opened_total";
const FAILED: &str = "herald_delivery_attempts_failed_total{reason=\"UnexpectedStatus\"}";
/// As many as open a circuit.
const THRESHOLD: usize = 5;

/// A dispatcher that has tried as many of 20 events as open the circuit of an
/// endpoint that answers 503, one at a time.
async fn opened<'n>(namespace: &'n Namespace, endpoint: &Endpoint) -> Dispatcher<'n> {
    let dispatcher = Dispatcher::start(namespace).await;
    let one_by_one = json!({"maxInFlight": 1, "maxAttempts": 2, "backoff": {"initial": "10s", "max": "40s"}});
    dispatcher.proved_with("audit", endpoint, |webhook| deliver_by(webhook, one_by_one)).await;
    endpoint.on_delivery(Behaviour::status(503));
    for n in 0..20 {
        dispatcher.accept(&format!("e{n:02}")).await;
    }
    dispatcher.await_metric(OPENED, 1).await;
    dispatcher
}

#[tokio::test]
async fn an_open_circuit_holds_events_tries_another_as_a_probe_and_loses_none() {
    let namespace = Cluster::connect().await.namespace("circuit").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = opened(&namespace, &endpoint).await;
    let webhook = namespace.await_condition("audit", "Delivering", "False", "CircuitOpen").await;
    let message = &condition(&webhook, "Delivering").unwrap().message;
    for part in ["5 events failed in a row", "503", "held", "next probe is at"] {
        assert!(message.contains(part), "{message}");
    }
    dispatcher.let_others_go_first().await;
    let tried: BTreeSet<_> = ids_of(&endpoint.deliveries()).into_iter().collect();
    assert_eq!((endpoint.deliveries().len(), tried.len()), (THRESHOLD, THRESHOLD), "each once");

    // Two probes fail, ten seconds and then twenty later; each takes an event that was not tried before.
    let mut probes = 0;
    for wait in [10, 20] {
        dispatcher.clock.advance(Duration::from_secs(wait));
        probes += 1;
        dispatcher.await_metric(FAILED, i64::try_from(THRESHOLD).unwrap() + probes).await;
        dispatcher.let_others_go_first().await;
        assert_eq!(endpoint.deliveries().len(), THRESHOLD + usize::try_from(probes).unwrap());
    }
    let taken_as_probes = ids_of(&endpoint.deliveries()[THRESHOLD..]);
    assert!(taken_as_probes.iter().all(|id| !tried.contains(id)), "{taken_as_probes:?}");
    assert_ne!(taken_as_probes[0], taken_as_probes[1]);

    endpoint.on_delivery(Behaviour::ok());
    dispatcher.clock.advance(Duration::from_secs(40));
    dispatcher.await_pending(&webhook, 0).await;
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    let taken: BTreeSet<_> = ids_of(&endpoint.deliveries()).into_iter().collect();
    assert_eq!(taken.len(), 20);
    assert_eq!(dispatcher.dead_letters(&webhook, 0).await, [], "none is spent, with two attempts each");
    assert_eq!(dispatcher.metric(OPENED), 1);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_circuit_is_open_after_a_restart_until_its_probe() {
    let namespace = Cluster::connect().await.namespace("circuit-restart").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = opened(&namespace, &endpoint).await;
    namespace.await_condition("audit", "Delivering", "False", "CircuitOpen").await;
    let dispatcher = dispatcher.restart_after(async {}).await;
    dispatcher.let_others_go_first().await;
    assert_eq!(endpoint.deliveries().len(), THRESHOLD);
    namespace.await_condition("audit", "Delivering", "False", "CircuitOpen").await;
    dispatcher.clock.advance(Duration::from_secs(10));
    endpoint.on_delivery(Behaviour::ok());
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_new_proof_closes_the_circuit() {
    let namespace = Cluster::connect().await.namespace("circuit-proof").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = opened(&namespace, &endpoint).await;
    let webhook = namespace.await_condition("audit", "Delivering", "False", "CircuitOpen").await;
    endpoint.on_delivery(Behaviour::ok());
    dispatcher.prove(&webhook).await;
    // No time has passed: nothing but the proof lets them go.
    for _ in 0..THRESHOLD + 15 {
        endpoint.next_delivery().await;
    }
    let fresh: BTreeSet<_> = endpoint.deliveries()[THRESHOLD..].iter().map(id_of).collect();
    assert_eq!(fresh.len(), 15, "the others wait for their retry");
    dispatcher.stop().await;
}
