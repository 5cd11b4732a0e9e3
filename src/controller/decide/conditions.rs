//! The conditions of a Webhook, from where it stands.
//!
//! A tool that knows kstatus reads them so: Reconciling means wait, Stalled
//! means somebody must act, and both are absent when they are not true.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Announcement, Fault, Observed, STALLED_AFTER, Wanted};
use crate::api::{ConditionType, Reason, WebhookStatus, time};
use crate::model::{Timestamp, without_query};

/// How the endpoint stands to this object, URI and TLS settings.
pub(super) enum Standing {
    /// No try has ended yet.
    Untried,
    /// So many tries have failed; the fault of the last, unless the status has it already.
    Failing(u32, Option<Fault>),
    /// Proved, as the status has it already.
    Proved,
    /// Tried just now, and proved; or proved earlier, and the try on demand failed.
    ProvedAnew(Option<Fault>),
}

struct Verdict {
    holds: bool,
    reason: String,
    message: String,
}

impl Verdict {
    fn new(holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { holds, reason: reason.as_str().to_owned(), message: message.into() }
    }
}

/// The conditions of a webhook whose spec can be read, and the reason of Ready.
pub(super) fn of_readable(
    observed: &Observed<'_>,
    wanted: Wanted<'_>,
    standing: &Standing,
    now: Timestamp,
) -> (Reason, Vec<Condition>) {
    let verified = verified(observed.status, wanted, standing);
    let (ready_reason, ready, busy, stalled) = if !wanted.enabled {
        let message = "spec.enabled is false: no event is sent";
        (Reason::Disabled, Verdict::new(true, Reason::Disabled, message), None, None)
    } else if let Err(fault) = wanted.materials {
        let needs_edit = Verdict::new(true, fault.reason, "Herald waits for an edit: see Ready");
        (fault.reason, Verdict::new(false, fault.reason, fault.message.as_str()), None, Some(needs_edit))
    } else {
        of_enabled(&verified, standing)
    };
    let list = [
        (ConditionType::Ready, Some(ready)),
        (ConditionType::Verified, Some(verified)),
        (ConditionType::Reconciling, busy),
        (ConditionType::Stalled, stalled),
    ];
    let conditions = list.into_iter().filter_map(|(kind, verdict)| Some((kind, verdict?)));
    (ready_reason, conditions.filter_map(|(kind, verdict)| condition(observed, kind, verdict, now)).collect())
}

/// Ready, Reconciling and Stalled of a webhook that lacks nothing but, perhaps, its proof.
fn of_enabled(
    verified: &Verdict,
    standing: &Standing,
) -> (Reason, Verdict, Option<Verdict>, Option<Verdict>) {
    let reason = known_reason(&verified.reason);
    let ready = Verdict::new(verified.holds, reason, verified.message.as_str());
    match standing {
        Standing::Proved | Standing::ProvedAnew(_) => {
            let message = "The endpoint is verified and the webhook is enabled";
            (Reason::Verified, Verdict::new(true, Reason::Verified, message), None, None)
        }
        Standing::Failing(_, _) if reason == Reason::AddressForbidden => {
            let message = "Herald may not call this address: name another, or have an administrator allow it";
            (reason, ready, None, Some(Verdict::new(true, reason, message)))
        }
        Standing::Failing(failures, _) if *failures >= STALLED_AFTER => {
            let message = "Five tries or more have failed in a row; tries go on, at most five minutes apart";
            (reason, ready, None, Some(Verdict::new(true, reason, message)))
        }
        Standing::Untried | Standing::Failing(_, _) => {
            let message = "Herald is verifying the endpoint";
            (reason, ready, Some(Verdict::new(true, reason, message)), None)
        }
    }
}

fn verified(stored: &WebhookStatus, wanted: Wanted<'_>, standing: &Standing) -> Verdict {
    let before = find(stored, ConditionType::Verified);
    let kept = |holds: bool| {
        before.filter(|c| (c.status == "True") == holds).map(|c| Verdict {
            holds,
            reason: c.reason.clone(),
            message: c.message.clone(),
        })
    };
    let pending = || {
        let message = match wanted.tls {
            Ok(()) => {
                let uri = without_query(wanted.uri);
                format!("Waiting for {uri} to prove that it agrees to receive this webhook")
            }
            Err(fault) => format!("The endpoint is not challenged yet: {}", fault.message),
        };
        Verdict::new(false, Reason::VerificationPending, message)
    };
    let proved = || Verdict::new(true, Reason::Verified, "The endpoint agrees to receive this webhook");
    match standing {
        Standing::Untried => pending(),
        Standing::Failing(_, Some(fault)) => Verdict::new(false, fault.reason, fault.message.as_str()),
        Standing::Failing(_, None) => kept(false).unwrap_or_else(pending),
        Standing::Proved => kept(true).unwrap_or_else(proved),
        Standing::ProvedAnew(None) => proved(),
        Standing::ProvedAnew(Some(fault)) => {
            let reason = fault.reason.as_str();
            let message = format!(
                "The proof stands; the last verification on demand failed: {reason}: {}",
                fault.message
            );
            Verdict::new(true, Reason::Verified, message)
        }
    }
}

/// The conditions of a webhook whose spec cannot be read: Verified stays as it was.
pub(super) fn of_unreadable(observed: &Observed<'_>, fault: &Fault, now: Timestamp) -> Vec<Condition> {
    let ready = Verdict::new(false, fault.reason, fault.message.as_str());
    let stalled = Verdict::new(true, fault.reason, "Herald waits for an edit: see Ready");
    [
        condition(observed, ConditionType::Ready, ready, now),
        find(observed.status, ConditionType::Verified).cloned(),
        condition(observed, ConditionType::Stalled, stalled, now),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The announcement of a fault, unless Ready tells of it already.
pub(super) fn newly(stored: &WebhookStatus, fault: &Fault) -> Vec<Announcement> {
    let told = find(stored, ConditionType::Ready).is_some_and(|ready| ready.reason == fault.reason.as_str());
    if told { Vec::new() } else { vec![Announcement::warning(fault.reason.as_str(), fault.message.clone())] }
}

/// Whether Verified has the reason of this fault already.
pub(super) fn says_already(stored: &WebhookStatus, fault: &Fault) -> bool {
    find(stored, ConditionType::Verified).is_some_and(|verified| verified.reason == fault.reason.as_str())
}

/// Whether the controller's conditions are not those that are stored, in whatever order.
pub(super) fn differ(planned: &WebhookStatus, stored: &WebhookStatus) -> bool {
    [ConditionType::Ready, ConditionType::Verified, ConditionType::Reconciling, ConditionType::Stalled]
        .into_iter()
        .any(|kind| find(planned, kind) != find(stored, kind))
}

fn find(status: &WebhookStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// The time of the last transition stays unless the condition's status changes.
fn condition(
    observed: &Observed<'_>,
    kind: ConditionType,
    verdict: Verdict,
    now: Timestamp,
) -> Option<Condition> {
    let status = if verdict.holds { "True" } else { "False" };
    let since: Option<Time> = match find(observed.status, kind) {
        Some(before) if before.status == status => Some(before.last_transition_time.clone()),
        Some(_) | None => time(now),
    };
    Some(Condition {
        type_: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: verdict.reason,
        message: verdict.message,
        observed_generation: Some(observed.generation),
        last_transition_time: since?,
    })
}

/// The reason that a stored condition names; one that this version does not know counts as pending.
fn known_reason(word: &str) -> Reason {
    const OF_VERIFIED: [Reason; 10] = [
        Reason::Verified,
        Reason::VerificationPending,
        Reason::NameNotResolved,
        Reason::AddressForbidden,
        Reason::ConnectionFailed,
        Reason::TLSFailed,
        Reason::TimedOut,
        Reason::UnexpectedStatus,
        Reason::MalformedAnswer,
        Reason::KeyMismatch,
    ];
    OF_VERIFIED.into_iter().find(|reason| reason.as_str() == word).unwrap_or(Reason::VerificationPending)
}
