//! Follows one watch and tells what changed, whatever happens to the connection.

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
    let mut known = HashSet::new();
    let mut listed = HashSet::new();
    let mut complete = false;
    // What only the API server needs is most of a small object's size.
    let stream = watch(api, config).default_backoff().modify(|object: &mut K| {
        object.managed_fields_mut().clear();
    });
    let mut stream = std::pin::pin!(stream.take_until(shutdown.cancelled_owned()));
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(ObjectName::of(&object));
                apply(Change::Applied(object));
            }
            Ok(Event::InitDone) => {
                for name in known.difference(&listed) {
                    apply(Change::Removed(ObjectName::clone(name)));
                }
                known = std::mem::take(&mut listed);
                if !std::mem::replace(&mut complete, true) {
                    apply(Change::Listed);
                }
            }
            Ok(Event::Apply(object)) => {
                known.insert(ObjectName::of(&object));
                apply(Change::Applied(object));
            }
            Ok(Event::Delete(object)) => {
                let name = ObjectName::of(&object);
                known.remove(&name);
                apply(Change::Removed(name));
            }
            Err(error) => tracing::warn!(
                kind = %K::kind(&K::DynamicType::default()),
                error = %kube_error(&error),
                "the watch broke and is begun again"
            ),
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
