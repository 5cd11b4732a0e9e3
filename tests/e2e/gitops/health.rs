//! Flux and Argo CD see one health in each state of a Webhook: by kstatus, and
//! by the Lua of examples/gitops/argo-cd, in an interpreter of that language.

use mlua::{Function, Lua, LuaOptions, LuaSerdeExt as _, StdLib, Table};
use serde_json::{Value, json};

use super::*;
use crate::controller::kstatus;
use crate::support::herald::AUDIENCE;
use crate::support::producer::event;
use crate::support::{Behaviour, Cluster, Endpoint, Herald};

/// Status and message that the health check gives for an object as it is stored.
fn argo_cd(object: &Value) -> (String, String) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gitops/argo-cd/health.lua");
    let script = std::fs::read_to_string(path).unwrap();
    // The basic functions and tables are all that Argo CD gives to a health check.
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).unwrap();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let check: Function = lua.load(script).set_name("health.lua").into_function().unwrap();
    let health: Table = check.call(()).unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

/// Reads a Webhook by kubectl, and holds both verdicts against what is wanted.
async fn assert_seen(kubectl: &Kubectl, name: &str, flux: &str, argo: &str, message: &str) {
    let stored = kubectl.ok(&["get", "webhook", name, "-o", "json"], "").await;
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let webhook: Webhook = serde_json::from_value(stored.clone()).unwrap();
    let (status, said) = argo_cd(&stored);
    assert_eq!((kstatus(&webhook), status.as_str()), (flux, argo), "{name}: {stored:#}");
    assert!(said.contains(message), "{name}: {said}");
}

#[tokio::test]
async fn flux_and_argo_cd_agree_on_a_webhook_in_each_state() {
    let namespace = Cluster::connect().await.namespace("health").await;
    let kubectl = Kubectl::of(&namespace);
    let token = namespace.sender("producer", AUDIENCE).await;
    let (good, ill, hanging, gone) =
        (Endpoint::start().await, Endpoint::start().await, Endpoint::start().await, Endpoint::start().await);
    ill.on_challenge(Behaviour::status(500));
    hanging.on_challenge(Behaviour::hang());
    gone.on_delivery(Behaviour::status(410));
    apply_keys(&namespace).await;
    let apply = async |name: &str, uri: &str, more: &str| {
        kubectl.apply_as("argocd-controller", &(manifest(name, uri) + more)).await;
    };
    apply("new", &good.uri(), "").await;
    assert_seen(&kubectl, "new", "InProgress", "Progressing", "not looked").await;

    let mut herald = Herald::start(&namespace).await;
    apply("failing", &ill.uri(), "").await;
    apply("tried", &hanging.uri(), "").await;
    apply("disabled", &good.uri(), "  enabled: false\n").await;
    apply("disabled-and-failing", &ill.uri(), "  enabled: false\n").await;
    apply("forbidden", "https://169.254.169.254/", "").await;
    apply("without-secret", &good.uri(), "  signingSecretRef: {name: none, key: signing-secret}\n").await;
    apply("gone", &gone.uri(), "").await;

    namespace.await_condition("tried", "Ready", "False", "VerificationPending").await;
    assert_seen(&kubectl, "tried", "InProgress", "Progressing", "VerificationPending: ").await;
    namespace.await_condition("failing", "Ready", "False", "UnexpectedStatus").await;
    assert_seen(&kubectl, "failing", "InProgress", "Progressing", "UnexpectedStatus: ").await;
    until_delivering(&namespace, "new").await;
    assert_seen(&kubectl, "new", "Current", "Healthy", "Verified: ").await;
    for name in ["disabled", "disabled-and-failing"] {
        namespace.await_condition(name, "Delivering", "False", "Disabled").await;
        assert_seen(&kubectl, name, "Current", "Healthy", "Disabled: ").await;
    }
    for (name, reason) in [("forbidden", "AddressForbidden"), ("without-secret", "SecretMissing")] {
        namespace.await_condition(name, "Stalled", "True", reason).await;
        assert_seen(&kubectl, name, "Failed", "Degraded", &format!("{reason}: ")).await;
    }

    // An endpoint that answers 410 has not changed what Git wants.
    until_delivering(&namespace, "gone").await;
    herald.accepts(&token, &event("user.created", "1")).await;
    namespace.await_condition("gone", "Delivering", "False", "Gone").await;
    assert_seen(&kubectl, "gone", "Current", "Healthy", "events are held: Gone: ").await;

    // Five failures in a row.
    namespace.await_condition("failing", "Stalled", "True", "UnexpectedStatus").await;
    assert_seen(&kubectl, "failing", "Failed", "Degraded", "UnexpectedStatus: ").await;
    herald.stop().await;

    // An edit is not done before Herald has looked at it, whatever was true until then.
    for name in ["new", "failing", "disabled"] {
        namespace.edit(name, json!({"spec": {"description": "edited"}})).await;
        assert_seen(&kubectl, name, "InProgress", "Progressing", "not looked").await;
    }
}

#[tokio::test]
async fn the_health_check_bears_what_no_webhook_should_be() {
    for status in [
        json!(null),
        json!({}),
        json!({"observedGeneration": 1}),
        json!({"observedGeneration": 1, "conditions": []}),
    ] {
        let mut object = json!({"metadata": {"generation": 1}, "status": status});
        if status.is_null() {
            object.as_object_mut().unwrap().remove("status");
        }
        assert_eq!(argo_cd(&object).0, "Progressing", "{object}");
    }
}
