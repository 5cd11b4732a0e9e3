//! `kind: Webhook`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Where the webhook's events go, which events those are, and how they are delivered.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "herald.dev",
    version = "v1alpha1",
    kind = "Webhook",
    plural = "webhooks",
    shortname = "wh",
    category = "herald", // not `all`: `kubectl delete all --all` must not take webhooks away
    namespaced,
    doc = "A Webhook is an HTTPS endpoint that agrees to receive user events of its namespace.",
    status = "WebhookStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Display Name", "type": "string", "jsonPath": ".spec.name",
        "description": "The name shown to people."}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason",
        "description": "Verified or Disabled when all is well, else why not: the reason of the condition Ready."}"#,
    printcolumn = r#"{"name": "Delivering", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Delivering\")].reason",
        "description": "Delivering, or why events are held: the reason of the condition Delivering."}"#,
    printcolumn = r#"{"name": "Description", "type": "string", "jsonPath": ".spec.description",
        "description": "What the webhook is for."}"#,
    printcolumn = r#"{"name": "URI", "type": "string", "jsonPath": ".spec.uri",
        "description": "Where the events go.", "priority": 1}"#,
    printcolumn = r#"{"name": "Pending", "type": "integer", "jsonPath": ".status.delivery.pending",
        "description": "Deliveries that are accepted and not yet ended.", "priority": 1}"#,
    printcolumn = r#"{"name": "Dead", "type": "integer", "jsonPath": ".status.delivery.deadLetters",
        "description": "Deliveries that were given up and are kept.", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    /// The name shown to people.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::name())]
    pub name: String,
    /// What the webhook is for, shown to people beside its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Where the events go: an absolute https URI, at most 2,048 characters long, without user-info and fragment.
    #[schemars(schema_with = "rules::uri")]
    pub uri: String,
    /// The key of a Secret whose value is sent as the X-API-Key header with every delivery, so that the endpoint knows who is calling.
    pub api_key_secret_ref: SecretKeyRef,
    /// The events that the webhook wants, such as "User created", or "*" alone for every event.
    #[schemars(schema_with = "rules::events")]
    pub events: Vec<String>,
    /// Whether events are sent. A disabled webhook is verified all the same.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// The shape of the body: Standard, the members that Standard Webhooks recommends, or CloudEvents, the CloudEvents 1.0 JSON event.
    #[serde(default)]
    pub payload: Payload,
    /// The key of a Secret that holds one or two Standard Webhooks signing secrets (whsec_…), separated by white space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret_ref: Option<SecretKeyRef>,
    /// How the endpoint's certificate is checked, and which certificate Herald shows to the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How events are delivered.
    #[serde(default)]
    pub delivery: Delivery,
}

const fn enabled() -> bool {
    true
}

/// One key of a Secret in the webhook's namespace, labelled herald.dev/allow-webhooks: "true".
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("Secret"))]
    pub name: String,
    /// The key in the Secret's data.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::data_key("Secret"))]
    pub key: String,
}

/// One key of a ConfigMap in the webhook's namespace, labelled herald.dev/allow-webhooks: "true".
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConfigMapKeyRef {
    /// The name of the ConfigMap.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("ConfigMap"))]
    pub name: String,
    /// The key in the ConfigMap's data.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::data_key("ConfigMap"))]
    pub key: String,
}

/// A Secret of type kubernetes.io/tls in the webhook's namespace, labelled herald.dev/allow-webhooks: "true".
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("Secret"))]
    pub name: String,
}

/// `spec.tls`
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::tls())]
pub struct Tls {
    /// The key of a ConfigMap that holds the CA certificates (PEM) that sign the endpoint's certificate, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<ConfigMapKeyRef>,
    /// The Secret of type kubernetes.io/tls whose certificate Herald shows to the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<SecretRef>,
}

/// `spec.payload`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Payload {
    /// The members that Standard Webhooks recommends.
    #[default]
    Standard,
    /// The CloudEvents 1.0 JSON event.
    CloudEvents,
}

/// `spec.delivery`
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The deadline of one attempt, over everything from name resolution to the last byte of the answer: 1s to 30s.
    #[serde(default = "timeout")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::TIMEOUT.rule())]
    pub timeout: String,
    /// How many times a delivery is tried before it becomes a dead letter: 1 to 20.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 20))]
    pub max_attempts: u16,
    /// The delays between the tries of a delivery.
    #[serde(default)]
    pub backoff: Backoff,
    /// The most attempts that run at one time: 1 to 256.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    pub max_in_flight: u16,
    /// The most attempts of any kind that start in any sliding second: 1 to 100000. No limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_per_second: Option<u32>,
    /// None, or PerUser, which makes a user's next event wait for the end of the one before it.
    #[serde(default)]
    pub ordering: Ordering,
}

fn timeout() -> String {
    "3s".to_owned()
}

const fn max_attempts() -> u16 {
    3
}

const fn max_in_flight() -> u16 {
    16
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            timeout: timeout(),
            max_attempts: max_attempts(),
            backoff: Backoff::default(),
            max_in_flight: max_in_flight(),
            max_per_second: None,
            ordering: Ordering::None,
        }
    }
}

/// `spec.delivery.backoff`
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = rules::backoff())]
pub struct Backoff {
    /// The delay after the first failure, 100ms to 24h; it doubles with each further one.
    #[serde(default = "initial")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::DELAY.rule())]
    pub initial: String,
    /// The longest delay, 100ms to 24h, whatever the endpoint asks for with Retry-After.
    #[serde(default = "max")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::DELAY.rule())]
    pub max: String,
}

fn initial() -> String {
    "1s".to_owned()
}

fn max() -> String {
    "5m".to_owned()
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: initial(), max: max() }
    }
}

/// `spec.delivery.ordering`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ordering {
    /// No order is promised.
    #[default]
    None,
    /// A user's events arrive in the order in which they were accepted.
    PerUser,
}

/// What Herald found out. The controller and the dispatcher each own their
/// part of it under a field manager of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct WebhookStatus {
    /// The generation that the conditions speak of; -1 until somebody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Verified, Reconciling and Stalled of the controller, Delivering of the dispatcher.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The last proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// The tries since the last proof, or since the URI changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<VerificationAttempts>,
    /// The value of herald.dev/verify-requested-at that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_verify_request: Option<String>,
    /// When the try that it asked for began: the next such try comes 10 s later at the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verify_request_time: Option<MicroTime>,
    /// What the dispatcher does with the webhook's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryStatus>,
}

/// The proof covers this object, this URI and these TLS settings, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The UID of the object that was proved.
    pub uid: String,
    /// The URI that was proved.
    pub uri: String,
    /// The digest of the TLS settings under which it was proved.
    pub tls_digest: String,
    /// When it was proved.
    pub time: MicroTime,
    /// When the endpoint refused a verification on demand: since then nothing is sent, what is
    /// accepted is held, and only another proof changes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_time: Option<MicroTime>,
}

impl Verification {
    /// Whether it stands for this object with this URI and these TLS settings.
    pub fn covers(&self, uid: &str, uri: &str, tls_digest: &str) -> bool {
        self.revoked_time.is_none() && self.uid == uid && self.uri == uri && self.tls_digest == tls_digest
    }
}

/// Tries that failed, so that a restart goes on where the last process stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationAttempts {
    /// The URI that was tried.
    pub uri: String,
    /// The digest of the TLS settings under which it was tried.
    pub tls_digest: String,
    /// How many tries in a row have failed.
    pub failures: u32,
    /// When the last one ended.
    pub last_time: MicroTime,
    /// Not before this moment comes the next.
    pub next_time: MicroTime,
}

/// The dispatcher's part of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryStatus {
    /// Deliveries that are accepted and not yet ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Deliveries that were given up and are kept: `herald deadletters` lists them, a Replay sends them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    /// Dead letters that are not kept any more, since they were too old or too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted_dead_letters: Option<u64>,
    /// When the endpoint last took a delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Time>,
    /// The last attempt that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// When it ended.
    pub time: Time,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}
