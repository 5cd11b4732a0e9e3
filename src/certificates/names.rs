//! The names that the serving certificate is for.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::DnsName;

/// DNS names and IP addresses, at least one, each in one way of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingNames(BTreeSet<String>);

/// Why there are no names to certify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// One is no name.
    #[error("{0} is neither a DNS name nor an IP address")]
    Invalid(String),
    /// None was given.
    #[error("a certificate needs a name")]
    Empty,
}

impl ServingNames {
    /// From what people write.
    ///
    /// # Errors
    /// There is none, or one is neither a DNS name nor an IP address.
    pub fn new<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, NamesError> {
        let names: BTreeSet<_> =
            texts.into_iter().map(|text| name(text.as_ref())).collect::<Result<_, _>>()?;
        if names.is_empty() { Err(NamesError::Empty) } else { Ok(Self(names)) }
    }

    pub(super) fn as_set(&self) -> &BTreeSet<String> {
        &self.0
    }
}

impl fmt::Display for ServingNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if position == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn name(text: &str) -> Result<String, NamesError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    match DnsName::try_from(text) {
        Ok(name) if !text.ends_with('.') => Ok(name.as_ref().to_ascii_lowercase()),
        Ok(_) | Err(_) => Err(NamesError::Invalid(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_way_of_writing() {
        let one = ServingNames::new(["Herald.Example.COM", "2001:DB8:0::1", "10.0.0.1"]).unwrap();
        let other = ServingNames::new(["10.0.0.1", "2001:db8::1", "herald.example.com", "10.0.0.1"]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "10.0.0.1, 2001:db8::1, herald.example.com");
    }

    #[test]
    fn what_no_certificate_can_be_for_is_refused() {
        assert_eq!(ServingNames::new::<&str>([]), Err(NamesError::Empty));
        for text in ["", "https://herald", "a b", "herald:8443", "herald.", "-", "*.example.com"] {
            assert_eq!(ServingNames::new([text]), Err(NamesError::Invalid(text.to_owned())));
        }
    }
}
