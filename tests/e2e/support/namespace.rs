//! A namespace for one test, and what the test does in it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use herald::api::{CONSENT_LABEL, Webhook};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as KubeNamespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::cluster::TEST_MANAGER;
use super::objects::until_there;
use super::{Cluster, DEADLINE};

/// A namespace that no other test uses, deleted when dropped.
pub struct Namespace {
    name: String,
    cluster: Cluster,
}

impl Namespace {
    pub(super) async fn create(cluster: &Cluster, prefix: &str) -> Self {
        let name = format!("{prefix}-{:08x}", rand::random::<u32>());
        let namespace: KubeNamespace = parse(json!({"metadata": {"name": name}}));
        Api::all(cluster.client()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { name, cluster: cluster.clone() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its objects of one kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        Api::namespaced(self.cluster.client(), &self.name)
    }

    /// Applies an object, as a person would with `kubectl apply`.
    pub async fn apply<K>(&self, object: &K) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let params = PatchParams::apply(TEST_MANAGER).force();
        self.api().patch(&object.name_any(), &params, &Patch::Apply(object)).await.unwrap()
    }

    /// Edits a Webhook by a JSON merge patch.
    pub async fn edit(&self, name: &str, merge: Value) -> Webhook {
        self.api().patch(name, &PatchParams::default(), &Patch::Merge(merge)).await.unwrap()
    }

    /// Deletes an object; it is gone when this returns, since nothing here has a finalizer.
    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Applies a Secret that consents to webhooks.
    pub async fn secret(&self, name: &str, entries: &[(&str, &str)]) -> Secret {
        self.apply(&secret(name, entries, true)).await
    }

    /// Takes the label of a Secret away: it does not consent any more.
    pub async fn unlabel_secret(&self, name: &str) {
        let unlabel = Patch::Merge(json!({"metadata": {"labels": null}}));
        self.api::<Secret>().patch(name, &PatchParams::default(), &unlabel).await.unwrap();
    }

    /// Applies a Secret without the label by which it would consent.
    pub async fn unlabelled_secret(&self, name: &str, entries: &[(&str, &str)]) -> Secret {
        self.apply(&secret(name, entries, false)).await
    }

    /// Applies a `ConfigMap` that consents to webhooks.
    pub async fn config_map(&self, name: &str, entries: &[(&str, &str)]) -> ConfigMap {
        let data: BTreeMap<_, _> = entries.iter().copied().collect();
        self.apply(&parse(json!({"metadata": metadata(name, true), "data": data}))).await
    }

    /// The Webhook as it is now.
    pub async fn webhook(&self, name: &str) -> Webhook {
        self.api().get(name).await.unwrap()
    }

    /// Waits until the Webhook is as `wanted` says; at the deadline fails with what it last was.
    pub async fn await_webhook(&self, name: &str, wanted: impl Fn(&Webhook) -> bool) -> Webhook {
        until_there(&self.api(), name, wanted).await
    }

    /// Waits until a condition of the Webhook has this status and this reason,
    /// said of the present generation.
    pub async fn await_condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> Webhook {
        self.await_webhook(name, |webhook| {
            super::webhook::condition(webhook, type_).is_some_and(|condition| {
                condition.status == status
                    && condition.reason == reason
                    && condition.observed_generation == webhook.metadata.generation
            })
        })
        .await
    }
}

impl Drop for Namespace {
    /// From a thread of its own, since what drops it may be a runtime that ends.
    /// Errors count for nothing: the control plane may be gone already.
    fn drop(&mut self) {
        let (config, name) = (self.cluster.config(), self.name.clone());
        let delete = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let api: Api<KubeNamespace> = Api::all(Client::try_from(config)?);
                timeout(DEADLINE, api.delete(&name, &DeleteParams::background())).await??;
                anyhow::Ok(())
            })
        };
        drop(std::thread::spawn(delete).join());
    }
}

fn metadata(name: &str, consents: bool) -> Value {
    if consents { json!({"name": name, "labels": {CONSENT_LABEL: "true"}}) } else { json!({"name": name}) }
}

fn secret(name: &str, entries: &[(&str, &str)], consents: bool) -> Secret {
    let data: BTreeMap<_, _> = entries.iter().copied().collect();
    parse(json!({"metadata": metadata(name, consents), "stringData": data}))
}

fn parse<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}
