//! The data of an event: any JSON value, kept as text.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::MAX_DATA_BYTES;
use super::fault::Fault;

/// How deep arrays and objects may lie in one another. Parsers that endpoints
/// use give up, or overflow their stack, somewhere above a hundred.
const MAX_DEPTH: usize = 64;

/// Copies the text out of the request: a slice would keep the whole body, or
/// the whole read buffer, in memory for as long as the event waits.
pub(super) fn keep(json: &RawValue) -> Result<Bytes, Fault> {
    let text = json.get();
    if text.len() > MAX_DATA_BYTES {
        return Err(Fault::DataTooLarge(text.len()));
    }
    if depth(text) > MAX_DEPTH {
        return Err(Fault::Invalid {
            name: "data",
            message: format!("must not nest arrays and objects more than {MAX_DEPTH} deep"),
        });
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

/// The deepest nesting of a text that is known to be JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Goes on to the end of a string whose opening quote has been read.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let table = [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[{}]}"#, 3),
            (r#"["[[[","\"[[","\\",[]]"#, 2),
            (r#"{"a\\":[1],"b":[[2]]}"#, 3),
        ];
        for (json, expected) in table {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}
