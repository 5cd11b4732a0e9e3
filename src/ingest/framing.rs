//! What RFC 9112 asks of a request's header beyond what the HTTP library does.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

use super::parse::Fault;

/// What is wrong with the header of a request, whatever it is for.
///
/// Who stands between a producer and Herald goes by `Host`, and must not have
/// read another one.
pub(super) fn fault(version: Version, headers: &HeaderMap) -> Option<Fault> {
    let hosts = headers.get_all(HOST).iter().count();
    let wrong = hosts > 1 || (hosts == 0 && version == Version::HTTP_11);
    wrong.then(|| Fault::Malformed("send the header Host once".to_owned()))
}

/// Whether what follows the request on its connection must not be read.
///
/// A request may have both a Content-Length and a Transfer-Encoding, of which
/// the library keeps only the latter. Whoever stands between may go by the
/// other, and take for a body what would be a request here.
pub(super) fn is_last(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_LENGTH;

    use super::*;

    #[test]
    fn a_request_names_its_host_once() {
        for (version, hosts, good) in [
            (Version::HTTP_11, 1, true),
            (Version::HTTP_11, 0, false),
            (Version::HTTP_11, 2, false),
            (Version::HTTP_10, 0, true),
            (Version::HTTP_10, 1, true),
            (Version::HTTP_10, 2, false),
        ] {
            let headers = (0..hosts).map(|_| (HOST, HeaderValue::from_static("h")));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| {
                map.append(name, value);
            });
            assert_eq!(fault(version, &map).is_none(), good, "{version:?} {hosts}");
        }
    }

    #[test]
    fn a_chunked_request_is_the_last_of_its_connection() {
        let headers = |name| HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]);
        assert!(is_last(&headers(TRANSFER_ENCODING)));
        assert!(!is_last(&headers(CONTENT_LENGTH)));
    }
}
