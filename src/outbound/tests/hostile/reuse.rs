//! The second exchange of a connection whose first went well.

use super::head::at;
use super::peer::{Moment, Then};
use super::{End, Row, World, row};
use crate::api::Reason;
use crate::outbound::Step;

const STALE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstale";

pub(super) fn rows(world: &World) -> Vec<Row> {
    let mut rows = while_idle(world);
    rows.extend(with_a_request(world));
    rows
}

/// It is noticed before the connection is used, and the request takes another.
fn while_idle(world: &World) -> Vec<Row> {
    let table = [
        ("closed while idle", "", Then::Close),
        ("half-closed while idle", "", Then::HalfClose),
        ("reset while idle", "", Then::Reset),
        ("an answer that nobody asked for", STALE, Then::Hang),
        ("408 while idle", "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", Then::Close),
        ("a flood while idle", "", Then::Flood(b"HTTP/1.1 100 Continue\r\n\r\n")),
    ];
    let rows = table.into_iter().map(|(name, says, then)| Row {
        connections: 2,
        ..row(name, at(world, Moment::Idle, says, then), End::Delivered(2))
    });
    rows.collect()
}

/// The request may have been taken, and so it is not sent again by itself.
fn with_a_request(world: &World) -> Vec<Row> {
    let broken = |words| End::Again(Reason::ConnectionFailed, words);
    let peer = |says: &str, then| at(world, Moment::NextRequest, says, then);
    vec![
        row(
            "closed just as it is used again",
            peer("", Then::Close),
            broken("before its answer was complete"),
        ),
        row("reset just as it is used again", peer("", Then::Reset), broken("the connection broke")),
        row("no answer to the second request", peer("", Then::Hang), End::Late(Step::Head)),
        row(
            "garbage to the second request",
            peer("stale", Then::Hang),
            End::Again(Reason::MalformedAnswer, "not HTTP/1.1"),
        ),
    ]
}
