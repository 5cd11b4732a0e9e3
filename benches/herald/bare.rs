//! The limit: a hyper client that signs and posts one body again and again.
//!
//! `bare DIRECTORY PORT CONNECTIONS BYTES SECONDS` prints how many a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use herald::outbound::SigningKeys;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinSet;

use super::cluster::SIGNING_SECRET;
use super::support::certificates::Files;
use super::support::{connect, local};

pub async fn run(arguments: &[&str]) {
    let [directory, port, connections, bytes, seconds] = arguments else { panic!("five arguments") };
    let tls = Files::in_directory(Path::new(directory)).client();
    let port = port.parse().unwrap();
    let requests = Arc::new(Requests::to(port));
    let body = Bytes::from(vec![b'x'; bytes.parse().unwrap()]);
    let until = Instant::now() + Duration::from_secs_f64(seconds.parse().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections.parse().unwrap() {
        let (tls, requests, body, count) = (tls.clone(), requests.clone(), body.clone(), count.clone());
        tasks.spawn(async move {
            let mut sender = connect(&tls, local(port)).await;
            while Instant::now() < until {
                let answer = sender.send_request(requests.make(body.clone())).await.unwrap();
                assert!(answer.status().is_success());
                answer.into_body().collect().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    println!("{}", count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64());
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
