//! What a token says about itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::Timestamp;

#[derive(serde::Deserialize)]
struct Claims {
    exp: Option<f64>,
}

/// When a JSON Web Token ends; `None` for any other token. Nothing is verified:
/// it only ever shortens what the API server has allowed.
pub(super) fn expiry(token: &str) -> Option<Timestamp> {
    let mut parts = token.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let seconds = claims.exp?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, as it should"
    )]
    let millis = (seconds * 1000.0) as u64;
    Some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_is_read_from_a_jwt_and_nothing_else() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let table = [
            (jwt(r#"{"exp":1800000000,"aud":["herald"]}"#), Some(1_800_000_000_000)),
            (jwt(r#"{"exp":1800000000.5}"#), Some(1_800_000_000_500)),
            (jwt(r#"{"exp":-1}"#), Some(0)),
            (jwt(r#"{"exp":"soon"}"#), None),
            (jwt("{}"), None),
            (jwt("not JSON"), None),
            ("e30.!.c2ln".to_owned(), None),
            ("opaque".to_owned(), None),
            (String::new(), None),
        ];
        for (token, expected) in table {
            assert_eq!(expiry(&token), expected.map(Timestamp::from_millis), "{token}");
        }
    }
}
