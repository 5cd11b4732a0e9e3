//! A Webhook as it came from the API server, whether or not it can be read.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Deserializer};

use crate::api::{Settings, VERIFY_REQUESTED_AT, Webhook, WebhookSpec, WebhookStatus};
use crate::subscriptions::ObjectName;

/// A Webhook in which only the metadata is sure to be readable, so that one bad
/// object stops neither a list nor a watch.
///
/// Unlike [`crate::api::StoredWebhook`] it keeps the status of one whose spec
/// cannot be read, because the controller writes there that it cannot.
#[derive(Clone, Debug)]
pub struct WatchedWebhook {
    metadata: ObjectMeta,
    /// The spec, or what is wrong with it.
    pub spec: Result<Readable, String>,
    /// The status; empty where it cannot be read.
    pub status: WebhookStatus,
}

/// A spec that can be acted on.
#[derive(Clone, Debug)]
pub struct Readable {
    /// As it is stored.
    pub spec: WebhookSpec,
    /// As it is acted on.
    pub settings: Settings,
}

impl WatchedWebhook {
    /// `metadata.uid`
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The version as a number, by which two of the same object can be put in order.
    pub fn version(&self) -> Option<u64> {
        self.metadata.resource_version.as_deref().and_then(|version| version.parse().ok())
    }

    /// The value of the annotation that asks for a verification.
    pub fn verify_requested(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(VERIFY_REQUESTED_AT).map(String::as_str)
    }

    /// Whether the spec names one of these Secrets or `ConfigMap`s.
    pub fn refers_to_any(&self, objects: &HashSet<ObjectName>) -> bool {
        let (Ok(readable), Some(namespace)) = (&self.spec, &self.metadata.namespace) else { return false };
        let names = |name: &String| objects.contains(&ObjectName::new(namespace, name));
        let WebhookSpec { api_key_secret_ref, signing_secret_ref, tls, .. } = &readable.spec;
        names(&api_key_secret_ref.name)
            || signing_secret_ref.as_ref().is_some_and(|secret| names(&secret.name))
            || tls.as_ref().is_some_and(|tls| {
                tls.ca_config_map_ref.as_ref().is_some_and(|ca| names(&ca.name))
                    || tls.client_certificate_secret_ref.as_ref().is_some_and(|secret| names(&secret.name))
            })
    }

    /// Keeps of the metadata what the controller reads: most of a small object is the rest.
    pub fn slim(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.labels = None;
        self.annotations_mut().retain(|name, _| name == VERIFY_REQUESTED_AT);
        if self.metadata.annotations.as_ref().is_some_and(BTreeMap::is_empty) {
            self.metadata.annotations = None;
        }
    }
}

impl<'de> Deserialize<'de> for WatchedWebhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: ObjectMeta,
            #[serde(default)]
            spec: serde_json::Value,
            #[serde(default)]
            status: serde_json::Value,
        }
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        let spec = serde_json::from_value::<WebhookSpec>(spec)
            .map_err(|error| format!("This version of Herald cannot read the spec: {error}"))
            .and_then(|spec| match Settings::read(&spec) {
                Ok(settings) => Ok(Readable { spec, settings }),
                Err(error) => Err(error.to_string()),
            });
        Ok(Self { metadata, spec, status: serde_json::from_value(status).unwrap_or_default() })
    }
}

impl Resource for WatchedWebhook {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Webhook::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Webhook::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Webhook::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Webhook::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_says_why_and_keeps_its_name_and_status() {
        let good = json!({
            "name": "Audit", "uri": "https://hooks.example.com/", "events": ["*"],
            "apiKeySecretRef": {"name": "audit", "key": "key"},
        });
        let with = |field: &str, value: serde_json::Value| {
            let mut spec = good.clone();
            spec[field] = value;
            spec
        };
        let table = [
            (good.clone(), None),
            (json!(null), Some("cannot read the spec")),
            (json!("text"), Some("cannot read the spec")),
            (with("events", json!("*")), Some("cannot read the spec")),
            (with("uri", json!("http://hooks.example.com/")), Some("must begin with https://")),
            (with("events", json!([])), Some("at least one event")),
        ];
        for (spec, expected) in table {
            let object = json!({
                "apiVersion": "herald.dev/v1alpha1", "kind": "Webhook",
                "metadata": {"name": "audit", "uid": "u", "resourceVersion": "12"},
                "spec": spec, "status": {"observedGeneration": 7},
            });
            let stored: WatchedWebhook = serde_json::from_value(object).expect("metadata can be read");
            let error = stored.spec.as_ref().err();
            assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
            assert!(expected.is_none_or(|part| error.is_some_and(|e| e.contains(part))), "{error:?}");
            assert_eq!(
                (stored.name_any().as_str(), stored.uid(), stored.version()),
                ("audit", "u", Some(12))
            );
            assert_eq!(stored.status.observed_generation, Some(7));
        }
    }

    #[test]
    fn a_bad_status_counts_as_none() {
        let object = json!({"metadata": {"name": "audit"}, "spec": {}, "status": {"conditions": "none"}});
        let stored: WatchedWebhook = serde_json::from_value(object).expect("metadata can be read");
        assert_eq!(stored.status, WebhookStatus::default());
    }
}
