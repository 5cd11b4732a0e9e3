//! Herald makes webhooks for user events a Kubernetes resource.
//!
//! ```text
//! producer ─ POST ─> ingest ── authenticate, parse, match ──> journal (durable) ── 202
//!                                      ^                          │
//!    Webhooks, Secrets ─ watch ─> subscriptions                   v
//!                                      └────────────────> dispatch: a lane per webhook ─> outbound ─> endpoint
//!                                                                 │ outcome
//!                                                                 v
//!                                                              journal: done | retry at | dead letter
//! Webhooks ─ watch ─> controller ─ challenge ─> outbound ─> endpoint;  verdict ─> status
//! ```
//!
//! Arrows between modules point one way: `cli` → {`controller`, `manage`,
//! `replays`, `certificates`} → {`ingest`, `dispatch`} → {`access`, `subscriptions`,
//! `networks`, `journal`, `outbound`} → {`api`, `model`}.

pub mod access;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod controller;
pub mod dispatch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ingest;
pub mod journal;
pub mod manage;
pub mod model;
pub mod networks;
pub mod outbound;
pub mod replays;
pub mod subscriptions;
pub mod telemetry;
mod turns;

#[cfg(test)]
mod tests;
