//! How a webhook wants its events delivered.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::Backoff;

/// `spec.delivery`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPolicy {
    /// For the whole exchange, from name resolution to the last byte of the body.
    pub timeout: Duration,
    /// How many times a delivery is tried before it is dead.
    pub max_attempts: NonZeroU16,
    /// The delays between the tries.
    pub backoff: Backoff,
    /// The most attempts that run at one time.
    pub max_in_flight: NonZeroU16,
    /// The most attempts of any kind that start in any sliding second; `None` for no limit.
    pub max_per_second: Option<NonZeroU32>,
    /// Whether a user's next event waits for the end of the one before it.
    pub ordering: Ordering,
}

/// What order an endpoint may rely on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// None.
    #[default]
    None,
    /// A user's events arrive in the order in which they were accepted.
    PerUser,
}

/// The shape of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Payload {
    /// The members that Standard Webhooks recommends, as `application/json`.
    #[default]
    Standard,
    /// The CloudEvents 1.0 JSON event, as `application/cloudevents+json`.
    CloudEvents,
}
