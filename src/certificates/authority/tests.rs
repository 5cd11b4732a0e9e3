//! What is made, as a library that is not the maker's reads it, and as rustls judges it.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

fn names(names: &[&str]) -> ServingNames {
    ServingNames::new(names).unwrap()
}

fn parse(certificate: &Certificate) -> X509Certificate<'_> {
    X509Certificate::from_der(certificate.der()).unwrap().1
}

/// Whether a client that trusts these lets the certificate pass for this name at that moment.
fn trusts(roots: &[&Certificate], leaf: &Certificate, name: &str, at: Timestamp) -> bool {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.der())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), provider).build().unwrap();
    let (name, at) = (
        ServerName::try_from(name).unwrap(),
        UnixTime::since_unix_epoch(Duration::from_millis(at.as_millis())),
    );
    verifier.verify_server_cert(&CertificateDer::from(leaf.der()), &[], &name, &[], at).is_ok()
}

#[test]
fn a_ca_says_what_it_may_do_and_no_two_have_one_name() {
    let lifetimes = Lifetimes::default();
    let (ca, other) = (Authority::make(&lifetimes, NOW).unwrap(), Authority::make(&lifetimes, NOW).unwrap());
    assert_ne!(parse(ca.certificate()).subject(), parse(other.certificate()).subject());
    let read = parse(ca.certificate());
    let basic = read.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint == Some(0));
    let usage = read.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert!(read.extensions_map().unwrap().contains_key(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER));
    let validity = ca.certificate().validity;
    assert_eq!(validity.from.as_secs(), NOW.as_secs() - 3600);
    assert_eq!(validity.until.as_secs(), NOW.as_secs() + 365 * 24 * 3600);
    assert!(ca.certificate().is_signed_by(ca.certificate()));
    assert!(!ca.certificate().is_signed_by(other.certificate()));
}

#[test]
fn a_client_that_trusts_the_ca_trusts_what_it_signs_for_its_names_and_its_time() {
    let lifetimes = Lifetimes::default();
    let ca = Authority::make(&lifetimes, NOW).unwrap();
    let other = Authority::make(&lifetimes, NOW).unwrap();
    let both = [ca.certificate(), other.certificate()];
    let leaf = ca.sign(&names(&["herald.example.com", "10.0.0.1", "2001:db8::1"]), &lifetimes, NOW).unwrap();
    let leaf = &leaf.certificate;
    for name in ["herald.example.com", "10.0.0.1", "2001:db8::1"] {
        assert!(trusts(&both, leaf, name, NOW), "{name}");
        assert!(!trusts(&[other.certificate()], leaf, name, NOW), "{name}");
    }
    assert!(!trusts(&both, leaf, "other.example.com", NOW));
    assert!(trusts(&both, leaf, "10.0.0.1", NOW.before(Duration::from_mins(59))), "clocks may differ");
    assert!(!trusts(&both, leaf, "10.0.0.1", NOW.after(lifetimes.certificate() + Duration::from_secs(1))));

    let read = parse(leaf);
    assert!(read.extended_key_usage().unwrap().unwrap().value.server_auth);
    let extensions = read.extensions_map().unwrap();
    let issuer = extensions.get(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER).unwrap().parsed_extension();
    let parent = parse(ca.certificate());
    let parents = parent.extensions_map().unwrap();
    let subject = parents.get(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER).unwrap().parsed_extension();
    let (ParsedExtension::AuthorityKeyIdentifier(issuer), ParsedExtension::SubjectKeyIdentifier(subject)) =
        (issuer, subject)
    else {
        panic!("{issuer:?} {subject:?}")
    };
    assert_eq!(issuer.key_identifier.as_ref(), Some(subject));
}

#[test]
fn no_certificate_outlives_its_ca_or_begins_before_it() {
    let lifetimes = Lifetimes::default();
    let ca = Authority::make(&lifetimes, NOW).unwrap();
    let late = NOW.after(lifetimes.ca()).before(Duration::from_hours(1));
    let leaf = ca.sign(&names(&["a"]), &lifetimes, late).unwrap().certificate.validity;
    assert_eq!(leaf.until, ca.certificate().validity.until);
    let early = ca.sign(&names(&["a"]), &lifetimes, NOW.before(Duration::from_hours(2))).unwrap();
    assert_eq!(early.certificate.validity.from, ca.certificate().validity.from);
}

#[test]
fn what_is_stored_comes_back_and_what_is_mixed_up_does_not() {
    let lifetimes = Lifetimes::default();
    let (ca, other) = (Authority::make(&lifetimes, NOW).unwrap(), Authority::make(&lifetimes, NOW).unwrap());
    let (pem, key) = (ca.certificate().to_pem(), ca.key_pem());
    let back = Authority::from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(back.certificate(), ca.certificate());
    assert_eq!(back.key_pem(), key);
    let leaf = ca.sign(&names(&["a"]), &lifetimes, NOW).unwrap();
    let leaf_pem = leaf.certificate.to_pem();
    for (certificate, key, expected) in [
        (pem.as_str(), other.key_pem(), Unreadable::Mismatch),
        (pem.as_str(), "nonsense".to_owned(), Unreadable::Key),
        ("", key.clone(), Unreadable::Certificate),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key, Unreadable::Certificate),
        (leaf_pem.as_str(), leaf.key.clone(), Unreadable::NoCa),
    ] {
        let verdict = Authority::from_pem(certificate.as_bytes(), key.as_bytes()).map(|_| ());
        assert_eq!(verdict, Err(expected));
    }
}

#[test]
fn the_key_is_not_shown() {
    let ca = Authority::make(&Lifetimes::default(), NOW).unwrap();
    let shown = format!("{ca:?}");
    assert!(shown.len() < 200 && shown.contains("validity"), "{shown}");
}
