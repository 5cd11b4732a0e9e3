//! From a host name to its addresses.
//!
//! Names are absolute: the search domains of `/etc/resolv.conf` are not tried,
//! so that no name of a tenant can become one of the cluster's. `/etc/hosts` is
//! honoured, as it was when the process started. Answers are kept as long as
//! they say, at most a minute, and failures five seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;

/// Who answers for host names.
#[derive(Clone)]
pub enum Resolver {
    /// The name servers of `/etc/resolv.conf`, and `/etc/hosts`.
    System(Arc<TokioResolver>),
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
        let mut builder = TokioResolver::builder_tokio().or_else(|error| {
            tracing::warn!(%error, "no usable /etc/resolv.conf; asking the name server on 127.0.0.1");
            let local = NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]));
            let config = ResolverConfig::from_name_servers(vec![local]);
            Ok::<_, NetError>(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        })?;
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Always;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        options.timeout = Duration::from_secs(1);
        options.positive_max_ttl = Some(Duration::from_mins(1));
        options.negative_max_ttl = Some(Duration::from_secs(5));
        options.cache_size = 16_384;
        Ok(Self::System(Arc::new(builder.build()?)))
    }

    /// Answers from `table` alone.
    pub fn table<N: Into<String>>(table: impl IntoIterator<Item = (N, Vec<IpAddr>)>) -> Self {
        Self::Table(Arc::new(table.into_iter().map(|(name, addresses)| (name.into(), addresses)).collect()))
    }

    /// The addresses of `host`: at least one, IPv6 and IPv4 in turn.
    ///
    /// # Errors
    /// What went wrong, in a sentence without the name.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let addresses: Vec<IpAddr> = match self {
            Self::System(resolver) => {
                let mut name =
                    Name::from_ascii(host).map_err(|error| format!("it is not a host name: {error}"))?;
                name.set_fqdn(true);
                resolver.lookup_ip(name).await.map_err(|error| explain(&error))?.iter().collect()
            }
            Self::Table(table) => {
                let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                table.get(&name).cloned().unwrap_or_default()
            }
        };
        if addresses.is_empty() {
            return Err("the name does not exist".to_owned());
        }
        Ok(in_turn(addresses))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System(_) => "Resolver::System",
            Self::Table(_) => "Resolver::Table",
        })
    }
}

fn explain(error: &NetError) -> String {
    if error.is_nx_domain() {
        "the name does not exist".to_owned()
    } else if error.is_no_records_found() {
        "the name has no IPv4 and no IPv6 address".to_owned()
    } else {
        format!("the name servers gave no answer: {error}")
    }
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

    #[tokio::test]
    async fn the_hosts_file_is_honoured_and_a_name_is_absolute() {
        let resolver = Resolver::system().unwrap();
        let addresses = resolver.lookup("localhost").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        let addresses = resolver.lookup("localhost.").await.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
