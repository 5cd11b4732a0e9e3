//! Which hosts and addresses Herald may call.
//!
//! ```text
//! host ── check_host ─> resolve ── select ─> the addresses that may be called
//! ```
//!
//! Tenants say where requests go, so an address is callable only if it is
//! global unicast and not of the cluster, or an administrator allowed it. The
//! check is on the very address that is connected to, after resolution, so a
//! name that changes its answer gains nothing.
//!
//! Where a name has allowed and forbidden addresses, the allowed ones are used
//! and the others never: refusing the whole answer would protect nobody, since
//! no forbidden address is ever connected to, and would cut off every name in
//! networks with DNS64, which adds a translated address to each answer.
//!
//! Forms that carry an IPv4 address inside an IPv6 address are refused as
//! such, whatever they carry: no public endpoint needs them.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::addresses::{AddressKind, special};

/// What may be called beyond, and what may not be called within, the public Internet.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Addresses that may be called whatever they are. Wins over the rest.
    pub allowed_nets: Vec<IpNet>,
    /// Names that may be resolved whatever they look like. Their addresses are checked all the same.
    pub allowed_hosts: Vec<String>,
    /// Addresses that may not be called, such as the cluster's pods, services and nodes.
    pub forbidden_nets: Vec<IpNet>,
    /// Names under these are the cluster's own and are not resolved.
    pub forbidden_suffixes: Vec<String>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            allowed_nets: Vec::new(),
            allowed_hosts: Vec::new(),
            forbidden_nets: Vec::new(),
            forbidden_suffixes: vec!["svc".to_owned(), "cluster.local".to_owned()],
        }
    }
}

/// One thing that an administrator allows: a range of addresses, or a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// A CIDR, or a single address.
    Net(IpNet),
    /// A host name, in lower case.
    Host(String),
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(good) || ends_in_number(name) {
            return Err("must be a CIDR such as 10.0.0.0/8, an address, or a host name".to_owned());
        }
        Ok(Self::Host(name.to_ascii_lowercase()))
    }
}

/// A host or an address that may not be called, and how to allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// An address of `host`, or `host` itself, is of a forbidden kind.
    #[error(
        "{}; an administrator can allow it with --outbound-allow {}",
        describe(host, *address, *kind),
        IpNet::from(*address)
    )]
    Address {
        /// As the URI names it.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
        /// What is wrong with it.
        kind: AddressKind,
    },
    /// The name is one that only this cluster would resolve.
    #[error(
        "{host} is {what}, which Herald does not call; name the endpoint by its public name, \
         or let an administrator allow it with --outbound-allow {host} and the CIDR of its address"
    )]
    Name {
        /// As the URI names it.
        host: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

fn describe(host: &str, address: IpAddr, kind: AddressKind) -> String {
    match host.parse::<IpAddr>() {
        Ok(_) => format!("{address} is {kind}, which Herald does not call"),
        Err(_) => format!("{host} has the address {address}, {kind}, which Herald does not call"),
    }
}

impl Guard {
    /// Adds what an administrator allows.
    pub fn allow(&mut self, allowance: Allowance) {
        match allowance {
            Allowance::Net(net) => self.allowed_nets.push(net),
            Allowance::Host(host) => self.allowed_hosts.push(host),
        }
    }

    /// Whether a name may be resolved at all.
    ///
    /// # Errors
    /// It is a single label, is under a suffix of the cluster, or is an address
    /// in a spelling that only some resolvers read as one.
    pub fn check_host(&self, host: &str) -> Result<(), Forbidden> {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if self.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name)) {
            return Ok(());
        }
        let what = if ends_in_number(&name) {
            "an address in an unusual spelling"
        } else if !name.contains('.') {
            "a name without a domain"
        } else if self.forbidden_suffixes.iter().any(|suffix| is_under(&name, suffix)) {
            "a name of the cluster's own network"
        } else {
            return Ok(());
        };
        Err(Forbidden::Name { host: host.to_owned(), what })
    }

    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// The kind for which it may not.
    pub fn check_address(&self, address: IpAddr) -> Result<(), AddressKind> {
        if self.allowed_nets.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        if self.forbidden_nets.iter().any(|net| net.contains(&address)) {
            return Err(AddressKind::Cluster);
        }
        special(address).map_or(Ok(()), Err)
    }

    /// Those of a host's addresses that may be connected to: at least one.
    ///
    /// # Errors
    /// There is none; the first is named. An empty answer is the caller's to refuse.
    pub fn select(&self, host: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Forbidden> {
        let mut first = None;
        let mut allowed = addresses;
        allowed.retain(|&address| match self.check_address(address) {
            Ok(()) => true,
            Err(kind) => {
                first.get_or_insert((address, kind));
                false
            }
        });
        match first {
            Some((address, kind)) if allowed.is_empty() => {
                Err(Forbidden::Address { host: host.to_owned(), address, kind })
            }
            Some(_) | None => Ok(allowed),
        }
    }
}

/// Whether the last label is a number, decimal, octal or hexadecimal: then some
/// resolvers take the whole for an IPv4 address.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.chars().all(|c| c.is_ascii_hexdigit()),
        None => !last.is_empty() && last.chars().all(|c| c.is_ascii_digit()),
    }
}

fn is_under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::AddressKind as K;
    use super::*;

    #[test]
    fn the_cluster_s_ranges_are_forbidden_and_what_is_allowed_wins() {
        let mut guard = Guard { forbidden_nets: vec!["198.200.0.0/16".parse().unwrap()], ..Guard::default() };
        guard.allow("198.200.7.0/24".parse().unwrap());
        guard.allow("::1".parse().unwrap());
        let table = [
            ("198.200.1.1", Some(K::Cluster)),
            ("198.200.7.1", None),
            ("198.201.0.1", None),
            ("::1", None),
            ("::ffff:198.200.7.1", Some(K::Ipv4Mapped)),
        ];
        for (address, kind) in table {
            assert_eq!(guard.check_address(address.parse().unwrap()).err(), kind, "{address}");
        }
    }

    #[test]
    fn of_a_mixed_answer_only_what_is_allowed_is_used() {
        let guard = Guard::default();
        let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        let mixed = guard.select("mixed.example.com", addresses(&["10.0.0.1", "8.8.8.8", "64:ff9b::1"]));
        assert_eq!(mixed, Ok(addresses(&["8.8.8.8"])));
        let refused = guard.select("db.example.com", addresses(&["10.0.0.1", "::1"])).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "db.example.com has the address 10.0.0.1, a private address, which Herald does not call; \
             an administrator can allow it with --outbound-allow 10.0.0.1/32"
        );
        let literal = guard.select("::1", addresses(&["::1"])).unwrap_err();
        assert!(literal.to_string().starts_with("::1 is a loopback address"), "{literal}");
    }

    #[test]
    fn a_name_of_the_cluster_is_not_even_resolved() {
        let mut guard = Guard::default();
        guard.allow("Receiver.demo.svc".parse().unwrap());
        let table = [
            ("hooks.example.com", true),
            ("hooks.example.com.", true),
            ("svc.example.com", true),
            ("notsvc.mysvc", true),
            ("localhost", false),
            ("kubernetes", false),
            ("kubernetes.", false),
            ("kubernetes.default.svc", false),
            ("KUBERNETES.DEFAULT.SVC.", false),
            ("kubernetes.default.svc.cluster.local", false),
            ("receiver.demo.svc", true),
            ("other.demo.svc", false),
            ("2130706433", false),
            ("127.1", false),
            ("0x7f.0.0.0x1", false),
            ("1.2.3.4.", false),
        ];
        for (host, allowed) in table {
            assert_eq!(guard.check_host(host).is_ok(), allowed, "{host}");
        }
    }

    #[test]
    fn an_allowance_is_a_range_an_address_or_a_name() {
        let net = |text: &str| Ok(Allowance::Net(text.parse().unwrap()));
        assert_eq!("10.1.2.3/8".parse(), net("10.0.0.0/8"));
        assert_eq!("127.0.0.1".parse(), net("127.0.0.1/32"));
        assert_eq!("fd00::/8".parse(), net("fd00::/8"));
        assert_eq!("LocalHost".parse(), Ok(Allowance::Host("localhost".to_owned())));
        for text in ["", "10.0.0.0/33", "127.1", "a b", "https://x"] {
            assert!(text.parse::<Allowance>().is_err(), "{text}");
        }
    }
}
