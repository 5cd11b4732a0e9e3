//! Answers that say no, as RFC 9457 has them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::Action;

/// Where the types of problems live. They are names; nothing need be there.
const TYPES: &str = "https://herald.dev/problems/";

/// What a problem is, whatever its details: status, last segment of its type, and title.
pub type Kind = (StatusCode, &'static str, &'static str);

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

/// The answer of a kind, with its details; `index` is the place in a batch.
pub fn response(kind: Kind, detail: String, index: Option<usize>) -> Response<Full<Bytes>> {
    let (status, name, title) = kind;
    let document =
        Document { r#type: format!("{TYPES}{name}"), title, status: status.as_u16(), detail, index };
    // A struct of strings and numbers always has a JSON text.
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Why somebody is not let in. The message is for whoever called: it says what
/// to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No bearer token.
    #[error("send a bearer token of a ServiceAccount in the header Authorization")]
    NoToken,
    /// The token is not good here.
    #[error(
        "the token is not valid, has expired, or is not meant for this Herald; \
         ask for a new one with the audience that Herald was started with"
    )]
    BadToken,
    /// RBAC does not let the caller do it in the namespace.
    #[error("{user:?} may not {action} in the namespace {namespace:?}; bind a Role that allows it")]
    Forbidden {
        /// Who called.
        user: String,
        /// What it takes.
        action: Action,
        /// Where.
        namespace: String,
    },
    /// The API server does not say who the caller is.
    #[error("the API server cannot be asked about the token now; send the whole request again")]
    Unavailable,
}

impl Denied {
    /// What it is, without its details.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NoToken | Self::BadToken => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated")
            }
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden", "Not allowed in this namespace"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        }
    }

    /// Adds the headers that its status calls for.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        let challenge = match self {
            Self::NoToken => "Bearer realm=\"herald\"",
            Self::BadToken => "Bearer realm=\"herald\", error=\"invalid_token\"",
            Self::Forbidden { .. } => return,
            Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return;
            }
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        // Who has shown no good token must not hold a connection.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
