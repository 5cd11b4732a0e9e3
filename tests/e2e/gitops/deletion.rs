//! Nothing of Herald's stands in the way of a deletion.
//!
//! That whole namespaces and the definitions themselves go while Webhooks are in
//! them is shown with real pods, in tests/pods: this control plane has nobody
//! who empties a namespace.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DynamicObject, ListParams};
use kube::discovery::ApiResource;
use kube::{Api, Resource as _};

use super::*;
use crate::support::{Cluster, Endpoint, Herald};

#[tokio::test]
async fn no_object_has_a_finalizer_or_an_owner_and_a_deletion_is_done_at_once() {
    let namespace = Cluster::connect().await.namespace("deletion").await;
    let mut herald = Herald::start(&namespace).await;
    let (endpoint, kubectl) = (Endpoint::start().await, Kubectl::of(&namespace));
    apply_keys(&namespace).await;
    for name in ["one", "another", "disabled"] {
        let git = manifest(name, &endpoint.uri());
        kubectl.apply_as("kustomize-controller", &git).await;
        until_delivering(&namespace, name).await;
    }
    namespace.edit("disabled", serde_json::json!({"spec": {"enabled": false}})).await;
    namespace.await_condition("disabled", "Delivering", "False", "Disabled").await;
    for kind in [
        ApiResource::erase::<Webhook>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<ConfigMap>(&()),
    ] {
        let api: Api<DynamicObject> =
            Api::namespaced_with(namespace.cluster().client(), namespace.name(), &kind);
        for object in api.list(&ListParams::default()).await.unwrap() {
            let meta = object.meta();
            assert_eq!((&meta.finalizers, &meta.owner_references), (&None, &None), "{:?}", meta.name);
        }
    }
    kubectl.ok(&["delete", "webhook", "one", "--timeout=10s"], "").await;
    // As the namespace's own controller empties it.
    kubectl.ok(&["delete", "webhooks", "--all", "--timeout=10s"], "").await;
    assert_eq!(kubectl.ok(&["get", "herald", "-o", "name"], "").await, "", "Herald makes none of them again");
    herald.stop().await;
    assert_eq!(kubectl.ok(&["get", "herald", "-o", "name"], "").await, "");
}

#[tokio::test]
async fn deleting_all_leaves_webhooks_alone() {
    let namespace = Cluster::connect().await.namespace("all").await;
    let kubectl = Kubectl::of(&namespace);
    kubectl.ok(&["apply", "-f", "-"], &manifest("audit", "https://hooks.example.com/users")).await;
    kubectl.ok(&["delete", "all", "--all"], "").await;
    assert_eq!(kubectl.ok(&["get", "all", "-o", "name"], "").await, "");
    assert_eq!(kubectl.ok(&["get", "herald", "-o", "name"], "").await, "webhook.herald.dev/audit\n");
}
