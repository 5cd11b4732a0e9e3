//! What every object that Herald makes carries: whose it is, and with what it goes.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client, Resource as _};

use super::call::{CallError, call};

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "herald");
const INSTALLATION: &str = "herald.dev/installation";

/// Labels, and the owner.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    labels: BTreeMap<String, String>,
    owner: Option<OwnerReference>,
}

impl Marks {
    /// For the installation in this namespace.
    pub(super) fn new(own_namespace: &str) -> Self {
        let labels = [MANAGED_BY, (INSTALLATION, own_namespace)];
        Self { labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), owner: None }
    }

    /// Owned by a `ClusterRole`, as it is now.
    ///
    /// # Errors
    /// It cannot be read. Whoever goes on without it leaves behind what nobody
    /// removes: it is the first thing that goes when Herald is removed.
    pub(super) async fn owned_by(self, client: &Client, cluster_role: &str) -> Result<Self, CallError> {
        let api = Api::<ClusterRole>::all(client.clone());
        let owner = call(api.get_metadata(cluster_role)).await?;
        let owner = OwnerReference {
            api_version: ClusterRole::api_version(&()).into_owned(),
            kind: ClusterRole::kind(&()).into_owned(),
            name: cluster_role.to_owned(),
            uid: owner.metadata.uid.unwrap_or_default(),
            ..OwnerReference::default()
        };
        Ok(Self { owner: Some(owner), ..self })
    }

    /// Whether an object is of this installation.
    pub(super) fn are_on(&self, metadata: &ObjectMeta) -> bool {
        let labels = metadata.labels.as_ref();
        self.labels.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    }

    /// For a server-side apply.
    pub(super) fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            labels: Some(self.labels.clone()),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// Puts them on an object that is written as a whole; a `ClusterRole` that
    /// was made anew takes the place of the old one.
    pub(super) fn put_on(&self, metadata: &mut ObjectMeta) {
        metadata.labels.get_or_insert_default().extend(self.labels.clone());
        if let Some(owner) = &self.owner {
            let owners = metadata.owner_references.get_or_insert_default();
            owners.retain(|other| other == owner || other.kind != owner.kind || other.name != owner.name);
            if !owners.contains(owner) {
                owners.push(owner.clone());
            }
        }
    }
}
