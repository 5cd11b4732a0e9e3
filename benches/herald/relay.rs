//! What two exchanges cost: a server that hands each body to a client, which
//! signs it and posts it on. It looks into nothing and stores nothing.
//!
//! `relay DIRECTORY SINK_PORT CONNECTIONS` prints its port.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use rustls::ClientConfig;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::bare::Requests;
use super::support::certificates::Files;
use super::support::{connect, local, server};

/// Bodies that wait for one connection.
const WAITING: usize = 1_024;

struct Relay {
    connections: Vec<Sender<Bytes>>,
    next: AtomicUsize,
}

pub async fn run(arguments: &[&str]) {
    let [directory, sink, connections] = arguments else { panic!("three arguments") };
    let files = Files::in_directory(Path::new(directory));
    let sink = sink.parse().unwrap();
    let (tls, requests) = (files.client(), Arc::new(Requests::to(sink)));
    let mut relay = Relay { connections: Vec::new(), next: AtomicUsize::new(0) };
    for _ in 0..connections.parse().unwrap() {
        let (sender, bodies) = mpsc::channel(WAITING);
        tokio::spawn(post(tls.clone(), sink, requests.clone(), bodies));
        relay.connections.push(sender);
    }
    let relay = Arc::new(relay);
    let address = server::start(files.server(), move |request| take(request, relay.clone())).await;
    println!("{}", address.port());
    std::future::pending::<()>().await;
}

async fn take(request: Request<Incoming>, relay: Arc<Relay>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let next = relay.next.fetch_add(1, Ordering::Relaxed) % relay.connections.len();
    relay.connections[next].send(body).await.unwrap();
    let mut response = Response::new(Full::from(r#"{"accepted":1,"duplicate":0,"matched":1}"#));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

async fn post(tls: Arc<ClientConfig>, port: u16, requests: Arc<Requests>, mut bodies: Receiver<Bytes>) {
    let mut sender = connect(&tls, local(port)).await;
    while let Some(body) = bodies.recv().await {
        let answer = sender.send_request(requests.make(body)).await.unwrap();
        assert!(answer.status().is_success());
        answer.into_body().collect().await.unwrap();
    }
}
