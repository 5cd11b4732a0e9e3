//! From a host name to its addresses.
//!
//! Names are absolute: the search domains of `/etc/resolv.conf` are not tried,
//! so that no name of a tenant can become one of the cluster's. `/etc/hosts` is
//! honoured, as it was when the process started. Answers are kept as long as
//! they say, at most a minute, and failures five seconds.
//!
//! Whoever names a host learns whether the name servers know it. So an
//! administrator may have others asked than those of `/etc/resolv.conf`: ones
//! that know no internal zone.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{ResolverBuilder, TokioResolver};

/// Who answers for host names.
#[derive(Clone)]
pub enum Resolver {
    /// Name servers, and before them `/etc/hosts`.
    Dns(Arc<TokioResolver>),
    /// A fixed table by lower-case name.
    Table(Arc<HashMap<String, Vec<IpAddr>>>),
}

impl Resolver {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`. Without the former, the name
    /// server is the one of the machine itself, as the C library has it.
    ///
    /// # Errors
    /// The resolver cannot be built from what the files say.
    pub fn system() -> Result<Self, NetError> {
        let builder = TokioResolver::builder_tokio().or_else(|error| {
            tracing::warn!(%error, "no usable /etc/resolv.conf; asking the name server on 127.0.0.1");
            let local = NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]));
            let config = ResolverConfig::from_name_servers(vec![local]);
            Ok::<_, NetError>(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        })?;
        Self::build(builder)
    }

    /// Asks these name servers, by UDP and where an answer is too long for that by TCP.
    ///
    /// # Errors
    /// The resolver cannot be built.
    pub fn asking(name_servers: &[SocketAddr]) -> Result<Self, NetError> {
        let servers = name_servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Self::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, NetError> {
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Always;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.timeout = Duration::from_secs(1);
        options.positive_max_ttl = Some(Duration::from_mins(1));
        options.negative_max_ttl = Some(Duration::from_secs(5));
        options.cache_size = 16_384;
        Ok(Self::Dns(Arc::new(builder.build()?)))
    }

    /// Answers from `table` alone.
    pub fn table<N: Into<String>>(table: impl IntoIterator<Item = (N, Vec<IpAddr>)>) -> Self {
        Self::Table(Arc::new(table.into_iter().map(|(name, addresses)| (name.into(), addresses)).collect()))
    }

    /// The addresses of `host`: at least one, IPv6 and IPv4 in turn.
    ///
    /// # Errors
    /// There is none, or none is known.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let addresses: Vec<IpAddr> = match self {
            Self::Dns(resolver) => {
                let mut name = Name::from_ascii(host).map_err(Unresolved::NotAName)?;
                name.set_fqdn(true);
                resolver.lookup_ip(name).await.map_err(Unresolved::from)?.iter().collect()
            }
            Self::Table(table) => table.get(&canonical(host)).cloned().unwrap_or_default(),
        };
        if addresses.is_empty() {
            return Err(Unresolved::NoSuchName);
        }
        Ok(in_turn(addresses))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dns(_) => "Resolver::Dns",
            Self::Table(_) => "Resolver::Table",
        })
    }
}

/// Why a host has no address. Its `Display` is for tenants: a sentence without
/// the name, and without what name servers say or where they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("it is not a host name: {0}")]
    NotAName(#[source] ProtoError),
    #[error("the name does not exist")]
    NoSuchName,
    #[error("the name has no IPv4 and no IPv6 address")]
    NoAddress,
    #[error("the name servers gave no answer")]
    NoAnswer(#[source] NetError),
}

impl From<NetError> for Unresolved {
    fn from(error: NetError) -> Self {
        if error.is_nx_domain() {
            Self::NoSuchName
        } else if error.is_no_records_found() {
            Self::NoAddress
        } else {
            Self::NoAnswer(error)
        }
    }
}

/// A host name as it is compared: the same however it is spelt.
pub(super) fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The domain of the cluster's names, as a pod's search list in `/etc/resolv.conf` has it.
pub fn cluster_domain() -> Option<String> {
    let (config, _) = read_system_conf().ok()?;
    cluster_domain_of(config.search())
}

/// A kubelet writes `NAMESPACE.svc.DOMAIN`, `svc.DOMAIN` and `DOMAIN`.
fn cluster_domain_of(search: &[Name]) -> Option<String> {
    search.iter().find_map(|name| {
        let name = name.to_ascii().to_ascii_lowercase();
        let domain = name.strip_prefix("svc.")?.trim_end_matches('.');
        (!domain.is_empty()).then(|| domain.to_owned())
    })
}

/// IPv6 and IPv4 by turns (RFC 8305), so that a network without one of them
/// costs one failed connection and not all.
fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut turns = Vec::new();
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => return turns,
            (six, four) => turns.extend(six.into_iter().chain(four)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(
            in_turn(addresses(&["1.1.1.1", "1.1.1.2", "1.1.1.3", "2a00::1"])),
            addresses(&["2a00::1", "1.1.1.1", "1.1.1.2", "1.1.1.3"])
        );
    }

    #[test]
    fn the_cluster_s_domain_is_what_follows_svc_in_the_search_list() {
        let table = [
            (&["identity.svc.Example.org", "svc.Example.org.", "example.org"][..], Some("example.org")),
            (&["svc.cluster.local", "svc.other"], Some("cluster.local")),
            (&["corp.example", "svc", "svc."], None),
            (&[], None),
        ];
        for (search, domain) in table {
            let names: Vec<_> = search.iter().map(|name| Name::from_ascii(name).unwrap()).collect();
            assert_eq!(cluster_domain_of(&names).as_deref(), domain, "{search:?}");
        }
    }

    #[tokio::test]
    async fn the_hosts_file_is_honoured_and_a_name_is_absolute() {
        let resolver = Resolver::system().unwrap();
        let addresses = resolver.lookup("localhost").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        let addresses = resolver.lookup("localhost.").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
