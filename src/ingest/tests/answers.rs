//! What is accepted, and each way of saying no.

use serde_json::{Value, json};

use super::super::parse::{MAX_BATCH_BYTES, MAX_EVENT_BYTES};
use super::parts::{Server, chunked, event};
use crate::journal::{Appended, RefusedReason};
use crate::model::EventType;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

async fn accepted(response: reqwest::Response) -> Value {
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.unwrap()
}

/// Status, last segment of the type, and detail.
async fn problem(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["status"], status);
    let name = document["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (status, name, document["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_event_of_each_mode_is_stored_with_what_it_was_matched_to() {
    let server = Server::start().await;
    let answer = accepted(server.send(&event("1")).await).await;
    assert_eq!(answer, json!({"accepted": 1, "duplicate": 0, "matched": 2}));

    let binary = server
        .post("application/json", "{\"a\": 1}")
        .header("ce-specversion", "1.0")
        .header("ce-id", "2")
        .header("ce-source", "/idp")
        .header("ce-type", "user.deleted")
        .header("ce-subject", "u")
        .send();
    let answer = accepted(binary.await.unwrap()).await;
    assert_eq!(answer, json!({"accepted": 1, "duplicate": 0, "matched": 0}));

    let batch = Value::from((3..103).map(|id| event(&id.to_string())).collect::<Vec<_>>());
    let answer = accepted(server.post(BATCHED, batch.to_string()).send().await.unwrap()).await;
    assert_eq!(answer, json!({"accepted": 100, "duplicate": 0, "matched": 200}));

    let appended = server.journal.appended.lock().unwrap().clone();
    let ids: Vec<_> = appended.iter().map(|append| append.event.id.parse::<u32>().unwrap()).collect();
    assert_eq!(ids, (1..103).collect::<Vec<_>>());
    assert_eq!(appended[0].webhooks.len(), 2);
    assert_eq!(appended[1].event.event_type, EventType::UserDeleted);
    assert_eq!(appended[1].event.data, "{\"a\": 1}");
    server.stop().await;
}

#[tokio::test]
async fn repeats_are_counted_apart_and_match_nothing() {
    let server = Server::start().await;
    *server.journal.answer.lock().unwrap() = Appended::Duplicate;
    let answer = accepted(server.send(&event("1")).await).await;
    assert_eq!(answer, json!({"accepted": 0, "duplicate": 1, "matched": 0}));
    server.stop().await;
}

#[tokio::test]
async fn an_empty_batch_is_accepted_and_stores_nothing() {
    let server = Server::start().await;
    let answer = accepted(server.post(BATCHED, "[]").send().await.unwrap()).await;
    assert_eq!(answer, json!({"accepted": 0, "duplicate": 0, "matched": 0}));
    assert!(server.journal.appended.lock().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn each_way_of_saying_no_has_its_status() {
    let server = Server::start().await;
    let good = event("1").to_string();
    let client = server.client();
    let post =
        |path: &str| client.post(server.url("identity").replace("/v1/namespaces/identity/events", path));
    let structured = |body: String| server.post(STRUCTURED, body);
    let mut unknown = event("1");
    unknown["type"] = json!("user.promoted");
    let wide = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_EVENT_BYTES));
    let huge = format!("[{}]", " ".repeat(MAX_BATCH_BYTES));
    let table = [
        (structured("{".to_owned()), 400, "malformed"),
        (client.post(server.url("identity")).body(good.clone()), 401, "unauthenticated"),
        (
            client.post(server.url("identity")).bearer_auth("garbage").body(good.clone()),
            401,
            "unauthenticated",
        ),
        (
            client.post(server.url("identity")).basic_auth("a", Some("b")).body(good.clone()),
            401,
            "unauthenticated",
        ),
        (client.post(server.url("elsewhere")).bearer_auth("good").body(good.clone()), 403, "forbidden"),
        (post("/"), 404, "not-found"),
        (post("/v1/namespaces/identity/webhooks").bearer_auth("good"), 404, "not-found"),
        (client.get(server.url("identity")).bearer_auth("good"), 405, "method-not-allowed"),
        (structured(wide), 413, "too-large"),
        (server.post(BATCHED, huge), 413, "too-large"),
        (server.post("text/plain", good.clone()), 415, "content-type"),
        (structured(good.replace("\"subject\":\"u\",", "")), 422, "missing-attribute"),
        (structured(unknown.to_string()), 422, "unknown-event-type"),
        (structured(good.replace("\"1.0\"", "\"2.0\"")), 422, "invalid-attribute"),
        (client.post(server.url("identity")).bearer_auth("away").body(good), 503, "unavailable"),
    ];
    for (request, status, name) in table {
        let (actual, kind, detail) = problem(request.send().await.unwrap()).await;
        assert_eq!((actual, kind.as_str()), (status, name), "{detail}");
    }
    assert!(server.journal.appended.lock().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_grows_too_large_without_saying_so_is_refused() {
    let server = Server::start().await;
    let body = chunked(vec![vec![b' '; 128 << 10]; 40]);
    let (status, _, detail) = problem(server.post(BATCHED, body).send().await.unwrap()).await;
    assert_eq!(status, 413, "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all_and_names_the_index() {
    let server = Server::start().await;
    let mut bad = event("2");
    bad["subject"] = json!("");
    let batch = json!([event("0"), event("1"), bad]);
    let response = server.post(BATCHED, batch.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 422);
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["index"], 2);
    assert!(server.journal.appended.lock().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_surely_stored_is_not_accepted() {
    let server = Server::start().await;
    for (outcome, retry_after) in [
        (Appended::Refused(RefusedReason::Full), "1"),
        (Appended::Refused(RefusedReason::DiskFull), "10"),
        (Appended::Refused(RefusedReason::Unavailable), "1"),
        (Appended::Unknown, "1"),
    ] {
        *server.journal.answer.lock().unwrap() = outcome.clone();
        let response = server.send(&event("1")).await;
        assert_eq!(response.headers()["retry-after"], retry_after, "{outcome:?}");
        assert_eq!(problem(response).await.0, 503, "{outcome:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_accepted_before_the_webhooks_are_read() {
    let server = Server::start_with(super::super::Limits::default(), false).await;
    let response = server.send(&event("1")).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(problem(response).await.0, 503);
    assert!(server.journal.appended.lock().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_is_answered_is_counted() {
    let server = Server::start().await;
    let batch = json!([event("1"), event("2")]).to_string();
    accepted(server.post(BATCHED, batch.clone()).send().await.unwrap()).await;
    *server.journal.answer.lock().unwrap() = Appended::Duplicate;
    accepted(server.post(BATCHED, batch).send().await.unwrap()).await;
    server.post(STRUCTURED, "{").send().await.unwrap();
    let text = server.metrics_text();
    for line in [
        "herald_ingest_requests_total{code=\"202\"} 2",
        "herald_ingest_requests_total{code=\"400\"} 1",
        "herald_ingest_events_accepted_total 2",
        "herald_ingest_events_duplicate_total 2",
        "herald_ingest_deliveries_matched_total 4",
        "herald_ingest_batch_events_sum 4.0",
        "herald_ingest_request_duration_seconds_count 3",
    ] {
        assert!(text.lines().any(|actual| actual == line), "{line} is not in\n{text}");
    }
    let expiry = text
        .lines()
        .find_map(|line| line.strip_prefix("herald_ingest_certificate_expiry_timestamp_seconds "));
    assert!(expiry.is_some_and(|seconds| seconds.parse::<i64>().unwrap() > 1_900_000_000), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_panics_costs_its_connection_and_no_other() {
    let server = Server::start().await;
    for _ in 0..2 {
        let hostile = server.client().post(server.url("identity")).bearer_auth("hostile");
        let hostile = hostile.header("content-type", STRUCTURED).body(event("1").to_string()).send().await;
        assert!(hostile.is_err(), "{hostile:?}");
        let answer = accepted(server.send(&event("1")).await).await;
        assert_eq!(answer, json!({"accepted": 1, "duplicate": 0, "matched": 2}));
    }
    server.stop().await;
}
