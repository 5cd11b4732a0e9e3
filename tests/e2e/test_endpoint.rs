//! The test endpoint does what tests rely on: else their verdicts say nothing.

use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::certificates::{self, authority_pem};
use crate::support::webhook::WebhookExt as _;
use crate::support::{Behaviour, Cluster, Endpoint, webhook};

const SHORT: Duration = Duration::from_millis(500);

fn client() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let root = Certificate::from_pem(authority_pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([root]).no_proxy().build().unwrap()
}

async fn challenge(client: &Client, endpoint: &Endpoint) -> reqwest::Result<Value> {
    client.get(endpoint.uri()).header("x-verification-key", "k1").send().await?.json().await
}

#[tokio::test]
async fn it_proves_itself_until_told_otherwise() {
    let (client, endpoint) = (client(), Endpoint::start().await);
    assert_eq!(challenge(&client, &endpoint).await.unwrap(), json!({"key": "k1"}));
    assert_eq!(endpoint.next_challenge().await.header("x-verification-key"), Some("k1"));

    endpoint.on_next_challenges([Behaviour::wrong_key(), Behaviour::hang_up(), Behaviour::cut()]);
    assert_ne!(challenge(&client, &endpoint).await.unwrap(), json!({"key": "k1"}));
    assert!(challenge(&client, &endpoint).await.is_err());
    assert!(challenge(&client, &endpoint).await.is_err());
    assert_eq!(challenge(&client, &endpoint).await.unwrap(), json!({"key": "k1"}));

    endpoint.on_challenge(Behaviour::drip());
    assert!(timeout(SHORT, challenge(&client, &endpoint)).await.is_err());
}

#[tokio::test]
async fn it_records_deliveries_and_answers_when_the_test_says() {
    let (client, endpoint) = (client(), Endpoint::start().await);
    let gate = CancellationToken::new();
    let busy = Behaviour::status(503).header("retry-after", "7").once(&gate);
    endpoint.on_next_deliveries([busy]);
    let mut delivery = Box::pin(client.post(endpoint.uri()).body("first").send());
    assert!(timeout(SHORT, &mut delivery).await.is_err());
    assert_eq!(endpoint.next_delivery().await.body, "first");
    gate.cancel();
    let answer = endpoint.expect_no_request_while(delivery).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().unwrap())
    );
    let answer = client.post(endpoint.uri()).body("second").send().await.unwrap();
    assert_eq!((answer.status(), endpoint.next_delivery().await.body), (StatusCode::OK, "second".into()));
}

#[tokio::test]
async fn its_certificate_and_its_port_are_as_asked() {
    let client = client();
    for kind in [
        certificates::Certificate::Untrusted,
        certificates::Certificate::OtherHost,
        certificates::Certificate::Expired,
    ] {
        assert!(challenge(&client, &Endpoint::with(kind, false).await).await.is_err(), "{kind:?}");
    }
    let picky = Endpoint::with(certificates::Certificate::Good, true).await;
    assert!(challenge(&client, &picky).await.is_err());

    let mut endpoint = Endpoint::start().await;
    endpoint.close();
    assert!(challenge(&client, &endpoint).await.is_err());
    endpoint.open().await;
    assert!(challenge(&client, &endpoint).await.is_ok());
}

#[tokio::test]
async fn a_namespace_holds_what_a_test_applies_and_goes_with_it() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("support").await;
    namespace.secret("audit", &[("api-key", "secret")]).await;
    let applied = namespace.apply(&webhook("audit", "https://127.0.0.1/").events(&["User created"])).await;
    assert_eq!(applied.metadata.namespace.as_deref(), Some(namespace.name()));
    let edit = namespace.edit("audit", json!({"spec": {"enabled": false}}));
    let (edited, _) = tokio::join!(namespace.await_webhook("audit", |webhook| !webhook.spec.enabled), edit);
    assert_eq!(edited.metadata.generation, Some(2));
    assert!(!namespace.sender("producer", "herald.test").await.is_empty());

    let name = namespace.name().to_owned();
    drop(namespace);
    let api = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.client());
    let left = api.get_opt(&name).await.unwrap();
    assert!(left.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()));
}
