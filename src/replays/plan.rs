//! Which events a Replay is about, and how far it is: pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::api::{ReplaySpec, ReplayStatus, Which};
use crate::journal::inspect::Cursor;
use crate::model::{Event, EventFilter, FilterError, Timestamp};

/// What is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) which: Which,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    filter: EventFilter,
}

impl Selection {
    /// What the spec asks for, of a Replay that `began` then.
    pub(super) fn of(spec: &ReplaySpec, began: Timestamp) -> Result<Self, FilterError> {
        Ok(Self {
            which: spec.which,
            since: spec.since.as_ref().map_or(Timestamp::from_millis(0), Timestamp::from),
            // A replay that took in what is accepted meanwhile might never end.
            until: spec.until.as_ref().map(Timestamp::from).map_or(began, |until| until.min(began)),
            filter: EventFilter::parse(&spec.events)?,
        })
    }

    /// Whether an event is meant that was accepted then, by the time of day.
    pub(super) fn wants(&self, event: &Event, accepted_at: Timestamp) -> bool {
        self.since <= accepted_at && accepted_at < self.until && self.filter.wants(event.event_type)
    }
}

/// How far a Replay is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) matched: u64,
    pub(super) replayed: u64,
    pub(super) failed: u64,
    /// Where to go on; `None` at the beginning.
    pub(super) cursor: Option<Cursor>,
}

/// The stored form of a cursor, with a version so that it can change.
#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    One { cursor: String },
}

impl Progress {
    /// What the status says; from the beginning if that cannot be read, since
    /// a repeat does less harm than a gap.
    pub(super) fn of(status: &ReplayStatus) -> Self {
        let cursor = status.progress.as_deref().and_then(|text| {
            let Stored::One { cursor } = serde_json::from_str(text).ok()?;
            URL_SAFE_NO_PAD.decode(cursor).ok().map(Cursor)
        });
        Self {
            matched: status.matched.unwrap_or_default(),
            replayed: status.replayed.unwrap_or_default(),
            failed: status.failed.unwrap_or_default(),
            cursor,
        }
    }

    /// For the status.
    pub(super) fn text(&self) -> Option<String> {
        let cursor = URL_SAFE_NO_PAD.encode(&self.cursor.as_ref()?.0);
        serde_json::to_string(&Stored::One { cursor }).ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::EventType;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn event(event_type: EventType) -> Event {
        Event {
            namespace: "identity".to_owned(),
            id: "e".to_owned(),
            source: "/idp".to_owned(),
            event_type,
            subject: "u".to_owned(),
            time: at(0),
            data: Bytes::new(),
        }
    }

    fn selection(spec: Value) -> Selection {
        Selection::of(&serde_json::from_value(spec).unwrap(), at(1000)).unwrap()
    }

    #[test]
    fn what_is_left_out_selects_every_dead_letter_up_to_the_beginning() {
        let all = selection(json!({"webhook": "audit"}));
        assert_eq!(all.which, Which::DeadLetters);
        for event_type in EventType::ALL {
            assert!(all.wants(&event(event_type), at(0)));
            assert!(!all.wants(&event(event_type), at(1000)), "accepted when it had begun");
        }
    }

    #[test]
    fn since_is_included_until_is_not_and_types_count() {
        let some = selection(json!({
            "webhook": "audit", "which": "Everything", "events": ["User created"],
            "since": "1970-01-01T00:01:40Z", "until": "1970-01-01T00:03:20Z",
        }));
        assert_eq!(some.which, Which::Everything);
        for (seconds, wanted) in [(99, false), (100, true), (199, true), (200, false)] {
            assert_eq!(some.wants(&event(EventType::UserCreated), at(seconds)), wanted, "{seconds}");
        }
        assert!(!some.wants(&event(EventType::UserDeleted), at(150)));
    }

    #[test]
    fn an_end_in_the_future_is_the_beginning_of_the_replay() {
        let future = selection(json!({"webhook": "audit", "until": "2100-01-01T00:00:00Z"}));
        assert_eq!(future.until, at(1000));
    }

    #[test]
    fn progress_is_read_as_it_was_written_and_what_cannot_be_read_is_the_beginning() {
        let progress = Progress { matched: 7, replayed: 5, failed: 2, cursor: Some(Cursor(vec![0, 255, 3])) };
        let status = |text: Option<String>| ReplayStatus {
            matched: Some(7),
            replayed: Some(5),
            failed: Some(2),
            progress: text,
            ..ReplayStatus::default()
        };
        assert_eq!(Progress::of(&status(progress.text())), progress);
        for text in [None, Some("{}".to_owned()), Some("{\"version\":\"2\",\"cursor\":\"\"}".to_owned())] {
            assert_eq!(Progress::of(&status(text)).cursor, None);
        }
        assert_eq!(Progress::default().text(), None);
    }
}
