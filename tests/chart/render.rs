//! `helm template`, by the helm on the PATH.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// The chart's folder.
pub fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts/herald")
}

/// A file of the chart.
pub fn file(name: &str) -> String {
    fs::read_to_string(chart().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The values of tests/chart/variants: name and path of each.
pub fn variants() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/chart/variants");
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), path.display().to_string())).collect()
}

/// What helm says to these arguments.
pub fn helm(arguments: &[&str]) -> Output {
    let output = Command::new("helm").args(arguments).output();
    output.unwrap_or_else(|e| panic!("no helm: run `make test`, or `tools/chart-tools run cargo test`: {e}"))
}

fn template(arguments: &[&str]) -> Output {
    let chart = chart().display().to_string();
    helm(&[&["template", "herald", &chart, "--namespace", "herald-system"], arguments].concat())
}

/// The manifests for these arguments, as text.
pub fn rendered(arguments: &[&str]) -> String {
    let output = template(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Why these arguments are refused.
pub fn refusal(arguments: &[&str]) -> String {
    let output = template(arguments);
    assert!(!output.status.success(), "{arguments:?} was taken");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The objects for these arguments.
pub fn objects(arguments: &[&str]) -> Vec<Value> {
    documents(&rendered(arguments))
}

/// The documents of a YAML text that hold something.
pub fn documents(text: &str) -> Vec<Value> {
    let all = serde_saphyr::from_multiple::<Value>(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    for (name, path) in variants() {
        assert_eq!(rendered(&["--values", &path]), rendered(&["--values", &path]), "{name}");
    }
}

#[test]
fn helm_has_nothing_against_the_chart() {
    for (name, path) in variants() {
        let output = helm(&["lint", "--strict", &chart().display().to_string(), "--values", &path]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
