//! One webhook as the dispatcher sees it, and whether it may be sent to.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::{Credentials, ObjectName, Problem};
use crate::api::{
    ConditionType, DeliveringReason, DeliveryStatus, Settings, SpecError, Webhook, WebhookSpec,
};
use crate::model::WebhookUid;
use crate::model::line::short_line;

/// What this process knows of a webhook.
#[derive(Clone, Debug)]
pub enum View {
    /// Nothing: it was not seen yet, or is not watched any more.
    Unknown,
    /// It exists, and what it wants cannot be read.
    Unreadable(Arc<Unreadable>),
    /// One version of it.
    Known(Arc<Known>),
    /// It is confirmed gone.
    Gone,
}

/// One version of a Webhook that this process cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its namespace and name.
    pub object: ObjectName,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// What is wrong with it.
    pub why: String,
}

impl Unreadable {
    /// For the status: what is wrong, what that means, and what to do.
    pub fn message(&self) -> String {
        let why = short_line(&self.why, 700);
        format!(
            "this version of Herald cannot read the webhook: {why}; what is queued is held, and nothing is \
             queued for it, until it is edited or the version that wrote it runs"
        )
    }
}

/// One resourceVersion of a Webhook, with what it refers to.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its identity.
    pub uid: WebhookUid,
    /// Its namespace and name.
    pub object: ObjectName,
    /// The generation of its spec.
    pub generation: i64,
    /// Its spec, checked.
    pub settings: Settings,
    /// Its last proof.
    pub proof: Proof,
    /// What its Secrets and `ConfigMap`s give.
    pub credentials: Result<Credentials, Problem>,
    /// Whether the controller has looked at it, at whatever generation.
    pub looked_at: bool,
    /// What its status says of the dispatcher's work.
    pub reported: Reported,
    /// Kept to resolve it again when a Secret changes.
    pub(super) spec: Arc<WebhookSpec>,
}

/// What `status.verification` proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing of this object.
    None,
    /// This object, but another URI or other TLS settings.
    Outdated,
    /// This object, but the endpoint has refused since.
    Revoked,
    /// This object as it is, at this time (RFC 3339).
    Current(String),
}

/// The dispatcher's own part of the status, as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    /// The condition `Delivering`.
    pub delivering: Option<Condition>,
    /// The rest.
    pub delivery: Option<DeliveryStatus>,
}

/// Whether a webhook may be sent to now.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It may.
    Sendable(Arc<Known>),
    /// Its deliveries are held, for a reason and with a sentence for people.
    Held(DeliveringReason, String),
    /// Its deliveries are to be dropped.
    Gone,
}

impl Known {
    /// Reads a Webhook.
    pub(super) fn read(
        webhook: Webhook,
        uid: WebhookUid,
        credentials: Result<Credentials, Problem>,
    ) -> Result<Self, SpecError> {
        let settings = Settings::read(&webhook.spec)?;
        let status = webhook.status.unwrap_or_default();
        let own = webhook.metadata.uid.as_deref().unwrap_or_default();
        let proof = match &status.verification {
            Some(proof) if proof.covers(own, settings.uri.as_str(), &settings.tls_digest) => {
                Proof::Current(proof.time.0.to_string())
            }
            Some(proof) if proof.uid != own => Proof::None,
            None => Proof::None,
            Some(proof) if proof.revoked_time.is_some() => Proof::Revoked,
            Some(_) => Proof::Outdated,
        };
        let delivering =
            status.conditions.into_iter().find(|c| c.type_ == ConditionType::Delivering.as_str());
        Ok(Self {
            uid,
            object: ObjectName::new(
                webhook.metadata.namespace.as_deref().unwrap_or_default(),
                webhook.metadata.name.as_deref().unwrap_or_default(),
            ),
            generation: webhook.metadata.generation.unwrap_or_default(),
            settings,
            proof,
            credentials,
            looked_at: status.observed_generation != Some(-1),
            reported: Reported { delivering, delivery: status.delivery },
            spec: Arc::new(webhook.spec),
        })
    }

    /// Whether an event that is accepted now may be matched to it: it is
    /// enabled, and this object has been proved at least once.
    pub fn takes_events(&self) -> bool {
        self.settings.enabled && self.proof != Proof::None
    }
}

impl View {
    /// Whether what the webhook has may be sent, by this one version of it.
    pub fn standing(&self) -> Standing {
        let known = match self {
            Self::Known(known) => known,
            Self::Gone => return Standing::Gone,
            Self::Unknown => {
                return Standing::Held(DeliveringReason::Unreadable, "the webhook is not in view".to_owned());
            }
            Self::Unreadable(it) => return Standing::Held(DeliveringReason::Unreadable, it.message()),
        };
        if !known.settings.enabled {
            let message = "spec.enabled is false; what is queued is held until it is true again".to_owned();
            return Standing::Held(DeliveringReason::Disabled, message);
        }
        match &known.proof {
            Proof::Current(_) => {}
            Proof::None => {
                let message = "the endpoint has not proved itself yet; see the condition Verified".to_owned();
                return Standing::Held(DeliveringReason::NotVerified, message);
            }
            Proof::Revoked => {
                let message = "the endpoint refused its last verification; events are held until it proves \
                               itself again: see the condition Verified"
                    .to_owned();
                return Standing::Held(DeliveringReason::NotVerified, message);
            }
            Proof::Outdated => {
                let message =
                    "spec.uri or spec.tls has changed since the last proof; events are held until the new \
                               endpoint has proved itself: see the condition Verified"
                        .to_owned();
                return Standing::Held(DeliveringReason::NotVerified, message);
            }
        }
        match &known.credentials {
            Ok(_) => Standing::Sendable(known.clone()),
            Err(problem) => Standing::Held(DeliveringReason::SecretsUnresolved, problem.message.clone()),
        }
    }

    /// Why what the webhook has is held, with the reason before the sentence;
    /// `None` if it is sent, or is to be dropped. What only its lane knows, as
    /// that its circuit is open, is as its status has it.
    pub fn held(&self) -> Option<String> {
        match self.standing() {
            Standing::Held(reason, message) => Some(format!("{}: {message}", reason.as_str())),
            Standing::Sendable(known) => {
                let delivering = known.reported.delivering.as_ref()?;
                (delivering.status == "False")
                    .then(|| format!("{}: {}", delivering.reason, delivering.message))
            }
            Standing::Gone => None,
        }
    }
}

/// The UID of an object, if it has one that is a UUID.
pub(super) fn uid_of<K: kube::Resource>(object: &K) -> Option<WebhookUid> {
    object.uid().and_then(|uid| uid.parse().ok())
}

/// Webhooks for the tests of whatever is decided from one.
#[cfg(test)]
pub(crate) mod samples {
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{Reason, tls_digest};
    use crate::outbound::TlsSettings;

    pub(crate) const UID: &str = "3f1a2b4c-0000-4000-8000-000000000001";

    /// A Webhook that is enabled and proved, for users created.
    pub(crate) fn webhook(edit: impl FnOnce(&mut Value)) -> Webhook {
        let mut webhook = json!({
            "apiVersion": "herald.dev/v1alpha1",
            "kind": "Webhook",
            "metadata": {"name": "audit", "namespace": "identity", "uid": UID, "generation": 3},
            "spec": {
                "name": "Audit",
                "uri": "https://hooks.example.com/users",
                "apiKeySecretRef": {"name": "audit", "key": "api-key"},
                "events": ["User created"],
            },
            "status": {"verification": {
                "uid": UID,
                "uri": "https://hooks.example.com/users",
                "tlsDigest": tls_digest(None),
                "time": "2026-11-24T08:00:00.250000Z",
            }},
        });
        edit(&mut webhook);
        serde_json::from_value(webhook).unwrap()
    }

    /// The same as a dispatcher knows it, with its API key at hand.
    pub(crate) fn known(edit: impl FnOnce(&mut Value)) -> Known {
        read(webhook(edit), true)
    }

    /// A Webhook as a dispatcher knows it, with or without its API key at hand.
    pub(crate) fn read(webhook: Webhook, has_key: bool) -> Known {
        let credentials = Credentials {
            api_key: HeaderValue::from_static("key"),
            signing: None,
            tls: TlsSettings::default(),
        };
        let missing =
            Problem { reason: Reason::SecretMissing, message: "create it".to_owned(), missing: None };
        let uid = uid_of(&webhook).unwrap();
        Known::read(webhook, uid, if has_key { Ok(credentials) } else { Err(missing) }).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::samples::known;
    use super::*;
    use crate::api::Reason;

    fn held(view: &View) -> Option<DeliveringReason> {
        match view.standing() {
            Standing::Held(reason, message) => {
                assert!(!message.is_empty());
                Some(reason)
            }
            Standing::Sendable(_) => None,
            Standing::Gone => panic!("it is known"),
        }
    }

    type Edit = fn(&mut Value);

    #[test]
    fn a_webhook_is_sent_to_only_enabled_and_under_its_own_proof_of_what_it_is_now() {
        use DeliveringReason::{Disabled, NotVerified};
        let table: [(&str, Edit, Option<DeliveringReason>, bool); 9] = [
            ("as it is", |_| {}, None, true),
            ("disabled", |w| w["spec"]["enabled"] = json!(false), Some(Disabled), false),
            ("never proved", |w| w["status"] = json!({}), Some(NotVerified), false),
            (
                "another URI",
                |w| w["spec"]["uri"] = json!("https://other.example.com"),
                Some(NotVerified),
                true,
            ),
            (
                "a proof that was revoked",
                |w| w["status"]["verification"]["revokedTime"] = json!("2026-11-24T09:00:00.000000Z"),
                Some(NotVerified),
                true,
            ),
            (
                "other TLS settings",
                |w| w["spec"]["tls"] = json!({"caConfigMapRef": {"name": "ca", "key": "ca.crt"}}),
                Some(NotVerified),
                true,
            ),
            (
                "the proof of another object",
                |w| w["status"]["verification"]["uid"] = json!("3f1a2b4c-0000-4000-8000-000000000002"),
                Some(NotVerified),
                false,
            ),
            (
                "disabled and never proved",
                |w| {
                    w["spec"]["enabled"] = json!(false);
                    w["status"] = json!({});
                },
                Some(Disabled),
                false,
            ),
            ("another name", |w| w["spec"]["name"] = json!("Other"), None, true),
        ];
        for (what, edit, reason, takes_events) in table {
            let known = known(edit);
            assert_eq!(known.takes_events(), takes_events, "{what}");
            assert_eq!(held(&View::Known(Arc::new(known))), reason, "{what}");
        }
    }

    #[test]
    fn without_its_secrets_it_is_held_and_still_matched() {
        let problem =
            Problem { reason: Reason::SecretMissing, message: "create it".to_owned(), missing: None };
        let known = Known { credentials: Err(problem), ..known(|_| {}) };
        assert!(known.takes_events());
        assert_eq!(held(&View::Known(Arc::new(known))), Some(DeliveringReason::SecretsUnresolved));
    }

    #[test]
    fn why_it_is_held_is_its_standing_or_what_its_lane_has_reported() {
        let reported = |status: &'static str| {
            move |webhook: &mut Value| {
                webhook["status"]["conditions"] = json!([{
                    "type": "Delivering", "status": status, "reason": "CircuitOpen", "message": "five failed",
                    "lastTransitionTime": "2026-11-24T08:30:00Z",
                }]);
            }
        };
        let why = |known: Known| View::Known(Arc::new(known)).held();
        assert_eq!(why(known(|_| {})), None);
        assert_eq!(why(known(reported("True"))), None);
        assert_eq!(why(known(reported("False"))).unwrap(), "CircuitOpen: five failed");
        let disabled = known(|webhook| {
            reported("False")(webhook);
            webhook["spec"]["enabled"] = json!(false);
        });
        assert!(why(disabled).unwrap().starts_with("Disabled: spec.enabled is false"), "it decides");
        assert_eq!(View::Unknown.held().unwrap(), "Unreadable: the webhook is not in view");
        assert_eq!(View::Gone.held(), None);
    }

    #[test]
    fn what_is_not_in_view_is_held_and_only_what_is_confirmed_gone_is_dropped() {
        assert_eq!(held(&View::Unknown), Some(DeliveringReason::Unreadable));
        let object = ObjectName::new("identity", "audit");
        let unreadable = Unreadable { object, generation: Some(2), why: "why".to_owned() };
        assert_eq!(held(&View::Unreadable(unreadable.into())), Some(DeliveringReason::Unreadable));
        assert!(matches!(View::Gone.standing(), Standing::Gone));
    }
}
