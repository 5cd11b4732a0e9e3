//! Both sides of TLS change their authorities, with no restart and no gap.

use std::collections::BTreeSet;

use herald::api::VERIFY_REQUESTED_AT;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Duration, interval};
use tokio_rustls::TlsAcceptor;

use super::{all_arrive, deliver_by, delivering_with};
use crate::support::certificates::{Another, Pair};
use crate::support::endpoint::acceptor_of;
use crate::support::producer::event;
use crate::support::webhook::WebhookExt as _;
use crate::support::{Cluster, Endpoint, HeraldProcess, Namespace, Producer, webhook};

const HOST: &str = "127.0.0.1";

async fn start(acceptor: TlsAcceptor) -> Endpoint {
    Endpoint::at(([127, 0, 0, 1], 0).into(), acceptor).await
}

async fn give(namespace: &Namespace, pair: &Pair) {
    namespace.secret("client", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)]).await;
}

/// Another webhook with the same settings, which shows that they have been taken up.
async fn probe(namespace: &Namespace, name: &str, endpoint: &Endpoint, status: &str, reason: &str) {
    namespace.secret(name, &[("api-key", "key")]).await;
    let manifest = webhook(name, &endpoint.uri()).disabled();
    namespace.apply(&manifest.with(|spec| spec.tls = serde_json::from_value(settings()).unwrap())).await;
    let again = json!({"metadata": {"annotations": {VERIFY_REQUESTED_AT: "now"}}});
    namespace.edit(name, again).await;
    namespace.await_condition(name, "Verified", status, reason).await;
}

fn settings() -> serde_json::Value {
    json!({
        "caConfigMapRef": {"name": "ca", "key": "ca.crt"},
        "clientCertificateSecretRef": {"name": "client"},
    })
}

#[tokio::test]
async fn authorities_and_certificates_of_both_sides_rotate_without_a_lost_or_refused_delivery() {
    let namespace = Cluster::connect().await.namespace("rotation").await;
    let mut herald = HeraldProcess::start_trusting_the_system_alone(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let (old, new) = (Another::new(), Another::new());
    let both = old.pem() + &new.pem();
    let [old_server, new_server] = [old.server(HOST), new.server(HOST)];
    let mut endpoint = start(acceptor_of(&old_server, Some(&old.pem()))).await;
    namespace.config_map("ca", &[("ca.crt", &old.pem())]).await;
    give(&namespace, &old.client("herald")).await;
    delivering_with(&namespace, "audit", &endpoint, |webhook| {
        deliver_by(webhook, json!({"maxAttempts": 20}))
            .with(|spec| spec.tls = serde_json::from_value(settings()).unwrap())
    })
    .await;

    // Events come on and on.
    let sending = producer.sending(&herald);
    let (sent, mut all) = mpsc::unbounded_channel();
    let load = tokio::spawn(async move {
        let mut turns = interval(Duration::from_millis(20));
        for n in 0.. {
            turns.tick().await;
            let id = n.to_string();
            let (status, _) = sending.send(&event("user.created", &id)).await.unwrap();
            assert_eq!(status.as_u16(), 202);
            if sent.send(id).is_err() {
                return;
            }
        }
    });

    // Herald trusts both, then the endpoint shows the new certificate and takes both of Herald's.
    namespace.config_map("ca", &[("ca.crt", &both)]).await;
    probe(&namespace, "trusts-both", &start(acceptor_of(&new_server, Some(&both))).await, "True", "Verified")
        .await;
    endpoint.serve_by(acceptor_of(&new_server, Some(&both))).await;
    endpoint.next_delivery().await;
    // Herald shows the new one, then the endpoint takes no other.
    give(&namespace, &new.client("herald")).await;
    let new_alone = start(acceptor_of(&new_server, Some(&new.pem()))).await;
    probe(&namespace, "shows-new", &new_alone, "True", "Verified").await;
    endpoint.serve_by(acceptor_of(&new_server, Some(&new.pem()))).await;
    endpoint.next_delivery().await;
    // And the old authority is trusted no more.
    namespace.config_map("ca", &[("ca.crt", &new.pem())]).await;
    let still_old = start(acceptor_of(&old_server, Some(&both))).await;
    probe(&namespace, "trusts-new", &still_old, "False", "TLSFailed").await;
    assert_eq!(still_old.challenges().len(), 0);
    endpoint.close();
    endpoint.open().await;
    endpoint.next_delivery().await;

    load.abort();
    let mut ids = BTreeSet::new();
    while let Some(id) = all.recv().await {
        ids.insert(id);
    }
    let arrived: BTreeSet<_> = endpoint.deliveries().iter().map(super::id_of).collect();
    let missing: BTreeSet<_> = ids.difference(&arrived).cloned().collect();
    // Those are read again from the first on.
    if !missing.is_empty() {
        all_arrive(&endpoint, &missing).await;
    }
    assert!(herald.metric("herald_delivery_attempts_failed_total{reason=\"TLSFailed\"}").await < 1.0);
    assert_eq!(endpoint.challenges().len(), 1, "contents do not touch the proof");
    herald.stop().await;
}
