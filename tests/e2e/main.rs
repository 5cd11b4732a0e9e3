//! Herald against a real API server, which `HERALD_TEST_KUBECONFIG` names.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[expect(clippy::indexing_slicing, reason = "a test fails by a panic")]
mod canaries;
mod certificates;
mod controller;
mod delivery;
mod gitops;
mod import;
mod ingest;
mod journey;
mod manage;
mod manifests;
mod panics;
mod quotas;
mod rbac;
mod replays;
mod resource;
mod support;
#[expect(clippy::indexing_slicing, reason = "a test fails by a panic")]
mod tenants;
mod test_endpoint;
#[expect(clippy::indexing_slicing, reason = "a test fails by a panic")]
mod transitions;
