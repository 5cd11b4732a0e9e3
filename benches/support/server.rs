//! An HTTP/1.1 server over TLS, by hyper alone.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::local;

/// Starts one on a free port of loopback, which answers every request by
/// `answer` for as long as the process lives.
pub async fn start<A, F>(tls: Arc<ServerConfig>, answer: A) -> SocketAddr
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let answer = move |request| answer(request).map(Ok::<_, Infallible>);
    start_with(tls, |stream| stream.set_nodelay(true).unwrap(), answer).await
}

/// The same, with something done to each connection first; on an error of
/// `answer` the connection is closed without an answer.
pub async fn start_with<A, F, E>(tls: Arc<ServerConfig>, prepare: fn(&TcpStream), answer: A) -> SocketAddr
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Full<Bytes>>, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
{
    let tls = TlsAcceptor::from(tls);
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connection = move |stream: TcpStream| {
        let (tls, answer) = (tls.clone(), answer.clone());
        async move {
            prepare(&stream);
            let Ok(stream) = tls.accept(stream).await else { return };
            // A client that goes away is none of the server's business.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await);
        }
    };
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(connection(stream));
        }
    });
    address
}
