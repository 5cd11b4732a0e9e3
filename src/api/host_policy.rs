//! `kind: HostPolicy`: the parameters of the admission policy that the chart brings.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::rules;

/// The hosts that the namespace's Webhooks may name.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "herald.dev",
    version = "v1alpha1",
    kind = "HostPolicy",
    plural = "hostpolicies",
    category = "herald",
    namespaced,
    doc = "A HostPolicy limits which hosts the Webhooks of its namespace may name. It is for platform teams to write, and is enforced where the chart's hostPolicy.enabled is set. Where a namespace has several, each must allow the host.",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Allowed Hosts", "type": "string", "jsonPath": ".spec.allowedHosts",
        "description": "The hosts that Webhooks may name."}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct HostPolicySpec {
    /// Host names (hooks.example.com), all names below a domain (*.example.com), addresses, or * for every host.
    #[schemars(schema_with = "rules::allowed_hosts")]
    pub allowed_hosts: Vec<String>,
}
