//! The namespaces that the benchmark makes on the API server, and who may do
//! what in them.

use std::path::Path;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use herald::api::crds;

/// With what deliveries are signed.
pub const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The Secret that webhooks use if nothing else is said.
pub const SECRET: &str = "keys";
/// The audience of the benchmark's token.
pub const AUDIENCE: &str = "herald-bench";

/// A namespace on the API server that `KUBECONFIG` names.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
}

impl Cluster {
    /// Installs the CRDs and makes a namespace, its producer, and the producer's token.
    pub async fn start(directory: &Path) -> Self {
        let client = Client::try_default().await.expect("run it by make bench");
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let apply = PatchParams::apply("bench").force();
        for definition in crds() {
            let name = definition.metadata.name.clone().unwrap();
            definitions.patch(&name, &apply, &Patch::Apply(definition)).await.unwrap();
        }
        let namespace = format!("bench-{}", uuid::Uuid::new_v4());
        let this = Self { client, namespace };
        this.make_namespace().await;
        this.create::<ServiceAccount>(json!({ "metadata": { "name": "producer" } })).await;
        this.let_in(&this.namespace).await;
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

    /// A namespace more, for the same producer.
    pub async fn another(&self, name: String) -> Self {
        let another = Self { client: self.client.clone(), namespace: name };
        another.make_namespace().await;
        another.let_in(&self.namespace).await;
        another
    }

    async fn make_namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let object = from(json!({ "metadata": { "name": self.namespace } }));
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        self.secret(true).await;
    }

    /// Lets the producer of that namespace send events here, and read what was given up.
    async fn let_in(&self, producers: &str) {
        self.create::<Role>(json!({
            "metadata": { "name": "producer" },
            "rules": [
                { "apiGroups": ["herald.dev"], "resources": ["userevents"], "verbs": ["create"] },
                { "apiGroups": ["herald.dev"], "resources": ["deadletters"], "verbs": ["list"] },
            ],
        }))
        .await;
        self.create::<RoleBinding>(json!({
            "metadata": { "name": "producer" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "producer" },
            "subjects": [{ "kind": "ServiceAccount", "name": "producer", "namespace": producers }],
        }))
        .await;
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

    /// Puts the Secret of most webhooks there, or takes it away: then what they have is held.
    pub async fn secret(&self, there: bool) {
        self.secret_of(SECRET, there).await;
    }

    /// The same with another Secret.
    pub async fn secret_of(&self, name: &str, there: bool) {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        if there {
            self.create::<Secret>(json!({
                "metadata": { "name": name, "labels": { "herald.dev/allow-webhooks": "true" } },
                "stringData": {
                    "api-key": "change-me",
                    "signing-secret": SIGNING_SECRET,
                },
            }))
            .await;
        } else {
            api.delete(name, &DeleteParams::default()).await.unwrap();
        }
    }
}

/// An object, from how it is written.
pub fn from<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}
