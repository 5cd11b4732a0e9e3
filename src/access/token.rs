//! What a token says about itself. Nothing of it is verified here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::Timestamp;

#[derive(serde::Deserialize)]
struct Claims {
    exp: Option<f64>,
    #[serde(default)]
    aud: Audiences,
}

/// One audience may stand without a list around it.
#[derive(Default, serde::Deserialize)]
#[serde(untagged)]
enum Audiences {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Audiences {
    fn contain(&self, audience: &str) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// When a JSON Web Token ends; `None` for any other token. It only ever
/// shortens what the API server has allowed.
pub(super) fn expiry(token: &str) -> Option<Timestamp> {
    let seconds = claims(token)?.exp?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, as it should"
    )]
    let millis = (seconds * 1000.0) as u64;
    Some(Timestamp::from_millis(millis))
}

/// Whether it is a JSON Web Token that ends some time and names this audience:
/// no other can be one that the API server says is for it. Whether it has ended
/// is not asked, since that would need a time of day that is right.
pub(super) fn names(token: &str, audience: &str) -> bool {
    claims(token).is_some_and(|claims| claims.exp.is_some() && claims.aud.contain(audience))
}

fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if header.is_empty() || signature.is_empty() || parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_expiry_is_read_from_a_jwt_and_nothing_else() {
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

    #[test]
    fn only_a_jwt_that_ends_and_names_the_audience_can_be_meant_for_it() {
        let good = jwt(r#"{"exp":1,"aud":["herald"]}"#);
        let table = [
            (good.clone(), true),
            (jwt(r#"{"exp":1.5,"aud":["other","herald"]}"#), true),
            (jwt(r#"{"exp":1,"aud":"herald"}"#), true),
            (jwt(r#"{"exp":1,"aud":["herald2"]}"#), false),
            (jwt(r#"{"exp":1,"aud":["heral","d"]}"#), false),
            (jwt(r#"{"exp":1,"aud":[]}"#), false),
            (jwt(r#"{"exp":1,"aud":null}"#), false),
            (jwt(r#"{"exp":1,"aud":{"herald":1}}"#), false),
            (jwt(r#"{"exp":1,"aud":[["herald"]]}"#), false),
            (jwt(r#"{"exp":1}"#), false),
            (jwt(r#"{"aud":["herald"]}"#), false),
            (jwt(r#"["exp","aud"]"#), false),
            (jwt(&format!(r#"{{"exp":1,"aud":{}"#, "[".repeat(10_000))), false),
            (format!("{good}.more"), false),
            (good.trim_end_matches("c2ln").to_owned(), false),
            (good.trim_start_matches("e30").to_owned(), false),
            ("a.b.c".to_owned(), false),
            ("opaque".to_owned(), false),
            ("..".to_owned(), false),
            (String::new(), false),
        ];
        for (token, expected) in table {
            assert_eq!(names(&token, "herald"), expected, "{token}");
        }
    }
}
