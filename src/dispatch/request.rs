//! The request that carries one event to one webhook: pure.
//!
//! The members of the body are written in a fixed order into one buffer, and
//! `data` goes in byte for byte as the producer wrote it.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;

use crate::model::{Event, Payload, Timestamp, WebhookUid, message_id};
use crate::outbound::{self, Request, SigningKeys};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a webhook's requests have in common.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The webhook's identity, a part of every message's id.
    pub webhook: WebhookUid,
    /// The shape of the body.
    pub payload: Payload,
    /// Sent as it is.
    pub api_key: &'a HeaderValue,
    /// The keys to sign with.
    pub signing: Option<&'a SigningKeys>,
}

impl Sender<'_> {
    /// The request for a try at `now`, with one more header where it is no ordinary delivery.
    pub fn request(&self, event: &Event, now: Timestamp, mark: Option<(HeaderName, HeaderValue)>) -> Request {
        let id = message_id(&event.namespace, &event.source, &event.id, self.webhook);
        let body = match self.payload {
            Payload::Standard => standard(event, &id),
            Payload::CloudEvents => cloud_event(event),
        };
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(API_KEY, self.api_key.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(outbound::USER_AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(self.payload)));
        headers.insert(WEBHOOK_TIMESTAMP, now.as_secs().into());
        if let Some(keys) = self.signing {
            headers.insert(WEBHOOK_SIGNATURE, keys.sign(&id, now.as_secs(), &body));
        }
        if let Ok(id) = HeaderValue::try_from(id) {
            headers.insert(WEBHOOK_ID, id);
        }
        if let Some((name, value)) = mark {
            headers.insert(name, value);
        }
        Request { method: Method::POST, headers, body }
    }
}

const fn content_type(payload: Payload) -> &'static str {
    match payload {
        Payload::Standard => "application/json",
        Payload::CloudEvents => "application/cloudevents+json",
    }
}

fn standard(event: &Event, id: &str) -> Bytes {
    let mut body = Object::with_room_for(event);
    body.member("id", id);
    body.member("type", event.event_type.wire_name());
    body.member("timestamp", &event.time.to_string());
    body.member("source", &event.source);
    body.member("subject", &event.subject);
    body.data(&event.data)
}

fn cloud_event(event: &Event) -> Bytes {
    let mut body = Object::with_room_for(event);
    body.member("specversion", "1.0");
    body.member("id", &event.id);
    body.member("source", &event.source);
    body.member("type", event.event_type.wire_name());
    body.member("subject", &event.subject);
    body.member("time", &event.time.to_string());
    body.member("datacontenttype", "application/json");
    body.data(&event.data)
}

/// A JSON object that is being written.
struct Object(BytesMut);

impl Object {
    fn with_room_for(event: &Event) -> Self {
        let attributes = event.id.len() + event.source.len() + event.subject.len();
        Self(BytesMut::with_capacity(256 + attributes + event.data.len()))
    }

    /// `name` is one of ours and needs no escape.
    fn member(&mut self, name: &str, value: &str) {
        self.name(name);
        let mut serializer = serde_json::Serializer::new((&mut self.0).writer());
        // A string always serializes, and the buffer takes whatever comes.
        let _ = value.serialize(&mut serializer);
    }

    fn data(mut self, json: &[u8]) -> Bytes {
        self.name("data");
        self.0.put_slice(json);
        self.0.put_u8(b'}');
        self.0.freeze()
    }

    fn name(&mut self, name: &str) {
        self.0.put_u8(if self.0.is_empty() { b'{' } else { b',' });
        self.0.put_u8(b'"');
        self.0.put_slice(name.as_bytes());
        self.0.put_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::inspect::EventName;
    use crate::model::EventType;

    fn event() -> Event {
        Event {
            namespace: "identity".to_owned(),
            id: "e-1".to_owned(),
            source: "/idp".to_owned(),
            event_type: EventType::UserCreated,
            subject: "user \"7\"\n".to_owned(),
            // 2026-11-24T08:16:20.250Z
            time: Timestamp::from_millis(1_795_508_180_250),
            data: Bytes::from_static(b"{ \"n\":1.0e2,\"n\" : 2 }"),
        }
    }

    fn request(
        payload: Payload,
        signing: Option<&SigningKeys>,
        mark: Option<(HeaderName, HeaderValue)>,
    ) -> Request {
        let webhook = WebhookUid::from_bytes([7; 16]);
        let api_key = HeaderValue::from_static("k3y \u{7e}");
        let sender = Sender { webhook, payload, api_key: &api_key, signing };
        sender.request(&event(), Timestamp::from_millis(1_795_508_999_999), mark)
    }

    #[test]
    fn a_standard_body_has_what_standard_webhooks_recommends_and_the_data_untouched() {
        let request = request(Payload::Standard, None, None);
        let id = EventName::from(&event()).message_id(WebhookUid::from_bytes([7; 16]));
        let expected = format!(
            r#"{{"id":"{id}","type":"user.created","timestamp":"2026-11-24T08:16:20.25Z","source":"/idp","subject":"user \"7\"\n","data":{{ "n":1.0e2,"n" : 2 }}}}"#
        );
        assert_eq!(std::str::from_utf8(&request.body), Ok(expected.as_str()));
        assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn a_cloud_event_is_in_structured_mode() {
        let request = request(Payload::CloudEvents, None, None);
        let expected = r#"{"specversion":"1.0","id":"e-1","source":"/idp","type":"user.created","subject":"user \"7\"\n","time":"2026-11-24T08:16:20.25Z","datacontenttype":"application/json","data":{ "n":1.0e2,"n" : 2 }}"#;
        assert_eq!(std::str::from_utf8(&request.body), Ok(expected));
        assert_eq!(request.headers[CONTENT_TYPE], "application/cloudevents+json");
    }

    #[test]
    fn the_headers_are_those_of_the_protocol_and_no_others() {
        let keys = SigningKeys::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mark = (HeaderName::from_static("herald-replay"), HeaderValue::from_static("monday"));
        let full = request(Payload::Standard, Some(&keys), Some(mark));
        let id = EventName::from(&event()).message_id(WebhookUid::from_bytes([7; 16]));
        assert_eq!(full.method, Method::POST);
        assert_eq!(full.headers["x-api-key"], "k3y \u{7e}");
        assert_eq!(full.headers["webhook-id"], id.as_str());
        assert_eq!(full.headers["webhook-timestamp"], "1795508999");
        assert_eq!(full.headers["user-agent"], concat!("Herald/", env!("CARGO_PKG_VERSION")));
        assert_eq!(full.headers["herald-replay"], "monday");
        assert_eq!(full.headers["webhook-signature"], keys.sign(&id, 1_795_508_999, &full.body));
        assert_eq!(full.headers.len(), 7);
        assert_eq!(request(Payload::Standard, None, None).headers.len(), 5);
    }
}
