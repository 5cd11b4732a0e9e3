//! What each attribute must look like.

use std::str::FromStr as _;

use super::content;
use super::fault::{Fault, head};
use crate::model::{EventType, Timestamp};

/// The longest `id`, `source` and `subject`, in bytes. They are stored and
/// hashed for every event.
const MAX_BYTES: usize = 1024;

/// `id` or `subject`: any text without control characters.
pub(super) fn text(name: &'static str, value: Option<String>) -> Result<String, Fault> {
    let value = value.ok_or(Fault::Missing(name))?;
    if value.is_empty() {
        return Err(invalid(name, "must not be empty"));
    }
    if value.len() > MAX_BYTES {
        return Err(invalid(name, format!("must be at most {MAX_BYTES} bytes, and has {}", value.len())));
    }
    if value.chars().any(char::is_control) {
        return Err(invalid(name, "must not contain control characters"));
    }
    Ok(value)
}

/// `source`: a URI reference by RFC 3986, by its characters.
pub(super) fn source(value: Option<String>) -> Result<String, Fault> {
    const NAME: &str = "source";
    let value = text(NAME, value)?;
    let stray = value.chars().find(|c| !c.is_ascii_graphic() || r#""<>\^`{|}"#.contains(*c));
    if let Some(stray) = stray {
        return Err(invalid(
            NAME,
            format!("must be a URI reference, such as \"/identity\"; percent-encode {stray:?}"),
        ));
    }
    Ok(value)
}

/// `type`: one of the twelve.
pub(super) fn event_type(value: Option<&str>) -> Result<EventType, Fault> {
    let value = value.ok_or(Fault::Missing("type"))?;
    EventType::from_str(head(value)).map_err(Fault::from)
}

/// `specversion`: 1.0, the only one there is.
pub(super) fn spec_version(value: Option<&str>) -> Result<(), Fault> {
    match value {
        None => Err(Fault::Missing("specversion")),
        Some("1.0") => Ok(()),
        Some(_) => Err(invalid("specversion", "must be \"1.0\"")),
    }
}

/// `time`: RFC 3339, not before 1970.
pub(super) fn time(value: &str) -> Result<Timestamp, Fault> {
    let malformed = || {
        invalid(
            "time",
            "must be an RFC 3339 date and time with an offset, such as \"2026-01-31T12:00:00.5Z\"",
        )
    };
    if !has_rfc3339_shape(value) {
        return Err(malformed());
    }
    let moment = value.parse::<jiff::Timestamp>().map_err(|_| malformed())?;
    if moment < jiff::Timestamp::UNIX_EPOCH {
        return Err(invalid("time", "must not be before 1970"));
    }
    Ok(moment.into())
}

/// `datacontenttype`: JSON, since data is.
pub(super) fn data_content_type(value: &str) -> Result<(), Fault> {
    if content::is_json(value)? {
        Ok(())
    } else {
        Err(invalid("datacontenttype", "must be application/json, or be left out"))
    }
}

/// Whether an attribute may have this name. Source: `CloudEvents` 1.0.2,
/// "Attribute naming convention".
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

pub(super) fn invalid(name: &'static str, message: impl Into<String>) -> Fault {
    Fault::Invalid { name, message: message.into() }
}

/// The parser of dates takes more than RFC 3339 allows, such as a date without
/// separators. The numbers themselves are left to it.
fn has_rfc3339_shape(value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((date_time, rest)) = value.split_at_checked("2026-01-31T12:00:00".len()) else { return false };
    let date_time_fits = date_time.bytes().zip(*b"dddd-dd-ddTdd:dd:dd").all(|(byte, kind)| match kind {
        b'd' => byte.is_ascii_digit(),
        kind => byte.eq_ignore_ascii_case(&kind),
    });
    let offset = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            let (fraction, offset) = fraction.split_at(end);
            if fraction.is_empty() || fraction.len() > 9 {
                return false;
            }
            offset
        }
    };
    date_time_fits
        && (offset.eq_ignore_ascii_case("z")
            || offset.strip_prefix(['+', '-']).and_then(|offset| offset.split_once(':')).is_some_and(
                |(hours, minutes)| hours.len() == 2 && minutes.len() == 2 && digits(hours) && digits(minutes),
            ))
}
