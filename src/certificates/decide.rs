//! Which CA signs, which is to follow, and when: a pure function.
//!
//! ```text
//! Begin ─> signing ── little is left ─> MakeNext ─> in every bundle ── a lead later ─> Switch
//!             ^                                                                          │
//!             └──────────────────────────────────────────────────────────────────────────┘
//!          the old one: retired, without its key, in the bundles until its own end ─> Forget
//! ```

use super::certificate::{Unreadable, Validity};
use super::lifetimes::Lifetimes;
use crate::model::Timestamp;

/// What is stored of the CAs.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// The one that signs.
    pub(super) signing: Result<Validity, Loss>,
    /// The one that is to follow.
    pub(super) next: Option<Successor>,
    /// When those that have signed before end.
    pub(super) retired: Vec<Timestamp>,
}

/// The CA that is to follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Successor {
    pub(super) validity: Validity,
    /// Since when every bundle has had it.
    pub(super) published: Option<Timestamp>,
}

/// Why there is no CA that can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Loss {
    #[error("there was none")]
    Missing,
    #[error("what is stored cannot be used: {0}")]
    Broken(#[from] Unreadable),
    #[error("the old one has expired")]
    Expired,
    #[error("the old one is not valid yet")]
    NotYetValid,
}

/// The next change of what is stored. One at a time, each decided on what the last one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a CA that signs at once.
    Begin(Loss),
    /// Make the CA that is to follow.
    MakeNext,
    /// Let the next CA sign; before its time if the old one is lost.
    Switch(Option<Loss>),
    /// Drop the retired CAs that have ended.
    Forget,
    /// Nothing, until then.
    Wait(Timestamp),
}

/// What is to be done now.
pub(super) fn decide(observed: &Observed, lifetimes: &Lifetimes, now: Timestamp) -> Step {
    let next = observed.next.filter(|next| next.validity.covers(now));
    let signing = match usable(observed.signing, now) {
        Ok(validity) => validity,
        // It is in most bundles, if not in all: better than one that nobody knows.
        Err(loss) if next.is_some() => return Step::Switch(Some(loss)),
        Err(loss) => return Step::Begin(loss),
    };
    if observed.retired.iter().any(|end| *end <= now) {
        return Step::Forget;
    }
    let ends = observed.retired.iter().copied().chain([signing.until]);
    let due = match next {
        // A moment that is yet to come was written by a clock that was wrong.
        Some(Successor { published: Some(published), .. }) if published <= now => {
            let due = published.after(lifetimes.lead());
            if due <= now {
                return Step::Switch(None);
            }
            Some(due)
        }
        Some(_) => None,
        None if signing.left(now) <= lifetimes.successor_due() => return Step::MakeNext,
        None => Some(now.after(signing.left(now).saturating_sub(lifetimes.successor_due()))),
    };
    Step::Wait(ends.chain(due).min().unwrap_or(signing.until))
}

fn usable(signing: Result<Validity, Loss>, now: Timestamp) -> Result<Validity, Loss> {
    let validity = signing?;
    if validity.covers(now) {
        Ok(validity)
    } else if now < validity.from {
        Err(Loss::NotYetValid)
    } else {
        Err(Loss::Expired)
    }
}

#[cfg(test)]
mod tests;
