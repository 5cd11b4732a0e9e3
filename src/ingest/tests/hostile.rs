//! A table of what hostile callers send, against the real server over real TLS.
//!
//! ```text
//! Row { bytes } ─> server ─> statuses of all answers until it closes the connection
//! meanwhile: a producer on a connection of its own, which is served as ever
//! ```
//!
//! Each row ends by itself: no connection stays. Of what is hidden in a row as a
//! second request, whose events are named `smuggled`, nothing may be stored.

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

/// Where one request ends, two may differ about.
fn smuggling() -> Vec<Row> {
    let mut rows = Vec::new();
    let (row_body, hidden) = (body("row"), smuggled());
    let (te, length) =
        ("transfer-encoding: chunked\r\n", |length: usize| format!("content-length: {length}\r\n"));
    let empty_and_hidden = format!("0\r\n\r\n{hidden}");
    let of_length = length(empty_and_hidden.len());
    for (name, headers) in
        [("CL.TE", format!("{of_length}{te}")), ("CL.TE, the other way round", format!("{te}{of_length}"))]
    {
        rows.push(row(name, format!("{}\r\n{empty_and_hidden}", head(&headers)), &[400]));
    }
    for (name, headers) in [
        ("TE.CL", format!("{te}{}", length(4))),
        ("TE.CL, the other way round", format!("{}{te}", length(4))),
    ] {
        rows.push(row(name, format!("{}\r\n{}", head(&headers), chunks(&hidden)), &[400]));
    }
    rows.push(row("a request after a chunked one", chunked("", &row_body) + &hidden, &[202]));
    let both = format!("{}{te}{}\r\n{}{hidden}", head(""), length(4), chunks(&row_body));
    rows.push(row("both lengths, and a request behind", both, &[202]));
    for encoding in [
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity",
        "transfer-encoding: gzip",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;x=y",
        "transfer-encoding : chunked",
        "transfer-encoding:\x0bchunked",
        "transfer-encoding\t: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "transfer-encoding:",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\ntransfer-encoding: x",
    ] {
        rows.push(row(encoding, format!("{}\r\n\r\n{}{hidden}", head(encoding), chunks(&row_body)), &[400]));
    }
    for encoding in [
        "transfer-encoding: CHUNKED",
        "Transfer-Encoding:chunked ",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    ] {
        rows.push(row(encoding, format!("{}\r\n\r\n{}{hidden}", head(encoding), chunks(&row_body)), &[202]));
    }
    let old = head(te).replace("HTTP/1.1", "HTTP/1.0");
    rows.push(row("chunked in HTTP/1.0", format!("{old}\r\n{}{hidden}", chunks(&row_body)), &[400]));
    let n = row_body.len();
    for value in [
        format!("+{n}"),
        format!("-{n}"),
        format!("0x{n:x}"),
        format!("{n} {n}"),
        format!("{n}, {n}"),
        format!("{n};"),
        format!("{n}\r\ncontent-length: {}", n + 1),
        format!("{n}.0"),
        String::new(),
        "99999999999999999999999".to_owned(),
    ] {
        let text = format!("{}content-length: {value}\r\n\r\n{row_body}{hidden}", head(""));
        rows.push(row(format!("content-length: {value}"), text, &[400]));
    }
    let endless = format!("{}content-length: {}\r\n\r\n{row_body}{hidden}", head(""), u64::MAX);
    rows.push(row("a length of all bits", endless, &[431]));
    let twice = format!("content-length: {n}\r\n");
    rows.push(row("the same length twice", with_length(&twice, &row_body), &[202]));
    let short = format!("{}content-length: {}\r\n\r\n{row_body}", head(""), n - 5);
    rows.push(row("a length that is too short", short, &[400, 400]));
    rows
}

/// Chunks and what follows them.
fn chunking() -> Vec<Row> {
    let start = format!("{}transfer-encoding: chunked\r\n\r\n", head(""));
    let (row_body, hidden) = (body("row"), smuggled());
    let n = row_body.len();
    let mut rows = Vec::new();
    for (name, text) in [
        ("a size beyond 64 bits", format!("ffffffffffffffffff\r\n{row_body}\r\n0\r\n\r\n")),
        ("a negative size", format!("-{n:x}\r\n{row_body}\r\n0\r\n\r\n")),
        ("a size with 0x", format!("0x{n:x}\r\n{row_body}\r\n0\r\n\r\n")),
        ("no size", format!("\r\n{row_body}\r\n0\r\n\r\n")),
        ("two sizes", format!("{n:x} {n:x}\r\n{row_body}\r\n0\r\n\r\n")),
        ("a bare line feed in an extension", format!("{n:x};a\nb\r\n{row_body}\r\n0\r\n\r\n")),
        ("extensions of 64 KiB", format!("{n:x};{}\r\n{row_body}\r\n0\r\n\r\n", "x".repeat(64 << 10))),
        ("no end of a chunk", format!("{n:x}\r\n{row_body}0\r\n\r\n")),
        ("trailers of 64 KiB", format!("{n:x}\r\n{row_body}\r\n0\r\nx: {}\r\n\r\n", "x".repeat(64 << 10))),
        ("a thousand trailers", format!("{n:x}\r\n{row_body}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(1000))),
        ("a trailer that is none", format!("{n:x}\r\n{row_body}\r\n0\r\nx\0y\r\n\r\n")),
    ] {
        rows.push(row(name, format!("{start}{text}{hidden}"), &[400]));
    }
    for (name, text) in [
        ("an extension", format!("{n:x};a=b\r\n{row_body}\r\n0\r\n\r\n")),
        (
            "trailers that would be headers",
            format!("{n:x}\r\n{row_body}\r\n0\r\ncontent-length: 9\r\nhost: x\r\n\r\n"),
        ),
        ("a size with zeros", format!("0000{n:x}\r\n{row_body}\r\n0\r\n\r\n")),
    ] {
        rows.push(row(name, format!("{start}{text}{hidden}"), &[202]));
    }
    // What follows is taken for a part of the body.
    let endless = format!("{start}ffffffffffffffff\r\n{row_body}\r\n0\r\n\r\n{hidden}");
    rows.push(row("a size of all bits", endless, &[408]));
    rows.push(row("chunks without an end", format!("{start}{n:x}\r\n{row_body}\r\n"), &[408]));
    rows
}

/// Lines of the header.
fn headers() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in [
        "x: a\rb",
        "x: a\0b",
        "x",
        ": y",
        "x: a\r\n b",
        "x y: z",
        "x\u{e4}: y",
        "x(): y",
        "x: \x7f",
        "x: \x01",
    ] {
        rows.push(row(
            format!("{line:?}"),
            with_length(&format!("{line}\r\n"), &body("row")) + &smuggled(),
            &[400],
        ));
    }
    rows.push(row("line feeds alone", good().replace("\r\n", "\n"), &[202]));
    rows.push(row("blank lines before", format!("\r\n\r\n{}", good()), &[202]));
    rows.push(row("a value beyond ASCII", with_length("x: \u{e4}\r\n", &body("row")), &[202]));
    rows.push(row("two hundred headers", with_length(&"x: y\r\n".repeat(200), &body("row")), &[431]));
    rows.push(row(
        "a header of 40 KiB",
        with_length(&format!("x: {}\r\n", "x".repeat(40 << 10)), &body("row")),
        &[431],
    ));
    rows.push(row("no host", good().replace("host: localhost\r\n", "") + &smuggled(), &[400]));
    rows.push(row("two hosts", with_length("host: another\r\n", &body("row")) + &smuggled(), &[400]));
    rows.push(row("two tokens", with_length("authorization: Bearer bad\r\n", &body("row")), &[401]));
    rows.push(row("two content types", with_length("content-type: text/plain\r\n", &body("row")), &[400]));
    rows
}

/// The first line.
fn lines() -> Vec<Row> {
    let mut rows = Vec::new();
    let aimed = |target: &str| good().replace(TARGET, target);
    for (target, status) in [
        (format!("https://localhost{TARGET}"), 202),
        (format!("https://another:1{TARGET}"), 202),
        (format!("{TARGET}?a=b"), 202),
        (format!("/{TARGET}"), 404),
        (format!("{TARGET}/"), 404),
        (format!("{TARGET}%00"), 404),
        (format!("/x/..{TARGET}"), 404),
        ("/v1/namespaces/identity%2fevents".to_owned(), 404),
        ("/v1/namespaces/IDENTITY/events".to_owned(), 404),
        ("*".to_owned(), 404),
        (format!("{TARGET}\0"), 400),
        (format!("{TARGET} x"), 400),
        (String::new(), 400),
        (format!("/{}", "x".repeat(40 << 10)), 431),
    ] {
        let shown: String = target.chars().take(60).collect();
        rows.push(row(format!("target {shown:?}"), aimed(&target), &[status]));
    }
    rows.push(row("authority form", "CONNECT localhost:443 HTTP/1.1\r\nhost: localhost\r\n\r\n", &[404]));
    rows.push(row("a method that is none", good().replace("POST", "P(ST"), &[400]));
    rows.push(row("a method that is long", good().replace("POST", &"P".repeat(1000)), &[405]));
    let old = good().replace("HTTP/1.1", "HTTP/1.0");
    rows.push(row("HTTP/1.0", format!("{old}{}", smuggled()), &[202]));
    let kept = old.replace("host: localhost", "connection: keep-alive");
    rows.push(row("HTTP/1.0, kept alive, without host", format!("{kept}{kept}"), &[202, 202]));
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1", "HTTP/1.1x"] {
        rows.push(row(version, good().replace("HTTP/1.1", version), &[400]));
    }
    rows.push(row("HTTP/0.9", format!("GET {TARGET}\r\n"), &[400]));
    rows.push(row("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[]));
    rows.push(row(
        "an upgrade to HTTP/2",
        with_length(
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
            &body("row"),
        ),
        &[202],
    ));
    rows.push(row("two hundred requests at once", good().repeat(200), &[202; 200]));
    rows.push(row("a line without an end", "P".repeat(20 << 10), &[]));
    rows
}

/// Bodies that are slow, packed, too large or never come.
fn bodies() -> Vec<Row> {
    let mut rows = Vec::new();
    let awaited = |token: &str| {
        head("expect: 100-continue\r\ncontent-length: 100\r\n\r\n").replace("Bearer good", token)
    };
    rows.push(row("a body that is asked for and never comes", awaited("Bearer good"), &[100, 408]));
    rows.push(row("a body that a stranger offers", awaited("Bearer bad"), &[401]));
    rows.push(row("another expectation", with_length("expect: a miracle\r\n", &body("row")), &[202]));
    rows.push(Row { drips: true, ..row("a header that drips", good(), &[]) });
    rows.push(Row { drips: true, ..row("a body that drips", with_length("", &body("row")), &[]) });
    let packed = "\x1f\u{8b}\u{8}\0\0\0\0\0\0\u{3}";
    for encoding in
        ["gzip", "deflate", "br", "zstd", "identity, gzip", "identity\r\ncontent-encoding: gzip", "x"]
    {
        let text = with_length(&format!("content-encoding: {encoding}\r\n"), packed);
        rows.push(row(format!("content-encoding: {encoding}"), text, &[415]));
    }
    rows.push(row("not packed", with_length("content-encoding: identity\r\n", &body("row")), &[202]));
    let large = |token: &str| {
        let head = head("content-length: 100000000\r\n\r\n").replace("Bearer good", token);
        head + &" ".repeat(20 << 20)
    };
    rows.push(row("a body beyond all bounds", large("Bearer good"), &[413]));
    rows.push(row("a body that a stranger sends all the same", large("Bearer bad"), &[401]));
    let batch = |body: &str| with_length("", body).replace("cloudevents+json", "cloudevents-batch+json");
    rows.push(row("four MiB of brackets", batch(&"[".repeat(4 << 20)), &[400]));
    rows.push(row("brackets", with_length("", &"[".repeat(200 << 10)), &[400]));
    rows.push(row("braces", with_length("", &"{\"a\":".repeat(40 << 10)), &[400]));
    let member = |name: &str, value: &str| body("row").replacen('{', &format!("{{\"{name}\":{value},"), 1);
    rows.push(row(
        "an extension that is deep",
        with_length("", &member("deep", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)))),
        &[400],
    ));
    rows.push(row("a member twice", with_length("", &member("id", "\"smuggled\"")), &[400]));
    for (name, json, status) in [
        (
            "data that is deep",
            body("row").replace("{}", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
            422,
        ),
        ("a number beyond all numbers", body("row").replace("{}", "1e999999999"), 202),
        ("a number of 200,000 digits", body("row").replace("{}", &"9".repeat(200_000)), 202),
        ("half a character", body("row").replace("{}", "\"\\ud800\""), 202),
        ("an id with half a character", body("row").replace("\"row\"", "\"\\ud800\""), 400),
        ("an id with a control character", body("row").replace("\"row\"", "\"\\u0000\""), 422),
        ("a subject that clears a terminal", body("row").replace("\"u\"", "\"\\u001b[2J\""), 422),
        ("a source with a line break", body("row").replace("/idp", "/idp\\n"), 422),
        (
            "an id without an end",
            body("row").replace("\"row\"", &format!("\"{}\"", "x".repeat(200_000))),
            422,
        ),
        ("a mark of the byte order", format!("\u{feff}{}", body("row")), 400),
        ("more than one event", body("row").repeat(2), 400),
        ("nothing", String::new(), 400),
    ] {
        rows.push(row(name, with_length("", &json), &[status]));
    }
    let mut invalid = with_length("", &body("row").replace("/idp", "/XXX")).into_bytes();
    invalid.iter_mut().filter(|byte| **byte == b'X').for_each(|byte| *byte = 0xff);
    rows.push(row("bytes that are no UTF-8", invalid, &[400]));
    rows
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
    let mut rows = smuggling();
    rows.extend(chunking());
    rows.extend(headers());
    rows.extend(lines());
    rows.extend(bodies());
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
