//! The client under test, set up to reach the servers of a test.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::server::Authority;
use crate::outbound::{Channel, Guard, Outbound, OutboundConfig, Request, Resolver, TlsSettings};

/// Trusts `authority`, may call loopback, and knows `receiver.test` as 127.0.0.1.
pub(crate) fn config(authority: &Authority) -> OutboundConfig {
    let mut guard = Guard::default();
    guard.allow("127.0.0.0/8".parse().unwrap());
    guard.allow("::1".parse().unwrap());
    OutboundConfig {
        guard,
        extra_roots: Some(authority.pem().into_bytes()),
        resolver: Some(resolver([("receiver.test", "127.0.0.1")])),
        ..OutboundConfig::default()
    }
}

pub(crate) fn resolver<const N: usize>(names: [(&str, &str); N]) -> Resolver {
    Resolver::table(names.map(|(name, addresses)| {
        (name, addresses.split(' ').map(|address| address.parse::<IpAddr>().unwrap()).collect())
    }))
}

pub(crate) fn outbound(authority: &Authority) -> Outbound {
    Outbound::new(config(authority)).unwrap()
}

pub(crate) fn channel(outbound: &Outbound, host: &str, server: SocketAddr) -> Channel {
    let uri = format!("https://{host}:{}/users?a=b", server.port()).parse().unwrap();
    outbound.channel("team", &uri, &TlsSettings::default()).unwrap()
}

pub(crate) fn post(body: &'static str) -> Request {
    Request { method: Method::POST, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
}

pub(crate) async fn until(mut reached: impl FnMut() -> bool) {
    let look = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(super::DEADLINE, look).await.expect("never came to be");
}
