//! A table of what hostile callers send, against the real server over real TLS.
//!
//! ```text
//! Row { bytes } ─> server ─> statuses of all answers until it closes the connection
//! meanwhile: a producer on a connection of its own, which is served as ever
//! ```
//!
//! Each row ends by itself: no connection stays. Of what is hidden in a row as a
//! second request, whose events are named `smuggled`, nothing may be stored.

mod bodies;
mod framing;
mod heads;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::super::Limits;
use super::limits::{connect, read_answer};
use super::parts::{DEADLINE, Server, event, trusting};

const TARGET: &str = "/v1/namespaces/identity/events";
const AUTHORIZED: &str = "authorization: Bearer good\r\n";
const STRUCTURED: &str = "content-type: application/cloudevents+json\r\n";

struct Row {
    name: String,
    bytes: Vec<u8>,
    /// Sent byte by byte.
    drips: bool,
    /// Of all answers.
    statuses: Vec<u16>,
}

fn row(name: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: &[u16]) -> Row {
    Row { name: name.into(), bytes: bytes.into(), drips: false, statuses: statuses.to_vec() }
}

/// A header that is all right, but for what is added.
fn head(more: &str) -> String {
    format!("POST {TARGET} HTTP/1.1\r\nhost: localhost\r\n{AUTHORIZED}{STRUCTURED}{more}")
}

fn body(id: &str) -> String {
    event(id).to_string()
}

fn with_length(more: &str, body: &str) -> String {
    format!("{}content-length: {}\r\n\r\n{body}", head(more), body.len())
}

fn good() -> String {
    with_length("", &body("row"))
}

fn smuggled() -> String {
    with_length("", &body("smuggled"))
}

fn chunks(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn chunked(more: &str, body: &str) -> String {
    format!("{}transfer-encoding: chunked\r\n{more}\r\n{}", head(""), chunks(body))
}

/// The statuses of all answers.
fn statuses(answers: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    let mut rest = answers;
    while let Some(at) = rest.find("HTTP/1.") {
        rest = rest.get(at + 9..).unwrap_or_default();
        statuses.extend(rest.get(..3).and_then(|status| status.parse::<u16>().ok()));
    }
    statuses
}

/// What comes of a row that is other than expected.
async fn carry_out(server: &Server, row: &Row) -> Option<String> {
    let (mut read, mut write) = tokio::io::split(connect(server).await);
    let begun = Instant::now();
    let sending = async {
        if row.drips {
            let mut drops = interval(Duration::from_millis(20));
            for byte in &row.bytes {
                drops.tick().await;
                if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                    break;
                }
            }
        } else {
            // It may be told to go away before all of it is sent.
            drop(write.write_all(&row.bytes).await);
            drop(write.flush().await);
        }
    };
    let mut answers = Vec::new();
    let reading = timeout(DEADLINE, async {
        tokio::join!(sending, async { drop(read.read_to_end(&mut answers).await) });
    });
    if reading.await.is_err() {
        return Some(format!("{}: not at its end after {:?}", row.name, begun.elapsed()));
    }
    let text = String::from_utf8_lossy(&answers);
    let found = statuses(&text);
    (found != row.statuses).then(|| {
        let mut failure = format!("{}: {found:?} and not {:?}", row.name, row.statuses);
        let _ = write!(failure, "; {}", text.chars().take(400).collect::<String>().replace("\r\n", " | "));
        failure
    })
}

/// Sends one event after the other on one connection, until it is told to stop.
async fn bystander(server: &Server, until: &CancellationToken) -> (usize, Duration) {
    let mut stream = connect(server).await;
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !until.is_cancelled() {
        let begun = Instant::now();
        stream.write_all(with_length("", &body("bystander")).as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        longest = longest.max(begun.elapsed());
        count += 1;
    }
    (count, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_caller_sends_has_its_end_in_time_and_smuggles_nothing() {
    let limits = Limits {
        first_header: Duration::from_secs(2),
        idle: Duration::from_secs(2),
        body: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = Server::start_with(limits, true).await;
    let mut rows = framing::smuggling();
    rows.extend(framing::chunking());
    rows.extend(heads::headers());
    rows.extend(heads::lines());
    rows.extend(bodies::rows());
    assert!(rows.len() > 120, "{}", rows.len());
    let over = CancellationToken::new();
    let table = async {
        let failures = join_all(rows.iter().map(|row| carry_out(&server, row))).await;
        over.cancel();
        failures.into_iter().flatten().collect::<Vec<_>>()
    };
    let (failures, (answered, longest)) = tokio::join!(table, bystander(&server, &over));
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
    assert!(answered > 0 && longest < Duration::from_secs(10), "{answered} answered, {longest:?} at most");
    let stored = server.journal.appended.lock().unwrap().clone();
    let count = |id: &str| stored.iter().filter(|append| append.event.id == id).count();
    assert_eq!(count("smuggled"), 0);
    let accepted = rows.iter().flat_map(|row| &row.statuses).filter(|status| **status == 202).count();
    assert_eq!(count("row"), accepted);
    assert_eq!(count("bystander") + accepted, stored.len(), "and nothing else");
    server.stop().await;
}

#[tokio::test]
async fn http_2_is_not_spoken_whatever_a_client_offers() {
    let server = Server::start().await;
    for (offered, agreed) in [(&["h2"][..], false), (&["h2", "http/1.1"], true), (&[], true)] {
        let mut config = trusting([server.certificate.clone()]);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let connected = timeout(DEADLINE, connecting).await.expect("an answer in time");
        assert_eq!(connected.is_ok(), agreed, "{offered:?}");
        if let Ok(stream) = connected {
            assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "{offered:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn who_speaks_no_tls_is_closed_on() {
    let server = Server::start().await;
    for bytes in [good().into_bytes(), vec![0; 1 << 16], b"\x16\x03\x01\xff\xff".repeat(1000)] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        drop(stream.write_all(&bytes).await);
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        drop(read.expect("it closes in time"));
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(server.journal.appended.lock().unwrap().is_empty());
    server.stop().await;
}
