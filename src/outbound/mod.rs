//! One door to the outside: every request to an endpoint, challenge or
//! delivery, leaves through this guarded HTTPS client.
//!
//! ```text
//! Channel::exchange ── idle connection? ──────────────────────────┐
//!        │ none                                                   v
//!        └─> resolve (absolute name) ─> guard each address ─> connect ─> TLS ─> HTTP/1.1
//! ```

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
    #[error("{0}")]
    AddressForbidden(String),
    /// No TCP connection, or it broke.
    #[error("{0}")]
    ConnectionFailed(String),
    /// No TLS session.
    #[error("{0}")]
    TlsFailed(String),
    /// The deadline passed.
    #[error("no complete answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// The answer is not HTTP, or longer than allowed.
    #[error("{0}")]
    MalformedAnswer(String),
}
