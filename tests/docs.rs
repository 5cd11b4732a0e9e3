//! What the documents say of the code, held against it.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let code: Vec<_> = files.iter().map(|path| (path, fs::read_to_string(path).unwrap())).collect();
    let promises = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let named: Vec<_> =
        promises.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 20, "{named:?}");
    for (module, test) in named {
        let there = |(path, text): &(&PathBuf, String)| {
            let stem = path.file_stem().expect("a name").to_string_lossy();
            stem == module && text.contains(&format!("fn {test}"))
        };
        assert!(code.iter().any(there), "docs/guarantees.md names {module}::{test}");
    }
}
