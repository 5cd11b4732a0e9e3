//! What is sent: one event made of flags, or the events of a file in batches.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;
use serde_json::value::RawValue;

use crate::ingest::parse::MAX_BATCH_BYTES;
use crate::model::EventType;

/// The event that flags describe.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "One event")]
pub(super) struct EventFlags {
    /// What happened: "User created" or user.created.
    #[arg(long = "type", value_name = "TYPE", id = "event_type", value_parser = EventType::of_any_name, requires = "subject")]
    event_type: Option<EventType>,
    /// The id of the user.
    #[arg(long)]
    subject: Option<String>,
    /// Who says so: a URI reference.
    #[arg(long, default_value = "/herald/send")]
    source: String,
    /// The id of the event [default: a random UUID].
    #[arg(long)]
    id: Option<String>,
    /// JSON, or @FILE with JSON, or - for standard input.
    #[arg(long, default_value = "{}")]
    data: String,
}

/// The body of one request.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Batch {
    pub(in crate::cli) body: String,
    pub(in crate::cli) content_type: &'static str,
    /// Where in the input its first event is, counted from 0.
    pub(in crate::cli) first: usize,
    pub(in crate::cli) events: usize,
}

impl EventFlags {
    /// A request of that one event.
    pub(super) fn batch(&self) -> anyhow::Result<Batch> {
        let (Some(event_type), Some(subject)) = (self.event_type, &self.subject) else {
            bail!("an event needs --type and --subject");
        };
        let text = match self.data.as_str() {
            "-" => read(Path::new("-"))?,
            data => match data.strip_prefix('@') {
                Some(name) => read(Path::new(name))?,
                None => data.to_owned(),
            },
        };
        let data: &RawValue = serde_json::from_str(&text).context("--data is not JSON")?;
        let id = self
            .id
            .clone()
            .unwrap_or_else(|| uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string());
        // The data goes out as it was written, so it is not made a value of.
        let attributes = json!({
            "specversion": "1.0",
            "id": id,
            "source": self.source,
            "type": event_type.wire_name(),
            "subject": subject,
            "time": jiff::Timestamp::now().to_string(),
        })
        .to_string();
        let body = format!("{},\"data\":{data}}}", attributes.trim_end_matches('}'));
        Ok(Batch { body, content_type: "application/cloudevents+json", first: 0, events: 1 })
    }
}

/// The whole text of a file or of standard input.
pub(super) fn read(name: &Path) -> anyhow::Result<String> {
    if name == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    fs::read_to_string(name).with_context(|| format!("cannot read {}", name.display()))
}

/// The events of a text, at most `count` in a request.
pub(in crate::cli) fn batches(text: &str, count: usize) -> anyhow::Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut pending = Pending::default();
    for event in events(text)? {
        if pending.events > 0
            && (pending.events >= count || pending.body.len() + event.len() + 2 > MAX_BATCH_BYTES)
        {
            batches.push(pending.finish());
        }
        pending.push(event);
    }
    if pending.events > 0 {
        batches.push(pending.finish());
    }
    Ok(batches)
}

/// The JSON texts of the events: the values of the text, and of arrays in it.
fn events(text: &str) -> anyhow::Result<Vec<&str>> {
    let mut events = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.with_context(|| format!("after {} events, the input is not JSON", events.len()))?;
        if value.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
            events.extend(items.into_iter().map(RawValue::get));
        } else {
            events.push(value.get());
        }
    }
    if events.is_empty() {
        bail!("there is no event in the input");
    }
    Ok(events)
}

#[derive(Default)]
struct Pending {
    body: String,
    first: usize,
    events: usize,
}

impl Pending {
    fn push(&mut self, event: &str) {
        self.body.push(if self.events == 0 { '[' } else { ',' });
        self.body.push_str(event);
        self.events += 1;
    }

    fn finish(&mut self) -> Batch {
        let next = Self { first: self.first + self.events, ..Self::default() };
        let Self { mut body, first, events } = std::mem::replace(self, next);
        body.push(']');
        Batch { body, content_type: "application/cloudevents-batch+json", first, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(data: &str) -> EventFlags {
        EventFlags {
            event_type: Some(EventType::UserCreated),
            subject: Some("u\"1".to_owned()),
            source: "/idp".to_owned(),
            id: Some("1".to_owned()),
            data: data.to_owned(),
        }
    }

    #[test]
    fn flags_become_an_event_with_the_data_as_written() {
        let batch = flags("{\"b\": 1.00}").batch().unwrap();
        assert!(batch.body.ends_with(",\"data\":{\"b\": 1.00}}"), "{}", batch.body);
        let event: serde_json::Value = serde_json::from_str(&batch.body).unwrap();
        assert_eq!(event["subject"], "u\"1");
        assert_eq!(event["type"], "user.created");
        assert!(flags("{").batch().unwrap_err().to_string().contains("not JSON"));
        let random = EventFlags { id: None, ..flags("1") };
        assert_ne!(random.batch().unwrap().body, random.batch().unwrap().body);
    }

    #[test]
    fn data_is_read_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), " [1]\n").unwrap();
        let batch = flags(&format!("@{}", file.path().display())).batch().unwrap();
        assert!(batch.body.ends_with(",\"data\":[1]}"), "{}", batch.body);
    }

    #[test]
    fn a_text_is_one_event_an_array_or_one_after_the_other() {
        let table: [(&str, &[&str]); 4] = [
            ("{\"a\": 1}", &["{\"a\": 1}"]),
            ("[{\"a\":1}, 2]", &["{\"a\":1}", "2"]),
            ("{}\n{\"a\":\n1}\n\n{}", &["{}", "{\"a\":\n1}", "{}"]),
            (" [1] [2,3]", &["1", "2", "3"]),
        ];
        for (text, expected) in table {
            assert_eq!(events(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in [("", "no event"), ("[]", "no event"), ("{}{", "after 1 events")] {
            assert!(events(text).unwrap_err().to_string().contains(expected), "{text}");
        }
    }

    #[test]
    fn batches_are_bounded_in_number_and_size() {
        let found = batches("1 2 3 4 5", 2).unwrap();
        let shapes: Vec<_> = found.iter().map(|b| (b.body.as_str(), b.first, b.events)).collect();
        assert_eq!(shapes, [("[1,2]", 0, 2), ("[3,4]", 2, 2), ("[5]", 4, 1)]);
        let large = format!("\"{}\"", "x".repeat(MAX_BATCH_BYTES / 2 - 10));
        let found = batches(&format!("{large}{large}{large}"), 1000).unwrap();
        assert_eq!(found.iter().map(|b| b.events).collect::<Vec<_>>(), [2, 1]);
        assert!(found.iter().all(|b| b.body.len() <= MAX_BATCH_BYTES));
    }
}
