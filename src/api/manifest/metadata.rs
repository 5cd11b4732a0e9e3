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

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character";
const KEY_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const KEY: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Gathers what is wrong with an object's metadata, and fields that it does not have.
pub(super) fn check(object: &Map<String, Value>, findings: &mut Vec<Finding>, unknown: &mut Vec<String>) {
    let empty = Value::Object(Map::new());
    let metadata = object.get("metadata").unwrap_or(&empty);
    let fields = metadata.as_object().into_iter().flat_map(Map::keys);
    unknown.extend(
        fields.filter(|field| !FIELDS.contains(&field.as_str())).map(|field| format!("metadata.{field}")),
    );
    let mut find = |path: &str, message: String, blocking| {
        findings.push(Finding { path: path.to_owned(), message, blocking });
    };
    let read = match serde_json::from_value::<ObjectMeta>(metadata.clone()) {
        Ok(read) => read,
        Err(error) => return find("metadata", error.to_string(), true),
    };
    match read.name.as_deref() {
        None | Some("") if read.generate_name.is_none() => {
            find("metadata.name", "Required value: name or generateName is required".to_owned(), true);
        }
        Some(name) if !is_subdomain(name) => find("metadata.name", SUBDOMAIN.to_owned(), false),
        Some(_) | None => {}
    }
    for (key, value) in read.labels.iter().flatten() {
        for (text, wrong) in [(key, wrong_with_key(key)), (value, wrong_with_label(value))] {
            if let Some(wrong) = wrong {
                find("metadata.labels", format!("{text:?}: {wrong}"), false);
            }
        }
    }
    for key in read.annotations.iter().flatten().map(|(key, _)| key) {
        if let Some(wrong) = wrong_with_key(&key.to_lowercase()) {
            find("metadata.annotations", format!("{key:?}: {wrong}"), false);
        }
    }
}

fn wrong_with_key(key: &str) -> Option<String> {
    let name = match key.split_once('/') {
        Some((_, name)) if name.contains('/') => return Some(KEY.to_owned()),
        Some((prefix, _)) if !is_subdomain(prefix) => return Some(format!("prefix part {SUBDOMAIN}")),
        Some((_, name)) => name,
        None => key,
    };
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".to_owned());
    }
    (!is_name(name)).then(|| KEY_NAME.to_owned())
}

fn wrong_with_label(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".to_owned());
    }
    (!value.is_empty() && !is_name(value)).then(|| LABEL.to_owned())
}

fn is_name(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
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
