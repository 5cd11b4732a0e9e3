//! The dispatcher's part of a status, at the API server.
//!
//! Objects are JSON here: what comes back may be what the types cannot read.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::DISPATCHER_MANAGER;
use crate::subscriptions::ObjectName;

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The API server was not reached, or would not.
    #[error(transparent)]
    Failed(#[from] kube::Error),
    /// It did not answer.
    #[error("no answer within {LIMIT:?}")]
    Late,
}

/// What is stored of an object besides its metadata; `None` if there is no such object.
pub(super) async fn stored<K>(client: &Client, object: &ObjectName) -> Result<Option<Value>, StatusError>
where
    K: Resource<DynamicType = ()>,
{
    let api = api(client, object, &ApiResource::erase::<K>(&()));
    let stored = timeout(LIMIT, api.get_opt(&object.name)).await.map_err(|_| StatusError::Late)??;
    Ok(stored.map(|stored| stored.data))
}

/// Makes `status` all that the dispatcher says in an object's status, by server-side apply. An
/// object that is gone is no error, nor is another that has its name: the watch will say so.
pub(crate) async fn apply_status<K>(
    client: &Client,
    object: &ObjectName,
    uid: Option<&str>,
    status: &(impl Serialize + Sync),
) -> Result<(), StatusError>
where
    K: Resource<DynamicType = ()>,
{
    let kind = ApiResource::erase::<K>(&());
    let api = api(client, object, &kind);
    // The UID keeps the status from an object that has taken the name since.
    let patch = Patch::Apply(json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": { "name": object.name, "namespace": object.namespace, "uid": uid },
        "status": status,
    }));
    let params = PatchParams::apply(DISPATCHER_MANAGER).force();
    match timeout(LIMIT, api.patch_status(&object.name, &params, &patch)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(refused))) if refused.is_not_found() || refused.is_conflict() => Ok(()),
        Ok(Err(error)) => Err(StatusError::Failed(error)),
        Err(_) => Err(StatusError::Late),
    }
}

fn api(client: &Client, object: &ObjectName, kind: &ApiResource) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &object.namespace, kind)
}
