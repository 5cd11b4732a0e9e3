//! `herald deadletters`: what was given up.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;

use super::connection::ConnectionFlags;
use super::events::{OutputFlags, TIMEOUT, print, refused};
use super::table::Table;
use crate::manage::{DeadLetterItem, Deleted};

/// List or delete a webhook's dead letters; a Replay sends them again
#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(Box<List>),
    Delete(Box<Delete>),
}

/// List them, the oldest first
#[derive(Debug, Args)]
struct List {
    /// The webhook, by the name of its object
    #[arg(long)]
    webhook: String,
    /// The most to list
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// Delete one, or all
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["id", "all"])))]
struct Delete {
    /// The webhook, by the name of its object
    #[arg(long)]
    webhook: String,
    /// The one of this id, as it is listed
    #[arg(long)]
    id: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
}

impl DeadLetters {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run().await,
            Command::Delete(delete) => delete.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let connection = self.connection.open(TIMEOUT).await?;
        let path = ["webhooks", &self.webhook, "deadletters"];
        match connection.list::<DeadLetterItem>(&path, &[], self.limit as usize).await? {
            Ok((items, more)) => print(self.output.output, &items, || table(&items, more)),
            Err(message) => refused(&message),
        }
    }
}

impl Delete {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let connection = self.connection.open(TIMEOUT).await?;
        let mut path = vec!["webhooks", &self.webhook, "deadletters"];
        path.extend(self.id.as_deref());
        match connection.ask::<Deleted>(connection.request(Method::DELETE, &path)).await? {
            Ok(deleted) => print(self.output.output, &deleted, || format!("{} deleted\n", deleted.deleted)),
            Err(message) => refused(&message),
        }
    }
}

fn table(items: &[DeadLetterItem], more: bool) -> String {
    let mut table = Table::new(["DIED", "EVENT", "TYPE", "USER", "ATTEMPTS", "REASON", "MESSAGE", "ID"]);
    for item in items {
        table.row([
            item.died_at.clone(),
            item.event.id.clone(),
            item.event.r#type.clone(),
            item.event.subject.clone(),
            item.attempts.to_string(),
            item.failure.reason.clone(),
            item.failure.message.clone(),
            item.id.clone(),
        ]);
    }
    if table.is_empty() {
        return "there are none\n".to_owned();
    }
    table.print() + if more { "there are more: --limit\n" } else { "" }
}
