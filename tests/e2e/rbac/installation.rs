//! The chart, installed as far as one can without nodes: its accounts and roles
//! in a cluster, its pods as processes with the tokens of these accounts.

use herald::api::Webhook;
use http::Request;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::config::AuthInfo;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Duration, interval, timeout};

use super::rights::{Granted, Right, allowed, take_away};
use crate::support::between::{Between, Mischief};
use crate::support::certificates::authority_pem;
use crate::support::chart::{api_of, apply, render, text};
use crate::support::objects::label_producer;
use crate::support::pod::Pod;
use crate::support::webhook::WebhookExt as _;
use crate::support::{Cluster, DEADLINE, Namespace, webhook};

/// What an installation serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace: it disturbs all else that is in the cluster.
    Cluster,
    /// One that is named.
    Namespace,
    /// The same, without the bundle that belongs to no namespace.
    NamespaceAlone,
}

/// An installation, and a namespace that it serves.
pub struct Installation {
    pub scope: Scope,
    pub own: Namespace,
    pub served: Namespace,
    /// The release, and what the names of its objects begin with.
    pub name: String,
    pub granted: Vec<Granted>,
    /// The rights that were taken away.
    pub lost: Vec<Right>,
    pub controller: Pod,
    pub dispatcher: Pod,
    /// The controller's, then the dispatcher's.
    pub users: [String; 2],
    tokens: [String; 2],
    manifests: Vec<Value>,
    _between: [Between; 2],
}

/// What the chart makes.
pub async fn manifests(scope: Scope, name: &str, own: &str, served: &str) -> Vec<Value> {
    let mut values = vec![
        "crds.install=false".to_owned(),
        "rbac.userRoles=false".to_owned(),
        format!("fullnameOverride={}", json!(name)),
        format!("outbound.allow={}", json!(["127.0.0.0/8", "localhost"])),
        format!("outbound.extraRoots.configMap={}", json!("roots")),
    ];
    if scope != Scope::Cluster {
        values.push(format!("namespaces={}", json!([served])));
    }
    if scope == Scope::NamespaceAlone {
        values.push("ingest.tls.clusterTrustBundle=false".to_owned());
    }
    render(name, own, &values).await
}

/// Whether it says who may write a status.
fn is_policy(object: &Value) -> bool {
    text(object, "/apiVersion").starts_with("admissionregistration.")
}

/// Whether it is an account, a role or a binding.
fn is_of_rbac(object: &Value) -> bool {
    text(object, "/kind") == "ServiceAccount" || text(object, "/apiVersion").starts_with("rbac.")
}

impl Installation {
    /// With all of its rights but these, by their places among those that are granted.
    pub async fn new(cluster: &Cluster, scope: Scope, without: &[usize]) -> Self {
        let cluster = &cluster.reconnected();
        let name = format!("herald-{:08x}", rand::random::<u32>());
        let (own, served) = (cluster.namespace("herald").await, cluster.namespace("served").await);
        own.config_map("roots", &[("ca.crt", &authority_pem())]).await;
        let mut manifests = manifests(scope, &name, own.name(), served.name()).await;
        let (granted, lost) = take_away(&mut manifests, without);
        for object in manifests.iter().filter(|object| is_of_rbac(object)) {
            apply(&cluster.client(), object).await;
        }
        in_force(cluster, &granted).await;
        label_producer(cluster, served.name(), true).await;

        let overtaken = Between::start(cluster, Mischief::overtakes(&served)).await;
        let garbled = Between::start(cluster, Mischief::Garbles).await;
        let accounts =
            [account(&manifests, "Deployment", &own).await, account(&manifests, "StatefulSet", &own).await];
        let [controller, dispatcher] = &accounts;
        Self {
            controller: Pod::of(controller.workload, &overtaken.url(), &controller.token),
            dispatcher: Pod::of(dispatcher.workload, &garbled.url(), &dispatcher.token),
            users: accounts.each_ref().map(|account| account.user.clone()),
            tokens: accounts.map(|account| account.token),
            _between: [overtaken, garbled],
            scope,
            own,
            served,
            name,
            granted,
            lost,
            manifests,
        }
    }

    /// Lets nobody else write a status where it serves, and waits until that is so. An installation
    /// for a whole cluster does this to all other tests in it.
    pub async fn guard_statuses(&self) {
        let client = self.own.cluster().client();
        for policy in self.manifests.iter().filter(|object| is_policy(object)) {
            apply(&client, policy).await;
        }
        until_statuses_are_guarded(&self.served).await;
    }

    /// A request of each account, to `/version?last`, to be looked for in the audit log.
    pub async fn ask_the_last(&self) {
        for token in &self.tokens {
            let mut config = self.own.cluster().config();
            config.auth_info = AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() };
            let client = Client::try_from(config).unwrap();
            client.request_text(Request::get("/version?last").body(Vec::new()).unwrap()).await.unwrap();
        }
    }

    /// The name that both the CA's Secret and its `ConfigMap`s have.
    pub fn ca_name(&self) -> String {
        format!("{}-ca", self.name)
    }

    pub fn tls_name(&self) -> String {
        format!("{}-tls", self.name)
    }

    pub fn lease_name(&self) -> String {
        format!("{}-controller", self.name)
    }

    /// Takes away what does not go with the namespaces. What is in them stays, where nobody
    /// is that removes it, and another installation in the same cluster would care for it.
    pub async fn remove(self) {
        let client = self.own.cluster().client();
        drop((self.controller, self.dispatcher));
        let (params, all) = (DeleteParams::default(), ListParams::default());
        self.served.api::<Webhook>().delete_collection(&params, &all).await.unwrap();
        for object in self.manifests.iter().filter(|object| is_of_rbac(object) || is_policy(object)) {
            if matches!(text(object, "/metadata/namespace"), "" | "default") {
                let deleted = api_of(&client, object).delete(text(object, "/metadata/name"), &params).await;
                assert!(deleted.is_ok() || is_policy(object), "{object}: {deleted:?}");
            }
        }
        let ours = all.labels(&format!("herald.dev/installation={}", self.own.name()));
        drop(Api::<ClusterTrustBundle>::all(client).delete_collection(&params, &ours).await);
    }
}

/// Waits until the API server keeps even an administrator from writing a status here: it hears of
/// policies a little later.
pub async fn until_statuses_are_guarded(namespace: &Namespace) {
    let name = "guarded";
    namespace.apply(&webhook(name, "https://guarded.example.com/").disabled()).await;
    let status = json!({"status": {"observedGeneration": 0}});
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let refused = async {
        let mut tries = interval(Duration::from_millis(50));
        while namespace.api::<Webhook>().patch_status(name, &params, &Patch::Merge(&status)).await.is_ok() {
            tries.tick().await;
        }
    };
    assert!(timeout(DEADLINE, refused).await.is_ok(), "statuses are not guarded after {DEADLINE:?}");
    namespace.delete::<Webhook>(name).await;
}

/// Waits until rights count: the API server hears of roles and bindings a little later.
pub async fn in_force(cluster: &Cluster, granted: &[Granted]) {
    let all = async {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            if allowed(cluster, granted.iter().map(|it| it.right.clone())).await.len() == granted.len() {
                return;
            }
        }
    };
    assert!(timeout(DEADLINE, all).await.is_ok(), "not all of the roles are in force after {DEADLINE:?}");
}

/// A pod's manifest, and who it is.
struct Account<'m> {
    workload: &'m Value,
    user: String,
    token: String,
}

async fn account<'m>(manifests: &'m [Value], kind: &str, own: &Namespace) -> Account<'m> {
    let workload = manifests.iter().find(|object| text(object, "/kind") == kind).unwrap();
    let name = text(workload, "/spec/template/spec/serviceAccountName");
    let user = format!("system:serviceaccount:{}:{name}", own.name());
    let token = own.token_for_the_cluster(name).await;
    Account { workload, user, token }
}
