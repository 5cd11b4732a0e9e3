//! The body of the answer.

use super::head::answer;
use super::peer::Then;
use super::{End, Row, World, row};
use crate::api::Reason;
use crate::outbound::{MAX_BODY, Step};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const TEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
const TO_THE_END: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// 1 MiB of zeros as gzip.
const BOMB: &[u8] = include_bytes!("bomb.gz");

pub(super) fn rows(world: &World) -> Vec<Row> {
    let mut rows = endings(world);
    rows.extend(slow_or_without_end(world));
    rows.extend(framing(world));
    rows.extend(encodings(world));
    rows
}

fn malformed() -> End {
    End::Again(Reason::MalformedAnswer, "the answer's body is not framed as HTTP")
}

fn endings(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, head, part) in
        [("a length", TEN, "half"), ("chunks", CHUNKED, "4\r\nhalf\r\n"), ("a chunk", CHUNKED, "8\r\nhalf")]
    {
        let says = || head.to_owned() + part;
        let broken = |words| End::Again(Reason::ConnectionFailed, words);
        let early = "closed the connection before its answer was complete";
        rows.extend([
            row(format!("{name}: half of it"), answer(world, says(), Then::Hang), End::Late(Step::Body)),
            row(format!("{name}: closed"), answer(world, says(), Then::Close), broken(early)),
            row(format!("{name}: half-closed"), answer(world, says(), Then::HalfClose), broken(early)),
            row(format!("{name}: reset"), answer(world, says(), Then::Reset), broken("the connection broke")),
        ]);
    }
    let until = || TO_THE_END.to_owned() + "half";
    rows.extend([
        row("up to the end: no end", answer(world, until(), Then::Hang), End::Late(Step::Body)),
        row("up to the end: closed", answer(world, until(), Then::Close), End::Delivered(4)),
        // Without the end of TLS nobody knows whether it is all.
        row(
            "up to the end: half-closed",
            answer(world, until(), Then::HalfClose),
            End::Again(Reason::ConnectionFailed, "before its answer was complete"),
        ),
    ]);
    rows
}

fn slow_or_without_end(world: &World) -> Vec<Row> {
    let drip = |says: &str, again: &'static [u8]| answer(world, says, Then::Drip(again));
    let flood = |says: &str, again: &'static [u8]| answer(world, says, Then::Flood(again));
    let all = "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551613\r\n\r\n";
    let trailers = CHUNKED.to_owned() + "2\r\nok\r\n0\r\n";
    let too_much = || End::Again(Reason::MalformedAnswer, "more than Herald reads");
    vec![
        row("a body that drips", drip(all, b"x"), End::Late(Step::Body)),
        row("chunks that drip", drip(CHUNKED, b"1\r\nx\r\n"), End::Late(Step::Body)),
        row("the size of a chunk that drips", drip(CHUNKED, b"0"), End::Late(Step::Body)),
        row("trailers that drip", drip(&trailers, b"x"), End::Late(Step::Body)),
        row("a body without an end", flood(all, b"x"), End::Delivered(MAX_BODY)),
        row("a body up to the end, without an end", flood(TO_THE_END, b"x"), End::Delivered(MAX_BODY)),
        row("chunks without an end", flood(CHUNKED, b"1\r\nx\r\n"), End::Delivered(MAX_BODY)),
        row(
            "a chunk without an end",
            flood(&(CHUNKED.to_owned() + "fffffffffffffff0\r\n"), b"x"),
            End::Delivered(MAX_BODY),
        ),
        row("zeros before the size of a chunk, without an end", flood(CHUNKED, b"0"), too_much()),
        row(
            "blanks after the size of a chunk, without an end",
            flood(&(CHUNKED.to_owned() + "2"), b" "),
            too_much(),
        ),
        row("an extension of a chunk without an end", flood(&(CHUNKED.to_owned() + "2;"), b"x"), malformed()),
        row("trailers without an end", flood(&trailers, b"x: y\r\n"), malformed()),
        row("a trailer without an end", flood(&trailers, b"x"), malformed()),
    ]
}

fn framing(world: &World) -> Vec<Row> {
    let ok = End::Delivered;
    let table = [
        ("a length that is too short", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore", ok(2)),
        ("204 with a body", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\noops", ok(0)),
        ("205 with a body", "HTTP/1.1 205 Reset Content\r\ncontent-length: 4\r\n\r\noops", ok(4)),
        (
            "two lengths that agree",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
            ok(2),
        ),
        (
            "a length and chunks",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ok(2),
        ),
        (
            "a size that is no number",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            malformed(),
        ),
        (
            "a size that is negative",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-2\r\nok\r\n",
            malformed(),
        ),
        (
            "a size beyond 64 bits",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff0\r\n",
            malformed(),
        ),
        (
            "a chunk longer than its size",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nok\r\n",
            malformed(),
        ),
        ("no size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n", malformed()),
        ("bare line feeds", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", ok(2)),
    ];
    table.into_iter().map(|(name, says, end)| row(name, answer(world, says, Then::Hang), end)).collect()
}

/// Nothing is asked for but the bytes as they are, and nothing is decoded.
fn encodings(world: &World) -> Vec<Row> {
    let bomb = |encoding: &str| {
        let length = BOMB.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), BOMB].concat()
    };
    let coded = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    vec![
        row("a compressed bomb", answer(world, bomb("gzip"), Then::Hang), End::Delivered(BOMB.len())),
        row("a bomb in bombs", answer(world, bomb("gzip, gzip, br"), Then::Hang), End::Delivered(BOMB.len())),
        row("compressed for the way", answer(world, coded, Then::Hang), End::Delivered(2)),
    ]
}
