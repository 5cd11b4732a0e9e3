//! The limit: a hyper client that signs and posts one body again and again.
//!
//! `bare DIRECTORY PORT CONNECTIONS BYTES SECONDS RATE` prints a line of JSON:
//! how many a second, and what each cost. At a rate of 0 it goes as fast as it
//! can; at another, all connections together make so many a second. It begins
//! when all of its connections stand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use herald::outbound::SigningKeys;
use http_body_util::{BodyExt as _, Full};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::cluster::SIGNING_SECRET;
use super::support::certificates::Files;
use super::support::machine::processor_time;
use super::support::{connect, local};

/// Connections that are opened at one time.
const CONNECTING: usize = 64;

/// What a bare client has done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// Requests a second.
    pub rate: f64,
    /// Processor time of each, in microseconds.
    pub cpu_micros: f64,
}

pub async fn run(arguments: &[&str]) {
    let [directory, port, connections, bytes, seconds, rate] = arguments else { panic!("six arguments") };
    let tls = Files::in_directory(Path::new(directory)).client();
    let port = port.parse().unwrap();
    let requests = Arc::new(Requests::to(port));
    let body = Bytes::from(vec![b'x'; bytes.parse().unwrap()]);
    let connections: usize = connections.parse().unwrap();
    let rate: f64 = rate.parse().unwrap();
    let senders: Vec<_> = stream::iter(0..connections)
        .map(|_| connect(&tls, local(port)))
        .buffer_unordered(CONNECTING)
        .collect()
        .await;
    let cpu = processor_time(std::process::id());
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(seconds.parse().unwrap());
    let pause = if rate > 0.0 { Duration::from_secs_f64(connections as f64 / rate) } else { Duration::ZERO };
    let count = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for (number, mut sender) in senders.into_iter().enumerate() {
        let (requests, body, count) = (requests.clone(), body.clone(), count.clone());
        let mut at = begun + pause.mul_f64(number as f64 / connections as f64);
        tasks.spawn(async move {
            while at.max(Instant::now()) < until {
                if !pause.is_zero() {
                    tokio::time::sleep_until(at.into()).await;
                    at += pause;
                }
                let answer = sender.send_request(requests.make(body.clone())).await.unwrap();
                assert!(answer.status().is_success());
                answer.into_body().collect().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    let count = count.load(Ordering::Relaxed) as f64;
    let cpu = processor_time(std::process::id()).checked_sub(cpu).unwrap();
    let rate = count / begun.elapsed().as_secs_f64();
    let done = Done { rate, cpu_micros: cpu.as_secs_f64() * 1e6 / count };
    println!("{}", serde_json::to_string(&done).unwrap());
}

/// Makes requests that an endpoint would take for deliveries: each has an id of
/// its own, and is signed.
pub struct Requests {
    host: String,
    keys: SigningKeys,
    next: AtomicU64,
}

impl Requests {
    /// To the sink at this port.
    pub fn to(port: u16) -> Self {
        let keys = SigningKeys::parse(SIGNING_SECRET.as_bytes()).unwrap();
        Self { host: format!("localhost:{port}"), keys, next: AtomicU64::new(0) }
    }

    /// The next one.
    pub fn make(&self, body: Bytes) -> hyper::Request<Full<Bytes>> {
        let id = format!("msg_{:024}", self.next.fetch_add(1, Ordering::Relaxed));
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let signature = self.keys.sign(&id, seconds, &body);
        hyper::Request::post("/users")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("x-api-key", "change-me")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(Full::new(body))
            .unwrap()
    }
}
