//! The commands that need no cluster, as a person or a CI job runs them.
#![expect(clippy::panic, reason = "a test fails by a panic")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs herald in the repository's root.
fn herald(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_herald"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("herald does not start: {e}"));
    // It may end before it has read all.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    child.wait_with_output().unwrap_or_else(|e| panic!("herald does not end: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_examples_are_good() {
    let output = herald(&["validate", "-f", "examples"], "");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(0));
    let summary = text(&output.stderr);
    assert!(summary.ends_with(" skipped, 0 problems\n") && !summary.starts_with("0 "), "{summary}");
}

#[test]
fn a_bad_manifest_ends_with_1_and_says_where_and_what() {
    let file = Path::new("tests/manifests/bad/uri-http.yaml").display().to_string();
    let output = herald(&["validate", "-f", &file], "");
    let expected = format!(
        "{file}:8: spec.uri: must begin with https://, because Herald sends secrets and personal data over TLS only\n"
    );
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn standard_input_is_read_and_json_printed() {
    let manifest = "apiVersion: herald.dev/v1alpha1\nkind: Webhook\nmetadata: {name: a}\nspec: {uri: 7}\n";
    let output = herald(&["validate", "-o", "json", "-f", "-"], manifest);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["checked"], &found["skipped"]), (&1.into(), &0.into()));
    let problems = found["problems"].as_array().unwrap();
    let of_uri = problems.iter().find(|problem| problem["path"] == "spec.uri").unwrap();
    assert_eq!((&of_uri["file"], &of_uri["line"]), (&"-".into(), &4.into()));
}

#[test]
fn what_cannot_be_read_ends_with_2() {
    let missing = herald(&["validate", "-f", "no/such/file.yaml"], "");
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("cannot read no/such/file.yaml"), "{missing:?}");
    assert_eq!(herald(&["validate"], "").status.code(), Some(2));
}

#[test]
fn the_import_of_the_example_finds_no_journal_in_an_empty_directory_and_makes_none() {
    let text = std::fs::read_to_string("examples/journal-import.yaml").unwrap();
    let job: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let arguments = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let directory = format!("--journal-dir={}", folder.path().display());
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .map(|argument| if argument.starts_with("--journal-dir=") { &directory } else { argument })
        .collect();
    assert!(arguments.contains(&directory.as_str()), "{arguments:?}");
    let output = herald(&arguments, "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("herald: there is no journal in ") && said.contains("--journal-dir"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_a_repository_hides_is_not_taken_for_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string("examples/webhook.yaml").unwrap();
    std::fs::create_dir(folder.path().join(".github")).unwrap();
    for (name, text) in [("a.yaml", good.as_str()), (".sops.yaml", "x: 1"), (".github/ci.yaml", "on: push")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let whole = herald(&["validate", "-f", &folder.path().display().to_string()], "");
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let named = herald(&["validate", "-f", &folder.path().join(".sops.yaml").display().to_string()], "");
    assert_eq!(named.status.code(), Some(1), "one that is named is checked all the same");
}

#[test]
fn crds_prints_what_crds_holds() {
    let printed = text(&herald(&["crds"], "").stdout);
    let read = |plural| std::fs::read_to_string(format!("crds/herald.dev_{plural}.yaml")).unwrap();
    let stored = read("webhooks") + &read("hostpolicies") + &read("replays");
    assert!(printed == stored, "crds/ is out of date: run `make generate`");
}
