//! An endpoint that agrees to everything and counts: a child process.
//!
//! It prints its port, and then answers each line on its standard input with
//! one of JSON: how many deliveries and challenges it has had since it began.
//! Between the lines `time` and `latencies` it looks into each body for when it
//! was sent; else it reads them and that is all, so that Herald's cost it what
//! the bare client's do.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde::{Deserialize, Serialize};

use super::support::certificates::Files;
use super::support::server;

/// The path that gets no answer.
pub const HANG: &str = "/hang";

/// What a sink has seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// POSTs to `/users`.
    pub deliveries: u64,
    /// POSTs to other paths that were answered.
    pub others: u64,
    /// POSTs that wait for an answer now, and get none.
    pub hanging: u64,
    /// GETs.
    pub challenges: u64,
    /// From the time in the body to the arrival, of those that were timed.
    pub latencies_micros: Vec<u64>,
}

#[derive(Default)]
struct Counters {
    deliveries: AtomicU64,
    others: AtomicU64,
    hanging: AtomicU64,
    challenges: AtomicU64,
    timed: AtomicBool,
    latencies: Mutex<Vec<u64>>,
}

pub async fn run(arguments: &[&str]) {
    let files = Files::in_directory(Path::new(arguments[0]));
    let counters = Arc::new(Counters::default());
    let counted = counters.clone();
    let address = server::start(files.server(), move |request| answer(request, counted.clone())).await;
    println!("{}", address.port());
    let answer = move || {
        for line in std::io::stdin().lines() {
            let mut latencies_micros = Vec::new();
            match line.unwrap().as_str() {
                "time" => counters.timed.store(true, Ordering::Relaxed),
                "latencies" => {
                    counters.timed.store(false, Ordering::Relaxed);
                    latencies_micros = std::mem::take(&mut *counters.latencies.lock().unwrap());
                }
                _ => {}
            }
            let seen = Seen {
                deliveries: counters.deliveries.load(Ordering::Relaxed),
                others: counters.others.load(Ordering::Relaxed),
                hanging: counters.hanging.load(Ordering::Relaxed),
                challenges: counters.challenges.load(Ordering::Relaxed),
                latencies_micros,
            };
            println!("{}", serde_json::to_string(&seen).unwrap());
        }
    };
    tokio::task::spawn_blocking(answer).await.unwrap();
}

async fn answer(request: Request<Incoming>, counters: Arc<Counters>) -> Response<Full<Bytes>> {
    if request.method() == Method::GET {
        counters.challenges.fetch_add(1, Ordering::Relaxed);
        return proof(&request);
    }
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/users" => {}
        HANG => {
            let _hangs = Hanging::new(&counters.hanging);
            return std::future::pending().await;
        }
        _ => {
            if body.collect().await.is_ok() {
                counters.others.fetch_add(1, Ordering::Relaxed);
            }
            return Response::new(Full::default());
        }
    }
    if let Ok(body) = body.collect().await {
        let body = body.to_bytes();
        counters.deliveries.fetch_add(1, Ordering::Relaxed);
        if counters.timed.load(Ordering::Relaxed)
            && let Some(sent) = sent_at(&body)
        {
            counters.latencies.lock().unwrap().push(now_micros().saturating_sub(sent));
        }
    }
    Response::new(Full::default())
}

/// What an endpoint that agrees answers to a challenge.
pub fn proof(challenge: &Request<Incoming>) -> Response<Full<Bytes>> {
    let key = challenge.headers()["x-verification-key"].to_str().unwrap();
    Response::new(Full::from(format!("{{\"key\":\"{key}\"}}")))
}

/// Counts a request until its client has given up.
struct Hanging<'a>(&'a AtomicU64);

impl<'a> Hanging<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time in `{"sent":1795508180250000,…}`, if the load put it there.
fn sent_at(body: &[u8]) -> Option<u64> {
    number_after(body, b"\"sent\":")
}

/// The number that follows a mark.
pub fn number_after(body: &[u8], mark: &[u8]) -> Option<u64> {
    let at = body.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let digits: Vec<u8> = body[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

/// Microseconds since 1970: both ends of a latency run on one machine.
pub fn now_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}
