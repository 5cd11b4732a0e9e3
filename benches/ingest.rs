//! What accepting costs, apart from storing: ingestion with a journal that
//! keeps nothing, over TLS on loopback.
//!
//! ```text
//! this process: ingest <── 64 keep-alive connections ── a child of it: hyper clients
//! ```
//!
//! The clients are another process so that the processor time of the server
//! can be told from theirs; both share the machine, as in the figures of the
//! README. `cargo bench --bench ingest -- SECONDS`.
//!
//! The last rows are of callers that are not let in, who have to connect anew
//! after each answer; before them is who connects and says nothing. The answer of
//! the API server about a forged token takes no time here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark ends by a panic and prints its figures"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use herald::access::{self, Action, Authenticator, ClusterReview, Lifetimes, Review, Verdict};
use herald::ingest::{self, Limits, Matching, Metrics, Service, TlsFiles};
use herald::journal::{
    Append, Appended, Attempt, ClaimError, Delivery, Depth, Journal, Lane, LaneState, Lease, Lost, Outcome,
    Settled, Unavailable,
};
use herald::model::{Clock, EventType, Ordering, Timestamp, WebhookUid};
use http_body_util::{BodyExt as _, Full};
use rustls::ClientConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[path = "support/mod.rs"]
mod support;

use support::certificates::Files;
use support::machine::processor_time;

const CONNECTIONS: usize = 64;
const AUDIENCE: &str = "herald/bench";
/// As long as that of a `ServiceAccount`'s token.
const SIGNATURE_BYTES: usize = 342;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["client", address, folder, batch, seconds] => {
            let seconds = Duration::from_secs(seconds.parse().unwrap());
            block_on(clients(address.parse().unwrap(), folder, batch.parse().unwrap(), seconds));
        }
        ["stranger", address, folder, kind, seconds] => {
            let kind = Stranger::of(kind).unwrap();
            let seconds = Duration::from_secs(seconds.parse().unwrap());
            block_on(strangers(address.parse().unwrap(), folder, kind, seconds));
        }
        // What Cargo passes when it only checks that benchmarks run.
        ["--test", ..] | [] => {}
        words => {
            let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(10);
            block_on(serve(seconds));
        }
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

async fn serve(seconds: u64) {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::make(directory.path());
    let files = TlsFiles { certificate: files.certificate, key: files.key, every: Duration::from_secs(5) };
    let folder = directory.path().to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Metrics::default();
    let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let cluster = ClusterReview::new(kube::Client::try_from(nobody).unwrap(), AUDIENCE.to_owned());
    let authenticator = Authenticator::new(
        TheGood(cluster),
        Lifetimes::default(),
        Clock::default(),
        access::Metrics::default(),
    );
    let service = Service::new(authenticator, One, Nowhere, metrics, Limits::default(), Clock::default());
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(ingest::run(listener, Some(files), Arc::new(service), shutdown.clone()));

    println!("{CONNECTIONS} connections, {} bytes an event, {seconds} s each", event(0).len());
    for batch in [1_u64, 100] {
        let (requests, micros, [p50, p99]) =
            load(["client", &address.to_string(), folder, &batch.to_string(), &seconds.to_string()]).await;
        println!(
            "batch of {batch:>3}: {:>6} requests/s, {:>7} events/s, server {micros:>6.1} us of processor a request, \
             p50 {p50} us, p99 {p99} us",
            requests / seconds,
            requests * batch / seconds,
        );
    }
    let mut connecting = 0.0;
    for stranger in Stranger::ALL {
        let (requests, micros, [p50, p99]) =
            load(["stranger", &address.to_string(), folder, stranger.name(), &seconds.to_string()]).await;
        if stranger == Stranger::Silent {
            connecting = micros;
        }
        println!(
            "{:<9} {:>6} connections/s, server {micros:>6.1} us of processor each, {:.2} of one that says nothing; \
             p50 {p50} us, p99 {p99} us",
            stranger.name(),
            requests / seconds,
            micros / connecting,
        );
    }
    shutdown.cancel();
    server.await.unwrap().unwrap();
}

/// Has a child send; how many answers it got, the processor time of each here, and how long they took.
async fn load(arguments: [&str; 5]) -> (u64, f64, [u64; 2]) {
    let before = processor_time(std::process::id());
    let client = Command::new(std::env::current_exe().unwrap()).args(arguments).output();
    let output = tokio::task::spawn_blocking(move || client).await.unwrap().unwrap();
    let used = processor_time(std::process::id()).saturating_sub(before);
    let text = String::from_utf8(output.stdout).unwrap();
    let [requests, p50, p99] =
        <[u64; 3]>::try_from(text.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<_>>())
            .expect("three numbers of the client");
    let answers = u32::try_from(requests.max(1)).unwrap();
    (requests, used.as_secs_f64() * 1e6 / f64::from(answers), [p50, p99])
}

fn print_times(mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{} {} {}", times.len(), at(50), at(99));
}

/// Who is not let in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// Connects and says nothing.
    Silent,
    NoToken,
    Garbage,
    /// For the audience, with a signature that is made up anew each time.
    Forged,
}

impl Stranger {
    const ALL: [Self; 4] = [Self::Silent, Self::NoToken, Self::Garbage, Self::Forged];

    const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::NoToken => "no-token",
            Self::Garbage => "garbage",
            Self::Forged => "forged",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stranger| stranger.name() == name)
    }

    fn authorization(self, number: u64) -> Option<String> {
        match self {
            Self::Silent | Self::NoToken => None,
            Self::Garbage => Some(format!("Bearer {number:01000}")),
            Self::Forged => Some(format!("Bearer {}", token(&format!("{number:0SIGNATURE_BYTES$}")))),
        }
    }
}

async fn strangers(address: SocketAddr, folder: &str, stranger: Stranger, length: Duration) {
    let tls = Files::in_directory(Path::new(folder)).client();
    let end = Instant::now() + length;
    let tasks: Vec<_> = (0..CONNECTIONS as u64)
        .map(|first| {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut number = first << 32;
                while Instant::now() < end {
                    let begun = Instant::now();
                    let mut requests = support::connect(&tls, address).await;
                    if stranger != Stranger::Silent {
                        let mut request = http::Request::post("/v1/namespaces/identity/events")
                            .header("host", "localhost")
                            .header("content-type", "application/cloudevents+json");
                        if let Some(authorization) = stranger.authorization(number) {
                            request = request.header("authorization", authorization);
                        }
                        let request = request.body(Full::new(Bytes::from(event(0)))).unwrap();
                        let answer = requests.send_request(request).await.unwrap();
                        assert_eq!(answer.status(), 401);
                        answer.into_body().collect().await.unwrap();
                    }
                    number += 1;
                    times.push(u64::try_from(begun.elapsed().as_micros()).unwrap());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    print_times(times);
}

async fn clients(address: SocketAddr, folder: &str, batch: usize, length: Duration) {
    let tls = Files::in_directory(Path::new(folder)).client();
    let end = Instant::now() + length;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|number| tokio::spawn(client(address, tls.clone(), number, batch, end)))
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    print_times(times);
}

/// Posts until the end and gives the time of each answer, in microseconds.
async fn client(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    number: usize,
    batch: usize,
    end: Instant,
) -> Vec<u64> {
    let mut requests = support::connect(&tls, address).await;
    let (body, content_type) = if batch == 1 {
        (event(number), "application/cloudevents+json")
    } else {
        let events: Vec<String> = (0..batch).map(|i| event(number * batch + i)).collect();
        (format!("[{}]", events.join(",")), "application/cloudevents-batch+json")
    };
    let body = Bytes::from(body);
    let authorization = format!("Bearer {}", good_token());
    let expected = format!("{{\"accepted\":{batch},\"duplicate\":0,\"matched\":{batch}}}");
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let request = http::Request::post("/v1/namespaces/identity/events")
            .header("host", "localhost")
            .header("authorization", &authorization)
            .header("content-type", content_type)
            .body(Full::new(body.clone()))
            .unwrap();
        let answer = requests.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), expected);
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap());
    }
    times
}

/// Some 800 bytes, as an identity service would send.
fn event(number: usize) -> String {
    let groups: Vec<String> = (0..20).map(|i| format!("group-of-people-{i:03}")).collect();
    serde_json::json!({
        "specversion": "1.0",
        "id": format!("event-{number}"),
        "source": "https://identity.example.com/",
        "type": "user.created",
        "subject": format!("user-{number}"),
        "time": "2026-01-31T12:00:00Z",
        "data": {"email": "somebody@example.com", "name": "Some Body", "groups": groups},
    })
    .to_string()
}

/// As a `ServiceAccount` has it.
fn token(signature: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"some-key-of-the-api-server"}"#);
    let claims = serde_json::json!({
        "aud": [AUDIENCE], "exp": 4_000_000_000_u64, "iat": 3_999_996_400_u64,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "kubernetes.io": {"namespace": "identity", "serviceaccount": {"name": "producer", "uid": "9c0c6b3e"}},
        "nbf": 3_999_996_400_u64, "sub": "system:serviceaccount:identity:producer",
    });
    format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn good_token() -> String {
    token(&"x".repeat(SIGNATURE_BYTES))
}

/// Knows one token, and of all others what they say themselves.
struct TheGood(ClusterReview);

impl Review for TheGood {
    fn may_be_good(&self, token: &str) -> bool {
        self.0.may_be_good(token)
    }

    async fn review(&self, token: &str, _: &str, _: Action) -> Verdict {
        if token == good_token() { Verdict::Allowed } else { Verdict::Unauthenticated }
    }
}

struct One;

impl Matching for One {
    fn ready(&self) -> bool {
        true
    }

    fn matching(&self, _: &str, _: EventType) -> Vec<WebhookUid> {
        vec![WebhookUid::from_bytes([1; 16])]
    }
}

/// A journal that says yes and keeps nothing.
#[derive(Clone)]
struct Nowhere;

enum NoLane {}

enum NoLease {}

impl Journal for Nowhere {
    type Lane = NoLane;

    fn now(&self) -> Timestamp {
        Clock::default().now()
    }

    async fn append_within(&self, batch: Vec<Append>, _: Option<u64>) -> Vec<Appended> {
        vec![Appended::Stored; batch.len()]
    }

    async fn claim(&self, _: WebhookUid, _: Ordering) -> Result<NoLane, ClaimError> {
        Err(ClaimError::Held)
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        std::future::pending().await
    }

    async fn drop_webhook(&self, _: WebhookUid) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn depth(&self, _: WebhookUid) -> Result<Depth, Unavailable> {
        Ok(Depth::default())
    }

    async fn oldest(&self, _: WebhookUid) -> Result<Option<Timestamp>, Unavailable> {
        Ok(None)
    }

    fn note(&self, _: Attempt) {}

    async fn close(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

impl Lane for NoLane {
    type Lease = NoLease;

    async fn next(&mut self, _: usize) -> Result<Vec<NoLease>, Lost> {
        match *self {}
    }

    async fn state(&mut self) -> Result<Option<LaneState>, Lost> {
        match *self {}
    }

    async fn compare_and_set(&mut self, _: Option<&LaneState>, _: LaneState) -> Result<bool, Lost> {
        match *self {}
    }
}

impl Lease for NoLease {
    fn delivery(&self) -> &Delivery {
        match *self {}
    }

    async fn settle(self, _: Outcome) -> Settled {
        match self {}
    }
}
