//! Where tenants might send Herald, against the real client and a real name server.
//!
//! ```text
//! addresses: each as a URI names it, and as the only answer for a name
//! spellings: URIs that some parser or resolver reads as such an address
//! names:     hosts that are not even asked for
//! answers:   names whose answer changes, mixes, leads elsewhere or is missing
//! ```
//!
//! That nothing was connected to is observed, twice: the exchange never came to
//! the step of connecting, and whatever of this machine could have been
//! reached listens and counts. That the counting works is shown by a client
//! that may go there. What would be called on the Internet is not: those rows
//! ask the guard alone.

mod addresses;
mod answers;
mod names;
mod spellings;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::DEADLINE;
use super::names::{NameServer, Reply};
use super::server::{self, Authority, Server, read_request, write};
use super::subject::{config, post};
use crate::outbound::{
    Channel, Exchange, ExchangeError, Forbidden, Guard, Outbound, OutboundConfig, Resolver, TlsSettings,
};

/// The namespace of the tenant who tries.
const TENANT: &str = "team";

/// Ends its connection, so that the next exchange looks anew where to go.
const OK_ONCE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// A name server, and a client that asks it.
struct Bench {
    names: NameServer,
    outbound: Outbound,
}

impl Bench {
    /// With these allowances.
    async fn new(authority: &Authority, allowed: &[&str]) -> Self {
        let mut guard = Guard::default();
        for allowance in allowed {
            guard.allow(allowance.parse().unwrap());
        }
        Self::with(authority, guard).await
    }

    async fn with_cluster_domain(authority: &Authority, domain: &str) -> Self {
        let mut guard = Guard::default();
        guard.forbidden_suffixes.push(domain.to_owned());
        Self::with(authority, guard).await
    }

    async fn with(authority: &Authority, guard: Guard) -> Self {
        let names = NameServer::start().await;
        let resolver = Some(Resolver::asking(&[names.address()]).unwrap());
        let outbound = Outbound::new(OutboundConfig { guard, resolver, ..config(authority) }).unwrap();
        Self { names, outbound }
    }

    fn channel(&self, uri: &str) -> Channel {
        let uri = uri.parse().unwrap_or_else(|error| panic!("{uri}: {error}"));
        self.outbound.channel(TENANT, &uri, &TlsSettings::default()).unwrap()
    }

    async fn exchange(&self, uri: &str) -> Exchange {
        self.channel(uri).exchange(post("{}"), DEADLINE).await
    }
}

/// Why it was refused, after no step but the resolution of the name.
fn refused(exchange: Exchange) -> Result<Forbidden, String> {
    let phases = exchange.phases;
    match exchange.end {
        Err(ExchangeError::AddressForbidden(_)) if phases.connect + phases.tls > Duration::ZERO => {
            Err(format!("it came to a connection: {phases:?}"))
        }
        Err(ExchangeError::AddressForbidden(forbidden)) => Ok(forbidden),
        end => Err(format!("{end:?}")),
    }
}

/// Listens for whatever this machine is reached by, IPv4 and IPv6, and counts.
async fn witness(pair: &server::Pair) -> Server {
    Server::on(IpAddr::V6(Ipv6Addr::UNSPECIFIED), server::tls(pair, None), |_, mut stream| async move {
        if read_request(&mut stream).await.is_some() {
            write(&mut stream, OK_ONCE).await;
        }
    })
    .await
}

#[tokio::test]
async fn wherever_a_tenant_points_herald_only_the_public_internet_is_called() {
    let authority = Authority::new();
    let mut cases = addresses::run(&authority).await;
    cases += spellings::run(&authority).await;
    cases += names::run(&authority).await;
    cases += answers::run(&authority).await;
    assert!(cases >= 500, "{cases}");
}

#[tokio::test]
async fn through_a_named_nat64_gateway_only_what_may_be_called_is_called() {
    let authority = Authority::new();
    let pair = authority.sign(&["inside.test", "mixed.test"]);
    let witness = witness(&pair).await;
    let port = witness.address.port();
    let mut guard = Guard::default();
    guard.allow("127.0.0.1".parse().unwrap());
    // By this one the kernel leads to IPv4 addresses, as a gateway would.
    guard.nat64 = vec!["::ffff:0:0/96".parse().unwrap(), "2a00:64::/96".parse().unwrap()];
    let bench = Bench::with(&authority, guard).await;
    bench.names.says("inside.test", [Reply::addresses("::ffff:127.0.0.2")]);
    bench.names.says("mixed.test", [Reply::addresses("::ffff:127.0.0.2 ::ffff:127.0.0.1")]);
    let inside = ["[2a00:64::10.0.0.1]", "[2a00:64::a9fe:a9fe]", "[2a00:64::7f00:2]", "inside.test"];
    for host in inside {
        refused(bench.exchange(&format!("https://{host}:{port}/")).await).unwrap();
    }
    assert_eq!(witness.connections(), 0);
    let answer = bench.exchange(&format!("https://mixed.test:{port}/")).await.end.unwrap();
    assert_eq!((answer.body.as_ref(), witness.connections()), (&b"ok"[..], 1));
}

#[tokio::test]
async fn what_is_allowed_to_one_tenant_is_not_to_another() {
    let authority = Authority::new();
    let pair = authority.sign(&["inside.test", "inside.team.svc", "127.0.0.1"]);
    let witness = witness(&pair).await;
    let port = witness.address.port();
    let bench = Bench::new(&authority, &["team=127.0.0.0/8", "team=inside.team.svc"]).await;
    for name in ["inside.test", "inside.team.svc"] {
        bench.names.says(name, [Reply::addresses("127.0.0.1")]);
    }
    for (number, host) in ["inside.test", "127.0.0.1", "inside.team.svc"].into_iter().enumerate() {
        let uri = format!("https://{host}:{port}/").parse().unwrap();
        for other in ["other", "Team", "team2", ""] {
            let channel = bench.outbound.channel(other, &uri, &TlsSettings::default()).unwrap();
            refused(channel.exchange(post("{}"), DEADLINE).await).unwrap();
        }
        assert_eq!(witness.connections(), number, "{host}");
        let answer = bench.exchange(&uri.to_string()).await.end.unwrap();
        assert_eq!((answer.body.as_ref(), witness.connections()), (&b"ok"[..], number + 1), "{host}");
    }
}
