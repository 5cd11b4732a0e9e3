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
fn every_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let code: Vec<_> = files.iter().map(|path| (path, fs::read_to_string(path).unwrap())).collect();
    for (document, least) in [
        ("docs/guarantees.md", 20),
        ("docs/threat-model.md", 50),
        ("docs/security.md", 4),
        ("docs/jetstream.md", 4),
    ] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let named: Vec<_> =
            text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect();
        assert!(named.len() > least, "{document}: {named:?}");
        let there = |module: &str, test: &str| {
            code.iter().any(|(path, text)| {
                // One that every engine of the journal passes has a parameter for it.
                let defined = ["(", "<"].map(|next| format!("fn {test}{next}"));
                path.file_stem().is_some_and(|stem| stem == module)
                    && defined.iter().any(|defined| text.contains(defined))
            })
        };
        let missing: Vec<_> = named.iter().filter(|(module, test)| !there(module, test)).collect();
        assert!(missing.is_empty(), "{document} names what is not there: {missing:#?}");
    }
}
