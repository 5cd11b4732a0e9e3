//! What an endpoint does with one request.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The body of an answer; its error closes the connection in mid-answer.
pub type AnswerBody = BoxBody<Bytes, std::io::Error>;

/// What an endpoint does with one request.
#[derive(Clone, Debug)]
pub struct Behaviour {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    delay: Duration,
    until: Option<CancellationToken>,
    hangs_up: bool,
}

#[derive(Clone, Debug)]
enum Body {
    /// The proof that a challenge asks for.
    Proof,
    Bytes(Bytes),
    /// A byte every 100 ms, for ever.
    Drip,
    /// It says how long it is and breaks off before.
    Cut,
}

impl Behaviour {
    /// Answers with this status and no body.
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Body::Bytes(Bytes::new()),
            delay: Duration::ZERO,
            until: None,
            hangs_up: false,
        }
    }

    /// Answers 200.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// Answers a challenge rightly.
    pub fn proof() -> Self {
        Self { body: Body::Proof, ..Self::ok() }
    }

    /// Answers a challenge with a key of its own.
    pub fn wrong_key() -> Self {
        Self::ok().body(json!({"key": "another"}).to_string())
    }

    /// Answers 200 and then a body that never ends.
    pub fn drip() -> Self {
        Self { body: Body::Drip, ..Self::ok() }
    }

    /// Answers 200 and breaks off in the middle of the body.
    pub fn cut() -> Self {
        Self { body: Body::Cut, ..Self::ok() }
    }

    /// Closes the connection without an answer.
    pub fn hang_up() -> Self {
        Self { hangs_up: true, ..Self::ok() }
    }

    /// Never answers, and keeps the connection.
    pub fn hang() -> Self {
        Self::ok().once(&CancellationToken::new())
    }

    /// Sends the client elsewhere.
    pub fn redirect(uri: &str) -> Self {
        Self::status(307).header("location", uri)
    }

    /// With this body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: Body::Bytes(body.into()), ..self }
    }

    /// With one more header, such as `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    /// After this long.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Not before the test cancels `gate`.
    #[must_use]
    pub fn once(self, gate: &CancellationToken) -> Self {
        Self { until: Some(gate.clone()), ..self }
    }

    /// Does it. None: the connection is to be closed.
    pub(super) async fn act(self, challenge_key: Option<&str>) -> Option<Response<AnswerBody>> {
        tokio::time::sleep(self.delay).await;
        if let Some(gate) = self.until {
            gate.cancelled().await;
        }
        if self.hangs_up {
            return None;
        }
        let body = match self.body {
            Body::Proof => full(json!({"key": challenge_key.unwrap_or_default()}).to_string().into()),
            Body::Bytes(bytes) => full(bytes),
            Body::Drip => drip(),
            Body::Cut => cut(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        Some(response)
    }
}

fn full(bytes: Bytes) -> AnswerBody {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn drip() -> AnswerBody {
    let drops = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok(Frame::data(Bytes::from_static(b" "))), ()))
    });
    BodyExt::boxed(StreamBody::new(drops))
}

fn cut() -> AnswerBody {
    let start = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"key\"")))]);
    let end = futures::stream::iter([Err(std::io::Error::other("breaks off, as the test wants it"))]);
    BodyExt::boxed(StreamBody::new(start.chain(end)))
}
