//! What a webhook's status should say of its deliveries, and whether that is
//! worth a write: pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::stats::Snapshot;
use crate::api::{ConditionType, DeliveringReason, DeliveryStatus, Failure};
use crate::model::Timestamp;
use crate::subscriptions::{Known, Standing, View};

/// No webhook's progress is written more often: transitions are not progress.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// The dispatcher's part of the status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) condition: Condition,
    pub(super) delivery: DeliveryStatus,
}

/// Whether to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// The status says it already.
    Nothing,
    /// The condition is another; this goes first.
    Transition,
    /// Only times or numbers are others.
    Progress,
}

/// What the status should say at `now`.
pub(super) fn report(known: &std::sync::Arc<Known>, lane: &Snapshot, pending: u64, now: Timestamp) -> Report {
    let held = match View::Known(known.clone()).standing() {
        Standing::Held(reason, message) => Some((reason, message)),
        Standing::Sendable(_) | Standing::Gone if lane.looked => lane.held.clone(),
        Standing::Sendable(_) | Standing::Gone => gone_by_an_earlier_process(known),
    };
    let (delivering, reason, message) = match held {
        Some((reason, message)) => (false, reason, message),
        None => (true, DeliveringReason::Delivering, "events are delivered as they come".to_owned()),
    };
    let status = if delivering { "True" } else { "False" };
    let stored = known.reported.delivering.as_ref();
    let since = match stored {
        Some(stored) if stored.status == status => stored.last_transition_time.clone(),
        _ => time(now),
    };
    let condition = Condition {
        type_: ConditionType::Delivering.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message,
        observed_generation: Some(known.generation),
        last_transition_time: since,
    };
    let stored = known.reported.delivery.clone().unwrap_or_default();
    let delivery = DeliveryStatus {
        pending: Some(pending),
        // What another process saw stays until this one has seen something newer.
        last_success: lane.last_success.map(time).or(stored.last_success),
        last_failure: lane.last_failure.as_ref().map(failure).or(stored.last_failure),
    };
    Report { condition, delivery }
}

/// Whether the report says anything that the status does not.
pub(super) fn worth(known: &Known, report: &Report) -> Worth {
    if known.reported.delivering.as_ref() != Some(&report.condition) {
        Worth::Transition
    } else if known.reported.delivery.as_ref() != Some(&report.delivery) {
        Worth::Progress
    } else {
        Worth::Nothing
    }
}

/// That an endpoint has answered 410 is in its lane's state: until the lane has
/// read it, what the status says of it stands.
fn gone_by_an_earlier_process(known: &Known) -> Option<(DeliveringReason, String)> {
    let stored = known.reported.delivering.as_ref()?;
    (stored.reason == DeliveringReason::Gone.as_str())
        .then(|| (DeliveringReason::Gone, stored.message.clone()))
}

fn failure(failure: &super::stats::LastFailure) -> Failure {
    Failure {
        time: time(failure.at),
        reason: failure.reason.to_owned(),
        message: failure.message.chars().take(1024).collect(),
    }
}

/// To the second, as the API server keeps it.
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_millis(at.as_secs() * 1000).to_jiff().unwrap_or(jiff::Timestamp::MAX))
}
