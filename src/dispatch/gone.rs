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
            Proof::None | Proof::Outdated | Proof::Revoked => None,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::subscriptions::samples::known;

    #[test]
    fn a_mark_stands_for_its_uri_and_its_proof_alone() {
        let mark = GoneMark::of(&known(|_| {})).unwrap();
        assert!(mark.covers(&known(|_| {})));
        assert!(mark.covers(&known(|w| w["spec"]["name"] = json!("Other"))));
        // In the same second, and a later one all the same.
        let proved_again = |time| known(|w| w["status"]["verification"]["time"] = json!(time));
        assert!(!mark.covers(&proved_again("2026-11-24T08:00:00.750000Z")));
        assert!(!mark.covers(&known(|w| w["spec"]["uri"] = json!("https://other.example.com"))));
        assert!(!mark.covers(&known(|w| {
            w["spec"]["uri"] = json!("https://other.example.com");
            w["status"]["verification"]["uri"] = json!("https://other.example.com");
        })));
        assert_eq!(GoneMark::of(&known(|w| w["status"] = json!({}))), None);
    }

    #[test]
    fn a_mark_is_read_as_it_was_stored_and_another_versions_is_as_good_as_none() {
        let mark = GoneMark::of(&known(|_| {}));
        assert_eq!(GoneMark::load(&GoneMark::store(mark.clone())), mark);
        assert_eq!(GoneMark::load(&GoneMark::store(None)), None);
        for other in [&b""[..], b"{}", b"{\"version\":\"2\",\"gone\":null}", b"\xff"] {
            assert_eq!(GoneMark::load(&LaneState(other.to_vec())), None);
        }
    }
}
