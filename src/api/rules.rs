//! What a Webhook's fields must look like, as CEL rules for the API server.
//!
//! Each rule has a message that says what to write instead, and holds its
//! tongue where another rule of the same field already speaks. Messages come
//! from the errors of [`crate::model`] where there is one, so that people read
//! the same words whoever refuses. The API server skips all CEL rules when the
//! structural schema fails by type, length or enum; that is why the names of
//! events are rules here and not an enum.

use std::fmt::Display;
use std::time::Duration;

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::duration;
use crate::model::{EndpointUri, EventType, FilterError, UNSUPPORTED, UriError};

fn rule(cel: impl Into<String>, message: impl Display) -> Rule {
    Rule::new(cel).message(format!("{message}").as_str())
}

fn validations<const N: usize>(rules: [Rule; N]) -> Value {
    rules
        .into_iter()
        .map(|rule| {
            let message = match rule.message {
                Some(kube::core::Message::Message(text) | kube::core::Message::Expression(text)) => text,
                None => String::new(),
            };
            json!({ "rule": rule.rule, "message": message })
        })
        .collect()
}

/// A list that belongs as a whole to whoever writes it. In a list of type `set`
/// the API server would keep what somebody added by hand beside what Git says.
const EACH_ONCE: &str = "self.all(item, self.exists_one(other, other == item))";

/// `spec.name`
pub(super) fn name() -> Rule {
    rule("self.trim() != ''", "must not be empty: write the name that people shall see, such as Audit trail")
}

/// `spec.allowedHosts` of a `HostPolicy`
pub(super) fn allowed_hosts(_: &mut SchemaGenerator) -> Schema {
    const LABEL: &str = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
    let host = format!(r"self.matches('^(\\*|(\\*\\.)?{LABEL}(\\.{LABEL})*|[0-9a-f]*:[0-9a-f:.]*)$')");
    let rules = validations([rule(
        host,
        "write a host such as hooks.example.com, *.example.com for every name below that domain, or * for every host; \
         in small letters, without scheme, port or path",
    )]);
    let list_rules = validations([
        rule(
            "size(self) > 0",
            "must name at least one host; to forbid all, have no HostPolicy where the policy denies by default",
        ),
        rule(EACH_ONCE, "must name each host once: remove what is there twice"),
    ]);
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "x-kubernetes-validations": list_rules,
        "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "maxLength": 253, "x-kubernetes-validations": rules},
    })
}

/// `spec.uri`: the grammar of [`EndpointUri`].
pub(super) fn uri(_: &mut SchemaGenerator) -> Schema {
    const HTTPS: &str = "self.startsWith('https://')";
    const USER_INFO: &str = "self.matches('^https://[^/?#]*@')";
    const NO_HOST: &str = "self.matches('^https://([:/?#]|$)')";
    const LABEL: &str = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
    const END: &str = "(:[^/?#]*)?([/?#]|$)";
    const HOST: &str = r"(\\[[^\\]/?#]*\\]|[^:/?#\\[]*)";
    const PORT: &str =
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

    let elsewhere = format!("!{HTTPS} || {USER_INFO} || {NO_HOST}");
    let name = format!(r"self.matches('^https://{LABEL}(\\.{LABEL})*{END}')");
    let ipv6 = format!(
        r"(self.matches('^https://\\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\\]{END}') && isIP(self.substring(9, self.indexOf(']'))))"
    );
    let rules = validations([
        rule(HTTPS, UriError::NotHttps),
        rule(format!("!{USER_INFO}"), UriError::UserInfo),
        rule("!self.contains('#')", UriError::Fragment),
        rule(format!("!{NO_HOST}"), UriError::NoHost),
        rule(format!("{elsewhere} || {name} || {ipv6}"), UriError::Host),
        rule(
            format!(
                "{elsewhere} || !self.matches('^https://{HOST}:') || self.matches('^https://{HOST}:{PORT}([/?#]|$)')"
            ),
            UriError::Port,
        ),
        rule(
            format!(
                r"!{HTTPS} || self.matches('^https://[^/?#]*([-A-Za-z0-9._~!$&\'()*+,;=:@/?#]|%[0-9A-Fa-f]{{2}})*$')"
            ),
            UriError::Characters,
        ),
    ]);
    json_schema!({
        "type": "string",
        "maxLength": EndpointUri::MAX_LENGTH,
        "x-kubernetes-validations": rules,
    })
}

/// `spec.events`: the grammar of [`crate::model::EventFilter`].
pub(super) fn events(_: &mut SchemaGenerator) -> Schema {
    let names = EventType::ALL.map(|t| format!("'{}'", t.display_name())).join(", ");
    let unknown =
        format!("is not an event; write \"*\" or one of {}", EventType::list(EventType::display_name));
    let item_rules = validations([
        rule(format!("self != '{UNSUPPORTED}'"), FilterError::Unsupported),
        rule(format!("self in ['*', '{UNSUPPORTED}', {names}]"), unknown),
    ]);
    let list_rules = validations([
        rule("self.size() > 0", FilterError::Empty),
        rule("self.size() == 1 || !('*' in self)", FilterError::WildcardNotAlone),
        rule(EACH_ONCE, "must name each event once: remove what is there twice"),
    ]);
    // More than the twelve, so that a list that is too long because of a name
    // that does not belong in it is told so.
    json_schema!({
        "type": "array",
        "maxItems": 24,
        "x-kubernetes-list-type": "atomic",
        "x-kubernetes-validations": list_rules,
        "items": { "type": "string", "maxLength": 64, "x-kubernetes-validations": item_rules },
    })
}

/// A Replay's `since` and `until`.
pub(super) fn since_before_until() -> Rule {
    rule(
        "!has(self.spec.since) || !has(self.spec.until) || self.spec.since < self.spec.until",
        "spec.since must be before spec.until: only what was accepted between them is sent again",
    )
}

/// A Replay, which is what it was created as.
pub(super) fn fixed() -> Rule {
    rule(
        "self.spec == oldSelf.spec",
        "spec cannot be changed: delete this Replay, which stops it, and create another",
    )
}

/// The name of an object of the kind.
pub(super) fn object_name(kind: &str) -> Rule {
    rule(
        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        format!("must be the name of a {kind}: lower-case letters, digits, \"-\" and \".\""),
    )
}

/// A key in the data of an object of the kind.
pub(super) fn data_key(kind: &str) -> Rule {
    rule(
        "self.matches('^[-._a-zA-Z0-9]+$')",
        format!("must be a key in the {kind}'s data: letters, digits, \"-\", \"_\" and \".\""),
    )
}

/// `spec.tls`
pub(super) fn tls() -> Rule {
    rule(
        "has(self.caConfigMapRef) || has(self.clientCertificateSecretRef)",
        "must name caConfigMapRef, clientCertificateSecretRef or both; leave tls out to use the system's CA certificates",
    )
}

/// The bounds of a field that holds a duration, as the field itself would say them.
pub(super) struct Bounds {
    min: &'static str,
    max: &'static str,
    example: &'static str,
}

/// `spec.delivery.timeout`
pub(super) const TIMEOUT: Bounds = Bounds { min: "1s", max: "30s", example: "3s" };
/// `spec.delivery.backoff.initial` and `.max`
pub(super) const DELAY: Bounds = Bounds { min: "100ms", max: "24h", example: "1m30s" };

impl Bounds {
    /// The rule of such a field.
    pub(super) fn rule(&self) -> Rule {
        let Self { min, max, .. } = self;
        rule(
            format!(
                "self.matches('{}') && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')",
                duration::PATTERN
            ),
            self.message(),
        )
    }

    /// What is wrong with a value that is no duration or out of bounds.
    pub(super) fn message(&self) -> String {
        let Self { min, max, example } = self;
        format!("must be a duration from {min} to {max}, such as {example}")
    }

    /// The duration, if the text is one and within the bounds.
    pub(super) fn read(&self, text: &str) -> Option<Duration> {
        let value = duration::parse(text)?;
        (duration::parse(self.min)? <= value && value <= duration::parse(self.max)?).then_some(value)
    }
}

/// What is wrong with a backoff that begins above its own end.
pub(super) const BACKOFF_ORDER: &str =
    "initial must not be longer than max, which is 5m unless written: lower initial or raise max";

/// `spec.delivery.backoff`
pub(super) fn backoff() -> Rule {
    let readable = |field: &str| format!("self.{field}.matches('{}')", duration::PATTERN);
    rule(
        format!(
            "!{} || !{} || duration(self.initial) <= duration(self.max)",
            readable("initial"),
            readable("max")
        ),
        BACKOFF_ORDER,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::uri::examples;

    /// What the rules of a schema say to a value.
    fn messages(schema: &Value, value: &Value) -> Vec<String> {
        match kube_cel::Validator::new().validate(schema, value, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_iter().map(|e| e.message).collect(),
        }
    }

    fn schema(of: fn(&mut SchemaGenerator) -> Schema) -> Value {
        of(&mut SchemaGenerator::default()).to_value()
    }

    #[test]
    fn the_rules_and_the_parser_agree_on_every_uri() {
        let schema = schema(uri);
        for (text, ..) in examples::GOOD {
            assert_eq!(messages(&schema, &json!(text)), Vec::<String>::new(), "{text}");
        }
        for (text, expected) in examples::BAD {
            assert_eq!(messages(&schema, &json!(text)), [expected.to_string()], "{text}");
        }
    }

    #[test]
    fn every_wrong_thing_of_a_uri_is_named_at_once() {
        let said = messages(&schema(uri), &json!("https://user@example.com/a b#top"));
        let expected = [UriError::UserInfo, UriError::Fragment, UriError::Characters];
        assert_eq!(said, expected.map(|e| e.to_string()));
    }

    #[test]
    fn the_rules_and_the_parser_agree_on_durations() {
        let table = [
            ("1s", true),
            ("30s", true),
            ("1.5s", true),
            ("2500ms", true),
            ("0.5m", true),
            ("1s500ms", true),
            ("0h3s", true),
            ("999ms", false),
            ("30.001s", false),
            ("31s", false),
            ("1m", false),
            ("999999h999999h", false),
            ("3", false),
            ("", false),
            ("-3s", false),
            ("+3s", false),
            ("3 s", false),
            (".5m", false),
            ("3s ", false),
            ("3000000us", false),
            ("PT3S", false),
        ];
        let mut schema = json_schema!({ "type": "string" });
        kube::core::validate(&mut schema, TIMEOUT.rule()).unwrap();
        for (text, good) in table {
            let expected: &[String] = if good { &[] } else { &[TIMEOUT.message()] };
            assert_eq!(messages(schema.as_value(), &json!(text)), expected, "{text:?}");
            assert_eq!(TIMEOUT.read(text).is_some(), good, "{text:?}");
        }
    }
}
