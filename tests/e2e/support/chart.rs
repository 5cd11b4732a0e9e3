//! The chart as `helm template` renders it, and its objects in a cluster.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use tokio::process::Command;

use super::Cluster;
use super::cluster::TEST_MANAGER;

/// The objects of a release, by values as `--set-json` takes them.
pub async fn render(release: &str, namespace: &str, values: &[String]) -> Vec<Value> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/herald");
    let mut helm = Command::new("helm");
    helm.args(["template", release, chart, "--namespace", namespace, "--no-hooks"]);
    for value in values {
        helm.args(["--set-json", value]);
    }
    let output = helm.output().await;
    let output = output.unwrap_or_else(|e| {
        panic!("no helm: run `make test`, or all of it under `tools/chart-tools run`: {e}")
    });
    assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = serde_saphyr::from_multiple::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// A string in an object; empty if there is none.
pub fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list in an object; none if there is no list.
pub fn items<'o>(object: &'o Value, pointer: &str) -> &'o [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The strings of a list in an object.
pub fn texts(object: &Value, pointer: &str) -> Vec<String> {
    items(object, pointer).iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// Where objects like this one are.
pub fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let (group, version) =
        text(object, "/apiVersion").split_once('/').unwrap_or(("", text(object, "/apiVersion")));
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text(object, "/kind")));
    match text(object, "/metadata/namespace") {
        "" => Api::all_with(client.clone(), &kind),
        namespace => Api::namespaced_with(client.clone(), namespace, &kind),
    }
}

/// Applies an object of any kind.
pub async fn apply(client: &Client, object: &Value) {
    let name = text(object, "/metadata/name");
    let applied = api_of(client, object)
        .patch(name, &PatchParams::apply(TEST_MANAGER).force(), &Patch::Apply(object))
        .await;
    applied.unwrap_or_else(|e| panic!("{name}: {e}"));
}

/// Whether the API server lets a ServiceAccount do something, by its own rights or by those of all.
pub async fn may(cluster: &Cluster, user: &str, what: ResourceAttributes) -> bool {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    let of_namespace = format!("system:serviceaccounts:{namespace}");
    let groups = ["system:authenticated", "system:serviceaccounts", &of_namespace].map(str::to_owned);
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups.to_vec()),
            resource_attributes: Some(what),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(cluster.client()).create(&PostParams::default(), &review).await.unwrap();
    answer.status.is_some_and(|status| status.allowed)
}
