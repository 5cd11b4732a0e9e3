//! What was acknowledged against what arrived and what is a dead letter.

use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;

use serde_json::Value;

use super::endpoint::Endpoint;
use super::server::Bench;

/// The books of a run, over all endpoints.
#[derive(Debug, Default)]
pub struct Ledger {
    pub accepted: u64,
    /// Deliveries that there must be.
    pub due: u64,
    /// Of them, those that an endpoint has taken.
    pub received: u64,
    /// Those that it has not, and that are dead letters.
    pub dead: u64,
    /// Those that are neither.
    pub lost: u64,
    /// What an endpoint had taken before.
    pub repeats: u64,
    /// What came from a Replay.
    pub replayed: u64,
}

impl Ledger {
    /// Closes the books: `dead` says which events are dead letters of a webhook.
    pub fn close(endpoints: &[Endpoint], accepted: u64, dead: impl Fn(usize) -> BTreeSet<u64>) -> Self {
        let mut ledger = Self { accepted, ..Self::default() };
        for (number, endpoint) in endpoints.iter().enumerate() {
            let (received, repeats) = endpoint.taken();
            let missing = endpoint.missing(0..accepted);
            let letters = if missing.is_empty() { BTreeSet::new() } else { dead(number) };
            let dead = missing.iter().filter(|number| letters.contains(number)).count() as u64;
            ledger.due += accepted;
            ledger.received += received;
            ledger.repeats += repeats;
            ledger.replayed += endpoint.replayed();
            ledger.dead += dead;
            ledger.lost += missing.len() as u64 - dead;
        }
        assert_eq!(ledger.due, ledger.received + ledger.dead + ledger.lost, "the books are wrong");
        ledger
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, due, received, dead, lost, repeats, replayed } = self;
        writeln!(f, "| ledger | |\n|---|---|")?;
        writeln!(f, "| events acknowledged | {accepted} |")?;
        writeln!(f, "| deliveries of them | {due} |")?;
        writeln!(f, "| received | {received} |")?;
        writeln!(f, "| dead letters at the end | {dead} |")?;
        writeln!(f, "| lost | {lost} |")?;
        writeln!(f, "| received again | {repeats} |")?;
        writeln!(f, "| received from a Replay | {replayed} |")
    }
}

/// The numbers of a webhook's dead letters, as `herald deadletters` lists them.
pub fn dead_letters(bench: &Bench, port: u16, webhook: &str) -> BTreeSet<u64> {
    let output = Command::new(env!("CARGO_BIN_EXE_herald"))
        .args(["deadletters", "list", "--webhook", webhook, "--limit", "100000", "--output", "json"])
        .args(["--url", &format!("https://localhost:{port}"), "--namespace", &bench.cluster.namespace])
        .arg("--ca-file")
        .arg(&bench.files.ca)
        .arg("--token-file")
        .arg(bench.directory().join("token"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let items: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let number =
        |item: &Value| item["event"]["id"].as_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap();
    items.iter().map(number).collect()
}
