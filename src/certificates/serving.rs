//! When the serving certificate is signed anew: a pure function.

use super::authorities::Data;
use super::authority::{Pair, read_key};
use super::certificate::{Certificate, Unreadable, Validity};
use super::lifetimes::Lifetimes;
use super::names::ServingNames;
use crate::model::Timestamp;
use k8s_openapi::ByteString;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const BUNDLE: &str = "ca.crt";

/// Why a certificate is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("there was none")]
    Missing,
    #[error("what is stored cannot be used: {0}")]
    Broken(#[from] Unreadable),
    #[error("the names are others")]
    Names,
    #[error("another CA signs now")]
    Issuer,
    #[error("the old one is not valid yet")]
    NotYetValid,
    #[error("a third of its lifetime is left")]
    Age,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is signed now.
    Sign(Reason),
    /// It stays until then.
    Keep(Timestamp),
}

/// What is served, as far as that decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) validity: Validity,
    pub(super) same_names: bool,
    pub(super) same_issuer: bool,
}

impl Served {
    /// Of what a Secret holds.
    pub(super) fn read(data: Option<&Data>, names: &ServingNames, ca: &Certificate) -> Result<Self, Reason> {
        let data = data.ok_or(Reason::Missing)?;
        let entry = |name: &str| data.get(name).map_or(&[][..], |value| &value.0);
        let certificate = Certificate::from_pem(entry(CERTIFICATE))?;
        if read_key(entry(KEY))?.public_key_raw() != certificate.public_key {
            return Err(Unreadable::Mismatch.into());
        }
        Ok(Self {
            validity: certificate.validity,
            same_names: certificate.names == *names.as_set(),
            same_issuer: certificate.is_signed_by(ca),
        })
    }
}

/// Whether it is signed now; `ca` is the validity of the CA that would sign.
pub(super) fn decide(
    served: Result<Served, Reason>,
    ca: Validity,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Verdict {
    let served = match served {
        Ok(served) => served,
        Err(reason) => return Verdict::Sign(reason),
    };
    let Validity { from, until } = served.validity;
    let due = served.validity.last_third();
    if !served.same_issuer {
        Verdict::Sign(Reason::Issuer)
    } else if !served.same_names {
        Verdict::Sign(Reason::Names)
    } else if now < from {
        Verdict::Sign(Reason::NotYetValid)
    } else if now < due {
        Verdict::Keep(due)
    } else if until < now.after(lifetimes.certificate()).min(ca.until) {
        Verdict::Sign(Reason::Age)
    } else {
        // Nothing longer can be had of this CA.
        Verdict::Keep(until)
    }
}

/// What is to be stored.
pub(super) fn data(pair: &Pair, bundle: &str) -> Data {
    let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
    let certificate = pair.certificate.to_pem();
    Data::from([entry(CERTIFICATE, &certificate), entry(KEY, &pair.key), entry(BUNDLE, bundle)])
}

/// The same certificate with this bundle.
pub(super) fn with_bundle(data: Option<&Data>, bundle: &str) -> Data {
    let mut data = data.cloned().unwrap_or_default();
    data.insert(BUNDLE.to_owned(), ByteString(bundle.as_bytes().to_vec()));
    data
}

#[cfg(test)]
mod tests;
