//! How large the long parts are: `PENDING=100000 make bench ONLY=recovery` for
//! a quicker look. Figures for the table are made with the defaults.

use std::str::FromStr;
use std::time::Duration;

/// Pending deliveries of a backlog.
pub fn pending() -> u64 {
    number("PENDING", 1_000_000)
}

/// Deliveries that are settled before the journal is looked at.
pub fn settled() -> u64 {
    number("SETTLED", 2_000_000)
}

/// How long the load is steady while the journal is looked at.
pub fn steady() -> Duration {
    Duration::from_secs(number("STEADY_SECONDS", 240))
}

/// The most webhooks among which events are spread.
pub fn most_webhooks() -> usize {
    number("WEBHOOKS", 10_000)
}

/// How long the soak takes.
pub fn soak() -> Duration {
    Duration::from_secs_f64(60.0 * number("MINUTES", 20.0))
}

/// Events a second while there are faults.
pub fn rate() -> f64 {
    number("RATE", 60.0)
}

/// What the soak's choices come from.
pub fn seed() -> u64 {
    number("SEED", rand::random_range(0..1_000_000))
}

fn number<T: FromStr>(variable: &str, otherwise: T) -> T {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: write a number")),
        Err(_not_set) => otherwise,
    }
}
