//! The members of a `CloudEvent` in JSON, read in one pass.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{Fault, Refusal, brief, head};
use super::scalar::{Name, Scalar};
use super::{MAX_BATCH_EVENTS, attributes, data};
use crate::model::{Event, Timestamp};

/// The most members of one event; no producer has use for so many.
const MAX_MEMBERS: usize = 64;

/// The attributes and the data, unchecked but for their JSON types.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) source: Option<Cow<'a, str>>,
    pub(super) event_type: Option<Cow<'a, str>>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) spec_version: Option<Cow<'a, str>>,
    pub(super) time: Option<Cow<'a, str>>,
    pub(super) data_content_type: Option<Cow<'a, str>>,
    pub(super) data: Option<&'a RawValue>,
    /// The first fault that reading met. It is kept, and not returned as an
    /// error of serde's, so that it stays a value and the batch can be counted on.
    fault: Option<Fault>,
}

/// Reads the body of a structured request.
pub(super) fn one(body: &[u8]) -> Result<Members<'_>, Fault> {
    let mut json = serde_json::Deserializer::from_slice(body);
    Reading.deserialize(&mut json).and_then(|members| json.end().map(|()| members)).map_err(|e| malformed(&e))
}

/// Reads the body of a batched request.
pub(super) fn many(body: &[u8]) -> Result<Vec<Members<'_>>, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut batch = Vec::new();
    let read = Batch(&mut batch).deserialize(&mut json).and_then(|()| json.end());
    if batch.len() > MAX_BATCH_EVENTS {
        return Err(Fault::TooManyEvents.into());
    }
    match read {
        Ok(()) => Ok(batch),
        Err(error) if body.trim_ascii_start().starts_with(b"[") => {
            Err(Refusal::at(batch.len(), malformed(&error)))
        }
        Err(_) => Err(Fault::Malformed("a batch must be a JSON array of events".to_owned()).into()),
    }
}

fn malformed(error: &serde_json::Error) -> Fault {
    Fault::Malformed(format!("the body is not a CloudEvent in JSON: {}", brief(error)))
}

impl<'a> Members<'a> {
    /// Checks each attribute and makes the event.
    pub(super) fn into_event(self, namespace: &str, now: Timestamp) -> Result<Event, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        attributes::spec_version(self.spec_version.as_deref())?;
        let event_type = attributes::event_type(self.event_type.as_deref())?;
        let id = attributes::text("id", self.id.map(Cow::into_owned))?;
        let source = attributes::source(self.source.map(Cow::into_owned))?;
        let subject = attributes::text("subject", self.subject.map(Cow::into_owned))?;
        let time = self.time.as_deref().map_or(Ok(now), attributes::time)?;
        if let Some(data_content_type) = &self.data_content_type {
            attributes::data_content_type(data_content_type)?;
        }
        let data = data::keep(self.data.ok_or(Fault::Missing("data"))?)?;
        Ok(Event { namespace: namespace.to_owned(), id, source, event_type, subject, time, data })
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// The place of an attribute, and its name; `None` for an extension.
    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<Cow<'a, str>>)> {
        Some(match name {
            "id" => ("id", &mut self.id),
            "source" => ("source", &mut self.source),
            "type" => ("type", &mut self.event_type),
            "subject" => ("subject", &mut self.subject),
            "specversion" => ("specversion", &mut self.spec_version),
            "time" => ("time", &mut self.time),
            "datacontenttype" => ("datacontenttype", &mut self.data_content_type),
            _ => return None,
        })
    }

    fn set(&mut self, name: &str, value: Scalar<'a>) {
        if let Some((known, slot)) = self.slot(name) {
            match value {
                // The JSON format: null is as good as not there.
                Scalar::Null => {}
                Scalar::Text(text) => *slot = Some(text),
                Scalar::Other | Scalar::Compound => {
                    self.fail(attributes::invalid(known, "must be a JSON string"));
                }
            }
        } else if name == "data_base64" {
            if !matches!(value, Scalar::Null) {
                self.fail(Fault::Malformed(
                    "data_base64 is not taken, since data must be JSON; put the value itself in \"data\""
                        .to_owned(),
                ));
            }
        } else if !attributes::is_name(name) {
            self.fail(Fault::Malformed(format!(
                "{:?} cannot be an attribute, whose name is lower-case letters and digits; \
                 what the event says about the user belongs in \"data\"",
                head(name)
            )));
        } else if matches!(value, Scalar::Compound) {
            self.fail(Fault::Malformed(format!(
                "the attribute {:?} must not be an object or an array; \
                 what the event says about the user belongs in \"data\"",
                head(name)
            )));
        }
    }
}

/// Reads one event.
struct Reading;

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the attributes of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            if seen.contains(&name) {
                members.fail(Fault::Malformed(format!("the member {:?} is there twice", head(&name))));
            }
            if seen.len() >= MAX_MEMBERS {
                members.fail(Fault::Malformed(format!("an event must have at most {MAX_MEMBERS} members")));
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name == "data" {
                members.data = Some(map.next_value()?);
            } else {
                let value = map.next_value()?;
                members.set(&name, value);
            }
            seen.push(name);
        }
        Ok(members)
    }
}

/// Reads a batch into a list that is still there when reading fails, and then
/// tells where.
struct Batch<'b, 'de>(&'b mut Vec<Members<'de>>);

impl<'de> DeserializeSeed<'de> for Batch<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(members) = seq.next_element_seed(Reading)? {
            self.0.push(members);
            if self.0.len() > MAX_BATCH_EVENTS {
                return Err(serde::de::Error::custom("too many events"));
            }
        }
        Ok(())
    }
}
