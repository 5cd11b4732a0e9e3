//! Quotas as a producer meets them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::super::quota::{Quota, Quotas};
use super::limits::{connect, read_answer};
use super::parts::{DEADLINE, Server, chunked, event};
use crate::journal::{Appended, RefusedReason};

const BATCHED: &str = "application/cloudevents-batch+json";

fn batch(first: usize, count: usize) -> String {
    json!((first..first + count).map(|id| event(&id.to_string())).collect::<Vec<_>>()).to_string()
}

/// Detail and Retry-After of a refusal.
async fn refused(response: reqwest::Response) -> (String, u64) {
    assert_eq!(response.status(), 429);
    let retry_after = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["type"], "https://herald.dev/problems/over-quota");
    (document["detail"].as_str().unwrap().to_owned(), retry_after)
}

#[tokio::test]
async fn too_many_events_are_refused_before_anything_is_stored_and_only_of_that_namespace() {
    let quota = Quota { events_per_second: 2, ..Quota::default() };
    let server = Server::start_with_quotas(Quotas::new(quota, true)).await;
    let send = |body: String| server.post(BATCHED, body).send();
    assert_eq!(send(batch(0, 1000)).await.unwrap().status(), 202, "a batch is always possible once");
    let (detail, retry_after) = refused(send(batch(1000, 600)).await.unwrap()).await;
    assert!(detail.contains("quota of 2 events per second"), "{detail}");
    assert!(detail.contains("herald.dev/quota-events-per-second"), "{detail}");
    // It takes 300 s, less what has passed since, which is less than the deadline of the test.
    assert!((300 - DEADLINE.as_secs()..=300).contains(&retry_after), "{retry_after}");
    assert_eq!(server.journal.appended.lock().unwrap().len(), 1000);
    let other = server.client().post(server.url("second")).bearer_auth("good");
    let other = other.header("content-type", BATCHED).body(batch(0, 1000)).send();
    assert_eq!(other.await.unwrap().status(), 202, "another namespace has its own");
    assert!(server.metrics_text().contains("herald_ingest_over_quota_total{quota=\"events_per_second\"} 1"));
    server.stop().await;
}

#[tokio::test]
async fn too_many_bytes_are_refused_before_they_are_read() {
    let quota = Quota { bytes_per_second: 1, ..Quota::default() };
    let server = Server::start_with_quotas(Quotas::new(quota, true)).await;
    let mut stream = connect(&server).await;
    let head = |length: usize| {
        format!(
            "POST /v1/namespaces/identity/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer good\r\n\
             content-type: {BATCHED}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let body = format!("[{}]", " ".repeat((4 << 20) - 2));
    stream.write_all(head(body.len()).as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 100"));
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 202"));
    let mut stream = connect(&server).await;
    stream.write_all(head(100).as_bytes()).await.unwrap();
    // There is no 100 Continue: nobody asked for the body.
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(server.metrics_text().contains("herald_ingest_over_quota_total{quota=\"bytes_per_second\"} 1"));
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_say_how_long_a_body_is_pays_what_was_read() {
    let quota = Quota { bytes_per_second: 1, ..Quota::default() };
    let server = Server::start_with_quotas(Quotas::new(quota, true)).await;
    // Each might be of 272 KiB; twenty of these do not fit.
    for id in 0..20 {
        let body = chunked(vec![event(&id.to_string()).to_string().into_bytes()]);
        let response = server.post("application/cloudevents+json", body).send().await.unwrap();
        assert_eq!(response.status(), 202, "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn too_much_that_waits_is_the_journals_to_refuse() {
    let quota = Quota { bytes_queued: 12_345, ..Quota::default() };
    let server = Server::start_with_quotas(Quotas::new(quota, true)).await;
    assert_eq!(server.send(&event("1")).await.status(), 202);
    assert_eq!(*server.journal.most.lock().unwrap(), Some(12_345));
    *server.journal.answer.lock().unwrap() = Appended::Refused(RefusedReason::OverQuota);
    let (detail, retry_after) = refused(server.send(&event("2")).await).await;
    assert!(detail.contains("12345 bytes of events that wait"), "{detail}");
    assert_eq!(retry_after, 10);
    assert!(server.metrics_text().contains("herald_ingest_over_quota_total{quota=\"bytes_queued\"} 1"));
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_when_told_to_is_let_through() {
    let quota = Quota { events_per_second: 1000, ..Quota::default() };
    let server = Server::start_with_quotas(Quotas::new(quota, true)).await;
    let sends = async {
        let mut first = 0;
        for _ in 0..3 {
            let mut response = server.post(BATCHED, batch(first, 1000)).send().await.unwrap();
            if response.status() == 429 {
                let (_, retry_after) = refused(response).await;
                tokio::time::sleep(Duration::from_secs(retry_after)).await;
                response = server.post(BATCHED, batch(first, 1000)).send().await.unwrap();
            }
            assert_eq!(response.status(), 202);
            first += 1000;
        }
    };
    timeout(DEADLINE, sends).await.expect("all get through");
    server.stop().await;
}
