//! Where requests may go, how names are resolved, and by which way.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;

use crate::outbound::{
    Allowance, ClusterNetworks, Destination, Guard, Nat64Prefix, OutboundConfig, PerDestination, ProxyConfig,
    ProxyUrl, Resolver, cluster_domain, parse_net,
};
use crate::subscriptions::Namespaces;

/// Whom requests may go to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Outbound requests")]
pub(in crate::cli) struct OutboundFlags {
    /// Allow endpoints in a range (10.1.0.0/16), at a host (hooks.internal) or at hosts under a name
    /// (*.hooks.internal) that are forbidden otherwise: loopback, private, link-local and the like;
    /// to the Webhooks of all namespaces, or of the one before an equals sign (repeat for more)
    #[arg(long = "outbound-allow", value_name = "[NAMESPACE=]CIDR|HOST")]
    allow: Vec<Allowance>,
    /// Forbid endpoints in a range, such as the cluster's pods and services (repeat for more)
    #[arg(long = "outbound-forbid", value_name = "CIDR", value_parser = range)]
    forbid: Vec<IpNet>,
    /// The IPv6 prefix by which a NAT64 gateway of this network leads to IPv4 addresses; its
    /// addresses are then judged by the IPv4 addresses in them (repeat for more)
    #[arg(long = "outbound-nat64", value_name = "PREFIX")]
    nat64: Vec<Nat64Prefix>,
    /// Find out the ranges of pods, services and nodes and the addresses of the API server, by the
    /// rights that this needs, and forbid them [default: true, and false with --namespace]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    discover_cluster_networks: Option<bool>,
    /// Where the API server is, as a kubelet tells each pod
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    pub(in crate::cli) kubernetes_service_host: Option<String>,
    /// The domain of the cluster's own names, which are not resolved, beside cluster.local
    /// [default: from the search list of /etc/resolv.conf]
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    cluster_domain: Option<String>,
    /// Ask this name server for endpoints, in place of those of /etc/resolv.conf (repeat for more);
    /// one that knows no internal zone tells tenants nothing about it
    #[arg(long = "outbound-name-server", value_name = "ADDRESS[:PORT]", value_parser = name_server)]
    name_servers: Vec<SocketAddr>,
    /// CA certificates (PEM) that are trusted beside the system's
    #[arg(long = "outbound-extra-roots", value_name = "FILE")]
    extra_roots: Option<PathBuf>,
    #[command(flatten)]
    per_destination: PerDestinationFlags,
    #[command(flatten)]
    proxy: ProxyFlags,
}

/// The way out, where it is not a direct one.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Outbound requests")]
struct ProxyFlags {
    /// Connect to endpoints through this proxy (http://HOST:PORT), by CONNECT to the address that was
    /// checked; no proxy is taken from the environment
    #[arg(long = "outbound-proxy", value_name = "URL")]
    url: Option<ProxyUrl>,
    /// A file with user:password for the proxy; read for each connection
    #[arg(long = "outbound-proxy-credentials", value_name = "FILE", requires = "url")]
    credentials: Option<PathBuf>,
    /// Have the proxy resolve host names, and restrict where they lead: their addresses are not checked by Herald
    #[arg(long = "outbound-proxy-resolves", requires = "url")]
    resolves: bool,
}

impl ProxyFlags {
    fn config(&self) -> anyhow::Result<Option<ProxyConfig>> {
        let Some(url) = self.url.clone() else { return Ok(None) };
        let proxy = ProxyConfig { url, credentials: self.credentials.clone(), resolves: self.resolves };
        if let (Err(what), Some(path)) = (proxy.check(), &proxy.credentials) {
            anyhow::bail!("--outbound-proxy-credentials {}: {what}", path.display());
        }
        Ok(Some(proxy))
    }
}

/// What one destination gets of all Webhooks together.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Outbound requests")]
struct PerDestinationFlags {
    /// The most requests at one time to one host, and to one address, of all Webhooks together; 0 for no limit
    #[arg(long = "max-in-flight-per-destination", value_name = "COUNT", default_value_t = PerDestination::default().in_flight)]
    in_flight: usize,
    /// The most requests to one host, and to one address, in any second; 0 for no limit
    #[arg(long = "max-per-second-per-destination", value_name = "COUNT", default_value_t = PerDestination::default().requests)]
    requests: usize,
    /// The most connections to one host, and to one address, in any second; 0 for no limit
    #[arg(long = "max-connects-per-second-per-destination", value_name = "COUNT", default_value_t = PerDestination::default().connects)]
    connects: usize,
}

impl PerDestinationFlags {
    const fn config(&self) -> PerDestination {
        PerDestination { in_flight: self.in_flight, requests: self.requests, connects: self.connects }
    }
}

impl OutboundFlags {
    /// Whether the cluster's own networks are to be looked for.
    pub(in crate::cli) fn discovers(&self, namespaces: &Namespaces) -> bool {
        self.discover_cluster_networks.unwrap_or(namespaces.are_all())
    }

    pub(in crate::cli) fn config(&self, cluster: ClusterNetworks) -> anyhow::Result<OutboundConfig> {
        let mut guard = Guard::default();
        guard.cluster = cluster;
        guard.forbidden_nets.extend(&self.forbid);
        guard.nat64.extend(&self.nat64);
        guard.forbidden_suffixes.extend(self.cluster_domain.clone().or_else(cluster_domain));
        for allowance in &self.allow {
            guard.allow(allowance.clone());
        }
        let extra_roots = self
            .extra_roots
            .as_ref()
            .map(|path| {
                std::fs::read(path).with_context(|| format!("--outbound-extra-roots {}", path.display()))
            })
            .transpose()?;
        let resolver = match self.name_servers.as_slice() {
            [] => None,
            servers => Some(Resolver::asking(servers).context("--outbound-name-server")?),
        };
        let per_destination = self.per_destination.config();
        let proxy = self.proxy.config()?;
        Ok(OutboundConfig {
            guard,
            extra_roots,
            resolver,
            per_destination,
            proxy,
            ..OutboundConfig::default()
        })
    }
}

fn range(text: &str) -> Result<IpNet, String> {
    parse_net(text).ok_or_else(|| "write a range such as 10.96.0.0/12".to_owned())
}

/// A name in lower case, without dots around it.
fn domain(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(Destination::Host(name)) => Ok(name),
        _ => Err("write a domain such as cluster.local".to_owned()),
    }
}

/// An address, with the port of DNS unless it names another.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    text.parse().ok().or_else(with_port).ok_or_else(|| {
        "write an address such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        let table = [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ];
        for (text, address) in table {
            assert_eq!(name_server(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["", "dns.example.com", "192.0.2.53:", "192.0.2.53:99999", "[2001:db8::53]"] {
            assert!(name_server(text).unwrap_err().contains("192.0.2.53:5353"), "{text}");
        }
    }

    #[test]
    fn the_cluster_s_domain_is_a_name() {
        assert_eq!(domain("K8s.Example.com."), Ok("k8s.example.com".to_owned()));
        for text in ["", "10.0.0.0/8", "*.example.com", "a b"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }
}
