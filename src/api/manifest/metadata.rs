//! What the API server asks of `metadata`, which no definition's schema tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::structural::Finding;

/// Every field that metadata may have.
const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

const NAME_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character";

/// Gathers what is wrong with an object's metadata, and fields that it does not have.
pub(super) fn check(object: &Map<String, Value>, findings: &mut Vec<Finding>, unknown: &mut Vec<String>) {
    let empty = Value::Object(Map::new());
    let metadata = object.get("metadata").unwrap_or(&empty);
    let mut find = |path: &str, message: &str, blocking| {
        findings.push(Finding { path: path.to_owned(), message: message.to_owned(), blocking });
    };
    let fields = metadata.as_object().into_iter().flat_map(Map::keys);
    unknown.extend(
        fields.filter(|field| !FIELDS.contains(&field.as_str())).map(|field| format!("metadata.{field}")),
    );
    let read = match serde_json::from_value::<ObjectMeta>(metadata.clone()) {
        Ok(read) => read,
        Err(error) => return find("metadata", &error.to_string(), true),
    };
    match read.name.as_deref() {
        None | Some("") if read.generate_name.is_none() => {
            find("metadata.name", "Required value: name or generateName is required", true);
        }
        Some(name) if !is_subdomain(name) => find("metadata.name", NAME_MESSAGE, false),
        Some(_) | None => {}
    }
}

fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
