//! IPv6 addresses by which a network leads to IPv4 addresses (RFC 6052).
//!
//! Without a prefix that an administrator has named, such addresses are refused where they can
//! be told, for they lead wherever the network's gateway goes, inside as well. With one, they are judged by
//! the IPv4 addresses that stand in them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::Ipv6Net;

/// The lengths that a prefix can have, in bits.
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];
/// The octet in which no part of an IPv4 address stands.
const UNUSED: usize = 8;

/// The prefix of a network's NAT64 gateway, such as `64:ff9b::/96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64Prefix(Ipv6Net);

/// What an IPv6 address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// This address.
    To(Ipv4Addr),
    /// No IPv4 address can be written so.
    Nowhere,
}

impl Nat64Prefix {
    /// What an address of the gateway leads to.
    pub(super) fn leads(self, address: Ipv6Addr) -> Option<Through> {
        if !self.0.contains(&address) {
            return None;
        }
        let octets = address.octets();
        if octets.get(UNUSED) != Some(&0) && self.0.prefix_len() < 96 {
            return Some(Through::Nowhere);
        }
        let after = usize::from(self.0.prefix_len() / 8);
        let used = |&(at, _): &(usize, &u8)| at >= after && (at != UNUSED || after > UNUSED);
        let mut carried = octets.iter().enumerate().filter(used).map(|(_, &octet)| octet);
        let mut next = || carried.next().unwrap_or_default();
        Some(Through::To(Ipv4Addr::new(next(), next(), next(), next())))
    }
}

impl FromStr for Nat64Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = text.parse::<Ipv6Net>().ok().filter(|net| LENGTHS.contains(&net.prefix_len()));
        // The octet that is not used is part of a prefix of 96 bits only.
        let net = net.map(|net| net.trunc()).filter(|net| net.network().octets().get(UNUSED) == Some(&0));
        net.map(Self).ok_or_else(|| {
            "write an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits such as 64:ff9b::/96".to_owned()
        })
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(prefix: &str, address: &str) -> Option<Through> {
        prefix.parse::<Nat64Prefix>().unwrap().leads(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_stands_where_the_standard_says() {
        // RFC 6052, 2.4.
        let table = [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ];
        for (prefix, address) in table {
            let expected = Some(Through::To(Ipv4Addr::new(192, 0, 2, 33)));
            assert_eq!(leads(prefix, address), expected, "{prefix}");
        }
        assert_eq!(leads("64:ff9b::/96", "64:ff9b:1::1"), None);
        assert_eq!(leads("2001:db8::/32", "2001:db8:c000:221:100::"), Some(Through::Nowhere));
    }

    #[test]
    fn a_prefix_has_one_of_six_lengths() {
        for text in ["64:ff9b::/95", "64:ff9b::/128", "10.0.0.0/8", "64:ff9b::", "2001:db8:0:0:100::/96", ""]
        {
            assert!(text.parse::<Nat64Prefix>().unwrap_err().contains("such as 64:ff9b::/96"), "{text}");
        }
        assert_eq!("64:ff9b::1/96".parse::<Nat64Prefix>().unwrap().to_string(), "64:ff9b::/96");
    }
}
