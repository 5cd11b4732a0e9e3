//! The content type, and which mode it means.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};

use super::fault::{Fault, head};

/// How the event lies in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The body is the event, as a JSON object.
    Structured,
    /// The body is a JSON array of events.
    Batched,
    /// The attributes are headers, and the body is the data.
    Binary,
}

const EXPECTED: &str = "send application/cloudevents+json (one event), \
    application/cloudevents-batch+json (an array of events), \
    or application/json with the attributes in ce-… headers";

/// Tells the mode of a request.
///
/// A request with `ce-` headers and without a content type is taken for binary
/// mode: some SDKs send none, and what is not JSON is refused later anyway.
pub(super) fn mode(headers: &HeaderMap) -> Result<Mode, Fault> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).into_iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Fault::ContentType(
            "the body must not be compressed; send it without Content-Encoding".to_owned(),
        ));
    }
    let has_attributes = headers.keys().any(|name| attribute(name).is_some());
    let Some(content_type) = single(headers)? else {
        return if has_attributes {
            Ok(Mode::Binary)
        } else {
            Err(Fault::ContentType(format!("Content-Type is missing; {EXPECTED}")))
        };
    };
    let Some(media_type) = json_in_utf8(content_type)? else {
        return Err(Fault::ContentType(format!(
            "Content-Type {:?} is not taken; {EXPECTED}",
            head(content_type)
        )));
    };
    match media_type {
        MediaType::CloudEvent => Ok(Mode::Structured),
        MediaType::CloudEventBatch => Ok(Mode::Batched),
        MediaType::Json if has_attributes => Ok(Mode::Binary),
        MediaType::Json => Err(Fault::ContentType(format!(
            "Content-Type {:?} without ce-… headers is not a CloudEvent; {EXPECTED}",
            head(content_type)
        ))),
    }
}

/// Whether `datacontenttype` says that the data is JSON in UTF-8.
pub(super) fn is_json(content_type: &str) -> Result<bool, Fault> {
    Ok(json_in_utf8(content_type)? == Some(MediaType::Json))
}

/// The attribute that the header carries in binary mode.
pub(super) fn attribute(name: &HeaderName) -> Option<&str> {
    name.as_str().strip_prefix("ce-")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    CloudEvent,
    CloudEventBatch,
    Json,
}

fn single(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(CONTENT_TYPE).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::Malformed("Content-Type must be given once".to_owned()));
    }
    let text = value.to_str().map_err(|_| Fault::Malformed("Content-Type must be ASCII".to_owned()))?;
    Ok(Some(text))
}

/// `None` for a type that is not JSON.
fn json_in_utf8(content_type: &str) -> Result<Option<MediaType>, Fault> {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
            return Err(Fault::ContentType(format!("the charset must be utf-8, not {:?}", head(value))));
        }
    }
    Ok(match essence.as_str() {
        "application/cloudevents+json" => Some(MediaType::CloudEvent),
        "application/cloudevents-batch+json" => Some(MediaType::CloudEventBatch),
        // Another format of the same family, such as application/cloudevents+avro.
        other if other.starts_with("application/cloudevents") => None,
        "application/json" | "text/json" => Some(MediaType::Json),
        other if other.ends_with("+json") && other.contains('/') => Some(MediaType::Json),
        _ => None,
    })
}
