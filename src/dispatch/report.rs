//! What a webhook's status should say of its deliveries, and whether that is
//! worth a write: pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::stats::Snapshot;
use crate::api::{ConditionType, DeliveringReason, DeliveryStatus, Failure};
use crate::journal::Depth;
use crate::model::Timestamp;
use crate::model::line::short_line;
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
pub(super) fn report(known: &std::sync::Arc<Known>, lane: &Snapshot, depth: Depth, now: Timestamp) -> Report {
    let held = match View::Known(known.clone()).standing() {
        Standing::Held(reason, message) => Some((reason, message)),
        Standing::Sendable(_) | Standing::Gone if lane.looked => lane.held.clone(),
        Standing::Sendable(_) | Standing::Gone => held_by_an_earlier_process(known),
    };
    let mut condition = condition(held, Some(known.generation), known.reported.delivering.as_ref(), now);
    if let (true, Some(limit)) = (condition.status == "True", lane.slowed) {
        let host = known.settings.uri.host();
        condition.message = format!(
            "events wait before they are delivered: {host} gets as many {limit} as Herald sends to one \
             destination, of all Webhooks together"
        );
    }
    let stored = known.reported.delivery.clone().unwrap_or_default();
    let delivery = DeliveryStatus {
        pending: Some(depth.pending),
        dead_letters: Some(depth.dead),
        evicted_dead_letters: Some(depth.evicted).filter(|evicted| *evicted > 0),
        // What another process saw stays until this one has seen something newer.
        last_success: lane.last_success.map(time).or(stored.last_success),
        last_failure: lane.last_failure.as_ref().map(failure).or(stored.last_failure),
    };
    Report { condition, delivery }
}

/// The condition, by what holds the webhook and what its status said before.
pub(super) fn condition(
    held: Option<(DeliveringReason, String)>,
    generation: Option<i64>,
    stored: Option<&Condition>,
    now: Timestamp,
) -> Condition {
    let (status, reason, message) = match held {
        Some((reason, message)) => ("False", reason, message),
        None => ("True", DeliveringReason::Delivering, "events are delivered as they come".to_owned()),
    };
    let since = match stored {
        Some(stored) if stored.status == status => stored.last_transition_time.clone(),
        _ => time(now),
    };
    Condition {
        type_: ConditionType::Delivering.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        // It may list all keys of a Secret.
        message: short_line(&message, 1024),
        observed_generation: generation,
        last_transition_time: since,
    }
}

/// Whether the report says anything that the status does not.
///
/// Of a webhook that the controller has not looked at there is nothing to say
/// yet, and a write would be in the way of its first: so Ready comes first in
/// the list of conditions, which the API server keeps in the order of writing.
pub(super) fn worth(known: &Known, report: &Report) -> Worth {
    if !known.looked_at && known.reported.delivering.is_none() {
        Worth::Nothing
    } else if known.reported.delivering.as_ref().map(gist) != Some(gist(&report.condition)) {
        Worth::Transition
    } else if known.reported.delivering.as_ref() != Some(&report.condition)
        || known.reported.delivery.as_ref() != Some(&report.delivery)
    {
        Worth::Progress
    } else {
        Worth::Nothing
    }
}

/// What of a condition is news: a message may change with every probe.
fn gist(condition: &Condition) -> (&str, &str, Option<i64>) {
    (&condition.status, &condition.reason, condition.observed_generation)
}

/// What a lane remembers of its endpoint is in the lane's state: until the lane
/// has read it, what the status says of it stands.
fn held_by_an_earlier_process(known: &Known) -> Option<(DeliveringReason, String)> {
    let stored = known.reported.delivering.as_ref()?;
    let remembered = [DeliveringReason::Gone, DeliveringReason::CircuitOpen];
    let reason = remembered.into_iter().find(|known| known.as_str() == stored.reason)?;
    Some((reason, stored.message.clone()))
}

/// Whether the status says that the webhook is held by what its lane remembers: then a new
/// process looks at it though nothing may be queued for it.
pub(super) fn is_held_by_its_lane(view: &View) -> bool {
    let View::Known(known) = view else { return false };
    held_by_an_earlier_process(known).is_some()
}

fn failure(failure: &super::stats::LastFailure) -> Failure {
    Failure {
        time: time(failure.at),
        reason: failure.reason.to_owned(),
        message: short_line(&failure.message, 1024),
    }
}

/// To the second, as the API server keeps it.
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_millis(at.as_secs() * 1000).to_jiff().unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::dispatch::stats::LastFailure;
    use crate::outbound::Limit;
    use crate::subscriptions::samples::known;
    use crate::subscriptions::{Proof, Reported};

    const THEN: Timestamp = Timestamp::from_millis(1_795_508_000_000);
    const NOW: Timestamp = Timestamp::from_millis(1_795_508_999_999);

    fn queued(pending: u64) -> Depth {
        Depth { pending, ..Depth::default() }
    }

    fn looked() -> Snapshot {
        Snapshot { looked: true, ..Snapshot::default() }
    }

    fn gone() -> Snapshot {
        Snapshot { held: Some((DeliveringReason::Gone, "it said 410".to_owned())), ..looked() }
    }

    /// What is known once a report has been written.
    fn after(known: &Known, written: Report) -> Arc<Known> {
        let reported = Reported { delivering: Some(written.condition), delivery: Some(written.delivery) };
        let mut known = known.clone();
        known.reported = reported;
        Arc::new(known)
    }

    fn said(report: &Report) -> (&str, &str) {
        (&report.condition.status, &report.condition.reason)
    }

    #[test]
    fn a_webhook_that_was_only_loaded_is_delivering() {
        let known = Arc::new(known(|_| {}));
        let first = report(&known, &Snapshot::default(), queued(0), NOW);
        assert_eq!(said(&first), ("True", "Delivering"));
        assert_eq!(first.condition.observed_generation, Some(3));
        let delivery =
            DeliveryStatus { pending: Some(0), dead_letters: Some(0), ..DeliveryStatus::default() };
        assert_eq!(first.delivery, delivery);
        assert_eq!(worth(&known, &first), Worth::Transition);
        let known = after(&known, first);
        assert_eq!(worth(&known, &report(&known, &looked(), queued(0), NOW)), Worth::Nothing);
        assert_eq!(worth(&known, &report(&known, &looked(), queued(1), NOW)), Worth::Progress);
        let dead = Depth { dead: 3, evicted: 2, ..Depth::default() };
        let died = report(&known, &looked(), dead, NOW);
        assert_eq!((died.delivery.dead_letters, died.delivery.evicted_dead_letters), (Some(3), Some(2)));
        assert_eq!(worth(&known, &died), Worth::Progress);
    }

    #[test]
    fn the_controller_is_the_first_to_write() {
        let new = Arc::new(known(|w| w["status"] = json!({"observedGeneration": -1})));
        assert_eq!(worth(&new, &report(&new, &looked(), queued(0), NOW)), Worth::Nothing);
        let seen = Arc::new(known(|w| w["status"] = json!({"observedGeneration": 2})));
        assert_eq!(worth(&seen, &report(&seen, &looked(), queued(0), NOW)), Worth::Transition);
    }

    #[test]
    fn the_view_has_the_first_word_and_the_lane_the_second() {
        let table = [
            (known(|_| {}), gone(), ("False", "Gone")),
            (known(|w| w["spec"]["enabled"] = json!(false)), gone(), ("False", "Disabled")),
            (known(|w| w["status"] = json!({})), gone(), ("False", "NotVerified")),
            (known(|w| w["spec"]["enabled"] = json!(false)), looked(), ("False", "Disabled")),
        ];
        for (known, lane, expected) in table {
            assert_eq!(said(&report(&Arc::new(known), &lane, queued(0), NOW)), expected);
        }
    }

    #[test]
    fn what_an_earlier_process_said_of_a_410_stands_until_the_lane_has_looked() {
        let known = Arc::new(known(|_| {}));
        let known = after(&known, report(&known, &gone(), queued(2), THEN));
        let unseen = report(&known, &Snapshot::default(), queued(2), NOW);
        assert_eq!(said(&unseen), ("False", "Gone"));
        assert_eq!(worth(&known, &unseen), Worth::Nothing);
        assert_eq!(said(&report(&known, &looked(), queued(2), NOW)), ("True", "Delivering"));
    }

    #[test]
    fn another_message_alone_is_progress() {
        let known = Arc::new(known(|_| {}));
        let open = |message: &str| Snapshot {
            held: Some((DeliveringReason::CircuitOpen, message.to_owned())),
            ..looked()
        };
        let opened = report(&known, &open("the next probe is at 10:00"), queued(2), THEN);
        assert_eq!(worth(&known, &opened), Worth::Transition);
        let known = after(&known, opened);
        let probed = report(&known, &open("the next probe is at 10:01"), queued(2), NOW);
        assert_eq!(worth(&known, &probed), Worth::Progress);
        assert_eq!(said(&report(&known, &Snapshot::default(), queued(2), NOW)), ("False", "CircuitOpen"));
    }

    #[test]
    fn a_webhook_that_its_destination_slows_down_says_so_and_is_delivering() {
        let known = Arc::new(known(|_| {}));
        let slowed = |slowed| report(&known, &Snapshot { slowed, ..looked() }, queued(2), NOW);
        assert_eq!(said(&slowed(Some(Limit::Connects))), ("True", "Delivering"));
        for (limit, words) in [
            (Limit::InFlight, "as many requests at one time as"),
            (Limit::Requests, "as many requests a second as"),
            (Limit::Connects, "as many new connections a second as"),
        ] {
            let message = slowed(Some(limit)).condition.message;
            assert!(message.contains(words) && message.contains("hooks.example.com gets"), "{message}");
        }
        let after = after(&known, slowed(None));
        let news = report(&after, &Snapshot { slowed: Some(Limit::InFlight), ..looked() }, queued(2), NOW);
        assert_eq!(worth(&after, &news), Worth::Progress);
        let held = Snapshot { slowed: Some(Limit::InFlight), ..gone() };
        assert_eq!(report(&known, &held, queued(2), NOW).condition.message, "it said 410");
    }

    #[test]
    fn only_another_status_is_a_transition_in_time() {
        let known = Arc::new(known(|w| w["spec"]["enabled"] = json!(false)));
        let known = after(&known, report(&known, &looked(), queued(0), THEN));
        let mut unproved = Arc::clone(&known);
        let changed = Arc::make_mut(&mut unproved);
        changed.settings.enabled = true;
        changed.proof = Proof::None;
        let still = report(&unproved, &looked(), queued(0), NOW);
        assert_eq!(said(&still), ("False", "NotVerified"));
        assert_eq!(still.condition.last_transition_time, time(THEN));
        assert_eq!(worth(&unproved, &still), Worth::Transition, "the reason is another");
        let mut enabled = Arc::clone(&known);
        Arc::make_mut(&mut enabled).settings.enabled = true;
        assert_eq!(report(&enabled, &looked(), queued(0), NOW).condition.last_transition_time, time(NOW));
    }

    #[test]
    fn what_another_process_saw_stays_until_this_one_has_seen_something() {
        let failed = |at, message: String| LastFailure { at, reason: "TimedOut", message };
        let seen = Snapshot {
            last_success: Some(THEN),
            last_failure: Some(failed(THEN, "x".repeat(5000))),
            ..looked()
        };
        let known = Arc::new(known(|_| {}));
        let known = after(&known, report(&known, &seen, queued(0), THEN));
        let restarted = report(&known, &looked(), queued(0), NOW).delivery;
        assert_eq!(restarted.last_success, Some(time(THEN)));
        assert_eq!(restarted.last_failure.as_ref().map(|failure| failure.message.len()), Some(1024));
        let newer = Snapshot { last_failure: Some(failed(NOW, "again".to_owned())), ..looked() };
        let newer = report(&known, &newer, queued(0), NOW).delivery;
        assert_eq!(newer.last_success, Some(time(THEN)));
        assert_eq!(
            newer.last_failure.map(|failure| (failure.time, failure.message)),
            Some((time(NOW), "again".to_owned()))
        );
    }
}
