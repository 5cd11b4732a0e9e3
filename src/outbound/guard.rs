//! Which hosts and addresses Herald may call.
//!
//! ```text
//! host ── check_host ─> resolve ── select ─> the addresses that may be called
//! ```
//!
//! Tenants say where requests go, so an address is callable only if it is
//! global unicast and not of the cluster, or an administrator allowed it, to all
//! or to the webhook's namespace. The
//! check is on the very address that is connected to, after resolution, so a
//! name that changes its answer gains nothing.
//!
//! Where a name has allowed and forbidden addresses, the allowed ones are used
//! and the others never: refusing the whole answer would protect nobody, since
//! no forbidden address is ever connected to, and would cut off every name in
//! networks with DNS64, which adds a translated address to each answer.
//!
//! Forms that carry an IPv4 address inside an IPv6 address are refused as
//! such, whatever they carry: no public endpoint needs them. Where the network has a NAT64
//! gateway whose prefix an administrator has named, its addresses are judged, and
//! counted, as the IPv4 addresses that they lead to.

mod allowance;
mod forbidden;
mod names;
mod nat64;

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use allowance::parse_net;
pub use allowance::{Allowance, Destination};
pub(super) use forbidden::Detail;
pub use forbidden::Forbidden;
pub use names::NameKind;
pub use nat64::Nat64Prefix;

use super::ClusterNetworks;
use super::addresses::{AddressKind, special};
use super::resolve::canonical;
use allowance::Allowed;
use nat64::Through;

/// What may be called beyond, and what may not be called within, the public Internet.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Wins over the rest. Addresses of allowed names are checked all the same.
    allowed: Allowed,
    /// The same for the webhooks of one namespace.
    allowed_in: HashMap<String, Allowed>,
    /// Addresses that may not be called, such as the cluster's pods, services and nodes.
    pub forbidden_nets: Vec<IpNet>,
    /// By which the network leads to IPv4 addresses.
    pub nat64: Vec<Nat64Prefix>,
    /// Names under these, in lower case, are the cluster's own and are not resolved.
    pub forbidden_suffixes: Vec<String>,
    /// As the former, and found out.
    pub cluster: ClusterNetworks,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            allowed: Allowed::default(),
            allowed_in: HashMap::new(),
            forbidden_nets: Vec::new(),
            nat64: Vec::new(),
            forbidden_suffixes: vec!["svc".to_owned(), "cluster.local".to_owned()],
            cluster: ClusterNetworks::default(),
        }
    }
}

impl Guard {
    /// Adds what an administrator allows.
    pub fn allow(&mut self, allowance: Allowance) {
        match allowance.namespace {
            None => self.allowed.add(allowance.to),
            Some(namespace) => self.allowed_in.entry(namespace).or_default().add(allowance.to),
        }
    }

    /// Whether a name may be resolved at all for a webhook of `namespace`.
    ///
    /// # Errors
    /// It is a single label, is under a suffix of the cluster, is of the machine
    /// itself or of a metadata service, or is an address in a spelling that only
    /// some resolvers read as one.
    pub fn check_host(&self, namespace: &str, host: &str) -> Result<(), Forbidden> {
        let name = canonical(host);
        if self.is_allowed(namespace, |allowed| allowed.host(&name)) {
            return Ok(());
        }
        let forbidden = |kind| Err(Forbidden::Name { host: host.to_owned(), kind });
        names::forbidden(&name, &self.forbidden_suffixes).map_or(Ok(()), forbidden)
    }

    /// Whether a webhook of `namespace` may connect to an address.
    ///
    /// # Errors
    /// The kind for which it may not.
    pub fn check_address(&self, namespace: &str, address: IpAddr) -> Result<(), AddressKind> {
        if self.is_allowed(namespace, |allowed| allowed.address(address)) {
            return Ok(());
        }
        let forbidden = |address| self.forbidden_nets.iter().any(|net| net.contains(&address));
        match self.through_nat64(address) {
            None => {}
            Some(Through::Nowhere) => return Err(AddressKind::Nat64),
            Some(Through::To(_)) if forbidden(address) => return Err(AddressKind::Cluster),
            Some(Through::To(to)) => return self.check_address(namespace, to.into()),
        }
        // The kinds that everybody may know come first: they say more.
        if let Some(kind) = special(address) {
            return Err(kind);
        }
        if forbidden(address) || self.cluster.contains(address) {
            return Err(AddressKind::Cluster);
        }
        Ok(())
    }

    /// Where an address leads: to itself, but for one of a NAT64 gateway.
    pub(super) fn leads_to(&self, address: IpAddr) -> IpAddr {
        match self.through_nat64(address) {
            Some(Through::To(to)) => to.into(),
            Some(Through::Nowhere) | None => address,
        }
    }

    fn through_nat64(&self, address: IpAddr) -> Option<Through> {
        let IpAddr::V6(address) = address else { return None };
        self.nat64.iter().find_map(|prefix| prefix.leads(address))
    }

    /// Those of a name's addresses that may be connected to: at least one.
    ///
    /// # Errors
    /// There is none; the first is named. An empty answer is the caller's to refuse.
    pub fn select(
        &self,
        namespace: &str,
        host: &str,
        addresses: Vec<IpAddr>,
    ) -> Result<Vec<IpAddr>, Forbidden> {
        let mut first = None;
        let mut allowed = addresses;
        allowed.retain(|&address| match self.check_address(namespace, address) {
            Ok(()) => true,
            Err(kind) => {
                first.get_or_insert((address, kind));
                false
            }
        });
        match first {
            Some((address, kind)) if allowed.is_empty() => {
                Err(Forbidden::Resolved { host: host.to_owned(), address, kind })
            }
            Some(_) | None => Ok(allowed),
        }
    }

    fn is_allowed(&self, namespace: &str, judge: impl Fn(&Allowed) -> bool) -> bool {
        judge(&self.allowed) || self.allowed_in.get(namespace).is_some_and(judge)
    }
}

#[cfg(test)]
mod tests {
    use super::AddressKind as K;
    use super::*;

    fn guard(allowances: &[&str]) -> Guard {
        let mut guard = Guard::default();
        for allowance in allowances {
            guard.allow(allowance.parse().unwrap());
        }
        guard
    }

    #[test]
    fn the_cluster_s_ranges_are_forbidden_and_what_is_allowed_wins() {
        let mut guard = guard(&["198.200.7.0/24", "::1", "9.9.9.9"]);
        guard.forbidden_nets = vec!["198.200.0.0/16".parse().unwrap()];
        guard.cluster.publish(&["9.9.9.0/24".parse().unwrap()]);
        let table = [
            ("198.200.1.1", Some(K::Cluster)),
            ("198.200.7.1", None),
            ("198.201.0.1", None),
            ("9.9.9.8", Some(K::Cluster)),
            ("9.9.9.9", None),
            ("::1", None),
            ("::ffff:198.200.7.1", Some(K::Ipv4Mapped)),
        ];
        for (address, kind) in table {
            assert_eq!(guard.check_address("any", address.parse().unwrap()).err(), kind, "{address}");
        }
        guard.cluster.publish(&["9.9.8.0/24".parse().unwrap()]);
        assert_eq!(guard.check_address("any", "9.9.9.8".parse().unwrap()), Ok(()));
    }

    #[test]
    fn an_address_of_a_named_nat64_prefix_is_judged_by_the_one_that_it_leads_to() {
        let mut guard = guard(&["192.168.7.0/24", "team=64:ff9b::10.9.0.0/112"]);
        guard.nat64 = vec!["64:ff9b::/96".parse().unwrap(), "2a00:64::/48".parse().unwrap()];
        guard.forbidden_nets = vec!["9.9.9.0/24".parse().unwrap(), "64:ff9b::7.7.7.0/120".parse().unwrap()];
        let table = [
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b::127.0.0.1", Some(K::Loopback)),
            ("64:ff9b::10.0.0.1", Some(K::Private)),
            ("64:ff9b::10.9.0.1", Some(K::Private)),
            ("64:ff9b::169.254.169.254", Some(K::Metadata)),
            ("64:ff9b::192.168.7.1", None),
            ("64:ff9b::9.9.9.9", Some(K::Cluster)),
            ("64:ff9b::7.7.7.7", Some(K::Cluster)),
            ("64:ff9b:1::8.8.8.8", Some(K::Nat64)),
            ("2a00:64:0:808:8:800::", None),
            ("2a00:64:0:a00:0:100::", Some(K::Private)),
            ("2a00:64:0:808:108:800::", Some(K::Nat64)),
        ];
        for (address, kind) in table {
            assert_eq!(guard.check_address("any", address.parse().unwrap()).err(), kind, "{address}");
        }
        assert_eq!(guard.check_address("team", "64:ff9b::10.9.0.1".parse().unwrap()), Ok(()));
        let leads = |text: &str| guard.leads_to(text.parse().unwrap()).to_string();
        assert_eq!(leads("64:ff9b::8.8.8.8"), "8.8.8.8");
        assert_eq!(leads("2a00:65::1"), "2a00:65::1");
    }

    #[test]
    fn of_a_mixed_answer_only_what_is_allowed_is_used() {
        let guard = Guard::default();
        let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        let mixed =
            guard.select("any", "mixed.example.com", addresses(&["10.0.0.1", "8.8.8.8", "64:ff9b::1"]));
        assert_eq!(mixed, Ok(addresses(&["8.8.8.8"])));
    }

    #[test]
    fn a_tenant_is_told_what_they_wrote_and_an_administrator_everything() {
        let forbidden_nets = vec!["9.9.9.0/24".parse().unwrap()];
        let guard = Guard { forbidden_nets, ..Guard::default() };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let refused =
            guard.select("team", "db.example.com", vec![address("10.0.0.1"), address("::1")]).unwrap_err();
        let said = refused.to_string();
        assert!(said.starts_with("db.example.com leads to an address that Herald does not call;"), "{said}");
        assert!(!said.contains("10.0.0.1") && !said.contains("private"), "{said}");
        let detail = refused.detail("team");
        assert_eq!((detail.address, detail.kind.as_str()), (Some(address("10.0.0.1")), "a private address"));
        assert_eq!(detail.allow, "--outbound-allow team=10.0.0.1/32");

        let literal = Forbidden::Literal { address: address("::1"), kind: K::Loopback };
        assert!(literal.to_string().starts_with("::1 is a loopback address, which"), "{literal}");
        let literal = Forbidden::Literal { address: address("9.9.9.9"), kind: K::Cluster };
        assert!(!literal.to_string().contains("cluster"), "{literal}");

        let name = guard.check_host("team", "db.team.svc").unwrap_err();
        assert!(name.to_string().contains("--outbound-allow db.team.svc"), "{name}");
        assert_eq!(
            name.detail("team").allow,
            "--outbound-allow team=db.team.svc, and the CIDR of its address"
        );
    }

    #[test]
    fn what_is_allowed_to_one_namespace_is_not_allowed_to_another() {
        let guard = guard(&["a=10.0.0.0/8", "a=db.a.svc", "a=*.hooks.svc", "*.all.svc", "192.168.0.0/16"]);
        let address = |namespace, text: &str| guard.check_address(namespace, text.parse().unwrap()).is_ok();
        let host = |namespace, name| guard.check_host(namespace, name).is_ok();
        for (namespace, is_a) in [("a", true), ("b", false), ("", false), ("A", false), ("a ", false)] {
            assert_eq!(address(namespace, "10.1.1.1"), is_a, "{namespace:?}");
            assert_eq!(host(namespace, "db.a.svc"), is_a, "{namespace:?}");
            assert_eq!(host(namespace, "x.y.HOOKS.svc."), is_a, "{namespace:?}");
            assert!(!host(namespace, "hooks.svc") && !host(namespace, "badhooks.svc"), "{namespace:?}");
            assert!(address(namespace, "192.168.1.1") && host(namespace, "x.all.svc"), "{namespace:?}");
        }
    }
}
