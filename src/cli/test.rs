//! `herald test`: tries a webhook.

use std::process::ExitCode;

use clap::Args;
use http::Method;

use super::connection::ConnectionFlags;
use super::events::{OutputFlags, TIMEOUT, ms, print, refused};
use crate::manage::{StepDurations, TestAnswer, TestRequest};
use crate::model::EventType;
use crate::model::line::one_line;

/// Send a marked, synthetic event to one webhook, and print the endpoint's answer
///
/// The exit status is 1 when the endpoint did not take it, or nothing was sent.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The webhook, by the name of its object
    webhook: String,
    /// "User created" or user.created [default: the first that the webhook wants]
    #[arg(long = "type", value_name = "TYPE", value_parser = EventType::of_any_name)]
    event_type: Option<EventType>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
}

impl Test {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let connection = self.connection.open(TIMEOUT).await?;
        let asked =
            TestRequest { r#type: self.event_type.map(|event_type| event_type.wire_name().to_owned()) };
        let request = connection.request(Method::POST, &["webhooks", &self.webhook, "test"]).json(&asked);
        match connection.ask::<TestAnswer>(request).await? {
            Ok(answer) => {
                print(self.output.output, &answer, || describe(&answer))?;
                Ok(if answer.delivered { ExitCode::SUCCESS } else { ExitCode::from(1) })
            }
            Err(message) => refused(&message),
        }
    }
}

fn describe(answer: &TestAnswer) -> String {
    let StepDurations { name_ms, connect_ms, tls_ms, first_byte_ms, body_ms } = answer.durations;
    let took = [
        ("name", name_ms),
        ("connect", connect_ms),
        ("TLS", tls_ms),
        ("first byte", first_byte_ms),
        ("body", body_ms),
    ];
    let took: Vec<_> = took.iter().map(|(step, value)| format!("{step} {}", ms(*value))).collect();
    let verdict = match &answer.failure {
        None => "delivered".to_owned(),
        Some(failure) => format!("failed with {}: {}", failure.reason, failure.message),
    };
    let lines = [
        ("Sent:", format!("{} {} ({})", answer.event.r#type, answer.event.id, answer.message_id)),
        ("Result:", verdict),
        ("Status:", answer.status.map_or_else(|| "none".to_owned(), |status| status.to_string())),
        ("Took:", took.join(", ")),
        ("Body:", if answer.body.is_empty() { "empty".to_owned() } else { answer.body.clone() }),
    ];
    lines.map(|(name, value)| format!("{name:<8} {}\n", one_line(&value))).concat()
}
