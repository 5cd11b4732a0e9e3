//! One deadline and one bound hold, whatever the endpoint does; and what is
//! asked for is what is sent.

use http::StatusCode;

use super::server::{self, Authority, OK, Server, answer_all, read_request, wait_for_close, write};
use super::subject::{channel, outbound, post};
use super::{DEADLINE, SHORT, assert_ran_out, assert_steps};
use crate::api::Reason;
use crate::outbound::{ExchangeError, MAX_BODY, Step};

/// Says `first`, and then `again` every few milliseconds until the client goes.
async fn drips(first: &'static str, again: &'static str) -> (Authority, Server) {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| async move {
        read_request(&mut stream).await;
        write(&mut stream, first).await;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
        let drip = async {
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let closed = async {
                let mut byte = [0];
                while tokio::io::AsyncReadExt::read(&mut reader, &mut byte).await.is_ok_and(|n| n > 0) {}
            };
            let dripping = async {
                loop {
                    tick.tick().await;
                    let bytes = again.as_bytes();
                    if tokio::io::AsyncWriteExt::write_all(&mut writer, bytes).await.is_err() {
                        return;
                    }
                    drop(tokio::io::AsyncWriteExt::flush(&mut writer).await);
                }
            };
            tokio::select! { () = closed => {}, () = dripping => {} }
        };
        drip.await;
    })
    .await;
    (authority, server)
}

#[tokio::test]
async fn a_dripping_body_or_head_ends_at_the_deadline_and_its_connection_is_closed() {
    let table = [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n", Step::Body),
        ("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n", "x", Step::Body),
        ("HTTP/1.1 200 OK\r\nx: ", "x", Step::Head),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", Step::Head),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", Step::Head),
    ];
    for (first, again, step) in table {
        let (authority, server) = drips(first, again).await;
        let outbound = outbound(&authority);
        let channel = channel(&outbound, "receiver.test", server.address);
        let exchange = channel.exchange(post("{}"), SHORT).await;
        assert_ran_out(&exchange.phases, step);
        let error = exchange.end.unwrap_err();
        let ExchangeError::TimedOut(overdue) = error else { panic!("{first:?}: {error:?}") };
        assert_eq!((overdue.limit, overdue.doing), (SHORT, step), "{first:?}");
        assert_eq!(server.ended().await, 0);
        assert_eq!(outbound.metrics().open.get(), 0);
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_cut_and_its_connection_closed() {
    for (length, truncated) in [(MAX_BODY, false), (MAX_BODY + 1, true), (10 * MAX_BODY, true)] {
        let authority = Authority::new();
        let pair = authority.sign(&["receiver.test"]);
        let server = Server::start(server::tls(&pair, None), move |_, stream| async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            answer_all(stream, &(head + &"x".repeat(length))).await;
        })
        .await;
        let outbound = outbound(&authority);
        let channel = channel(&outbound, "receiver.test", server.address);
        let answer = channel.exchange(post(""), DEADLINE).await.end.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (length.min(MAX_BODY), truncated));
        assert!(answer.body.iter().all(|&byte| byte == b'x'));
        assert_eq!(outbound.metrics().open.get(), i64::from(!truncated));
    }
}

/// Of interim answers nothing is kept, and so there is no other bound on them.
#[tokio::test]
async fn an_endpoint_that_sends_without_an_end_is_left_before_the_deadline() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let server = Server::start(server::tls(&pair, None), |_, mut stream| async move {
        read_request(&mut stream).await;
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(500);
        while tokio::io::AsyncWriteExt::write_all(&mut stream, interim.as_bytes()).await.is_ok() {}
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let error = channel.exchange(post("{}"), DEADLINE).await.end.unwrap_err();
    assert_eq!(error.reason(), Reason::MalformedAnswer, "{error:?}");
    assert!(error.to_string().contains("sends more than Herald reads"), "{error}");
    assert_eq!(server.ended().await, 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| async move {
        read_request(&mut stream).await;
        write(&mut stream, answer).await;
        assert!(read_request(&mut stream).await.is_none(), "followed");
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let answer = channel.exchange(post(""), DEADLINE).await.end.unwrap();
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers["location"], "/other");
    drop(channel);
    assert_eq!(server.ended().await, 0);
}

#[tokio::test]
async fn the_request_is_what_was_asked_for_and_host_and_length_are_right() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
        let seen = seen.clone();
        async move {
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let request = read_request(&mut stream).await.unwrap();
            seen.send((name, request)).unwrap();
            write(&mut stream, OK).await;
            wait_for_close(&mut stream).await;
        }
    })
    .await;
    let outbound = outbound(&authority);
    let channel = channel(&outbound, "receiver.test", server.address);
    let mut request = post("{\"a\":1}");
    request.headers.insert("x-api-key", "k".parse().unwrap());
    let exchange = channel.exchange(request, DEADLINE).await;
    assert_eq!(exchange.end.unwrap().body, "ok");
    assert_steps(&exchange.phases, Step::Body);
    assert!(exchange.phases.total() < DEADLINE);
    let (name, request) = requests.recv().await.unwrap();
    assert_eq!(name.as_deref(), Some("receiver.test"));
    let port = server.address.port();
    let expected = format!(
        "POST /users?a=b HTTP/1.1\r\nx-api-key: k\r\nhost: receiver.test:{port}\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}"
    );
    assert_eq!(request, expected);
}
