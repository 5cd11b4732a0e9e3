//! Webhooks as parts of a state: small, comparable, and read by the product's own types.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

use crate::api::{ConditionType, Webhook, WebhookStatus};
use crate::subscriptions::{Known, samples};

/// The objects that have had the name, one after the other.
pub(super) const UIDS: [&str; 2] =
    ["3f1a2b4c-0000-4000-8000-000000000001", "3f1a2b4c-0000-4000-8000-000000000002"];
const URIS: [&str; 2] = ["https://a.example.com/", "https://b.example.com/"];
/// Of every delivery.
pub(super) const MAX_ATTEMPTS: u8 = 2;

/// One version of the Webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Object {
    /// Which of [`UIDS`].
    pub(super) uid: usize,
    /// Which of the two.
    pub(super) uri: usize,
    /// Whether it names a CA.
    pub(super) tls: bool,
    pub(super) enabled: bool,
    /// The value of the annotation that asks for a verification; 0 for none.
    pub(super) request: u8,
    pub(super) generation: i64,
    pub(super) status: Status,
}

/// A status, compared by what is written in it.
#[derive(Clone)]
pub(super) struct Status(Arc<(WebhookStatus, u64)>);

impl Object {
    /// A new one, which nobody has looked at.
    pub(super) fn new(uid: usize) -> Self {
        let status = WebhookStatus { observed_generation: Some(-1), ..WebhookStatus::default() };
        let status = Status::new(status);
        Self { uid, uri: 0, tls: false, enabled: true, request: 0, generation: 1, status }
    }

    /// As the API server gives it.
    fn webhook(&self) -> Webhook {
        let mut webhook = samples::webhook(|w| {
            w["metadata"]["uid"] = json!(UIDS[self.uid]);
            w["metadata"]["generation"] = json!(self.generation);
            w["spec"]["uri"] = json!(URIS[self.uri]);
            w["spec"]["enabled"] = json!(self.enabled);
            w["spec"]["delivery"] = json!({"maxAttempts": MAX_ATTEMPTS});
            if self.tls {
                w["spec"]["tls"] = json!({"caConfigMapRef": {"name": "ca", "key": "ca.crt"}});
            }
        });
        webhook.status = Some(self.status.get().clone());
        webhook
    }

    /// As both the controller and the dispatcher read it.
    pub(super) fn read(&self, has_key: bool) -> Known {
        samples::read(self.webhook(), has_key)
    }

    pub(super) fn requested(&self) -> Option<String> {
        (self.request > 0).then(|| self.request.to_string())
    }

    /// With what the controller applies: the dispatcher's part stays.
    pub(super) fn with_controllers(&self, applied: &WebhookStatus) -> Self {
        let stored = self.status.get();
        let theirs = stored.conditions.iter().filter(|c| c.type_ == ConditionType::Delivering.as_str());
        let conditions = applied.conditions.iter().chain(theirs).cloned().collect();
        let status = WebhookStatus { conditions, delivery: stored.delivery.clone(), ..applied.clone() };
        Self { status: Status::new(status), ..self.clone() }
    }

    /// With what the dispatcher applies: the controller's part stays.
    pub(super) fn with_dispatchers(&self, applied: Condition) -> Self {
        let mut status = self.status.get().clone();
        status.conditions.retain(|c| c.type_ != applied.type_);
        status.conditions.push(applied);
        Self { status: Status::new(status), ..self.clone() }
    }

    pub(super) fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.status.get().conditions.iter().find(|c| c.type_ == kind.as_str())
    }

    /// Whether `status.verification` is of this object as it is: written down
    /// here once more, for the properties not to depend on what they judge.
    pub(super) fn is_proved(&self) -> bool {
        let proof = self.status.get().verification.as_ref();
        proof.is_some_and(|proof| {
            proof.revoked_time.is_none()
                && endpoint(&proof.uid, &proof.uri, &proof.tls_digest) == self.endpoint()
        })
    }

    /// Whether a lane's state in the journal says that the endpoint has answered 410 since its
    /// proof: read here once more, as well.
    pub(super) fn is_gone(&self, lane_state: Option<&String>) -> bool {
        let stored: Option<serde_json::Value> = lane_state.map(|text| serde_json::from_str(text).unwrap());
        let proof = self.status.get().verification.as_ref();
        stored.zip(proof).is_some_and(|(stored, proof)| {
            stored["gone"] == json!({"uri": URIS[self.uri], "proved_at": proof.time.0.to_string()})
        })
    }

    /// With what a backup has of the one before it: another object with the same status.
    pub(super) fn restored(self) -> Self {
        Self { uid: 1, generation: 1, ..self }
    }

    /// All that an object may have for [`Self::endpoint`].
    pub(super) fn endpoints(uid: usize) -> impl Iterator<Item = usize> {
        uid * 4..uid * 4 + 4
    }

    /// A number for this object's UID, URI and TLS settings.
    pub(super) fn endpoint(&self) -> usize {
        self.uid * 4 + self.uri * 2 + usize::from(self.tls)
    }
}

/// See [`Object::endpoint`].
pub(super) fn endpoint(uid: &str, uri: &str, tls_digest: &str) -> usize {
    let position = |list: [&str; 2], text| list.iter().position(|known| *known == text).unwrap();
    let tls = tls_digest != crate::api::tls_digest(None);
    position(UIDS, uid) * 4 + position(URIS, uri) * 2 + usize::from(tls)
}

impl Status {
    pub(super) fn new(status: WebhookStatus) -> Self {
        let mut hasher = DefaultHasher::new();
        serde_json::to_string(&status).unwrap().hash(&mut hasher);
        Self(Arc::new((status, hasher.finish())))
    }

    pub(super) fn get(&self) -> &WebhookStatus {
        &self.0.0
    }
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.0.1 == other.0.1
    }
}

impl Eq for Status {}

impl Hash for Status {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.1.hash(state);
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.get()).unwrap())
    }
}

/// What a pure function gave: the same states are met by many ways. Kept by a
/// hash of what it was asked, as the checker keeps the states.
pub(super) struct Memo<V>(RwLock<HashMap<u64, V>>);

impl<V: Clone> Memo<V> {
    pub(super) fn get(&self, asked: impl Hash, make: impl FnOnce() -> V) -> V {
        let mut hasher = DefaultHasher::new();
        asked.hash(&mut hasher);
        let question = hasher.finish();
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return known.clone();
        }
        let answer = make();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(question, answer.clone());
        answer
    }
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}
