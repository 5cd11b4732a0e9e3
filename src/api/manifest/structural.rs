//! What the API server does with an object before any CEL rule runs.
//!
//! ```text
//! object as written ── admit ──> without unknown fields and nulls, with defaults ── check ──> findings
//! ```
//!
//! This is the part of structural schemas that our own definitions use: types,
//! required, enum, bounds. The wording is the API server's, so that a
//! person finds one message whoever refuses.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::{Map, Value};

/// Something that the API server would refuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) message: String,
    /// Whether it makes the API server skip the CEL rules.
    pub(super) blocking: bool,
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn items_of(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

fn properties_of(schema: &JSONSchemaProps) -> impl Iterator<Item = (&String, &JSONSchemaProps)> {
    schema.properties.iter().flat_map(BTreeMap::iter)
}

/// The object as it is stored. Fields that the schema does not have go to `unknown`.
pub(super) fn admit(schema: &JSONSchemaProps, value: &Value, path: &str, unknown: &mut Vec<String>) -> Value {
    match value {
        Value::Object(fields) if schema.properties.is_some() => {
            let mut stored = Map::new();
            for (name, value) in fields {
                let path = child(path, name);
                match schema.properties.as_ref().and_then(|properties| properties.get(name)) {
                    None => unknown.push(path),
                    Some(_) if value.is_null() => {}
                    Some(property) => {
                        stored.insert(name.clone(), admit(property, value, &path, unknown));
                    }
                }
            }
            for (name, property) in properties_of(schema) {
                if let (false, Some(default)) = (stored.contains_key(name), &property.default) {
                    stored.insert(name.clone(), admit(property, &default.0, &child(path, name), unknown));
                }
            }
            Value::Object(stored)
        }
        Value::Array(items) => match items_of(schema) {
            Some(schema) => {
                let item = |(i, item)| admit(schema, item, &format!("{path}[{i}]"), unknown);
                items.iter().enumerate().map(item).collect()
            }
            None => value.clone(),
        },
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            value.clone()
        }
    }
}

/// Gathers what a stored object has against its schema.
pub(super) fn check(schema: &JSONSchemaProps, value: &Value, path: &str, findings: &mut Vec<Finding>) {
    let mut find =
        |blocking, message: String| findings.push(Finding { path: path.to_owned(), message, blocking });
    if let Some(expected) = schema.type_.as_deref().filter(|expected| !is(value, expected)) {
        let found = type_of(value);
        find(true, format!("{path} in body must be of type {expected}: {found:?}"));
    }
    if let Some(allowed) = schema.enum_.as_ref().filter(|allowed| allowed.iter().all(|a| a.0 != *value)) {
        let allowed: Vec<_> = allowed.iter().map(|a| a.0.to_string()).collect();
        find(true, format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")));
    }
    match value {
        Value::String(text) => {
            if let Some(max) = schema.max_length.filter(|max| exceeds(text.chars().count(), *max)) {
                find(true, format!("Too long: may not be more than {max} bytes"));
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if let Some(min) = schema.minimum.filter(|min| number < *min) {
                find(false, format!("{path} in body should be greater than or equal to {min}"));
            }
            if let Some(max) = schema.maximum.filter(|max| number > *max) {
                find(false, format!("{path} in body should be less than or equal to {max}"));
            }
        }
        Value::Array(items) => {
            if let Some(max) = schema.max_items.filter(|max| exceeds(items.len(), *max)) {
                find(true, format!("Too many: {}: must have at most {max} items", items.len()));
            }
            check_items(schema, items, path, findings);
        }
        Value::Object(fields) => check_fields(schema, fields, path, findings),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_items(schema: &JSONSchemaProps, items: &[Value], path: &str, findings: &mut Vec<Finding>) {
    if let Some(schema) = items_of(schema) {
        for (i, item) in items.iter().enumerate() {
            check(schema, item, &format!("{path}[{i}]"), findings);
        }
    }
}

fn check_fields(
    schema: &JSONSchemaProps,
    fields: &Map<String, Value>,
    path: &str,
    findings: &mut Vec<Finding>,
) {
    let missing = schema.required.iter().flatten().filter(|name| !fields.contains_key(*name));
    findings.extend(missing.map(|name| Finding {
        path: child(path, name),
        message: "Required value".to_owned(),
        blocking: true,
    }));
    for (name, property) in properties_of(schema) {
        if let Some(value) = fields.get(name) {
            check(property, value, &child(path, name), findings);
        }
    }
}

fn exceeds(count: usize, max: i64) -> bool {
    i64::try_from(count).map_or(true, |count| count > max)
}

fn is(value: &Value, expected: &str) -> bool {
    let found = type_of(value);
    found == expected || (found == "integer" && expected == "number")
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
