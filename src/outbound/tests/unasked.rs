//! What an endpoint says unasked, too early or too late is no answer to
//! another request, and an answer that has come is not overlooked.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::coop::poll_proceed;

use super::DEADLINE;
use super::server::{self, Authority, OK, Server, answer_all, read_request, wait_for_close, write};
use super::subject::{channel, outbound, post};
use crate::outbound::Request;

const STALE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstale";

/// Lets the runtime learn what has come to each socket so far.
pub(super) async fn look_at_all_sockets() {
    let (mut one, mut other) = tokio::net::UnixStream::pair().unwrap();
    one.write_all(b"x").await.unwrap();
    other.read_exact(&mut [0]).await.unwrap();
}

#[tokio::test]
async fn what_follows_an_answer_ends_the_connection() {
    let table = [
        (OK.to_owned() + STALE, 200),
        (OK.to_owned() + "HTTP/1.1 408 Request Timeout\r\n\r\n", 200),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\noops".to_owned(), 204),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx".to_owned(), 101),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(), 200),
    ];
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let outbound = outbound(&authority);
    for (answer, status) in table {
        let said = answer.clone();
        let server = Server::start(server::tls(&pair, None), move |number, stream| {
            let said = if number == 0 { said.clone() } else { OK.to_owned() };
            async move { answer_all(stream, &said).await }
        })
        .await;
        let channel = channel(&outbound, "receiver.test", server.address);
        let first = channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
        assert_eq!(first.status, status, "{answer}");
        assert_eq!(outbound.metrics().open.get(), 0, "{answer}");
        let second = channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
        assert_eq!((second.body.as_ref(), server.connections()), (&b"ok"[..], 2), "{answer}");
    }
}

#[tokio::test]
async fn what_comes_on_an_idle_connection_is_not_the_next_answer() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let (said, mut stale) = mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |number, mut stream| {
        let said = said.clone();
        async move {
            read_request(&mut stream).await;
            write(&mut stream, OK).await;
            if number == 0 {
                write(&mut stream, STALE).await;
                said.send(()).unwrap();
            }
            wait_for_close(&mut stream).await;
        }
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
    stale.recv().await.unwrap();
    look_at_all_sockets().await;
    assert_eq!(channel.exchange(post("{}"), DEADLINE).await.end.unwrap().body, "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_answer_before_the_request_is_whole_ends_the_connection() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| async move {
        stream.read_exact(&mut [0; 16]).await.unwrap();
        write(&mut stream, "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        // Reads nothing more, so that the rest of the request is stuck.
        std::future::pending::<()>().await;
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let request = Request { method: Method::POST, headers: HeaderMap::new(), body };
    let answer = channel.exchange(request, DEADLINE).await.end.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (413, &b"big"[..]));
    assert_eq!(outbound.metrics().open.get(), 0);
}

#[tokio::test]
async fn of_many_exchanges_in_one_task_each_has_its_own_answer() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            write(&mut stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
                .await;
        }
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    for _ in 0..4 {
        let exchanges = (0..50).map(|number| {
            let channel = &channel;
            async move {
                let body = Bytes::from(format!("number {number}"));
                let request = Request { method: Method::POST, headers: HeaderMap::new(), body: body.clone() };
                assert_eq!(channel.exchange(request, DEADLINE).await.end.unwrap().body, body);
            }
        });
        futures::future::join_all(exchanges).await;
    }
    assert!(server.connections() <= 50);
}

/// Tokio lets a task do only so much at a time, and the exchanges of a lane
/// share one task. The answer may come just when the task has used that up; a
/// long body is what makes the connection wait for its reader and for nothing else.
#[tokio::test]
async fn an_answer_is_noticed_whatever_its_task_has_done_before() {
    const LENGTH: usize = 60_000;
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, stream| async move {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        answer_all(stream, &(head + &"x".repeat(LENGTH))).await;
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
    for used in 0..128 {
        let others = poll_fn(|cx| {
            for _ in 0..used {
                if let Poll::Ready(step) = poll_proceed(cx) {
                    step.made_progress();
                }
            }
            Poll::<()>::Pending
        });
        tokio::select! {
            biased;
            () = others => {}
            exchange = channel.exchange(post("{}"), DEADLINE) => {
                assert_eq!(exchange.end.expect("is overlooked").body.len(), LENGTH, "{used}");
            }
        }
    }
    assert_eq!(server.connections(), 1);
}
