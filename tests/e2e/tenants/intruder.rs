//! Tenant A: what its namespace's administrator can say to the API server and to Herald.

use http::{Method, Request};
use kube::Client;
use kube::config::AuthInfo;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::support::herald::AUDIENCE;
use crate::support::operator::EVERYTHING;
use crate::support::{Behaviour, Endpoint, HeraldProcess, Namespace};

/// The names of both tenants' Webhooks and Secrets.
pub(super) const NAMES: [&str; 2] = ["audit", "billing"];

/// What A does once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// A Webhook like one of B's, to its own endpoint or to B's.
    Webhook {
        which: usize,
        to: To,
        in_flight: u16,
    },
    Delete(usize),
    Secret(usize, SecretKind),
    /// A proof that its Webhook has not earned: B's, word for word.
    ForgeProof(usize),
    /// Its own Webhook's name, which is also one of B's.
    Replay(usize),
    /// So many events with the ids that B's next ones have.
    Events(usize),
    /// What its own endpoint does from now on.
    Endpoint(usize),
    /// Asks Herald to test, to list, to delete in its own namespace.
    Manage(usize),
    /// The same as above and more, where it has no right: in B's namespace.
    Trespass(usize),
}

/// Where a Webhook of A's leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Own,
    OthersEndpoint,
    NoSuchName,
    Metadata,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SecretKind {
    Good,
    Unlabelled,
    Malformed,
}

/// A, with every right in its own namespace that a Role can give.
pub(super) struct Intruder {
    own: String,
    others: String,
    others_uri: String,
    endpoint: Endpoint,
    client: Client,
    token: String,
    calls: usize,
}

impl Intruder {
    pub(super) async fn new(own: &Namespace, others: &Namespace, others_endpoint: &Endpoint) -> Self {
        own.service_account("intruder").await;
        own.allow_everything("intruder").await;
        own.allow(own.name(), "intruder", &[EVERYTHING.as_slice(), &[("create", "userevents")]].concat())
            .await;
        let mut config = own.cluster().config();
        config.auth_info = AuthInfo {
            token: Some(own.token_for_the_cluster("intruder").await.into()),
            ..AuthInfo::default()
        };
        Self {
            own: own.name().to_owned(),
            others: others.name().to_owned(),
            others_uri: others_endpoint.uri(),
            endpoint: Endpoint::start().await,
            client: Client::try_from(config).unwrap(),
            token: own.token("intruder", AUDIENCE).await,
            calls: 0,
        }
    }

    pub(super) fn draw(random: &mut StdRng) -> Call {
        let which = random.random_range(0..NAMES.len());
        let to = [To::Own, To::Own, To::OthersEndpoint, To::NoSuchName, To::Metadata];
        let kinds = [SecretKind::Good, SecretKind::Good, SecretKind::Unlabelled, SecretKind::Malformed];
        match random.random_range(0..16) {
            0..=3 => Call::Webhook {
                which,
                to: to[random.random_range(0..to.len())],
                in_flight: [1, 16, 256][random.random_range(0..3)],
            },
            4 => Call::Delete(which),
            5 | 6 => Call::Secret(which, kinds[random.random_range(0..kinds.len())]),
            7 => Call::ForgeProof(which),
            8 => Call::Replay(which),
            9 | 10 => Call::Events([1, 10, 300][random.random_range(0..3)]),
            11 | 12 => Call::Endpoint(random.random_range(0..5)),
            13 => Call::Manage(which),
            _ => Call::Trespass(which),
        }
    }

    /// Makes one call. Whatever is asked of B's namespace has to be forbidden.
    pub(super) async fn make(&mut self, herald: &HeraldProcess, call: Call, proof: &Value) {
        self.calls += 1;
        let own = self.own.clone();
        match call {
            Call::Webhook { which, to, in_flight } => {
                let uri = match to {
                    To::Own => self.endpoint.uri(),
                    To::OthersEndpoint => self.others_uri.clone(),
                    To::NoSuchName => "https://no-such-name.invalid/".to_owned(),
                    To::Metadata => "https://169.254.169.254/latest/meta-data".to_owned(),
                };
                let object = webhook(&own, which, &uri, in_flight);
                self.apply("herald.dev/v1alpha1", &own, "webhooks", &object).await;
            }
            Call::Delete(which) => {
                let path = format!("/apis/herald.dev/v1alpha1/namespaces/{own}/webhooks/{}", NAMES[which]);
                self.ask(Method::DELETE, &path, "application/json", None).await;
            }
            Call::Secret(which, kind) => {
                let object = secret(&own, which, kind);
                self.apply("v1", &own, "secrets", &object).await;
            }
            Call::ForgeProof(which) => {
                let path =
                    format!("/apis/herald.dev/v1alpha1/namespaces/{own}/webhooks/{}/status", NAMES[which]);
                let status = json!({"status": proof});
                self.ask(Method::PATCH, &path, "application/merge-patch+json", Some(&status)).await;
            }
            Call::Replay(which) => {
                let name = format!("again-{}", self.calls);
                let object = json!({
                    "apiVersion": "herald.dev/v1alpha1", "kind": "Replay",
                    "metadata": {"name": name, "namespace": own},
                    "spec": {"webhook": NAMES[which], "which": "Everything"},
                });
                self.apply("herald.dev/v1alpha1", &own, "replays", &object).await;
            }
            Call::Events(count) => {
                let status = self.post_events(herald, &own, count).await;
                assert!([202, 429, 503].contains(&status), "{status}");
            }
            Call::Endpoint(how) => {
                let how = match how {
                    0 => Behaviour::ok(),
                    1 => Behaviour::status(500),
                    2 => Behaviour::status(410),
                    3 => Behaviour::hang(),
                    _ => Behaviour::ok().body("x".repeat(1 << 20)),
                };
                self.endpoint.on_delivery(how);
            }
            Call::Manage(which) => {
                for (method, path) in manage(&own, NAMES[which]) {
                    self.manage(herald, method, &path).await;
                }
            }
            Call::Trespass(which) => self.trespass(herald, which).await,
        }
    }

    async fn trespass(&self, herald: &HeraldProcess, which: usize) {
        let others = &self.others;
        let name = NAMES[which];
        let webhooks = format!("/apis/herald.dev/v1alpha1/namespaces/{others}/webhooks");
        let secrets = format!("/api/v1/namespaces/{others}/secrets");
        let webhook = webhook(others, which, &self.endpoint.uri(), 1);
        let edit = json!({"spec": {"uri": self.endpoint.uri()}});
        let unprove = json!({"status": {"verification": null}});
        let quota = json!({"metadata": {"annotations": {"herald.dev/quota-events-per-second": "0"}}});
        let replay = json!({
            "apiVersion": "herald.dev/v1alpha1", "kind": "Replay",
            "metadata": {"name": "again"}, "spec": {"webhook": name, "which": "Everything"},
        });
        let merge = "application/merge-patch+json";
        let plain = "application/json";
        let table = [
            (Method::GET, webhooks.clone(), plain, None),
            (Method::POST, webhooks.clone(), plain, Some(&webhook)),
            (Method::PATCH, format!("{webhooks}/{name}"), merge, Some(&edit)),
            (Method::PATCH, format!("{webhooks}/{name}/status"), merge, Some(&unprove)),
            (Method::DELETE, format!("{webhooks}/{name}"), plain, None),
            (Method::GET, secrets.clone(), plain, None),
            (Method::DELETE, format!("{secrets}/{name}"), plain, None),
            (
                Method::POST,
                format!("/apis/herald.dev/v1alpha1/namespaces/{others}/replays"),
                plain,
                Some(&replay),
            ),
            (Method::PATCH, format!("/api/v1/namespaces/{others}"), merge, Some(&quota)),
        ];
        for (method, path, kind, body) in table {
            let status = self.ask(method.clone(), &path, kind, body).await;
            assert_eq!(status, 403, "{method} {path}");
        }
        assert_eq!(self.post_events(herald, others, 3).await, 403);
        for (method, path) in manage(others, name) {
            assert_eq!(self.manage(herald, method.clone(), &path).await, 403, "{method} {path}");
        }
    }

    async fn apply(&self, version: &str, namespace: &str, plural: &str, object: &Value) {
        let root = if version == "v1" { "/api" } else { "/apis" };
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap();
        let path =
            format!("{root}/{version}/namespaces/{namespace}/{plural}/{name}?fieldManager=a&force=true");
        let status = self.ask(Method::PATCH, &path, "application/apply-patch+yaml", Some(object)).await;
        assert!((200..300).contains(&status), "{status}: {object}");
    }

    /// Says it to the API server; the status of its answer.
    async fn ask(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> u16 {
        let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(kube::client::Body::from(body)).unwrap();
        self.client.send(request).await.unwrap().status().as_u16()
    }

    /// Sends events that are named like B's; the status of the answer.
    async fn post_events(&self, herald: &HeraldProcess, namespace: &str, count: usize) -> u16 {
        let events: Vec<_> =
            (0..count).map(|n| super::event_of("a", n, &format!("{}", self.calls))).collect();
        let answer = herald.http().post(herald.events_url(namespace)).bearer_auth(&self.token);
        let answer = answer.header("content-type", "application/cloudevents-batch+json");
        answer.body(json!(events).to_string()).send().await.unwrap().status().as_u16()
    }

    async fn manage(&self, herald: &HeraldProcess, method: Method, path: &str) -> u16 {
        let url = format!("{}{path}", herald.url_and_ca_file().0);
        let request = herald.http().request(method, url).bearer_auth(&self.token);
        let request = request.header("content-type", "application/json").body(r#"{"type":"User created"}"#);
        request.send().await.unwrap().status().as_u16()
    }
}

fn webhook(namespace: &str, which: usize, uri: &str, in_flight: u16) -> Value {
    json!({
        "apiVersion": "herald.dev/v1alpha1", "kind": "Webhook",
        "metadata": {"name": NAMES[which], "namespace": namespace, "labels": {"tenant": "a"}},
        "spec": {
            "name": "a\u{1b}[2J\u{202e}", "uri": uri, "events": ["*"],
            "apiKeySecretRef": {"name": NAMES[which], "key": "api-key"},
            "delivery": {"maxInFlight": in_flight, "timeout": "1s", "maxAttempts": 20},
        },
    })
}

fn secret(namespace: &str, which: usize, kind: SecretKind) -> Value {
    let labels = match kind {
        SecretKind::Unlabelled => json!({}),
        SecretKind::Good | SecretKind::Malformed => json!({"herald.dev/allow-webhooks": "true"}),
    };
    let key = if matches!(kind, SecretKind::Malformed) { "a\nb" } else { "the key of A" };
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": NAMES[which], "namespace": namespace, "labels": labels},
        "stringData": {"api-key": key},
    })
}

/// The questions of the management API about one webhook.
fn manage(namespace: &str, webhook: &str) -> Vec<(Method, String)> {
    let base = format!("/v1/namespaces/{namespace}");
    vec![
        (Method::GET, format!("{base}/events/e-0?source=%2Fidp")),
        (Method::GET, format!("{base}/events?webhook={webhook}")),
        (Method::GET, format!("{base}/webhooks/{webhook}/deadletters")),
        (Method::DELETE, format!("{base}/webhooks/{webhook}/deadletters")),
        (Method::POST, format!("{base}/webhooks/{webhook}/test")),
    ]
}
