//! Follows one watch and tells what changed, whatever happens to the connection.
//!
//! ```text
//! Init ─> InitApply … ─> InitDone ─> Apply, Delete …    a list that breaks begins again with Init
//!         Applied        Removed, for what was told      and does not take back what it told
//!                        and is not in the list
//! ```

use std::collections::HashSet;
use std::fmt::Debug;

use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher as watch};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::ObjectName;

/// What a watch brought.
pub(crate) enum Change<K> {
    /// This is how the object is now.
    Applied(K),
    /// The object is gone, or no longer selected.
    Removed(ObjectName),
    /// The first list is in: everything that exists has been applied. Told once.
    Listed,
}

/// Feeds `apply` until `shutdown`. A list after a broken watch is turned into
/// the changes that were missed.
pub(crate) async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    mut apply: impl FnMut(Change<K>),
    shutdown: CancellationToken,
) where
    K: Resource<DynamicType: Default> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut told = Told::default();
    // What only the API server needs is most of a small object's size.
    let stream = watch(api, config).default_backoff().modify(|object: &mut K| {
        object.managed_fields_mut().clear();
    });
    let mut stream = std::pin::pin!(stream.take_until(shutdown.cancelled_owned()));
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => told.changes(event).into_iter().for_each(&mut apply),
            Err(error) => tracing::warn!(
                kind = %K::kind(&K::DynamicType::default()),
                error = %kube_error(&error),
                "the watch broke and is begun again"
            ),
        }
    }
}

/// What has been told of the objects, and how far the list is that runs now.
#[derive(Debug, Default)]
struct Told {
    applied: HashSet<ObjectName>,
    listed: HashSet<ObjectName>,
    complete: bool,
}

impl Told {
    /// What an event of the watch means to somebody who knows only what was told before.
    fn changes<K: Resource>(&mut self, event: Event<K>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                let name = ObjectName::of(&object);
                // Told is told: if this list breaks, the next one may not have it any more.
                self.applied.insert(name.clone());
                self.listed.insert(name);
                vec![Change::Applied(object)]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let before = std::mem::replace(&mut self.applied, listed);
                let gone = before.difference(&self.applied).cloned().map(Change::Removed);
                let first = !std::mem::replace(&mut self.complete, true);
                gone.chain(first.then_some(Change::Listed)).collect()
            }
            Event::Apply(object) => {
                self.applied.insert(ObjectName::of(&object));
                vec![Change::Applied(object)]
            }
            Event::Delete(object) => {
                let name = ObjectName::of(&object);
                self.applied.remove(&name);
                vec![Change::Removed(name)]
            }
        }
    }
}

/// The error with its causes: the outermost alone says only that something failed.
fn kube_error(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::*;

    fn secret(name: &str) -> Secret {
        serde_json::from_value(json!({"metadata": {"namespace": "identity", "name": name}})).unwrap()
    }

    /// What is told of these events, in order.
    fn told(events: impl IntoIterator<Item = Event<Secret>>) -> Vec<String> {
        let mut told = Told::default();
        let changes = events.into_iter().flat_map(|event| told.changes(event));
        changes
            .map(|change| match change {
                Change::Applied(object) => format!("applied {}", object.name_any()),
                Change::Removed(name) => format!("removed {}", name.name),
                Change::Listed => "listed".to_owned(),
            })
            .collect()
    }

    #[test]
    fn what_a_broken_list_told_and_the_next_one_lacks_is_removed() {
        let first_page = [Event::Init, Event::InitApply(secret("a")), Event::InitApply(secret("b"))];
        let again = [Event::Init, Event::InitApply(secret("b")), Event::InitDone];
        let wanted = ["applied a", "applied b", "applied b", "removed a", "listed"];
        assert_eq!(told(first_page.into_iter().chain(again)), wanted);
        // Of two that break, the first one's is remembered as well.
        let events = [Event::Init, Event::InitApply(secret("a")), Event::Init, Event::Init, Event::InitDone];
        assert_eq!(told(events), ["applied a", "removed a", "listed"]);
    }

    #[test]
    fn what_went_while_the_watch_was_broken_is_removed_once() {
        let events = [
            Event::Init,
            Event::InitApply(secret("a")),
            Event::InitDone,
            Event::Apply(secret("b")),
            Event::Apply(secret("c")),
            Event::Delete(secret("c")),
            Event::Init,
            Event::InitApply(secret("a")),
            Event::InitDone,
            Event::Init,
            Event::InitApply(secret("a")),
            Event::InitDone,
        ];
        let wanted = [
            "applied a",
            "listed",
            "applied b",
            "applied c",
            "removed c",
            "applied a",
            "removed b",
            "applied a",
        ];
        assert_eq!(told(events), wanted);
    }
}
