//! Who may send user events, asked of the API server itself.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use herald::access::{self, Authenticator, ClusterReview, Lifetimes};
use herald::ingest::{self, Limits, Matching, Metrics, RunError, Service, TlsFiles};
use herald::journal::embedded::{Config, Embedded};
use herald::model::{Clock, EventType, WebhookUid};
use http::StatusCode;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Client;
use reqwest::{RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::between::{Between, Disturbance, Mischief};
use crate::support::cluster::kubeconfig_path;
use crate::support::{Cluster, DEADLINE, certificates};

const AUDIENCE: &str = "herald/e2e-ingest";

/// One webhook wants everything everywhere: matching is another test's affair.
struct One;

impl Matching for One {
    fn ready(&self) -> bool {
        true
    }

    fn matching(&self, _: &str, _: EventType) -> Vec<WebhookUid> {
        vec![WebhookUid::from_bytes([1; 16])]
    }
}

/// Ingestion with a journal on disk, and the cluster to ask about callers.
struct Ingestion {
    url: String,
    directory: TempDir,
    http: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

impl Ingestion {
    async fn start(client: Client, lifetimes: Lifetimes) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pair = certificates::server(certificates::Certificate::Good);
        let files = TlsFiles {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
            every: Duration::from_secs(1),
        };
        std::fs::write(&files.certificate, pair.certificate).unwrap();
        std::fs::write(&files.key, pair.key).unwrap();
        std::fs::write(directory.path().join("ca.crt"), certificates::authority_pem()).unwrap();
        let journal =
            Embedded::open(Config::new(directory.path().join("journal")), Clock::default()).unwrap();
        let metrics = Metrics::default();
        let review = ClusterReview::new(client, AUDIENCE.to_owned());
        let authenticator =
            Authenticator::new(review, lifetimes, Clock::default(), access::Metrics::default());
        let service = Service::new(authenticator, One, journal, metrics, Limits::default(), Clock::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(ingest::run(listener, Some(files), Arc::new(service), shutdown.clone()));
        Self { url, directory, http: http(), shutdown, running }
    }

    async fn on(cluster: &Cluster) -> Self {
        Self::start(cluster.client(), Lifetimes::default()).await
    }

    fn ca_file(&self) -> String {
        self.directory.path().join("ca.crt").display().to_string()
    }

    fn request(&self, namespace: &str, token: &str) -> RequestBuilder {
        self.http.post(format!("{}/v1/namespaces/{namespace}/events", self.url)).bearer_auth(token)
    }

    async fn send(&self, namespace: &str, token: &str) -> Response {
        let event = event(&format!("{:016x}", rand::random::<u64>())).to_string();
        let request = self.request(namespace, token).header("content-type", "application/cloudevents+json");
        request.body(event).send().await.unwrap()
    }

    /// Sends again and again until the answer is as it should become.
    async fn await_status(&self, namespace: &str, token: &str, wanted: StatusCode) {
        let asking = self.until_status(namespace, token, wanted);
        timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("{wanted} has not come"));
    }

    async fn until_status(&self, namespace: &str, token: &str, wanted: StatusCode) {
        let mut tries = interval(Duration::from_millis(50));
        while self.send(namespace, token).await.status() != wanted {
            tries.tick().await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.running).await.expect("it stops").unwrap().unwrap();
    }
}

fn http() -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates::authority_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(DEADLINE).build().unwrap()
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/idp", "type": "user.created", "subject": "u", "data": {}})
}

/// As a part of a JSON Web Token.
fn encoded(claims: &Value) -> String {
    URL_SAFE_NO_PAD.encode(claims.to_string())
}

async fn problem(response: Response) -> (u16, Value) {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_service_account_that_may_send_is_accepted_in_every_mode() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("ingest").await;
    let token = namespace.sender("producer", AUDIENCE).await;
    let ingestion = Ingestion::on(&cluster).await;

    let structured = ingestion.send(namespace.name(), &token).await;
    assert_eq!(structured.status(), 202);
    let binary = ingestion
        .request(namespace.name(), &token)
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "binary")
        .header("ce-source", "/idp")
        .header("ce-type", "user.logged_in")
        .header("ce-subject", "u")
        .body("{}");
    assert_eq!(binary.send().await.unwrap().status(), 202);
    for (accepted, duplicate) in [(2, 1), (0, 3)] {
        let batch = json!([event("1"), event("2"), event("1")]).to_string();
        let request = ingestion.request(namespace.name(), &token);
        let batch = request.header("content-type", "application/cloudevents-batch+json").body(batch);
        let answer: Value = batch.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer, json!({"accepted": accepted, "duplicate": duplicate, "matched": accepted}));
    }
    ingestion.stop().await;
}

#[tokio::test]
async fn whoever_is_not_meant_to_send_is_told_why() {
    let cluster = Cluster::connect().await;
    let (namespace, other) = (cluster.namespace("ingest").await, cluster.namespace("ingest").await);
    let good = namespace.sender("producer", AUDIENCE).await;
    let elsewhere = namespace.token("producer", "herald/another").await;
    let for_the_api_server = namespace.token("producer", "https://kubernetes.default.svc").await;
    namespace.service_account("stranger").await;
    let stranger = namespace.token("stranger", AUDIENCE).await;
    namespace.service_account("gone").await;
    namespace.allow_sending(namespace.name(), "gone").await;
    let gone = namespace.token("gone", AUDIENCE).await;
    namespace.delete::<ServiceAccount>("gone").await;
    // The same claims with another signature.
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{unsigned}.{}", "A".repeat(342));
    // As accounts had them in Secrets: for no audience, and for ever.
    let claims = json!({"iss": "kubernetes/serviceaccount", "sub": format!("system:serviceaccount:{}:producer", namespace.name())});
    let for_ever = format!("{}.{}.{}", encoded(&json!({"alg": "RS256"})), encoded(&claims), "A".repeat(342));

    let ingestion = Ingestion::on(&cluster).await;
    let here = namespace.name();
    let mut answers = Vec::new();
    for (what, token) in [
        ("garbage", "garbage"),
        ("for another Herald", &elsewhere),
        ("for the API server", &for_the_api_server),
        ("of an account that is gone", &gone),
        ("with a forged signature", &forged),
        ("for no audience", &for_ever),
    ] {
        let response = ingestion.send(here, token).await;
        let challenge = response.headers().get("www-authenticate").cloned();
        let (status, document) = problem(response).await;
        assert_eq!(status, 401, "{what}");
        answers.push((challenge, document));
    }
    let first = answers.first().cloned().unwrap();
    assert!(
        first.0.is_some() && answers.iter().all(|answer| *answer == first),
        "one tells more: {answers:?}"
    );
    let without = ingestion.http.post(format!("{}/v1/namespaces/{here}/events", ingestion.url)).send();
    assert_eq!(problem(without.await.unwrap()).await.0, 401);

    let (status, document) = problem(ingestion.send(here, &stranger).await).await;
    assert_eq!(status, 403);
    let user = format!("system:serviceaccount:{here}:stranger");
    assert!(document["detail"].as_str().unwrap().contains(&user), "{document}");
    assert_eq!(problem(ingestion.send(other.name(), &good).await).await.0, 403);
    assert_eq!(ingestion.send(here, &good).await.status(), 202, "the others were not refused for nothing");
    ingestion.stop().await;
}

#[tokio::test]
async fn a_right_that_is_given_or_taken_counts_within_the_time_of_the_cache() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("ingest").await;
    namespace.service_account("producer").await;
    let token = namespace.token("producer", AUDIENCE).await;
    let short = Duration::from_millis(300);
    let lifetimes = Lifetimes { allowed: short, refused: short, ..Lifetimes::default() };
    let ingestion = Ingestion::start(cluster.client(), lifetimes).await;
    let here = namespace.name();

    assert_eq!(ingestion.send(here, &token).await.status(), 403);
    namespace.allow_sending(here, "producer").await;
    ingestion.await_status(here, &token, StatusCode::ACCEPTED).await;
    namespace.delete::<RoleBinding>("herald-producer").await;
    ingestion.await_status(here, &token, StatusCode::FORBIDDEN).await;

    namespace.allow_sending(here, "producer").await;
    ingestion.await_status(here, &token, StatusCode::ACCEPTED).await;
    namespace.delete::<ServiceAccount>("producer").await;
    ingestion.await_status(here, &token, StatusCode::UNAUTHORIZED).await;
    ingestion.stop().await;
}

/// With the time that a verdict is kept by default, which is what is promised.
#[tokio::test]
async fn what_is_taken_away_counts_within_a_minute() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("ingest").await;
    let unbound = namespace.sender("unbound", AUDIENCE).await;
    let gone = namespace.sender("gone", AUDIENCE).await;
    let ingestion = Ingestion::on(&cluster).await;
    let here = namespace.name();
    for token in [&unbound, &gone] {
        assert_eq!(ingestion.send(here, token).await.status(), 202);
    }
    namespace.delete::<RoleBinding>("herald-unbound").await;
    namespace.delete::<ServiceAccount>("gone").await;
    let refused = async {
        tokio::join!(
            ingestion.until_status(here, &unbound, StatusCode::FORBIDDEN),
            ingestion.until_status(here, &gone, StatusCode::UNAUTHORIZED),
        );
    };
    timeout(Duration::from_mins(1), refused).await.expect("both are refused within a minute");
    ingestion.stop().await;
}

#[tokio::test]
async fn while_the_api_server_is_away_the_known_go_on_and_the_others_are_told_to_come_back() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("ingest").await;
    let (known, other) =
        (namespace.sender("known", AUDIENCE).await, namespace.sender("other", AUDIENCE).await);
    let way = Arc::new(Disturbance::default());
    let between = Between::start(&cluster, Mischief::Disturbs(way.clone())).await;
    let lifetimes = Lifetimes { allowed: Duration::from_secs(10), ..Lifetimes::default() };
    let ingestion = Ingestion::start(cluster.by_way_of(&between.url()).client(), lifetimes).await;
    let here = namespace.name();
    assert_eq!(ingestion.send(here, &known).await.status(), 202);

    way.block(true);
    let response = ingestion.send(here, &other).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(problem(response).await.0, 503);
    assert_eq!(ingestion.send(here, &known).await.status(), 202, "its verdict has not ended");
    assert_eq!(ingestion.send(here, "garbage").await.status(), 401, "nobody need be asked about that");
    ingestion.await_status(here, &known, StatusCode::SERVICE_UNAVAILABLE).await;

    way.block(false);
    ingestion.await_status(here, &known, StatusCode::ACCEPTED).await;
    ingestion.await_status(here, &other, StatusCode::ACCEPTED).await;
    ingestion.stop().await;
}

#[tokio::test]
async fn without_the_api_server_nobody_is_let_in() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("ingest").await;
    let token = namespace.sender("producer", AUDIENCE).await;
    let nowhere = cluster.by_way_of("https://127.0.0.1:1").client();
    let ingestion = Ingestion::start(nowhere, Lifetimes::default()).await;
    let response = ingestion.send(namespace.name(), &token).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(problem(response).await.0, 503);
    ingestion.stop().await;
}

#[tokio::test]
async fn herald_send_sends_with_a_token_that_it_asks_for() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("ingest").await;
    namespace.service_account("producer").await;
    namespace.allow_sending(namespace.name(), "producer").await;
    let ingestion = Ingestion::on(&cluster).await;
    let account = format!("{}/producer", namespace.name());

    let one = ["--type", "User created", "--subject", "u", "--id", "1", "--data", "{\"a\": 1}"];
    let answer = send(&ingestion, namespace.name(), &account, &one).await;
    assert_eq!(
        answer,
        (Some(0), "{\"accepted\":1,\"duplicate\":0,\"matched\":1}\n".to_owned(), String::new())
    );
    let answer = send(&ingestion, namespace.name(), &account, &one).await;
    assert_eq!(answer.1, "{\"accepted\":0,\"duplicate\":1,\"matched\":0}\n");

    let file = ingestion.directory.path().join("events.ndjson");
    let mut lines: Vec<String> = (0..250).map(|id| event(&format!("line-{id}")).to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let from_file = ["-f", path(&file), "--batch", "100"];
    let answer = send(&ingestion, namespace.name(), &account, &from_file).await;
    assert_eq!(answer.1, "{\"accepted\":250,\"duplicate\":0,\"matched\":250}\n", "{}", answer.2);

    lines[220] = lines[220].replace("user.created", "user.promoted");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let (status, stdout, stderr) = send(&ingestion, namespace.name(), &account, &from_file).await;
    assert_eq!((status, stdout.as_str()), (Some(1), "{\"accepted\":0,\"duplicate\":200,\"matched\":0}\n"));
    assert!(stderr.contains("event 220 of the input: 422 Unknown event type"), "{stderr}");

    let (status, stdout, stderr) = send(&ingestion, "default", &account, &one).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("403 Not allowed in this namespace"), "{stderr}");
    let (status, _, stderr) = send(&ingestion, namespace.name(), "default/nobody", &one).await;
    assert_eq!(status, Some(2), "{stderr}");
    ingestion.stop().await;
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Exit status, standard output and standard error of `herald send`.
async fn send(
    ingestion: &Ingestion,
    namespace: &str,
    account: &str,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_herald"))
        .env("KUBECONFIG", kubeconfig_path())
        .env("HERALD_URL", &ingestion.url)
        .args(["send", "--namespace", namespace, "--ca-file", &ingestion.ca_file()])
        .args(["--service-account", account, "--audience", AUDIENCE])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Output { status, stdout, stderr } = timeout(DEADLINE, run).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
