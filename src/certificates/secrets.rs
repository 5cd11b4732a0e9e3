//! The Secrets, each written only over the version that was decided on.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};

use super::authorities::Data;
use super::call::{CallError, call};
use super::marks::Marks;
use crate::api::CONTROLLER_MANAGER;

/// One Secret of Herald's own namespace.
#[derive(Clone)]
pub(super) struct Kept {
    api: Api<Secret>,
    name: String,
    kind: &'static str,
}

impl Kept {
    pub(super) fn new(client: &Client, namespace: &str, name: String, kind: &'static str) -> Self {
        Self { api: Api::namespaced(client.clone(), namespace), name, kind }
    }

    pub(super) async fn get(&self) -> Result<Option<Secret>, CallError> {
        call(self.api.get_opt(&self.name)).await
    }

    /// Stores the data and the marks, unless both are there.
    pub(super) async fn store(
        &self,
        over: Option<Secret>,
        data: Data,
        marks: &Marks,
    ) -> Result<Secret, CallError> {
        let mut wanted = over.clone().unwrap_or_else(|| self.empty());
        wanted.data = Some(data);
        wanted.type_ = Some(self.kind.to_owned());
        marks.put_on(&mut wanted.metadata);
        let Some(over) = over else { return self.create(&wanted).await };
        if over == wanted {
            return Ok(over);
        }
        if over.immutable == Some(true) || over.type_ != wanted.type_ {
            // It cannot be changed in place.
            self.delete(&over).await?;
            let mut fresh = self.empty();
            marks.put_on(&mut fresh.metadata);
            return self.create(&Secret { data: wanted.data, ..fresh }).await;
        }
        match call(self.api.replace(&self.name, &parameters(), &wanted)).await {
            // It was deleted.
            Err(error) if error.is_code(404) => Err(CallError::Conflict),
            stored => stored,
        }
    }

    fn empty(&self) -> Secret {
        Secret {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            type_: Some(self.kind.to_owned()),
            ..Secret::default()
        }
    }

    async fn create(&self, secret: &Secret) -> Result<Secret, CallError> {
        call(self.api.create(&parameters(), secret)).await
    }

    async fn delete(&self, secret: &Secret) -> Result<(), CallError> {
        let preconditions = Preconditions {
            resource_version: secret.metadata.resource_version.clone(),
            uid: secret.metadata.uid.clone(),
        };
        call(self.api.delete(&self.name, &DeleteParams::default().preconditions(preconditions))).await?;
        Ok(())
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(CONTROLLER_MANAGER.to_owned()), ..PostParams::default() }
}
