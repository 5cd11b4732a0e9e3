//! What the roles for people and producers allow.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::installation::in_force;
use super::rights::{Right, allowed, granted};
use crate::support::Cluster;
use crate::support::chart::{api_of, apply, items, render, text};

const VERBS: [&str; 9] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "escalate"];
const RESOURCES: [(&str, &str); 12] = [
    ("herald.dev", "webhooks"),
    ("herald.dev", "webhooks/status"),
    ("herald.dev", "hostpolicies"),
    ("herald.dev", "replays"),
    ("herald.dev", "replays/status"),
    ("herald.dev", "userevents"),
    ("herald.dev", "userevents/payload"),
    ("herald.dev", "deadletters"),
    ("herald.dev", "webhooks/test"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "events"),
];

/// The roles for users, with these values.
async fn roles(values: &[&str]) -> Vec<Value> {
    let values: Vec<_> = [&["crds.install=false"], values].concat().into_iter().map(str::to_owned).collect();
    let mut roles = render("herald", "herald-system", &values).await;
    roles.retain(|object| {
        text(object, "/kind") == "ClusterRole"
            && !text(object, "/metadata/name").starts_with("herald-system:")
    });
    roles
}

/// The roles that others take in, each with the role that does.
async fn aggregated(values: &[&str]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for role in roles(values).await {
        for (label, _) in role.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
            if let Some(to) = label.strip_prefix("rbac.authorization.k8s.io/aggregate-to-") {
                all.push((text(&role, "/metadata/name").to_owned(), to.to_owned()));
            }
        }
    }
    all
}

#[tokio::test]
async fn each_role_allows_what_it_is_for_and_nothing_else() {
    let namespace = Cluster::connect().await.namespace("users").await;
    let client = namespace.cluster().client();
    let mut expected = Vec::new();
    for resource in ["webhooks", "hostpolicies", "replays"] {
        expected.extend(["get", "list", "watch"].map(|verb| format!("herald-view: {verb} {resource}")));
    }
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    expected.extend(writes.map(|verb| format!("herald-edit: {verb} webhooks")));
    expected.extend(
        [
            "herald-producer: create userevents",
            "herald-operator: create replays",
            "herald-operator: delete replays",
            "herald-operator: get userevents",
            "herald-operator: list userevents",
            "herald-operator: list deadletters",
            "herald-operator: delete deadletters",
            "herald-operator: create webhooks/test",
            "herald-payload-reader: get userevents/payload",
        ]
        .map(str::to_owned),
    );

    let mut found = Vec::new();
    for mut role in roles(&[]).await {
        // Under a name of their own, since a cluster has only one of the chart's.
        let account = text(&role, "/metadata/name").to_owned();
        let name = format!("{}:{account}", namespace.name());
        role["metadata"] = json!({ "name": name });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace.name(), "name": account}],
        });
        let manifests = [role, binding];
        for object in &manifests {
            apply(&client, object).await;
        }
        in_force(namespace.cluster(), &granted(&manifests)).await;
        let user = format!("system:serviceaccount:{}:{account}", namespace.name());
        let asked = RESOURCES.iter().flat_map(|(group, resource)| {
            VERBS.iter().map(|verb| Right {
                user: user.clone(),
                namespace: Some(namespace.name().to_owned()),
                group: (*group).to_owned(),
                resource: (*resource).to_owned(),
                verb: (*verb).to_owned(),
                name: None,
            })
        });
        let allowed = allowed(namespace.cluster(), asked).await;
        found.extend(allowed.iter().map(|right| format!("{account}: {} {}", right.verb, right.resource)));
        for object in &manifests {
            let name = text(object, "/metadata/name");
            api_of(&client, object).delete(name, &DeleteParams::default()).await.unwrap();
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn who_may_view_sees_webhooks_and_who_may_edit_writes_them_only_if_asked_for() {
    let (view, edit) = (("herald-view", "view"), ("herald-edit", "edit"));
    let names = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(role, to)| ((*role).to_owned(), (*to).to_owned())).collect()
    };
    assert_eq!(aggregated(&[]).await, names(&[view]));
    assert_eq!(aggregated(&["rbac.aggregateToView=false"]).await, names(&[]));
    let mut both = aggregated(&["rbac.aggregateToEdit=true"]).await;
    both.sort_by_key(|(_, to)| std::cmp::Reverse(to.clone()));
    assert_eq!(both, names(&[view, edit]));
    // Whoever could write it could have events sent anywhere.
    for role in roles(&["rbac.aggregateToEdit=true"]).await {
        let mut rules = items(&role, "/rules").iter();
        assert!(rules.all(|rule| !rule.to_string().contains("/status")), "{role}");
    }
}
