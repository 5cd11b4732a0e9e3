//! What an identity service does: it sends user events, as a ServiceAccount that may.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::herald::AUDIENCE;
use super::{HeraldProcess, Namespace};

/// The content type of one event.
const ONE: &str = "application/cloudevents+json";

/// Sends user events to one namespace.
pub struct Producer {
    namespace: String,
    token: String,
}

impl Producer {
    /// A ServiceAccount of the namespace that may send to it, and its token.
    pub async fn new(namespace: &Namespace) -> Self {
        let token = namespace.sender("producer", AUDIENCE).await;
        Self { namespace: namespace.name().to_owned(), token }
    }

    /// The token that it sends.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// For a task of its own, as long as this process of Herald runs.
    pub fn sending(&self, herald: &HeraldProcess) -> Sending {
        Sending { http: herald.http(), url: herald.events_url(&self.namespace), token: self.token.clone() }
    }

    /// Sends one event, which must be accepted; says how many webhooks it was matched to.
    pub async fn send(&self, herald: &HeraldProcess, event: &Value) -> u64 {
        self.accepted(herald, ONE, event).await
    }

    /// Sends a batch, which must be accepted; says how many deliveries it was matched to.
    pub async fn send_batch(&self, herald: &HeraldProcess, events: &[Value]) -> u64 {
        self.accepted(herald, "application/cloudevents-batch+json", &json!(events)).await
    }

    async fn accepted(&self, herald: &HeraldProcess, content_type: &str, body: &Value) -> u64 {
        let (status, answer) = self.post(herald, content_type, body).await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer.get("matched").and_then(Value::as_u64).unwrap_or_else(|| panic!("{answer}"))
    }

    /// Status and body of the answer, or the reason why there was none.
    pub async fn post(
        &self,
        herald: &HeraldProcess,
        content_type: &str,
        body: &Value,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let answer = self.sending(herald).post(content_type, body).await?;
        Ok((answer.status(), answer.json().await?))
    }
}

/// What a task of its own needs to send to one process.
pub struct Sending {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Sending {
    /// Sends one event; status and headers of the answer.
    pub async fn send(&self, event: &Value) -> reqwest::Result<(StatusCode, HeaderMap)> {
        let answer = self.post(ONE, event).await?;
        Ok((answer.status(), answer.headers().clone()))
    }

    /// Sends a body in structured mode that may not even be JSON; status and text of the answer.
    pub async fn post_text(&self, body: String) -> (StatusCode, String) {
        let answer = self.post_body(ONE, body).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn post(&self, content_type: &str, body: &Value) -> reqwest::Result<Response> {
        self.post_body(content_type, body.to_string()).await
    }

    async fn post_body(&self, content_type: &str, body: String) -> reqwest::Result<Response> {
        let request = self.http.post(&self.url).bearer_auth(&self.token);
        request.header(CONTENT_TYPE, content_type).body(body).send().await
    }
}

/// A user event in structured mode.
pub fn event(wire_type: &str, id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/idp",
        "type": wire_type,
        "subject": "user-1",
        "data": {"id": id},
    })
}
