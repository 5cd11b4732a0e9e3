//! The client against real TLS servers on loopback.

mod failures;
mod limits;
mod reuse;
mod server;
mod sessions;
mod subject;
mod unasked;

use std::time::Duration;

/// For what must come at once, on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(20);

/// For what is to run out of time.
const SHORT: Duration = Duration::from_millis(200);
