//! What a lane remembers of a 410.

use serde::{Deserialize, Serialize};

use crate::journal::LaneState;
use crate::subscriptions::{Known, Proof};

/// The endpoint that answered 410. It stands for that URI and that proof: a
/// later proof, or another URI, ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoneMark {
    uri: String,
    proved_at: String,
}

/// The stored form, with a version so that it can change.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    One { gone: Option<GoneMark> },
}

impl GoneMark {
    /// For an endpoint that has just answered 410.
    pub(super) fn of(known: &Known) -> Option<Self> {
        match &known.proof {
            Proof::Current(proved_at) => {
                Some(Self { uri: known.settings.uri.to_string(), proved_at: proved_at.clone() })
            }
            Proof::None | Proof::Outdated => None,
        }
    }

    /// Whether it still stands for the webhook as it is now.
    pub(super) fn covers(&self, known: &Known) -> bool {
        Self::of(known).as_ref() == Some(self)
    }

    pub(super) fn store(mark: Option<Self>) -> LaneState {
        LaneState(serde_json::to_vec(&Stored::One { gone: mark }).unwrap_or_default())
    }

    /// A state that cannot be read is as good as none: the endpoint says 410 again.
    pub(super) fn load(state: &LaneState) -> Option<Self> {
        let Stored::One { gone } = serde_json::from_slice(&state.0).ok()?;
        gone
    }
}
