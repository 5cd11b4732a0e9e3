//! User events, from the request to the request that carries them on.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message;
use crate::dispatch::request::Sender;
use crate::ingest::parse::{Head, MAX_BATCH_EVENTS, MAX_DATA_BYTES, Refusal};
use crate::journal::embedded::fuzz::stored;
use crate::model::{Event, Payload, Timestamp, WebhookUid, message_id};

const NAMESPACE: &str = "identity";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const WEBHOOK: WebhookUid = WebhookUid::from_bytes([7; 16]);
const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

/// What is accepted is within the protocol's bounds, and is the same event in every mode, on the disk and
/// in both payloads; a refusal is in few words, however long what it refuses is.
pub(super) fn events(data: &[u8]) {
    let (headers, body) = message(data);
    let batched = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let start = value.as_bytes().trim_ascii_start().get(..BATCHED.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(BATCHED.as_bytes()))
    });
    match read(&headers, &body) {
        Ok(events) => {
            assert!(if batched { events.len() <= MAX_BATCH_EVENTS } else { events.len() == 1 });
            for event in &events {
                within_bounds(event);
                stored(event);
                carried_on(event);
                assert_eq!(read_binary(event).as_ref(), Ok(event));
            }
            if let ([event], false) = (events.as_slice(), batched) {
                let batch = [b"[", cloud_event(event).as_ref(), b"]"].concat();
                assert_eq!(
                    read_as(BATCHED, &batch.into()).as_ref().map(Vec::as_slice),
                    Ok(&[event.clone()][..])
                );
            }
        }
        Err(refusal) => {
            let said = refusal.to_string();
            assert!(!said.is_empty() && said.len() <= 2048, "{} bytes: {said:.300}", said.len());
            assert!(refusal.index.is_none_or(|index| index <= MAX_BATCH_EVENTS));
            if headers.get(CONTENT_TYPE).is_some_and(|value| value == STRUCTURED)
                && read_as(STRUCTURED, &body).is_err()
            {
                let batch = [b"[", body.as_ref(), b"]"].concat();
                let more = read_as(BATCHED, &batch.into());
                // Several events, or none, are a batch and no event.
                assert!(more.is_err() || more.is_ok_and(|events| events.len() != 1));
            }
        }
    }
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Refusal> {
    let head = Head::read(headers)?;
    let allowed = body.slice(..body.len().min(head.max_body_bytes()));
    head.events(&allowed, NAMESPACE, NOW)
}

fn read_as(content_type: &'static str, body: &Bytes) -> Result<Vec<Event>, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    read(&headers, body)
}

fn within_bounds(event: &Event) {
    assert_eq!(event.namespace, NAMESPACE);
    for text in [&event.id, &event.source, &event.subject] {
        assert!((1..=1024).contains(&text.len()) && !text.chars().any(char::is_control), "{text:?}");
    }
    assert!(event.source.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!((1..=MAX_DATA_BYTES).contains(&event.data.len()));
    let json: &RawValue = serde_json::from_slice(&event.data).expect("data is JSON");
    assert_eq!(json.get().as_bytes(), event.data, "nothing lies around it");
    assert!(event.time.to_jiff().is_some());
}

/// What Herald sends, as an endpoint reads it.
#[derive(Deserialize)]
struct Standard<'a> {
    id: String,
    r#type: String,
    timestamp: jiff::Timestamp,
    source: String,
    subject: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn carried_on(event: &Event) {
    assert_eq!(read_as(STRUCTURED, &cloud_event(event)).as_deref(), Ok(&[event.clone()][..]));
    let body = sent(event, Payload::Standard);
    let read: Standard<'_> = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(read.id, message_id(NAMESPACE, &event.source, &event.id, WEBHOOK));
    assert_eq!((read.r#type.as_str(), read.timestamp.into()), (event.event_type.wire_name(), event.time));
    assert_eq!((&read.source, &read.subject), (&event.source, &event.subject));
    assert_eq!(read.data.get().as_bytes(), event.data);
}

fn cloud_event(event: &Event) -> Bytes {
    sent(event, Payload::CloudEvents)
}

fn sent(event: &Event, payload: Payload) -> Bytes {
    let api_key = HeaderValue::from_static("key");
    let request =
        Sender { webhook: WEBHOOK, payload, api_key: &api_key, signing: None }.request(event, NOW, None);
    assert_eq!(request.headers.len(), 5);
    request.body
}

fn read_binary(event: &Event) -> Result<Event, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let time = event.time.to_string();
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", &event.id),
        ("ce-source", &event.source),
        ("ce-type", event.event_type.wire_name()),
        ("ce-subject", &event.subject),
        ("ce-time", &time),
    ] {
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(escaped).expect("ASCII"));
    }
    read(&headers, &event.data).map(|mut events| events.remove(0))
}
