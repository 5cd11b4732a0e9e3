//! Where the bundle is to be: Herald's own namespace, and those of the producers.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client};

use super::Config;
use super::bundle::Slot;
use super::call::{CallError, call};
use crate::subscriptions::{Namespaces, Scope};

/// The label by which a namespace says that events come from it.
pub(super) const PRODUCER_LABEL: &str = "herald.dev/producer";
pub(super) const PRODUCER_SELECTOR: &str = "herald.dev/producer=true";

/// The places, and how to look at them.
#[derive(Clone)]
pub(super) struct Places {
    client: Client,
    own_namespace: String,
    namespaces: Namespaces,
    /// Of the `ConfigMap`.
    name: String,
}

impl Places {
    pub(super) fn new(client: Client, config: &Config) -> Self {
        Self {
            client,
            own_namespace: config.own_namespace.clone(),
            namespaces: config.namespaces.clone(),
            name: config.ca_name(),
        }
    }

    /// The lists and watches that cover them.
    pub(super) fn scopes(&self) -> Vec<Scope> {
        let mut scopes = self.namespaces.scopes();
        if !self.namespaces.contains(&self.own_namespace) {
            scopes.push(Scope::Namespace(self.own_namespace.clone()));
        }
        scopes
    }

    /// What is there, and what should be. A namespace that cannot be looked at
    /// is left as it is, and does not keep the others from being served.
    pub(super) async fn look(&self) -> (Vec<Slot>, Vec<CallError>) {
        let resource = ApiResource::erase::<ConfigMap>(&());
        let (mut slots, mut errors) = (Vec::new(), Vec::new());
        for scope in self.scopes() {
            match self.look_at(&scope, &resource).await {
                Ok(found) => slots.extend(found),
                Err(error) => errors.push(error),
            }
        }
        (slots, errors)
    }

    async fn look_at(&self, scope: &Scope, resource: &ApiResource) -> Result<Vec<Slot>, CallError> {
        let wanted = self.wanted(scope).await?;
        let api = match scope {
            Scope::Cluster => Api::<DynamicObject>::all_with(self.client.clone(), resource),
            Scope::Namespace(name) => Api::namespaced_with(self.client.clone(), name, resource),
        };
        let by_name = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let list = call(api.list(&by_name)).await?;
        let mut found: BTreeMap<String, DynamicObject> = list
            .into_iter()
            .map(|object| (object.metadata.namespace.clone().unwrap_or_default(), object))
            .collect();
        let all: BTreeSet<String> = found.keys().cloned().chain(wanted.iter().cloned()).collect();
        let slots = all.into_iter().map(|namespace| Slot {
            api: Api::namespaced_with(self.client.clone(), &namespace, resource),
            resource: resource.clone(),
            name: self.name.clone(),
            wanted: wanted.contains(&namespace),
            found: found.remove(&namespace),
            namespace: Some(namespace),
        });
        Ok(slots.collect())
    }

    /// The namespaces of a scope that are to have the bundle.
    async fn wanted(&self, scope: &Scope) -> Result<BTreeSet<String>, CallError> {
        let api = Api::<Namespace>::all(self.client.clone());
        let found = match scope {
            Scope::Cluster => {
                call(api.list_metadata(&ListParams::default().labels(PRODUCER_SELECTOR))).await?.items
            }
            // It needs no label, and so no look.
            Scope::Namespace(name) if *name == self.own_namespace => Vec::new(),
            Scope::Namespace(name) => call(api.get_metadata_opt(name)).await?.into_iter().collect(),
        };
        let mut wanted: BTreeSet<_> = found
            .iter()
            .filter(|found| is_producer(&found.metadata))
            .filter_map(|found| found.metadata.name.clone())
            .collect();
        match scope {
            Scope::Namespace(name) if *name != self.own_namespace => {}
            Scope::Cluster | Scope::Namespace(_) => drop(wanted.insert(self.own_namespace.clone())),
        }
        Ok(wanted)
    }
}

/// Nothing can be made any more in a namespace that is on its way out.
fn is_producer(namespace: &ObjectMeta) -> bool {
    let label = namespace.labels.as_ref().and_then(|labels| labels.get(PRODUCER_LABEL));
    label.is_some_and(|value| value == "true") && namespace.deletion_timestamp.is_none()
}
