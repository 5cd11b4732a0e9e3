//! A real HTTPS endpoint, on a port of its own, that does as the test says.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificates::{self, Certificate, Pair};
use super::{Behaviour, DEADLINE, Received};

/// A real HTTPS endpoint that proves itself and takes deliveries, until told otherwise.
pub struct Endpoint {
    address: SocketAddr,
    acceptor: TlsAcceptor,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
    /// One that has been told to end, and may still have the port.
    ending: Option<JoinHandle<()>>,
}

struct State {
    script: Mutex<Script>,
    /// How many requests of any kind have come.
    seen: watch::Sender<usize>,
    connections: AtomicUsize,
}

/// What is still to be done, and what has come.
struct Script {
    challenge: Behaviour,
    delivery: Behaviour,
    next_challenges: VecDeque<Behaviour>,
    next_deliveries: VecDeque<Behaviour>,
    challenges: Vec<Received>,
    deliveries: Vec<Received>,
    challenges_read: usize,
    deliveries_read: usize,
}

impl Endpoint {
    /// With a certificate that is as it should be.
    pub async fn start() -> Self {
        Self::with(Certificate::Good, false).await
    }

    /// At another address of this machine.
    pub async fn start_at(address: Ipv4Addr) -> Self {
        Self::at(SocketAddr::from((address, 0)), acceptor(Certificate::Good, false)).await
    }

    /// With a certificate of this kind, and asking for the client's or not.
    pub async fn with(certificate: Certificate, wants_client_certificate: bool) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::at(anywhere, acceptor(certificate, wants_client_certificate)).await
    }

    /// At this address, by this TLS.
    pub async fn at(address: SocketAddr, acceptor: TlsAcceptor) -> Self {
        let script = Script {
            challenge: Behaviour::proof(),
            delivery: Behaviour::ok(),
            next_challenges: VecDeque::new(),
            next_deliveries: VecDeque::new(),
            challenges: Vec::new(),
            deliveries: Vec::new(),
            challenges_read: 0,
            deliveries_read: 0,
        };
        let state = State {
            script: Mutex::new(script),
            seen: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
        };
        let mut endpoint = Self { address, acceptor, state: Arc::new(state), server: None, ending: None };
        endpoint.open().await;
        endpoint
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        self.uri_of("/users")
    }

    /// Its address and port.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Where another of its paths is; all of them do the same.
    pub fn uri_of(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and goes on by this TLS.
    pub async fn serve_by(&mut self, acceptor: TlsAcceptor) {
        self.close();
        self.acceptor = acceptor;
        self.open().await;
    }

    /// What it does with challenges from now on.
    pub fn on_challenge(&self, behaviour: Behaviour) {
        self.script().challenge = behaviour;
    }

    /// What it does with deliveries from now on.
    pub fn on_delivery(&self, behaviour: Behaviour) {
        self.script().delivery = behaviour;
    }

    /// What it does with the next challenges, before it goes on as before.
    pub fn on_next_challenges(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.script().next_challenges.extend(behaviours);
    }

    /// What it does with the next deliveries, before it goes on as before.
    pub fn on_next_deliveries(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.script().next_deliveries.extend(behaviours);
    }

    /// The next challenge that the test has not read, waiting for it.
    pub async fn next_challenge(&self) -> Received {
        self.next("challenge", |script| {
            let next = script.challenges.get(script.challenges_read)?.clone();
            script.challenges_read += 1;
            Some(next)
        })
        .await
    }

    /// The next delivery that the test has not read, waiting for it.
    pub async fn next_delivery(&self) -> Received {
        self.next("delivery", |script| {
            let next = script.deliveries.get(script.deliveries_read)?.clone();
            script.deliveries_read += 1;
            Some(next)
        })
        .await
    }

    /// Every challenge so far.
    pub fn challenges(&self) -> Vec<Received> {
        self.script().challenges.clone()
    }

    /// Every delivery so far.
    pub fn deliveries(&self) -> Vec<Received> {
        self.script().deliveries.clone()
    }

    /// How many connections have been made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Fails if any request comes before `work` ends.
    pub async fn expect_no_request_while<T>(&self, work: impl Future<Output = T>) -> T {
        let before = *self.state.seen.borrow();
        let result = work.await;
        let script = self.script();
        let come = *self.state.seen.borrow() - before;
        assert!(
            come == 0,
            "{come} requests came; {:#?} {:#?}",
            script.challenges.last(),
            script.deliveries.last()
        );
        result
    }

    /// Closes its port and every connection, in the middle of whatever they are at.
    pub fn close(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            self.ending = Some(server);
        }
    }

    /// Opens its port again.
    pub async fn open(&mut self) {
        if let Some(ending) = self.ending.take() {
            // It was aborted.
            drop(ending.await);
        }
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, self.acceptor.clone(), self.state.clone()));
        self.server = Some(server);
    }

    async fn next(&self, what: &str, mut take: impl FnMut(&mut Script) -> Option<Received>) -> Received {
        let mut seen = self.state.seen.subscribe();
        let next = async {
            loop {
                if let Some(next) = take(&mut self.script()) {
                    return next;
                }
                seen.changed().await.unwrap();
            }
        };
        timeout(DEADLINE, next).await.unwrap_or_else(|_| {
            let script = self.script();
            let (challenges, deliveries) = (script.challenges.len(), script.deliveries.len());
            panic!("no {what} within {DEADLINE:?}; so far {challenges} challenges, {deliveries} deliveries")
        })
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.state.script()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what has come and says what to do with it.
    fn note(&self, received: Received) -> Behaviour {
        let mut script = self.script();
        let behaviour = if received.method == Method::GET {
            script.challenges.push(received);
            script.next_challenges.pop_front().unwrap_or_else(|| script.challenge.clone())
        } else {
            script.deliveries.push(received);
            script.next_deliveries.pop_front().unwrap_or_else(|| script.delivery.clone())
        };
        drop(script);
        self.seen.send_modify(|seen| *seen += 1);
        behaviour
    }
}

pub(super) fn acceptor(certificate: Certificate, wants_client_certificate: bool) -> TlsAcceptor {
    let of_clients = wants_client_certificate.then(certificates::authority_pem);
    acceptor_of(&certificates::server(certificate), of_clients.as_deref())
}

/// Shows this certificate, and demands one of its clients' that one of these authorities (PEM) has signed.
pub fn acceptor_of(pair: &Pair, of_clients: Option<&str>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if let Some(authorities) = of_clients {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// Until its task is aborted, which ends the connections too: the set owns them.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = state.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve_connection(stream, acceptor.clone(), state.clone(), number));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>, number: usize) {
    // A client that breaks off is the test's affair.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request: Request<Incoming>| {
        let state = &state;
        async move {
            let (head, body) = request.into_parts();
            let key = head.headers.get("x-verification-key").map(|key| key.to_str().unwrap().to_owned());
            let received = Received {
                method: head.method,
                target: head.uri.to_string(),
                headers: head.headers,
                body: body.collect().await.map_err(std::io::Error::other)?.to_bytes(),
                at: Instant::now(),
                connection: number,
            };
            let behaviour = state.note(received);
            behaviour.act(key.as_deref()).await.ok_or_else(|| std::io::Error::other("hangs up"))
        }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
