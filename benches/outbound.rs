//! What the guarded client costs: `Channel::exchange` beside a bare hyper
//! client that posts the same to the same sink.
//!
//! ```text
//! thread "sink":   TLS server, HTTP/1.1 ── 64 keep-alive connections ──┐
//! threads "client": bare ─ exchange ─ delivery, in turn, five times ───┘
//! ```
//!
//! `bare` is hyper with a task for each connection, `exchange` a channel with a
//! request made beforehand, `limited` the same with limits for its destination that
//! are never reached, `delivery` a channel with the request of a real event,
//! signed. Printed are requests a second, processor time of the client's
//! threads for each request, and what both are of the bare client's: medians of
//! five rounds. `cargo bench --bench outbound -- SECONDS` (of each part).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark ends by a panic and prints its figures"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use herald::dispatch::request::Sender;
use herald::model::{Event, EventType, Payload, Timestamp, WebhookUid};
use herald::outbound::{
    Channel, Guard, Outbound, OutboundConfig, PerDestination, Request, SigningKeys, TlsSettings,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rustls::ClientConfig;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

#[path = "support/mod.rs"]
mod support;

use support::certificates::Files;
use support::server;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(3);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What Cargo passes when it only checks that benchmarks run.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let seconds = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(5.0);
    measure(Duration::from_secs_f64(seconds));
}

fn measure(part: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::make(directory.path());
    let sink_runtime = runtime("sink");
    // It reads each request whole and answers 200 with nothing.
    let address = sink_runtime.block_on(server::start(files.server(), async |request| {
        drop(request.into_body().collect().await);
        Response::default()
    }));
    let runtime = runtime("client");
    // All go to one host, as fast as they can.
    let free = channel(&files, address, PerDestination::NONE);
    let limits = PerDestination { in_flight: 1_000_000, requests: 1_000_000, connects: 1_000_000 };
    let limited = channel(&files, address, limits);
    let bare = Bare { tls: files.client(), address };
    let delivery = Delivery::new();
    let body = delivery.request().body;
    let headers = delivery.request().headers;
    println!("{CONNECTIONS} connections, a body of {} bytes, {part:?} for each part", body.len());

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let first = runtime.block_on(bare.run(part, &headers, &body));
        let request = Request { method: Method::POST, headers: headers.clone(), body: body.clone() };
        let made = || {
            let request = request.clone();
            move || request.clone()
        };
        let second = runtime.block_on(exchange(part, &free, made()));
        let third = runtime.block_on(exchange(part, &limited, made()));
        let delivery = delivery.clone();
        let fourth = runtime.block_on(exchange(part, &free, move || delivery.request()));
        rounds.push([first, second, third, fourth]);
    }
    report("bare", &rounds, |[bare, ..]| (bare, bare));
    report("exchange", &rounds, |[bare, exchange, ..]| (exchange, bare));
    report("limited", &rounds, |[bare, _, limited, _]| (limited, bare));
    report("delivery", &rounds, |[bare, .., delivery]| (delivery, bare));
}

fn report(name: &str, rounds: &[[Figures; 4]], pick: impl Fn([Figures; 4]) -> (Figures, Figures)) {
    let median = |of: fn(Figures, Figures) -> f64| {
        let mut values: Vec<f64> =
            rounds.iter().map(|&round| pick(round)).map(|(own, bare)| of(own, bare)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    println!(
        "{name:9} {:7.0} requests/s, {:.2} of bare; {:5.1} µs of processor each, {:.2} of bare",
        median(|own, _| own.per_second),
        median(|own, bare| own.per_second / bare.per_second),
        median(|own, _| own.micros_each),
        median(|own, bare| own.micros_each / bare.micros_each),
    );
}

fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

/// What one part of a round gave.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    micros_each: f64,
}

/// Runs the tasks, each of which says at `until` how many requests it has sent.
async fn timed<F>(part: Duration, tasks: impl Iterator<Item = impl FnOnce(Instant) -> F>) -> Figures
where
    F: Future<Output = u64> + Send + 'static,
{
    let (begun, processor) = (Instant::now(), processor_time("client"));
    let running: JoinSet<u64> = tasks.map(|task| task(begun + part)).collect();
    let count = running.join_all().await.into_iter().sum::<u64>() as f64;
    let processor = processor_time("client").saturating_sub(processor);
    Figures {
        per_second: count / begun.elapsed().as_secs_f64(),
        micros_each: processor.as_secs_f64() * 1e6 / count,
    }
}

/// The processor time of all threads of this process that have this name.
fn processor_time(name: &str) -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = threads.map(|thread| {
        let thread = thread.unwrap().path();
        let named = std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let stat = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        let on_processor = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
        if named { on_processor.unwrap_or(0) } else { 0 }
    });
    Duration::from_nanos(nanos.sum())
}

/// Posts by hyper alone, on connections that stay open.
struct Bare {
    tls: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Bare {
    async fn run(&self, part: Duration, headers: &HeaderMap, body: &Bytes) -> Figures {
        let mut headers = headers.clone();
        headers.insert("host", HeaderValue::from_str(&format!("localhost:{}", self.address.port())).unwrap());
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            senders.push(support::connect(&self.tls, self.address).await);
        }
        let tasks = senders.into_iter().map(|mut sender| {
            let (headers, body) = (headers.clone(), body.clone());
            async move |until| {
                let mut count = 0;
                while Instant::now() < until {
                    let mut request = http::Request::new(Full::new(body.clone()));
                    *request.method_mut() = Method::POST;
                    *request.uri_mut() = http::Uri::from_static("/users");
                    *request.headers_mut() = headers.clone();
                    let answer = sender.send_request(request).await.unwrap();
                    assert_eq!(answer.status(), StatusCode::OK);
                    answer.into_body().collect().await.unwrap();
                    count += 1;
                }
                count
            }
        });
        timed(part, tasks).await
    }
}

async fn exchange<R>(part: Duration, channel: &Channel, request: R) -> Figures
where
    R: Fn() -> Request + Clone + Send + 'static,
{
    let tasks = (0..CONNECTIONS).map(|_| {
        let (channel, request) = (channel.clone(), request.clone());
        async move |until| {
            let mut count = 0;
            while Instant::now() < until {
                let answer = channel.exchange(request(), TIMEOUT).await.end.unwrap();
                assert_eq!(answer.status, StatusCode::OK);
                count += 1;
            }
            count
        }
    });
    timed(part, tasks).await
}

/// Makes the requests that a dispatcher would send.
#[derive(Clone)]
struct Delivery {
    event: Arc<Event>,
    keys: SigningKeys,
    api_key: HeaderValue,
}

impl Delivery {
    fn new() -> Self {
        let event = Event {
            namespace: "identity".to_owned(),
            id: "6f1d2c3b-0d5e-4e0b-9d5f-0a7c1f6f2b10".to_owned(),
            source: "https://identity.example.com/realms/customers".to_owned(),
            event_type: EventType::UserCreated,
            subject: "b0d2a6c4-1f0e-4c52-8f0c-9b6f1f4b7f0d".to_owned(),
            time: Timestamp::from_millis(1_795_508_180_250),
            data: Bytes::from(format!("{{\"padding\":\"{}\"}}", "x".repeat(540))),
        };
        Self {
            event: Arc::new(event),
            keys: SigningKeys::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            api_key: HeaderValue::from_static("an-api-key-of-thirty-two-letters"),
        }
    }

    fn request(&self) -> Request {
        let sender = Sender {
            webhook: WebhookUid::from_bytes([7; 16]),
            payload: Payload::Standard,
            api_key: &self.api_key,
            signing: Some(&self.keys),
        };
        sender.request(&self.event, Timestamp::from_millis(1_795_508_999_000), None)
    }
}

fn channel(files: &Files, address: SocketAddr, per_destination: PerDestination) -> Channel {
    let mut guard = Guard::default();
    guard.allow("127.0.0.0/8".parse().unwrap());
    guard.allow("localhost".parse().unwrap());
    let config = OutboundConfig {
        guard,
        extra_roots: Some(std::fs::read(&files.ca).unwrap()),
        per_destination,
        ..OutboundConfig::default()
    };
    let uri = format!("https://localhost:{}/users", address.port()).parse().unwrap();
    Outbound::new(config).unwrap().channel("team", &uri, &TlsSettings::default()).unwrap()
}
