//! Slow and greedy peers, and the end of the server.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::super::*;
use super::parts::{ByToken, DEADLINE, ScriptedJournal, Server, TwoForCreated, chunked, event, trusting};
use crate::access::{self, Authenticator, Lifetimes};
use crate::model::Clock;

const HEAD: &str = "POST /v1/namespaces/identity/events HTTP/1.1\r\nhost: localhost\r\n\
    authorization: Bearer good\r\ncontent-type: application/cloudevents+json\r\n";
const SHORT: Duration = Duration::from_millis(100);

pub(super) async fn connect(server: &Server) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(trusting([server.certificate.clone()])));
    let name = ServerName::try_from("localhost").unwrap();
    timeout(DEADLINE, connector.connect(name, stream)).await.expect("a handshake in time").unwrap()
}

/// What the server sends until it closes.
async fn read_to_end(stream: &mut TlsStream<TcpStream>) -> String {
    let mut text = Vec::new();
    // A close without the TLS farewell is an error to rustls, and a close to us.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut text)).await.expect("it closes in time");
    String::from_utf8(text).unwrap()
}

fn whole_request() -> String {
    let body = event("1").to_string();
    format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len())
}

pub(super) async fn read_answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut buffer = [0; 4096];
    let read = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test]
async fn a_header_that_does_not_end_closes_the_connection() {
    let server = Server::start_with(Limits { first_header: SHORT, ..Limits::default() }, true).await;
    let mut stream = connect(&server).await;
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_next_request_is_closed() {
    let server = Server::start_with(Limits { idle: SHORT, ..Limits::default() }, true).await;
    let mut stream = connect(&server).await;
    stream.write_all(whole_request().as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_closes_the_connection() {
    let server = Server::start_with(Limits { handshake: SHORT, ..Limits::default() }, true).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let read = timeout(DEADLINE, stream.read(&mut [0])).await.expect("it closes in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_drips_is_told_that_it_is_too_slow() {
    let server = Server::start_with(Limits { body: SHORT, ..Limits::default() }, true).await;
    let mut stream = connect(&server).await;
    stream.write_all(format!("{HEAD}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_header_beyond_all_bounds_is_refused() {
    let server = Server::start().await;
    let mut stream = connect(&server).await;
    let wide = format!("{HEAD}x: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(40 << 10));
    stream.write_all(wide.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn whoever_shows_no_good_token_keeps_no_connection() {
    let server = Server::start().await;
    for head in [HEAD.replace("Bearer good", "Bearer bad"), HEAD.replace("authorization", "x-authorization")]
    {
        let mut stream = connect(&server).await;
        stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_ends() {
    let server = Server::start_with(Limits { connections: 1, ..Limits::default() }, true).await;
    let mut first = connect(&server).await;
    first.write_all(whole_request().as_bytes()).await.unwrap();
    assert!(read_answer(&mut first).await.starts_with("HTTP/1.1 202"));

    let mut second = Box::pin(connect(&server));
    // The first has the only place for as long as it lives, so this cannot pass by luck.
    assert!(timeout(Duration::from_millis(200), &mut second).await.is_err(), "there is no place yet");
    drop(first);
    let mut second = second.await;
    second.write_all(whole_request().as_bytes()).await.unwrap();
    assert!(read_answer(&mut second).await.starts_with("HTTP/1.1 202"));
    server.stop().await;
}

#[tokio::test]
async fn bodies_beyond_the_memory_for_them_are_told_to_come_back() {
    let limits =
        Limits { body_bytes: 4 << 20, body: Duration::from_secs(1), store: DEADLINE, ..Limits::default() };
    let server = Server::start_with(limits, true).await;
    // A batch of unknown length takes all there is, and the journal holds it.
    server.journal.permits.forget_permits(usize::MAX);
    let body = chunked(vec![format!("[{}]", event("1")).into_bytes()]);
    let request = server.post("application/cloudevents-batch+json", body);
    let first = tokio::spawn(request.send());
    timeout(DEADLINE, async {
        while server.journal.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the first is in the journal");
    let second = server.send(&event("2")).await;
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    server.journal.permits.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 202);
    server.stop().await;
}

#[tokio::test]
async fn a_journal_that_hangs_is_not_waited_for_for_ever() {
    let server = Server::start_with(Limits { store: SHORT, ..Limits::default() }, true).await;
    server.journal.permits.forget_permits(usize::MAX);
    let response = server.send(&event("1")).await;
    assert_eq!(response.status(), 503);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_lets_the_request_under_way_end_and_closes_the_idle() {
    let server = Server::start().await;
    let mut idle = connect(&server).await;
    idle.write_all(whole_request().as_bytes()).await.unwrap();
    assert!(read_answer(&mut idle).await.starts_with("HTTP/1.1 202"));

    server.journal.permits.forget_permits(usize::MAX);
    let mut busy = connect(&server).await;
    busy.write_all(whole_request().as_bytes()).await.unwrap();
    timeout(DEADLINE, async {
        while server.journal.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the request is in the journal");
    server.shutdown.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    server.journal.permits.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let server = Server::start_with(Limits { drain: SHORT, ..Limits::default() }, true).await;
    let mut stream = connect(&server).await;
    stream.write_all(format!("{HEAD}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn without_tls_only_loopback_is_served() {
    let service = || {
        let metrics = Metrics::default();
        let authenticator =
            Authenticator::new(ByToken, Lifetimes::default(), Clock::default(), access::Metrics::default());
        let subscriptions = TwoForCreated { ready: true };
        let journal = ScriptedJournal::default();
        Arc::new(Service::new(
            authenticator,
            subscriptions,
            journal,
            metrics,
            Limits::default(),
            Clock::default(),
        ))
    };
    let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let running = run(everywhere, None, service(), CancellationToken::new());
    let verdict = timeout(DEADLINE, running).await.expect("it does not start");
    assert!(matches!(verdict, Err(RunError::Exposed(_))), "{verdict:?}");

    let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = loopback.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(loopback, None, service(), shutdown.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(whole_request().as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await.expect("an answer in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");
    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("it stops").unwrap().unwrap();
}
