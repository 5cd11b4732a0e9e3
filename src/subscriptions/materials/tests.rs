use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use serde_json::{Value, json};

use super::*;
use crate::subscriptions::samples::webhook;

const KEY: (&str, &str) = ("api-key", "key");
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Their names and entries.
type Secrets = &'static [(&'static str, &'static [(&'static str, &'static str)])];

fn materials(secrets: Secrets) -> Materials {
    let materials = Materials::new(&Namespaces::default());
    for (name, entries) in secrets {
        materials.secret(Change::Applied(secret(name, entries)));
    }
    materials
}

fn secret(name: &str, entries: &[(&str, &str)]) -> Secret {
    let data: BTreeMap<_, _> = entries.iter().map(|(key, value)| (*key, STANDARD.encode(value))).collect();
    let secret = json!({"metadata": {"name": name, "namespace": "identity"}, "data": data});
    serde_json::from_value(secret).unwrap()
}

fn spec(edit: impl FnOnce(&mut Value)) -> WebhookSpec {
    webhook(|webhook| edit(&mut webhook["spec"])).spec
}

#[test]
fn a_value_is_taken_byte_for_byte_and_kept_from_being_shown() {
    let materials = materials(&[("audit", &[("api-key", " k\u{e9}y "), ("signing-secret", SIGNING)])]);
    let signed = spec(|spec| spec["signingSecretRef"] = json!({"name": "audit", "key": "signing-secret"}));
    let credentials = materials.resolve("identity", &signed).unwrap();
    assert_eq!(credentials.api_key.as_bytes(), " k\u{e9}y ".as_bytes());
    assert!(credentials.api_key.is_sensitive());
    assert!(credentials.signing.is_some());
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") && !shown.contains("k\u{e9}y"), "{shown}");
}

#[test]
fn what_is_missing_or_unusable_has_a_reason_and_says_what_to_do() {
    type Edit = fn(&mut Value);
    let none: Edit = |_| {};
    let signing: Edit = |spec| spec["signingSecretRef"] = json!({"name": "audit", "key": "signing-secret"});
    let ca: Edit = |spec| spec["tls"] = json!({"caConfigMapRef": {"name": "ca", "key": "ca.crt"}});
    let client: Edit = |spec| spec["tls"] = json!({"clientCertificateSecretRef": {"name": "client"}});
    let table: [(Secrets, Edit, Reason, &str, bool); 9] = [
        (&[], none, Reason::SecretMissing, "kubectl label secret -n identity audit", true),
        (&[("audit", &[("other", "x")])], none, Reason::SecretKeyMissing, "\"other\"", false),
        (&[("audit", &[])], none, Reason::SecretKeyMissing, "empty", false),
        (&[("audit", &[("api-key", "")])], none, Reason::SecretEmpty, "empty", false),
        (&[("audit", &[("api-key", "key\n")])], none, Reason::SecretMalformed, "printf", false),
        (&[("audit", &[KEY])], signing, Reason::SecretKeyMissing, "signing-secret", false),
        (
            &[("audit", &[KEY, ("signing-secret", "plain")])],
            signing,
            Reason::SecretMalformed,
            "whsec_",
            false,
        ),
        (&[("audit", &[KEY])], ca, Reason::CaUnusable, "kubectl label configmap -n identity ca", true),
        (&[("audit", &[KEY])], client, Reason::SecretMissing, "client", true),
    ];
    for (secrets, edit, reason, says, missing) in table {
        let problem = materials(secrets).resolve("identity", &spec(edit)).unwrap_err();
        assert_eq!(problem.reason, reason, "{problem}");
        assert!(problem.message.contains(says), "{problem}");
        assert_eq!(problem.missing.is_some(), missing, "{problem}");
    }
}

#[test]
fn a_secret_of_another_namespace_is_as_good_as_none() {
    let materials = materials(&[("audit", &[("api-key", "key")])]);
    assert!(materials.resolve("identity", &spec(|_| {})).is_ok());
    let problem = materials.resolve("elsewhere", &spec(|_| {})).unwrap_err();
    assert_eq!(problem.reason, Reason::SecretMissing);
}

#[test]
fn only_another_content_is_a_change() {
    let materials = materials(&[]);
    let mut changes = materials.changes();
    let name = ObjectName::new("identity", "audit");
    for (value, told) in [("1", true), ("1", false), ("2", true)] {
        materials.secret(Change::Applied(secret("audit", &[("api-key", value)])));
        assert_eq!(changes.next().now_or_never(), told.then(|| vec![name.clone()]), "{value}");
    }
    materials.secret(Change::Removed(name.clone()));
    assert_eq!(changes.next().now_or_never(), Some(vec![name]));
    assert!(materials.resolve("identity", &spec(|_| {})).is_err());
}
