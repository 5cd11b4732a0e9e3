//! The custom resource definitions, as the API server shall hold them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

use super::{HostPolicy, Replay, Webhook};

/// Every custom resource definition of this version of Herald.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![webhook_crd(), polished(HostPolicy::crd()), polished(Replay::crd())]
}

/// The definition of `kind: Webhook`. Install this one: the derived
/// `Webhook::crd()` lacks what no attribute can say.
pub fn webhook_crd() -> CustomResourceDefinition {
    polished(Webhook::crd())
}

fn polished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(schema: &JSONSchemaProps, path: &str, see: &mut impl FnMut(&str, &JSONSchemaProps)) {
        see(path, schema);
        for (name, property) in schema.properties.iter().flatten() {
            walk(property, &format!("{path}.{name}"), see);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            walk(items, &format!("{path}[]"), see);
        }
    }

    fn schema() -> JSONSchemaProps {
        let version = webhook_crd().spec.versions.remove(0);
        version.schema.and_then(|schema| schema.open_api_v3_schema).unwrap()
    }

    #[test]
    fn every_field_is_described_and_every_rule_has_a_message_of_one_line() {
        walk(&schema(), "", &mut |path, schema| {
            assert!(path.ends_with("[]") || schema.description.is_some(), "{path}");
            for rule in schema.x_kubernetes_validations.iter().flatten() {
                let message = rule.message.as_deref().unwrap_or_default();
                assert!(!message.is_empty() && !message.contains('\n'), "{path}: {message:?}");
                assert!(message.len() <= 2048, "{path}");
            }
        });
    }

    /// Rules on strings and lists without bounds would exceed the API server's budget.
    #[test]
    fn whatever_a_rule_reads_is_bounded() {
        let schema = schema();
        let spec = schema.properties.as_ref().and_then(|all| all.get("spec")).unwrap();
        walk(spec, "spec", &mut |path, schema| match schema.type_.as_deref() {
            Some("string") => assert!(schema.max_length.is_some() || schema.enum_.is_some(), "{path}"),
            Some("array") => assert!(schema.max_items.is_some(), "{path}"),
            _ => {}
        });
    }
}
