//! Watches Webhooks and reconciles each when something about it has changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};
use kube::runtime::controller::Error as ControllerError;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Config, WatchStreamExt as _, applier, watcher as watch};
use kube::{Api, Client};
use tokio::time::{MissedTickBehavior, interval};

use super::announce::Announcer;
use super::challenges::{Challenges, Name};
use super::metrics::Metrics;
use super::pulse::Pulse;
use super::reconcile::Reconciler;
use super::watched::WatchedWebhook;
use crate::model::Clock;
use crate::subscriptions::{Changes, Materials, ObjectName};

/// Who is to be reconciled. It cannot fail: a watch that breaks begins again by itself.
type Trigger = Result<Name, std::convert::Infallible>;

/// How many watches have brought their first list.
#[derive(Clone)]
pub(super) struct Listed {
    missing: Arc<AtomicUsize>,
    pulse: Pulse,
}

impl Listed {
    pub(super) fn new(watches: usize, pulse: Pulse) -> Self {
        Self { missing: Arc::new(AtomicUsize::new(watches)), pulse }
    }

    fn one_more(&self) {
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.pulse.set_ready(true);
        }
    }
}

/// One watch, of one namespace or of all, and the reconciles of what it brings.
pub(super) struct Watch {
    pub(super) api: Api<WatchedWebhook>,
    pub(super) client: Client,
    pub(super) materials: Materials,
    pub(super) challenges: Challenges,
    pub(super) announcer: Arc<Announcer>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) concurrency: u16,
    pub(super) listed: Listed,
    pub(super) pulse: Pulse,
}

impl Watch {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        // Before that, every Secret would seem to be missing.
        let changes = self.materials.changes();
        self.materials.ready().await;
        let (ended, endings) = mpsc::unbounded();
        let (store, writer) = reflector::store();
        let reconciler = Arc::new(Reconciler {
            client: self.client,
            materials: self.materials,
            challenges: self.challenges,
            announcer: self.announcer,
            metrics: self.metrics,
            clock: self.clock,
            ended,
            memory: std::sync::Mutex::default(),
        });
        let mut queue: SelectAll<BoxStream<'static, Trigger>> = SelectAll::new();
        queue.push(from_watch(self.api, writer, store.clone(), reconciler.clone()).map(Ok).boxed());
        queue.push(endings.map(Ok).boxed());
        queue.push(from_materials(changes, store.clone()).map(Ok).boxed());
        let work = applier(
            |webhook, reconciler: Arc<Reconciler>| {
                Box::pin(async move { reconciler.reconcile(webhook).await })
            },
            |webhook, error, reconciler| reconciler.after_error(&webhook, error),
            reconciler.clone(),
            store.clone(),
            queue,
            Config::default().concurrency(self.concurrency),
        );
        let mut work = std::pin::pin!(work);
        let mut beat = interval(Duration::from_secs(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first_list = std::pin::pin!(store.wait_until_ready());
        let mut is_listed = false;
        loop {
            tokio::select! {
                _ = &mut first_list, if !is_listed => {
                    is_listed = true;
                    self.listed.one_more();
                }
                _ = beat.tick() => self.pulse.beat(),
                result = work.next() => match result {
                    // Only now, with no reconcile of it under way, can it be forgotten for good.
                    Some(Err(ControllerError::ObjectNotFound(name))) => {
                        reconciler.forget(&name.into_kind_unchecked(()));
                    }
                    Some(Ok(_) | Err(_)) => {}
                    None => return,
                },
            }
        }
    }
}

/// Keeps the store and names what changed.
fn from_watch(
    api: Api<WatchedWebhook>,
    writer: reflector::store::Writer<WatchedWebhook>,
    store: Store<WatchedWebhook>,
    reconciler: Arc<Reconciler>,
) -> impl Stream<Item = Name> + Send {
    watch(api, watcher::Config::default())
        .default_backoff()
        .modify(WatchedWebhook::slim)
        .reflect(writer)
        .flat_map(move |event| {
            let names = match event {
                Ok(Event::Apply(webhook) | Event::InitApply(webhook)) => vec![Name::from_obj(&webhook)],
                Ok(Event::Delete(webhook)) => {
                    let name = Name::from_obj(&webhook);
                    reconciler.challenges.forget(&name);
                    vec![name]
                }
                // What was deleted while the watch was broken.
                Ok(Event::InitDone) => {
                    let names = reconciler.names().into_iter();
                    names.filter(|name| store.get(name).is_none()).collect()
                }
                Ok(Event::Init) => Vec::new(),
                Err(error) => {
                    tracing::warn!(%error, "the watch of Webhooks broke and is begun again");
                    Vec::new()
                }
            };
            stream::iter(names)
        })
}

/// Names the Webhooks that refer to a Secret or `ConfigMap` that has changed.
fn from_materials(
    changes: Changes<ObjectName>,
    store: Store<WatchedWebhook>,
) -> impl Stream<Item = Name> + Send {
    stream::unfold(changes, |mut changes| async { Some((changes.next().await, changes)) }).flat_map(
        move |changed| {
            let objects = HashSet::from_iter(changed);
            let concerned = store.state_filter(|webhook| webhook.refers_to_any(&objects));
            let names: Vec<Name> = concerned.iter().map(|webhook| Name::from_obj(&**webhook)).collect();
            stream::iter(names)
        },
    )
}
