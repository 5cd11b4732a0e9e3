//! Answers without the secrets of their requests, which many servers send back.

use bytes::Bytes;
use zeroize::Zeroizing;

/// Puts a mark in the place of each occurrence of a secret, also as JSON and URLs have it; one that is
/// shorter than any word is none.
pub(super) fn redact(body: Bytes, secret: &[u8]) -> Bytes {
    if secret.len() < 8 {
        return body;
    }
    let backslash = |byte| format!("\\{}", char::from(byte));
    let in_json = escaped(secret, |byte| matches!(byte, b'"' | b'\\'), backslash);
    let in_script = escaped(secret, |byte| matches!(byte, b'"' | b'\\' | b'/'), backslash);
    let in_html = escaped(secret, |byte| !byte.is_ascii_alphanumeric(), |byte| format!("\\u{byte:04x}"));
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let in_url = escaped(secret, |byte| !is_kept(byte), |byte| format!("%{byte:02X}"));
    [secret, &in_json, &in_script, &in_html, &in_url].into_iter().fold(body, mark)
}

/// A secret with some of its bytes written otherwise.
fn escaped(
    secret: &[u8],
    is_escaped: impl Fn(u8) -> bool,
    escape: impl Fn(u8) -> String,
) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(secret.len() * 6));
    for &byte in secret {
        if is_escaped(byte) {
            text.extend_from_slice(escape(byte).as_bytes());
        } else {
            text.push(byte);
        }
    }
    text
}

fn mark(body: Bytes, secret: &[u8]) -> Bytes {
    const MARK: &[u8] = b"[the API key]";
    if !body.windows(secret.len()).any(|window| window == secret) {
        return body;
    }
    let mut shown = Vec::with_capacity(body.len());
    let mut rest = &*body;
    while let Some((first, others)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(secret) {
            shown.extend_from_slice(MARK);
            rest = after;
        } else {
            shown.push(*first);
            rest = others;
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_wherever_it_stands() {
        for (body, secret, expected) in [
            ("s3cr3t-key", "s3cr3t-key", "[the API key]"),
            (
                "{\"x\": \"s3cr3t-key\", \"y\": \"s3cr3t-key\"}",
                "s3cr3t-key",
                "{\"x\": \"[the API key]\", \"y\": \"[the API key]\"}",
            ),
            ("s3cr3t-ke", "s3cr3t-key", "s3cr3t-ke"),
            ("ss3cr3t-keys", "s3cr3t-key", "s[the API key]s"),
            ("key: 1", "key", "key: 1"),
            (r#"{"x": "a\/b+c\"d=="}"#, "a/b+c\"d==", r#"{"x": "[the API key]"}"#),
            (r#"{"x": "a/b+c\"d=="}"#, "a/b+c\"d==", r#"{"x": "[the API key]"}"#),
            ("?x=a%2Fb%2Bc%22d%3D%3D&", "a/b+c\"d==", "?x=[the API key]&"),
            (r"a\u002fb\u002bc\u0022d\u003d\u003d", "a/b+c\"d==", "[the API key]"),
            ("", "s3cr3t-key", ""),
        ] {
            assert_eq!(redact(Bytes::from(body), secret.as_bytes()), expected, "{body}");
        }
    }
}
