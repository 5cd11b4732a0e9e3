//! Binary mode: attributes in `ce-` headers, data in the body.
//!
//! Source: `CloudEvents` HTTP protocol binding 1.0.2, section 3.1.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::fault::{Fault, brief};
use super::members::Members;
use super::{attributes, content};

/// Reads the attributes from the headers and the data from the body.
pub(super) fn members<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Members<'a>, Fault> {
    let mut members = Members::default();
    for name in headers.keys() {
        let Some(attribute) = content::attribute(name) else { continue };
        let slot = match attribute {
            "id" => Some(&mut members.id),
            "source" => Some(&mut members.source),
            "type" => Some(&mut members.event_type),
            "subject" => Some(&mut members.subject),
            "specversion" => Some(&mut members.spec_version),
            "time" => Some(&mut members.time),
            "datacontenttype" => {
                return Err(Fault::Malformed(
                    "ce-datacontenttype must be left out: Content-Type says it in binary mode".to_owned(),
                ));
            }
            extension if attributes::is_name(extension) && extension != "data" => None,
            _ => {
                return Err(Fault::Malformed(format!(
                    "the header {:.64} cannot carry an attribute",
                    name.as_str()
                )));
            }
        };
        let value = decode(name, single(headers, name)?)?;
        if let Some(slot) = slot {
            *slot = Some(Cow::Owned(value));
        }
    }
    if !body.trim_ascii().is_empty() {
        let data: &RawValue = serde_json::from_slice(body).map_err(|error| {
            Fault::Malformed(format!("the body must be the data, as JSON: {}", brief(&error)))
        })?;
        members.data = Some(data);
    }
    Ok(members)
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Fault> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Fault::Malformed(format!("the header {:.64} must be given once", name.as_str()))),
    }
}

/// Undoes quotes, which senders of older versions use, then percent-encoding.
fn decode(name: &HeaderName, value: &HeaderValue) -> Result<String, Fault> {
    let malformed = |what: &str| Fault::Malformed(format!("the header {:.64} {what}", name.as_str()));
    let value = value.as_bytes().trim_ascii();
    let unquoted = match value {
        [b'"', inner @ .., b'"'] => unescape(inner),
        value => Cow::Borrowed(value),
    };
    let bytes = percent_decode(&unquoted).ok_or_else(|| {
        malformed("has a % that two hexadecimal digits do not follow; write %25 for the sign itself")
    })?;
    String::from_utf8(bytes).map_err(|_| malformed("is not UTF-8 once it is percent-decoded"))
}

fn unescape(quoted: &[u8]) -> Cow<'_, [u8]> {
    if !quoted.contains(&b'\\') {
        return Cow::Borrowed(quoted);
    }
    let mut bytes = quoted.iter().copied();
    let mut plain = Vec::with_capacity(quoted.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
    }
    Cow::Owned(plain)
}

fn percent_decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let (pair, after) = after.split_at_checked(2)?;
            let mut byte = [0];
            hex::decode_to_slice(pair, &mut byte).ok()?;
            plain.extend(byte);
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    Some(plain)
}
