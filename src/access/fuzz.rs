//! What must hold of the credentials that a request brings.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use super::{bearer, token};
use crate::fuzzing::message;
use crate::model::Timestamp;

/// Only one header, and only one of the scheme Bearer, has a token; and what a token says of its
/// end is read only if it has the form of a JSON Web Token.
pub(crate) fn authorization(data: &[u8]) {
    let (headers, _) = message(data);
    let values: Vec<_> = headers.get_all(http::header::AUTHORIZATION).into_iter().collect();
    let Some(found) = bearer(&headers) else { return };
    assert_eq!(values.len(), 1);
    assert!(values.iter().all(|value| {
        let bytes = value.as_bytes();
        bytes.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    }));
    assert!(
        !found.is_empty() && found.trim() == found && !found.chars().any(|c| c.is_control() && c != '\t')
    );
    if let Some(expiry) = token::expiry(found) {
        assert!(found.split('.').count() >= 3);
        // Whatever it says, it is a moment to reckon with.
        let _ = expiry.since(Timestamp::from_millis(1_700_000_000_000));
    }
}
