//! The sender against a server that answers from a script.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// Status, extra header, body.
type Scripted = (u16, Option<(&'static str, &'static str)>, &'static str);

const STORED: Scripted = (202, None, "{\"accepted\":1,\"duplicate\":0,\"matched\":2}");
const BUSY: Scripted =
    (503, Some(("retry-after", "0")), "{\"title\":\"Not available now\",\"detail\":\"full\"}");

/// Answers each request with the next of the script, the last one for ever;
/// and remembers path, token and body of each.
async fn server(script: Vec<Scripted>) -> (String, Arc<Mutex<Vec<[String; 3]>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, log) = (script.clone(), Arc::clone(&log));
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (script, log) = (script.clone(), Arc::clone(&log));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let token = head.headers["authorization"].to_str().unwrap().to_owned();
                    let mut log = log.lock().unwrap();
                    let (status, header, text) = script[log.len().min(script.len() - 1)];
                    log.push([head.uri.path().to_owned(), token, String::from_utf8(body.to_vec()).unwrap()]);
                    let mut response = http::Response::builder().status(status);
                    if let Some((name, value)) = header {
                        response = response.header(name, value);
                    }
                    Ok::<_, Infallible>(
                        response.body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap(),
                    )
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, seen)
}

fn batch() -> Batch {
    Batch {
        body: "[1,2]".to_owned(),
        content_type: "application/cloudevents-batch+json",
        first: 100,
        events: 2,
    }
}

struct Token(tempfile::NamedTempFile);

impl Token {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "first\n").unwrap();
        Self(file)
    }

    async fn sender(&self, url: &str, limit: Duration) -> Sender {
        Sender::new(Connection::for_test(url, "identity", self.0.path()).await.unwrap(), limit)
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_sent_again_until_it_is() {
    let (url, seen) = server(vec![BUSY, (429, Some(("retry-after", "0")), ""), STORED]).await;
    let token = Token::new();
    let outcome = token.sender(&url, Duration::from_secs(20)).await.send(&batch()).await.unwrap();
    assert_eq!(outcome, Outcome::Accepted(Accepted { accepted: 1, duplicate: 0, matched: 2 }));
    let expected = ["/v1/namespaces/identity/events", "Bearer first", "[1,2]"].map(str::to_owned);
    assert_eq!(*seen.lock().unwrap(), vec![expected; 3]);
}

#[tokio::test]
async fn when_the_time_is_up_the_last_reason_is_told() {
    let (url, _) = server(vec![(503, Some(("retry-after", "60")), BUSY.2)]).await;
    let token = Token::new();
    let outcome = token.sender(&url, Duration::from_secs(20)).await.send(&batch()).await.unwrap();
    assert_eq!(
        outcome,
        Outcome::Refused("events 100 to 101 of the input: 503 Not available now: full".to_owned())
    );
    let unreachable = token.sender("http://127.0.0.1:1", Duration::ZERO).await.send(&batch()).await.unwrap();
    assert!(
        matches!(&unreachable, Outcome::Refused(message) if message.starts_with("no answer")),
        "{unreachable:?}"
    );
}

#[tokio::test]
async fn a_refusal_is_final_and_names_the_event_of_the_input() {
    let body = "{\"title\":\"Missing attribute\",\"detail\":\"d\",\"index\":1}";
    let (url, seen) = server(vec![(422, None, body)]).await;
    let outcome = Token::new().sender(&url, Duration::from_secs(20)).await.send(&batch()).await.unwrap();
    assert_eq!(outcome, Outcome::Refused("event 101 of the input: 422 Missing attribute: d".to_owned()));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_there_is_another() {
    let (url, seen) = server(vec![(401, None, ""), STORED]).await;
    let token = Token::new();
    let mut sender = token.sender(&url, Duration::from_secs(20)).await;
    fs::write(token.0.path(), "second").unwrap();
    assert!(matches!(sender.send(&batch()).await.unwrap(), Outcome::Accepted(_)));
    assert_eq!(seen.lock().unwrap()[1][1], "Bearer second");

    let (url, seen) = server(vec![(401, None, "")]).await;
    let outcome = token.sender(&url, Duration::from_secs(20)).await.send(&batch()).await.unwrap();
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}
