//! Quotas of a namespace, in the program: by flag, by annotation, across a restart.

use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::delivery::delivering;
use crate::support::producer::event;
use crate::support::{Cluster, DEADLINE, Endpoint, HeraldProcess, Namespace, Producer};

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Where namespaces are named, each is read anew in less than this.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Sets an annotation of the Namespace, or takes it away.
async fn annotate(namespace: &Namespace, quota: &str, value: Option<&str>) {
    let name = format!("herald.dev/quota-{quota}");
    let patch = Patch::Merge(json!({"metadata": {"annotations": {name: value}}}));
    let api = Api::<KubeNamespace>::all(namespace.cluster().client());
    api.patch(namespace.name(), &PatchParams::default(), &patch).await.unwrap();
}

fn batch(first: usize, count: usize) -> Value {
    (first..first + count).map(|id| event("user.created", &id.to_string())).collect()
}

/// Sends events until the answer is as it should become.
async fn until_status(
    producer: &Producer,
    herald: &HeraldProcess,
    wanted: StatusCode,
    within: Duration,
) -> Value {
    let mut tries = interval(Duration::from_millis(50));
    let mut number = 0;
    let asking = async {
        loop {
            tries.tick().await;
            number += 1;
            let id = format!("{wanted}-{number}-{}", rand::random::<u32>());
            let (status, answer) = producer.post(herald, ONE, &event("user.created", &id)).await.unwrap();
            if status == wanted {
                return answer;
            }
        }
    };
    timeout(within, asking).await.unwrap_or_else(|_| panic!("{wanted} has not come"))
}

#[tokio::test]
async fn an_annotation_sets_the_rate_of_its_namespace_while_herald_runs() {
    let cluster = Cluster::connect().await;
    let (annotated, other) = (cluster.namespace("quota").await, cluster.namespace("quota").await);
    annotate(&annotated, "events-per-second", Some("1000000")).await;
    let flags = ["--quota-events-per-second", "1"];
    let mut herald = HeraldProcess::start_with(&[&annotated, &other], &flags).await;
    let (of_annotated, of_other) = (Producer::new(&annotated).await, Producer::new(&other).await);

    // The flag gives one batch at once, and then one event a second.
    assert_eq!(of_other.post(&herald, BATCH, &batch(0, 1000)).await.unwrap().0, StatusCode::ACCEPTED);
    let (status, answer) = of_other.post(&herald, BATCH, &batch(1000, 500)).await.unwrap();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
    let detail = answer.get("detail").and_then(Value::as_str).unwrap();
    assert!(detail.contains("quota of 1 events per second"), "{detail}");
    assert!(detail.contains("herald.dev/quota-events-per-second"), "{detail}");
    for first in [0, 1000, 2000] {
        let (status, answer) = of_annotated.post(&herald, BATCH, &batch(first, 1000)).await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }
    herald
        .await_metric("herald_ingest_over_quota_total{quota=\"events_per_second\"}", |count| count >= 1.0)
        .await;

    annotate(&other, "events-per-second", Some("1000000")).await;
    until_status(&of_other, &herald, StatusCode::ACCEPTED, READ_WITHIN + DEADLINE).await;
    annotate(&annotated, "events-per-second", None).await;
    let over = async {
        let mut first = 3000;
        while of_annotated.post(&herald, BATCH, &batch(first, 1000)).await.unwrap().0 == StatusCode::ACCEPTED
        {
            first += 1000;
        }
    };
    timeout(READ_WITHIN + DEADLINE, over).await.expect("the flag's number holds again");
    herald.stop().await;
}

#[tokio::test]
async fn what_may_wait_of_a_namespace_is_bounded_also_after_a_crash_and_delivery_makes_room() {
    let cluster = Cluster::connect().await;
    let (bounded, other) = (cluster.namespace("quota").await, cluster.namespace("quota").await);
    let mut herald = HeraldProcess::start_with(
        &[&bounded, &other],
        &["--quota-bytes-queued", "2000", "--quota-annotations=false"],
    )
    .await;
    let endpoint = Endpoint::start().await;
    let (of_bounded, of_other) = (Producer::new(&bounded).await, Producer::new(&other).await);
    delivering(&bounded, "audit", &endpoint).await;
    // Without its Secret, what it wants waits.
    bounded.unlabel_secret("audit").await;
    bounded.await_condition("audit", "Delivering", "False", "SecretsUnresolved").await;

    let answer = until_status(&of_bounded, &herald, StatusCode::TOO_MANY_REQUESTS, DEADLINE).await;
    let detail = answer.get("detail").and_then(Value::as_str).unwrap();
    assert!(detail.contains("quota of 2000 bytes of events that wait"), "{detail}");
    assert!(!detail.contains("annotation"), "{detail}");
    assert_eq!(of_other.send(&herald, &event("user.created", "1")).await, 0);

    herald.kill().await;
    herald.restart().await;
    let large = event("user.created", "large");
    let (status, _) = of_bounded.post(&herald, ONE, &large).await.unwrap();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(of_other.send(&herald, &event("user.created", "2")).await, 0);

    bounded.secret("audit", &[("api-key", "key-of-audit")]).await;
    until_status(&of_bounded, &herald, StatusCode::ACCEPTED, DEADLINE).await;
    endpoint.next_delivery().await;
    herald.stop().await;
}
