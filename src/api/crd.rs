//! The custom resource definitions, as the API server shall hold them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

use super::Webhook;

/// Every custom resource definition of this version of Herald.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![webhook_crd()]
}

/// The definition of `kind: Webhook`. Install this one: the derived
/// `Webhook::crd()` lacks what no attribute can say.
pub fn webhook_crd() -> CustomResourceDefinition {
    let mut crd = Webhook::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            polish(schema);
        }
    }
    crd
}

/// An optional field that is written as null is one that is left out, so that
/// a template's empty value means what its author meant. And numbers lose the
/// formats that the API server does not know; bounds say more.
fn polish(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.format = schema.format.take().filter(|format| !format.starts_with("uint"));
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        polish(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => polish(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(polish),
        None => {}
    }
}
