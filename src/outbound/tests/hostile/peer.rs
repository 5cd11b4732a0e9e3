//! An endpoint of the table: well-behaved up to a moment, and then as its row says.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::Count;
use super::relay::{read_record, relay};
use crate::outbound::tests::DEADLINE;
use crate::outbound::tests::server::{OK, Server, Stream, answer_all, read_request, write};

/// What an endpoint does.
#[derive(Clone)]
pub(super) struct Peer {
    at: Moment,
    tls: Option<Arc<ServerConfig>>,
    says: Vec<u8>,
    then: Then,
}

/// Up to when an endpoint is as it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Nobody listens.
    Never,
    /// It has accepted the connection.
    Accepted,
    /// It has Herald's first message of the TLS handshake.
    Hello,
    /// It has sent so many messages of its own of the handshake.
    Handshake(usize),
    /// It has done the handshake.
    Established,
    /// It has some of the request.
    PartOfRequest,
    /// It has the request.
    Request,
    /// It has answered one request.
    Idle,
    /// It has answered one request and has another.
    NextRequest,
}

/// How it goes on when it has said what it says.
#[derive(Clone)]
pub(super) enum Then {
    /// Closes as it should.
    Close,
    /// Closes TCP for its side, without the end of TLS.
    HalfClose,
    /// Resets the connection.
    Reset,
    /// Nothing more, until Herald goes.
    Hang,
    /// Nothing more, and it does not read either.
    Deaf,
    /// Says this again and again, with a pause.
    Drip(&'static [u8]),
    /// Says this again and again, as fast as it can.
    Flood(&'static [u8]),
}

/// A row that is being played.
pub(super) struct Played {
    pub(super) server: Server,
    /// How many bytes the endpoint could say.
    pub(super) pushed: Count,
    said: Arc<Notify>,
}

impl Peer {
    pub(super) fn nobody() -> Self {
        Self { at: Moment::Never, tls: None, says: Vec::new(), then: Then::Close }
    }

    /// Does not come to TLS.
    pub(super) fn raw(at: Moment, says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { at, tls: None, says: says.into(), then }
    }

    pub(super) fn tls(tls: ServerConfig, at: Moment, says: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { at, tls: Some(Arc::new(tls)), says: says.into(), then }
    }

    pub(super) fn is_reused(&self) -> bool {
        matches!(self.at, Moment::Idle | Moment::NextRequest)
    }

    /// Whether it would notice that Herald has closed the connection.
    pub(super) fn looks_at_its_end(&self) -> bool {
        !matches!(self.then, Then::Deaf)
    }

    /// Starts it; `None` if there is nothing to start.
    pub(super) async fn play(&self) -> Option<Played> {
        if self.at == Moment::Never {
            return None;
        }
        let (pushed, said) = (Count::default(), Arc::new(Notify::new()));
        let (peer, count, tell) = (self.clone(), pushed.clone(), said.clone());
        let serve = move |number, tcp| {
            let (peer, count, tell) = (peer.clone(), count.clone(), tell.clone());
            async move { peer.serve(number, tcp, count, &tell).await }
        };
        let server = Server::raw(IpAddr::V4(Ipv4Addr::LOCALHOST), serve).await;
        Some(Played { server, pushed, said })
    }

    async fn serve(self, number: usize, mut tcp: TcpStream, count: Count, said: &Notify) {
        if matches!(self.then, Then::Reset) {
            // What is dropped is reset then.
            tcp.set_zero_linger().unwrap();
        }
        let Some(tls) = &self.tls else {
            if self.at == Moment::Hello {
                read_record(&mut tcp).await;
            }
            return self.misbehave(tcp, count, said).await;
        };
        let acceptor = TlsAcceptor::from(tls.clone());
        if let Moment::Handshake(messages) = self.at {
            relay(acceptor, &mut tcp, messages).await;
            return self.misbehave(tcp, count, said).await;
        }
        // A handshake that Herald ends is what some rows are about.
        let Ok(mut stream) = acceptor.accept(tcp).await else { return };
        match self.at {
            Moment::PartOfRequest => drop(stream.read_exact(&mut [0; 16]).await),
            Moment::Request => drop(read_request(&mut stream).await),
            Moment::Idle | Moment::NextRequest if number > 0 => return answer_all(stream, OK).await,
            Moment::Idle | Moment::NextRequest => {
                read_request(&mut stream).await;
                write(&mut stream, OK).await;
                if self.at == Moment::NextRequest {
                    said.notify_one();
                    read_request(&mut stream).await;
                }
            }
            Moment::Never | Moment::Accepted | Moment::Hello | Moment::Handshake(_) | Moment::Established => {
            }
        }
        self.misbehave(stream, count, said).await;
    }

    async fn misbehave(self, mut stream: impl Line, count: Count, said: &Notify) {
        say(&mut stream, &self.says, &count).await;
        match self.then {
            Then::Close => {
                drop(stream.shutdown().await);
                said.notify_one();
                until_closed(&mut stream).await;
            }
            Then::HalfClose => {
                drop(stream.tcp().shutdown().await);
                said.notify_one();
                until_closed(&mut stream).await;
            }
            Then::Reset => {
                drop(stream);
                said.notify_one();
            }
            Then::Hang => {
                said.notify_one();
                until_closed(&mut stream).await;
            }
            Then::Deaf => std::future::pending().await,
            Then::Drip(again) => {
                let pause = Some(Duration::from_millis(5));
                repeat(stream, again, pause, &count, said).await;
            }
            Then::Flood(again) => {
                let much = again.repeat(16_384 / again.len());
                repeat(stream, &much, None, &count, said).await;
            }
        }
    }
}

impl Played {
    /// Waits until the endpoint has done what it does to an idle connection, and
    /// the runtime has been told of it.
    pub(super) async fn idle(&self) {
        tokio::time::timeout(DEADLINE, self.said.notified()).await.expect("the endpoint says nothing");
        crate::outbound::tests::unasked::look_at_all_sockets().await;
    }
}

/// A connection, with TLS or without.
trait Line: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&mut self) -> &mut TcpStream;
}

impl Line for TcpStream {
    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl Line for Stream {
    fn tcp(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

/// Says as much of it as Herald takes; whether that was all.
async fn say(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], count: &Count) -> bool {
    while !bytes.is_empty() {
        let Ok(written) = stream.write(bytes).await else { return false };
        count.fetch_add(written, Ordering::Relaxed);
        bytes = &bytes[written..];
    }
    stream.flush().await.is_ok()
}

async fn repeat(stream: impl Line, again: &[u8], pause: Option<Duration>, count: &Count, said: &Notify) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let saying = async {
        while say(&mut writer, again, count).await {
            said.notify_one();
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    };
    tokio::select! { () = saying => {}, () = until_closed(&mut reader) => {} }
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
