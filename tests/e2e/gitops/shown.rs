//! What a person sees of a Webhook by kubectl.

use futures::TryStreamExt as _;
use k8s_openapi::api::events::v1::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::time::timeout;

use super::*;
use crate::support::{Behaviour, Cluster, DEADLINE, Endpoint, Herald};

/// The columns of a table, by its first line; two spaces or more part them.
fn columns(table: &str) -> Vec<&str> {
    let first = table.lines().next().unwrap_or_default();
    first.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

#[tokio::test]
async fn kubectl_waits_for_a_webhook_and_lists_it() {
    let namespace = Cluster::connect().await.namespace("listed").await;
    let mut herald = Herald::start(&namespace).await;
    let (endpoint, kubectl) = (Endpoint::start().await, Kubectl::of(&namespace));
    apply_keys(&namespace).await;
    let git = manifest("audit", &endpoint.uri()) + "  description: Feeds the audit log\n";
    kubectl.ok(&["apply", "-f", "-"], &git).await;
    for condition in ["Ready", "Verified", "Delivering"] {
        kubectl
            .ok(&["wait", "webhook/audit", &format!("--for=condition={condition}"), "--timeout=15s"], "")
            .await;
    }
    let policy = "{apiVersion: herald.dev/v1alpha1, kind: HostPolicy, metadata: {name: hosts}, spec: {allowedHosts: ['*']}}";
    kubectl.ok(&["apply", "-f", "-"], policy).await;

    let usual = ["NAME", "DISPLAY NAME", "STATUS", "DELIVERING", "DESCRIPTION", "AGE"];
    for kind in ["wh", "webhook", "webhooks", "webhooks.herald.dev"] {
        let table = kubectl.ok(&["get", kind], "").await;
        assert_eq!(columns(&table), usual, "{kind}");
        let row = table.lines().nth(1).unwrap();
        let cells = ["audit ", " Audit trail ", " Verified ", " Delivering ", " Feeds the audit log "];
        assert!(cells.into_iter().all(|cell| row.contains(cell)), "{row}");
    }
    let wide = kubectl.ok(&["get", "webhook", "-o", "wide"], "").await;
    let all =
        ["NAME", "DISPLAY NAME", "STATUS", "DELIVERING", "DESCRIPTION", "URI", "PENDING", "DEAD", "AGE"];
    assert_eq!(columns(&wide), all);
    assert!(wide.contains(&endpoint.uri()) && wide.contains("  0  "), "{wide}");
    let everywhere = kubectl.ok(&["get", "webhook", "--all-namespaces"], "").await;
    assert_eq!(columns(&everywhere), [&["NAMESPACE"][..], &usual].concat());
    assert!(
        everywhere.lines().any(|line| line.starts_with(&format!("{} ", namespace.name()))),
        "{everywhere}"
    );

    let category = kubectl.ok(&["get", "herald", "-o", "name"], "").await;
    assert_eq!(category, "hostpolicy.herald.dev/hosts\nwebhook.herald.dev/audit\n");
    assert_eq!(
        kubectl.ok(&["get", "all", "-o", "name"], "").await,
        "",
        "`kubectl delete all --all` takes none away"
    );
    herald.stop().await;
}

#[tokio::test]
async fn kubectl_describes_ready_first_and_ends_with_the_events() {
    let namespace = Cluster::connect().await.namespace("described").await;
    let mut herald = Herald::start(&namespace).await;
    let (endpoint, kubectl) = (Endpoint::start().await, Kubectl::of(&namespace));
    endpoint.on_next_challenges([Behaviour::status(503)]);
    apply_keys(&namespace).await;
    kubectl.ok(&["apply", "-f", "-"], &manifest("audit", &endpoint.uri())).await;
    until_delivering(&namespace, "audit").await;
    await_event(&namespace, "Verified").await;
    let described = kubectl.ok(&["describe", "webhook", "audit"], "").await;
    let (object, events) = described.split_once("\nEvents:\n").unwrap();
    let conditions: Vec<_> =
        object.lines().filter_map(|line| line.trim().strip_prefix("Type: ")).map(str::trim).collect();
    assert_eq!(conditions, ["Ready", "Verified", "Delivering"]);
    for event in ["Warning  VerificationFailed", "Normal   Verified"] {
        let line =
            events.lines().find(|line| line.contains(event)).unwrap_or_else(|| panic!("{event}: {events}"));
        assert!(line.contains("herald-controller"), "{line}");
    }
    herald.stop().await;
}

/// Whichever part of Herald has seen a Webhook first.
#[tokio::test]
async fn ready_and_verified_lead_the_conditions_in_every_state() {
    let namespace = Cluster::connect().await.namespace("order").await;
    let mut herald = Herald::start(&namespace).await;
    let endpoint = Endpoint::start().await;
    endpoint.on_challenge(Behaviour::status(503));
    let order = |webhook: &Webhook| -> Vec<String> {
        let conditions = webhook.status.iter().flat_map(|status| &status.conditions);
        conditions.map(|condition| condition.type_.clone()).collect()
    };
    let kubectl = Kubectl::of(&namespace);
    for n in 0..8 {
        let name = format!("without-keys-{n}");
        kubectl.ok(&["apply", "-f", "-"], &manifest(&name, &endpoint.uri())).await;
        let stalled = namespace.await_condition(&name, "Stalled", "True", "SecretMissing").await;
        assert_eq!(order(&stalled)[..2], ["Ready", "Verified"]);
        namespace.await_condition(&name, "Delivering", "False", "NotVerified").await;
    }
    apply_keys(&namespace).await;
    for n in 0..8 {
        let tried = namespace
            .await_condition(&format!("without-keys-{n}"), "Reconciling", "True", "UnexpectedStatus")
            .await;
        assert_eq!(order(&tried)[..2], ["Ready", "Verified"]);
        assert_eq!(order(&tried).len(), 4, "{:?}", order(&tried));
    }
    herald.stop().await;
}

async fn await_event(namespace: &Namespace, reason: &str) {
    let config = watcher::Config::default().fields(&format!("reason={reason}"));
    let mut events = std::pin::pin!(watcher(namespace.api::<Event>(), config).applied_objects());
    let first = timeout(DEADLINE, events.try_next()).await;
    assert!(first.is_ok(), "no Event with the reason {reason}");
}
