//! A CA with its key: making one, and signing with it.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::certificate::{Certificate, Unreadable, Validity};
use super::lifetimes::{Lifetimes, backdated};
use super::names::ServingNames;
use crate::model::Timestamp;

/// The last second of the year 9999.
const END_OF_TIME: u64 = 253_402_300_799;

/// A CA that can sign.
pub(super) struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

/// A certificate and its key, as PEM.
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) key: String,
}

impl Authority {
    /// Makes one, named unlike any other: who builds a path by names finds one CA.
    pub(super) fn make(lifetimes: &Lifetimes, now: Timestamp) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        let day: String = now.to_string().chars().take(10).collect();
        let name = format!("Herald ingestion CA {day} {:08x}", rand::random::<u32>());
        params.distinguished_name = named(&name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let from = now.before(backdated(lifetimes.ca()));
        limit(&mut params, Validity { from, until: now.after(lifetimes.ca()) });
        let key = KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let certificate =
            Certificate::from_der(made.der()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        Ok(Self { certificate, key })
    }

    /// From what was stored.
    pub(super) fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Unreadable> {
        let certificate = Certificate::from_pem(certificate)?;
        let key = read_key(key)?;
        if !certificate.is_ca {
            return Err(Unreadable::NoCa);
        }
        if key.public_key_raw() != certificate.public_key {
            return Err(Unreadable::Mismatch);
        }
        let authority = Self { certificate, key };
        // What somebody put there may be a good CA and not one that can be worked with.
        authority.issuer().map_err(|_| Unreadable::Certificate)?;
        Ok(authority)
    }

    fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&CertificateDer::from(self.certificate.der()), &self.key)
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(super) fn into_certificate(self) -> Certificate {
        self.certificate
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Signs a serving certificate that ends no later than the CA itself.
    pub(super) fn sign(
        &self,
        names: &ServingNames,
        lifetimes: &Lifetimes,
        now: Timestamp,
    ) -> Result<Pair, rcgen::Error> {
        let mut params = CertificateParams::new(names.as_set().iter().cloned().collect::<Vec<_>>())?;
        params.distinguished_name = named("Herald ingestion");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let own = self.certificate.validity;
        let from = now.before(backdated(lifetimes.certificate())).max(own.from);
        limit(&mut params, Validity { from, until: now.after(lifetimes.certificate()).min(own.until) });
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer()?)?;
        let certificate =
            Certificate::from_der(signed.der()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("validity", &self.certificate.validity).finish_non_exhaustive()
    }
}

pub(super) fn read_key(pem: &[u8]) -> Result<KeyPair, Unreadable> {
    let text = std::str::from_utf8(pem).map_err(|_| Unreadable::Key)?;
    KeyPair::from_pem(text).map_err(|_| Unreadable::Key)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn limit(params: &mut CertificateParams, validity: Validity) {
    let written = |moment: Timestamp| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(moment.as_secs().min(END_OF_TIME))
    };
    params.not_before = written(validity.from);
    params.not_after = written(validity.until);
}

#[cfg(test)]
mod tests;
