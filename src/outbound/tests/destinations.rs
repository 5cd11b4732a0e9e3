//! What one host and one address get, of all channels together.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::server::{self, Authority, OK, Server, answer_all, read_request, write};
use super::subject::{channel, config, post, until};
use super::{DEADLINE, SHORT};
use crate::outbound::{Channel, Limit, Outbound, OutboundConfig, PerDestination, Resolver, TlsSettings};

const HOSTS: usize = 24;

fn host(number: usize) -> String {
    format!("h{number}.test")
}

/// As a wildcard in DNS: any of many names has these addresses.
fn outbound(authority: &Authority, addresses: &[&str], per_destination: PerDestination) -> Outbound {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let resolver = Resolver::table((0..HOSTS).map(|number| (host(number), addresses.clone())));
    Outbound::new(OutboundConfig { resolver: Some(resolver), per_destination, ..config(authority) }).unwrap()
}

fn channels(outbound: &Outbound, server: &Server) -> Vec<Channel> {
    (0..HOSTS).map(|number| channel(outbound, &host(number), server.address)).collect()
}

fn names() -> Vec<String> {
    (0..HOSTS).map(host).collect()
}

fn pair(authority: &Authority) -> server::Pair {
    authority.sign(&names().iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn many_names_of_one_address_have_no_more_requests_at_one_time_than_one_has() {
    let authority = Authority::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, highest) = (now.clone(), most.clone());
    let server = Server::start(server::tls(&pair(&authority), None), move |_, mut stream| {
        let (counting, highest) = (counting.clone(), highest.clone());
        async move {
            while read_request(&mut stream).await.is_some() {
                highest.fetch_max(counting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
                counting.fetch_sub(1, Ordering::SeqCst);
                write(&mut stream, OK).await;
            }
        }
    })
    .await;
    let limits = PerDestination { in_flight: 3, ..PerDestination::NONE };
    let outbound = outbound(&authority, &["127.0.0.1"], limits);
    let channels = channels(&outbound, &server);
    for _ in 0..3 {
        let all = join_all(channels.iter().map(|channel| channel.exchange(post("{}"), DEADLINE))).await;
        assert!(all.iter().all(|exchange| exchange.end.is_ok()), "{all:?}");
    }
    assert_eq!(most.load(Ordering::SeqCst), 3, "all that is allowed, and no more");
    assert_eq!(server.connections(), HOSTS, "each is its channel's own, and is kept");
}

#[tokio::test]
async fn many_names_of_one_address_have_no_more_requests_a_second_than_one_has() {
    let authority = Authority::new();
    let server =
        Server::start(server::tls(&pair(&authority), None), |_, stream| answer_all(stream, OK)).await;
    let limits = PerDestination { requests: 10, ..PerDestination::NONE };
    let outbound = outbound(&authority, &["127.0.0.1"], limits);
    let channels = channels(&outbound, &server);
    let start = Instant::now();
    let ended = join_all(channels.iter().map(async |channel| {
        let exchange = channel.exchange(post("{}"), DEADLINE).await;
        assert!(exchange.end.is_ok(), "{exchange:?}");
        start.elapsed()
    }));
    let mut ended = ended.await;
    ended.sort();
    // None ends before it begins, so these bounds are exact.
    assert!(ended[10] >= Duration::from_secs(1) && ended[20] >= Duration::from_secs(2), "{ended:?}");
}

#[tokio::test]
async fn an_endpoint_that_closes_each_connection_gets_no_more_of_them_a_second() {
    let authority = Authority::new();
    let (accepted, mut connections) = mpsc::unbounded_channel();
    // No TLS: as a victim that a name was pointed to after the proof.
    let server = Server::raw(IpAddr::V4(Ipv4Addr::LOCALHOST), move |_, _tcp| {
        accepted.send(Instant::now()).unwrap();
        std::future::ready(())
    })
    .await;
    let limits = PerDestination { connects: 10, ..PerDestination::NONE };
    let outbound = outbound(&authority, &["127.0.0.1"], limits);
    let channels = channels(&outbound, &server);
    let start = Instant::now();
    let all = join_all(channels.iter().map(|channel| channel.exchange(post("{}"), DEADLINE))).await;
    assert!(all.iter().all(|exchange| exchange.end.is_err()));
    let mut at = Vec::new();
    for _ in 0..HOSTS {
        at.push(connections.recv().await.unwrap() - start);
    }
    assert!(at[10] >= Duration::from_secs(1) && at[20] >= Duration::from_secs(2), "{at:?}");
    assert_eq!(server.connections(), HOSTS);
}

#[tokio::test]
async fn one_host_behind_many_addresses_has_one_limit() {
    let authority = Authority::new();
    let silent = Server::silent(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).await;
    let limits = PerDestination { in_flight: 2, ..PerDestination::NONE };
    let outbound = outbound(&authority, &["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"], limits);
    // Of different webhooks, and in different spellings.
    let [one, other, third] =
        ["h0.test", "H0.Test", "h0.test"].map(|host| channel(&outbound, host, silent.address));
    let mut running = [&one, &other].map(|channel| Box::pin(channel.exchange(post("{}"), DEADLINE)));
    assert!(running.iter_mut().all(|exchange| exchange.now_or_never().is_none()));
    assert_eq!(third.admit(None).unwrap_err().limit(), Limit::InFlight);
    drop(running);
    assert!(third.admit(None).is_ok());
}

#[tokio::test]
async fn what_finds_no_room_is_not_tried_and_an_address_with_room_is_taken_instead() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(server::tls(&pair(&authority), None)));
    let (seen, mut requests) = mpsc::unbounded_channel();
    let gate = CancellationToken::new();
    let open = gate.clone();
    let server = Server::raw(IpAddr::V4(Ipv4Addr::UNSPECIFIED), move |_, tcp| {
        let (acceptor, seen, open) = (acceptor.clone(), seen.clone(), open.clone());
        async move {
            let address = tcp.local_addr().unwrap().ip().to_string();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            while read_request(&mut stream).await.is_some() {
                seen.send(address.clone()).unwrap();
                open.cancelled().await;
                write(&mut stream, OK).await;
            }
        }
    })
    .await;
    let limits = PerDestination { in_flight: 1, ..PerDestination::NONE };
    let outbound = outbound(&authority, &["127.0.0.1", "127.0.0.2"], limits);
    let channels = channels(&outbound, &server);
    let mut running = futures::stream::FuturesUnordered::new();
    for (channel, address) in channels.iter().zip(["127.0.0.1", "127.0.0.2"]) {
        running.push(channel.exchange(post("{}"), DEADLINE));
        assert!(running.next().now_or_never().is_none());
        let request = async {
            tokio::select! {
                request = requests.recv() => request.unwrap(),
                ended = running.next() => panic!("{ended:?}"),
            }
        };
        assert_eq!(request.await, address);
    }
    let third = &channels[2];
    let pass = third.admit(None).expect("its host has room");
    let refused = third.try_exchange(post("{}"), DEADLINE, pass).await.expect_err("no address has");
    assert_eq!((refused.limit(), server.connections()), (Limit::InFlight, 2));
    let mut turn = Box::pin(refused.wait());
    assert!((&mut turn).now_or_never().is_none());
    assert_eq!(outbound.metrics().waiting(), 1);
    gate.cancel();
    while let Some(exchange) = running.next().await {
        assert!(exchange.end.is_ok(), "{exchange:?}");
    }
    let pass = third.admission(Some(turn.await)).await;
    let exchange = third.try_exchange(post("{}"), DEADLINE, pass).await.expect("its turn");
    assert!(exchange.end.is_ok(), "{exchange:?}");
    assert_eq!(outbound.metrics().waiting(), 0);
}

#[tokio::test]
async fn a_namespace_with_many_webhooks_at_a_slow_host_leaves_others_at_the_same_address_their_share() {
    let authority = Authority::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let counting = begun.clone();
    let server = Server::start(server::tls(&pair(&authority), None), move |_, mut stream| {
        let counting = counting.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                if request.contains("h0.test") {
                    write(&mut stream, OK).await;
                } else {
                    counting.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
            }
        }
    })
    .await;
    let limits = PerDestination { in_flight: 4, ..PerDestination::NONE };
    let outbound = outbound(&authority, &["127.0.0.1"], limits);
    let uri = format!("https://{}:{}/", host(0), server.address.port()).parse().unwrap();
    let other = outbound.channel("other", &uri, &TlsSettings::default()).unwrap();
    let slow = channels(&outbound, &server).into_iter().skip(1);
    let slow: Vec<_> = slow
        .map(|channel| {
            tokio::spawn(async move {
                loop {
                    channel.exchange(post("{}"), SHORT).await.end.unwrap_err();
                }
            })
        })
        .collect();
    until(|| outbound.metrics().waiting() == 19 && begun.load(Ordering::SeqCst) >= 4).await;
    let before = begun.load(Ordering::SeqCst);
    for _ in 0..4 {
        assert!(other.exchange(post("{}"), DEADLINE).await.end.is_ok());
    }
    let meanwhile = begun.load(Ordering::SeqCst) - before;
    // In the order of asking it would wait for all 19 each time.
    assert!(meanwhile < 2 * 19, "{meanwhile}");
    for slow in slow {
        slow.abort();
    }
}

#[tokio::test]
async fn a_full_destination_does_not_slow_another_and_nothing_waits_for_one_that_was_dropped() {
    let authority = Authority::new();
    let full = Server::silent(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let good = authority.sign(&["receiver.test"]);
    let acceptor = TlsAcceptor::from(Arc::new(server::tls(&good, None)));
    let healthy = Server::raw("127.0.0.2".parse().unwrap(), move |_, tcp| {
        let acceptor = acceptor.clone();
        async move { answer_all(acceptor.accept(tcp).await.unwrap(), OK).await }
    })
    .await;
    let resolver = super::subject::resolver([("full.test", "127.0.0.1"), ("receiver.test", "127.0.0.2")]);
    let per_destination = PerDestination { in_flight: 1, ..PerDestination::NONE };
    let config = OutboundConfig { resolver: Some(resolver), per_destination, ..config(&authority) };
    let outbound = Outbound::new(config).unwrap();
    let stuck = channel(&outbound, "full.test", full.address);
    let hangs = tokio::spawn(async move { stuck.exchange(post("{}"), DEADLINE).await });
    until(|| full.connections() == 1).await;
    let waits = channel(&outbound, "full.test", full.address);
    let waiting = tokio::spawn(async move { waits.exchange(post("{}"), SHORT).await });
    until(|| outbound.metrics().waiting() == 1).await;
    let other = channel(&outbound, "receiver.test", healthy.address);
    for _ in 0..50 {
        assert!(other.exchange(post("{}"), DEADLINE).await.end.is_ok());
    }
    assert!(!waiting.is_finished(), "the time that it waits is not its endpoint's");
    hangs.abort();
    let exchange = waiting.await.unwrap();
    assert!(exchange.end.is_err() && full.connections() == 2, "{exchange:?}");
}
