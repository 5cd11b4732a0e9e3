//! `kind: Replay`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::core::DeserializeGuard;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Which events are sent again, and to which webhook. It cannot be changed.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "herald.dev",
    version = "v1alpha1",
    kind = "Replay",
    plural = "replays",
    category = "herald",
    namespaced,
    doc = "A Replay sends events to a Webhook of its namespace again: its dead letters, or everything that is kept. Each keeps its webhook-id and has the header herald-replay; no order is promised. Deleting the Replay stops it.",
    status = "ReplayStatus",
    derive = "PartialEq",
    validation = rules::fixed(),
    validation = rules::since_before_until(),
    printcolumn = r#"{"name": "Webhook", "type": "string", "jsonPath": ".spec.webhook",
        "description": "Whose events are sent again."}"#,
    printcolumn = r#"{"name": "Which", "type": "string", "jsonPath": ".spec.which",
        "description": "Its dead letters, or everything that is kept."}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason",
        "description": "How far it is: the reason of the condition Ready."}"#,
    printcolumn = r#"{"name": "Matched", "type": "integer", "jsonPath": ".status.matched",
        "description": "Events that it has come to."}"#,
    printcolumn = r#"{"name": "Replayed", "type": "integer", "jsonPath": ".status.replayed",
        "description": "Those that the endpoint took."}"#,
    printcolumn = r#"{"name": "Failed", "type": "integer", "jsonPath": ".status.failed",
        "description": "Those that it did not take, however often they were tried."}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ReplaySpec {
    /// The name of a Webhook in the same namespace.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("Webhook"))]
    pub webhook: String,
    /// What was given up, of which each letter that is taken is removed; or everything that went to the webhook and is still kept, whatever became of it.
    #[serde(default)]
    pub which: Which,
    /// Only events that were accepted at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Only events that were accepted before this time; never any that were accepted after the Replay began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Only events of these types, such as "User created"; "*" alone for every type.
    #[serde(default = "every_event")]
    #[schemars(schema_with = "rules::events")]
    pub events: Vec<String>,
    /// How many seconds after its end the Replay is deleted.
    #[serde(default = "a_day")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: u32,
}

fn every_event() -> Vec<String> {
    vec!["*".to_owned()]
}

const fn a_day() -> u32 {
    86_400
}

/// `spec.which`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Which {
    /// What was given up and is kept.
    #[default]
    DeadLetters,
    /// What was accepted and is kept, whatever became of it.
    Everything,
}

/// How far the Replay is; the dispatcher writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct ReplayStatus {
    /// The generation that the conditions speak of; -1 until somebody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready when it has ended, Reconciling while it runs, Stalled when it cannot go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The UID of the Webhook that it sends to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_uid: Option<String>,
    /// When it began: what was accepted later is not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<Time>,
    /// Events that it has come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// Those that the endpoint took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<u64>,
    /// Those that it did not take, however often they were tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Where it goes on after a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// What to list and watch in place of [`Replay`]: one that cannot be read does not hide the others.
pub type StoredReplay = DeserializeGuard<Replay>;
