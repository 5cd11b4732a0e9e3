//! What Herald reads off a certificate.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer as _};

use crate::model::Timestamp;

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    pub(super) fn covers(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// When a third of it is left: time enough to renew, and to try again.
    pub(super) fn last_third(self) -> Timestamp {
        self.until.before(self.until.since(self.from) / 3)
    }

    pub(super) fn left(self, now: Timestamp) -> Duration {
        self.until.since(now)
    }
}

/// Why what is stored is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the certificate cannot be read")]
    Certificate,
    #[error("the private key cannot be read")]
    Key,
    #[error("the private key is another certificate's")]
    Mismatch,
    #[error("the certificate is not a CA's")]
    NoCa,
}

/// A certificate, and what was read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    der: Vec<u8>,
    pub(super) validity: Validity,
    pub(super) public_key: Vec<u8>,
    pub(super) is_ca: bool,
    /// DNS names and IP addresses, written as in [`super::ServingNames`].
    pub(super) names: BTreeSet<String>,
}

impl Certificate {
    pub(super) fn from_der(der: &[u8]) -> Result<Self, Unreadable> {
        let (_, read) = X509Certificate::from_der(der).map_err(|_| Unreadable::Certificate)?;
        let validity =
            Validity { from: moment(read.validity().not_before), until: moment(read.validity().not_after) };
        let names = read.subject_alternative_name().map_err(|_| Unreadable::Certificate)?;
        Ok(Self {
            der: der.to_vec(),
            validity,
            public_key: read.public_key().subject_public_key.data.to_vec(),
            is_ca: read.is_ca(),
            names: names.iter().flat_map(|names| &names.value.general_names).map(written).collect(),
        })
    }

    /// The first of a PEM file.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, Unreadable> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| Unreadable::Certificate)?;
        Self::from_der(&der)
    }

    /// All of a PEM file that can be read.
    pub(super) fn all_from_pem(pem: &[u8]) -> Vec<Self> {
        let found = CertificateDer::pem_slice_iter(pem).map_while(Result::ok);
        found.filter_map(|der| Self::from_der(&der).ok()).collect()
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn to_pem(&self) -> String {
        let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
        pem::encode_config(&Pem::new("CERTIFICATE", self.der.as_slice()), lines)
    }

    /// Whether that CA's key has signed it.
    pub(super) fn is_signed_by(&self, ca: &Self) -> bool {
        let parsed = (X509Certificate::from_der(&self.der), X509Certificate::from_der(&ca.der));
        let (Ok((_, certificate)), Ok((_, ca))) = parsed else { return false };
        certificate.issuer() == ca.subject() && certificate.verify_signature(Some(ca.public_key())).is_ok()
    }
}

/// A moment before 1970 becomes 1970.
fn moment(time: ASN1Time) -> Timestamp {
    Timestamp::from_millis(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000))
}

fn written(name: &GeneralName<'_>) -> String {
    if let GeneralName::DNSName(name) = name {
        return name.to_ascii_lowercase();
    }
    if let GeneralName::IPAddress(octets) = name {
        let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
        if let Ok(address) = v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)) {
            return address.to_string();
        }
    }
    // Nothing that Herald asks for, so that a certificate with it is made anew.
    format!("{name:?}")
}
