//! An HTTPS endpoint that proves itself and then does what no endpoint should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::certificates::Certificate;
use super::endpoint::acceptor;

/// What it does with whoever comes after its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostility {
    /// Takes connections and says nothing.
    HangsBeforeTls,
    /// Speaks HTTP in the clear.
    NoTls,
    /// Takes the request and says nothing.
    Hangs,
    /// Takes the request and resets the connection.
    Resets,
    /// Says this.
    Says(&'static str),
    /// Says the first, and then the second again and again, slowly.
    Drips(&'static str, &'static str),
    /// Says the first, and then the second again and again, as fast as it can.
    Floods(&'static str, &'static str),
}

/// The endpoint, until it is dropped.
pub struct Hostile {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Hostile {
    /// One that does this.
    pub async fn start(hostility: Hostility) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = acceptor(Certificate::Good, false);
        let server = tokio::spawn(async move {
            let proved = Arc::new(AtomicBool::new(false));
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.spawn(serve(tcp, acceptor.clone(), hostility, proved.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, _server: AbortOnDropHandle::new(server) }
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        format!("https://{}/users", self.address)
    }
}

async fn serve(mut tcp: TcpStream, acceptor: TlsAcceptor, hostility: Hostility, proved: Arc<AtomicBool>) {
    match hostility {
        Hostility::HangsBeforeTls | Hostility::NoTls if proved.load(Ordering::SeqCst) => {
            if hostility == Hostility::NoTls {
                say(&mut tcp, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            }
            return until_closed(&mut tcp).await;
        }
        Hostility::Resets => tcp.set_zero_linger().unwrap(),
        Hostility::HangsBeforeTls
        | Hostility::NoTls
        | Hostility::Hangs
        | Hostility::Says(_)
        | Hostility::Drips(..)
        | Hostility::Floods(..) => {}
    }
    // A client that breaks off is Herald's affair.
    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
    let Some(head) = read_request(&mut stream).await else { return };
    if let Some(key) = head.lines().find_map(|line| line.strip_prefix("x-verification-key: ")) {
        proved.store(true, Ordering::SeqCst);
        let body = json!({"key": key}).to_string();
        let length = body.len();
        say(
            &mut stream,
            &format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"),
        )
        .await;
        return until_closed(&mut stream).await;
    }
    match hostility {
        Hostility::HangsBeforeTls | Hostility::NoTls | Hostility::Hangs => until_closed(&mut stream).await,
        Hostility::Resets => {}
        Hostility::Says(text) => {
            say(&mut stream, text).await;
            drop(stream.shutdown().await);
        }
        Hostility::Drips(first, again) => repeat(stream, first, again, Duration::from_millis(50)).await,
        Hostility::Floods(first, again) => {
            repeat(stream, first, &again.repeat(16_384 / again.len()), Duration::ZERO).await;
        }
    }
}

/// The head of a request whose body has come too.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let seen = String::from_utf8_lossy(&text);
        if let Some((head, body)) = seen.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(head.to_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.extend_from_slice(buffer.get(..read).unwrap()),
        }
    }
}

/// Whether Herald has let it say this.
async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> bool {
    stream.write_all(text.as_bytes()).await.is_ok() && stream.flush().await.is_ok()
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

async fn repeat(stream: impl AsyncRead + AsyncWrite, first: &str, again: &str, pause: Duration) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let saying = async {
        let mut heard = say(&mut writer, first).await;
        while heard {
            heard = say(&mut writer, again).await;
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! { () = saying => {}, () = until_closed(&mut reader) => {} }
}
