//! A moment of fuzzing in every run of the tests: all seeds, and so many mutations of them.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::TARGETS;
use super::mutation::Mutator;

/// For each target.
const MOST: usize = 2000;
const AT_MOST: Duration = Duration::from_millis(500);

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.display().to_string(), fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_property_holds_for_every_seed() {
    let mut failed = Vec::new();
    for (target, property) in TARGETS {
        let held = |(_, bytes): &(String, Vec<u8>)| catch_unwind(|| property(bytes)).is_ok();
        failed.extend(seeds(target).into_iter().filter(|seed| !held(seed)).map(|(name, _)| name));
    }
    assert!(failed.is_empty(), "what is said above does not hold for {failed:#?}");
}

#[test]
fn every_property_holds_for_mutations_of_the_seeds() {
    let given: Option<u32> = std::env::var("HERALD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("HERALD_TEST_SEED={seed}");
    let mut failed = Vec::new();
    for (target, property) in TARGETS {
        let inputs: Vec<_> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
        let mut mutator = Mutator::new(seed.into());
        let began = Instant::now();
        for _ in 0..MOST {
            let bytes = mutator.next(&inputs);
            let held = catch_unwind(AssertUnwindSafe(|| property(&bytes)));
            if held.is_err() {
                failed.push(format!("{target}: {}", bytes.escape_ascii()));
            }
            if held.is_err() || (given.is_none() && began.elapsed() > AT_MOST) {
                break;
            }
        }
    }
    assert!(
        failed.is_empty(),
        "what is said above does not hold, with HERALD_TEST_SEED={seed}, for {failed:#?}"
    );
}

#[test]
fn every_target_has_a_program_and_every_program_a_target() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let programs: BTreeSet<_> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(programs, targets);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no {name}");
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("\"{name}\"")), "{name}.rs runs another target");
    }
}
