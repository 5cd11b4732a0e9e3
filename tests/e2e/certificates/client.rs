//! A producer's TLS client, which trusts one bundle and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herald::model::Clock;
use reqwest::StatusCode;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use super::installation::HOST;
use crate::support::DEADLINE;

/// Tells rustls the time of the test.
#[derive(Debug)]
struct Told(Clock);

impl TimeProvider for Told {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().as_millis())))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(bundle: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

/// A client that makes a new connection and a whole handshake for each request.
pub fn client(bundle: &str, server: SocketAddr, clock: &Clock) -> reqwest::Client {
    let told = Arc::new(Told(clock.clone()));
    let mut tls = ClientConfig::builder_with_details(provider(), told)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(bundle))
        .with_no_client_auth();
    // What is resumed is not verified.
    tls.resumption = Resumption::disabled();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .resolve(HOST, server)
        .pool_max_idle_per_host(0)
        .timeout(DEADLINE)
        .build()
        .unwrap()
}

/// Sends one user event.
pub async fn send(client: &reqwest::Client, server: SocketAddr) -> reqwest::Result<StatusCode> {
    let id = format!("{:016x}", rand::random::<u64>());
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/idp", "type": "user.created", "subject": "u", "data": {},
    });
    let request = client
        .post(format!("https://{HOST}:{}/v1/namespaces/identity/events", server.port()))
        .bearer_auth("token")
        .header("content-type", "application/cloudevents+json")
        .body(event.to_string());
    Ok(request.send().await?.status())
}

/// Whether a client that trusts this bundle lets a certificate pass.
pub fn trusts(bundle: &str, certificate: &str, name: &str, clock: &Clock) -> bool {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(bundle).into(), provider());
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let now = Told(clock.clone()).current_time().unwrap();
    let name = ServerName::try_from(name).unwrap();
    verifier.build().unwrap().verify_server_cert(&certificate, &[], &name, &[], now).is_ok()
}
