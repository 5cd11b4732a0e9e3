//! What the benchmark writes into the API server.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use herald::api::{Webhook, webhook_crd};

/// With what deliveries are signed.
pub const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The audience of the benchmark's token.
pub const AUDIENCE: &str = "herald-bench";

/// A namespace on the API server that `KUBECONFIG` names.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
}

impl Cluster {
    /// Installs the CRD and makes a namespace, its producer, and the producer's token.
    pub async fn start(directory: &Path) -> Self {
        let client = Client::try_default().await.expect("run it by make bench");
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        let apply = PatchParams::apply("bench").force();
        crds.patch("webhooks.herald.dev", &apply, &Patch::Apply(webhook_crd())).await.unwrap();
        let namespace = format!("bench-{}", uuid::Uuid::new_v4());
        let this = Self { client, namespace };
        let namespaces: Api<Namespace> = Api::all(this.client.clone());
        let object = from(json!({ "metadata": { "name": this.namespace } }));
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        this.create::<ServiceAccount>(json!({ "metadata": { "name": "producer" } })).await;
        this.create::<Role>(json!({
            "metadata": { "name": "producer" },
            "rules": [{ "apiGroups": ["herald.dev"], "resources": ["userevents"], "verbs": ["create"] }],
        }))
        .await;
        this.create::<RoleBinding>(json!({
            "metadata": { "name": "producer" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "producer" },
            "subjects": [{ "kind": "ServiceAccount", "name": "producer" }],
        }))
        .await;
        this.secret(true).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(this.client.clone(), &this.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                expiration_seconds: Some(6 * 60 * 60),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer =
            accounts.create_token_request("producer", &PostParams::default(), &request).await.unwrap();
        std::fs::write(directory.join("token"), answer.status.unwrap().token.unwrap()).unwrap();
        this
    }

    /// Makes an object in the namespace.
    pub async fn create<K>(&self, object: Value)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType: Default>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &from(object)).await.unwrap();
    }

    /// Puts the Secret of all webhooks there, or takes it away: then what they have is held.
    pub async fn secret(&self, there: bool) {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        if there {
            self.create::<Secret>(json!({
                "metadata": { "name": "keys", "labels": { "herald.dev/allow-webhooks": "true" } },
                "stringData": {
                    "api-key": "change-me",
                    "signing-secret": SIGNING_SECRET,
                },
            }))
            .await;
        } else {
            api.delete("keys", &DeleteParams::default()).await.unwrap();
        }
    }

    /// Makes so many webhooks for one port, each with so many attempts in flight.
    pub async fn webhooks(&self, prefix: &str, count: usize, in_flight: usize, port: u16) {
        stream::iter(0..count)
            .for_each_concurrent(32, |number| async move {
                self.create::<Webhook>(json!({
                    "apiVersion": "herald.dev/v1alpha1",
                    "kind": "Webhook",
                    "metadata": { "name": format!("{prefix}-{number}") },
                    "spec": {
                        "name": format!("{prefix} {number}"),
                        "uri": format!("https://localhost:{port}/users"),
                        "apiKeySecretRef": { "name": "keys", "key": "api-key" },
                        "signingSecretRef": { "name": "keys", "key": "signing-secret" },
                        "events": ["User created"],
                        "delivery": { "maxInFlight": in_flight },
                    },
                }))
                .await;
            })
            .await;
    }

    /// Takes all webhooks of the namespace away.
    pub async fn clear(&self) {
        self.api().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }

    /// Waits until every webhook has a condition of this type and status.
    pub async fn all_have(&self, condition: &str, status: &str) {
        loop {
            let begun = Instant::now();
            let list = self.api().list(&ListParams::default()).await.unwrap();
            // A list of ten thousand costs the API server much.
            let pause = Duration::from_millis(200).max(4 * begun.elapsed());
            let has = |webhook: &Webhook| {
                let conditions = webhook.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|c| c.type_ == condition && c.status == status)
            };
            if list.items.iter().all(has) {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The webhooks of the namespace.
    pub fn api(&self) -> Api<Webhook> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn from<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}
