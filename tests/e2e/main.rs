//! Herald against a real API server, which `HERALD_TEST_KUBECONFIG` names.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod controller;
mod ingest;
mod manifests;
mod resource;
mod support;
mod test_endpoint;
