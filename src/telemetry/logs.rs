//! Structured logs on standard error.
//!
//! ```text
//! event ─ level ─ MUTED ─┬─ text ── each field is one line ──┐
//!                        └─ JSON ── escapes of JSON ─────────┴─> standard error
//! panic ─ where, and what the program's own text says ─> event
//! ```
//!
//! **Guarantees.** An event is one line, whatever a tenant made of its fields.
//! A panic is an event too, and holds nothing that was computed.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::panic::{self, PanicHookInfo};

use tracing::field::Field;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::model::line::{escaped, one_line};

/// Who is not heard, whatever level is asked for. At `warn` this one logs the whole
/// answer of the API server that it could not read, which may be a Secret; the same
/// failure is an error for whoever asked, who logs it.
const MUTED: [&str; 1] = ["kube_client::client"];

/// A library of which nothing is heard. At `trace` it logs each message of NATS with its body; the
/// journal tells how its connection is.
const MUTED_LIBRARY: &str = "async_nats";

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

/// Sends what is logged to standard error, panics too.
///
/// # Errors
/// The level cannot be read, or logs are set up already.
pub fn init_logs(level: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level)?;
    match format {
        LogFormat::Text => text(filter, io::stderr, io::stderr().is_terminal()).try_init()?,
        LogFormat::Json => json(filter, io::stderr).try_init()?,
    }
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn text<W>(filter: EnvFilter, writer: W, colour: bool) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour).with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_heard))
        .with(lines.fmt_fields(debug_fn(write_field).delimited(" ")))
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Spans are of libraries; what Herald says names its webhook in itself.
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(Escaping(writer));
    tracing_subscriber::registry().with(filter).with(filter_fn(is_heard)).with(lines)
}

fn is_heard(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    !MUTED.contains(&target) && target.split("::").next() != Some(MUTED_LIBRARY)
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = one_line(&value);
    if field.name() == "message" { writer.write_str(&value) } else { write!(writer, "{field}={value}") }
}

/// Lets go through what JSON lets stand and a terminal obeys.
struct Escaping<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for Escaping<W> {
    /// Takes what comes as a whole: it is one event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(escaped(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What a panic says was computed and may be a payload, unless the program's
/// text holds it as it is.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload().downcast_ref::<&'static str>().copied();
    let said = said.unwrap_or("what it says is not shown, since it may hold what Herald must not tell");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        at,
        thread = thread.name(),
        panic = said,
        "Herald panicked: please report it, it is a bug"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged by `work` at the level `trace`, as text and as JSON.
    fn logged(work: impl Fn()) -> [String; 2] {
        let all = || EnvFilter::new("trace");
        let (kept, kept_json) = (Kept::default(), Kept::default());
        let (as_text, as_json) = (kept.clone(), kept_json.clone());
        with_default(text(all(), move || as_text.clone(), false), &work);
        with_default(json(all(), move || as_json.clone()), &work);
        [kept, kept_json].map(|kept| String::from_utf8(kept.0.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn whatever_a_tenant_says_is_one_line_that_nothing_obeys() {
        const HOSTILE: &str = "a\nERROR forged\u{1b}[2J\u{9b}31m\u{202e}\"}\r\n{\"level\":\"ERROR\"}";
        let [text, json] = logged(|| {
            tracing::warn!(name = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, "{HOSTILE}");
        });
        for log in [&text, &json] {
            let line = log.strip_suffix('\n').unwrap();
            assert!(!line.contains(crate::model::line::acts), "{line:?}");
        }
        assert!(text.contains("WARN a ERROR forged [2J"), "{text}");
        assert!(text.contains(" shown=a ERROR forged"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        for field in ["message", "name", "shown"] {
            assert_eq!(value[field], HOSTILE, "{json}");
        }
        assert_eq!(value["level"], "WARN");
    }

    #[test]
    fn what_a_library_would_tell_of_answers_and_messages_is_not_heard() {
        let logs = logged(|| {
            tracing::warn!(target: "kube_client::client", "a whole Secret");
            tracing::error!(target: "kube_client::client::builder", "failed with status 500");
            tracing::trace!(target: "async_nats::connection", "a message with a user's name");
        });
        for log in logs {
            assert!(!log.contains("Secret") && log.contains("failed with status 500"), "{log}");
            assert!(!log.contains("a user's name"), "{log}");
        }
    }

    #[test]
    fn a_panic_is_one_event_that_tells_where_and_nothing_that_was_computed() {
        let canary = "a-payload".to_owned();
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let logs = logged(|| {
            drop(panic::catch_unwind(|| panic!("{canary} is not good")));
            drop(panic::catch_unwind(|| panic!("said by the program")));
        });
        panic::set_hook(before);
        for log in logs {
            assert_eq!(log.matches(file!()).count(), 2, "{log}");
            assert!(!log.contains(&canary), "{log}");
            assert!(log.contains("said by the program"), "{log}");
        }
    }
}
