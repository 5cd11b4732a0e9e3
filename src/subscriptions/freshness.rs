//! How long ago the API server last confirmed a view.
//!
//! ```text
//! Freshness of a kind ─┬─ Watched in one scope ─── client ─> watch ─ answer, piece, piece … ─┐
//!                      └─ Watched in another       ^                                         │
//!                                                  └─────────────── confirmed ───────────────┘
//! ```
//!
//! A watch on which nothing changes is still told so about once a minute, by
//! a bookmark. The watch of kube-runtime keeps those to itself, so they are
//! seen here, one level below, in a client that serves one watch only: what
//! the API server says on another watch says nothing about this one.
//!
//! A list confirms nothing, for it may break before its last page. The watch
//! that follows it does, and is begun only when the list is complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use k8s_openapi::NamespaceResourceScope;
use kube::client::Body;
use kube::{Api, Client, Resource};
use tokio::time::Instant;
use tower_service::Service;

use super::Scope;

/// When each watch of one kind was last confirmed, in the order of the scopes.
#[derive(Debug)]
pub(super) struct Freshness(Vec<Watched>);

impl Freshness {
    /// For one watch in each of these.
    pub(super) fn new(scopes: Vec<Scope>) -> Self {
        Self(scopes.into_iter().map(Watched::new).collect())
    }

    /// What is to be watched.
    pub(super) fn watches(&self) -> &[Watched] {
        &self.0
    }

    /// How old the view of a namespace is. One that nothing brings never is new.
    pub(super) fn age(&self, namespace: &str, now: Instant) -> Duration {
        // Asked for each delivery, and there may be very many.
        let here = self.0.binary_search_by(|watched| watched.scope.side_of(namespace));
        here.ok().and_then(|at| self.0.get(at)).map_or(Duration::MAX, |watched| watched.age(now))
    }

    /// How old the view is where it is oldest.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        self.0.iter().map(|watched| watched.age(now)).max().unwrap_or_default()
    }
}

/// One watch of a kind, and when it was last confirmed.
#[derive(Debug)]
pub(super) struct Watched {
    scope: Scope,
    confirmed: Confirmed,
}

impl Watched {
    fn new(scope: Scope) -> Self {
        Self { scope, confirmed: Confirmed { origin: Instant::now(), millis: Arc::default() } }
    }

    /// The API to watch by, and by nothing else.
    pub(super) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        let namespace = client.default_namespace().to_owned();
        let confirming = Confirming { client: client.clone(), confirmed: self.confirmed.clone() };
        self.scope.api(&Client::new(confirming, namespace))
    }

    /// How long ago the last word came; since the start, if none has come yet.
    fn age(&self, now: Instant) -> Duration {
        let confirmed = Duration::from_millis(self.confirmed.millis.load(Ordering::Relaxed));
        now.saturating_duration_since(self.confirmed.origin + confirmed)
    }
}

#[derive(Clone, Debug)]
struct Confirmed {
    origin: Instant,
    millis: Arc<AtomicU64>,
}

impl Confirmed {
    fn now(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(now, Ordering::Relaxed);
    }
}

/// Notes every piece of an answer to a watch.
struct Confirming {
    client: Client,
    confirmed: Confirmed,
}

impl Service<Request<Body>> for Confirming {
    type Response = Response<UnsyncBoxBody<Bytes, kube::Error>>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, confirmed) = (self.client.clone(), self.confirmed.clone());
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|parameter| parameter == "watch=true");
        Box::pin(async move {
            let answer = client.send(request).await?;
            let confirms = is_watch && answer.status().is_success();
            let confirm = move || {
                if confirms {
                    confirmed.now();
                }
            };
            confirm();
            Ok(answer.map(|body| {
                body.map_frame(move |frame| {
                    confirm();
                    frame
                })
                .boxed_unsync()
            }))
        })
    }
}

#[cfg(test)]
mod tests;
