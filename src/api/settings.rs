//! From the spec as it is stored to values that cannot be bad.
//!
//! ```text
//! WebhookSpec ── Settings::read ──> Settings (model types) | SpecError
//! ```
//!
//! The controller and the dispatcher both read a Webhook through this one
//! parser, so they can never differ on whether it is good. The API server has
//! refused bad specs before; an object may still be bad, when it was stored
//! under another version's schema, and then neither acts on it.

use std::num::{NonZeroU16, NonZeroU32};

use super::rules::{BACKOFF_ORDER, DELAY, TIMEOUT};
use super::{Ordering, Payload, WebhookSpec, tls_digest};
use crate::model::{self, DeliveryPolicy, EndpointUri, EventFilter, FilterError, UriError};

/// A webhook's spec, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name shown to people.
    pub display_name: String,
    /// Where the events go.
    pub uri: EndpointUri,
    /// The events that the webhook wants.
    pub filter: EventFilter,
    /// Whether events are sent.
    pub enabled: bool,
    /// The shape of the body.
    pub payload: model::Payload,
    /// How events are delivered.
    pub policy: DeliveryPolicy,
    /// What [`tls_digest`] says of `spec.tls`.
    pub tls_digest: String,
}

/// The field of a spec that Herald cannot act on, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// `spec.uri`
    #[error("spec.uri {0}")]
    Uri(#[from] UriError),
    /// `spec.events`
    #[error("spec.events: {0}")]
    Events(#[from] FilterError),
    /// A setting of `spec.delivery`.
    #[error("spec.delivery.{field} {message}")]
    Delivery {
        /// The field, as it is written below `spec.delivery`.
        field: &'static str,
        /// What to write instead.
        message: String,
    },
}

impl Settings {
    /// Reads a spec.
    ///
    /// # Errors
    /// A field that cannot be acted on: the first one found.
    pub fn read(spec: &WebhookSpec) -> Result<Self, SpecError> {
        Ok(Self {
            display_name: spec.name.clone(),
            uri: spec.uri.parse()?,
            filter: EventFilter::parse(&spec.events)?,
            enabled: spec.enabled,
            payload: match spec.payload {
                Payload::Standard => model::Payload::Standard,
                Payload::CloudEvents => model::Payload::CloudEvents,
            },
            policy: read_policy(&spec.delivery)?,
            tls_digest: tls_digest(spec.tls.as_ref()),
        })
    }
}

fn read_policy(delivery: &super::Delivery) -> Result<DeliveryPolicy, SpecError> {
    let wrong = |field, message| SpecError::Delivery { field, message };
    let number = |field, value: Option<u32>, most: u32| match value {
        Some(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(wrong(field, format!("must be a number from 1 to {most}"))),
    };
    let small = |field, value: u16, most: u32| {
        number(field, Some(value.into()), most).map(|_| NonZeroU16::new(value).unwrap_or(NonZeroU16::MIN))
    };
    let duration = |field, text: &str, bounds: &super::rules::Bounds| {
        bounds.read(text).ok_or_else(|| wrong(field, bounds.message()))
    };
    let initial = duration("backoff.initial", &delivery.backoff.initial, &DELAY)?;
    let max = duration("backoff.max", &delivery.backoff.max, &DELAY)?;
    if initial > max {
        return Err(wrong("backoff", BACKOFF_ORDER.to_owned()));
    }
    Ok(DeliveryPolicy {
        timeout: duration("timeout", &delivery.timeout, &TIMEOUT)?,
        max_attempts: small("maxAttempts", delivery.max_attempts, 20)?,
        backoff: model::Backoff { initial, max },
        max_in_flight: small("maxInFlight", delivery.max_in_flight, 256)?,
        max_per_second: match delivery.max_per_second {
            None => None,
            some => NonZeroU32::new(number("maxPerSecond", some, 100_000)?),
        },
        ordering: match delivery.ordering {
            Ordering::None => model::Ordering::None,
            Ordering::PerUser => model::Ordering::PerUser,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<Settings, SpecError> {
        let mut spec = json!({
            "name": "Audit trail",
            "uri": "https://hooks.example.com/users",
            "apiKeySecretRef": { "name": "audit-trail", "key": "api-key" },
            "events": ["User created"],
            "delivery": {},
        });
        change(&mut spec);
        Settings::read(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = read(|_| {}).unwrap();
        assert!(settings.enabled);
        assert_eq!(settings.payload, model::Payload::Standard);
        assert_eq!(
            settings.policy,
            DeliveryPolicy {
                timeout: Duration::from_secs(3),
                max_attempts: NonZeroU16::new(3).unwrap(),
                backoff: model::Backoff { initial: Duration::from_secs(1), max: Duration::from_mins(5) },
                max_in_flight: NonZeroU16::new(16).unwrap(),
                max_per_second: None,
                ordering: model::Ordering::None,
            }
        );
    }

    #[test]
    fn what_no_schema_has_stopped_is_refused_here() {
        type Change = fn(&mut Value);
        let table: [(Change, &str); 9] = [
            (|spec| spec["uri"] = json!("http://hooks.example.com/"), "spec.uri must begin with https://"),
            (
                |spec| spec["events"] = json!(["user.created"]),
                "spec.events: \"user.created\" is not an event",
            ),
            (|spec| spec["events"] = json!([]), "spec.events: must name at least one event"),
            (
                |spec| spec["delivery"]["timeout"] = json!("31s"),
                "spec.delivery.timeout must be a duration from 1s to",
            ),
            (
                |spec| spec["delivery"]["maxAttempts"] = json!(0),
                "spec.delivery.maxAttempts must be a number from 1 to 20",
            ),
            (
                |spec| spec["delivery"]["maxInFlight"] = json!(257),
                "spec.delivery.maxInFlight must be a number from",
            ),
            (
                |spec| spec["delivery"]["maxPerSecond"] = json!(0),
                "spec.delivery.maxPerSecond must be a number from",
            ),
            (
                |spec| spec["delivery"]["backoff"] = json!({ "initial": "1d" }),
                "spec.delivery.backoff.initial must be",
            ),
            (
                |spec| spec["delivery"]["backoff"] = json!({ "initial": "6m" }),
                "spec.delivery.backoff initial must not",
            ),
        ];
        for (change, expected) in table {
            let message = read(change).map_err(|e| e.to_string());
            assert!(message.as_ref().is_err_and(|m| m.starts_with(expected)), "{expected}: {message:?}");
        }
    }
}
