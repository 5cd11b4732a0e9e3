//! `herald events`: what became of an event, and a webhook's deliveries.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::connection::ConnectionFlags;
use super::table::Table;
use crate::manage::{Delivery, EventDetail, State, StepDurations, Try, TryKind};
use crate::model::line::{escaped, one_line};

/// A server may look through a million deliveries.
pub(super) const TIMEOUT: Duration = Duration::from_secs(90);

/// What became of an event, or a webhook's deliveries by state
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(Box<Get>),
    List(Box<List>),
}

/// Show one event, every webhook that it went to, and every attempt
///
/// The exit status is 1 when the event is not known.
#[derive(Debug, Args)]
struct Get {
    /// The id of the event, or the `webhook-id` of one of its deliveries
    id: String,
    /// Only the event of this source, if several use the same id
    #[arg(long)]
    source: Option<String>,
    /// Show what the event says as well; that takes the right to get userevents/payload
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// List a webhook's deliveries: what is pending, what is dead, what was delivered
#[derive(Debug, Args)]
struct List {
    /// The webhook, by the name of its object
    #[arg(long)]
    webhook: String,
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<StateFlag>,
    /// Only those that were accepted, given up or delivered since then: a duration such as 1h, or a time (RFC 3339)
    #[arg(long, value_parser = since)]
    since: Option<Timestamp>,
    /// The most to list
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// How an answer is shown.
#[derive(Debug, Args)]
pub(super) struct OutputFlags {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateFlag {
    Pending,
    Dead,
    Delivered,
}

impl StateFlag {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
        }
    }
}

impl Events {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Get(get) => get.run().await,
            Command::List(list) => list.run().await,
        }
    }
}

impl Get {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let connection = self.connection.open(TIMEOUT).await?;
        let mut request = connection.request(Method::GET, &["events", &self.id]);
        if let Some(source) = &self.source {
            request = request.query(&[("source", source)]);
        }
        if self.payload {
            request = request.query(&[("payload", "true")]);
        }
        match connection.ask::<Vec<EventDetail>>(request).await? {
            Ok(details) => print(self.output.output, &details, || details.iter().map(describe).collect()),
            Err(message) => refused(&message),
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let connection = self.connection.open(TIMEOUT).await?;
        let mut query = vec![("webhook", self.webhook)];
        query.extend(self.state.map(|state| ("state", state.as_str().to_owned())));
        query.extend(self.since.map(|since| ("since", since.to_string())));
        match connection.list::<Delivery>(&["events"], &query, self.limit as usize).await? {
            Ok((items, more)) => print(self.output.output, &items, || table(&items, more)),
            Err(message) => refused(&message),
        }
    }
}

/// An hour ago, or a moment.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = text.parse::<SignedDuration>() {
        return Timestamp::now().checked_sub(ago).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "write a duration such as 1h, or a time such as 2026-01-02T03:04:05Z".to_owned())
}

/// Prints an answer.
pub(super) fn print<T: Serialize>(
    output: Output,
    answer: &T,
    people: impl FnOnce() -> String,
) -> anyhow::Result<ExitCode> {
    let text = match output {
        Output::Table => people(),
        Output::Json => escaped(&serde_json::to_string_pretty(answer)?).into_owned() + "\n",
    };
    io::stdout().write_all(text.as_bytes()).context("cannot print the answer")?;
    Ok(ExitCode::SUCCESS)
}

/// Says what Herald has against it.
pub(super) fn refused(message: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "herald: {}", one_line(message)).context("cannot print the answer")?;
    Ok(ExitCode::from(1))
}

/// `-` for what there is not.
fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn table(items: &[Delivery], more: bool) -> String {
    let mut table = Table::new(["STATE", "ACCEPTED", "EVENT", "TYPE", "USER", "ATTEMPTS", "ENDED", "NOTE"]);
    for item in items {
        table.row([
            format!("{:?}", item.state),
            or_dash(item.accepted_at.clone()),
            item.event.id.clone(),
            item.event.r#type.clone(),
            item.event.subject.clone(),
            item.attempts.to_string(),
            or_dash(item.ended_at.clone()),
            item.note(),
        ]);
    }
    if table.is_empty() {
        return "nothing found\n".to_owned();
    }
    let more = if more { "there are more: --limit\n" } else { "" };
    table.print() + more
}

impl Delivery {
    /// What a person wants to know beside the state.
    fn note(&self) -> String {
        let mut notes = Vec::new();
        notes.extend(self.next_attempt_at.as_ref().map(|at| format!("next attempt at {at}")));
        notes.extend(self.waits_for.clone());
        notes.extend(self.failure.as_ref().map(|failure| format!("{}: {}", failure.reason, failure.message)));
        if self.state == State::Unknown {
            notes.push(
                "neither pending nor dead: it was delivered longer ago than attempts are kept, evicted, or outlived the \
                 retention"
                    .to_owned(),
            );
        }
        or_dash((!notes.is_empty()).then(|| notes.join("; ")))
    }
}

fn describe(detail: &EventDetail) -> String {
    let event = &detail.event;
    let mut text = String::new();
    // A string takes whatever is written.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {}", one_line(value));
    };
    line("Event:", &event.id);
    line("Source:", &event.source);
    line("Type:", &event.r#type);
    line("User:", &event.subject);
    line("Namespace:", &event.namespace);
    line("Accepted:", detail.accepted_at.as_deref().unwrap_or("not known any more"));
    if let Some(data) = &detail.data {
        line("Data:", data.get());
    }
    text.push('\n');
    if detail.deliveries.is_empty() {
        text.push_str(
            "It was matched to no webhook: none of its namespace was enabled, proved and wanted its type.\n",
        );
        return text;
    }
    let mut table = Table::new(["WEBHOOK", "STATE", "ATTEMPTS", "ENDED", "NOTE"]);
    for delivery in &detail.deliveries {
        table.row([
            name_of(delivery),
            format!("{:?}", delivery.state),
            delivery.attempts.to_string(),
            or_dash(delivery.ended_at.clone()),
            delivery.note(),
        ]);
    }
    text.push_str(&table.print());
    for delivery in detail.deliveries.iter().filter(|delivery| !delivery.tries.is_empty()) {
        let _ = write!(text, "\n{} ({})\n", one_line(&name_of(delivery)), one_line(&delivery.message_id));
        let mut table = Table::new([
            "TRY",
            "AT",
            "ANSWER",
            "TOOK",
            "NAME",
            "CONNECT",
            "TLS",
            "FIRST BYTE",
            "BODY",
            "NOTE",
        ]);
        for attempt in &delivery.tries {
            let StepDurations { name_ms, connect_ms, tls_ms, first_byte_ms, body_ms } = attempt.durations;
            let [total, name, connect, tls, first_byte, body] =
                [attempt.durations.total_ms(), name_ms, connect_ms, tls_ms, first_byte_ms, body_ms].map(ms);
            table.row([
                kind_of(attempt),
                attempt.at.clone(),
                attempt.status.map_or_else(|| "none".to_owned(), |status| status.to_string()),
                total,
                name,
                connect,
                tls,
                first_byte,
                body,
                or_dash(
                    attempt
                        .failure
                        .as_ref()
                        .map(|failure| format!("{}: {}", failure.reason, failure.message)),
                ),
            ]);
        }
        text.push_str(&table.print());
    }
    text
}

fn name_of(delivery: &Delivery) -> String {
    delivery.webhook.clone().unwrap_or_else(|| format!("(gone) {}", delivery.webhook_uid))
}

fn kind_of(attempt: &Try) -> String {
    match (attempt.kind, &attempt.replay) {
        (TryKind::Delivery, _) => attempt.number.to_string(),
        (TryKind::Replay, Some(name)) => format!("replay {name}"),
        (TryKind::Replay, None) => "replay".to_owned(),
        (TryKind::Test, _) => "test".to_owned(),
    }
}

/// Milliseconds, short.
pub(super) fn ms(value: f64) -> String {
    if value == 0.0 { "-".to_owned() } else { format!("{value:.1}ms") }
}
