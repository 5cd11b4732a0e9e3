//! When a round is due: at a change, at a time, and after a failure.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, ready};
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::places::PRODUCER_SELECTOR;
use crate::model::{Backoff, Jitter};
use crate::subscriptions::Scope;

/// However quiet it is: a change that no watch has told of is found by then.
const AT_LEAST_EVERY: Duration = Duration::from_mins(1);
/// However much changes: somebody who writes against us does not keep us busy.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(30) };

impl Keeper {
    /// Keeps everything up to date until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let metrics = self.metrics.clone();
        let changed = Arc::new(Notify::new());
        let watches = self.watch(&changed);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = watches => {}
            () = self.rounds(&changed) => {}
        }
        metrics.forget();
    }

    async fn rounds(&mut self, changed: &Notify) {
        let mut failures = 0_u32;
        loop {
            match Box::pin(self.round()).await {
                Ok(due) => {
                    failures = 0;
                    let rest = due.since(self.config.clock.now()).min(AT_LEAST_EVERY);
                    tokio::select! {
                        () = self.config.clock.sleep(rest) => {}
                        () = changed.notified() => {}
                    }
                    tokio::time::sleep(AT_MOST_EVERY).await;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let again = BACKOFF.delay(failures, Jitter::draw());
                    tracing::warn!(certificate = %self.config.name, failures, %error, ?again, "not all certificates are up to date");
                    tokio::time::sleep(again).await;
                }
            }
        }
    }

    /// Tells of every change of what Herald keeps, and of whom it keeps it for.
    fn watch(&self, changed: &Arc<Notify>) -> impl Future<Output = ()> + Send + use<> {
        let named = |name: String| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let (client, config) = (&self.client, &self.config);
        let mut streams: Vec<stream::BoxStream<'static, ()>> = Vec::new();
        for scope in self.publisher.scopes() {
            let bundles = scope.api::<PartialObjectMeta<ConfigMap>>(client);
            streams.push(of(watcher(bundles, named(config.ca_name()))).boxed());
            if matches!(scope, Scope::Cluster) {
                let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
                let producers = watcher::Config::default().labels(PRODUCER_SELECTOR);
                streams.push(of(watcher(namespaces, producers)).boxed());
            }
        }
        for name in [config.ca_name(), config.tls_name()] {
            let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), &config.own_namespace);
            streams.push(of(watcher(secrets, named(name))).boxed());
        }
        let changed = changed.clone();
        async move {
            let told = streams.into_iter().map(|stream| {
                stream.for_each(|()| {
                    changed.notify_one();
                    ready(())
                })
            });
            join_all(told).await;
        }
    }
}

fn of<E>(
    events: impl Stream<Item = Result<watcher::Event<E>, watcher::Error>> + Send,
) -> impl Stream<Item = ()> + Send
where
    E: Send,
{
    events.default_backoff().filter_map(async |event| match event {
        Ok(_) => Some(()),
        Err(error) => {
            tracing::warn!(%error, "a watch of certificates broke and is begun again");
            None
        }
    })
}
