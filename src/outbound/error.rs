//! Why an exchange brought no answer, in words that a person can act on.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use super::Forbidden;
use super::quota::TooMuch;
use crate::api::Reason;

/// Why an exchange brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The host has no address.
    #[error("the host name {host} cannot be resolved: {message}")]
    NameNotResolved {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        message: String,
    },
    /// Every address of the host, or the host itself, is forbidden.
    #[error(transparent)]
    AddressForbidden(#[from] Forbidden),
    /// No TCP connection, or it broke.
    #[error(transparent)]
    ConnectionFailed(Cause),
    /// No TLS session.
    #[error(transparent)]
    TlsFailed(Cause),
    /// The deadline passed.
    #[error(transparent)]
    TimedOut(Overdue),
    /// The answer is not HTTP, or its head is longer than allowed.
    #[error(transparent)]
    MalformedAnswer(Cause),
}

impl ExchangeError {
    /// The word for it in a condition and in a metric.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NameNotResolved { .. } => Reason::NameNotResolved,
            Self::AddressForbidden(_) => Reason::AddressForbidden,
            Self::ConnectionFailed(_) => Reason::ConnectionFailed,
            Self::TlsFailed(_) => Reason::TLSFailed,
            Self::TimedOut(_) => Reason::TimedOut,
            Self::MalformedAnswer(_) => Reason::MalformedAnswer,
        }
    }
}

/// A sentence, and the error of the layer below where there is one.
#[derive(Debug)]
pub struct Cause {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Cause {
    /// A sentence about `source`.
    pub fn new(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

impl From<String> for Cause {
    fn from(message: String) -> Self {
        Self { message, source: None }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

/// A deadline that passed, and what the exchange was doing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no complete answer within {limit:?}: the time ran out while {doing}")]
pub struct Overdue {
    /// The time that the exchange had.
    pub limit: Duration,
    /// Where the time ran out.
    pub doing: Step,
}

/// The steps of an exchange, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asking for the addresses of the host.
    Resolve,
    /// Opening a TCP connection.
    Connect,
    /// Agreeing on a TLS session.
    Tls,
    /// Sending the request and waiting for the head of the answer.
    Head,
    /// Reading the body of the answer.
    Body,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the host name",
            Self::Connect => "connecting",
            Self::Tls => "waiting for the TLS handshake",
            Self::Head => "waiting for the answer's status and headers",
            Self::Body => "reading the answer's body",
        })
    }
}

/// What broke on an established connection, told apart by who is to blame.
pub(super) fn broken(error: hyper::Error) -> ExchangeError {
    if let Some(tls) = find::<rustls::Error>(&error) {
        return ExchangeError::TlsFailed(Cause::new(super::tls::explain(tls), error));
    }
    if let Some(too_much) = find::<TooMuch>(&error) {
        return ExchangeError::MalformedAnswer(Cause::new(too_much.to_string(), error));
    }
    if error.is_parse_too_large() {
        return ExchangeError::MalformedAnswer(Cause::new(
            "the answer's headers are longer than Herald reads",
            error,
        ));
    }
    if error.is_parse() {
        return ExchangeError::MalformedAnswer(Cause::new("the answer is not HTTP/1.1", error));
    }
    let io = find::<std::io::Error>(&error);
    if error.is_incomplete_message() || io.is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
        return ExchangeError::ConnectionFailed(Cause::new(
            "the endpoint closed the connection before its answer was complete",
            error,
        ));
    }
    let message = match io {
        Some(io) => format!("the connection broke: {io}"),
        None => format!("the connection broke: {error}"),
    };
    ExchangeError::ConnectionFailed(Cause::new(message, error))
}

/// What ended a new connection before the request could be sent.
pub(super) fn not_taken(error: hyper::Error) -> ExchangeError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    let spoke = cause.is_some_and(|cause| !cause.is_incomplete_message() && !cause.is_closed());
    if find::<rustls::Error>(&error).is_some() || find::<TooMuch>(&error).is_some() {
        broken(error)
    } else if spoke && find::<std::io::Error>(&error).is_none() {
        // What is left, and hyper has no word for, are bytes that nobody asked for.
        ExchangeError::MalformedAnswer(Cause::new(
            "the endpoint speaks before it is asked: it is not HTTP/1.1",
            error,
        ))
    } else {
        ExchangeError::ConnectionFailed(Cause::new(
            "the endpoint closes each connection before it takes a request",
            error,
        ))
    }
}

/// What broke while the body was read: a body that is not framed as HTTP says
/// is a malformed answer, and a connection that ended early is not.
pub(super) fn broken_body(error: hyper::Error) -> ExchangeError {
    let invalid = find::<std::io::Error>(&error)
        .is_some_and(|io| matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData));
    if invalid && find::<rustls::Error>(&error).is_none() {
        return ExchangeError::MalformedAnswer(Cause::new("the answer's body is not framed as HTTP", error));
    }
    broken(error)
}

/// The first error of type `E` in the chain, also inside an I/O error, which
/// does not show what it wraps as its source.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
