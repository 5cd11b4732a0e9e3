//! What a person or a probe can see from outside: logs, metrics, health.

mod health;
mod logs;
mod server;

pub use health::{Check, Health};
pub use logs::{LogFormat, init_logs};
pub use server::serve;
