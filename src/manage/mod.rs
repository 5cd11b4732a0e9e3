//! The management API: what became of an event, what is dead, try a webhook.
//!
//! ```text
//! GET    /v1/namespaces/{ns}/events/{id}                          one event, everywhere it went
//! GET    /v1/namespaces/{ns}/events?webhook=…                     a webhook's deliveries, by state
//! GET    /v1/namespaces/{ns}/webhooks/{name}/deadletters          its dead letters
//! DELETE /v1/namespaces/{ns}/webhooks/{name}/deadletters[/{id}]   without them
//! POST   /v1/namespaces/{ns}/webhooks/{name}/test                 a synthetic event to it
//! ```
//!
//! It is served where events come in, over the same TLS and with the same kind
//! of token. Who may do what is RBAC on resources that are never stored:
//! [`crate::access::Action`] has them.
//!
//! **Guarantees.** Nothing is read or looked up before the caller is let in. At
//! most [`PLACES`] requests look at the journal at one time, so that no number of questions
//! takes the disk from the deliveries, and [`PLACES_OF_EACH`] of one namespace, so that
//! it does not shut out the others. What they hold in memory is bounded in bytes.
//!
//! **Does not do.** What an event says is told only to who may read payloads.

mod answers;
mod dead_letters;
mod event;
mod listing;
mod metrics;
mod problem;
mod relay;
mod server;
mod test;

pub use answers::{
    DeadLetterItem, Deleted, Delivery, EventDetail, EventHead, FailureNote, Listing, State, StepDurations,
    TestAnswer, TestRequest, Try, TryKind,
};
pub use metrics::Metrics;
pub use server::{Management, Surroundings};

/// The most requests that look at the journal at one time.
pub const PLACES: usize = 4;
/// The most of them for one namespace.
pub const PLACES_OF_EACH: usize = 2;
