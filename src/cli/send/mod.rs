//! `herald send`: user events from the command line or a file.
//!
//! ```text
//! flags ─────────────┐
//! file, - ─> Input ──┴─> batches ─> Sender ── 503, 429: again ─> answer
//!                                      ^
//!                   Connection ── a token from a file, or a TokenRequest
//! ```

pub(super) mod input;
mod sender;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use self::input::{Batch, EventFlags};
use self::sender::{Outcome, Sender};
use super::connection::ConnectionFlags;
use crate::ingest::Accepted;
use crate::model::line::one_line;

/// Send user events to Herald: one made of flags, or a file of them.
///
/// Prints the server's answer. The exit status is 0 when every event is stored,
/// 1 when one was refused or could not be stored, and 2 when the input or the
/// token cannot be read.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["event_type", "filename"])))]
pub struct Send {
    #[command(flatten)]
    connection: ConnectionFlags,
    /// Events in JSON: one, an array, or one after the other (NDJSON); - for standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["event_type", "subject", "source", "id", "data"])]
    filename: Option<PathBuf>,
    /// How many events of the file to send in one request.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// For how many seconds to go on trying while Herald cannot store or be reached.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    retry: u64,
    #[command(flatten)]
    event: EventFlags,
}

impl Send {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// The input or the token cannot be read.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let batches = match &self.filename {
            Some(name) => input::batches(&input::read(name)?, self.batch.into())?,
            None => vec![self.event.batch()?],
        };
        let connection = self.connection.open(sender::TIMEOUT).await?;
        let sender = Sender::new(connection, Duration::from_secs(self.retry));
        let (sent, refused) = send_all(sender, &batches).await?;
        // For a single event that was refused, zeros would be no answer.
        if refused.is_none() || batches.len() > 1 {
            writeln!(io::stdout(), "{}", serde_json::to_string(&sent)?).context("cannot print the answer")?;
        }
        Ok(match refused {
            None => ExitCode::SUCCESS,
            Some(message) => {
                writeln!(io::stderr(), "herald: {}", one_line(&message))
                    .context("cannot print the answer")?;
                ExitCode::from(1)
            }
        })
    }
}

/// Sends the batches in order up to the first that is not accepted, and says
/// what is stored and why the rest is not.
async fn send_all(mut sender: Sender, batches: &[Batch]) -> anyhow::Result<(Accepted, Option<String>)> {
    let bar = progress(batches);
    let mut total = Accepted::default();
    let mut refused = None;
    for batch in batches {
        match sender.send(batch).await? {
            Outcome::Accepted(answer) => {
                total.accepted += answer.accepted;
                total.duplicate += answer.duplicate;
                total.matched += answer.matched;
                bar.inc(batch.events as u64);
            }
            Outcome::Refused(message) => {
                refused = Some(message);
                break;
            }
        }
    }
    bar.finish_and_clear();
    Ok((total, refused))
}

/// Drawn on standard error, by itself only where that is a terminal.
fn progress(batches: &[Batch]) -> ProgressBar {
    if batches.len() < 2 {
        return ProgressBar::hidden();
    }
    let events = batches.iter().map(|batch| batch.events as u64).sum();
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left");
    ProgressBar::new(events).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Herald;

    fn parses(arguments: &str) -> bool {
        let line = format!("herald send --url https://h --namespace ns {arguments}");
        Herald::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn one_says_what_to_send_and_as_whom_and_each_once() {
        for arguments in [
            "--token-file t --type user.created --subject u",
            "--token-file t --type user.created --subject u --id 1 --source s --data -",
            "--token-file t -f events.json --batch 1000",
            "--service-account ns/sender --audience herald -f -",
        ] {
            assert!(parses(arguments), "{arguments}");
        }
        for arguments in [
            "--token-file t",
            "--token-file t --type user.created",
            "--token-file t --type user.promoted --subject u",
            "--token-file t --type user.created --subject u -f events.json",
            "--token-file t -f events.json --id 1",
            "--token-file t -f events.json --batch 1001",
            "--token-file t --service-account ns/sender --audience herald -f -",
            "--service-account sender --audience herald -f -",
            "-f events.json",
        ] {
            assert!(!parses(arguments), "{arguments}");
        }
    }
}
