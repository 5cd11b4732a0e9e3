//! The API server's verdict on a manifest, without an API server.
//!
//! ```text
//! text ─> yaml: documents with lines ─> ours? ─> metadata ─> structural: admit, check ─> CEL rules
//!                                        │ no
//!                                        └─> skipped, counted
//! ```
//!
//! Everything is read from the very definition that `herald crds` prints, so
//! the two cannot differ. Not checked, because only a cluster knows: whether
//! the namespace, the Secrets and the rights are there.

mod metadata;
mod structural;
#[cfg(test)]
mod tests;
mod yaml;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use kube::Resource as _;
use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde::Serialize;
use serde_json::{Map, Value};

use self::yaml::Document;
use super::{GROUP, Webhook, webhook_crd};

/// What the API server says when a schema error made it skip the rules.
const RULES_SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Something in a text that the API server would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line, from 1, of the field, or of the nearest one around it that is written.
    pub line: usize,
    /// The field, such as `spec.events[1]`; empty for the whole object.
    pub path: String,
    /// What to write instead.
    pub message: String,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many objects are Herald's.
    pub checked: usize,
    /// How many are not.
    pub skipped: usize,
    /// What is wrong, in the order of lines.
    pub problems: Vec<Problem>,
}

/// Checks manifests against the definitions of this version of Herald.
#[derive(Debug)]
pub struct Checker {
    schema: JSONSchemaProps,
    rules: CompiledSchema,
    cel: Validator,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// Compiles the rules once, for many manifests.
    pub fn new() -> Self {
        let mut versions = webhook_crd().spec.versions.into_iter();
        let schema = versions.find_map(|version| version.schema?.open_api_v3_schema).unwrap_or_default();
        let rules = compile_schema(&serde_json::to_value(&schema).unwrap_or_default());
        Self { schema, rules, cel: Validator::new() }
    }

    /// Checks every object of a text, which is YAML or JSON of one or more documents.
    pub fn check(&self, text: &str) -> Report {
        let mut report = Report::default();
        let (documents, broken) = yaml::documents(text);
        for document in &documents {
            self.object(document, &document.value, "", &mut report);
            report.problems.extend(document.duplicates.iter().map(|(path, line)| Problem {
                line: *line,
                path: path.clone(),
                message: format!("duplicate field {path:?}"),
            }));
        }
        report.problems.extend(broken.map(|broken| Problem {
            line: broken.line,
            path: String::new(),
            message: format!("cannot be read as YAML: {}", broken.message),
        }));
        report.problems.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        report
    }

    fn object(&self, document: &Document, value: &Value, prefix: &str, report: &mut Report) {
        if value.is_null() {
            return;
        }
        let empty = Map::new();
        let object = value.as_object().unwrap_or(&empty);
        let word = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (word("apiVersion"), word("kind"));
        let mut problem = |path: String, message: String| {
            let path = if path.is_empty() { prefix.to_owned() } else { join(prefix, &path) };
            report.problems.push(Problem { line: document.line(&path), path, message });
        };
        if kind.is_empty() || version.is_empty() {
            problem(String::new(), "is not a Kubernetes object: apiVersion or kind is missing".to_owned());
        } else if version == Webhook::api_version(&()) && kind == Webhook::kind(&()) {
            self.webhook(object, &mut problem);
            report.checked += 1;
        } else if version.starts_with(&format!("{GROUP}/")) {
            problem(
                "kind".to_owned(),
                format!(
                    "no matches for kind {kind:?} in version {version:?}; this version of Herald has {} in {}",
                    Webhook::kind(&()),
                    Webhook::api_version(&())
                ),
            );
            report.checked += 1;
        } else if let ("v1", "List", Some(Value::Array(items))) = (version, kind, object.get("items")) {
            for (i, item) in items.iter().enumerate() {
                self.object(document, item, &join(prefix, &format!("items[{i}]")), report);
            }
        } else {
            report.skipped += 1;
        }
    }

    fn webhook(&self, object: &Map<String, Value>, problem: &mut impl FnMut(String, String)) {
        let mut unknown = Vec::new();
        let mut findings = Vec::new();
        metadata::check(object, &mut findings, &mut unknown);
        let mut body = object.clone();
        body.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"));
        let mut stored = structural::admit(&self.schema, &Value::Object(body), "", &mut unknown);
        // Whoever applies a manifest cannot write the status: it is dropped unread.
        if let Some(stored) = stored.as_object_mut() {
            stored.remove("status");
        }
        structural::check(&self.schema, &stored, "", &mut findings);
        let skip_rules = findings.iter().any(|finding| finding.blocking);
        for path in unknown {
            let message = format!("unknown field {path:?}");
            problem(path, message);
        }
        for finding in findings {
            problem(finding.path, finding.message);
        }
        if skip_rules {
            return problem(String::new(), RULES_SKIPPED.to_owned());
        }
        let verdict = self.cel.validate_compiled(&self.rules, &stored, None);
        for error in verdict.err().into_iter().flatten() {
            problem(error.field_path, error.message);
        }
    }
}

fn join(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}.{path}") }
}
