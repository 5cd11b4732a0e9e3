//! An HTTP/1.1 server over TLS, by hyper alone.

use std::convert::Infallible;
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
    let tls = TlsAcceptor::from(tls);
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connection = move |stream: TcpStream| {
        let (tls, answer) = (tls.clone(), answer.clone());
        async move {
            stream.set_nodelay(true).unwrap();
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| answer(request).map(Ok::<_, Infallible>));
            // A client that goes away is none of the server's business.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
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
