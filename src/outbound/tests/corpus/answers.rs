//! Names whose answer changes between two connections, mixes what may be called
//! with what may not, leads elsewhere, or is missing.
//!
//! 127.0.0.1 stands for the Internet here, and is the one address that is allowed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::names::Reply::{self, *};
use super::super::server::{self, Authority, Server, read_request, write};
use super::{Bench, OK_ONCE};
use crate::outbound::ExchangeError;

/// What comes of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Called,
    Refused,
    NotResolved,
}

use End::{Called, NotResolved, Refused};

struct Row {
    what: &'static str,
    replies: Vec<Reply>,
    ends: &'static [End],
}

fn row(what: &'static str, replies: impl IntoIterator<Item = Reply>, ends: &'static [End]) -> Row {
    Row { what, replies: replies.into_iter().collect(), ends }
}

fn rows() -> Vec<Row> {
    let to = |text: &str| Reply::addresses(text);
    let alias = |name: &str| Alias(name.to_owned());
    let with = |name: &str, address: &str| AliasWith(name.to_owned(), vec![address.parse().unwrap()]);
    let many = |address: &str| Addresses(vec![address.parse::<IpAddr>().unwrap(); 2_000]);
    vec![
        row("it stays where it is", [to("127.0.0.1")], &[Called, Called, Called]),
        row("it rebinds to loopback", [to("127.0.0.1"), to("127.0.0.2")], &[Called, Refused, Refused]),
        row("it rebinds to IPv6 loopback", [to("127.0.0.1"), to("::1")], &[Called, Refused]),
        row("it rebinds to metadata", [to("127.0.0.1"), to("169.254.169.254")], &[Called, Refused]),
        row("it rebinds to metadata by IPv6", [to("127.0.0.1"), to("fd00:ec2::254")], &[Called, Refused]),
        row("it rebinds to a private address", [to("127.0.0.1"), to("10.96.0.1")], &[Called, Refused]),
        row("it rebinds to the unspecified address", [to("127.0.0.1"), to("0.0.0.0")], &[Called, Refused]),
        row("it rebinds to a mapped address", [to("127.0.0.1"), to("::ffff:127.0.0.2")], &[Called, Refused]),
        row(
            "it rebinds to and fro",
            [to("127.0.0.2"), to("127.0.0.1"), to("127.0.0.2"), to("127.0.0.1")],
            &[Refused, Called, Refused, Called],
        ),
        row("it is forbidden by A, and by AAAA", [to("127.0.0.2 ::1")], &[Refused]),
        row("A is allowed, AAAA is not", [to("127.0.0.1 ::1")], &[Called, Called]),
        row("A is not, and AAAA neither, by turns", [to("127.0.0.2"), to("::1")], &[Refused, Refused]),
        row("first of several", [to("127.0.0.1 127.0.0.2 10.0.0.1 ::1")], &[Called, Called]),
        row("last of several", [to("::1 10.0.0.1 169.254.169.254 127.0.0.2 127.0.0.1")], &[Called, Called]),
        row("it stands behind more than are tried", [mixed()], &[Called]),
        row("only AAAA, and that is forbidden", [to("::1")], &[Refused]),
        row("an alias in the same answer", [with("b.test", "127.0.0.1")], &[Called]),
        row("an alias to loopback in the same answer", [with("b.test", "127.0.0.2")], &[Refused]),
        row("an alias to localhost", [with("localhost", "127.0.0.2")], &[Refused]),
        row(
            "an alias to a name of the cluster",
            [with("kubernetes.default.svc.cluster.local", "10.96.0.1")],
            &[Refused],
        ),
        row("an alias that is asked for", [alias("inside.test")], &[Refused]),
        // Which the resolver knows by itself; 127.0.0.1 is among it.
        row("an alias to localhost that is asked for", [alias("localhost")], &[Called]),
        row(
            "an alias to what is allowed, then to what is not",
            [alias("good.test"), alias("inside.test")],
            &[Called, Refused],
        ),
        row("a chain of aliases", [alias("chain1.test")], &[Refused]),
        row("aliases in a circle", [alias("circle1.test")], &[NotResolved]),
        row("an alias to itself", [alias("a.corpus.test")], &[NotResolved]),
        row("an alias to nothing", [alias("nothing.test")], &[NotResolved]),
        row("no address", [Addresses(Vec::new())], &[NotResolved]),
        row("no address, and then loopback", [Addresses(Vec::new()), to("127.0.0.2")], &[NotResolved]),
        row("no such name", [NoSuchName], &[NotResolved]),
        row("SERVFAIL", [Failure], &[NotResolved]),
        row("no answer at all", [Silence], &[NotResolved]),
        row("no message of DNS", [Garbage], &[NotResolved]),
        row("a huge answer of one allowed address", [many("127.0.0.1")], &[Called]),
        row("a huge answer of one forbidden address", [many("127.0.0.2")], &[Refused]),
    ]
}

/// Sixteen that are forbidden, and one that is not.
fn mixed() -> Reply {
    let forbidden = (2..18).map(|last| IpAddr::from([127, 0, 0, last]));
    Addresses(forbidden.chain([IpAddr::V4(Ipv4Addr::LOCALHOST)]).collect())
}

/// What the name may rebind to, as far as it is of this machine, on one port.
struct Listeners {
    allowed: Server,
    forbidden: Vec<Server>,
}

impl Listeners {
    async fn start(pair: &server::Pair) -> Self {
        let serve = |_, mut stream| async move {
            if read_request(&mut stream).await.is_some() {
                write(&mut stream, OK_ONCE).await;
            }
        };
        let tls = || server::tls(pair, None);
        let allowed = Server::on(IpAddr::V4(Ipv4Addr::LOCALHOST), tls(), serve).await;
        let port = allowed.address.port();
        let mut forbidden = Vec::new();
        for address in ["127.0.0.2", "127.0.0.3", "::1"] {
            let address = SocketAddr::new(address.parse().unwrap(), port);
            forbidden.push(Server::at(address, tls(), serve).await);
        }
        Self { allowed, forbidden }
    }
}

pub(super) async fn run(authority: &Authority) -> usize {
    let pair = authority.sign(&["*.corpus.test"]);
    let listeners = Listeners::start(&pair).await;
    let port = listeners.allowed.address.port();
    let bench = Bench::new(authority, &["127.0.0.1"]).await;
    bench.names.says("good.test", [Reply::addresses("127.0.0.1")]);
    bench.names.says("inside.test", [Reply::addresses("127.0.0.2 ::1 10.0.0.1")]);
    for (from, to) in [("chain1", "chain2"), ("chain2", "chain3"), ("chain3", "inside")] {
        bench.names.says(&format!("{from}.test"), [Alias(format!("{to}.test"))]);
    }
    for (from, to) in [("circle1", "circle2"), ("circle2", "circle1")] {
        bench.names.says(&format!("{from}.test"), [Alias(format!("{to}.test"))]);
    }
    let rows = rows();
    let (mut called, mut wrong) = (0, Vec::new());
    for (number, Row { what, replies, ends }) in rows.iter().enumerate() {
        // The row of an alias to itself needs its own name.
        let name = if *what == "an alias to itself" {
            "a.corpus.test".to_owned()
        } else {
            format!("n{number}.corpus.test")
        };
        bench.names.says(&name, replies.clone());
        let channel = bench.channel(&format!("https://{name}:{port}/"));
        for (turn, &wanted) in ends.iter().enumerate() {
            let exchange = channel.exchange(super::post("{}"), super::DEADLINE).await;
            let message = exchange.end.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let end = match exchange.end {
                Ok(_) => Called,
                Err(ExchangeError::AddressForbidden(_)) => Refused,
                Err(ExchangeError::NameNotResolved { .. }) => NotResolved,
                Err(error) => panic!("{what}, turn {turn}: {error}"),
            };
            if end != wanted {
                wrong.push(format!("{what}, turn {turn}: {end:?}: {message}"));
            }
            called += usize::from(end == Called);
            says_nothing(&message, what, &bench);
        }
        assert_eq!(listeners.allowed.connections(), called, "{what}");
        let reached: Vec<_> = listeners.forbidden.iter().map(Server::connections).collect();
        assert_eq!(reached, [0, 0, 0], "{what}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    rows.len()
}

/// Of what the name servers said and where they are, and of the addresses.
fn says_nothing(message: &str, what: &str, bench: &Bench) {
    let asked = bench.names.address();
    for secret in
        ["127.0.0", "::1", "10.", "169.254", "fd00", "loopback", "private", "SERVFAIL", "Server Failure"]
    {
        assert!(!message.contains(secret), "{what}: {message}");
    }
    assert!(!message.contains(&asked.port().to_string()), "{what}: {message}");
}
