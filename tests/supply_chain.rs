//! What goes into a release, and how it is built: held against the files that say so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The settings of a table of a manifest, one a line.
fn table(manifest: &str, name: &str) -> BTreeMap<String, String> {
    let lines = manifest.lines().skip_while(|line| *line != format!("[{name}]")).skip(1);
    let settings = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    settings.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// The packages of a lock file: name, version, source, checksum.
fn locked(path: &str) -> Vec<[Option<String>; 4]> {
    let text = read(path);
    let value = |package: &str, key: &str| {
        let line =
            package.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")).map(str::to_owned));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let packages = text.split("[[package]]").skip(1);
    packages.map(|package| ["name", "version", "source", "checksum"].map(|key| value(package, key))).collect()
}

const LOCKS: [&str; 4] =
    ["Cargo.lock", "fuzz/Cargo.lock", "benches/layouts/Cargo.lock", "benches/storage/Cargo.lock"];
const OURS: [&str; 4] = ["herald", "herald-fuzz", "bench-layouts", "bench-storage"];

#[test]
fn every_dependency_comes_from_the_registry_by_its_checksum() {
    for lock in LOCKS {
        let packages = locked(lock);
        assert!(packages.len() > 20, "{lock}");
        for [name, _, source, checksum] in packages {
            let name = name.unwrap();
            if OURS.contains(&name.as_str()) {
                assert_eq!((source, checksum), (None, None), "{name} in {lock}");
                continue;
            }
            assert_eq!(
                source.unwrap(),
                "registry+https://github.com/rust-lang/crates.io-index",
                "{name} in {lock}"
            );
            assert_eq!(checksum.unwrap_or_default().len(), 64, "{name} in {lock}");
        }
    }
}

#[test]
fn what_is_fuzzed_is_what_ships() {
    let versions = |lock| -> BTreeSet<_> {
        locked(lock).into_iter().map(|[name, version, ..]| (name, version)).collect()
    };
    let shipped = versions("Cargo.lock");
    let fuzzed = versions("fuzz/Cargo.lock");
    let own = ["arbitrary", "herald-fuzz", "jobserver", "libfuzzer-sys"].map(|name| Some(name.to_owned()));
    let other: Vec<_> = fuzzed.difference(&shipped).filter(|(name, _)| !own.contains(name)).collect();
    assert!(
        other.is_empty(),
        "run: cp Cargo.lock fuzz/ && (cd fuzz && cargo metadata >/dev/null); other: {other:?}"
    );
}

#[test]
fn no_code_of_ours_is_unsafe_and_no_overflow_goes_unnoticed() {
    let manifest = read("Cargo.toml");
    assert_eq!(table(&manifest, "lints.rust")["unsafe_code"], "\"forbid\"");
    assert_eq!(table(&manifest, "profile.release")["overflow-checks"], "true");
}

/// A task that panics must not take the process with it.
#[test]
fn a_panic_unwinds() {
    let manifest = read("Cargo.toml");
    assert!(!manifest.lines().any(|line| line.trim_start().starts_with("panic =") && line.contains("abort")));
    assert!(!read(".cargo/config.toml").contains("panic"));
}

/// The stages of the Dockerfile, each with its instructions.
fn stages() -> Vec<Vec<(String, String)>> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut stages = vec![Vec::new()];
    for (instruction, rest) in lines.filter_map(|line| line.split_once(' ')) {
        if instruction == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().unwrap().push((instruction.to_owned(), rest.trim().to_owned()));
    }
    stages
}

#[test]
fn the_images_hold_one_program_and_certificates() {
    let stages = stages();
    assert_eq!(stages.len(), 4, "arguments, builder, receiver, Herald");
    for (stage, program) in stages.iter().rev().zip(["/herald", "/receiver"]) {
        let of = |name: &str| -> Vec<&str> {
            stage
                .iter()
                .filter(|(instruction, _)| instruction == name)
                .map(|(_, rest)| rest.as_str())
                .collect()
        };
        assert!(of("FROM")[0].split(' ').next() == Some("scratch"), "{stage:?}");
        let certificates = "/etc/ssl/certs/ca-certificates.crt";
        assert_eq!(
            of("COPY"),
            [
                format!("--from=build {certificates} {certificates}"),
                format!("--from=build /out{program} {program}")
            ]
        );
        assert!(of("RUN").is_empty() && of("ADD").is_empty());
        assert_eq!(of("USER"), ["65532:65532"], "a number that is not root's");
        assert_eq!(of("ENTRYPOINT"), [format!("[\"{program}\"]")], "no shell is there to start it");
    }
}

#[test]
fn what_the_image_is_built_with_has_a_version() {
    let builder =
        stages()[0].iter().find_map(|(_, rest)| rest.strip_prefix("BUILDER=").map(str::to_owned)).unwrap();
    let rust = table(&read("Cargo.toml"), "package")["rust-version"].trim_matches('"').to_owned();
    let (_, tag) = builder.rsplit_once(':').unwrap();
    let version = tag.split('-').next().unwrap();
    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    assert!(number(version) >= number(&rust), "{builder} cannot build for {rust}");
    for (instruction, rest) in &stages()[1] {
        if instruction == "RUN" && rest.contains("pip install") {
            assert!(rest.contains("ziglang==") && rest.contains("cargo-zigbuild=="), "{rest}");
        }
    }
    assert!(stages()[1].iter().any(|(_, rest)| rest.contains("tools/build-release")));
    assert!(read("tools/build-release").contains("--release --locked"));
}
