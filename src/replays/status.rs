//! What a Replay's status says.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Shared;
use super::plan::Progress;
use crate::api::{ConditionType, InvalidObject, Replay, ReplayReason, ReplayStatus, micro_time, time};
use crate::dispatch::apply_status;
use crate::journal::Inspect;
use crate::model::line::short_line;
use crate::model::{Timestamp, WebhookUid};
use crate::subscriptions::ObjectName;

/// How long after a write that failed the next is tried.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// One state of a Replay.
pub(super) struct Report<'a> {
    pub(super) reason: ReplayReason,
    pub(super) message: String,
    pub(super) webhook: Option<WebhookUid>,
    pub(super) began: Timestamp,
    pub(super) progress: &'a Progress,
}

/// What the conditions say; pure.
fn conditions(
    reason: ReplayReason,
    message: &str,
    generation: Option<i64>,
    before: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let (ready, reconciling, stalled) = match reason {
        ReplayReason::Running | ReplayReason::Queued | ReplayReason::WebhookHeld => (false, true, false),
        ReplayReason::Finished => (true, false, false),
        ReplayReason::WebhookMissing | ReplayReason::WebhookReplaced | ReplayReason::Unreadable => {
            (false, false, true)
        }
    };
    let condition = |kind: ConditionType, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let before = before.iter().find(|before| before.type_ == kind.as_str() && before.status == status);
        let since = before.map(|before| before.last_transition_time.clone()).or_else(|| time(now));
        Some(Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.to_owned(),
            observed_generation: generation,
            last_transition_time: since?,
        })
    };
    // Reconciling and Stalled are there only while they hold, as kstatus wants it.
    let all = [
        condition(ConditionType::Ready, ready),
        reconciling.then(|| condition(ConditionType::Reconciling, true)).flatten(),
        stalled.then(|| condition(ConditionType::Stalled, true)).flatten(),
    ];
    all.into_iter().flatten().collect()
}

/// Writes it if it says something else than what was written.
pub(super) async fn write_news<J: Inspect>(
    shared: &Shared<J>,
    replay: &Replay,
    before: &mut ReplayStatus,
    report: &Report<'_>,
) {
    let told = before.conditions.first();
    if told.is_none_or(|told| told.reason != report.reason.as_str() || told.message != report.message) {
        write(shared, replay, before, report).await;
    }
}

/// Writes it, once; `false` if that failed.
pub(super) async fn write<J: Inspect>(
    shared: &Shared<J>,
    replay: &Replay,
    before: &mut ReplayStatus,
    report: &Report<'_>,
) -> bool {
    let now = shared.around.clock.now();
    let generation = replay.metadata.generation;
    let status = ReplayStatus {
        observed_generation: generation,
        conditions: conditions(report.reason, &report.message, generation, &before.conditions, now),
        webhook_uid: report.webhook.map(|uid| uid.to_string()),
        start_time: micro_time(report.began),
        finish_time: if report.reason == ReplayReason::Finished { time(now) } else { None },
        matched: Some(report.progress.matched),
        replayed: Some(report.progress.replayed),
        failed: Some(report.progress.failed),
        progress: report.progress.text(),
    };
    let written = apply(shared, &ObjectName::of(replay), replay.metadata.uid.as_deref(), &status).await;
    if written {
        *before = status;
    }
    written
}

/// Says of a Replay that it cannot be read, until that is written.
pub(super) async fn say_unreadable<J: Inspect>(
    shared: std::sync::Arc<Shared<J>>,
    name: ObjectName,
    invalid: InvalidObject,
) {
    let generation = invalid.metadata.generation;
    let message = format!("this version of Herald cannot read the Replay: {}", invalid.error);
    let message = short_line(&message, 1024);
    let now = shared.around.clock.now();
    let status = ReplayStatus {
        observed_generation: generation,
        conditions: conditions(ReplayReason::Unreadable, &message, generation, &[], now),
        ..ReplayStatus::default()
    };
    while !apply(&shared, &name, invalid.metadata.uid.as_deref(), &status).await {
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

/// `false` if it is to be tried again.
async fn apply<J: Inspect>(
    shared: &Shared<J>,
    name: &ObjectName,
    uid: Option<&str>,
    status: &ReplayStatus,
) -> bool {
    let written = apply_status::<Replay>(&shared.around.client, name, uid, status).await;
    if let Err(error) = &written {
        tracing::warn!(replay = %name.name, namespace = %name.namespace, %error, "a Replay's status was not written");
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_the_conditions_that_tools_know() {
        let table = [
            (ReplayReason::Running, "Ready=False Reconciling=True"),
            (ReplayReason::WebhookHeld, "Ready=False Reconciling=True"),
            (ReplayReason::Finished, "Ready=True"),
            (ReplayReason::WebhookMissing, "Ready=False Stalled=True"),
            (ReplayReason::WebhookReplaced, "Ready=False Stalled=True"),
            (ReplayReason::Unreadable, "Ready=False Stalled=True"),
        ];
        for (reason, expected) in table {
            let found = conditions(reason, "m", Some(1), &[], Timestamp::from_millis(0));
            assert!(found.iter().all(|c| c.reason == reason.as_str() && c.observed_generation == Some(1)));
            let words: Vec<_> = found.iter().map(|c| format!("{}={}", c.type_, c.status)).collect();
            assert_eq!(words.join(" "), expected);
        }
    }

    #[test]
    fn the_time_of_a_transition_is_that_of_another_status() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let running = conditions(ReplayReason::Running, "m", None, &[], at(1));
        let held = conditions(ReplayReason::WebhookHeld, "n", None, &running, at(2));
        let times = |conditions: &[Condition]| {
            conditions.iter().map(|c| Timestamp::from(&c.last_transition_time)).collect::<Vec<_>>()
        };
        assert_eq!(times(&held), [at(1), at(1)]);
        assert_eq!(times(&conditions(ReplayReason::Finished, "o", None, &held, at(3))), [at(3)]);
    }
}
