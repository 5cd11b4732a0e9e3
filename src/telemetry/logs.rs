//! Structured logs on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directives are not of the form `info,herald=debug`.
    #[error("the log level is not of the form LEVEL or LEVEL,TARGET=LEVEL: {0}")]
    Level(#[from] ParseError),
    /// They are set up already.
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// Sends what is logged to standard error.
///
/// # Errors
/// The level cannot be read, or logs are set up already.
pub fn init_logs(level: &str, format: LogFormat) -> Result<(), LogError> {
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(level)?);
    let colour = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init()?,
        // Spans are of libraries; what Herald says names its webhook in itself.
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(lines).try_init()?;
        }
    }
    Ok(())
}
