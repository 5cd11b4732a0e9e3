//! Who the endpoint says that it is, and who it wants Herald to be.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::peer::{Moment, Peer, Then};
use super::{End, Row, World, row};
use crate::api::Reason;
use crate::outbound::tests::server::{self, Authority, OK, Pair};

pub(super) fn rows(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, tls, words) in certificates(world) {
        rows.push(row(name, answers(tls), End::Again(Reason::TLSFailed, words)));
    }
    rows.extend(wants(world));
    rows.extend(chains(world));
    rows
}

/// Certificates that an intermediate authority has signed.
fn chains(world: &World) -> Vec<Row> {
    let (good, no_ca) = (world.trusted.intermediate(true), world.trusted.intermediate(false));
    let [by_good, by_no_ca] = [&good, &no_ca].map(|authority| authority.sign(&["receiver.test"]));
    let of = |authority: &Authority| CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    let failed = |words| End::Again(Reason::TLSFailed, words);
    vec![
        row(
            "a whole chain",
            answers(with_chain(vec![der(&by_good), of(&good)], &by_good)),
            End::Delivered(2),
        ),
        row(
            "a chain without its intermediate",
            answers(server::tls(&by_good, None)),
            failed("let the endpoint send its whole chain"),
        ),
        row(
            "an intermediate that may not sign",
            answers(with_chain(vec![der(&by_no_ca), of(&no_ca)], &by_no_ca)),
            failed("the endpoint's certificate"),
        ),
    ]
}

/// An endpoint that would deliver, if Herald let it.
fn answers(tls: ServerConfig) -> Peer {
    Peer::tls(tls, Moment::Request, OK, Then::Hang)
}

fn certificates(world: &World) -> Vec<(&'static str, ServerConfig, &'static str)> {
    let names = &["receiver.test"];
    let (trusted, stranger) = (&world.trusted, &world.stranger);
    let good = trusted.sign(names);
    let signed = |pair: &Pair| server::tls(pair, None);
    let not_yet = trusted.sign_with(names, |params| {
        params.not_before = date_time_ymd(2100, 1, 1);
        params.not_after = date_time_ymd(2101, 1, 1);
    });
    let for_clients = trusted.sign_with(names, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let common_name = trusted.sign_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "receiver.test");
    });
    let other_key = Pair { certificate: good.certificate.clone(), key: trusted.sign(names).key };
    let untrusted = "signed by no CA that Herald trusts";
    vec![
        ("an expired certificate", signed(&trusted.expired(names)), "expired at 2021-01-01T00:00:00Z"),
        ("a certificate of the future", signed(&not_yet), "valid only from 2100-01-01T00:00:00Z"),
        ("a certificate for another host", signed(&trusted.sign(&["other.test"])), "for another host name"),
        ("a certificate for the address", signed(&trusted.sign(&["127.0.0.1"])), "for another host name"),
        ("a host in the common name only", signed(&common_name), "for another host name"),
        ("an unknown CA", signed(&stranger.sign(names)), untrusted),
        ("a self-signed certificate", signed(&self_signed()), untrusted),
        ("a certificate for clients", signed(&for_clients), "is not for servers"),
        ("a certificate of another key", with_chain(vec![der(&good)], &other_key), "cannot be verified"),
        (
            "a certificate that is none",
            with_chain(vec![vec![0x30, 0x82, 0xff].into()], &good),
            "cannot be verified",
        ),
        ("a chain without a certificate", with_chain(Vec::new(), &good), "peer sent no certificates"),
        ("no certificate at all", without_certificate(), "or that it has none"),
        (
            "a chain without an end",
            with_chain(vec![der(&good); 500], &good),
            "no TLS session with the endpoint",
        ),
    ]
}

/// Endpoints that want what Herald has not.
fn wants(world: &World) -> Vec<Row> {
    let pair = world.trusted.sign(&["receiver.test"]);
    let mut http2 = server::tls(&pair, None);
    http2.alpn_protocols = vec![b"h2".to_vec()];
    let mut tickets = server::tls(&pair, None);
    tickets.send_tls13_tickets = 20_000;
    let failed = |words| End::Again(Reason::TLSFailed, words);
    vec![
        row(
            "a client certificate is demanded",
            answers(server::tls(&pair, Some(&world.stranger))),
            failed("spec.tls.clientCertificateSecretRef"),
        ),
        row(
            "a flood of session tickets",
            answers(tickets),
            End::Again(Reason::ConnectionFailed, "the connection broke"),
        ),
        row("HTTP/2 only", answers(http2), failed("the endpoint does not offer HTTP/1.1")),
    ]
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

fn self_signed() -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["receiver.test".to_owned()]).unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Shows this chain, whatever it is, and signs with the key of `pair`.
fn with_chain(chain: Vec<CertificateDer<'static>>, pair: &Pair) -> ServerConfig {
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    resolved_by(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

fn without_certificate() -> ServerConfig {
    resolved_by(Nothing)
}

fn resolved_by(resolver: impl ResolvesServerCert + 'static) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver))
}

#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
