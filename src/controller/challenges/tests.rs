//! What challenges that wait for their destination leave to others.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::channel::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::controller::decide::Target;
use crate::outbound::tests::server::{self, Authority, Server, read_request, write};
use crate::outbound::tests::subject::{config, resolver, until};
use crate::outbound::{OutboundConfig, PerDestination, Resolver};

fn order(uri: &str) -> Order {
    let target = Target { uid: "u".to_owned(), uri: uri.to_owned(), tls_digest: String::new() };
    Order { target, requested: None, again: false }
}

#[tokio::test]
async fn challenges_that_wait_for_one_destination_leave_their_places_to_others_and_do_not_fail() {
    let authority = Authority::new();
    let hanging = Server::silent(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let acceptor = TlsAcceptor::from(Arc::new(server::tls(&authority.sign(&["healthy.test"]), None)));
    let healthy = Server::raw(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), move |_, tcp| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(tcp).await.unwrap();
            let request = read_request(&mut stream).await.unwrap();
            let key = request.lines().find_map(|line| line.strip_prefix("x-verification-key: "));
            let body = format!(r#"{{"key":"{}"}}"#, key.unwrap());
            write(&mut stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
                .await;
        }
    })
    .await;
    let names = [("a.test", "127.0.0.1"), ("b.test", "127.0.0.1"), ("healthy.test", "127.0.0.2")];
    let outbound = Outbound::new(OutboundConfig {
        resolver: Some(resolver(names)),
        per_destination: PerDestination { in_flight: 1, ..PerDestination::NONE },
        ..config(&authority)
    })
    .unwrap();
    let (token, metrics) = (CancellationToken::new(), Metrics::default());
    let places = Places { first: 2, again: 1 };
    let challenges = Challenges::new(outbound.clone(), Clock::default(), metrics, places, token.clone());
    let (ended, mut endings) = mpsc::unbounded();
    let start = |name: &str, host: &str, port: u16| {
        let uri = format!("https://{host}:{port}/");
        let name = ObjectRef::new(name).within("identity");
        challenges.start(
            name.clone(),
            order(&uri),
            uri.parse().unwrap(),
            TlsSettings::default(),
            ended.clone(),
        );
        name
    };
    let port = hanging.address.port();
    let mut crowd = vec![start("first", "a.test", port)];
    until(|| hanging.connections() == 1).await;
    // By the same name, and by another that leads to the same address.
    for number in 0..4 {
        crowd.push(start(
            &format!("crowd-{number}"),
            if number % 2 == 0 { "a.test" } else { "b.test" },
            port,
        ));
    }
    until(|| outbound.metrics().waiting() == 4).await;
    let name = start("new", "healthy.test", healthy.address.port());
    assert_eq!(endings.next().await.unwrap(), name);
    let Known::Ended(trial) = challenges.known(&name) else { panic!("it has no outcome") };
    assert_eq!(trial.verdict, Ok(()));
    assert!(crowd.iter().all(|name| matches!(challenges.known(name), Known::Running(_))));
    assert_eq!(hanging.connections(), 1);
    token.cancel();
    challenges.join().await;
}

#[tokio::test]
async fn a_challenge_that_panics_leaves_its_place_and_no_other_is_touched() {
    let nobody = Resolver::table(Vec::<(String, _)>::new());
    let config = OutboundConfig { resolver: Some(nobody), ..OutboundConfig::default() };
    let challenges = Challenges::new(
        Outbound::new(config).unwrap(),
        Clock::default(),
        Metrics::default(),
        Places { first: 1, again: 1 },
        CancellationToken::new(),
    );
    let (ended, mut endings) = mpsc::unbounded();
    let (hostile, other) = (Name::new("hostile").within("a"), Name::new("other").within("b"));
    let running = State::Running {
        number: 1,
        target: order("https://hostile.example").target,
        token: CancellationToken::new(),
    };
    challenges.0.under_way().by_name.insert(hostile.clone(), running);
    let slot = Slot { inner: challenges.0.clone(), name: hostile.clone(), number: 1, ended: ended.clone() };
    let panics = tokio::spawn(async move {
        let slot = slot;
        let _place = slot.inner.first.acquire().await;
        panic!("as the test wants it");
    });
    assert!(panics.await.unwrap_err().is_panic());
    assert!(matches!(challenges.known(&hostile), Known::Nothing));

    let uri = "https://other.example".parse().unwrap();
    challenges.start(other.clone(), order("https://other.example"), uri, TlsSettings::default(), ended);
    let told = endings.next().await;
    assert_eq!(told, Some(other.clone()), "and nobody is told of the one that panicked");
    assert!(matches!(challenges.known(&other), Known::Ended(_)));
}

#[tokio::test]
async fn challenges_that_wait_for_a_place_hold_nothing_of_their_destination() {
    let authority = Authority::new();
    let hanging = Server::silent(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let outbound = Outbound::new(OutboundConfig {
        resolver: Some(resolver([("hanging.test", "127.0.0.1"), ("victim.test", "127.0.0.2")])),
        per_destination: PerDestination { in_flight: 1, ..PerDestination::NONE },
        ..config(&authority)
    })
    .unwrap();
    let (token, metrics) = (CancellationToken::new(), Metrics::default());
    let places = Places { first: 1, again: 1 };
    let challenges = Challenges::new(outbound.clone(), Clock::default(), metrics, places, token.clone());
    let (ended, _endings) = mpsc::unbounded();
    let start = |name: &str, uri: &str| {
        let name = ObjectRef::new(name).within("identity");
        challenges.start(name, order(uri), uri.parse().unwrap(), TlsSettings::default(), ended.clone());
    };
    start("first", &format!("https://hanging.test:{}/", hanging.address.port()));
    until(|| hanging.connections() == 1).await;
    start("second", "https://victim.test/");
    // It runs on this thread, and comes to where it waits.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let victim = "https://victim.test/".parse().unwrap();
    let deliveries = outbound.channel("other", &victim, &TlsSettings::default()).unwrap();
    assert!(deliveries.admit(None).is_ok());
    token.cancel();
}
