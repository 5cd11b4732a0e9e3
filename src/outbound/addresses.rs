//! Which addresses are not ordinary ones of the public Internet, after IANA's
//! registries of special-purpose addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Why an address may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the registries; Display says each in words")]
pub enum AddressKind {
    Unspecified,
    Loopback,
    Private,
    CarrierGradeNat,
    LinkLocal,
    Metadata,
    UniqueLocal,
    Multicast,
    Broadcast,
    Documentation,
    Benchmarking,
    Reserved,
    Ipv4Mapped,
    Ipv4Compatible,
    Nat64,
    SixToFour,
    Teredo,
    Cluster,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::CarrierGradeNat => "a carrier-grade NAT address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "an address of a cloud's metadata service",
            Self::UniqueLocal => "a unique local address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "an address for documentation",
            Self::Benchmarking => "an address for benchmarks",
            Self::Reserved => "a reserved address",
            Self::Ipv4Mapped => "an IPv4-mapped address",
            Self::Ipv4Compatible => "an IPv4-compatible address",
            Self::Nat64 => "a NAT64 address",
            Self::SixToFour => "a 6to4 address",
            Self::Teredo => "a Teredo address",
            Self::Cluster => "an address of the cluster's own networks",
        })
    }
}

/// IANA's special-purpose registry, and the metadata services that are outside of it; the first match counts.
const V4: [(Ipv4Net, AddressKind); 22] = {
    use AddressKind as K;
    const fn net(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
    }
    [
        (net(169, 254, 169, 254, 32), K::Metadata),
        (net(169, 254, 170, 2, 32), K::Metadata),
        (net(169, 254, 170, 23, 32), K::Metadata),
        (net(100, 100, 100, 200, 32), K::Metadata),
        (net(168, 63, 129, 16, 32), K::Metadata),
        (net(192, 0, 0, 192, 32), K::Metadata),
        (net(0, 0, 0, 0, 8), K::Unspecified),
        (net(10, 0, 0, 0, 8), K::Private),
        (net(100, 64, 0, 0, 10), K::CarrierGradeNat),
        (net(127, 0, 0, 0, 8), K::Loopback),
        (net(169, 254, 0, 0, 16), K::LinkLocal),
        (net(172, 16, 0, 0, 12), K::Private),
        (net(192, 0, 0, 0, 24), K::Reserved),
        (net(192, 0, 2, 0, 24), K::Documentation),
        (net(192, 88, 99, 0, 24), K::SixToFour),
        (net(192, 168, 0, 0, 16), K::Private),
        (net(198, 18, 0, 0, 15), K::Benchmarking),
        (net(198, 51, 100, 0, 24), K::Documentation),
        (net(203, 0, 113, 0, 24), K::Documentation),
        (net(224, 0, 0, 0, 4), K::Multicast),
        (net(255, 255, 255, 255, 32), K::Broadcast),
        (net(240, 0, 0, 0, 4), K::Reserved),
    ]
};

/// As [`V4`]. What is in none of them and outside of `2000::/3` is reserved.
const V6: [(Ipv6Net, AddressKind); 17] = {
    use AddressKind as K;
    const fn net(first: [u16; 4], last: u16, prefix: u8) -> Ipv6Net {
        let [a, b, c, d] = first;
        Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, last), prefix)
    }
    [
        (net([0xfd00, 0xec2, 0, 0], 0x254, 128), K::Metadata),
        (net([0xfd20, 0xce, 0, 0], 0x254, 128), K::Metadata),
        (net([0; 4], 0, 128), K::Unspecified),
        (net([0; 4], 1, 128), K::Loopback),
        (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), K::Ipv4Mapped),
        (net([0; 4], 0, 96), K::Ipv4Compatible),
        (net([0x64, 0xff9b, 0, 0], 0, 96), K::Nat64),
        (net([0x64, 0xff9b, 1, 0], 0, 48), K::Nat64),
        (net([0x2001, 0, 0, 0], 0, 32), K::Teredo),
        (net([0x2001, 2, 0, 0], 0, 48), K::Benchmarking),
        (net([0x2001, 0xdb8, 0, 0], 0, 32), K::Documentation),
        (net([0x2001, 0, 0, 0], 0, 23), K::Reserved),
        (net([0x2002, 0, 0, 0], 0, 16), K::SixToFour),
        (net([0x3fff, 0, 0, 0], 0, 20), K::Documentation),
        (net([0xfc00, 0, 0, 0], 0, 7), K::UniqueLocal),
        (net([0xfe80, 0, 0, 0], 0, 10), K::LinkLocal),
        (net([0xff00, 0, 0, 0], 0, 8), K::Multicast),
    ]
};

const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What keeps an address from being an ordinary one of the public Internet.
pub(super) fn special(address: IpAddr) -> Option<AddressKind> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<AddressKind> {
    V4.iter().find(|(net, _)| net.contains(&address)).map(|&(_, kind)| kind)
}

fn special_v6(address: Ipv6Addr) -> Option<AddressKind> {
    match V6.iter().find(|(net, _)| net.contains(&address)) {
        Some(&(_, kind)) => Some(kind),
        None if GLOBAL_UNICAST.contains(&address) => None,
        None => Some(AddressKind::Reserved),
    }
}
