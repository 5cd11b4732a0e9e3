//! The client against real TLS servers on loopback. The servers, and the client's
//! settings for them, serve the tests of its users too.

mod failures;
mod limits;
mod reuse;
pub(crate) mod server;
mod sessions;
pub(crate) mod subject;
mod unasked;

use std::time::Duration;

/// For what must come at once, on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(20);

/// For what is to run out of time.
const SHORT: Duration = Duration::from_millis(200);
