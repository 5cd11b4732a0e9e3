//! Without TLS, nobody from outside.

use std::net::SocketAddr;

/// An address that would send tokens and personal data in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from other machines, so ingestion there needs a certificate; \
     plain HTTP is only for a loopback address, such as 127.0.0.1:8080"
)]
pub struct Exposed(pub SocketAddr);

/// Whether one may listen there.
///
/// # Errors
/// TLS is off, and the address is not a loopback address.
pub fn check_exposure(address: SocketAddr, tls: bool) -> Result<(), Exposed> {
    if tls || address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(Exposed(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_only_for_loopback() {
        for address in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(check_exposure(address.parse().unwrap(), false), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "[::ffff:10.0.0.1]:80", "[fe80::1]:80"] {
            let address = address.parse().unwrap();
            assert_eq!(check_exposure(address, false), Err(Exposed(address)));
            assert_eq!(check_exposure(address, true), Ok(()));
        }
    }
}
