//! A table of what hostile and broken endpoints do, against the real client over
//! real TLS: what comes of each attempt, when, and how much of it is taken in.
//!
//! ```text
//! Row { peer, end } ── peer: a moment, what it says then, how it goes on
//!                   └─ end:  delivered | dead | tried again, with its reason
//! ```
//!
//! A row that is to end by itself has far more time than it needs, so that
//! running out of time is another end than the expected one. What an endpoint
//! can make Herald take is counted at the endpoint: the bytes that it could say
//! before the connection was closed.

mod body;
mod certificates;
mod handshake;
mod head;
mod peer;
mod relay;
mod reuse;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Method};
use tokio::net::TcpSocket;

use super::DEADLINE;
use super::server::{Authority, OK, Server, answer_all};
use super::subject::{channel, outbound};
use crate::api::Reason;
use crate::dispatch::verdict::{self, Verdict};
use crate::journal::Outcome;
use crate::model::{Backoff, DeliveryPolicy, Jitter, Ordering as Order, Timestamp};
use crate::outbound::{Exchange, MAX_BODY, Outbound, Request, Step};
use peer::Peer;

/// What an exchange has that is to run out of time: the default of `spec.delivery.timeout`.
const LIMIT: Duration = Duration::from_secs(3);

/// The most that an endpoint may push into one connection: what Herald reads of
/// one exchange, and what the sockets of both sides hold.
const MOST_PUSHED: usize = 16 << 20;

/// The most that may be kept of the head of an answer.
const MOST_HEAD: usize = 16 * 1024;

/// Bytes that an endpoint could say.
type Count = Arc<AtomicUsize>;

/// One behaviour.
struct Row {
    name: String,
    peer: Peer,
    /// How long the body is that Herald sends.
    sends: usize,
    /// How many connections it takes to come to the end.
    connections: usize,
    end: End,
}

/// What comes of an attempt.
enum End {
    /// Delivered, and so many bytes of the answer's body were kept.
    Delivered(usize),
    /// The delivery is dead at once.
    Dead,
    /// Tried again later, for this reason; the message has these words.
    Again(Reason, &'static str),
    /// Tried again, since the connection broke, in the TLS handshake or beside it, whichever was noticed.
    Broken,
    /// Tried again, when the time has run out in this step.
    Late(Step),
}

/// A behaviour that is seen on the first connection, and ends there.
fn row(name: impl Into<String>, peer: Peer, end: End) -> Row {
    Row { name: name.into(), peer, sends: 2, connections: 1, end }
}

/// Who signs what in the table, and where redirects lead.
struct World {
    trusted: Authority,
    stranger: Authority,
    witness: Server,
}

impl World {
    async fn new() -> Self {
        let trusted = Authority::new();
        let pair = trusted.sign(&["receiver.test", "127.0.0.1"]);
        let witness =
            Server::start(super::server::tls(&pair, None), |_, stream| answer_all(stream, OK)).await;
        Self { trusted, stranger: Authority::new(), witness }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = handshake::rows(self);
        rows.extend(certificates::rows(self));
        rows.extend(head::rows(self));
        rows.extend(body::rows(self));
        rows.extend(reuse::rows(self));
        rows
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_endpoint_does_an_attempt_has_its_end_in_time_and_takes_in_little() {
    let world = World::new().await;
    let outbound = outbound(&world.trusted);
    let rows = world.rows();
    assert!(rows.len() > 100, "{}", rows.len());
    // Those that take all their time run beside each other; the others must not slow them down.
    let (late, soon): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| matches!(row.end, End::Late(_)));
    let late = futures::future::join_all(late.into_iter().map(|row| carry_out(row, &outbound)));
    let mut wrong: Vec<_> = late.await.into_iter().filter_map(Result::err).collect();
    let mut soon = futures::stream::iter(soon).map(|row| carry_out(row, &outbound)).buffer_unordered(8);
    while let Some(end) = soon.next().await {
        wrong.extend(end.err());
    }
    assert!(wrong.is_empty(), "{} rows came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(world.witness.connections(), 0, "a redirect was followed");
    assert_eq!((outbound.metrics().open.get(), outbound.metrics().idle.get()), (0, 0));
}

/// Plays a row; the error says how it came out otherwise.
async fn carry_out(row: Row, outbound: &Outbound) -> Result<(), String> {
    let wrong = |what: String| format!("{}: {what}", row.name);
    let Some(played) = row.peer.play().await else {
        return nobody(&row, outbound).await.map_err(wrong);
    };
    let limit = if matches!(row.end, End::Late(_)) { LIMIT } else { DEADLINE };
    let channel = channel(outbound, "receiver.test", played.server.address);
    if row.peer.is_reused() {
        let first = channel.exchange(request(2), DEADLINE).await;
        first.end.map_err(|error| wrong(format!("the first exchange: {error}")))?;
        played.idle().await;
    }
    let exchange = tokio::time::timeout(limit + DEADLINE, channel.exchange(request(row.sends), limit));
    let exchange = exchange.await.map_err(|_| wrong("it did not end".to_owned()))?;
    row.end.check(&exchange).map_err(wrong)?;
    drop(channel);
    let connections = played.server.connections();
    if connections != row.connections {
        return Err(wrong(format!("{connections} connections instead of {}", row.connections)));
    }
    if row.peer.looks_at_its_end() {
        let ended = tokio::time::timeout(DEADLINE / 2, played.server.ended()).await;
        ended.map_err(|_| wrong("its connection was not closed".to_owned()))?;
    }
    let pushed = played.pushed.load(Ordering::Relaxed);
    if pushed > MOST_PUSHED {
        return Err(wrong(format!("{pushed} bytes could be pushed")));
    }
    Ok(())
}

/// A port on which nobody listens; it is bound, so that nobody else gets it.
async fn nobody(row: &Row, outbound: &Outbound) -> Result<(), String> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0).into()).unwrap();
    let channel = channel(outbound, "receiver.test", socket.local_addr().unwrap());
    row.end.check(&channel.exchange(request(row.sends), DEADLINE).await)
}

fn request(length: usize) -> Request {
    Request { method: Method::POST, headers: HeaderMap::new(), body: Bytes::from(vec![b'x'; length]) }
}

impl End {
    fn check(&self, exchange: &Exchange) -> Result<(), String> {
        let verdict = verdict::judge(&exchange.end, Timestamp::from_millis(1_800_000_000_000));
        let outcome = verdict::next(&verdict, 0, &policy(), Jitter::LONGEST);
        let kept = kept(exchange)?;
        let otherwise = || Err(format!("{verdict:?}, {outcome:?}, {:?}", exchange.end));
        let (reasons, words) = match self {
            Self::Delivered(length) if verdict == Verdict::Delivered && outcome == Outcome::Done => {
                return if kept == *length { Ok(()) } else { Err(format!("{kept} bytes were kept")) };
            }
            Self::Dead if matches!(outcome, Outcome::Dead(_)) => return Ok(()),
            Self::Delivered(_) | Self::Dead => return otherwise(),
            Self::Again(reason, words) => (&[*reason][..], (*words).to_owned()),
            Self::Broken => (&[Reason::TLSFailed, Reason::ConnectionFailed][..], "reset".to_owned()),
            Self::Late(step) => (&[Reason::TimedOut][..], format!("while {step}")),
        };
        let (Verdict::Failed(failed), Outcome::Retry { after }) = (&verdict, &outcome) else {
            return otherwise();
        };
        let Backoff { initial, max } = policy().backoff;
        let as_expected = reasons.contains(&failed.reason) && failed.message.contains(&words);
        if as_expected && (initial..=max).contains(after) { Ok(()) } else { otherwise() }
    }
}

/// How much of the body was kept, or what is too much.
fn kept(exchange: &Exchange) -> Result<usize, String> {
    let Ok(answer) = &exchange.end else { return Ok(0) };
    let headers = answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let (head, body) = (headers.sum::<usize>(), answer.body.len());
    if head > MOST_HEAD || body > MAX_BODY {
        return Err(format!("{head} bytes of headers and {body} of the body were kept"));
    }
    Ok(body)
}

fn policy() -> DeliveryPolicy {
    DeliveryPolicy {
        timeout: LIMIT,
        max_attempts: NonZeroU16::new(3).unwrap(),
        backoff: Backoff { initial: Duration::from_secs(1), max: Duration::from_mins(5) },
        max_in_flight: NonZeroU16::MIN,
        max_per_second: None,
        ordering: Order::None,
    }
}
