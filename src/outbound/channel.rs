//! The way to one endpoint.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{HeaderValue, Uri};
use http_body_util::Full;

use super::connect::{Rights, Target, Unconnected};
use super::connection::{Exchanged, Outgoing};
use super::error::not_taken;
use super::exchange::{Exchange, Progress, Request};
use super::pool::Pool;
use super::ramp::Ramp;
use super::{ExchangeError, NoRoom, Overdue, Pass, Permit, Step};

/// The connections to the endpoint of one webhook under one version of its TLS
/// settings. Clones share them; the last one that is dropped closes them.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

/// Why nothing was sent and nothing was tried.
#[derive(Debug)]
pub enum Untried<E> {
    /// No address of the host has room, or the host not for another connection.
    NoRoom(NoRoom),
    /// When there was a connection, the request was not wanted any more.
    Unwanted(E),
}

impl<E> From<NoRoom> for Untried<E> {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

struct Inner {
    target: Target,
    uri: Uri,
    host: HeaderValue,
    pool: Arc<Pool>,
    ramp: Arc<Ramp>,
}

impl Channel {
    pub(super) fn new(target: Target, uri: Uri, host: HeaderValue, pool: Arc<Pool>, ramp: Arc<Ramp>) -> Self {
        Self(Arc::new(Inner { target, uri, host, pool, ramp }))
    }

    /// The right to one exchange, if the endpoint's host has room. `waited` is what
    /// [`NoRoom::wait`] gave.
    ///
    /// # Errors
    /// It has none: wait.
    pub fn admit(&self, waited: Option<Permit>) -> Result<Pass, NoRoom> {
        self.0.target.gate.admit(waited)
    }

    /// The same, waiting for room at the host.
    pub async fn admission(&self, mut waited: Option<Permit>) -> Pass {
        loop {
            match self.admit(waited) {
                Ok(pass) => return pass,
                Err(full) => waited = Some(full.wait().await),
            }
        }
    }

    /// Whether a request would need no new connection, as far as is known here.
    pub fn has_idle(&self) -> bool {
        self.0.pool.has_some()
    }

    /// [`Channel::try_exchange`] as soon as host and address have room.
    pub async fn exchange(&self, request: Request, limit: Duration) -> Exchange {
        let mut waited = None;
        loop {
            let pass = self.admission(waited).await;
            match self.try_exchange(request.clone(), limit, pass).await {
                Ok(exchange) => return exchange,
                Err(full) => waited = Some(full.wait().await),
            }
        }
    }

    /// Sends `request` to the endpoint and reads its answer, all within `limit`:
    /// resolution, connection, TLS, headers and body. Only the waits after a
    /// start are not counted, for the cluster's own ranges and for what spreads
    /// new connections, since they are Herald's own and not the endpoint's.
    ///
    /// An exchange that does not end well closes its connection, and so does
    /// dropping the future.
    ///
    /// # Errors
    /// No address of the host has room, or the host not for another connection:
    /// nothing was sent, and nothing was tried.
    pub async fn try_exchange(
        &self,
        request: Request,
        limit: Duration,
        pass: Pass,
    ) -> Result<Exchange, NoRoom> {
        let always = || Ok::<_, Infallible>(());
        self.try_exchange_while(request, limit, pass, always).await.map_err(|untried| match untried {
            Untried::NoRoom(no_room) => no_room,
            Untried::Unwanted(never) => match never {},
        })
    }

    /// The same, of a request that may become unwanted while a connection is
    /// made, which takes up to `limit`: `wanted` is asked when there is a new
    /// one, before anything of the request is written. What is not wanted leaves
    /// the connection to the next request.
    ///
    /// # Errors
    /// There is no room, or `wanted` has one: nothing was sent.
    pub async fn try_exchange_while<E>(
        &self,
        request: Request,
        limit: Duration,
        mut pass: Pass,
        wanted: impl Fn() -> Result<(), E>,
    ) -> Result<Exchange, Untried<E>> {
        let mut request = self.outgoing(request);
        let mut progress = Progress::start(Step::Head);
        let began = progress.since();
        let reused = async {
            while let Some((mut connection, mut place)) =
                self.0.pool.take(began, |connection| connection.gate.enter(&mut pass.waited).ok())
            {
                if connection.is_alive() {
                    pass.host.begin();
                    place.begin();
                    match connection.exchange(request, &mut progress).await {
                        Exchanged::NotSent(unsent, _) => request = unsent,
                        ended @ (Exchanged::Answered(..) | Exchanged::Failed(_)) => return Ok(ended),
                    }
                }
                self.0.target.shared.metrics.stale.inc();
            }
            Err(request)
        };
        let exchanged = tokio::time::timeout(limit, reused).await;
        let exchanged = match exchanged {
            Ok(Err(request)) => {
                let left = limit.saturating_sub(began.elapsed());
                let connect = self.0.target.gate.connect(&mut pass.waited)?;
                self.0.target.shared.guard.cluster.settled().await;
                let wait = self.0.ramp.wait(Instant::now());
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                progress = Progress::start(Step::Resolve);
                // Boxed, since it is large and seldom needed.
                let fresh = Box::pin(self.fresh(request, connect, &mut pass, &mut progress, wanted));
                match tokio::time::timeout(left, fresh).await {
                    Ok(ended) => Ok(ended?),
                    Err(elapsed) => Err(elapsed),
                }
            }
            Ok(Ok(ended)) => Ok(ended),
            Err(elapsed) => Err(elapsed),
        };
        progress.end();
        let end = match exchanged {
            Ok(Exchanged::Answered(answer, connection)) => {
                if let Some(connection) = connection {
                    self.0.pool.put(connection, progress.since());
                }
                Ok(answer)
            }
            // The connection was new: another would go the same way.
            Ok(Exchanged::NotSent(_, error)) => Err(not_taken(error)),
            Ok(Exchanged::Failed(error)) => Err(error),
            Err(_elapsed) => Err(ExchangeError::TimedOut(Overdue { limit, doing: progress.step() })),
        };
        Ok(Exchange { phases: progress.phases(), end })
    }

    async fn fresh<E>(
        &self,
        request: Outgoing,
        connect: Option<Permit>,
        pass: &mut Pass,
        progress: &mut Progress,
        wanted: impl Fn() -> Result<(), E>,
    ) -> Result<Exchanged, Untried<E>> {
        let rights = Rights { host: connect, waited: &mut pass.waited };
        match self.0.target.connect(rights, progress).await {
            Ok((connection, mut place)) => {
                if let Err(why) = wanted() {
                    self.0.pool.put(connection, Instant::now());
                    return Err(Untried::Unwanted(why));
                }
                pass.host.begin();
                place.begin();
                Ok(connection.exchange(request, progress).await)
            }
            Err(Unconnected::NoRoom(full)) => Err(full.into()),
            Err(Unconnected::Failed(error)) => Ok(Exchanged::Failed(error)),
        }
    }

    fn outgoing(&self, request: Request) -> Outgoing {
        let mut outgoing = Outgoing::new(Full::new(request.body));
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = self.0.uri.clone();
        *outgoing.headers_mut() = request.headers;
        outgoing.headers_mut().insert(HOST, self.0.host.clone());
        outgoing
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("host", &self.0.host).finish_non_exhaustive()
    }
}
