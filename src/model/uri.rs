//! Where a webhook's requests go.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery};

/// An absolute `https` URI with a host, at most 2,048 characters long, without
/// user-info and without fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointUri {
    text: String,
    authority: Authority,
    path_and_query: PathAndQuery,
}

/// What is wrong with a URI, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Longer than [`EndpointUri::MAX_LENGTH`].
    #[error("must be at most 2048 characters, and has {0}")]
    TooLong(usize),
    /// Another scheme, or none.
    #[error("must begin with https://, because Herald sends secrets and personal data only over TLS")]
    NotHttps,
    /// `user:password@` before the host.
    #[error("must not contain user-info (user:password@); the API key belongs in apiKeySecretRef")]
    UserInfo,
    /// `#…` at the end.
    #[error("must not contain a fragment (#…), which is never sent to a server")]
    Fragment,
    /// Nothing between `https://` and the path.
    #[error("must name a host, such as https://hooks.example.com/users")]
    NoHost,
    /// Not a URI by RFC 3986.
    #[error("is not a valid URI: {0}")]
    Malformed(String),
}

impl EndpointUri {
    /// The longest URI, in characters.
    pub const MAX_LENGTH: usize = 2048;

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, 443 where the URI names none.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(443)
    }

    /// Host and port as written: the value of the `Host` header.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Path and query: the target of the request line.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }
}

impl FromStr for EndpointUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let length = text.chars().count();
        if length > Self::MAX_LENGTH {
            return Err(UriError::TooLong(length));
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(UriError::NotHttps);
        };
        if text.contains('#') {
            return Err(UriError::Fragment);
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UriError::UserInfo);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(UriError::NoHost);
        }
        let parts = text.parse::<Uri>().map_err(|cause| UriError::Malformed(cause.to_string()))?.into_parts();
        let (Some(authority), path_and_query) = (parts.authority, parts.path_and_query) else {
            return Err(UriError::NoHost);
        };
        if authority.port().is_some() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(UriError::Malformed("the port must be a number from 1 to 65535".to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            authority,
            path_and_query: path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }
}

impl fmt::Display for EndpointUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EndpointUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_uri_is_taken_apart() {
        let table = [
            ("https://hooks.example.com/users", "hooks.example.com", 443, "/users"),
            ("https://hooks.example.com", "hooks.example.com", 443, "/"),
            ("https://hooks.example.com:8443/a?b=c", "hooks.example.com", 8443, "/a?b=c"),
            ("https://[2001:db8::1]:8443/a", "2001:db8::1", 8443, "/a"),
            ("https://hooks.example.com?b=c@d", "hooks.example.com", 443, "/?b=c@d"),
        ];
        for (text, host, port, path) in table {
            let uri: EndpointUri = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((uri.host(), uri.port()), (host, port), "{text}");
            assert_eq!(uri.path_and_query().as_str(), path, "{text}");
        }
    }

    #[test]
    fn a_bad_uri_is_refused_for_what_is_wrong_with_it() {
        let long = format!("https://example.com/{}", "a".repeat(2048));
        let table = [
            ("http://example.com/", UriError::NotHttps),
            ("HTTPS://example.com/", UriError::NotHttps),
            ("example.com", UriError::NotHttps),
            ("https://user:pass@example.com/", UriError::UserInfo),
            ("https://example.com/#top", UriError::Fragment),
            ("https:///path", UriError::NoHost),
            ("https://:8443/", UriError::NoHost),
            ("https://", UriError::NoHost),
            (&long, UriError::TooLong(long.len())),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<EndpointUri>(), Err(expected), "{text}");
        }
        for text in
            ["https://exa mple.com/", "https://example.com:0/", "https://example.com:99999/", "https://[::1/"]
        {
            let verdict = text.parse::<EndpointUri>();
            assert!(matches!(verdict, Err(UriError::Malformed(_))), "{text}: {verdict:?}");
        }
    }
}
