//! From the end of the TLS handshake to the last header of the answer.

use super::peer::{Moment, Peer, Then};
use super::{End, Row, World, row};
use crate::api::Reason;
use crate::outbound::Step;
use crate::outbound::tests::server;

const BEFORE_IT_ENDS: &str = "closed the connection before its answer was complete";
const NOT_HTTP: &str = "the answer is not HTTP/1.1";
const TOO_LONG: &str = "the answer's headers are longer than Herald reads";

pub(super) fn rows(world: &World) -> Vec<Row> {
    let mut rows = endings(world);
    rows.extend(slow_or_without_end(world));
    rows.extend(not_http(world));
    rows.extend(statuses(world));
    rows.extend(redirects(world));
    rows.extend(retry_after(world));
    rows
}

/// Says this to the request.
pub(super) fn answer(world: &World, says: impl Into<Vec<u8>>, then: Then) -> Peer {
    at(world, Moment::Request, says, then)
}

pub(super) fn at(world: &World, moment: Moment, says: impl Into<Vec<u8>>, then: Then) -> Peer {
    Peer::tls(server::tls(&world.trusted.sign(&["receiver.test"]), None), moment, says, then)
}

fn malformed(words: &'static str) -> End {
    End::Again(Reason::MalformedAnswer, words)
}

fn broken(words: &'static str) -> End {
    End::Again(Reason::ConnectionFailed, words)
}

fn endings(world: &World) -> Vec<Row> {
    let tls12 = |says: &'static str, then| {
        Peer::tls(server::tls12(&world.trusted.sign(&["receiver.test"])), Moment::Established, says, then)
    };
    let part = "HTTP/1.1 200 OK\r\ncontent-";
    let mut deaf = row(
        "a long request that nobody reads",
        at(world, Moment::PartOfRequest, "", Then::Deaf),
        End::Late(Step::Head),
    );
    deaf.sends = 32 << 20;
    let mut early = row(
        "an answer before the request was read",
        at(
            world,
            Moment::PartOfRequest,
            "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig",
            Then::Deaf,
        ),
        status("413 Payload Too Large"),
    );
    early.sends = 32 << 20;
    vec![
        deaf,
        early,
        row(
            "closes each new connection",
            tls12("", Then::Close),
            broken("closes each connection before it takes a request"),
        ),
        row("resets each new connection", tls12("", Then::Reset), End::Broken),
        row(
            "speaks first",
            tls12("220 mail.test ready\r\n", Then::Hang),
            malformed("speaks before it is asked"),
        ),
        row("no answer", answer(world, "", Then::Hang), End::Late(Step::Head)),
        row("closed after the request", answer(world, "", Then::Close), broken(BEFORE_IT_ENDS)),
        row("half-closed after the request", answer(world, "", Then::HalfClose), broken(BEFORE_IT_ENDS)),
        row("reset after the request", answer(world, "", Then::Reset), broken("the connection broke")),
        row("part of the headers", answer(world, part, Then::Hang), End::Late(Step::Head)),
        row("closed in the headers", answer(world, part, Then::Close), broken(BEFORE_IT_ENDS)),
        row("half-closed in the headers", answer(world, part, Then::HalfClose), broken(BEFORE_IT_ENDS)),
        row("reset in the headers", answer(world, part, Then::Reset), broken("the connection broke")),
    ]
}

fn slow_or_without_end(world: &World) -> Vec<Row> {
    let head = "HTTP/1.1 200 OK\r\n";
    let long = format!("{head}x: {}\r\n\r\n", "x".repeat(17_000));
    let many = format!("{head}{}\r\n", "x: y\r\n".repeat(129));
    let drip = |says: &str, again: &'static [u8]| answer(world, says, Then::Drip(again));
    let flood = |says: &str, again: &'static [u8]| answer(world, says, Then::Flood(again));
    vec![
        row("a status line that drips", drip("HTTP/1.1 200 ", b"K"), End::Late(Step::Head)),
        row("a header that drips", drip("HTTP/1.1 200 OK\r\nx: ", b"x"), End::Late(Step::Head)),
        row("empty lines that drip", drip("", b"\r\n"), End::Late(Step::Head)),
        row("100 Continue that drips", drip("", b"HTTP/1.1 100 Continue\r\n\r\n"), End::Late(Step::Head)),
        row("a status line without an end", flood("HTTP/1.1 200 ", b"K"), malformed(TOO_LONG)),
        row("a header without an end", flood("HTTP/1.1 200 OK\r\nx: ", b"x"), malformed(TOO_LONG)),
        row("a name of a header without an end", flood(head, b"x"), malformed(TOO_LONG)),
        row("headers without an end", flood(head, b"x: y\r\n"), malformed(TOO_LONG)),
        row("empty lines without an end", flood("", b"\r\n"), malformed(TOO_LONG)),
        row("a long header", answer(world, long, Then::Hang), malformed(TOO_LONG)),
        row("many headers", answer(world, many, Then::Hang), malformed(TOO_LONG)),
        row(
            "a flood of 100 Continue",
            flood("", b"HTTP/1.1 100 Continue\r\n\r\n"),
            malformed("more than Herald reads"),
        ),
        row(
            "a flood of 103 Early Hints",
            flood("", b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"),
            malformed("more than Herald reads"),
        ),
    ]
}

fn not_http(world: &World) -> Vec<Row> {
    let table: [(&str, &[u8]); 20] = [
        ("garbage", b"\x00\xff\x17\x03garbage\r\n\r\n"),
        ("a flood of zeros in place of an answer", &[0; 4096]),
        ("HTTP/0.9", b"<html>hello</html>\r\n\r\n"),
        ("HTTP/2 without being asked", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"),
        ("the preface of HTTP/2 as an answer", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/2.0 in the status line", b"HTTP/2.0 200 OK\r\n\r\n"),
        ("HTTP/1.2 in the status line", b"HTTP/1.2 200 OK\r\n\r\n"),
        ("a status that is a word", b"HTTP/1.1 OK\r\n\r\n"),
        ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n"),
        ("the status 000", b"HTTP/1.1 000 Nothing\r\n\r\n"),
        ("a negative status", b"HTTP/1.1 -20 OK\r\n\r\n"),
        ("a header without a colon", b"HTTP/1.1 200 OK\r\nheader\r\n\r\n"),
        ("a header without a name", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"),
        ("a header over two lines", b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n"),
        ("a zero byte in a header", b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"),
        ("a blank before the colon", b"HTTP/1.1 200 OK\r\nx : a\r\n\r\n"),
        ("a negative length", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        ("a length that is a word", b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n"),
        ("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"),
    ];
    let rows =
        table.into_iter().map(|(name, says)| row(name, answer(world, says, Then::Hang), malformed(NOT_HTTP)));
    rows.collect()
}

fn status(words: &'static str) -> End {
    End::Again(Reason::UnexpectedStatus, words)
}

fn statuses(world: &World) -> Vec<Row> {
    let table = [
        (
            "101",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            status("101"),
        ),
        ("300", "HTTP/1.1 300 Choose\r\ncontent-length: 0\r\n\r\n", status("300")),
        ("304 with a body", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\noops", status("304")),
        ("401", "HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", status("401")),
        ("407", "HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n", status("407")),
        ("410", "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", End::Dead),
        ("421", "HTTP/1.1 421 Elsewhere\r\ncontent-length: 0\r\n\r\n", status("421")),
        ("999", "HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n", status("999")),
    ];
    let rows = table
        .into_iter()
        .map(|(name, says, end)| row(format!("the status {name}"), answer(world, says, Then::Hang), end));
    rows.collect()
}

/// To the cloud's metadata, to the cluster, to a port of this machine that would answer.
fn redirects(world: &World) -> Vec<Row> {
    let witness = format!("https://receiver.test:{}/", world.witness.address.port());
    let places = [
        "http://169.254.169.254/latest/meta-data/",
        "https://kubernetes.default.svc/api/v1/secrets",
        "file:///etc/passwd",
        "//[::1]/",
        &witness,
    ];
    let mut rows = Vec::new();
    for (number, words) in
        [(301, "301"), (302, "302"), (303, "303"), (305, "305"), (307, "307"), (308, "308")]
    {
        for place in places {
            let says =
                format!("HTTP/1.1 {number} Elsewhere\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
            rows.push(row(format!("{number} to {place}"), answer(world, says, Then::Hang), status(words)));
        }
    }
    rows
}

/// Whatever it asks for, the next try comes within `spec.delivery.backoff`.
fn retry_after(world: &World) -> Vec<Row> {
    let long = "9".repeat(15_000);
    let table = [
        "0",
        "-1",
        "1e9",
        "NaN",
        "18446744073709551616",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Sun, 31 Feb 2027 00:00:00 GMT",
        "0\r\nretry-after: 86400",
        "\u{1f600}",
        &long,
    ];
    let rows = table.into_iter().map(|asked| {
        let says = format!("HTTP/1.1 503 Busy\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n");
        let name = format!("Retry-After: {}", asked.get(..40).unwrap_or(asked).replace("\r\n", ", "));
        row(name, answer(world, says, Then::Hang), status("503"))
    });
    rows.collect()
}
