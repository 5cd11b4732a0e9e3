//! What must hold of an endpoint's answer to a challenge.
#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is what a fuzzer looks for"
)]

use serde_json::Value;

use super::challenge::judge;
use crate::fuzzing::KEY;
use crate::model::EndpointUri;
use crate::outbound::Answer;

/// An answer is a proof only if it is 2xx and whole, and is an object that has the key; and
/// no complaint repeats what the endpoint said.
pub(crate) fn judged(answer: &Answer) {
    let uri: EndpointUri = "https://hooks.example.com/".parse().expect("a good URI");
    match judge(answer, KEY, &uri) {
        Ok(()) => {
            assert!(answer.status.is_success() && !answer.truncated);
            let value: Value = serde_json::from_slice(&answer.body).expect("a proof is JSON");
            assert_eq!(value.get("key").and_then(Value::as_str), Some(KEY));
        }
        Err(failure) => {
            assert!(failure.to_string().len() < 300);
            let whole = serde_json::from_slice::<Value>(&answer.body).ok();
            let key = whole.as_ref().and_then(|value| value.get("key")?.as_str());
            assert!(key != Some(KEY) || !answer.status.is_success() || answer.truncated);
        }
    }
}

/// The same, of any body.
pub(crate) fn challenge(data: &[u8]) {
    let body = bytes::Bytes::copy_from_slice(data);
    judged(&Answer { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body, truncated: false });
}
