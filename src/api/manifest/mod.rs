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

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde::Serialize;
use serde_json::{Map, Value};

use self::yaml::Document;
use super::{GROUP, crds};

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
    definitions: Vec<Definition>,
    cel: Validator,
}

/// One kind in one version.
#[derive(Debug)]
struct Definition {
    api_version: String,
    kind: String,
    schema: JSONSchemaProps,
    rules: CompiledSchema,
}

impl Definition {
    fn all_of(crd: CustomResourceDefinition) -> impl Iterator<Item = Self> {
        let (group, kind) = (crd.spec.group, crd.spec.names.kind);
        crd.spec.versions.into_iter().map(move |version| {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).unwrap_or_default();
            let rules = compile_schema(&serde_json::to_value(&schema).unwrap_or_default());
            Self { api_version: format!("{group}/{}", version.name), kind: kind.clone(), schema, rules }
        })
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// Compiles the rules once, for many manifests.
    pub fn new() -> Self {
        let definitions = crds().into_iter().flat_map(Definition::all_of).collect();
        Self { definitions, cel: Validator::new() }
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
        } else if let Some(definition) = self.definition(version, kind) {
            self.defined(definition, object, &mut problem);
            report.checked += 1;
        } else if version.starts_with(&format!("{GROUP}/")) {
            problem(
                "kind".to_owned(),
                format!(
                    "no matches for kind {kind:?} in version {version:?}; this version of Herald has {}",
                    self.kinds()
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

    fn definition(&self, api_version: &str, kind: &str) -> Option<&Definition> {
        self.definitions.iter().find(|known| known.api_version == api_version && known.kind == kind)
    }

    fn kinds(&self) -> String {
        let kinds: Vec<_> =
            self.definitions.iter().map(|known| format!("{} in {}", known.kind, known.api_version)).collect();
        kinds.join(", ")
    }

    fn defined(
        &self,
        definition: &Definition,
        object: &Map<String, Value>,
        problem: &mut impl FnMut(String, String),
    ) {
        let mut unknown = Vec::new();
        let mut findings = Vec::new();
        metadata::check(object, &mut findings, &mut unknown);
        let mut body = object.clone();
        body.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"));
        let mut stored = structural::admit(&definition.schema, &Value::Object(body), "", &mut unknown);
        // Whoever applies a manifest cannot write the status: it is dropped unread.
        if let Some(stored) = stored.as_object_mut() {
            stored.remove("status");
        }
        structural::check(&definition.schema, &stored, "", &mut findings);
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
        let verdict = self.cel.validate_compiled(&definition.rules, &stored, None);
        for error in verdict.err().into_iter().flatten() {
            problem(error.field_path, error.message);
        }
    }
}

/// The values of a text's documents, and whether it was read to its end.
#[cfg(any(test, fuzzing))]
pub(super) fn values(text: &str) -> (Vec<Value>, bool) {
    let (documents, broken) = yaml::documents(text);
    (documents.into_iter().map(|document| document.value).collect(), broken.is_none())
}

fn join(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}.{path}") }
}
