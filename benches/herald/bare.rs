//! The limit: a hyper client that posts one body again and again.
//!
//! `bare DIRECTORY PORT CONNECTIONS BYTES SECONDS` prints how many a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinSet;

use super::support::certificates::Files;
use super::support::{connect, local};

pub async fn run(arguments: &[&str]) {
    let [directory, port, connections, bytes, seconds] = arguments else { panic!("five arguments") };
    let tls = Files::in_directory(Path::new(directory)).client();
    let port = port.parse().unwrap();
    let body = Bytes::from(vec![b'x'; bytes.parse().unwrap()]);
    let until = Instant::now() + Duration::from_secs_f64(seconds.parse().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections.parse().unwrap() {
        let (tls, body, count) = (tls.clone(), body.clone(), count.clone());
        tasks.spawn(async move {
            let mut sender = connect(&tls, local(port)).await;
            while Instant::now() < until {
                let request = hyper::Request::post("/users")
                    .header("host", format!("localhost:{port}"))
                    .header("content-type", "application/json")
                    .header("x-api-key", "change-me")
                    .header("webhook-id", "msg_mZYVEGgfeBgVPvlh7Ph6OmHV")
                    .header("webhook-timestamp", "1795511771")
                    .header("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=")
                    .body(Full::new(body.clone()))
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                assert!(answer.status().is_success());
                answer.into_body().collect().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    println!("{}", count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64());
}
