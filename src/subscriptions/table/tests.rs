use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::error_boundary::InvalidObject;
use serde_json::{Value, json};

use super::*;
use crate::api::DeliveringReason;
use crate::subscriptions::Standing;
use crate::subscriptions::samples::{UID, webhook};

const OTHER_UID: &str = "3f1a2b4c-0000-4000-8000-000000000002";

fn uid(text: &str) -> WebhookUid {
    text.parse().unwrap()
}

/// A table that has seen its first list, and the Secrets beside it.
fn table() -> (Subscriptions, Materials) {
    let namespaces = Namespaces::default();
    let materials = Materials::new(&namespaces);
    let table = Subscriptions::new(namespaces, materials.clone());
    table.apply(Change::Listed);
    (table, materials)
}

fn secret(name: &str) -> Secret {
    let secret = json!({"metadata": {"name": name, "namespace": "identity"}, "data": {"api-key": "a2V5"}});
    serde_json::from_value(secret).unwrap()
}

fn applied(table: &Subscriptions, edit: impl FnOnce(&mut Value)) {
    table.apply(Change::Applied(kube::core::DeserializeGuard(Ok(webhook(edit)))));
}

fn created(table: &Subscriptions, namespace: &str) -> Vec<WebhookUid> {
    table.matching(namespace, EventType::UserCreated)
}

fn held(table: &Subscriptions, of: &str) -> Option<DeliveringReason> {
    match table.view(uid(of)).standing() {
        Standing::Held(reason, _) => Some(reason),
        Standing::Sendable(_) | Standing::Gone => None,
    }
}

#[test]
fn events_are_matched_by_namespace_type_and_what_the_webhook_is_now() {
    let (table, _) = table();
    assert!(table.is_ready());
    assert_eq!(created(&table, "identity"), []);
    applied(&table, |_| {});
    assert_eq!(created(&table, "identity"), [uid(UID)]);
    assert_eq!(created(&table, "elsewhere"), []);
    assert_eq!(table.matching("identity", EventType::UserDeleted), []);
    applied(&table, |w| w["spec"]["events"] = json!(["User deleted"]));
    assert_eq!(created(&table, "identity"), []);
    assert_eq!(table.matching("identity", EventType::UserDeleted), [uid(UID)]);
    applied(&table, |w| w["spec"]["enabled"] = json!(false));
    assert!(EventType::ALL.into_iter().all(|event_type| table.matching("identity", event_type).is_empty()));
    assert!(
        table.0.index.read().unwrap().is_empty(),
        "nothing is kept for a namespace without subscriptions"
    );
    applied(&table, |w| w["spec"]["events"] = json!(["*"]));
    assert!(
        EventType::ALL.into_iter().all(|event_type| table.matching("identity", event_type) == [uid(UID)])
    );
}

#[test]
fn a_secret_that_comes_and_goes_changes_the_view_and_not_the_matching() {
    let (table, materials) = table();
    applied(&table, |_| {});
    assert_eq!(held(&table, UID), Some(DeliveringReason::SecretsUnresolved));
    assert_eq!(created(&table, "identity"), [uid(UID)]);
    let name = ObjectName::new("identity", "audit");
    materials.secret(Change::Applied(secret("audit")));
    table.resolve_again(&name);
    assert_eq!(held(&table, UID), None);
    materials.secret(Change::Removed(name.clone()));
    table.resolve_again(&name);
    assert_eq!(held(&table, UID), Some(DeliveringReason::SecretsUnresolved));
    // One that it no longer refers to is none of its business.
    applied(&table, |w| w["spec"]["apiKeySecretRef"]["name"] = json!("other"));
    assert!(!table.entries().referrers.contains_key(&name));
}

#[test]
fn a_webhook_that_is_gone_takes_no_events_and_is_told_of_once() {
    let (table, _) = table();
    let mut gone = table.gone();
    applied(&table, |_| {});
    let follower = table.follow(uid(UID));
    table.apply(Change::Removed(ObjectName::new("identity", "audit")));
    assert!(matches!(*follower.borrow(), View::Gone));
    assert!(matches!(table.view(uid(UID)), View::Unknown), "nothing of it is kept");
    assert_eq!(created(&table, "identity"), []);
    assert_eq!(gone.next().now_or_never(), Some(vec![uid(UID)]));
    table.apply(Change::Removed(ObjectName::new("identity", "audit")));
    assert_eq!(gone.next().now_or_never(), None);
}

#[test]
fn one_that_takes_the_name_of_another_is_another() {
    let (table, _) = table();
    let mut gone = table.gone();
    applied(&table, |_| {});
    // The watch may skip the deletion; the proof in the status is the old one's.
    applied(&table, |w| w["metadata"]["uid"] = json!(OTHER_UID));
    assert_eq!(gone.next().now_or_never(), Some(vec![uid(UID)]));
    assert_eq!(created(&table, "identity"), []);
    assert_eq!(table.all(), [uid(OTHER_UID)]);
}

#[test]
fn one_that_cannot_be_read_any_more_is_held_and_takes_no_events() {
    let (table, materials) = table();
    materials.secret(Change::Applied(secret("audit")));
    applied(&table, |_| {});
    assert_eq!(held(&table, UID), None);
    let metadata = webhook(|_| {}).metadata;
    let unreadable = InvalidObject { error: "unknown variant".to_owned(), metadata };
    table.apply(Change::Applied(kube::core::DeserializeGuard(Err(unreadable))));
    assert_eq!(held(&table, UID), Some(DeliveringReason::Unreadable));
    assert_eq!(created(&table, "identity"), []);
    applied(&table, |_| {});
    assert_eq!((held(&table, UID), created(&table, "identity")), (None, vec![uid(UID)]));
}
