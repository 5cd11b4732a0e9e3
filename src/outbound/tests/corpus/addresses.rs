//! Addresses of every kind: the first and the last of each range, and their neighbours.

use std::net::IpAddr;

use super::super::names::Reply;
use super::super::server::{Authority, Server};
use super::{Bench, TENANT, refused, witness};
use crate::outbound::AddressKind::{self, *};
use crate::outbound::{Forbidden, Guard};

/// After IANA's registries, and by hand, so that a mistake in Herald's table is not one here too.
const ADDRESSES: [(&str, Option<AddressKind>); 175] = [
    ("0.0.0.0", Some(Unspecified)),
    ("0.0.0.1", Some(Unspecified)),
    ("0.127.0.1", Some(Unspecified)),
    ("0.255.255.255", Some(Unspecified)),
    ("1.0.0.0", None),
    ("1.1.1.1", None),
    ("9.255.255.255", None),
    ("10.0.0.0", Some(Private)),
    ("10.0.0.1", Some(Private)),
    ("10.96.0.1", Some(Private)),
    ("10.255.255.255", Some(Private)),
    ("11.0.0.0", None),
    ("100.63.255.255", None),
    ("100.64.0.0", Some(CarrierGradeNat)),
    ("100.100.100.199", Some(CarrierGradeNat)),
    ("100.100.100.200", Some(Metadata)),
    ("100.100.100.201", Some(CarrierGradeNat)),
    ("100.127.255.255", Some(CarrierGradeNat)),
    ("100.128.0.0", None),
    ("126.255.255.255", None),
    ("127.0.0.0", Some(Loopback)),
    ("127.0.0.1", Some(Loopback)),
    ("127.0.0.2", Some(Loopback)),
    ("127.0.1.1", Some(Loopback)),
    ("127.1.2.3", Some(Loopback)),
    ("127.255.255.254", Some(Loopback)),
    ("127.255.255.255", Some(Loopback)),
    ("128.0.0.0", None),
    ("168.63.129.15", None),
    ("168.63.129.16", Some(Metadata)),
    ("168.63.129.17", None),
    ("169.253.255.255", None),
    ("169.254.0.0", Some(LinkLocal)),
    ("169.254.0.23", Some(LinkLocal)),
    ("169.254.42.42", Some(LinkLocal)),
    ("169.254.169.253", Some(LinkLocal)),
    ("169.254.169.254", Some(Metadata)),
    ("169.254.169.255", Some(LinkLocal)),
    ("169.254.170.2", Some(Metadata)),
    ("169.254.170.23", Some(Metadata)),
    ("169.254.255.255", Some(LinkLocal)),
    ("169.255.0.0", None),
    ("172.15.255.255", None),
    ("172.16.0.0", Some(Private)),
    ("172.17.0.1", Some(Private)),
    ("172.31.255.255", Some(Private)),
    ("172.32.0.0", None),
    ("191.255.255.255", None),
    ("192.0.0.0", Some(Reserved)),
    ("192.0.0.8", Some(Reserved)),
    ("192.0.0.170", Some(Reserved)),
    ("192.0.0.192", Some(Metadata)),
    ("192.0.0.255", Some(Reserved)),
    ("192.0.1.0", None),
    ("192.0.1.255", None),
    ("192.0.2.0", Some(Documentation)),
    ("192.0.2.255", Some(Documentation)),
    ("192.0.3.0", None),
    ("192.88.98.255", None),
    ("192.88.99.0", Some(SixToFour)),
    ("192.88.99.1", Some(SixToFour)),
    ("192.88.99.255", Some(SixToFour)),
    ("192.88.100.0", None),
    ("192.167.255.255", None),
    ("192.168.0.0", Some(Private)),
    ("192.168.1.1", Some(Private)),
    ("192.168.255.255", Some(Private)),
    ("192.169.0.0", None),
    ("198.17.255.255", None),
    ("198.18.0.0", Some(Benchmarking)),
    ("198.19.255.255", Some(Benchmarking)),
    ("198.20.0.0", None),
    ("198.51.99.255", None),
    ("198.51.100.0", Some(Documentation)),
    ("198.51.100.255", Some(Documentation)),
    ("198.51.101.0", None),
    ("203.0.112.255", None),
    ("203.0.113.0", Some(Documentation)),
    ("203.0.113.255", Some(Documentation)),
    ("203.0.114.0", None),
    ("223.255.255.255", None),
    ("224.0.0.0", Some(Multicast)),
    ("224.0.0.251", Some(Multicast)),
    ("239.255.255.255", Some(Multicast)),
    ("240.0.0.0", Some(Reserved)),
    ("255.255.255.254", Some(Reserved)),
    ("255.255.255.255", Some(Broadcast)),
    ("8.8.8.8", None),
    ("::", Some(Unspecified)),
    ("::1", Some(Loopback)),
    ("::2", Some(Ipv4Compatible)),
    ("::7f00:1", Some(Ipv4Compatible)),
    ("::10.0.0.1", Some(Ipv4Compatible)),
    ("::169.254.169.254", Some(Ipv4Compatible)),
    ("::8.8.8.8", Some(Ipv4Compatible)),
    ("::ffff:ffff", Some(Ipv4Compatible)),
    ("::1:0:0", Some(Reserved)),
    ("::fffe:ffff:ffff", Some(Reserved)),
    ("::ffff:0:0", Some(Ipv4Mapped)),
    ("::ffff:127.0.0.1", Some(Ipv4Mapped)),
    ("::ffff:10.0.0.1", Some(Ipv4Mapped)),
    ("::ffff:169.254.169.254", Some(Ipv4Mapped)),
    ("::ffff:8.8.8.8", Some(Ipv4Mapped)),
    ("::ffff:ffff:ffff", Some(Ipv4Mapped)),
    ("::1:0:0:0", Some(Reserved)),
    ("::ffff:0:127.0.0.1", Some(Reserved)),
    ("64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", Some(Reserved)),
    ("64:ff9b::", Some(Nat64)),
    ("64:ff9b::127.0.0.1", Some(Nat64)),
    ("64:ff9b::10.0.0.1", Some(Nat64)),
    ("64:ff9b::169.254.169.254", Some(Nat64)),
    ("64:ff9b::8.8.8.8", Some(Nat64)),
    ("64:ff9b::ffff:ffff", Some(Nat64)),
    ("64:ff9b::1:0:0", Some(Reserved)),
    ("64:ff9b:1::", Some(Nat64)),
    ("64:ff9b:1::7f00:1", Some(Nat64)),
    ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Some(Nat64)),
    ("64:ff9b:2::", Some(Reserved)),
    ("100::", Some(Reserved)),
    ("100::1", Some(Reserved)),
    ("100:0:0:1::", Some(Reserved)),
    ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Reserved)),
    ("2000::", None),
    ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("2001::", Some(Teredo)),
    ("2001:0:7f00:1::", Some(Teredo)),
    ("2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Some(Teredo)),
    ("2001:1::1", Some(Reserved)),
    ("2001:2::", Some(Benchmarking)),
    ("2001:2:0:ffff:ffff:ffff:ffff:ffff", Some(Benchmarking)),
    ("2001:2:1::", Some(Reserved)),
    ("2001:10::1", Some(Reserved)),
    ("2001:20::1", Some(Reserved)),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Reserved)),
    ("2001:200::", None),
    ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("2001:db8::", Some(Documentation)),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some(Documentation)),
    ("2001:db9::", None),
    ("2001:4860:4860::8888", None),
    ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("2002::", Some(SixToFour)),
    ("2002:7f00:1::", Some(SixToFour)),
    ("2002:a9fe:a9fe::1", Some(SixToFour)),
    ("2002:808:808::1", Some(SixToFour)),
    ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(SixToFour)),
    ("2003::", None),
    ("2606:4700:4700::1111", None),
    ("2a00:1450:4001::1", None),
    ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("3fff::", Some(Documentation)),
    ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Documentation)),
    ("3fff:1000::", None),
    ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    ("4000::", Some(Reserved)),
    ("5f00::1", Some(Reserved)),
    ("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Reserved)),
    ("fc00::", Some(UniqueLocal)),
    ("fcff::1", Some(UniqueLocal)),
    ("fd00::1", Some(UniqueLocal)),
    ("fd00:ec2::23", Some(UniqueLocal)),
    ("fd00:ec2::253", Some(UniqueLocal)),
    ("fd00:ec2::254", Some(Metadata)),
    ("fd00:ec2::255", Some(UniqueLocal)),
    ("fd20:ce::254", Some(Metadata)),
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(UniqueLocal)),
    ("fe00::", Some(Reserved)),
    ("fe80::", Some(LinkLocal)),
    ("fe80::1", Some(LinkLocal)),
    ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(LinkLocal)),
    ("fec0::1", Some(Reserved)),
    ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Reserved)),
    ("ff00::", Some(Multicast)),
    ("ff02::1", Some(Multicast)),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Multicast)),
];

/// Those by which this machine would be reached.
const OF_THIS_MACHINE: [&str; 7] =
    ["0.0.0.0", "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "::", "::1"];

pub(super) async fn run(authority: &Authority) -> usize {
    let pair = authority.sign(&["here.test"]);
    let witness = witness(&pair).await;
    they_would_be_reached(authority, &witness).await;
    let before = witness.connections();
    let port = witness.address.port();
    let bench = Bench::new(authority, &[]).await;
    let mut cases = 0;
    let mut wrong = Vec::new();
    for (text, kind) in ADDRESSES {
        cases += 2;
        let address: IpAddr = text.parse().unwrap();
        let Some(kind) = kind else {
            let guard = Guard::default();
            assert_eq!(guard.check_address(TENANT, address), Ok(()), "{text}");
            assert_eq!(guard.select(TENANT, "a.test", vec![address]), Ok(vec![address]), "{text}");
            continue;
        };
        let host = if address.is_ipv6() { format!("[{text}]") } else { text.to_owned() };
        let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let literal = format!("https://{host}:{port}/");
        if mapped {
            // Not even a URI.
            literal.parse::<crate::model::EndpointUri>().unwrap_err();
        } else {
            let told = refused(bench.exchange(&literal).await);
            if told != Ok(Forbidden::Literal { address, kind }) {
                wrong.push(format!("{literal}: {told:?}"));
            }
        }
        let name = format!("a{cases}.corpus.test");
        bench.names.says(&name, [Reply::Addresses(vec![address])]);
        let told = refused(bench.exchange(&format!("https://{name}:{port}/")).await);
        if told != Ok(Forbidden::Resolved { host: name.clone(), address, kind }) {
            wrong.push(format!("{name}: {told:?}"));
        }
        assert!(bench.names.asked(&name) > 0, "{name} was not asked for");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(witness.connections(), before, "something was connected to");
    cases
}

/// By a client that may go there, so that a connection which should not be made would be seen.
async fn they_would_be_reached(authority: &Authority, witness: &Server) {
    let bench = Bench::new(authority, &["0.0.0.0/0", "::/0"]).await;
    for (number, address) in OF_THIS_MACHINE.into_iter().enumerate() {
        bench.names.says("here.test", [Reply::addresses(address)]);
        let exchange = bench.exchange(&format!("https://here.test:{}/", witness.address.port())).await;
        assert_eq!(exchange.end.unwrap().body, "ok", "{address}");
        assert_eq!(witness.connections(), number + 1, "{address}");
    }
}
