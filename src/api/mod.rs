//! The custom resources of `herald.dev`, as the API server stores them.
//!
//! These types mirror the wire: strings stay strings, and what a string must
//! look like is written as a schema or a CEL rule with a message for people,
//! so that the API server refuses a bad object before anyone acts on it. The
//! rest of Herald works on the types of [`crate::model`].

mod condition;
mod crd;
mod duration;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod host_policy;
pub mod manifest;
mod reference;
mod replay;
mod rules;
mod settings;
mod stored;
mod time;
mod tls_digest;
mod webhook;

pub use condition::{ConditionType, DeliveringReason, Reason, ReplayReason};
pub use crd::{crds, webhook_crd};
pub use host_policy::{HostPolicy, HostPolicySpec};
pub use reference::write_reference;
pub use replay::{Replay, ReplaySpec, ReplayStatus, StoredReplay, Which};
pub use settings::{Settings, SpecError};
pub use stored::{InvalidObject, StoredWebhook};
pub use time::{micro_time, time};
pub use tls_digest::tls_digest;
pub use webhook::{
    Backoff, ConfigMapKeyRef, Delivery, DeliveryStatus, Failure, Ordering, Payload, SecretKeyRef, SecretRef,
    Tls, Verification, VerificationAttempts, Webhook, WebhookSpec, WebhookStatus,
};

/// The API group.
pub const GROUP: &str = "herald.dev";
/// The label by which a Secret (or a `ConfigMap`) agrees to be used by webhooks of its namespace.
pub const CONSENT_LABEL: &str = "herald.dev/allow-webhooks";
/// The selector of what Herald lists and watches of Secrets.
pub const CONSENT_SELECTOR: &str = "herald.dev/allow-webhooks=true";
/// The annotation whose new value starts a verification.
pub const VERIFY_REQUESTED_AT: &str = "herald.dev/verify-requested-at";
/// The field manager of what the controller writes.
pub const CONTROLLER_MANAGER: &str = "herald-controller";
/// The field manager of what the dispatcher writes.
pub const DISPATCHER_MANAGER: &str = "herald-dispatcher";
