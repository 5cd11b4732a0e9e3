//! Names that lead elsewhere than they did, through the real program.

use herald::api::Webhook;
use serde_json::json;

use super::{deliver_by, id_of};
use crate::support::certificates::server_of;
use crate::support::endpoint::acceptor_of;
use crate::support::names::{NameServer, Reply};
use crate::support::producer::event;
use crate::support::webhook::{WebhookExt as _, condition};
use crate::support::{Cluster, Endpoint, HeraldProcess, Producer, webhook};

const HOST: &str = "hooks.rebinding.test";

#[tokio::test]
async fn a_proved_name_that_rebinds_is_not_called_and_what_waits_is_not_lost() {
    let namespace = Cluster::connect().await.namespace("rebinding").await;
    let names = NameServer::start().await;
    let [outside, inside] = [Reply::addresses("127.0.0.1"), Reply::addresses("127.0.0.2")];
    names.says(HOST, [outside.clone()]);
    let tls = || acceptor_of(&server_of(HOST), None);
    let mut endpoint = Endpoint::at(([127, 0, 0, 1], 0).into(), tls()).await;
    let port = endpoint.address().port();
    let victim = Endpoint::at(([127, 0, 0, 2], port).into(), tls()).await;
    let server = names.address().to_string();
    let more = ["--outbound-name-server", &server];
    let mut herald = HeraldProcess::start_allowing(&[&namespace], &["127.0.0.1"], &more).await;
    let producer = Producer::new(&namespace).await;
    let uri = format!("https://{HOST}:{port}/users");

    namespace.secret("audit", &[("api-key", "key")]).await;
    let often = json!({"maxAttempts": 20, "backoff": {"initial": "1s", "max": "1s"}});
    namespace.apply(&deliver_by(webhook("audit", &uri), often)).await;
    namespace.await_condition("audit", "Delivering", "True", "Delivering").await;
    producer.send(&herald, &event("user.created", "before")).await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "before");

    let delivery = |webhook: &Webhook| webhook.status.as_ref().and_then(|status| status.delivery.clone());
    let ended = |webhook: &Webhook| delivery(webhook).is_some_and(|it| it.last_success.is_some());
    namespace.await_webhook("audit", ended).await;

    names.says(HOST, [inside]);
    // The connection that it has goes where it went: the next one is what counts.
    endpoint.close();
    endpoint.open().await;
    producer.send(&herald, &event("user.created", "held")).await;
    let failed = namespace
        .await_webhook("audit", |webhook| {
            let failure = delivery(webhook).and_then(|delivery| delivery.last_failure);
            failure.is_some_and(|failure| failure.reason == "AddressForbidden")
        })
        .await;
    let delivery = delivery(&failed).unwrap();
    assert_eq!(delivery.pending, Some(1));
    let message = delivery.last_failure.unwrap().message;
    assert!(message.contains(HOST) && message.contains("administrator"), "{message}");
    assert!(!message.contains("127.0.0") && !message.contains("loopback"), "{message}");

    // A challenge goes there as little.
    namespace.secret("late", &[("api-key", "key")]).await;
    namespace.apply(&webhook("late", &uri).events(&["User deleted"])).await;
    let late = namespace.await_condition("late", "Verified", "False", "AddressForbidden").await;
    let message = &condition(&late, "Verified").unwrap().message;
    assert!(!message.contains("127.0.0") && !message.contains("loopback"), "{message}");
    // An administrator is told.
    let log = herald.log();
    let allow = format!("--outbound-allow {}=127.0.0.2/32", namespace.name());
    assert!(log.contains(&allow) && log.contains("a loopback address"), "{log}");

    names.says(HOST, [outside]);
    assert_eq!(id_of(&endpoint.next_delivery().await), "held");
    herald.stop().await;
    assert_eq!(victim.connections(), 0, "it was connected to where it may not");
    assert_eq!(endpoint.deliveries().len(), 2);
}
