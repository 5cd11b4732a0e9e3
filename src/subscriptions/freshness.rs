//! How long ago the API server last confirmed a view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use tower_layer::Layer;
use tower_service::Service;

/// Notes every piece of an answer that the API server sends over one client.
///
/// A watch on which nothing changes is still told so about once a minute, by
/// a bookmark. The watch of kube-runtime keeps those to itself, so they are
/// seen here, one level below: put this layer into the client that watches.
#[derive(Clone, Debug)]
pub struct Freshness {
    origin: Instant,
    confirmed_millis: Arc<AtomicU64>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { origin: Instant::now(), confirmed_millis: Arc::default() }
    }
}

impl Freshness {
    /// How long ago the last word came; since the start, if none has come yet.
    pub fn age(&self) -> Duration {
        let confirmed = Duration::from_millis(self.confirmed_millis.load(Ordering::Relaxed));
        self.origin.elapsed().saturating_sub(confirmed)
    }

    fn confirm(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.confirmed_millis.store(now, Ordering::Relaxed);
    }
}

impl<S> Layer<S> for Freshness {
    type Service = Confirming<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Confirming { inner, freshness: self.clone() }
    }
}

/// The service that [`Freshness`] makes.
#[derive(Clone, Debug)]
pub struct Confirming<S> {
    inner: S,
    freshness: Freshness,
}

impl<S, A, B> Service<Request<A>> for Confirming<S>
where
    S: Service<Request<A>, Response = Response<B>, Future: Send + 'static>,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, B::Error>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let freshness = self.freshness.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let success = answer.status().is_success();
            Ok(answer.map(|body| {
                body.map_frame(move |frame| {
                    if success {
                        freshness.confirm();
                    }
                    frame
                })
                .boxed_unsync()
            }))
        })
    }
}
