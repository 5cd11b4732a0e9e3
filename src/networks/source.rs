//! Follows the objects of one kind.
//!
//! ```text
//! the first list, page by page ─> publish all that came so far
//! it is complete ───────────────> publish it, settle; from here a list replaces all when it is complete
//! refused, or not served ───────> say so, settle, ask again after a while
//! ```

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use ipnet::IpNet;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher as watch};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Source};
use super::objects::NamesRanges;

/// What is there at once is published together: a page of a list has so many objects.
const AT_ONCE: usize = 500;

/// After this time what was refused, or was not served, is asked for again.
const ASK_AGAIN: Duration = Duration::from_mins(5);

/// Publishes the ranges of all objects until `shutdown`.
pub(super) async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    source: Source,
    board: Arc<Board>,
    shutdown: CancellationToken,
) where
    K: Resource<DynamicType = ()> + NamesRanges + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut known = Known::default();
    let mut told = false;
    loop {
        let refusal = until_refused(&api, &config, source, &board, &mut known);
        let Some(refusal) = shutdown.run_until_cancelled(refusal).await else { return };
        if !std::mem::replace(&mut told, true) {
            let (kind, flag) = (K::kind(&()), source.instead());
            tracing::warn!(
                %kind, reason = %refusal, set = flag,
                "part of the cluster's own networks cannot be found out, and may be called unless it is forbidden"
            );
        }
        board.settle(source);
        if shutdown.run_until_cancelled(tokio::time::sleep(ASK_AGAIN)).await.is_none() {
            return;
        }
    }
}

/// Follows one watch and all that follow it, and ends when asking on makes no sense for now.
async fn until_refused<K>(
    api: &Api<K>,
    config: &watcher::Config,
    source: Source,
    board: &Board,
    known: &mut Known,
) -> String
where
    K: Resource<DynamicType = ()> + NamesRanges + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watch(api.clone(), config.clone()).default_backoff();
    let mut stream = std::pin::pin!(stream.ready_chunks(AT_ONCE));
    while let Some(events) = stream.next().await {
        let mut new = false;
        let mut refusal = None;
        for event in events {
            match event {
                Ok(event) => new |= known.apply(event),
                Err(error) if is_final(&error) => refusal = Some(error.to_string()),
                Err(error) => {
                    tracing::debug!(kind = %K::kind(&()), %error, "the watch broke and is begun again");
                }
            }
        }
        if new {
            board.publish(source, known.ranges());
            if known.complete {
                board.settle(source);
            }
        }
        if let Some(refusal) = refusal {
            return refusal;
        }
    }
    // It has no end.
    "the watch ended".to_owned()
}

/// Forbidden, or not served.
fn is_final(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => return false,
    };
    matches!(status.code, 403 | 404)
}

/// The ranges of each object, and those of a list that is not complete yet.
/// Until a first one is, whatever was listed counts: a part protects more than nothing.
#[derive(Debug, Default)]
struct Known {
    of_each: HashMap<String, Vec<IpNet>>,
    listed: HashMap<String, Vec<IpNet>>,
    complete: bool,
}

impl Known {
    /// Whether there is something new to publish.
    fn apply<K: NamesRanges + Resource>(&mut self, event: Event<K>) -> bool {
        let named = |object: &K| object.meta().name.clone().unwrap_or_default();
        match event {
            Event::Init => {
                self.listed.clear();
                false
            }
            Event::InitApply(object) => {
                let (name, ranges) = (named(&object), object.ranges());
                let new = !self.complete && self.of_each.get(&name) != Some(&ranges);
                if new {
                    self.of_each.insert(name.clone(), ranges.clone());
                }
                self.listed.insert(name, ranges);
                new
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let before = std::mem::replace(&mut self.of_each, listed);
                !std::mem::replace(&mut self.complete, true) || before != self.of_each
            }
            Event::Apply(object) => {
                let ranges = object.ranges();
                let before = self.of_each.insert(named(&object), ranges.clone());
                // Nodes change every few minutes, and their ranges never do.
                before.is_none_or(|before| before != ranges)
            }
            Event::Delete(object) => self.of_each.remove(&named(&object)).is_some(),
        }
    }

    fn ranges(&self) -> Vec<IpNet> {
        self.of_each.values().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    use http::{Request, Response, StatusCode};
    use http_body_util::Full;
    use hyper::body::Bytes;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;
    use tokio::time::Instant;
    use tower_service::Service;

    use super::super::board::Metrics;
    use super::super::objects::Node;
    use super::*;
    use crate::outbound::ClusterNetworks;

    /// An API server that has one page of Nodes for whoever asks, and is too busy for the next.
    #[derive(Clone)]
    struct Busy;

    impl Service<Request<Body>> for Busy {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let is_next = request.uri().query().is_some_and(|query| query.contains("continue="));
            let (status, body) = if is_next {
                let status = json!({"kind": "Status", "status": "Failure", "code": 429, "message": "later"});
                (StatusCode::TOO_MANY_REQUESTS, status)
            } else {
                let node = json!({
                    "metadata": {"name": "a"}, "status": {"addresses": [{"type": "InternalIP", "address": "9.0.0.1"}]},
                });
                (
                    StatusCode::OK,
                    json!({"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [node]}),
                )
            };
            let answer = Response::builder().status(status).body(Full::from(body.to_string()));
            ready(Ok(answer.unwrap()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_pages_of_a_list_that_does_not_come_to_its_end_are_refused_and_it_is_told_of() {
        let start = Instant::now();
        let networks = ClusterNetworks::awaited(start + Duration::from_secs(10));
        let board = Arc::new(Board::new(&[Source::Nodes], networks.clone(), Metrics::default()));
        let nodes = Api::<Node>::all(Client::new(Busy, "default"));
        let shutdown = CancellationToken::new();
        let following =
            follow(nodes, watcher::Config::default(), Source::Nodes, board.clone(), shutdown.clone());
        let following = tokio::spawn(following);
        assert_eq!(board.late().await, [Source::Nodes]);
        assert_eq!(start.elapsed().as_secs(), 10);
        assert!(networks.contains("9.0.0.1".parse().unwrap()));
        shutdown.cancel();
        following.await.unwrap();
    }

    fn node(name: &str, address: &str) -> Node {
        let node = json!({"metadata": {"name": name}, "status": {"addresses": [{"address": address}]}});
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn what_is_published_is_what_the_cluster_has_now() {
        let mut known = Known::default();
        let mut told = |event, wanted: Option<&[&str]>| {
            let new = known.apply(event);
            let mut ranges: Vec<_> = known.ranges().iter().map(ToString::to_string).collect();
            ranges.sort_unstable();
            assert_eq!(new, wanted.is_some());
            if let Some(wanted) = wanted {
                assert_eq!(ranges, wanted);
            }
        };
        // Of a first list, what is there so far; of one that breaks too.
        told(Event::Init, None);
        told(Event::InitApply(node("z", "9.0.0.9")), Some(&["9.0.0.9/32"]));
        told(Event::Init, None);
        told(Event::InitApply(node("a", "9.0.0.1")), Some(&["9.0.0.1/32", "9.0.0.9/32"]));
        told(Event::InitDone, Some(&["9.0.0.1/32"]));
        told(Event::Apply(node("b", "9.0.0.2")), Some(&["9.0.0.1/32", "9.0.0.2/32"]));
        told(Event::Apply(node("b", "9.0.0.2")), None);
        told(Event::Apply(node("b", "9.0.0.3")), Some(&["9.0.0.1/32", "9.0.0.3/32"]));
        told(Event::Delete(node("a", "9.0.0.1")), Some(&["9.0.0.3/32"]));
        told(Event::Delete(node("a", "9.0.0.1")), None);
        // A list that follows a broken watch replaces all when it is complete, and not before.
        told(Event::Init, None);
        told(Event::InitApply(node("c", "9.0.0.4")), None);
        told(Event::Apply(node("b", "9.0.0.5")), Some(&["9.0.0.5/32"]));
        told(Event::InitDone, Some(&["9.0.0.4/32"]));
        told(Event::Init, None);
        told(Event::InitApply(node("c", "9.0.0.4")), None);
        told(Event::InitDone, None);
    }

    #[test]
    fn a_cluster_without_nodes_is_known_too() {
        let mut known = Known::default();
        assert!(!known.apply(Event::<Node>::Init));
        assert!(known.apply(Event::<Node>::InitDone));
        assert!(known.ranges().is_empty());
    }
}
