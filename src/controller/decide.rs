//! What to do about one Webhook: a pure function of what is known and the time.
//!
//! ```text
//! spec, stored status, Secrets' verdict, outcome of a challenge ─> decide ─> status to store
//!                                                                       ├──> challenge to start, or to abandon
//!                                                                       ├──> when to look again
//!                                                                       └──> announcements
//! ```
//!
//! **Guarantees.** All that the next decision needs is in the status, so a
//! restart goes on where the last process stopped: what is proved is not
//! challenged again, and what failed waits for its time. Deciding twice from
//! the same state stores nothing and starts nothing new. A step of the time of
//! day, or its standing still, starts no try and puts none off for longer than
//! the longest delay.
//!
//! **Assumes.** The plan's status is stored before its challenge starts, and an
//! outcome is shown until a status that takes it in has been stored.
//!
//! The proof does not need the API key: a challenge carries no secret. So a
//! webhook whose API key is missing is challenged all the same, and is Ready as
//! soon as the Secret is there. Only the TLS material must resolve first.

mod conditions;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::conditions::Standing;
use crate::api::{Reason, Verification, VerificationAttempts, WebhookStatus, micro_time};
use crate::model::line::short_line;
use crate::model::{Backoff, Jitter, Timestamp, without_query};

/// The delays after failed tries.
const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_mins(5) };
/// After so many failures in a row the webhook counts as stalled.
const STALLED_AFTER: u32 = 5;
/// Between two tries on demand.
const BETWEEN_REQUESTED: Duration = Duration::from_secs(10);
/// When a Secret that is missing is asked for again: one without the label makes no noise when it appears.
const LOOK_FOR_SECRET: Duration = Duration::from_mins(1);

/// Everything that is known of a webhook when it is decided on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// `metadata.uid`
    pub uid: &'a str,
    /// `metadata.generation`
    pub generation: i64,
    /// What the spec asks for, or why it cannot be read.
    pub spec: Result<Wanted<'a>, &'a str>,
    /// The value of the annotation that asks for a verification.
    pub verify_requested: Option<&'a str>,
    /// The status as it is stored.
    pub status: &'a WebhookStatus,
    /// How far a challenge has got.
    pub progress: Progress<'a>,
    /// Whether the wait that the last decision on this state asked for is over, by the time that has passed.
    pub waited: bool,
}

/// The part of a spec that matters here.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the events go.
    pub uri: &'a str,
    /// The digest of `spec.tls`.
    pub tls_digest: &'a str,
    /// Whether events are sent.
    pub enabled: bool,
    /// What is wrong with the Secrets and `ConfigMap`s that it names.
    pub materials: Result<(), &'a Fault>,
    /// What is wrong with those that TLS needs.
    pub tls: Result<(), &'a Fault>,
}

/// One word for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The word.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// What a proof covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The object.
    pub uid: String,
    /// Its URI.
    pub uri: String,
    /// The digest of its TLS settings.
    pub tls_digest: String,
}

/// A challenge that has ended.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was tried.
    pub order: Order,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether the endpoint agreed.
    pub verdict: Result<(), Fault>,
}

/// How far a challenge has got.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// None is under way.
    Idle,
    /// One is under way.
    Running(&'a Target),
    /// One has ended and the status does not tell of it yet.
    Ended(&'a Trial),
}

/// A challenge to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be proved.
    pub target: Target,
    /// The value of the annotation that asked for it.
    pub requested: Option<String>,
    /// Whether a try for the same target has failed before.
    pub again: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The controller's part of the status, as it is to be stored.
    pub status: WebhookStatus,
    /// The reason of Ready in that status.
    pub ready: Reason,
    /// The challenge to start once the status is stored.
    pub challenge: Option<Order>,
    /// Whether the challenge under way is for something that is no longer wanted.
    pub abandon: bool,
    /// How long to wait for the next try; `None` if there is none, or now.
    pub next_try: Option<Duration>,
    /// When to decide again if nothing happens before.
    pub look_again: Option<Duration>,
    /// What people are told, once the status is stored.
    pub announcements: Vec<Announcement>,
}

/// What becomes a Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whether somebody should look at it.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub note: String,
}

impl Plan {
    /// Whether the controller's part of a stored status has to be written.
    pub fn differs_from(&self, stored: &WebhookStatus) -> bool {
        WebhookStatus { conditions: Vec::new(), ..self.status.clone() } != own_part(stored)
            || conditions::differ(&self.status, stored)
    }
}

/// Decides what to do about a webhook.
pub fn decide(observed: &Observed<'_>, now: Timestamp, jitter: Jitter) -> Plan {
    match observed.spec {
        Ok(wanted) => decide_readable(observed, wanted, now, jitter),
        Err(cause) => decide_unreadable(observed, cause, now),
    }
}

fn decide_unreadable(observed: &Observed<'_>, cause: &str, now: Timestamp) -> Plan {
    let fault = Fault { reason: Reason::Unreadable, message: sentence(cause) };
    let mut status = own_part(observed.status);
    status.observed_generation = Some(observed.generation);
    status.conditions = conditions::of_unreadable(observed, &fault, now);
    Plan {
        announcements: conditions::newly(observed.status, &fault),
        status,
        ready: Reason::Unreadable,
        challenge: None,
        abandon: matches!(observed.progress, Progress::Running(_)),
        next_try: None,
        look_again: None,
    }
}

fn decide_readable(observed: &Observed<'_>, wanted: Wanted<'_>, now: Timestamp, jitter: Jitter) -> Plan {
    let target = Target {
        uid: observed.uid.to_owned(),
        uri: wanted.uri.to_owned(),
        tls_digest: wanted.tls_digest.to_owned(),
    };
    let mut status = own_part(observed.status);
    let proved = status.verification.as_ref().is_some_and(|proof| target.is_proved_by(proof));
    status.attempts.take_if(|attempts| proved || !target.was_tried_by(attempts));
    let mut standing = if proved {
        Standing::Proved
    } else {
        status
            .attempts
            .as_ref()
            .map_or(Standing::Untried, |attempts| Standing::Failing(attempts.failures, None))
    };
    let mut announcements = Vec::new();
    if let Progress::Ended(trial) = observed.progress
        && trial.order.target == target
    {
        (standing, announcements) = take_in(trial, proved, &mut status, observed.status, jitter);
    }

    let (abandon, running) = match observed.progress {
        Progress::Running(other) => (*other != target, *other == target),
        Progress::Idle | Progress::Ended(_) => (false, false),
    };
    let request = observed
        .verify_requested
        .filter(|value| !value.is_empty() && status.last_handled_verify_request.as_deref() != Some(value));
    let next = if running || wanted.tls.is_err() {
        None
    } else {
        next_try(&status, matches!(standing, Standing::Proved | Standing::ProvedAnew(_)), request, now)
    };
    let challenge = next.filter(|next| next.at <= now || observed.waited).map(|next| Order {
        target,
        requested: next.requested.map(str::to_owned),
        again: status.attempts.is_some(),
    });

    if wanted.enabled
        && let Err(fault) = wanted.materials
    {
        announcements.extend(conditions::newly(observed.status, fault));
    }
    let (ready, conditions) = conditions::of_readable(observed, wanted, &standing, now);
    status.observed_generation = Some(observed.generation);
    status.conditions = conditions;
    let until_next = next.filter(|_| challenge.is_none()).map(|next| next.at.since(now));
    let until_secret =
        wanted.materials.is_err_and(|fault| fault.reason == Reason::SecretMissing).then_some(LOOK_FOR_SECRET);
    Plan {
        status,
        ready,
        challenge,
        abandon,
        next_try: until_next,
        look_again: [until_next, until_secret].into_iter().flatten().min(),
        announcements,
    }
}

/// What an ended challenge changes: where the webhook stands now, and what is said of it.
fn take_in(
    trial: &Trial,
    was_proved: bool,
    status: &mut WebhookStatus,
    stored: &WebhookStatus,
    jitter: Jitter,
) -> (Standing, Vec<Announcement>) {
    let Order { target, requested, .. } = &trial.order;
    if let Some(value) = requested {
        status.last_handled_verify_request = Some(value.clone());
        status.last_verify_request_time = micro_time(trial.began);
    }
    let fault = match &trial.verdict {
        Ok(()) => {
            status.attempts = None;
            let before = status.verification.as_ref().map(|proof| Timestamp::from(&proof.time));
            // By its time a proof is told from all before it, also while the time of day stands still.
            let time =
                before.map_or(trial.ended, |before| trial.ended.max(before.after(Duration::from_millis(1))));
            status.verification = micro_time(time).map(|time| Verification {
                uid: target.uid.clone(),
                uri: target.uri.clone(),
                tls_digest: target.tls_digest.clone(),
                time,
                revoked_time: None,
            });
            let uri = without_query(&target.uri);
            let note = format!("{uri} has proved that it agrees to receive this webhook");
            return (Standing::ProvedAnew(None), vec![Announcement::normal("Verified", note)]);
        }
        Err(fault) => Fault { reason: fault.reason, message: sentence(&fault.message) },
    };
    let refuses = matches!(fault.reason, Reason::KeyMismatch | Reason::MalformedAnswer);
    let told = format!("{}: {}", fault.reason.as_str(), fault.message);
    if was_proved && !refuses {
        let note = format!("The requested verification failed, the earlier proof stands. {told}");
        return (Standing::ProvedAnew(Some(fault)), vec![Announcement::warning("VerificationFailed", note)]);
    }
    if was_proved && let Some(proof) = &mut status.verification {
        // It stays, since what has been proved once goes on to be matched.
        proof.revoked_time = micro_time(trial.ended);
    }
    let failures = status.attempts.as_ref().map_or(0, |attempts| attempts.failures).saturating_add(1);
    let next = trial.ended.after(BACKOFF.delay(failures, jitter));
    status.attempts =
        micro_time(trial.ended).zip(micro_time(next)).map(|(last_time, next_time)| VerificationAttempts {
            uri: target.uri.clone(),
            tls_digest: target.tls_digest.clone(),
            failures,
            last_time,
            next_time,
        });
    let announcement = if was_proved {
        Some(Announcement::warning(
            "VerificationRevoked",
            format!("The earlier proof no longer counts. {told}"),
        ))
    } else if failures == 1 || requested.is_some() || !conditions::says_already(stored, &fault) {
        Some(Announcement::warning("VerificationFailed", told))
    } else if failures == STALLED_AFTER {
        Some(Announcement::warning(
            "VerificationFailed",
            format!("{failures} tries have failed, tries go on. {told}"),
        ))
    } else {
        None
    };
    (Standing::Failing(failures, Some(fault)), announcement.into_iter().collect())
}

#[derive(Clone, Copy)]
struct NextTry<'a> {
    at: Timestamp,
    requested: Option<&'a str>,
}

/// The next challenge: the one that was asked for, or the one that is due, whichever is earlier.
fn next_try<'a>(
    status: &WebhookStatus,
    proved: bool,
    request: Option<&'a str>,
    now: Timestamp,
) -> Option<NextTry<'a>> {
    let requested = request.map(|value| NextTry {
        at: status.last_verify_request_time.as_ref().map_or(now, |began| {
            let earliest = Timestamp::from(began).after(BETWEEN_REQUESTED);
            // After the time of day has been set back, a stored moment may lie far ahead.
            earliest.min(now.after(BETWEEN_REQUESTED))
        }),
        requested: Some(value),
    });
    let due = (!proved).then(|| NextTry {
        at: status
            .attempts
            .as_ref()
            .map_or(now, |attempts| Timestamp::from(&attempts.next_time).min(now.after(BACKOFF.max))),
        requested: None,
    });
    match (requested, due) {
        (Some(requested), Some(due)) if requested.at > now && due.at < requested.at => Some(due),
        (Some(next), _) | (None, Some(next)) => Some(next),
        (None, None) => None,
    }
}

/// What the controller owns of a stored status, without the conditions.
fn own_part(stored: &WebhookStatus) -> WebhookStatus {
    WebhookStatus { conditions: Vec::new(), delivery: None, ..stored.clone() }
}

impl Target {
    fn is_proved_by(&self, proof: &Verification) -> bool {
        proof.covers(&self.uid, &self.uri, &self.tls_digest)
    }

    fn was_tried_by(&self, attempts: &VerificationAttempts) -> bool {
        self.uri == attempts.uri && self.tls_digest == attempts.tls_digest
    }
}

impl Announcement {
    fn normal(reason: &'static str, note: String) -> Self {
        Self { warning: false, reason, note }
    }

    fn warning(reason: &'static str, note: String) -> Self {
        Self { warning: true, reason, note }
    }
}

/// Fit for a condition and a Kubernetes Event, whatever an endpoint made of it.
fn sentence(text: &str) -> String {
    short_line(text, 500)
}
