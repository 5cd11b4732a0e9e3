//! Follows the objects of one kind.

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
    let mut stream = std::pin::pin!(watch(api.clone(), config.clone()).default_backoff());
    loop {
        match stream.next().await {
            Some(Ok(event)) => {
                if known.apply(event) {
                    board.publish(source, known.ranges());
                    board.settle(source);
                }
            }
            Some(Err(error)) if is_final(&error) => return error.to_string(),
            Some(Err(error)) => {
                tracing::debug!(kind = %K::kind(&()), %error, "the watch broke and is begun again");
            }
            // It has no end.
            None => return "the watch ended".to_owned(),
        }
    }
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
                self.listed.insert(named(&object), object.ranges());
                false
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
    use serde_json::json;

    use super::super::objects::Node;
    use super::*;

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
        told(Event::Init, None);
        told(Event::InitApply(node("a", "9.0.0.1")), None);
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
