//! What is wrong with a PEM file, in words that repeat nothing of it.

use rustls::pki_types::pem::Error;

/// The reader's own words have the line where it failed, as a list of numbers; and a private key
/// that has lost its line breaks is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PemFault(&'static str);

impl From<&Error> for PemFault {
    fn from(error: &Error) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum may grow; what is new may quote the file"
        )]
        Self(match error {
            Error::MissingSectionEnd { .. } => "a section has no -----END line",
            Error::IllegalSectionStart { .. } => {
                "a -----BEGIN line does not end with -----; each of these lines must stand by itself"
            }
            Error::Base64Decode(_) => "a section is not base64",
            Error::NoItemsFound => "no section of the kind is in it",
            Error::SectionTooLarge => "a section is too large",
            _ => "it cannot be read",
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn a_key_that_has_lost_its_line_breaks_is_not_repeated() {
        let key = "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for text in [
            format!("-----BEGIN PRIVATE KEY----- {key} -----END PRIVATE KEY-----"),
            format!("-----BEGIN PRIVATE KEY {key}\n"),
            format!("-----BEGIN PRIVATE KEY {key}-----\n"),
            format!("-----BEGIN PRIVATE KEY-----\n{key}!\n-----END PRIVATE KEY-----"),
            format!("-----BEGIN PRIVATE KEY-----\n{key}\n"),
        ] {
            let error = PrivateKeyDer::from_pem_slice(text.as_bytes()).expect_err(&text);
            let said = PemFault::from(&error).to_string();
            assert!(!said.contains("MC4C") && !said.contains("77, 67, 52"), "{said}");
            assert!(said.len() < 100);
        }
    }
}
