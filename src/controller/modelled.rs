//! A reconcile for the model in [`crate::tests::model`]: [`decide`] and
//! [`Wait`], called as [`super::reconcile`] calls them.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::decide::{Fault, Observed, Order, Plan, Progress, Target, Trial, Wanted, decide};
use super::wait::Wait;
use crate::api::{Reason, WebhookStatus};
use crate::model::{Jitter, Timestamp};

/// The time of day stands still. What waits for a moment is told that it has waited.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// How far the challenge of the webhook has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Challenge {
    #[default]
    None,
    Running(Aim),
    Ended(Aim, Agrees),
}

/// What is challenged, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Aim {
    pub(crate) uid: String,
    pub(crate) uri: String,
    pub(crate) tls_digest: String,
    pub(crate) requested: Option<String>,
    pub(crate) again: bool,
}

/// How the endpoint answered a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Agrees {
    Yes,
    /// Another key came back: it refuses.
    Refuses,
    /// It did not answer in time.
    Silent,
}

/// A wait that can be part of a state.
#[derive(Clone, Debug)]
pub(crate) struct ModelWait {
    wait: Wait,
    print: String,
}

impl PartialEq for ModelWait {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for ModelWait {}

impl Hash for ModelWait {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

/// A version of a Webhook, as the controller reads it.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) uid: &'a str,
    pub(crate) generation: i64,
    pub(crate) uri: &'a str,
    pub(crate) tls_digest: &'a str,
    pub(crate) enabled: bool,
    pub(crate) has_key: bool,
    pub(crate) requested: Option<&'a str>,
    pub(crate) status: &'a WebhookStatus,
}

/// What a decision came to.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// The controller's part of the status, if it has to be written.
    pub(crate) write: Option<WebhookStatus>,
    pub(crate) abandon: bool,
    pub(crate) start: Option<Aim>,
    pub(crate) wait: Option<ModelWait>,
}

/// Decides as `Reconciler::settle` does. Once `time_passes`, the wait is over.
pub(crate) fn reconcile(
    seen: &Seen<'_>,
    challenge: &Challenge,
    wait: Option<&ModelWait>,
    time_passes: bool,
) -> Decided {
    let missing = Fault { reason: Reason::SecretMissing, message: "create it".to_owned() };
    let running;
    let trial;
    let progress = match challenge {
        Challenge::None => Progress::Idle,
        Challenge::Running(aim) => {
            running = aim.target();
            Progress::Running(&running)
        }
        Challenge::Ended(aim, agrees) => {
            let order = Order { target: aim.target(), requested: aim.requested.clone(), again: aim.again };
            trial = Trial { order, began: NOW, ended: NOW, verdict: agrees.verdict() };
            Progress::Ended(&trial)
        }
    };
    let passed = if time_passes { Duration::MAX } else { Duration::ZERO };
    let observed = Observed {
        uid: seen.uid,
        generation: seen.generation,
        spec: Ok(Wanted {
            uri: seen.uri,
            tls_digest: seen.tls_digest,
            enabled: seen.enabled,
            materials: if seen.has_key { Ok(()) } else { Err(&missing) },
            tls: Ok(()),
        }),
        verify_requested: seen.requested,
        status: seen.status,
        progress,
        waited: wait.is_some_and(|wait| wait.wait.is_over(seen.status, seen.requested, passed)),
    };
    let plan = decide(&observed, NOW, Jitter::LONGEST);
    let wait = Wait::go_on(wait.map(|wait| wait.wait.clone()), &plan, seen.requested, Duration::ZERO);
    let write = plan.differs_from(seen.status).then(|| plan.status.clone());
    let Plan { challenge, abandon, .. } = plan;
    Decided {
        write,
        abandon,
        start: challenge.map(Aim::of),
        wait: wait.map(|wait| ModelWait { print: format!("{wait:?}"), wait }),
    }
}

impl Aim {
    fn of(order: Order) -> Self {
        let Order { target: Target { uid, uri, tls_digest }, requested, again } = order;
        Self { uid, uri, tls_digest, requested, again }
    }

    fn target(&self) -> Target {
        Target { uid: self.uid.clone(), uri: self.uri.clone(), tls_digest: self.tls_digest.clone() }
    }
}

impl Agrees {
    fn verdict(self) -> Result<(), Fault> {
        let fault = |reason: Reason| Err(Fault { reason, message: reason.meaning().to_owned() });
        match self {
            Self::Yes => Ok(()),
            Self::Refuses => fault(Reason::KeyMismatch),
            Self::Silent => fault(Reason::TimedOut),
        }
    }
}
