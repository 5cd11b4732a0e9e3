//! Two who write one Webhook: Git its spec, Herald its status.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::support::{Cluster, Endpoint, Herald};

/// The names by which Argo CD and Flux apply.
const OF_GIT: [&str; 2] = ["argocd-controller", "kustomize-controller"];

/// Who owns what: manager, operation, and the fields at the top, with those of the status marked.
fn owners(webhook: &Webhook) -> BTreeSet<String> {
    let line = |entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object());
        let names: Vec<_> = fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str)).collect();
        let part = entry.subresource.as_deref().unwrap_or("object");
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {} {part} {}", word(&entry.manager), word(&entry.operation), names.join(","))
    };
    webhook.metadata.managed_fields.iter().flatten().map(line).collect()
}

#[tokio::test]
async fn git_and_herald_never_conflict_and_herald_owns_nothing_but_the_status() {
    let namespace = Cluster::connect().await.namespace("managers").await;
    let mut herald = Herald::start(&namespace).await;
    let (endpoint, kubectl) = (Endpoint::start().await, Kubectl::of(&namespace));
    apply_keys(&namespace).await;
    for manager in OF_GIT {
        let git = manifest(manager, &endpoint.uri());
        kubectl.apply_as(manager, &git).await;
        let before = until_delivering(&namespace, manager).await;
        assert_eq!(before.metadata.generation, Some(1), "no one but Git writes a spec");

        kubectl.apply_as(manager, &git).await;
        let after = namespace.webhook(manager).await;
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was written");

        let edited = git.replace("[User created]", "[User created, User deleted]");
        kubectl.apply_as(manager, &edited).await;
        let after = until_delivering(&namespace, manager).await;
        assert_eq!(after.metadata.generation, Some(2));
        kubectl.apply_as(manager, &edited).await;
        let expected = [
            format!("{manager} Apply object f:spec"),
            "herald-controller Apply status f:status".to_owned(),
            "herald-dispatcher Apply status f:status".to_owned(),
        ];
        assert_eq!(owners(&after), expected.into());
    }
    assert_eq!(endpoint.challenges().len(), 2, "no apply asks for a verification");
    herald.stop().await;
}

#[tokio::test]
async fn what_is_changed_by_hand_goes_back_to_what_git_says() {
    let namespace = Cluster::connect().await.namespace("drift").await;
    let kubectl = Kubectl::of(&namespace);
    let git =
        manifest("audit", "https://hooks.example.com/users") + "  enabled: true\n  delivery: {timeout: 5s}\n";
    let by_force = ["--server-side", "--force-conflicts", "--field-manager", OF_GIT[0], "-f", "-"];
    kubectl.apply_as(OF_GIT[0], &git).await;
    let said = namespace.webhook("audit").await.spec;
    let table = [
        (json!({"events": ["User created", "User logged in"]}), ".spec.events"),
        (json!({"events": ["*"]}), ".spec.events"),
        (json!({"enabled": false}), ".spec.enabled"),
        (json!({"delivery": {"timeout": "9s"}}), ".spec.delivery.timeout"),
        (json!({"uri": "https://elsewhere.example.com/"}), ".spec.uri"),
        (json!({"apiKeySecretRef": {"name": "another"}}), ".spec.apiKeySecretRef.name"),
    ];
    for (edit, field) in table {
        namespace.edit("audit", json!({"spec": edit})).await;
        let seen = kubectl.run(&[&["diff"][..], &by_force].concat(), &git).await;
        assert_eq!(seen.status, Some(1), "{edit}: the drift is seen: {seen:#?}");
        let refused =
            kubectl.run(&["apply", "--server-side", "--field-manager", OF_GIT[0], "-f", "-"], &git).await;
        assert!(refused.status == Some(1) && refused.stderr.contains(field), "{edit}: {refused:#?}");
        // As both Flux and Argo CD do.
        kubectl.ok(&[&["apply"][..], &by_force].concat(), &git).await;
        assert_eq!(namespace.webhook("audit").await.spec, said, "{edit}");
    }
}

#[tokio::test]
async fn what_git_does_not_say_is_left_to_whoever_says_it() {
    let namespace = Cluster::connect().await.namespace("unsaid").await;
    let kubectl = Kubectl::of(&namespace);
    let git = manifest("audit", "https://hooks.example.com/users");
    kubectl.apply_as(OF_GIT[0], &git).await;
    let by_hand = json!({
        "metadata": {"annotations": {herald::api::VERIFY_REQUESTED_AT: "now"}},
        "spec": {"enabled": false, "description": "by hand", "delivery": {"maxAttempts": 7}},
    });
    let edited = namespace.edit("audit", by_hand).await;
    kubectl.apply_as(OF_GIT[0], &git).await;
    let after = namespace.webhook("audit").await;
    assert_eq!((&after.spec, after.metadata.annotations), (&edited.spec, edited.metadata.annotations));
}

#[tokio::test]
async fn whoever_applied_on_the_client_goes_over_to_the_server_without_a_conflict() {
    let namespace = Cluster::connect().await.namespace("migrated").await;
    let mut herald = Herald::start(&namespace).await;
    let (endpoint, kubectl) = (Endpoint::start().await, Kubectl::of(&namespace));
    apply_keys(&namespace).await;
    let on_the_client = ["apply", "-f", "-"];
    let git = manifest("audit", &endpoint.uri()) + "  description: Feeds the audit log\n";
    kubectl.ok(&on_the_client, &git).await;
    let said = until_delivering(&namespace, "audit").await.spec;
    let edit = json!({"events": ["*"], "delivery": {"timeout": "9s"}, "description": "by hand"});
    kubectl
        .ok(&["patch", "webhook", "audit", "--type=merge", "-p", &json!({"spec": edit}).to_string()], "")
        .await;
    kubectl.ok(&on_the_client, &git).await;
    let spec = namespace.webhook("audit").await.spec;
    assert_eq!((&spec.events, &spec.description), (&said.events, &said.description));
    assert_eq!(spec.delivery.timeout, "9s", "what the manifest does not name is nobody's to take back");
    assert_eq!(kubectl.ok(&on_the_client, &git).await, "webhook.herald.dev/audit unchanged\n");

    // By another tool, from then on; what Git no longer says goes.
    let generation = namespace.webhook("audit").await.metadata.generation;
    kubectl.apply_as(OF_GIT[0], &git).await;
    assert_eq!(namespace.webhook("audit").await.metadata.generation, generation, "the same as before");
    let changed = manifest("audit", &endpoint.uri()).replace("[User created]", "[User deleted]");
    kubectl.apply_as(OF_GIT[0], &changed).await;
    let webhook = until_delivering(&namespace, "audit").await;
    assert_eq!(
        (webhook.spec.events.as_slice(), &webhook.spec.description),
        (&["User deleted".to_owned()][..], &None)
    );
    let owners: Value = json!(owners(&webhook));
    assert!(!owners.to_string().contains("client-side-apply"), "{owners}");
    herald.stop().await;
}
