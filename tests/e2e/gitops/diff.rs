//! `kubectl diff` sees nothing where Git says what is so, whatever was defaulted or left out.

use super::*;
use crate::support::webhook::condition;
use crate::support::{Cluster, Herald};

/// On the client, and on the server by Git's own manager.
const HOW: [&[&str]; 2] = [&[], &["--server-side", "--field-manager=argocd-controller"]];

async fn assert_same(kubectl: &Kubectl, how: &[&str], what: &[&str], git: &str) {
    let seen = kubectl.run(&[&["diff"][..], how, what].concat(), git).await;
    assert_eq!((seen.status, seen.stdout.as_str()), (Some(0), ""), "{how:?} {what:?} {git}: {}", seen.stderr);
}

#[tokio::test]
async fn the_examples_do_not_differ_while_herald_writes_their_status() {
    let cluster = Cluster::connect().await;
    for how in HOW {
        let namespace = cluster.namespace("diff").await;
        let kubectl = Kubectl::of(&namespace);
        let files = ["-f", "examples/webhook.yaml", "-f", "examples/webhook-full.yaml"];
        assert_eq!(
            kubectl.run(&[&["diff"][..], how, &files].concat(), "").await.status,
            Some(1),
            "not there yet"
        );
        kubectl.ok(&[&["apply"][..], how, &files].concat(), "").await;
        let mut herald = Herald::start(&namespace).await;
        for name in ["audit-trail", "crm-sync"] {
            // Neither endpoint can be reached; both parts of Herald say so.
            let by_both = |webhook: &Webhook| {
                condition(webhook, "Ready").is_some() && condition(webhook, "Delivering").is_some()
            };
            namespace.await_webhook(name, by_both).await;
        }
        assert_same(&kubectl, how, &files, "").await;
        herald.stop().await;
        // Now that nobody writes it, nothing at all is written by another apply.
        let before = stored(&namespace).await;
        kubectl.ok(&[&["apply"][..], how, &files].concat(), "").await;
        assert_eq!(stored(&namespace).await, before, "{how:?}");
    }
}

#[tokio::test]
async fn what_the_schema_fills_in_or_drops_is_no_difference() {
    let namespace = Cluster::connect().await.namespace("defaults").await;
    let kubectl = Kubectl::of(&namespace);
    let table = [
        ("least", ""),
        (
            "defaults",
            "  enabled: true\n  payload: Standard\n  delivery: {timeout: 3s, maxAttempts: 3, backoff: {initial: 1s, max: 5m}, maxInFlight: 16, ordering: None}\n",
        ),
        ("empty", "  delivery: {}\n"),
        ("half-empty", "  delivery: {backoff: {}}\n"),
        ("some", "  delivery: {maxAttempts: 5, backoff: {max: 1h}}\n"),
        ("disabled", "  enabled: false\n"),
        ("other-words", "  delivery: {timeout: 3000ms, backoff: {initial: 0.5s, max: 90m}}\n"),
        ("null", "  enabled: null\n  delivery: {timeout: null}\n"),
    ];
    for how in HOW {
        for (name, more) in table {
            let kind = if how.is_empty() { "client" } else { "server" };
            let git = manifest(&format!("{name}-{kind}"), "https://hooks.example.com/users") + more;
            kubectl.ok(&[&["apply"][..], how, &["-f", "-"]].concat(), &git).await;
            assert_same(&kubectl, how, &["-f", "-"], &git).await;
            let before = stored(&namespace).await;
            kubectl.ok(&[&["apply"][..], how, &["-f", "-"]].concat(), &git).await;
            assert_eq!(stored(&namespace).await, before, "{git}");
        }
    }
}

/// What a template leaves empty, of a field without a default.
#[tokio::test]
async fn null_is_left_out_by_an_apply_on_the_client_and_refused_on_the_server() {
    let namespace = Cluster::connect().await.namespace("null").await;
    let kubectl = Kubectl::of(&namespace);
    let git = manifest("audit", "https://hooks.example.com/users") + "  description: null\n  tls: null\n";
    let refused = kubectl.run(&["apply", "--server-side", "-f", "-"], &git).await;
    assert_eq!(refused.status, Some(1));
    for field in ["spec.description", "spec.tls"] {
        assert!(refused.stderr.contains(&format!("{field} in body must be of type")), "{refused:#?}");
    }
    kubectl.ok(&["apply", "-f", "-"], &git).await;
    assert_same(&kubectl, &[], &["-f", "-"], &git).await;
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &git).await, "webhook.herald.dev/audit unchanged\n");
}

/// Every Webhook as it is stored, but for the number of the write: what was never
/// written since it was created is written once more by the API server itself,
/// with the default of its status.
async fn stored(namespace: &Namespace) -> Vec<Webhook> {
    let mut webhooks =
        namespace.api::<Webhook>().list(&kube::api::ListParams::default()).await.unwrap().items;
    for webhook in &mut webhooks {
        webhook.metadata.resource_version = None;
    }
    webhooks
}
