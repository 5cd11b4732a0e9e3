//! Why a question has no answer.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::access::Denied;
use crate::access::problem::{Kind, response};
use crate::journal::Unavailable;

/// The message is for whoever asked: it says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The question cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// What it is about is not there.
    #[error("{0}")]
    NotFound(String),
    #[error("there is nothing at this path; docs/operations.md lists what there is")]
    NoSuchPath,
    #[error("this method is not allowed here")]
    MethodNotAllowed,
    /// The webhook is held.
    #[error("nothing was sent, since the webhook is held: {reason}: {message}")]
    Held { reason: String, message: String },
    /// Too much at one time.
    #[error("{0}; try again in a moment")]
    Busy(String),
    /// The journal, or the endpoint's turn, did not come.
    #[error("{0}")]
    Unavailable(String),
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Problem {
    const fn kind(&self) -> Kind {
        match self {
            Self::Denied(denied) => denied.kind(),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "not-found", "Unknown path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::Held { .. } => (StatusCode::CONFLICT, "held", "The webhook is held"),
            Self::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, "busy", "Too many questions"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = response(self.kind(), self.to_string(), None).map(Body::new);
        let headers = response.headers_mut();
        match &self {
            Self::Denied(denied) => denied.add_headers(headers),
            Self::Busy(_) | Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
            }
            Self::Malformed(_)
            | Self::NotFound(_)
            | Self::NoSuchPath
            | Self::MethodNotAllowed
            | Self::Held { .. } => {}
        }
        response
    }
}
