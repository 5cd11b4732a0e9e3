//! Many webhooks at one destination: it gets no more than one may.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{deliver_by, delivering, delivering_with};
use crate::support::producer::event;
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Behaviour, Cluster, Endpoint, HeraldProcess, Producer};

const WEBHOOKS: usize = 6;

#[tokio::test]
async fn many_webhooks_at_one_address_have_no_more_requests_there_than_one_destination_gets() {
    let namespace = Cluster::connect().await.namespace("destination").await;
    let (crowded, other) = (Endpoint::start().await, Endpoint::start_at(Ipv4Addr::new(127, 0, 0, 2)).await);
    let limits = ["--max-in-flight-per-destination", "2"];
    let herald = HeraldProcess::start_with(&[&namespace], &limits).await;
    let names: Vec<_> = (0..WEBHOOKS).map(|number| format!("crowded-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let long = json!({"timeout": "30s", "maxAttempts": 1});
        let edit = |webhook| {
            deliver_by(webhook, long).with(|spec| {
                // Two hosts of one address.
                if number % 2 == 0 {
                    spec.uri = spec.uri.replace("127.0.0.1", "localhost");
                }
            })
        };
        delivering_with(&namespace, name, &crowded, edit).await;
    }
    delivering(&namespace, "other", &other).await;
    let gate = CancellationToken::new();
    crowded.on_delivery(Behaviour::ok().once(&gate));
    let producer = Producer::new(&namespace).await;
    assert_eq!(producer.send(&herald, &event("user.created", "e")).await, 7);
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        ids.insert(crowded.next_delivery().await.message_id().to_owned());
    }
    other.next_delivery().await;
    herald.await_metric("herald_outbound_destination_waiting", |waiting| waiting >= 4.0).await;

    // Whoever looks at one that waits sees why.
    let waits = |name: &str| {
        let (namespace, name) = (&namespace, name.to_owned());
        async move {
            let slowed = "gets as many requests at one time as";
            namespace
                .await_webhook(&name, |webhook| {
                    condition(webhook, "Delivering")
                        .is_some_and(|it| it.status == "True" && it.message.contains(slowed))
                })
                .await;
        }
    };
    let some = futures::future::select_all(names.iter().map(|name| Box::pin(waits(name))));
    some.await;
    // While they wait, another destination's webhook goes on.
    for n in 0..5 {
        producer.send(&herald, &event("user.deleted", &n.to_string())).await;
        other.next_delivery().await;
    }
    assert_eq!(crowded.deliveries().len(), 2);

    gate.cancel();
    for _ in 2..WEBHOOKS * 6 {
        ids.insert(crowded.next_delivery().await.message_id().to_owned());
    }
    assert_eq!(ids.len(), WEBHOOKS * 6, "each once, and none was lost");
    herald.await_metric("herald_deliveries_delivered_total", |delivered| delivered >= 42.0).await;
    let metrics = herald.metrics().await;
    for never in ["herald_delivery_attempts_failed_total{", "herald_dead_letters_total{"] {
        assert!(!metrics.contains(never), "with one attempt each, one that counted would be the last");
    }
    let of_address = "herald_outbound_destination_waits_total{limit=\"InFlight\",of=\"Address\"}";
    assert!(herald.metric(of_address).await >= 1.0, "only the address tells that they are one");
}
