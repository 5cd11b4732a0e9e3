//! The table of tests/manifests, and what no table of single objects shows.

use std::fs;

use super::*;

/// The manifests of one folder: name and text.
fn manifests(folder: &str) -> Vec<(String, String)> {
    let folder = format!("{}/tests/manifests/{folder}", env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read_to_string(&path).unwrap());
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

fn said(report: &Report) -> Vec<String> {
    let with_path = |p: &Problem| match p.path.as_str() {
        "" => p.message.clone(),
        path => format!("{path}: {}", p.message),
    };
    report.problems.iter().map(with_path).collect()
}

#[test]
fn every_good_manifest_is_taken() {
    let checker = Checker::new();
    let table = manifests("good");
    assert!(table.len() >= 30, "{}", table.len());
    for (name, text) in table {
        let report = checker.check(&text);
        assert_eq!((said(&report), report.checked), (Vec::new(), 1), "{name}");
    }
}

#[test]
fn every_bad_manifest_is_refused_for_what_its_comment_says() {
    let checker = Checker::new();
    let table = manifests("bad");
    assert!(table.len() >= 100, "{}", table.len());
    for (name, text) in table {
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# refused: ")).collect();
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(said(&checker.check(&text)), expected, "{name}");
    }
}

/// What the schema takes, the controller and the dispatcher take too.
#[test]
fn every_good_manifest_has_settings() {
    let checker = Checker::new();
    let webhook = checker.definition("herald.dev/v1alpha1", "Webhook").unwrap();
    for (name, text) in manifests("good").into_iter().filter(|(_, text)| text.contains("kind: Webhook")) {
        let (documents, _) = yaml::documents(&text);
        let stored = structural::admit(&webhook.schema, &documents[0].value, "", &mut Vec::new());
        let spec = serde_json::from_value(stored["spec"].clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let settings = crate::api::Settings::read(&spec);
        assert!(settings.is_ok(), "{name}: {settings:?}");
    }
}

const GOOD: &str = "apiVersion: herald.dev/v1alpha1
kind: Webhook
metadata: {name: a}
spec:
  name: A
  uri: https://hooks.example.com/
  events: [User created]
  apiKeySecretRef: {name: a, key: b}
";

#[test]
fn objects_of_other_kinds_are_counted_and_skipped() {
    let text = format!("# nothing\n---\napiVersion: v1\nkind: Secret\n---\n{GOOD}---\n");
    let report = Checker::new().check(&text);
    assert_eq!(report, Report { checked: 1, skipped: 1, problems: Vec::new() });
}

#[test]
fn a_problem_has_the_line_of_its_field() {
    let text = format!("{GOOD}---\n{}", GOOD.replace("https:", "http:").replace("  name: A\n", ""));
    let lines: Vec<_> = Checker::new().check(&text).problems.into_iter().map(|p| (p.line, p.path)).collect();
    let expected = [(10, String::new()), (13, "spec.name".to_owned())];
    assert_eq!(lines, expected);
}

#[test]
fn items_of_a_list_are_checked() {
    let item = "{apiVersion: herald.dev/v1alpha1, kind: Webhook, metadata: {name: a}, spec: {}}";
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Secret}}\n- {item}\n");
    let report = Checker::new().check(&text);
    assert_eq!((report.checked, report.skipped), (1, 1));
    assert!(said(&report).contains(&"items[1].spec.uri: Required value".to_owned()), "{report:?}");
    assert!(report.problems.iter().all(|problem| problem.line == 5), "{report:?}");
}

#[test]
fn what_the_table_cannot_hold_is_refused_as_well() {
    let table = [
        (GOOD.replace("v1alpha1", "v1"), "no matches for kind \"Webhook\" in version \"herald.dev/v1\""),
        (GOOD.replace("Webhook", "Webhooks"), "no matches for kind \"Webhooks\""),
        (GOOD.replace("  name: A", "  name: A\n  name: B"), "duplicate field \"spec.name\""),
        (GOOD.replace("kind: Webhook", ""), "is not a Kubernetes object"),
        ("just text".to_owned(), "is not a Kubernetes object"),
        (format!("{GOOD}\n  - ]"), "cannot be read as YAML: "),
        (GOOD.replace("{name: a}", "{name: a, labels: {a: 1}}"), "invalid type: integer `1`"),
    ];
    let checker = Checker::new();
    for (text, expected) in table {
        let said = said(&checker.check(&text));
        assert!(said.iter().any(|message| message.contains(expected)), "{expected}: {said:?}");
    }
}
