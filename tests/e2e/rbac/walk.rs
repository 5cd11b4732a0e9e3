//! Everything that Herald uses a right for, once.

use std::sync::Arc;

use futures::TryStreamExt as _;
use herald::api::{Payload, Replay, VERIFY_REQUESTED_AT, Webhook};
use http::header::CONTENT_TYPE;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::time::{Duration, interval, timeout};

use super::installation::{Installation, Scope};
use crate::support::objects::{bundle, entry, label_producer, until, until_there};
use crate::support::producer::event;
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{DEADLINE, Endpoint, webhook};

/// From an empty journal to a change of leaders.
pub async fn walk(it: &mut Installation) {
    it.controller.start(&it.own).await;
    certificates(it).await;
    it.dispatcher.start(&it.own).await;
    let endpoint = Endpoint::start().await;
    verification(it, &endpoint).await;
    delivery(it, &endpoint).await;
    upkeep(it).await;
    withdrawal(it).await;
    handover(it).await;
    it.controller.stop().await;
    it.dispatcher.stop().await;
}

/// Waits until every bundle is that of the certificate.
async fn published(it: &Installation, tls: &Secret) {
    let wanted = entry(tls, "ca.crt");
    for namespace in [&it.own, &it.served] {
        until_there(&namespace.api(), &it.ca_name(), |copy: &ConfigMap| bundle(copy) == wanted).await;
    }
    if it.scope != Scope::NamespaceAlone && it.own.cluster().serves_trust_bundles().await {
        let bundles = Api::<ClusterTrustBundle>::all(it.own.cluster().client());
        let name = format!("herald.dev:ingestion:{}.{}", it.own.name(), it.name);
        until_there(&bundles, &name, |bundle| bundle.spec.trust_bundle == wanted).await;
    }
}

async fn certificates(it: &Installation) {
    let tls = until_there(&it.own.api(), &it.tls_name(), |_| true).await;
    published(it, &tls).await;
}

/// Waits for a Kubernetes Event about a Webhook.
async fn said(it: &Installation, reason: &str, wanted: impl Fn(&Event) -> bool) {
    let selector = watcher::Config::default().fields(&format!("reason={reason}"));
    let search = async {
        let mut events = Box::pin(watcher(it.served.api::<Event>(), selector).applied_objects());
        while let Some(event) = events.try_next().await.unwrap() {
            if wanted(&event) {
                return;
            }
        }
    };
    assert!(timeout(DEADLINE, search).await.is_ok(), "no Event with the reason {reason}");
}

async fn verification(it: &Installation, endpoint: &Endpoint) {
    it.served.secret("audit", &[("api-key", "k")]).await;
    it.served.apply(&webhook("audit", &endpoint.uri())).await;
    it.served.await_condition("audit", "Ready", "True", "Verified").await;
    said(it, "Verified", |_| true).await;
    it.served.edit("audit", json!({"metadata": {"annotations": {VERIFY_REQUESTED_AT: "again"}}})).await;
    said(it, "Verified", |event| event.series.is_some()).await;
    it.served.unlabelled_secret("private", &[("api-key", "k")]).await;
    it.served.apply(&webhook("private", &endpoint.uri()).events(&["User deleted"])).await;
    it.served.await_condition("private", "Ready", "False", "SecretNotAllowed").await;
}

async fn delivery(it: &Installation, endpoint: &Endpoint) {
    it.served.await_condition("audit", "Delivering", "True", "Delivering").await;
    let token = it.served.sender("producer", &it.dispatcher.argument("audience")).await;
    assert_eq!(send(it, &token, "1").await, 1);
    endpoint.next_delivery().await;

    let replay = json!({
        "apiVersion": "herald.dev/v1alpha1", "kind": "Replay", "metadata": {"name": "again"},
        "spec": {"webhook": "audit", "which": "Everything", "ttlSecondsAfterFinished": 0},
    });
    it.served.apply::<Replay>(&serde_json::from_value(replay).unwrap()).await;
    assert_eq!(endpoint.next_delivery().await.header("herald-replay"), Some("again"));
    until(&it.served.api::<Replay>(), "again", |replay| replay.is_none()).await;

    let later = webhook("later", &endpoint.uri()).events(&["User deleted"]);
    it.served.apply(&later.with(|spec| spec.payload = Payload::CloudEvents)).await;
    it.served
        .await_webhook("later", |later| {
            condition(later, "Delivering").is_some_and(|it| it.reason == "Unreadable")
        })
        .await;

    it.served.delete::<Webhook>("audit").await;
    // Nothing tells that the dispatcher knows: like a producer, this sends again and again.
    let gone = async {
        let mut sends = interval(Duration::from_millis(20));
        let mut number = 2;
        while send(it, &token, &number.to_string()).await > 0 {
            number += 1;
            sends.tick().await;
        }
    };
    assert!(timeout(DEADLINE, gone).await.is_ok(), "events are matched to what is gone");
}

/// Sends an event as a pod of the served namespace would, again where Herald asks for that;
/// says how many webhooks want it.
async fn send(it: &Installation, token: &str, id: &str) -> u64 {
    let (client, url) = producer(it).await;
    let sent = async {
        let mut tries = interval(Duration::from_millis(100));
        loop {
            tries.tick().await;
            let request =
                client.post(&url).bearer_auth(token).header(CONTENT_TYPE, "application/cloudevents+json");
            let answer = request.body(event("user.created", id).to_string()).send().await.unwrap();
            let (status, answer) = (answer.status(), answer.json::<Value>().await.unwrap());
            if status != StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
                return answer.get("matched").and_then(Value::as_u64).unwrap();
            }
        }
    };
    timeout(DEADLINE, sent).await.expect("the event is taken")
}

/// A client that trusts the bundle of its namespace and nothing else, and where it sends events.
async fn producer(it: &Installation) -> (reqwest::Client, String) {
    let copy: ConfigMap = it.served.api().get(&it.ca_name()).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle(&copy).as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = format!("{}.{}.svc", it.name, it.own.name());
    let address = it.dispatcher.address("taking user events").await;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().resolve(&host, address);
    let url = format!("https://{host}:{}/v1/namespaces/{}/events", address.port(), it.served.name());
    (client.timeout(DEADLINE).build().unwrap(), url)
}

/// What is broken is mended, in place where that can be.
async fn upkeep(it: &Installation) {
    let secrets = it.own.api::<Secret>();
    let old = entry(&secrets.get(&it.tls_name()).await.unwrap(), "ca.crt");
    edit(&secrets, &it.ca_name(), json!({"data": {"ca.key": ""}})).await;
    let tls = until_there(&secrets, &it.tls_name(), |tls| entry(tls, "ca.crt") != old).await;
    published(it, &tls).await;

    for name in [it.ca_name(), it.tls_name()] {
        let broken =
            edit(&secrets, &name, json!({"immutable": true, "data": {"ca.key": "", "tls.key": ""}})).await;
        until_there(&secrets, &name, |new| new.metadata.uid != broken.metadata.uid).await;
    }
}

async fn edit(secrets: &Api<Secret>, name: &str, edit: Value) -> Secret {
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap()
}

/// A namespace is no longer a producer's.
async fn withdrawal(it: &Installation) {
    label_producer(it.own.cluster(), it.served.name(), false).await;
    if it.scope != Scope::Cluster {
        // It sees the label when it next looks, which it does because of another change.
        it.own.api::<ConfigMap>().delete(&it.ca_name(), &DeleteParams::default()).await.unwrap();
        until_there(&it.own.api::<ConfigMap>(), &it.ca_name(), |_| true).await;
    }
    until(&it.served.api::<ConfigMap>(), &it.ca_name(), |copy| copy.is_none()).await;
}

/// The Lease is given back, and taken again.
async fn handover(it: &mut Installation) {
    let leases = it.own.api::<Lease>();
    let holder =
        |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let name = it.lease_name();
    until_there(&leases, &name, |lease| !holder(lease).is_empty()).await;
    // What the controller has seen of it is old by now, as it is after a renewal that was broken off.
    let edit = Patch::Merge(json!({"metadata": {"annotations": {"example.com/edited": "last"}}}));
    leases.patch(&name, &PatchParams::default(), &edit).await.unwrap();
    it.controller.stop().await;
    assert_eq!(holder(&leases.get(&name).await.unwrap()), "");
    it.controller.start(&it.own).await;
    until_there(&leases, &name, |lease| !holder(lease).is_empty()).await;
}
