//! What an administrator allows: a range or a host, for every namespace or for one.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::names::ends_in_number;

/// `[NAMESPACE=]CIDR|HOST`: one thing that an administrator allows.
///
/// A namespace's own allowances are given here and not as an annotation of the
/// Namespace, because there are clusters whose tenants may edit their Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Whose webhooks it is for; none for all.
    pub namespace: Option<String>,
    /// Where they may go.
    pub to: Destination,
}

/// A range of addresses, or host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A CIDR, or a single address.
    Net(IpNet),
    /// A host name, in lower case.
    Host(String),
    /// Every name under this one, written `*.` before it.
    HostsUnder(String),
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, to) = match text.split_once('=') {
            None => (None, text),
            Some((namespace, to)) if is_namespace(namespace) => (Some(namespace.to_owned()), to),
            Some(_) => {
                return Err("what stands before the equals sign must be the name of a namespace".to_owned());
            }
        };
        Ok(Self { namespace, to: to.parse()? })
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(net) = parse_net(text) {
            return Ok(Self::Net(net));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let (under, name) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.split('.').any(str::is_empty) || !name.chars().all(good) || ends_in_number(name) {
            let message =
                "must be a CIDR such as 10.0.0.0/8, an address, a host name, or *. and the end of one";
            return Err(message.to_owned());
        }
        let name = name.to_ascii_lowercase();
        Ok(if under { Self::HostsUnder(name) } else { Self::Host(name) })
    }
}

/// A CIDR, or an address for the range of it alone.
pub(crate) fn parse_net(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().map(|net| net.trunc());
    net.ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_namespace(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is allowed to some.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    nets: Vec<IpNet>,
    hosts: Vec<String>,
    suffixes: Vec<String>,
}

impl Allowed {
    pub(super) fn add(&mut self, to: Destination) {
        match to {
            Destination::Net(net) => self.nets.push(net),
            Destination::Host(host) => self.hosts.push(host),
            Destination::HostsUnder(suffix) => self.suffixes.push(suffix),
        }
    }

    pub(super) fn address(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&address))
    }

    /// Of a name in lower case.
    pub(super) fn host(&self, name: &str) -> bool {
        let under =
            |suffix: &String| name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'));
        self.hosts.iter().any(|host| host == name) || self.suffixes.iter().any(under)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_range_an_address_or_names_for_all_or_for_one_namespace() {
        let table = [
            ("10.1.2.3/8", None, Destination::Net("10.0.0.0/8".parse().unwrap())),
            ("127.0.0.1", None, Destination::Net("127.0.0.1/32".parse().unwrap())),
            ("fd00::/8", None, Destination::Net("fd00::/8".parse().unwrap())),
            ("LocalHost", None, Destination::Host("localhost".to_owned())),
            ("*.Hooks.internal.", None, Destination::HostsUnder("hooks.internal".to_owned())),
            ("identity=10.1.0.0/16", Some("identity"), Destination::Net("10.1.0.0/16".parse().unwrap())),
            ("team-1=*.svc", Some("team-1"), Destination::HostsUnder("svc".to_owned())),
        ];
        for (text, namespace, to) in table {
            let namespace = namespace.map(str::to_owned);
            assert_eq!(text.parse(), Ok(Allowance { namespace, to }), "{text}");
        }
        let bad = [
            "",
            "10.0.0.0/33",
            "127.1",
            "a..b",
            ".0..",
            "a b",
            "https://x",
            "*",
            "*.",
            "a.*.b",
            "**.b",
            "=10.0.0.0/8",
            "A=10.0.0.0/8",
            "a/b=10.0.0.0/8",
            "-a=10.0.0.0/8",
            "a=b=10.0.0.0/8",
            "a=",
        ];
        for text in bad {
            assert!(text.parse::<Allowance>().is_err(), "{text}");
        }
    }
}
