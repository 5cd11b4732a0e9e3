//! Where a webhook's requests go.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery};

/// An absolute `https` URI with a host, at most 2,048 characters long, without
/// user-info and without fragment.
///
/// The grammar is RFC 3986's, narrowed to what a request can be sent to: the
/// host is a DNS name in its ASCII form, an IPv4 address or a bracketed IPv6
/// address. The schema of the custom resource says the same in CEL, and one
/// table of examples holds the two together.
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
    #[error("must be at most 2048 characters long, and has {0}")]
    TooLong(usize),
    /// Another scheme, or none.
    #[error("must begin with https://, because Herald sends secrets and personal data over TLS only")]
    NotHttps,
    /// `user:password@` before the host.
    #[error(
        "must not contain user-info (user:password@): put the API key into the Secret of apiKeySecretRef"
    )]
    UserInfo,
    /// `#…` at the end.
    #[error("must not contain a fragment (#...), which is never sent to a server: leave it out")]
    Fragment,
    /// Nothing between `https://` and the path.
    #[error("must name a host after https://, such as https://hooks.example.com/users")]
    NoHost,
    /// Something other than a name or an address in the host's place.
    #[error(
        "the host must be a DNS name such as hooks.example.com (an international name in its xn-- form), \
         an IPv4 address, or an IPv6 address in brackets"
    )]
    Host,
    /// A port that is not one.
    #[error("the port must be a number from 1 to 65535; leave out the colon for 443")]
    Port,
    /// A character in path or query that no URI has there.
    #[error(
        "path and query must consist of the characters that a URI allows: \
         write any other percent-encoded, such as %20 for a space"
    )]
    Characters,
}

/// For logs and sentences: many put a secret into the query. The spec and the
/// proof hold the whole of it, for those who may read the Webhook.
pub fn without_query(uri: &str) -> Cow<'_, str> {
    match uri.split_once('?') {
        Some((rest, _)) => Cow::Owned(format!("{rest}?…")),
        None => Cow::Borrowed(uri),
    }
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
        let rest = text.strip_prefix("https://").ok_or(UriError::NotHttps)?;
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UriError::UserInfo);
        }
        if target.contains('#') {
            return Err(UriError::Fragment);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(UriError::NoHost);
        }
        let (host, port) = split_port(authority);
        if !is_host(host) {
            return Err(UriError::Host);
        }
        if !port.is_none_or(is_port) {
            return Err(UriError::Port);
        }
        if !is_path_and_query(target) {
            return Err(UriError::Characters);
        }
        // What the grammar above lets through, the http crate takes; its own
        // grammar is looser in some places and has no message for people.
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self {
            text: text.to_owned(),
            authority: authority.parse().map_err(|_| UriError::Host)?,
            path_and_query: target.parse().map_err(|_| UriError::Characters)?,
        })
    }
}

/// The host, and what follows its colon, if it has one.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let end_of_host = authority.find(']').map_or(0, |bracket| bracket + 1);
    match authority.get(end_of_host..).and_then(|rest| rest.find(':')) {
        Some(colon) => {
            let (host, port) = authority.split_at(end_of_host + colon);
            (host, port.get(1..))
        }
        None => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        // An IPv4 address in IPv6 clothes is refused: it can be written plainly.
        Some(rest) => rest
            .strip_suffix(']')
            .and_then(|address| address.parse::<Ipv6Addr>().ok())
            .is_some_and(|address| address.to_ipv4_mapped().is_none()),
        None => host.split('.').all(is_label),
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_port(port: &str) -> bool {
    !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok()
}

fn is_path_and_query(target: &str) -> bool {
    let mut pieces = target.split('%');
    let plain =
        |piece: &str| piece.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&b));
    pieces.next().is_none_or(plain)
        && pieces.all(|piece| {
            piece.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) && plain(piece)
        })
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

/// Good and bad URIs, for everything that has to agree on which is which.
#[cfg(test)]
pub(crate) mod examples {
    use super::UriError;

    /// The URI, its host, port and path.
    pub(crate) const GOOD: [(&str, &str, u16, &str); 11] = [
        ("https://hooks.example.com/users", "hooks.example.com", 443, "/users"),
        ("https://hooks.example.com", "hooks.example.com", 443, "/"),
        ("https://hooks.example.com:8443/a?b=c", "hooks.example.com", 8443, "/a?b=c"),
        ("https://[2001:db8::1]:8443/a", "2001:db8::1", 8443, "/a"),
        ("https://[2001:db8::1]", "2001:db8::1", 443, "/"),
        ("https://192.0.2.7:65535/", "192.0.2.7", 65535, "/"),
        ("https://hooks.example.com?b=c@d", "hooks.example.com", 443, "/?b=c@d"),
        ("https://hooks.example.com/a@b:c/%7Euser", "hooks.example.com", 443, "/a@b:c/%7Euser"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://receiver.team_a.svc/!$&'()*+,;=-._~", "receiver.team_a.svc", 443, "/!$&'()*+,;=-._~"),
        ("https://Hooks/", "Hooks", 443, "/"),
    ];

    /// The URI and what is wrong with it; the long ones are made by [`long`].
    pub(crate) const BAD: [(&str, UriError); 35] = [
        ("http://example.com/", UriError::NotHttps),
        ("HTTPS://example.com/", UriError::NotHttps),
        (" https://example.com/", UriError::NotHttps),
        ("example.com", UriError::NotHttps),
        ("https:/example.com/", UriError::NotHttps),
        ("", UriError::NotHttps),
        ("https://user:pass@example.com/", UriError::UserInfo),
        ("https://user@example.com", UriError::UserInfo),
        ("https://@example.com", UriError::UserInfo),
        ("https://example.com@", UriError::UserInfo),
        ("https://example.com/#top", UriError::Fragment),
        ("https://example.com#", UriError::Fragment),
        ("https:///path", UriError::NoHost),
        ("https://:8443/", UriError::NoHost),
        ("https://?a=b", UriError::NoHost),
        ("https://", UriError::NoHost),
        ("https://exa mple.com/", UriError::Host),
        ("https://b\u{fc}cher.example/", UriError::Host),
        ("https://example..com/", UriError::Host),
        ("https://example.com./", UriError::Host),
        ("https://-example.com/", UriError::Host),
        ("https://example-.com/", UriError::Host),
        ("https://%65xample.com/", UriError::Host),
        ("https://[::1/", UriError::Host),
        ("https://[1:2:3]/", UriError::Host),
        ("https://[192.0.2.7]/", UriError::Host),
        ("https://[::ffff:192.0.2.7]/", UriError::Host),
        ("https://[fe80::1%25eth0]/", UriError::Host),
        ("https://[2001:db8::1]x/", UriError::Host),
        ("https://example.com:/", UriError::Port),
        ("https://example.com:0/", UriError::Port),
        ("https://example.com:99999/", UriError::Port),
        ("https://example.com:80:80/", UriError::Port),
        ("https://example.com/a b", UriError::Characters),
        ("https://example.com/%zz?q={x}", UriError::Characters),
    ];

    /// A URI of `length` characters that is good but for its length.
    pub(crate) fn long(length: usize) -> String {
        let start = "https://example.com/";
        format!("{start}{}", "a".repeat(length - start.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_uri_is_taken_apart() {
        for (text, host, port, path) in examples::GOOD {
            let uri: EndpointUri = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((uri.host(), uri.port()), (host, port), "{text}");
            assert_eq!(uri.path_and_query().as_str(), path, "{text}");
            assert_eq!(uri.as_str(), text);
        }
    }

    #[test]
    fn a_bad_uri_is_refused_for_what_is_wrong_with_it() {
        for (text, expected) in examples::BAD {
            assert_eq!(text.parse::<EndpointUri>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn the_length_is_bounded() {
        assert!(examples::long(2048).parse::<EndpointUri>().is_ok());
        assert_eq!(examples::long(2049).parse::<EndpointUri>(), Err(UriError::TooLong(2049)));
    }
}
