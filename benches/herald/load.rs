//! A producer: a child process.
//!
//! `load DIRECTORY PORT NAMESPACES TYPES CONNECTIONS BATCH closed COUNT` posts so
//! many events as fast as they are accepted; `… open RATE SECONDS` makes so many
//! requests a second. Both print a line of JSON at their end. NAMESPACES and
//! TYPES are lists with commas: requests go to each pair of them in turn.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Uri;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HeaderValue;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::sink::now_micros;
use super::support::certificates::Files;
use super::support::machine::quantile;
use super::support::{connect, local};

/// What a producer has done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Posted {
    /// Events that were accepted.
    pub events: u64,
    /// In the bodies of the requests.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Of a request, in milliseconds.
    pub p50_ms: f64,
    /// Of a request, in milliseconds.
    pub p99_ms: f64,
}

/// Bytes of `data`: with the rest, a body of about 800 bytes.
pub const PADDING: usize = 560;

struct Shared {
    port: u16,
    uris: Vec<Uri>,
    types: Vec<String>,
    authorization: HeaderValue,
    run: String,
    batch: u64,
    next: AtomicU64,
    bytes: AtomicU64,
    padding: String,
}

pub async fn run(arguments: &[&str]) {
    let [directory, port, namespaces, types, connections, batch, how @ ..] = arguments else {
        panic!("seven arguments")
    };
    let directory = Path::new(directory);
    let tls = Files::in_directory(directory).client();
    let token = std::fs::read_to_string(directory.join("token")).unwrap();
    let shared = Arc::new(Shared {
        port: port.parse().unwrap(),
        uris: namespaces
            .split(',')
            .map(|namespace| format!("/v1/namespaces/{namespace}/events").parse().unwrap())
            .collect(),
        types: types.split(',').map(str::to_owned).collect(),
        authorization: format!("Bearer {token}").parse().unwrap(),
        run: uuid::Uuid::new_v4().to_string(),
        batch: batch.parse().unwrap(),
        next: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        padding: "x".repeat(PADDING),
    });
    let connections: usize = connections.parse().unwrap();
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    match how {
        ["closed", count] => {
            let count: u64 = count.parse().unwrap();
            for _ in 0..connections {
                tasks.spawn(closed(shared.clone(), tls.clone(), count));
            }
        }
        ["open", rate, seconds] => {
            let rate: f64 = rate.parse().unwrap();
            let pause = Duration::from_secs_f64(connections as f64 / rate);
            let until = begun + Duration::from_secs_f64(seconds.parse().unwrap());
            for number in 0..connections {
                let first = begun + pause.mul_f64(number as f64 / connections as f64);
                tasks.spawn(open(shared.clone(), tls.clone(), first, pause, until));
            }
        }
        _ => panic!("closed COUNT, or open RATE SECONDS"),
    }
    let millis = tasks.join_all().await.concat();
    let posted = Posted {
        events: millis.len() as u64 * shared.batch,
        bytes: shared.bytes.load(Ordering::Relaxed),
        seconds: begun.elapsed().as_secs_f64(),
        p50_ms: quantile(&millis, 0.5),
        p99_ms: quantile(&millis, 0.99),
    };
    println!("{}", serde_json::to_string(&posted).unwrap());
}

async fn closed(shared: Arc<Shared>, tls: Arc<ClientConfig>, count: u64) -> Vec<f64> {
    let mut sender = connect(&tls, local(shared.port)).await;
    let mut millis = Vec::new();
    loop {
        let first = shared.next.fetch_add(shared.batch, Ordering::Relaxed);
        if first >= count {
            return millis;
        }
        millis.push(post(&shared, &mut sender, first).await);
    }
}

async fn open(
    shared: Arc<Shared>,
    tls: Arc<ClientConfig>,
    mut at: Instant,
    pause: Duration,
    until: Instant,
) -> Vec<f64> {
    let mut sender = connect(&tls, local(shared.port)).await;
    let mut millis = Vec::new();
    while at < until {
        tokio::time::sleep_until(at.into()).await;
        let first = shared.next.fetch_add(shared.batch, Ordering::Relaxed);
        millis.push(post(&shared, &mut sender, first).await);
        at += pause;
    }
    millis
}

/// Posts a batch; how long the answer took, in milliseconds.
async fn post(shared: &Shared, sender: &mut SendRequest<Full<Bytes>>, first: u64) -> f64 {
    let Shared { uris, types, authorization, run, batch, padding, .. } = shared;
    let turn = usize::try_from(first / batch).unwrap();
    let (event_type, uri) = (&types[turn % types.len()], &uris[turn / types.len() % uris.len()]);
    let mut body = String::with_capacity(usize::try_from(*batch).unwrap() * (PADDING + 256));
    let event = |number: u64, body: &mut String| {
        write!(
            body,
            r#"{{"specversion":"1.0","id":"{run}-{number}","source":"/bench","type":"{event_type}","subject":"user-{}","data":{{"sent":{},"padding":"{padding}"}}}}"#,
            number % 10_000,
            now_micros()
        )
        .unwrap();
    };
    let content_type = if *batch == 1 {
        event(first, &mut body);
        "application/cloudevents+json"
    } else {
        for number in first..first + batch {
            body.push(if number == first { '[' } else { ',' });
            event(number, &mut body);
        }
        body.push(']');
        "application/cloudevents-batch+json"
    };
    shared.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    let request = hyper::Request::post(uri.clone())
        .header("host", "localhost")
        .header("authorization", authorization.clone())
        .header("content-type", content_type)
        .body(Full::from(body))
        .unwrap();
    let begun = Instant::now();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
    begun.elapsed().as_secs_f64() * 1000.0
}
