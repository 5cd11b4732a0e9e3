//! Up to the end of the TLS handshake.

use rustls::version::{TLS12, TLS13};

use super::peer::{Moment, Peer, Then};
use super::relay::HANDSHAKE;
use super::{End, Row, World, row};
use crate::api::Reason;
use crate::outbound::Step;
use crate::outbound::tests::server;

const BROKE: &str = "the connection broke during the TLS handshake";
const NOT_TLS: &str = "the endpoint does not speak TLS on this port";
const NO_SESSION: &str = "no TLS session with the endpoint";
const NO_SHARED: &str = "shares no TLS version or cipher with Herald";

pub(super) fn rows(world: &World) -> Vec<Row> {
    let mut rows = vec![row(
        "nobody listens",
        Peer::nobody(),
        End::Again(Reason::ConnectionFailed, "connection refused"),
    )];
    rows.extend(silence());
    rows.extend(not_tls());
    rows.extend(floods());
    rows.extend(old_versions());
    rows.extend(alerts());
    rows.extend(cuts(world));
    rows
}

fn failed(words: &'static str) -> End {
    End::Again(Reason::TLSFailed, words)
}

fn silence() -> Vec<Row> {
    let mut rows = Vec::new();
    for (moment, when) in [(Moment::Accepted, "after accept"), (Moment::Hello, "after the client's hello")] {
        rows.extend([
            row(format!("silence {when}"), Peer::raw(moment, "", Then::Hang), End::Late(Step::Tls)),
            row(format!("deaf {when}"), Peer::raw(moment, "", Then::Deaf), End::Late(Step::Tls)),
            row(format!("closed {when}"), Peer::raw(moment, "", Then::Close), failed(BROKE)),
            row(format!("reset {when}"), Peer::raw(moment, "", Then::Reset), End::Broken),
        ]);
    }
    rows
}

fn not_tls() -> Vec<Row> {
    let http = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let table = [
        ("plain HTTP", Moment::Hello, http.as_bytes(), Then::Close),
        ("the banner of SSH", Moment::Accepted, b"SSH-2.0-OpenSSH_9.2\r\n", Then::Hang),
        ("the banner of SMTP", Moment::Accepted, b"220 mail.test ready\r\n", Then::Hang),
        ("the preface of HTTP/2", Moment::Accepted, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Then::Hang),
        ("zeros", Moment::Accepted, &[0; 64], Then::Hang),
        ("a flood of zeros", Moment::Accepted, &[], Then::Flood(&[0])),
        ("a flood of text", Moment::Hello, &[], Then::Flood(b"garbage ")),
    ];
    let rows = table.into_iter().map(|(name, moment, says, then)| {
        row(format!("{name} in place of TLS"), Peer::raw(moment, says, then), failed(NOT_TLS))
    });
    rows.collect()
}

fn floods() -> Vec<Row> {
    let hello = |says: &'static [u8], then| Peer::raw(Moment::Hello, says, then);
    // A record of 16,640 bytes with a server's hello of 16,380.
    let long = &[HANDSHAKE, 3, 3, 0x41, 0, 2, 0, 0x3f, 0xfc];
    // The same, in records of a byte each.
    let start = &[HANDSHAKE, 3, 3, 0, 4, 2, 0, 0x3f, 0xfc];
    // A server's hello of 16 MiB, in records of 4 bytes.
    let endless = &[HANDSHAKE, 3, 3, 0, 4, 2, 0xff, 0xff, 0xff];
    vec![
        row("a hello that drips", hello(long, Then::Drip(&[0])), End::Late(Step::Tls)),
        row(
            "records of a hello that drip",
            hello(start, Then::Drip(&[HANDSHAKE, 3, 3, 0, 1, 0])),
            End::Late(Step::Tls),
        ),
        row(
            "a hello without an end",
            hello(endless, Then::Flood(&[HANDSHAKE, 3, 3, 0, 4, 0, 0, 0, 0])),
            failed(NO_SESSION),
        ),
        row(
            "a flood of empty records",
            hello(&[], Then::Flood(&[HANDSHAKE, 3, 3, 0, 0])),
            failed(NO_SESSION),
        ),
        row("a flood of warnings", hello(&[], Then::Flood(&[21, 3, 3, 0, 2, 1, 90])), failed(NO_SESSION)),
        row(
            "a flood of changes of the cipher",
            hello(&[], Then::Flood(&[20, 3, 3, 0, 1, 1])),
            failed(NO_SESSION),
        ),
        row(
            "application data in place of a hello",
            hello(&[23, 3, 3, 0, 1, 0], Then::Hang),
            failed(NO_SESSION),
        ),
    ]
}

fn old_versions() -> Vec<Row> {
    let table = [("SSL 3.0", 0), ("TLS 1.0", 1), ("TLS 1.1", 2)];
    let mut rows: Vec<_> = table
        .into_iter()
        .map(|(name, minor)| {
            row(name, Peer::raw(Moment::Hello, server_hello(minor, 0xc02b), Then::Hang), failed(NO_SHARED))
        })
        .collect();
    // TLS_RSA_WITH_RC4_128_MD5, which nobody offered.
    rows.push(row(
        "TLS 1.2 with a broken cipher",
        Peer::raw(Moment::Hello, server_hello(3, 0x0004), Then::Hang),
        failed(NO_SESSION),
    ));
    rows
}

/// The hello of a server that picks the version 3.`minor` and this cipher.
fn server_hello(minor: u8, cipher: u16) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend(cipher.to_be_bytes());
    hello.push(0);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![HANDSHAKE, 3, minor, 0, length + 4, 2, 0, 0, length];
    record.extend(hello);
    record
}

/// Each alert that a document names, and one that none does.
fn alerts() -> Vec<Row> {
    const NAMED: [u8; 35] = [
        10, 20, 21, 22, 30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 60, 70, 71, 80, 86, 90, 100, 109,
        110, 111, 112, 113, 114, 115, 116, 120, 121, 255,
    ];
    let rows = NAMED.into_iter().map(|alert| {
        let words = match alert {
            40 | 70 | 71 => NO_SHARED,
            42..=46 | 48 | 49 => "refuses Herald's client certificate",
            112 => "has no site of this host name",
            116 => "spec.tls.clientCertificateSecretRef",
            120 => "does not offer HTTP/1.1",
            _ => "ended the TLS handshake",
        };
        let peer = Peer::raw(Moment::Hello, [21, 3, 3, 0, 2, 2, alert], Then::Close);
        row(format!("the alert {alert}"), peer, failed(words))
    });
    let close_notify = Peer::raw(Moment::Hello, [21, 3, 3, 0, 2, 1, 0], Then::Close);
    rows.chain([row("the alert that closes", close_notify, failed(BROKE))]).collect()
}

/// A handshake that ends, or hangs, before each of the server's messages: with TLS 1.2
/// hello, certificate, key exchange, done, change of the cipher, finished;
/// with TLS 1.3 hello, change of the cipher, and all the rest as one.
fn cuts(world: &World) -> Vec<Row> {
    let pair = world.trusted.sign(&["receiver.test"]);
    let mut rows = Vec::new();
    for (version, name, messages) in [(&TLS12, "TLS 1.2", 6), (&TLS13, "TLS 1.3", 3)] {
        for sent in 0..messages {
            let cut = |then| Peer::tls(server::tls_of(version, &pair), Moment::Handshake(sent), "", then);
            let name = |what| format!("{name} {what} after {sent} messages");
            rows.extend([
                row(name("closed"), cut(Then::Close), failed(BROKE)),
                row(name("reset"), cut(Then::Reset), failed(BROKE)),
                row(name("hangs"), cut(Then::Hang), End::Late(Step::Tls)),
            ]);
        }
    }
    rows
}
