//! The `ClusterTrustBundle`, where the API server has such a kind.

use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::bundle::Slot;
use super::call::{CallError, call};

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "clustertrustbundles";
/// The signer that the bundle is of.
pub(super) const SIGNER: &str = "herald.dev/ingestion";

/// What is there; `None` where there is no such kind.
pub(super) async fn look(
    client: &Client,
    own_namespace: &str,
    name: &str,
) -> Result<Option<Slot>, CallError> {
    for version in ["v1", "v1beta1"] {
        let api_version = format!("{GROUP}/{version}");
        let resources = match call(client.list_api_group_resources(&api_version)).await {
            Ok(resources) => resources.resources,
            Err(error) if error.is_code(404) => continue,
            Err(error) => return Err(error),
        };
        if resources.iter().any(|resource| resource.name == PLURAL) {
            let resource = ApiResource {
                group: GROUP.to_owned(),
                version: version.to_owned(),
                api_version,
                kind: "ClusterTrustBundle".to_owned(),
                plural: PLURAL.to_owned(),
            };
            // A signer's bundles begin with its name, which has no slash here.
            let name = format!("{}:{own_namespace}.{name}", SIGNER.replace('/', ":"));
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let found = call(api.get_opt(&name)).await?;
            return Ok(Some(Slot { api, resource, namespace: None, name, wanted: true, found }));
        }
    }
    Ok(None)
}

/// What it holds.
pub(super) fn content(bundle: &str) -> Value {
    json!({ "spec": { "signerName": SIGNER, "trustBundle": bundle } })
}
