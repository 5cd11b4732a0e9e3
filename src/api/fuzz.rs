//! What must hold of manifests, and of texts in a spec that a rule and a parser read.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use std::cell::LazyCell;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::manifest::Checker;
use super::rules::{self, DELAY, TIMEOUT};
use crate::model::EndpointUri;

/// The rules of one field.
struct Field {
    rules: CompiledSchema,
    validator: Validator,
}

impl Field {
    fn new(schema: &Schema) -> Self {
        Self { rules: compile_schema(schema.as_value()), validator: Validator::new() }
    }

    fn takes(&self, text: &str) -> bool {
        self.validator.validate_compiled(&self.rules, &json!(text), None).is_ok()
    }
}

/// The API server's rules and the parser take the same URIs, and what is taken can be sent to.
pub(crate) fn uri(data: &[u8]) {
    thread_local! {
        static FIELD: LazyCell<Field> = LazyCell::new(|| Field::new(&rules::uri(&mut SchemaGenerator::default())));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = text.parse::<EndpointUri>();
    if let Ok(uri) = &parsed {
        assert_eq!(uri.as_str(), text);
        assert!(text.is_ascii() && text.len() <= EndpointUri::MAX_LENGTH);
        assert!(uri.port() > 0 && !uri.host().is_empty());
        assert!(!uri.authority().as_str().contains('@'));
        assert!(uri.path_and_query().as_str().starts_with('/'));
        assert!(http::HeaderValue::from_str(uri.authority().as_str()).is_ok());
        // No parser of URLs that an endpoint or a person may use sees another host.
        let url = reqwest::Url::parse(text).ok();
        let host = url.as_ref().and_then(|url| url.host_str()).map(|host| host.trim_matches(['[', ']']));
        let usual = uri.host().bytes().any(|byte| byte.is_ascii_alphabetic() && !uri.host().contains(':'));
        if usual && let Some(host) = host {
            assert!(
                host.eq_ignore_ascii_case(uri.host()) || host.parse::<std::net::IpAddr>().is_ok(),
                "{host}"
            );
        }
    }
    if text.chars().count() <= EndpointUri::MAX_LENGTH {
        assert_eq!(parsed.is_ok(), FIELD.with(|field| field.takes(text)), "{text:?}: {parsed:?}");
    }
}

/// The API server's rules and the parser take the same durations.
pub(crate) fn duration(data: &[u8]) {
    thread_local! {
        static FIELDS: LazyCell<[Field; 2]> = LazyCell::new(|| [TIMEOUT, DELAY].map(|bounds| {
            let mut schema = json_schema!({ "type": "string" });
            kube::core::validate(&mut schema, bounds.rule()).expect("a rule");
            Field::new(&schema)
        }));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    // The schema has no longer ones.
    if text.chars().count() > 64 {
        return;
    }
    FIELDS.with(|fields| {
        for (field, bounds) in fields.iter().zip([TIMEOUT, DELAY]) {
            assert_eq!(bounds.read(text).is_some(), field.takes(text), "{text:?}");
        }
    });
}

/// A manifest is judged in bounded time and memory; problems are where there are lines; and
/// the same said in JSON is judged in the same way.
pub(crate) fn manifest(data: &[u8]) {
    thread_local! {
        static CHECKER: LazyCell<Checker> = LazyCell::new(Checker::new);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let report = CHECKER.with(|checker| checker.check(text));
    assert!(report.checked + report.skipped <= text.len());
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for problem in &report.problems {
        assert!((1..=lines + 1).contains(&problem.line), "{problem:?} of {lines}");
        assert!(!problem.message.is_empty());
    }
    let (values, whole) = super::manifest::values(text);
    let size: usize = values.iter().map(size).sum();
    assert!(size <= 64 << 20, "{size} bytes of {}", text.len());
    if whole && let [value] = values.as_slice() {
        let json = value.to_string();
        let (again, whole) = super::manifest::values(&json);
        // YAML has no way to write some characters plainly, and JSON writes them so.
        if json.chars().all(|c| {
            !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
        }) && json.len() < 1000
        {
            assert!(whole, "{json}");
            assert_eq!(again, values);
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + size(value)).sum(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}
