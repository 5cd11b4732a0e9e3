//! URIs that some parser or resolver reads as an address that may not be called.

use super::super::server::Authority;
use super::{Bench, refused, witness};
use crate::model::{EndpointUri, UriError};
use crate::outbound::AddressKind::{self, *};
use crate::outbound::{Forbidden, NameKind};

/// What comes of it.
enum End {
    /// It is no URI of an endpoint.
    Bad(UriError),
    /// It is an address, of this kind.
    Literal(AddressKind),
    /// It is taken for a name, and not resolved.
    Name(NameKind),
}

use End::{Bad, Literal, Name};

/// What stands between `https://` and the port; none has a port that would reach nobody.
const HOSTS: &[(&str, End)] = &[
    // Octal, hexadecimal, decimal, short, and all of them mixed.
    ("0177.0.0.1", SPELLING),
    ("00177.000.000.001", SPELLING),
    ("0177.0x0.0.1", SPELLING),
    ("0177.1", SPELLING),
    ("017700000001", SPELLING),
    ("0x7f.0.0.1", SPELLING),
    ("0x7f.0x0.0x0.0x1", SPELLING),
    ("0X7F.0X0.0X0.0X1", SPELLING),
    ("0x7f.1", SPELLING),
    ("0x7f000001", SPELLING),
    ("0X7F000001", SPELLING),
    ("0x00000000000000007f000001", SPELLING),
    ("0xa9fea9fe", SPELLING),
    ("0xa9.0xfe.0xa9.0xfe", SPELLING),
    ("0251.0376.0251.0376", SPELLING),
    ("2130706433", SPELLING),
    ("2852039166", SPELLING),
    ("4294967296", SPELLING),
    ("6425673729", SPELLING),
    ("127.1", SPELLING),
    ("127.0.1", SPELLING),
    ("127.0.0.01", SPELLING),
    ("127.000.000.001", SPELLING),
    ("127.65535", SPELLING),
    ("169.254.43518", SPELLING),
    ("169.16689662", SPELLING),
    ("10.1", SPELLING),
    ("0", SPELLING),
    ("00", SPELLING),
    ("0x0", SPELLING),
    ("0x", SPELLING),
    ("1", SPELLING),
    ("127.0.0.1.1", SPELLING),
    ("256.256.256.256", SPELLING),
    ("383.0.0.1", SPELLING),
    ("127.0.0.0x1", SPELLING),
    ("a.127", SPELLING),
    ("a.0x7f", SPELLING),
    ("hooks.example.0x7f000001", SPELLING),
    // Dots and what looks like them.
    ("127.0.0.1.", HOST),
    ("127.0.0.1..", HOST),
    ("127..0.0.1", HOST),
    (".127.0.0.1", HOST),
    ("localhost.", HOST),
    ("hooks.example.com.", HOST),
    ("127\u{3002}0\u{3002}0\u{3002}1", HOST),
    ("127\u{ff0e}0\u{ff0e}0\u{ff0e}1", HOST),
    ("127\u{ff61}0\u{ff61}0\u{ff61}1", HOST),
    // Digits and letters of other kinds.
    ("\u{ff11}\u{ff12}\u{ff17}.0.0.1", HOST),
    ("\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}", HOST),
    ("\u{0661}\u{0662}\u{0667}.0.0.1", HOST),
    ("\u{1d7cf}27.0.0.1", HOST),
    ("\u{24db}ocalhost", HOST),
    ("loc\u{430}lhost", HOST),
    ("127.0.0.1\u{200b}", HOST),
    ("local\u{ad}host", HOST),
    // Percent-encoding.
    ("%31%32%37.0.0.1", HOST),
    ("127%2e0%2e0%2e1", HOST),
    ("%6cocalhost", HOST),
    ("127.0.0.1%00.example.com", HOST),
    ("127.0.0.1%20", HOST),
    ("127.0.0.1%23.example.com", HOST),
    // What stands before the host, or seems to.
    ("hooks.example.com@127.0.0.1", USER),
    ("127.0.0.1@hooks.example.com", USER),
    ("user:pass@127.0.0.1", USER),
    (":@127.0.0.1", USER),
    ("127.0.0.1:443@hooks.example.com", USER),
    ("hooks.example.com%40127.0.0.1", HOST),
    ("hooks.example.com#@127.0.0.1", Bad(UriError::Fragment)),
    ("127.0.0.1\\@hooks.example.com", USER),
    ("127.0.0.1\\.example.com", HOST),
    ("hooks.example.com\\127.0.0.1", HOST),
    ("\\127.0.0.1", HOST),
    ("/127.0.0.1", Bad(UriError::NoHost)),
    ("127.0.0.1 .example.com", HOST),
    ("127.0.0.1\t", HOST),
    ("127.0.0.1\r\nHost: hooks.example.com", HOST),
    ("127.0.0.1\0", HOST),
    ("127.0.0.1,hooks.example.com", HOST),
    ("127.0.0.1;hooks.example.com", HOST),
    ("127.0.0.1:0", Bad(UriError::Port)),
    ("127.0.0.1:443:443", Bad(UriError::Port)),
    // IPv6, whole and short, with IPv4 inside, in other letters, with zones.
    ("[::1]", Literal(Loopback)),
    ("[0:0:0:0:0:0:0:1]", Literal(Loopback)),
    ("[0000:0000:0000:0000:0000:0000:0000:0001]", Literal(Loopback)),
    ("[::0.0.0.1]", Literal(Loopback)),
    ("[::]", Literal(Unspecified)),
    ("[::0]", Literal(Unspecified)),
    ("[::127.0.0.1]", Literal(Ipv4Compatible)),
    ("[::7F00:1]", Literal(Ipv4Compatible)),
    ("[::FFFF:127.0.0.1]", HOST),
    ("[::ffff:7f00:1]", HOST),
    ("[::FFFF:7F00:0001]", HOST),
    ("[0:0:0:0:0:ffff:127.0.0.1]", HOST),
    ("[0:0:0:0:0:ffff:a9fe:a9fe]", HOST),
    ("[::ffff:0:127.0.0.1]", Literal(Reserved)),
    ("[64:ff9b::7f00:1]", Literal(Nat64)),
    ("[64:FF9B::169.254.169.254]", Literal(Nat64)),
    ("[64:ff9b:1::a9fe:a9fe]", Literal(Nat64)),
    ("[2002:7f00:1::]", Literal(SixToFour)),
    ("[2002:a9fe:a9fe::]", Literal(SixToFour)),
    ("[2001:0:7f00:1::]", Literal(Teredo)),
    ("[FE80::1]", Literal(LinkLocal)),
    ("[FD00:EC2::254]", Literal(Metadata)),
    ("[fd00:0ec2:0:0:0:0:0:0254]", Literal(Metadata)),
    ("[fe80::1%25eth0]", HOST),
    ("[fe80::1%eth0]", HOST),
    ("[::1%25lo]", HOST),
    ("[::1%1]", HOST),
    ("[v1.127]", HOST),
    ("[127.0.0.1]", HOST),
    ("[::127.1]", HOST),
    ("[::0x7f00:1]", HOST),
    ("[::1", HOST),
    ("[[::1]]", HOST),
    ("[::1]]", HOST),
    ("[::1].example.com", HOST),
    ("::1", Bad(UriError::NoHost)),
    ("[]", HOST),
    ("[ ::1 ]", HOST),
];

const SPELLING: End = Name(NameKind::Spelling);
const HOST: End = Bad(UriError::Host);
const USER: End = Bad(UriError::UserInfo);

pub(super) async fn run(authority: &Authority) -> usize {
    let pair = authority.sign(&["here.test"]);
    let witness = witness(&pair).await;
    let port = witness.address.port();
    let bench = Bench::new(authority, &[]).await;
    let mut wrong = Vec::new();
    for (host, end) in HOSTS {
        let bare = format!("https://{host}");
        let with_port = format!("https://{host}:{port}/users");
        let told = match (end, with_port.parse::<EndpointUri>()) {
            (Bad(error @ UriError::Port), _) => bare.parse::<EndpointUri>().as_ref() == Err(error),
            (Bad(error), Err(told)) => told == *error,
            (Bad(_), Ok(_)) | (Literal(_) | Name(_), Err(_)) => false,
            (Literal(kind), Ok(uri)) => {
                let address = uri.host().parse().unwrap();
                let told = refused(bench.exchange(&with_port).await);
                told == Ok(Forbidden::Literal { address, kind: *kind })
            }
            (Name(kind), Ok(_)) => {
                let told = refused(bench.exchange(&with_port).await);
                told == Ok(Forbidden::Name { host: (*host).to_owned(), kind: *kind })
            }
        };
        if !told {
            wrong.push(format!("{host:?}: {:?}", with_port.parse::<EndpointUri>()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(bench.names.asked_at_all(), 0, "something was asked for");
    assert_eq!(witness.connections(), 0, "something was connected to");
    HOSTS.len()
}
