//! Webhooks as a watch brings them, readable or not.

use kube::core::DeserializeGuard;

use super::Webhook;

pub use kube::core::error_boundary::InvalidObject;

/// What to list and watch in place of [`Webhook`]: `Api<StoredWebhook>`.
///
/// An object that was stored under another version's schema and that these
/// types cannot read is `StoredWebhook(Err(InvalidObject { error, metadata }))`,
/// and the watch goes on with the others. Watching `Webhook` itself would make
/// that one object an error of the whole list, for ever.
pub type StoredWebhook = DeserializeGuard<Webhook>;

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use kube::core::ObjectList;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_unreadable_object_does_not_hide_the_others() {
        let webhook = |name: &str, payload: &str| {
            json!({
                "apiVersion": "herald.dev/v1alpha1",
                "kind": "Webhook",
                "metadata": { "name": name, "namespace": "identity", "uid": name },
                "spec": {
                    "name": "Audit trail",
                    "uri": "https://hooks.example.com/users",
                    "apiKeySecretRef": { "name": "audit-trail", "key": "api-key" },
                    "events": ["User created"],
                    "payload": payload,
                },
            })
        };
        let list: ObjectList<StoredWebhook> = serde_json::from_value(json!({
            "apiVersion": "herald.dev/v1alpha1",
            "kind": "WebhookList",
            "metadata": { "resourceVersion": "7" },
            "items": [
                webhook("before", "Standard"),
                webhook("of-the-future", "Avro"),
                { "metadata": { "name": "no-spec" } },
                { "metadata": { "name": "nonsense" }, "spec": 7, "status": [] },
                webhook("after", "CloudEvents"),
            ],
        }))
        .unwrap();
        let seen: Vec<_> = list.items.iter().map(|item| (item.name_any(), item.0.is_ok())).collect();
        let expected = [
            ("before", true),
            ("of-the-future", false),
            ("no-spec", false),
            ("nonsense", false),
            ("after", true),
        ];
        assert_eq!(seen, expected.map(|(name, readable)| (name.to_owned(), readable)));
        let why = list.items[1].0.as_ref().err().map(|invalid| invalid.error.clone());
        assert!(why.as_ref().is_some_and(|why| why.contains("Avro")), "{why:?}");
        assert_eq!(list.items[1].uid().as_deref(), Some("of-the-future"));
    }
}
