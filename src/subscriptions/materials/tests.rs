use std::collections::BTreeMap;

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

/// A certificate and its key that are CA, client and endpoint at once.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// PEM with lines between its sections up to a size.
fn padded(pem: &str, bytes: usize) -> String {
    format!("{pem}{}", &"#\n".repeat(bytes)[..bytes - pem.len()])
}

fn holding(secrets: &[(&str, &[(&str, &str)])], ca: &str) -> Materials {
    let materials = Materials::new(&Namespaces::default());
    for (name, entries) in secrets {
        materials.secret(Change::Applied(secret(name, entries)));
    }
    materials.config_map(Change::Applied(config_map(ca)));
    materials
}

fn config_map(ca: &str) -> ConfigMap {
    let config_map = json!({"metadata": {"name": "ca", "namespace": "identity"}, "data": {"ca.crt": ca}});
    serde_json::from_value(config_map).unwrap()
}

/// Names a key of each use.
fn with_everything() -> WebhookSpec {
    spec(|spec| {
        spec["signingSecretRef"] = json!({"name": "audit", "key": "signing-secret"});
        spec["tls"] = json!({
            "caConfigMapRef": {"name": "ca", "key": "ca.crt"},
            "clientCertificateSecretRef": {"name": "client"},
        });
    })
}

#[test]
fn a_value_may_be_as_large_as_its_use_allows_and_beyond_that_it_is_not_kept() {
    let (certificate, key) = pair();
    let kibibytes =
        [("api-key", 8), ("signing-secret", 8), ("tls.crt", 64), ("tls.key", 16), ("ca.crt", 256)];
    for too_large in ["none"].into_iter().chain(kibibytes.map(|(of, _)| of)) {
        let size = |of| {
            let most = kibibytes.iter().find(|(key, _)| *key == of).unwrap().1 << 10;
            if of == too_large { most + 1 } else { most }
        };
        let api_key = "k".repeat(size("api-key"));
        let signing = format!("{SIGNING}{}", " ".repeat(size("signing-secret") - SIGNING.len()));
        let (chain, key) = (padded(&certificate, size("tls.crt")), padded(&key, size("tls.key")));
        let audit = [("api-key", api_key.as_str()), ("signing-secret", signing.as_str())];
        let client = [("tls.crt", chain.as_str()), ("tls.key", key.as_str())];
        let materials =
            holding(&[("audit", &audit), ("client", &client)], &padded(&certificate, size("ca.crt")));
        let resolved = materials.resolve("identity", &with_everything());
        if too_large == "none" {
            assert!(resolved.is_ok(), "{resolved:?}");
            continue;
        }
        let problem = resolved.unwrap_err();
        let unusable = if too_large == "ca.crt" { Reason::CaUnusable } else { Reason::SecretMalformed };
        assert_eq!(problem.reason, unusable, "{problem}");
        assert_eq!(problem.missing, None);
        let said = format!("larger than {} KiB", size(too_large) >> 10);
        assert!(problem.message.contains(&said) && problem.message.contains(too_large), "{problem}");
        let kept = format!("{:?}", materials.0);
        assert!(kept.contains(&format!("{too_large:?}: None")), "{kept}");
    }
}

#[test]
fn a_value_that_one_use_allows_may_be_too_large_for_another() {
    let (chain, key) = pair();
    let (chain, key) = (padded(&chain, 64 << 10), padded(&key, 16 << 10));
    let materials = holding(&[("client", &[("tls.crt", &chain), ("tls.key", &key)])], "");
    let as_api_key = spec(|spec| spec["apiKeySecretRef"] = json!({"name": "client", "key": "tls.key"}));
    let problem = materials.resolve("identity", &as_api_key).unwrap_err();
    assert!(problem.message.contains("8 KiB, the most for an API key"), "{problem}");
}

#[test]
fn webhooks_that_name_one_object_share_what_was_parsed_of_it_until_it_changes() {
    let (certificate, key) = pair();
    let client = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
    let materials =
        holding(&[("audit", &[KEY, ("signing-secret", SIGNING)]), ("client", &client)], &certificate);
    let resolve = || materials.resolve("identity", &with_everything()).unwrap();
    let share = |one: &Credentials, other: &Credentials| {
        (one.api_key.as_bytes().as_ptr() == other.api_key.as_bytes().as_ptr(), one.tls.share(&other.tls))
    };
    let first = resolve();
    assert_eq!(share(&first, &resolve()), (true, true));
    // What comes again as it is, is no other version.
    materials.secret(Change::Applied(secret("client", &client)));
    materials.config_map(Change::Applied(config_map(&certificate)));
    assert_eq!(share(&first, &resolve()), (true, true));

    materials.secret(Change::Applied(secret("audit", &[("api-key", "new"), ("signing-secret", SIGNING)])));
    assert_eq!(resolve().api_key, "new");
    assert_eq!(share(&first, &resolve()), (false, true));
    let (other_certificate, other_key) = pair();
    let client = [("tls.crt", other_certificate.as_str()), ("tls.key", other_key.as_str())];
    materials.secret(Change::Applied(secret("client", &client)));
    let second = resolve();
    assert!(second.tls != first.tls && !second.tls.share(&first.tls));
    materials.config_map(Change::Applied(config_map(&other_certificate)));
    assert!(resolve().tls != second.tls);
}
