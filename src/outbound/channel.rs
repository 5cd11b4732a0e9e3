//! The way to one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{HeaderValue, Uri};
use http_body_util::Full;

use super::connect::Target;
use super::connection::{Exchanged, Outgoing};
use super::error::not_taken;
use super::exchange::{Exchange, Progress, Request};
use super::pool::Pool;
use super::ramp::Ramp;
use super::{ExchangeError, Overdue, Step};

/// The connections to the endpoint of one webhook under one version of its TLS
/// settings. Clones share them; the last one that is dropped closes them.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

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

    /// Sends `request` to the endpoint and reads its answer, all within `limit`:
    /// resolution, connection, TLS, headers and body. Only the wait that
    /// spreads new connections after a start is not counted, since it is
    /// Herald's own and not the endpoint's.
    ///
    /// An exchange that does not end well closes its connection, and so does
    /// dropping the future.
    pub async fn exchange(&self, request: Request, limit: Duration) -> Exchange {
        let mut request = self.outgoing(request);
        let mut progress = Progress::start(Step::Head);
        let began = progress.since();
        let reused = async {
            while let Some(mut connection) = self.0.pool.take(began) {
                if connection.is_alive() {
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
                let wait = self.0.ramp.wait(Instant::now());
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                progress = Progress::start(Step::Resolve);
                let left = limit.saturating_sub(began.elapsed().saturating_sub(wait));
                // Boxed, since it is large and seldom needed.
                let fresh = Box::pin(self.fresh(request, &mut progress));
                tokio::time::timeout(left, fresh).await
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
        Exchange { phases: progress.phases(), end }
    }

    async fn fresh(&self, request: Outgoing, progress: &mut Progress) -> Exchanged {
        match self.0.target.connect(progress).await {
            Ok(connection) => connection.exchange(request, progress).await,
            Err(error) => Exchanged::Failed(error),
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
