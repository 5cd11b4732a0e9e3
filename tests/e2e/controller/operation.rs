//! What an administrator relies on: restarts, hanging endpoints, bad objects, several replicas.

use std::time::{Duration, Instant};

use herald::controller::{Election, Places};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;

use super::running::Running;
use super::*;
use crate::support::garbling::garbling;
use crate::support::{Behaviour, Cluster};

const VERIFIED: &str = "herald_controller_webhooks{reason=\"Verified\"}";
const LEADING: &str = "herald_controller_leading";

#[tokio::test]
async fn a_restart_sends_no_challenge_and_writes_no_status() {
    const WEBHOOKS: usize = 100;
    let namespace = Cluster::connect().await.namespace("restart").await;
    let (endpoint, failing) = (Endpoint::start().await, Endpoint::start().await);
    failing.on_challenge(Behaviour::status(500));
    apply_keys(&namespace).await;
    apply(&namespace, "failing", &failing.uri()).await;
    for n in 0..WEBHOOKS {
        apply(&namespace, &format!("audit-{n}"), &endpoint.uri()).await;
    }
    let controller = Running::start(&namespace);
    controller.await_metric(VERIFIED, |webhooks| webhooks >= 100).await;
    namespace.await_webhook("failing", |webhook| failures(webhook) >= 4).await;
    controller.stop().await;
    let versions = || async {
        let list = namespace.api::<Webhook>().list(&ListParams::default()).await.unwrap();
        list.items.into_iter().map(|w| (w.name_any(), w.resource_version())).collect::<Vec<_>>()
    };
    let (before, tried) = (versions().await, failing.challenges());

    let controller = Running::start(&namespace);
    // Every one has been looked at when the gauge counts them all.
    controller.await_metric(VERIFIED, |webhooks| webhooks >= 100).await;
    assert!(controller.is_ready());
    assert_eq!(failing.challenges().len(), tried.len(), "what failed waits for its time");
    assert_eq!(versions().await, before);
    // A write that changes nothing leaves no version behind, so they are counted too.
    assert_eq!(controller.metric("herald_controller_reconciles_total{outcome=\"Stored\"}"), 0);
    let unchanged = "herald_controller_reconciles_total{outcome=\"Unchanged\"}";
    controller.await_metric(unchanged, |reconciles| reconciles > 100).await;
    assert_eq!(endpoint.challenges().len(), WEBHOOKS);
    await_challenges(&failing, tried.len() + 1).await;
    let pause = failing.challenges()[tried.len()].at - tried[tried.len() - 1].at;
    assert!(pause >= Duration::from_secs(4), "after the fourth failure: {pause:?}");
    controller.stop().await;
}

#[tokio::test]
async fn endpoints_that_hang_delay_no_other_webhook() {
    let namespace = Cluster::connect().await.namespace("hanging").await;
    let (hanging, good) = (Endpoint::start().await, Endpoint::start().await);
    hanging.on_challenge(Behaviour::hang());
    apply_keys(&namespace).await;
    for n in 0..20 {
        apply(&namespace, &format!("hanging-{n}"), &hanging.uri()).await;
    }
    let controller = Running::with(&namespace, namespace.cluster().client(), |config| {
        config.concurrency = 2;
        config.places = Places { first: 24, again: 2 };
    });
    await_challenges(&hanging, 20).await;
    let began = Instant::now();
    apply(&namespace, "good", &good.uri()).await;
    until_ready(&namespace, "good", "Verified").await;
    assert!(began.elapsed() < Duration::from_millis(2500), "less than one hangs: {:?}", began.elapsed());
    // By now repeated tries hold both of their places.
    await_challenges(&hanging, 2).await;
    let began = Instant::now();
    apply(&namespace, "also-good", &good.uri()).await;
    until_ready(&namespace, "also-good", "Verified").await;
    assert!(began.elapsed() < Duration::from_millis(2500), "less than one hangs: {:?}", began.elapsed());
    // Nor does the stop wait for them.
    controller.stop().await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_says_so_and_disturbs_no_other() {
    let namespace = Cluster::connect().await.namespace("unreadable").await;
    let endpoint = Endpoint::start().await;
    apply_keys(&namespace).await;
    apply(&namespace, "bad", &endpoint.uri()).await;
    namespace.edit("bad", json!({"spec": {"payload": "CloudEvents"}})).await;
    apply(&namespace, "good", &endpoint.uri()).await;
    let client = garbling(namespace.cluster().client(), namespace.name());
    let controller = Running::with(&namespace, client, |_| ());
    until_ready(&namespace, "good", "Verified").await;
    let bad = until_ready(&namespace, "bad", "Unreadable").await;
    assert_eq!(kstatus(&bad), "Failed");
    assert!(message_of(&bad, "Ready").contains("CloudEvent5"), "{}", message_of(&bad, "Ready"));
    events(&namespace, "Unreadable").await;
    controller.await_metric("herald_controller_webhooks{reason=\"Unreadable\"}", |bad| bad > 0).await;
    assert_eq!(endpoint.challenges().len(), 1);
    namespace.edit("bad", json!({"spec": {"payload": "Standard"}})).await;
    until_ready(&namespace, "bad", "Verified").await;
    controller.await_metric("herald_controller_webhooks{reason=\"Unreadable\"}", |bad| bad == 0).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_deleted_webhook_is_forgotten() {
    let namespace = Cluster::connect().await.namespace("deleted").await;
    let endpoint = Endpoint::start().await;
    apply_keys(&namespace).await;
    apply(&namespace, "audit", &endpoint.uri()).await;
    let controller = Running::start(&namespace);
    controller.await_metric(VERIFIED, |webhooks| webhooks > 0).await;
    namespace.delete::<Webhook>("audit").await;
    controller.await_metric(VERIFIED, |webhooks| webhooks == 0).await;
    controller.stop().await;
}

#[tokio::test]
async fn one_replica_acts_and_another_takes_over() {
    let namespace = Cluster::connect().await.namespace("leader").await;
    let endpoint = Endpoint::start().await;
    apply_keys(&namespace).await;
    let start = |identity: &str| {
        Running::with(&namespace, namespace.cluster().client(), |config| {
            let election =
                Election::new(namespace.name().to_owned(), "herald".to_owned(), identity.to_owned());
            config.election = Some(Election { retry: Duration::from_millis(100), ..election });
        })
    };
    let leases = namespace.api::<Lease>();
    let first = start("first");
    await_holder(&leases, "first").await;
    let second = start("second");
    apply(&namespace, "audit", &endpoint.uri()).await;
    until_ready(&namespace, "audit", "Verified").await;
    assert_eq!(endpoint.challenges().len(), 1);
    assert_eq!((first.metric(LEADING), second.metric(LEADING)), (1, 0));

    // Given back, not waited out: the Lease lasts 15 s.
    let began = Instant::now();
    first.stop().await;
    await_holder(&leases, "second").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    apply(&namespace, "after", &endpoint.uri()).await;
    until_ready(&namespace, "after", "Verified").await;
    assert_eq!(endpoint.challenges().len(), 2, "the new leader repeats nothing");

    // Taken away by somebody who does not renew it.
    let taken = json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 1}});
    leases.patch("herald", &PatchParams::default(), &Patch::Merge(&taken)).await.unwrap();
    second.await_metric(LEADING, |leading| leading == 0).await;
    assert!(second.is_ready(), "standing by is being ready");
    await_holder(&leases, "second").await;
    second.await_metric(LEADING, |leading| leading == 1).await;
    second.stop().await;
}

async fn await_holder(leases: &Api<Lease>, identity: &str) {
    let held = |lease: Option<&Lease>| {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        spec.is_some_and(|spec| spec.holder_identity.as_deref() == Some(identity))
    };
    let held = timeout(DEADLINE, await_condition(leases.clone(), "herald", held)).await;
    held.unwrap_or_else(|_| panic!("{identity} does not hold the lease")).unwrap();
}
