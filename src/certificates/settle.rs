//! Brings the CAs to rest: step by step, each stored before the next is decided.

use k8s_openapi::api::core::v1::Secret;

use super::authorities::Authorities;
use super::authority::Authority;
use super::decide::{Loss, Step, decide};
use super::keeper::{Keeper, RoundError};
use super::marks::Marks;
use super::metrics::Which;
use crate::model::Timestamp;

/// No sequence of steps is longer; what goes on for longer is a fault of ours.
const STEPS: usize = 8;

impl Keeper {
    /// Brings the CAs to rest; says what is stored then, and until when it may rest.
    pub(super) async fn settle(&self, marks: &Marks) -> Result<(Authorities, Secret, Timestamp), RoundError> {
        let lifetimes = &self.config.lifetimes;
        let mut stored = self.ca.get().await.map_err(|error| self.ca_failed(&error))?;
        let mut authorities = Authorities::read(stored.as_ref().and_then(|secret| secret.data.as_ref()));
        for _ in 0..STEPS {
            let now = self.config.clock.now();
            let step = decide(&authorities.observed(), lifetimes, now);
            match step {
                Step::Begin(_) => authorities.begin(Authority::make(lifetimes, now)?, now),
                Step::MakeNext => authorities.follow(Authority::make(lifetimes, now)?),
                Step::Switch(_) => authorities.switch(now),
                Step::Forget => authorities.forget(now),
                Step::Wait(_) => {}
            }
            let written = self.ca.store(stored.take(), authorities.data(), marks).await;
            let written = written.map_err(|error| self.ca_failed(&error))?;
            self.tell(step, &authorities);
            if let Step::Wait(due) = step {
                return Ok((authorities, written, due));
            }
            stored = Some(written);
        }
        Err(RoundError::Restless)
    }

    /// Says what was done, once it is stored.
    fn tell(&self, step: Step, authorities: &Authorities) {
        let certificate = &self.config.name;
        let Some(ca) = authorities.signing().map(|signing| signing.certificate().validity) else { return };
        self.metrics.ends(Which::Ca, ca.until);
        match step {
            Step::Begin(Loss::Missing) => {
                tracing::info!(%certificate, until = %ca.until, "a CA was made, and signs");
            }
            Step::Begin(why) => {
                tracing::warn!(%certificate, until = %ca.until, %why, "a CA was made that nobody knows yet, and signs");
            }
            Step::MakeNext => tracing::info!(%certificate, "the next CA was made"),
            Step::Switch(None) => tracing::info!(%certificate, until = %ca.until, "the next CA signs now"),
            Step::Switch(Some(why)) => {
                tracing::warn!(%certificate, until = %ca.until, %why, "the next CA signs before its time");
            }
            Step::Forget => tracing::info!(%certificate, "a CA that has expired is trusted no more"),
            Step::Wait(_) => {}
        }
        if matches!(step, Step::Begin(_) | Step::MakeNext) {
            self.metrics.issued(Which::Ca);
        }
    }
}
