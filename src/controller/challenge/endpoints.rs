//! The challenge against real endpoints: each way to fail it has its reason.

use std::future::pending;

use super::*;
use crate::outbound::tests::server::{
    self, Authority, OK, Pair, Server, answer_all, read_request, wait_for_close, write,
};
use crate::outbound::tests::subject::{config, outbound};
use crate::outbound::{Guard, Outbound, OutboundConfig, TlsSettings};

/// What to say to a challenge with this key.
type Answering = fn(&str) -> String;

async fn verdict(outbound: &Outbound, host: &str, port: u16) -> Option<Reason> {
    let uri: EndpointUri = format!("https://{host}:{port}/users").parse().unwrap();
    let channel = outbound.channel("team", &uri, &TlsSettings::default()).unwrap();
    let pass = channel.admission(None).await;
    challenge(&channel, &uri, pass).await.unwrap().err().map(|failure| failure.reason())
}

/// Answers each request with what `answer` makes of the key in it.
async fn endpoint(pair: &Pair, answer: Answering) -> Server {
    Server::start(server::tls(pair, None), move |_, mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let key = request.lines().find_map(|line| line.strip_prefix("x-verification-key: "));
            write(&mut stream, &answer(key.expect("a key"))).await;
        }
    })
    .await
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_an_endpoint_answers_decides() {
    let table: [(Answering, Option<Reason>); 9] = [
        (|key| http("200 OK", &format!(r#"{{ "more": {{}}, "key": "{key}" }}"#)), None),
        (|key| http("201 Created", &format!(r#"{{"key":"{key}"}}"#)), None),
        (|_| http("404 Not Found", ""), Some(Reason::UnexpectedStatus)),
        (|_| http("302 Found\r\nlocation: /there", ""), Some(Reason::UnexpectedStatus)),
        (|_| http("204 No Content", ""), Some(Reason::MalformedAnswer)),
        (|key| http("200 OK", key), Some(Reason::MalformedAnswer)),
        (|key| http("200 OK", &format!("{key}{}", " ".repeat(70_000))), Some(Reason::MalformedAnswer)),
        (|_| "SMTP ready\r\n\r\n".to_owned(), Some(Reason::MalformedAnswer)),
        (|key| http("200 OK", &format!(r#"{{"key":"{key}x"}}"#)), Some(Reason::KeyMismatch)),
    ];
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let outbound = outbound(&authority);
    for (answer, expected) in table {
        let server = endpoint(&pair, answer).await;
        let verdict = verdict(&outbound, "receiver.test", server.address.port()).await;
        assert_eq!(verdict, expected, "{}", answer("KEY"));
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_asked_has_its_reason_too() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.sign(&["receiver.test"]);
    let healthy = Server::start(server::tls(&good, None), |_, stream| answer_all(stream, OK)).await;
    let untrusted = server::tls(&stranger.sign(&["receiver.test"]), None);
    let untrusted = Server::start(untrusted, |_, stream| answer_all(stream, OK)).await;
    let hangs_up = Server::start(server::tls(&good, None), |_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let hangs = Server::start(server::tls(&good, None), |_, stream| async move {
        pending::<()>().await;
        drop(stream);
    })
    .await;
    let outbound = outbound(&authority);
    let table = [
        ("nowhere.test", &healthy, Reason::NameNotResolved),
        ("receiver.test", &untrusted, Reason::TLSFailed),
        ("receiver.test", &hangs_up, Reason::ConnectionFailed),
        ("receiver.test", &hangs, Reason::TimedOut),
    ];
    for (host, server, expected) in table {
        assert_eq!(verdict(&outbound, host, server.address.port()).await, Some(expected));
    }
    let strict = Outbound::new(OutboundConfig { guard: Guard::default(), ..config(&authority) }).unwrap();
    let verdict = verdict(&strict, "receiver.test", healthy.address.port()).await;
    assert_eq!(verdict, Some(Reason::AddressForbidden));
    assert_eq!(healthy.connections(), 0);
}

#[tokio::test]
async fn each_challenge_has_a_key_of_its_own_and_no_secret() {
    let authority = Authority::new();
    let pair = authority.sign(&["receiver.test"]);
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(server::tls(&pair, None), move |_, mut stream| {
        let seen = seen.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                seen.send(request).unwrap();
                write(&mut stream, &http("200 OK", "{}")).await;
            }
            wait_for_close(&mut stream).await;
        }
    })
    .await;
    let outbound = outbound(&authority);
    let mut keys = std::collections::HashSet::new();
    for _ in 0..3 {
        verdict(&outbound, "receiver.test", server.address.port()).await;
        let request = requests.recv().await.unwrap();
        let (first, headers) = request.trim_end().split_once("\r\n").unwrap();
        assert_eq!(first, "GET /users HTTP/1.1");
        let mut names = Vec::new();
        for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
            names.push(name);
            if name == "x-verification-key" {
                assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(value).unwrap().len(), 32);
                assert!(keys.insert(value.to_owned()), "used again");
            }
        }
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "user-agent", "x-verification-key"]);
    }
}
