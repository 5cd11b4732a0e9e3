//! What the tests stand on: a namespace of their own on a real API server, and
//! real TLS endpoints that do as they are told.
//!
//! ```text
//! Cluster::connect ─> Cluster::namespace ─> Namespace: apply, patch, token, await_webhook
//! Herald::start ────> controller and dispatcher for that namespace
//! HeraldProcess ────> the real binary; Producer sends user events to it
//! Dispatcher ───────> the dispatcher alone, with proofs that the test writes
//! Pod::of ──────────> a pod of the chart, as a process with the rights of its ServiceAccount
//! Endpoint::start ──> answers Herald ─────> Endpoint: next_challenge, next_delivery
//! ```
//!
//! Every wait has a deadline, and says at its end what it saw last.
#![allow(dead_code, reason = "a helper may be here before the test that needs it")]

pub mod accounts;
pub mod audit;
pub mod behaviour;
pub mod between;
pub mod certificates;
pub mod chart;
pub mod cluster;
pub mod control_plane;
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by a panic")]
#[path = "../../disk/mod.rs"]
pub mod disk;
pub mod dispatcher;
pub mod endpoint;
pub mod garbling;
pub mod herald;
pub mod hostile;
#[expect(clippy::indexing_slicing, reason = "a test fails by a panic")]
#[path = "../../names/mod.rs"]
pub mod names;
pub mod namespace;
#[path = "../../nats/mod.rs"]
pub mod nats;
pub mod objects;
pub mod operator;
pub mod pod;
pub mod process;
pub mod producer;
pub mod program;
pub mod proxy;
pub mod received;
pub mod webhook;

use std::time::Duration;

pub use behaviour::Behaviour;
pub use cluster::Cluster;
pub use dispatcher::Dispatcher;
pub use endpoint::Endpoint;
pub use herald::Herald;
pub use namespace::Namespace;
pub use operator::Operator;
pub use process::HeraldProcess;
pub use producer::Producer;
pub use received::Received;
pub use webhook::webhook;

/// How long a test waits for what should come at once, on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A number that may be set for a longer run, or to play one again.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
