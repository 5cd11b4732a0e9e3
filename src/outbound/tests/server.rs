//! A TLS server that says byte for byte what a test wants said.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::DEADLINE;

pub(crate) type Stream = tokio_rustls::server::TlsStream<TcpStream>;

/// A CA that signs what a test needs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// PEM of a certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// Named unlike any other, so that a verifier does not take it for one that it knows.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = format!("authority {}", rand::random::<u64>());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// One that this one has signed; `is_ca` is whether it may sign, which it does all the same.
    pub(crate) fn intermediate(&self, is_ca: bool) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("intermediate {}", rand::random::<u64>()));
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        self.sign_with(names, |_| {})
    }

    pub(crate) fn expired(&self, names: &[&str]) -> Pair {
        self.sign_with(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    pub(crate) fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A server's TLS configuration; `clients` signs the certificates that its clients have to show.
pub(crate) fn tls(pair: &Pair, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    with_pair(builder, pair)
}

/// With TLS 1.2, where the server ends the handshake and so may be the first to speak.
pub(crate) fn tls12(pair: &Pair) -> ServerConfig {
    tls_of(&rustls::version::TLS12, pair)
}

pub(crate) fn tls_of(version: &'static SupportedProtocolVersion, pair: &Pair) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    with_pair(builder.with_no_client_auth(), pair)
}

fn with_pair(builder: rustls::ConfigBuilder<ServerConfig, WantsServerCert>, pair: &Pair) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

/// Accepts connections until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    closed: tokio::sync::Mutex<mpsc::UnboundedReceiver<usize>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Serves each connection, numbered from 0, by `serve`.
    pub(crate) async fn start<F, S>(tls: ServerConfig, serve: F) -> Self
    where
        F: Fn(usize, Stream) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::on(IpAddr::V4(Ipv4Addr::LOCALHOST), tls, serve).await
    }

    /// The same on another address, on a port of its own.
    pub(crate) async fn on<F, S>(address: IpAddr, tls: ServerConfig, serve: F) -> Self
    where
        F: Fn(usize, Stream) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::at((address, 0).into(), tls, serve).await
    }

    /// The same on a port that the test names.
    pub(crate) async fn at<F, S>(address: SocketAddr, tls: ServerConfig, serve: F) -> Self
    where
        F: Fn(usize, Stream) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Self::raw_at(address, move |number, tcp| {
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            async move {
                // A handshake that fails is what some tests are about.
                if let Ok(stream) = acceptor.accept(tcp).await {
                    serve(number, stream).await;
                }
            }
        })
        .await
    }

    /// The same without TLS.
    pub(crate) async fn raw<F, S>(address: IpAddr, serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::raw_at((address, 0).into(), serve).await
    }

    /// Takes connections and neither reads nor answers.
    pub(crate) async fn silent(address: IpAddr) -> Self {
        Self::raw(address, |_, tcp| async move {
            std::future::pending::<()>().await;
            drop(tcp);
        })
        .await
    }

    async fn raw_at<F, S>(address: SocketAddr, serve: F) -> Self
    where
        F: Fn(usize, TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let (closing, closed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                // What a test writes apart is to be sent at once and apart.
                tcp.set_nodelay(true).unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (served, closing) = (serve(number, tcp), closing.clone());
                serving.spawn(async move {
                    served.await;
                    // Nobody listens any more when the test is over.
                    let _ = closing.send(number);
                });
            }
        });
        let closed = tokio::sync::Mutex::new(closed);
        Self { address, connections, closed, _task: AbortOnDropHandle::new(task) }
    }

    /// How many connections have been accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until serving another connection has ended, and says which.
    pub(crate) async fn ended(&self) -> usize {
        let mut closed = self.closed.lock().await;
        tokio::time::timeout(DEADLINE, closed.recv()).await.expect("no connection has ended").unwrap()
    }
}

/// The next request of a connection; `None` at its end.
pub(crate) async fn read_request(stream: &mut Stream) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let seen = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = seen.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(seen);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Writes as far as the client lets it.
pub(crate) async fn write(stream: &mut Stream, text: &str) {
    if stream.write_all(text.as_bytes()).await.is_ok() {
        drop(stream.flush().await);
    }
}

/// Waits until the client has closed the connection.
pub(crate) async fn wait_for_close(stream: &mut Stream) {
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Answers each request with the same text.
pub(crate) async fn answer_all(mut stream: Stream, answer: &str) {
    while read_request(&mut stream).await.is_some() {
        write(&mut stream, answer).await;
    }
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
