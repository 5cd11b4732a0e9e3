//! One HTTP/1.1 connection over TLS.
//!
//! ```text
//! open ──> exchange ──> idle ──> exchange … ──> close
//!             │                                   ^
//!             └── failed, out of time, not whole ─┘
//! ```
//!
//! There is no task behind a connection: whoever has an exchange on it drives
//! its input and output too, and an idle connection costs nothing but its
//! memory. That saves two wake-ups of another task for each request. The
//! price is that a close by the endpoint is noticed only when the connection is
//! looked at: before it is used again, and when the pool is swept.
//!
//! In the exchange only the driver is polled with the task's waker; the answer
//! is looked at after each step of the driver. Nothing else can complete it, and
//! so the driver's messages to the same task don't wake it once more for nothing.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio_rustls::client::TlsStream;

use super::destination::Gate;
use super::error::{broken, broken_body};
use super::exchange::{Answer, Progress};
use super::quota::{Metered, Quota};
use super::{ExchangeError, MAX_BODY, Step};

/// A request as hyper takes it.
pub(super) type Outgoing = http::Request<Full<Bytes>>;

/// What HTTP is spoken over.
pub(super) type Stream = TlsStream<Metered<TcpStream>>;

type Driver<S> = http1::Connection<TokioIo<S>, Full<Bytes>>;

/// A connection with nothing on its way. Dropping it closes it.
pub(super) struct Connection<S: Wire = Stream> {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver<S>,
    quota: Quota,
    /// Since when it is open.
    pub(super) opened: Instant,
    /// Of its address.
    pub(super) gate: Arc<Gate>,
    _counted: Counted,
}

/// What came of a request on a connection. The connection comes back only when
/// another request may follow.
pub(super) enum Exchanged<S: Wire = Stream> {
    /// The whole answer, or as much of it as is read.
    Answered(Answer, Option<Box<Connection<S>>>),
    /// The connection ended, for this reason, before any of the request was sent.
    NotSent(Outgoing, hyper::Error),
    /// Sent, at least in part, and no answer.
    Failed(ExchangeError),
}

impl Connection {
    pub(super) async fn open(tls: Stream, gate: Arc<Gate>, open: &Gauge) -> Result<Box<Self>, hyper::Error> {
        let quota = tls.get_ref().0.quota();
        Self::over(tls, quota, gate, open).await
    }
}

impl<S: Wire> Connection<S> {
    /// Over a stream that reads no more than `quota`.
    pub(super) async fn over(
        stream: S,
        quota: Quota,
        gate: Arc<Gate>,
        open: &Gauge,
    ) -> Result<Box<Self>, hyper::Error> {
        let counted = Counted::new(open.clone());
        let (sender, driver) = http1::Builder::new()
            .max_headers(128)
            .max_header_size(16 * 1024)
            .max_buf_size(32 * 1024)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Box::new(Self { sender, driver, quota, opened: Instant::now(), gate, _counted: counted }))
    }

    /// Whether the endpoint has not closed the idle connection, as far as is known here.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        Pin::new(&mut self.driver).poll(&mut nobody).is_pending() && self.sender.is_ready()
    }

    /// Closes an idle connection as TLS wants it, without waiting for the endpoint.
    pub(super) fn close(self) {
        let Self { sender, mut driver, _counted, .. } = self;
        drop(sender);
        let mut nobody = Context::from_waker(Waker::noop());
        // Whether or not the notice could be sent: the socket is closed by the drop.
        let _ = Pin::new(&mut driver).poll(&mut nobody);
    }

    /// Sends `request` and reads the answer. Dropping the future closes the connection.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        request: Outgoing,
        progress: &mut Progress,
    ) -> Exchanged<S> {
        progress.begin(Step::Head);
        self.quota.renew();
        let head = self.sender.try_send_request(request);
        let (head, mut incoming) = match drive(&mut self.driver, head).await {
            Ok(head) => head.into_parts(),
            Err(mut error) => {
                return match error.take_message() {
                    Some(request) => Exchanged::NotSent(request, error.into_error()),
                    None => Exchanged::Failed(broken(error.into_error())),
                };
            }
        };
        progress.begin(Step::Body);
        let (body, truncated) = match self.body(&mut incoming).await {
            Ok(body) => body,
            Err(error) => return Exchanged::Failed(broken_body(error)),
        };
        let answer = Answer { status: head.status, headers: head.headers, body, truncated };
        let reusable = !truncated && (self.sender.is_ready() || self.is_alive());
        Exchanged::Answered(answer, reusable.then_some(self))
    }

    /// The body up to [`MAX_BODY`], and whether there was more.
    async fn body(&mut self, incoming: &mut Incoming) -> Result<(Bytes, bool), hyper::Error> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while !incoming.is_end_stream() {
            let Some(frame) = self.frame(incoming).await else { break };
            let Ok(data) = frame?.into_data() else { continue };
            let length = first.len() + rest.len();
            if length + data.len() > MAX_BODY {
                rest.extend_from_slice(&first);
                rest.extend_from_slice(data.get(..MAX_BODY - length).unwrap_or_default());
                return Ok((rest.freeze(), true));
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&data);
            }
        }
        Ok((if rest.is_empty() { first } else { rest.freeze() }, false))
    }

    async fn frame(&mut self, incoming: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        // Tells the driver that somebody reads.
        let ready = Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(frame) = ready {
            return frame;
        }
        drive(&mut self.driver, std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx))).await
    }
}

/// Waits for what only the connection's driver can complete.
async fn drive<S: Wire, F: Future>(driver: &mut Driver<S>, awaited: F) -> F::Output {
    // Outside of the task's budget: when that is used up, a poll says pending and
    // wakes its waker, and this one's is nobody's. The driver's polls do count.
    let mut awaited = pin!(unconstrained(awaited));
    let mut ended = false;
    std::future::poll_fn(|cx| {
        // The end of the connection is told through what is awaited, as an error.
        ended = ended || Pin::new(&mut *driver).poll(cx).is_ready();
        let mut nobody = Context::from_waker(Waker::noop());
        awaited.as_mut().poll(if ended { cx } else { &mut nobody })
    })
    .await
}

/// What a connection can be over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for S {}

/// Counts a connection as open for as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
