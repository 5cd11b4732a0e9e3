//! A wrong time of day: what is due is due by the time that passes.

use std::time::Duration;

use serde_json::json;

use super::deliver_by;
use crate::support::{Behaviour, Cluster, Dispatcher, Endpoint};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_step_of_a_day_neither_fires_a_retry_nor_holds_it_up_and_nor_does_a_clock_that_stands_still() {
    let namespace = Cluster::connect().await.namespace("steps").await;
    let endpoint = Endpoint::start().await;
    let dispatcher = Dispatcher::start(&namespace).await;
    let patient = json!({"maxAttempts": 5, "backoff": {"initial": "30s", "max": "30s"}});
    let webhook = dispatcher.proved_with("audit", &endpoint, |webhook| deliver_by(webhook, patient)).await;
    let noon = dispatcher.clock.now();
    endpoint.on_next_deliveries([503, 503, 503].map(Behaviour::status));
    dispatcher.accept("e1").await;
    endpoint.next_delivery().await;
    for (tries, set) in [(1, noon.before(DAY)), (2, noon), (3, noon.after(DAY))] {
        dispatcher.await_retries(i64::try_from(tries).unwrap()).await;
        dispatcher.clock.set(set);
        dispatcher.let_others_go_first().await;
        assert_eq!(endpoint.deliveries().len(), tries, "set to {set}, it came at once");
        dispatcher.clock.advance_stopped(Duration::from_secs(30));
        endpoint.next_delivery().await;
    }
    dispatcher.await_pending(&webhook, 0).await;
    let latency = |sample: &str| dispatcher.metric(&format!("herald_delivery_latency_seconds_{sample}"));
    assert!(latency("count") > 0);
    assert_eq!(latency("bucket{le=\"262.144\"}"), latency("count"), "no delivery has taken a day");
    dispatcher.stop().await;
}
