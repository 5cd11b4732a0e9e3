//! The wait before a Webhook's next try, by the time that passes.
//!
//! The status says at what time of day the next try is due. If that is set back, or stands
//! still, the moment does not come. So the wait that a decision asked for is remembered
//! here too, and [`decide`](super::decide::decide) is told when it is over.
//!
//! It may be lost: the next process waits anew, for no longer than the longest delay.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::decide::Plan;
use crate::api::{VerificationAttempts, WebhookStatus};

/// A wait that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    of: Cause,
    /// On [`crate::model::Clock::passed`].
    until: Duration,
}

/// What the wait follows from: when that is another, it is another wait.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    attempts: Option<VerificationAttempts>,
    last_request: Option<MicroTime>,
    requested: Option<String>,
}

impl Cause {
    fn of(status: &WebhookStatus, requested: Option<&str>) -> Self {
        Self {
            attempts: status.attempts.clone(),
            last_request: status.last_verify_request_time.clone(),
            requested: requested.map(str::to_owned),
        }
    }
}

impl Wait {
    /// Goes on with `before`, or begins, as `plan` says that was made when so much had `passed`.
    pub(super) fn go_on(
        before: Option<Self>,
        plan: &Plan,
        requested: Option<&str>,
        passed: Duration,
    ) -> Option<Self> {
        let next_try = plan.next_try?;
        let of = Cause::of(&plan.status, requested);
        let until = passed.saturating_add(next_try);
        let until = before.filter(|before| before.of == of).map_or(until, |before| before.until.min(until));
        Some(Self { of, until })
    }

    /// Whether it is the wait of this state, and is over.
    pub(super) fn is_over(&self, status: &WebhookStatus, requested: Option<&str>, passed: Duration) -> bool {
        self.until <= passed && self.of == Cause::of(status, requested)
    }

    /// How long it still lasts.
    pub(super) fn left(&self, passed: Duration) -> Duration {
        self.until.saturating_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Reason, micro_time};
    use crate::model::Timestamp;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A plan after so many failures, with the next try in so long.
    fn plan(failures: u32, next_try: Option<Duration>) -> Plan {
        let time = micro_time(Timestamp::from_millis(0)).unwrap();
        let attempts = VerificationAttempts {
            uri: "https://hooks.example.com/".to_owned(),
            tls_digest: "none".to_owned(),
            failures,
            last_time: time.clone(),
            next_time: time,
        };
        Plan {
            status: WebhookStatus { attempts: Some(attempts), ..WebhookStatus::default() },
            ready: Reason::TimedOut,
            challenge: None,
            abandon: false,
            next_try,
            look_again: next_try,
            announcements: Vec::new(),
        }
    }

    #[test]
    fn deciding_again_does_not_begin_the_wait_anew() {
        let plan = plan(1, Some(seconds(300)));
        let mut wait = None;
        for passed in [10, 100, 250] {
            wait = Wait::go_on(wait, &plan, None, seconds(passed));
            let wait = wait.as_ref().unwrap();
            assert_eq!(wait.left(seconds(passed)), seconds(310 - passed));
            assert!(!wait.is_over(&plan.status, None, seconds(309)));
            assert!(wait.is_over(&plan.status, None, seconds(310)));
        }
    }

    #[test]
    fn a_wait_is_that_of_one_failure_and_one_request_alone() {
        let first = plan(1, Some(seconds(1)));
        let wait = Wait::go_on(None, &first, None, seconds(0));
        let over = |status, requested| wait.as_ref().unwrap().is_over(status, requested, seconds(1));
        assert!(over(&first.status, None));
        let second = plan(2, Some(seconds(2)));
        assert!(!over(&second.status, None));
        assert!(!over(&first.status, Some("now")));
        let wait = Wait::go_on(wait.clone(), &second, None, seconds(1)).unwrap();
        assert_eq!(wait.left(seconds(1)), seconds(2));
        assert_eq!(Wait::go_on(Some(wait), &plan(2, None), None, seconds(1)), None, "it is tried");
    }
}
