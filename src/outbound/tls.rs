//! Whom Herald trusts, and what it shows of itself.
//!
//! Settings come from a `ConfigMap` and a Secret as PEM and are parsed once;
//! clones share what was parsed, however many webhooks name it.
//! Verification is always on; a CA of the webhook's own replaces the system's
//! roots. There is no process-wide crypto provider: `ring` is passed explicitly.

use std::fmt;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

use crate::api::Reason;
use crate::model::PemFault;

/// How one webhook's endpoint is checked, and the client certificate that it is
/// shown. Two are equal if they came from the same bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    ca: Option<Authorities>,
    client: Option<ClientCertificate>,
}

/// The CAs that an endpoint's certificate may be signed by.
#[derive(Clone)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    digest: [u8; 32],
}

/// The certificate chain that an endpoint is shown, with its key.
#[derive(Clone)]
pub struct ClientCertificate {
    certified: Arc<CertifiedKey>,
    digest: [u8; 32],
}

/// Why TLS settings cannot be used, and what to write instead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA is not a PEM file with certificates.
    #[error("the CA must be PEM with at least one BEGIN CERTIFICATE block: {0}")]
    Ca(String),
    /// The client's certificate or key is not PEM, or they don't belong together.
    #[error(
        "the client certificate must be PEM, tls.crt with the certificate first and tls.key with its private key: {0}"
    )]
    Client(String),
}

impl TlsError {
    /// The word for it in a condition.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Ca(_) => Reason::CaUnusable,
            Self::Client(_) => Reason::SecretMalformed,
        }
    }
}

impl Authorities {
    /// Reads PEM certificates.
    ///
    /// # Errors
    /// There is none, or one that cannot be used.
    pub fn parse(pem: &[u8]) -> Result<Self, TlsError> {
        Ok(Self { roots: Arc::new(parse_roots(pem)?), digest: digest(&[pem]) })
    }
}

impl ClientCertificate {
    /// Reads a PEM certificate chain and its private key.
    ///
    /// # Errors
    /// One of them cannot be used, or they don't belong together.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self { certified: Arc::new(parse_identity(chain, key)?), digest: digest(&[chain, key]) })
    }
}

impl TlsSettings {
    /// Without a CA, the system's roots are trusted.
    pub const fn new(ca: Option<Authorities>, client: Option<ClientCertificate>) -> Self {
        Self { ca, client }
    }

    /// Reads the CA (certificates), and the client's certificate chain and private key.
    ///
    /// # Errors
    /// One of them is not what it should be.
    pub fn parse(ca_pem: Option<&[u8]>, client: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        let client = client.map(|(chain, key)| ClientCertificate::parse(chain, key));
        Ok(Self { ca: ca_pem.map(Authorities::parse).transpose()?, client: client.transpose()? })
    }

    /// Whether nothing of the two is there twice.
    #[cfg(test)]
    pub(crate) fn share(&self, other: &Self) -> bool {
        let certified = |it: &Self| it.client.as_ref().map(|client| Arc::as_ptr(&client.certified));
        let roots = |it: &Self| it.ca.as_ref().map(|ca| Arc::as_ptr(&ca.roots));
        certified(self) == certified(other) && roots(self) == roots(other)
    }

    /// The configuration of a channel: sessions are resumed within it only.
    pub(super) fn client_config(&self, defaults: &Defaults) -> Result<ClientConfig, TlsError> {
        let verifier = match &self.ca {
            Some(ca) => defaults.verifier(&ca.roots).map_err(TlsError::Ca)?,
            None => defaults.system.clone(),
        };
        let builder = ClientConfig::builder_with_provider(defaults.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Client(error.to_string()))?
            .with_webpki_verifier(verifier);
        let mut config = match &self.client {
            Some(client) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&client.certified)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // One server: a channel speaks to one host.
        config.resumption = Resumption::in_memory_sessions(1);
        Ok(config)
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Authorities {}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientCertificate {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("own_ca", &self.ca.is_some())
            .field("client_certificate", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

/// What all channels share: the provider, and the roots of who has no CA of their own.
pub(super) struct Defaults {
    provider: Arc<CryptoProvider>,
    system: Arc<WebPkiServerVerifier>,
}

impl Defaults {
    /// Trusts the system's roots and `extra`.
    pub(super) fn load(extra: Option<&[u8]>) -> Result<Self, TlsError> {
        let mut roots = extra.map(parse_roots).transpose()?.unwrap_or_else(RootCertStore::empty);
        let native = rustls_native_certs::load_native_certs();
        for error in native.errors {
            tracing::warn!(%error, "part of the system's CA certificates cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            let message = "no CA certificates on this system, and none given: install the ca-certificates \
                           package, or name a file with roots";
            return Err(TlsError::Ca(message.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let system = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| TlsError::Ca(error.to_string()))?;
        Ok(Self { provider, system })
    }

    fn verifier(&self, roots: &Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, String> {
        WebPkiServerVerifier::builder_with_provider(roots.clone(), self.provider.clone())
            .build()
            .map_err(|error| error.to_string())
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn parse_roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Ca(PemFault::from(&error).to_string()))?;
        roots.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Ca("there is none".to_owned()));
    }
    Ok(roots)
}

fn parse_identity(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let malformed = |what: &str, error: &dyn fmt::Display| TlsError::Client(format!("{what}: {error}"));
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed("tls.crt", &PemFault::from(&error)))?;
    if chain.is_empty() {
        return Err(TlsError::Client("tls.crt holds no certificate".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| malformed("tls.key", &PemFault::from(&error)))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .map_err(|error| malformed("the pair", &error))
}

/// Why no session came about, in words for whoever runs the endpoint.
pub(super) fn explain(error: &rustls::Error) -> String {
    use rustls::Error as E;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enums are not exhaustive")]
    match error {
        E::InvalidCertificate(certificate) => explain_certificate(certificate),
        E::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "the endpoint does not speak TLS on this port".to_owned()
        }
        E::AlertReceived(alert) => {
            use rustls::AlertDescription as A;
            match alert {
                A::CertificateRequired => "the endpoint requires a client certificate: name one in \
                                           spec.tls.clientCertificateSecretRef"
                    .to_owned(),
                A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateRevoked
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::UnknownCA
                | A::AccessDenied => format!(
                    "the endpoint refuses Herald's client certificate, or that it has none ({alert:?}): see \
                     spec.tls.clientCertificateSecretRef"
                ),
                A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => format!(
                    "the endpoint shares no TLS version or cipher with Herald, which speaks TLS 1.2 and 1.3, \
                     or requires a client certificate ({alert:?})"
                ),
                A::NoApplicationProtocol => "the endpoint does not offer HTTP/1.1".to_owned(),
                A::UnrecognisedName => "the endpoint's server has no site of this host name".to_owned(),
                _ => format!("the endpoint ended the TLS handshake ({alert:?})"),
            }
        }
        E::PeerIncompatible(why) => format!(
            "the endpoint shares no TLS version or cipher with Herald, which speaks TLS 1.2 and 1.3 ({why:?})"
        ),
        other => format!("no TLS session with the endpoint: {other}"),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is not exhaustive")]
    match error {
        E::Expired => "the endpoint's certificate has expired".to_owned(),
        E::ExpiredContext { not_after, .. } => {
            format!("the endpoint's certificate expired at {}", moment(not_after.as_secs()))
        }
        E::NotValidYet => "the endpoint's certificate is not valid yet".to_owned(),
        E::NotValidYetContext { not_before, .. } => {
            format!("the endpoint's certificate is valid only from {}", moment(not_before.as_secs()))
        }
        E::UnknownIssuer => "the endpoint's certificate is signed by no CA that Herald trusts: let the \
                             endpoint send its whole chain, or name its CA in spec.tls.caConfigMapRef"
            .to_owned(),
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            // The names in the certificate are the endpoint's text: they are kept in the cause only.
            "the endpoint's certificate is for another host name".to_owned()
        }
        E::Revoked => "the endpoint's certificate is revoked".to_owned(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "the endpoint's certificate is not for servers".to_owned()
        }
        other => format!("the endpoint's certificate cannot be verified: {other}"),
    }
}

fn moment(secs: u64) -> String {
    crate::model::Timestamp::from_millis(secs.saturating_mul(1000)).to_string()
}
