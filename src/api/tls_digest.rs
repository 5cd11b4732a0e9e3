//! The digest of the TLS settings under which an endpoint was proved.

use sha2::{Digest as _, Sha256};

use super::Tls;

/// A hash over what `spec.tls` refers to: names and keys, never contents. So
/// the proof falls with an edit of the spec, and not with a renewed
/// certificate. Settings that say nothing have the digest of none.
pub fn tls_digest(tls: Option<&Tls>) -> String {
    let ca = tls.and_then(|tls| tls.ca_config_map_ref.as_ref());
    let client = tls.and_then(|tls| tls.client_certificate_secret_ref.as_ref());
    let mut hasher = Sha256::new();
    hasher.update(b"herald-tls-1\0");
    let mut part = |text: Option<&str>| match text {
        None => hasher.update([0]),
        Some(text) => {
            hasher.update([1]);
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text);
        }
    };
    part(ca.map(|ca| ca.name.as_str()));
    part(ca.map(|ca| ca.key.as_str()));
    part(client.map(|client| client.name.as_str()));
    hex::encode(hasher.finalize().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ConfigMapKeyRef, SecretRef};

    fn tls(ca: Option<(&str, &str)>, client: Option<&str>) -> Tls {
        Tls {
            ca_config_map_ref: ca
                .map(|(name, key)| ConfigMapKeyRef { name: name.to_owned(), key: key.to_owned() }),
            client_certificate_secret_ref: client.map(|name| SecretRef { name: name.to_owned() }),
        }
    }

    #[test]
    fn the_digest_depends_on_every_reference_and_on_where_each_ends() {
        let settings = [
            tls(None, None),
            tls(Some(("ca", "ca.crt")), None),
            tls(Some(("cac", "a.crt")), None),
            tls(Some(("ca", "root.crt")), None),
            tls(Some(("ca", "ca.crt")), Some("client")),
            tls(None, Some("client")),
            tls(None, Some("ca")),
        ];
        let digests = settings.each_ref().map(|tls| tls_digest(Some(tls)));
        for (i, digest) in digests.iter().enumerate() {
            assert!(digests.iter().skip(i + 1).all(|other| other != digest), "{:?}", settings[i]);
        }
        assert_eq!(tls_digest(None), digests[0]);
    }

    /// A stored proof must survive an upgrade.
    #[test]
    fn the_digest_never_changes_between_versions() {
        let settings = tls(Some(("ca", "ca.crt")), Some("client"));
        assert_eq!(tls_digest(Some(&settings)), "8e60a25df39de75f9652e4dd66193810");
        assert_eq!(tls_digest(None), "4f363270a5740be8e67f3ecdba2e2a9a");
    }
}
