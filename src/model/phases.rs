//! Where the time of an exchange goes.

use std::time::Duration;

/// How long each step of an exchange took; zero for what a reused connection
/// made unnecessary, and for what did not begin. The step in which an exchange
/// failed or ran out of time counts for as long as it lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// To resolve the name.
    pub resolve: Duration,
    /// To open the TCP connection.
    pub connect: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
    /// From the first byte of the request to the head of the answer.
    pub first_byte: Duration,
    /// From there to the end of the body.
    pub body: Duration,
}

impl Phases {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.resolve + self.connect + self.tls + self.first_byte + self.body
    }
}
