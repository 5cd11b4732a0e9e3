//! Connections are kept, given up in time, and never the reason for a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Barrier, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::server::{self, Authority, OK, Server, answer_all, read_request, wait_for_close, write};
use super::subject::{channel, config, outbound, post, until};
use super::{DEADLINE, SHORT};
use crate::outbound::{Outbound, Untried};

#[tokio::test]
async fn a_connection_is_used_again_and_many_at_once_have_one_each() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, stream| answer_all(stream, OK)).await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    for _ in 0..20 {
        let answer = channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
        assert_eq!(answer.body, "ok");
    }
    assert_eq!(server.connections(), 1);
    let together = futures::future::join_all((0..8).map(|_| channel.exchange(post("{}"), DEADLINE)));
    assert!(together.await.iter().all(|exchange| exchange.end.is_ok()));
    assert!((2..=8).contains(&server.connections()), "{}", server.connections());
    assert_eq!(outbound.metrics().idle.get(), outbound.metrics().open.get());
    drop(channel);
    assert_eq!((outbound.metrics().idle.get(), outbound.metrics().open.get()), (0, 0));
}

#[tokio::test]
async fn what_is_unwanted_when_there_is_a_connection_is_not_written_and_the_next_request_has_it() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
        let seen = seen.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                seen.send(request).unwrap();
                write(&mut stream, OK).await;
            }
        }
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let pass = channel.admission(None).await;
    let unwanted = channel.try_exchange_while(post("withdrawn"), DEADLINE, pass, || Err("disabled")).await;
    assert!(matches!(unwanted, Err(Untried::Unwanted("disabled"))), "{unwanted:?}");
    assert!(channel.exchange(post("wanted"), DEADLINE).await.end.is_ok());
    assert!(requests.recv().await.unwrap().ends_with("wanted"));
    assert!(requests.try_recv().is_err());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn answers_of_every_framing_leave_the_connection_usable() {
    let answers = [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx: trailer\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops",
    ];
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| async move {
        for answer in answers {
            read_request(&mut stream).await;
            // In pieces, so that heads and bodies come apart.
            for piece in answer.as_bytes().chunks(7) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
        wait_for_close(&mut stream).await;
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let mut got = Vec::new();
    for _ in answers {
        let answer = channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
        got.push((answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap()));
    }
    let expected = [(204, ""), (200, ""), (200, "abcde"), (202, "ok"), (500, "oops")];
    assert_eq!(got, expected.map(|(status, body)| (status, body.to_owned())));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closed_while_idle_is_no_failure() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, mut stream| async move {
        read_request(&mut stream).await;
        write(&mut stream, OK).await;
        drop(stream.shutdown().await);
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    for number in 0..5 {
        channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
        assert_eq!(server.ended().await, number);
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn an_answer_that_ends_the_connection_is_whole_and_the_next_has_another() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end";
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| async move {
        read_request(&mut stream).await;
        write(&mut stream, answer).await;
        drop(stream.shutdown().await);
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    for _ in 0..2 {
        assert_eq!(channel.exchange(post(""), DEADLINE).await.end.unwrap().body, "until the end");
        assert_eq!(outbound.metrics().open.get(), 0);
    }
}

#[tokio::test]
async fn what_was_sent_on_a_reused_connection_is_not_sent_again() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, mut stream| async move {
        read_request(&mut stream).await;
        write(&mut stream, OK).await;
        // Takes the second request, and goes without an answer.
        read_request(&mut stream).await;
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
    channel.exchange(post("{}"), DEADLINE).await.end.unwrap_err();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_exchange_that_times_out_or_is_dropped_closes_its_connection() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |number, mut stream| {
        let seen = seen.clone();
        async move {
            read_request(&mut stream).await;
            seen.send(number).unwrap();
            wait_for_close(&mut stream).await;
        }
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    channel.exchange(post("{}"), SHORT).await.end.unwrap_err();
    assert_eq!(server.ended().await, 0);
    requests.recv().await.unwrap();

    let dropped = channel.clone();
    let running = tokio::spawn(async move { dropped.exchange(post("{}"), DEADLINE).await });
    assert_eq!(requests.recv().await, Some(1));
    running.abort();
    assert_eq!(server.ended().await, 1);
    until(|| outbound.metrics().open.get() == 0).await;
}

#[tokio::test]
async fn no_more_connections_are_kept_than_the_limits_say() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let both = Arc::new(Barrier::new(2));
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
        let both = both.clone();
        async move {
            read_request(&mut stream).await;
            both.wait().await;
            write(&mut stream, OK).await;
            wait_for_close(&mut stream).await;
        }
    })
    .await;
    let kept = |max_idle, max_connection_age| {
        let mut config = config(&authority);
        (config.max_idle, config.max_connection_age) = (max_idle, max_connection_age);
        let outbound = Outbound::new(config).unwrap();
        let channel = channel(&outbound, "receiver.test", server.address);
        async move {
            let (one, other) =
                tokio::join!(channel.exchange(post(""), DEADLINE), channel.exchange(post(""), DEADLINE));
            one.end.and(other.end).unwrap();
            (outbound.metrics().idle.get(), outbound.metrics().open.get())
        }
    };
    assert_eq!(kept(9, DEADLINE).await, (2, 2));
    assert_eq!(kept(1, DEADLINE).await, (1, 1));
    assert_eq!(kept(9, Duration::ZERO).await, (0, 0));
}

#[tokio::test]
async fn the_sweep_closes_what_is_idle_for_too_long_or_closed_by_the_endpoint() {
    for idle_timeout in [Duration::from_millis(50), Duration::from_secs(6)] {
        let endpoint_closes = idle_timeout > Duration::from_secs(1);
        let authority = Authority::new();
        let pair = authority.sign(&["receiver.test"]);
        let server = Server::start(server::tls(&pair, None), move |_, mut stream| async move {
            read_request(&mut stream).await;
            write(&mut stream, OK).await;
            if endpoint_closes {
                drop(stream.shutdown().await);
            } else {
                wait_for_close(&mut stream).await;
            }
        })
        .await;
        let mut config = config(&authority);
        config.idle_timeout = idle_timeout;
        let outbound = Outbound::new(config).unwrap();
        let channel = channel(&outbound, "receiver.test", server.address);
        let shutdown = CancellationToken::new();
        let sweeping = AbortOnDropHandle::new(tokio::spawn(outbound.clone().run(shutdown.clone())));
        channel.exchange(post("{}"), DEADLINE).await.end.unwrap();
        assert_eq!(server.ended().await, 0);
        until(|| outbound.metrics().open.get() == 0 && outbound.metrics().idle.get() == 0).await;
        shutdown.cancel();
        tokio::time::timeout(DEADLINE, sweeping).await.unwrap().unwrap();
    }
}
