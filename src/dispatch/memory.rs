//! What a lane remembers of its endpoint, across restarts and takeovers.

use serde::{Deserialize, Serialize};

use super::circuit::OpenCircuit;
use crate::api::DeliveringReason;
use crate::journal::LaneState;
use crate::subscriptions::{Known, Proof, Standing};

/// What was found out, and of which endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    /// It answered 410.
    pub(super) gone: Option<Mark>,
    /// It failed too often.
    pub(super) circuit: Option<(Mark, OpenCircuit)>,
}

/// One URI and one proof of it. What is remembered of them ends with a later
/// proof, or with another URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Mark {
    uri: String,
    proved_at: String,
}

/// The stored form, with a version so that it can change. What a version does
/// not know it leaves out, so that an older program reads what a newer one adds.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    One {
        gone: Option<Mark>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        circuit: Option<(Mark, OpenCircuit)>,
    },
}

impl Mark {
    /// Of the endpoint as the webhook is now; `None` while it is not proved.
    pub(super) fn of(known: &Known) -> Option<Self> {
        match &known.proof {
            Proof::Current(proved_at) => {
                Some(Self { uri: known.settings.uri.to_string(), proved_at: proved_at.clone() })
            }
            Proof::None | Proof::Outdated | Proof::Revoked => None,
        }
    }

    /// Whether it is of the webhook as it is now.
    pub(super) fn covers(&self, known: &Known) -> bool {
        Self::of(known).as_ref() == Some(self)
    }
}

impl Memory {
    pub(super) fn store(&self) -> LaneState {
        let Self { gone, circuit } = self.clone();
        LaneState(serde_json::to_vec(&Stored::One { gone, circuit }).unwrap_or_default())
    }

    /// What cannot be read is as good as nothing: the endpoint says it again.
    pub(super) fn load(state: &LaneState) -> Self {
        match serde_json::from_slice(&state.0) {
            Ok(Stored::One { gone, circuit }) => Self { gone, circuit },
            Err(_) => Self::default(),
        }
    }

    /// Whether the endpoint, as the webhook is now, has answered 410.
    pub(super) fn is_gone(&self, known: &Known) -> bool {
        self.gone.as_ref().is_some_and(|mark| mark.covers(known))
    }

    /// The standing of a webhook that its view gives, with what is remembered of its endpoint.
    pub(super) fn restrict(&self, standing: Standing) -> Standing {
        match standing {
            Standing::Sendable(known) if self.is_gone(&known) => {
                let message = format!(
                    "{} answered 410 Gone; events are held until it proves itself again (annotate with \
                     herald.dev/verify-requested-at) or spec.uri names another endpoint",
                    known.settings.uri
                );
                Standing::Held(DeliveringReason::Gone, message)
            }
            Standing::Sendable(_) | Standing::Held(..) | Standing::Gone => standing,
        }
    }

    /// The open circuit of the endpoint as the webhook is now.
    pub(super) fn circuit(&self, known: &Known) -> Option<OpenCircuit> {
        self.circuit.as_ref().filter(|(mark, _)| mark.covers(known)).map(|(_, open)| open.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::subscriptions::samples::known;

    #[test]
    fn a_mark_stands_for_its_uri_and_its_proof_alone() {
        let mark = Mark::of(&known(|_| {})).unwrap();
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
        assert_eq!(Mark::of(&known(|w| w["status"] = json!({}))), None);
    }

    #[test]
    fn it_is_read_as_it_was_stored_and_another_versions_is_as_good_as_none() {
        let mark = Mark::of(&known(|_| {}));
        let open = json!({"probeAt": 5, "probes": 1, "reason": "TimedOut", "message": "too slow"});
        let open: OpenCircuit = serde_json::from_value(open).unwrap();
        for memory in [
            Memory::default(),
            Memory { gone: mark.clone(), circuit: None },
            Memory { gone: None, circuit: mark.clone().map(|mark| (mark, open)) },
        ] {
            assert_eq!(Memory::load(&memory.store()), memory);
        }
        for other in [&b""[..], b"{}", b"{\"version\":\"2\",\"gone\":null}", b"\xff"] {
            assert_eq!(Memory::load(&LaneState(other.to_vec())), Memory::default());
        }
    }

    #[test]
    fn what_the_first_version_wrote_is_read_and_what_a_later_one_adds_does_no_harm() {
        let stored = json!({
            "version": "1",
            "gone": {"uri": "https://a.example.com/", "proved_at": "2026-11-24T08:00:00Z"},
        });
        let memory = |value: &serde_json::Value| Memory::load(&LaneState(value.to_string().into_bytes()));
        assert!(memory(&stored).gone.is_some());
        let mut later = stored;
        later["unheard-of"] = json!(true);
        assert!(memory(&later).gone.is_some());
    }
}
