//! Who may ask what is RBAC.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream::pending;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::timeout;

use crate::delivery::delivering;
use crate::support::operator::EVERYTHING;
use crate::support::producer::event;
use crate::support::{Cluster, DEADLINE, Endpoint, HeraldProcess, Operator, Producer};

/// The arguments of a command, and what it takes.
type Question = (&'static [&'static str], &'static [(&'static str, &'static str)]);

#[tokio::test]
async fn each_question_takes_its_own_right() {
    let namespace = Cluster::connect().await.namespace("rights").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    producer.send(&herald, &event("user.created", "e-1")).await;
    endpoint.next_delivery().await;
    let questions: [Question; 6] = [
        (&["events", "get", "e-1"], &[("get", "userevents")]),
        (&["events", "get", "e-1", "--payload"], &[("get", "userevents"), ("get", "userevents/payload")]),
        (&["events", "list", "--webhook", "audit"], &[("list", "userevents")]),
        (&["deadletters", "list", "--webhook", "audit"], &[("list", "deadletters")]),
        (&["deadletters", "delete", "--webhook", "audit", "--all"], &[("delete", "deadletters")]),
        (&["test", "audit"], &[("create", "webhooks/test")]),
    ];
    for (number, (question, rights)) in questions.iter().enumerate() {
        let enough = Operator::with(&namespace, &format!("enough-{number}"), rights).await;
        let printed = enough.run(&herald, question).await;
        assert_eq!(printed.status, Some(0), "{question:?}: {printed:?}");
        for missing in *rights {
            let mut others: Vec<_> = EVERYTHING.into_iter().filter(|right| right != missing).collect();
            others.push(("create", "userevents"));
            let account = format!("without-{}-{}-{number}", missing.0, missing.1.replace('/', "-"));
            let operator = Operator::with(&namespace, &account, &others).await;
            let printed = operator.run(&herald, question).await;
            assert_eq!((printed.status, printed.out.as_str()), (Some(1), ""), "{question:?}");
            let (resource, subresource) = missing.1.split_once('/').unwrap_or((missing.1, ""));
            let right = format!("may not {} {resource}.herald.dev", missing.0);
            assert!(printed.err.contains("403 Not allowed in this namespace"), "{}", printed.err);
            assert!(printed.err.contains(&right) && printed.err.contains(subresource), "{}", printed.err);
        }
    }
    herald.stop().await;
}

#[tokio::test]
async fn a_question_that_cannot_be_read_is_refused_with_what_to_write_and_strangers_get_nothing() {
    let namespace = Cluster::connect().await.namespace("questions").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let token = Operator::with(&namespace, "operator", &EVERYTHING).await.token();
    let base = herald.url_and_ca_file().0;
    let path = format!("{base}/v1/namespaces/{}", namespace.name());
    let ask = async |method: http::Method, path: &str, token: Option<&str>| {
        let mut request = herald.http().request(method, path).body("{}");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    };
    let get = http::Method::GET;
    let table = [
        (get.clone(), "/events?webhook=audit&limit=0", 400, "limit must be a number from 1 to 1000"),
        (get.clone(), "/events?webhook=audit&state=lost", 400, "unknown variant `lost`"),
        (get.clone(), "/events", 400, "missing field `webhook`"),
        (get.clone(), "/events?webhook=a&continue=%25", 404, "there is no Webhook"),
        (get.clone(), "/elsewhere", 404, "there is nothing at this path"),
        (http::Method::PUT, "/events", 405, "not allowed here"),
        (http::Method::POST, "/webhooks/audit/test", 400, "Content-Type: application/json"),
    ];
    for (method, question, status, part) in table {
        let (found, kind, text) = ask(method, &format!("{path}{question}"), Some(&token)).await;
        assert_eq!((found, kind.as_str()), (status, "application/problem+json"), "{question}: {text}");
        assert!(text.contains(part), "{question}: {text}");
    }
    for stranger in [None, Some("not-a-token")] {
        let (status, _, text) = ask(get.clone(), &format!("{path}/events/e-1"), stranger).await;
        assert_eq!(status, 401, "{text}");
        // Its body is not waited for, let alone kept.
        let endless = reqwest::Body::wrap(StreamBody::new(pending::<Result<Frame<Bytes>, Infallible>>()));
        let request = herald.http().post(format!("{path}/webhooks/audit/test")).body(endless);
        let request =
            request.header("content-type", "application/json").bearer_auth(stranger.unwrap_or("none"));
        let answer = timeout(DEADLINE / 2, request.send()).await.expect("an answer without a body").unwrap();
        assert_eq!(answer.status(), 401);
    }
    let (status, _, text) = ask(get, &format!("{base}/v1/namespaces/default/events/e-1"), Some(&token)).await;
    assert_eq!(status, 403, "{text}");
    herald.stop().await;
}

#[tokio::test]
async fn whatever_is_asked_is_answered_in_time_and_harms_no_other_question() {
    let namespace = Cluster::connect().await.namespace("questions").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    let token = Operator::with(&namespace, "operator", &EVERYTHING).await.token();
    let path = format!("{}/v1/namespaces/{}", herald.url_and_ca_file().0, namespace.name());
    let listing = "/events?webhook=audit";
    let tokens = ["%00", "AAAA", "....", "%ff%fe", "-1", "18446744073709551616", &"A".repeat(16 << 10)];
    let mut questions: Vec<String> =
        tokens.iter().map(|token| format!("{listing}&continue={token}")).collect();
    questions.extend(tokens.iter().map(|token| format!("/webhooks/audit/deadletters?continue={token}")));
    questions.extend([
        format!("{listing}{}", "&limit=1".repeat(3000)),
        format!("{listing}{}", "&x=y".repeat(6000)),
        format!("{listing}&since={}", "9".repeat(5000)),
        format!("{listing}&limit={}", "9".repeat(5000)),
        format!("/events/{}", "x".repeat(28 << 10)),
        "/events/%00%1b%5b2J".to_owned(),
        "/events/..%2f..%2fsecrets".to_owned(),
        format!("/webhooks/{}/deadletters", "a".repeat(28 << 10)),
        "/webhooks/audit%2f..%2fother/deadletters".to_owned(),
        "/webhooks/audit/deadletters/%ff".to_owned(),
    ]);
    for question in &questions {
        let shown: String = question.chars().take(80).collect();
        let answer = herald.http().get(format!("{path}{question}")).bearer_auth(&token).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert!((200..500).contains(&status), "{shown}: {status} {text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{shown}: {text:?}");
        assert!(text.len() < 64 << 10, "{shown}");
    }
    let good = herald.http().get(format!("{path}{listing}")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(good.status(), 200);
    herald.stop().await;
}
