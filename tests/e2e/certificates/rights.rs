//! The rights that suffice, and no more.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::installation::{Installation, settle};
use super::objects::{bundles, label_producer, until, until_there};
use crate::support::Namespace;

/// In Herald's own namespace.
fn secrets(installation: &Installation) -> Vec<Value> {
    let names = [installation.ca_name(), installation.tls_name()];
    vec![
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": names,
               "verbs": ["get", "list", "watch", "update", "delete"]}),
    ]
}

/// Wherever a bundle may be.
fn published(installation: &Installation) -> Value {
    json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [installation.ca_name()],
           "verbs": ["list", "watch", "create", "patch", "delete"]})
}

/// Who has nothing but what the roles say.
fn as_account(installation: &Installation) -> Client {
    let mut config = installation.cluster.config();
    let account = format!("system:serviceaccount:{}:herald", installation.own.name());
    config.auth_info.impersonate = Some(account);
    Client::try_from(config).unwrap()
}

async fn grant(installation: &Installation, namespace: &Namespace, rules: Vec<Value>) {
    let role = json!({"metadata": {"name": "herald"}, "rules": rules});
    let binding = json!({
        "metadata": {"name": "herald"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "herald"},
        "subjects": [{"kind": "ServiceAccount", "namespace": installation.own.name(), "name": "herald"}],
    });
    namespace.apply::<Role>(&serde_json::from_value(role).unwrap()).await;
    namespace.apply::<RoleBinding>(&serde_json::from_value(binding).unwrap()).await;
}

/// Grants in the whole cluster, until it is dropped.
struct Cluster(Client, String);

impl Cluster {
    async fn grant(installation: &Installation, rules: Vec<Value>) -> Self {
        let client = installation.cluster.client();
        let name = installation.config.name.clone();
        let role: ClusterRole =
            serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": installation.own.name(), "name": "herald"}],
        }))
        .unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &role).await.unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &binding).await.unwrap();
        Self(client, name)
    }

    async fn revoke(self) {
        let Self(client, name) = self;
        Api::<ClusterRoleBinding>::all(client.clone()).delete(&name, &DeleteParams::default()).await.unwrap();
        Api::<ClusterRole>::all(client).delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

/// Everything is made, is made again, and is removed.
async fn suffice(installation: &Installation) {
    let mut keeper = installation.keeper_as(as_account(installation));
    settle(&mut keeper).await;
    let copies = bundles(&installation.producer);
    until_there(&copies, &installation.ca_name(), |_| true).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(keeper.clone().run(stop.clone()));
    copies.delete(&installation.ca_name(), &DeleteParams::default()).await.unwrap();
    until_there(&copies, &installation.ca_name(), |_| true).await;
    let tls = installation.tls(|_| true).await;
    installation.own.delete::<Secret>(&installation.tls_name()).await;
    installation.tls(|new| new.metadata.uid != tls.metadata.uid).await;
    stop.cancel();
    running.await.unwrap();
    label_producer(&installation.cluster, installation.producer.name(), false).await;
    settle(&mut keeper).await;
    until(&copies, &installation.ca_name(), |there| there.is_none()).await;
}

#[tokio::test]
async fn for_named_namespaces_roles_in_them_suffice() {
    let mut installation = Installation::of_one_namespace().await;
    installation.config.owner = Some(installation.config.name.clone());
    let name = installation.config.name.clone();
    let owner = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
                       "resourceNames": [name], "verbs": ["get"]});
    let cluster = Cluster::grant(&installation, vec![owner]).await;
    let mut own = secrets(&installation);
    own.push(published(&installation));
    grant(&installation, &installation.own, own).await;
    let namespace = json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"],
                           "resourceNames": [installation.producer.name()]});
    grant(&installation, &installation.producer, vec![published(&installation), namespace]).await;
    suffice(&installation).await;
    cluster.revoke().await;
}

#[tokio::test]
async fn for_a_cluster_no_secret_but_ones_own_can_be_read() {
    let mut installation = Installation::of_the_cluster().await;
    installation.config.owner = Some(installation.config.name.clone());
    let (name, own) = (installation.config.name.clone(), installation.own.name());
    let rules = vec![
        published(&installation),
        json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}),
        json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
               "resourceNames": [name], "verbs": ["get"]}),
        json!({"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"],
               "resourceNames": [format!("herald.dev:ingestion:{own}.{name}")],
               "verbs": ["get", "create", "patch"]}),
        json!({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
               "resourceNames": ["herald.dev/ingestion"], "verbs": ["attest"]}),
    ];
    let cluster = Cluster::grant(&installation, rules).await;
    grant(&installation, &installation.own, secrets(&installation)).await;
    suffice(&installation).await;
    cluster.revoke().await;
}
