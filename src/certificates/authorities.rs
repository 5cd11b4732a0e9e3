//! The CAs of one installation, as one Secret keeps them.
//!
//! One object, since then one write with a resourceVersion is all or nothing,
//! and of two replicas that decide at the same time one decides again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::authority::Authority;
use super::certificate::Certificate;
use super::decide::{Loss, Observed, Successor};
use crate::model::Timestamp;

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const NEXT_PUBLISHED: &str = "next-published";
const RETIRED: &str = "retired.crt";

/// What a Secret holds.
pub(super) type Data = BTreeMap<String, ByteString>;

/// The CAs.
#[derive(Debug)]
pub(super) struct Authorities {
    signing: Result<Authority, Loss>,
    next: Option<Next>,
    retired: Vec<Certificate>,
}

#[derive(Debug)]
struct Next {
    authority: Authority,
    published: Option<Timestamp>,
}

impl Authorities {
    /// As they were stored; what cannot be read counts as lost.
    pub(super) fn read(data: Option<&Data>) -> Self {
        let none = Data::new();
        let entry = |name: &str| data.unwrap_or(&none).get(name).map_or(&[][..], |value| &value.0);
        let (certificate, key) = (entry(CERTIFICATE), entry(KEY));
        let mut retired = Certificate::all_from_pem(entry(RETIRED));
        let signing = match data {
            None => Err(Loss::Missing),
            Some(_) => Authority::from_pem(certificate, key).map_err(Loss::Broken),
        };
        if signing.is_err() {
            // It signs no more, but what it has signed is still served and trusted.
            retired.extend(Certificate::from_pem(certificate).ok().filter(|read| read.is_ca));
        }
        let authority = Authority::from_pem(entry(NEXT_CERTIFICATE), entry(NEXT_KEY)).ok();
        let published = std::str::from_utf8(entry(NEXT_PUBLISHED)).ok();
        let published = published.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(Timestamp::from);
        Self { signing, next: authority.map(|authority| Next { authority, published }), retired }
    }

    /// To be stored.
    pub(super) fn data(&self) -> Data {
        let mut data = Data::new();
        let mut put = |name: &str, text: String| data.insert(name.to_owned(), ByteString(text.into_bytes()));
        if let Ok(signing) = &self.signing {
            put(CERTIFICATE, signing.certificate().to_pem());
            put(KEY, signing.key_pem());
        }
        if let Some(next) = &self.next {
            put(NEXT_CERTIFICATE, next.authority.certificate().to_pem());
            put(NEXT_KEY, next.authority.key_pem());
            if let Some(published) = next.published {
                put(NEXT_PUBLISHED, published.to_string());
            }
        }
        if !self.retired.is_empty() {
            put(RETIRED, self.retired.iter().map(Certificate::to_pem).collect());
        }
        data
    }

    /// What is decided on.
    pub(super) fn observed(&self) -> Observed {
        Observed {
            signing: self
                .signing
                .as_ref()
                .map(|signing| signing.certificate().validity)
                .map_err(|loss| *loss),
            next: self.next.as_ref().map(|next| Successor {
                validity: next.authority.certificate().validity,
                published: next.published,
            }),
            retired: self.retired.iter().map(|retired| retired.validity.until).collect(),
        }
    }

    /// The CA that signs.
    pub(super) fn signing(&self) -> Option<&Authority> {
        self.signing.as_ref().ok()
    }

    /// The CA that is to follow, if no bundle lacked it since a moment before `now`.
    pub(super) fn is_next_published(&self, now: Timestamp) -> bool {
        self.next.as_ref().is_none_or(|next| next.published.is_some_and(|published| published <= now))
    }

    /// Whom a client is to trust, as PEM: everyone who may have signed what is
    /// served, or will have before the client looks again. In an order that a
    /// switch does not change.
    pub(super) fn bundle(&self) -> String {
        let signing = self.signing.as_ref().ok().map(Authority::certificate);
        let next = self.next.as_ref().map(|next| next.authority.certificate());
        let mut all: Vec<_> = self.retired.iter().chain(signing).chain(next).collect();
        all.sort_by_key(|certificate| (certificate.validity.from, certificate.der()));
        all.dedup();
        all.into_iter().map(Certificate::to_pem).collect()
    }

    /// This CA signs from now on.
    pub(super) fn begin(&mut self, authority: Authority, now: Timestamp) {
        let old = std::mem::replace(&mut self.signing, Ok(authority));
        self.retire(old, now);
        self.next = None;
    }

    /// This CA is to follow.
    pub(super) fn follow(&mut self, authority: Authority) {
        self.next = Some(Next { authority, published: None });
    }

    /// The next CA is in every bundle.
    pub(super) fn published(&mut self, now: Timestamp) {
        if let Some(next) = &mut self.next {
            next.published = Some(now);
        }
    }

    /// The next CA signs from now on.
    pub(super) fn switch(&mut self, now: Timestamp) {
        if let Some(next) = self.next.take() {
            let old = std::mem::replace(&mut self.signing, Ok(next.authority));
            self.retire(old, now);
        }
    }

    /// Drops what has ended.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.retired.retain(|retired| now < retired.validity.until);
    }

    fn retire(&mut self, old: Result<Authority, Loss>, now: Timestamp) {
        self.retired.extend(old.ok().map(Authority::into_certificate));
        self.forget(now);
    }
}

#[cfg(test)]
mod tests;
