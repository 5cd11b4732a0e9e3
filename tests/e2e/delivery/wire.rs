//! The requests as an endpoint sees them.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde_json::json;
use standardwebhooks::Webhook as Verifier;

use super::{delivering, delivering_with, id_of};
use crate::support::certificates::{self, Certificate};
use crate::support::producer::event;
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Cluster, Endpoint, HeraldProcess, Producer, Received, webhook};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn verifies(delivery: &Received, secret: &str) -> bool {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, delivery.headers.get(name).expect(name).clone());
    }
    Verifier::new(secret).unwrap().verify(&delivery.body, &headers).is_ok()
}

#[tokio::test]
async fn both_payloads_and_their_headers_are_as_the_protocol_says() {
    let namespace = Cluster::connect().await.namespace("wire").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let (plain, cloud) = (Endpoint::start().await, Endpoint::start().await);
    let secrets = format!("{OLD}\n{NEW}");
    namespace.secret("signing", &[("signing-secret", &secrets)]).await;
    delivering_with(&namespace, "plain", &plain, |webhook| webhook.signed_by("signing")).await;
    delivering_with(&namespace, "cloud", &cloud, |webhook| {
        webhook.with(|spec| spec.payload = serde_json::from_value(json!("CloudEvents")).unwrap())
    })
    .await;
    let mut sent = event("user.password_lock", "e1");
    sent["time"] = json!("2026-11-24T08:16:20.25Z");
    sent["data"] = json!({"id": "e1", "attempts": 3});
    assert_eq!(producer.send(&herald, &sent).await, 2);

    let delivery = plain.next_delivery().await;
    assert_eq!((delivery.method.as_str(), delivery.target.as_str()), ("POST", "/users"));
    assert_eq!(delivery.header("content-type"), Some("application/json"));
    assert_eq!(delivery.header("x-api-key"), Some("key"));
    assert_eq!(delivery.header("user-agent"), Some(concat!("Herald/", env!("CARGO_PKG_VERSION"))));
    assert!(delivery.message_id().starts_with("msg_"), "{}", delivery.message_id());
    let expected = json!({
        "id": delivery.message_id(),
        "type": "user.password_lock",
        "timestamp": "2026-11-24T08:16:20.25Z",
        "source": "/idp",
        "subject": "user-1",
        "data": {"id": "e1", "attempts": 3},
    });
    assert_eq!(delivery.json(), expected);
    // Two secrets, two signatures: whoever has one of the two is content.
    assert!(verifies(&delivery, OLD) && verifies(&delivery, NEW));
    assert_eq!((delivery.signature_of(OLD), delivery.signature_of(NEW)), (Some(0), Some(1)));
    assert!(!verifies(&delivery, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let names: BTreeSet<_> = delivery.headers.keys().map(http::HeaderName::as_str).collect();
    let ours = ["content-length", "content-type", "host", "user-agent", "webhook-id"];
    let expected = ours.into_iter().chain(["webhook-signature", "webhook-timestamp", "x-api-key"]).collect();
    assert_eq!(names, expected, "and no others");

    let delivery = cloud.next_delivery().await;
    assert_eq!(delivery.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(delivery.header("webhook-signature"), None);
    let mut expected = sent.clone();
    expected["datacontenttype"] = json!("application/json");
    assert_eq!(delivery.json(), expected);
    assert_ne!(delivery.message_id(), plain.deliveries()[0].message_id(), "an id is for one webhook");
    // The challenge carries no secret.
    let challenge = plain.next_challenge().await;
    assert_eq!((challenge.header("x-api-key"), challenge.header("webhook-signature")), (None, None));
    herald.stop().await;
}

#[tokio::test]
async fn rotated_keys_are_taken_up_without_a_new_challenge() {
    let namespace = Cluster::connect().await.namespace("rotation").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    namespace.secret("audit", &[("api-key", "first"), ("signing-secret", OLD)]).await;
    namespace.apply(&webhook("audit", &endpoint.uri()).signed_by("audit")).await;
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    let mut sent = 0;
    for (api_key, signing) in [("first", OLD), ("second", NEW), ("third", OLD)] {
        namespace.secret("audit", &[("api-key", api_key), ("signing-secret", signing)]).await;
        // The watch brings it soon; nothing but a delivery tells when.
        loop {
            sent += 1;
            assert!(sent < 1000, "it is not taken up");
            producer.send(&herald, &event("user.created", &sent.to_string())).await;
            let delivery = endpoint.next_delivery().await;
            let key = delivery.header("x-api-key").unwrap();
            if key == api_key {
                assert!(verifies(&delivery, signing), "both come from one version of the Secret");
                break;
            }
        }
    }
    assert_eq!(endpoint.challenges().len(), 1);
    herald.stop().await;
}

#[tokio::test]
async fn a_webhook_may_bring_its_own_authority_and_certificate() {
    let namespace = Cluster::connect().await.namespace("tls").await;
    let mut herald = HeraldProcess::start_trusting_the_system_alone(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::with(Certificate::Good, true).await;
    let client = certificates::client("herald");
    namespace.config_map("ca", &[("ca.crt", &certificates::authority_pem())]).await;
    namespace.secret("client", &[("tls.crt", &client.certificate), ("tls.key", &client.key)]).await;
    let tls = json!({
        "caConfigMapRef": {"name": "ca", "key": "ca.crt"},
        "clientCertificateSecretRef": {"name": "client"},
    });
    let ca_alone = json!({"caConfigMapRef": {"name": "ca", "key": "ca.crt"}});
    for (name, tls) in [("without", json!(null)), ("no-certificate", ca_alone)] {
        namespace.secret(name, &[("api-key", "key")]).await;
        let manifest = webhook(name, &endpoint.uri());
        let manifest = manifest.with(|spec| spec.tls = serde_json::from_value(tls).unwrap());
        namespace.apply(&manifest).await;
    }
    delivering_with(&namespace, "audit", &endpoint, |webhook| {
        webhook.with(|spec| spec.tls = serde_json::from_value(tls).unwrap())
    })
    .await;
    namespace.await_condition("without", "Verified", "False", "TLSFailed").await;
    let failed = |webhook: &herald::api::Webhook| {
        let verified = condition(webhook, "Verified");
        verified.is_some_and(|verified| ["TLSFailed", "ConnectionFailed"].contains(&verified.reason.as_str()))
    };
    namespace.await_webhook("no-certificate", failed).await;
    assert_eq!(producer.send(&herald, &event("user.created", "1")).await, 1);
    assert_eq!(id_of(&endpoint.next_delivery().await), "1");

    // An authority that did not sign the endpoint's certificate: no session, no delivery.
    namespace.config_map("ca", &[("ca.crt", &certificates::another_authority_pem())]).await;
    let mut failing = 0;
    while herald.metric("herald_delivery_attempts_failed_total{reason=\"TLSFailed\"}").await < 1.0 {
        failing += 1;
        assert!(failing < 1000, "the old authority is still trusted");
        producer.send(&herald, &event("user.created", &format!("failing-{failing}"))).await;
    }
    // Both, as one does while an authority changes.
    let both = certificates::another_authority_pem() + &certificates::authority_pem();
    namespace.config_map("ca", &[("ca.crt", &both)]).await;
    producer.send(&herald, &event("user.created", "last")).await;
    let mut missing: BTreeSet<_> = (1..=failing).map(|n| format!("failing-{n}")).collect();
    missing.insert("last".to_owned());
    while !missing.is_empty() {
        missing.remove(&id_of(&endpoint.next_delivery().await));
    }
    assert_eq!(endpoint.challenges().len(), 1, "the content of a ConfigMap does not touch the proof");
    herald.stop().await;
}

#[tokio::test]
async fn many_events_share_connections_and_arrive_once() {
    let namespace = Cluster::connect().await.namespace("many").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    let events: Vec<_> = (0..500).map(|n| event("user.created", &n.to_string())).collect();
    assert_eq!(producer.send_batch(&herald, &events).await, 500);
    // A repeat of the batch is accepted and not delivered again.
    assert_eq!(producer.send_batch(&herald, &events).await, 0);
    for _ in 0..500 {
        endpoint.next_delivery().await;
    }
    herald.stop().await;
    let ids: BTreeSet<_> = endpoint.deliveries().iter().map(id_of).collect();
    assert_eq!((ids.len(), endpoint.deliveries().len()), (500, 500));
    assert!(
        endpoint.connections() <= 17,
        "16 for deliveries, one for the challenge: {}",
        endpoint.connections()
    );
}
