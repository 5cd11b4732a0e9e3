//! What is wrong with a Secret, and that it has nothing to do with the proof.

use herald::api::CONSENT_LABEL;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;

use super::running::Running;
use super::*;
use crate::support::Cluster;
use crate::support::certificates::Certificate;
use crate::support::certificates::{authority_pem, client};

#[tokio::test]
async fn each_thing_wrong_with_a_secret_has_its_reason_and_is_repaired_without_a_challenge() {
    let namespace = Cluster::connect().await.namespace("secrets").await;
    let endpoint = Endpoint::start().await;
    let controller = Running::start(&namespace);
    apply(&namespace, "audit", &endpoint.uri()).await;
    // The proof needs no API key.
    let webhook = namespace.await_condition("audit", "Verified", "True", "Verified").await;
    assert_eq!((kstatus(&webhook), reason_of(&webhook, "Ready")), ("Failed", "SecretMissing"));

    namespace.unlabelled_secret("keys", &[("api-key", "k")]).await;
    // One without the label is not watched; an edit makes Herald look at once.
    namespace.edit("audit", json!({"spec": {"description": "look"}})).await;
    let webhook = until_ready(&namespace, "audit", "SecretNotAllowed").await;
    let command = format!("kubectl label secret -n {} keys {CONSENT_LABEL}=true", namespace.name());
    assert!(message_of(&webhook, "Ready").contains(&command), "{}", message_of(&webhook, "Ready"));

    let table = [
        ([("api-key", "good")], "Verified", "verified"),
        ([("other", "k")], "SecretKeyMissing", "\"other\""),
        ([("api-key", "")], "SecretEmpty", "empty"),
        ([("api-key", "line\nbreak")], "SecretMalformed", "printf"),
        ([("api-key", "rotated")], "Verified", "verified"),
        ([("api-key", "rotated again")], "Verified", "verified"),
    ];
    for (data, reason, part) in table {
        namespace.delete::<Secret>("keys").await;
        namespace.secret("keys", &data).await;
        let webhook = until_ready(&namespace, "audit", reason).await;
        assert_eq!(kstatus(&webhook), if reason == "Verified" { "Current" } else { "Failed" }, "{reason}");
        assert!(message_of(&webhook, "Ready").contains(part), "{}", message_of(&webhook, "Ready"));
        assert!(is(&webhook, "Verified", "True"), "{reason}");
    }
    namespace.delete::<Secret>("keys").await;
    until_ready(&namespace, "audit", "SecretMissing").await;
    apply_keys(&namespace).await;
    until_ready(&namespace, "audit", "Verified").await;
    assert_eq!(endpoint.challenges().len(), 1);
    events(&namespace, "SecretMalformed").await;
    controller.stop().await;
}

#[tokio::test]
async fn a_challenge_waits_for_what_tls_needs_and_its_renewal_needs_no_other() {
    let namespace = Cluster::connect().await.namespace("tls").await;
    let endpoint = Endpoint::with(Certificate::Good, true).await;
    apply_keys(&namespace).await;
    let controller = Running::start(&namespace);
    let manifest = webhook("audit", &endpoint.uri()).with(|spec| {
        "keys".clone_into(&mut spec.api_key_secret_ref.name);
        let tls = json!({
            "caConfigMapRef": {"name": "ca", "key": "ca.crt"},
            "clientCertificateSecretRef": {"name": "client"},
        });
        spec.tls = serde_json::from_value(tls).unwrap();
    });
    namespace.apply(&manifest).await;
    let webhook = until_ready(&namespace, "audit", "CaUnusable").await;
    assert_eq!((kstatus(&webhook), reason_of(&webhook, "Verified")), ("Failed", "VerificationPending"));
    namespace.config_map("ca", &[("ca.crt", &authority_pem())]).await;
    until_ready(&namespace, "audit", "SecretMissing").await;
    assert_eq!(endpoint.connections(), 0);
    let renew = || async {
        let pair = client("herald");
        namespace.secret("client", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)]).await;
    };
    renew().await;
    let webhook = until_ready(&namespace, "audit", "Verified").await;
    assert_eq!(kstatus(&webhook), "Current");

    renew().await;
    namespace.delete::<ConfigMap>("ca").await;
    let webhook = until_ready(&namespace, "audit", "CaUnusable").await;
    assert!(is(&webhook, "Verified", "True"));
    namespace.config_map("ca", &[("ca.crt", &authority_pem())]).await;
    until_ready(&namespace, "audit", "Verified").await;
    assert_eq!(endpoint.challenges().len(), 1);

    // Another name is another setting.
    let certificate = json!({"spec": {"tls": {"clientCertificateSecretRef": null}}});
    namespace.edit("audit", certificate).await;
    let webhook = until_ready(&namespace, "audit", "TLSFailed").await;
    assert!(is(&webhook, "Verified", "False") && proved_uri(&webhook).is_some());
    controller.stop().await;
}
