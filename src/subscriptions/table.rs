//! The table of subscriptions: what the watch of Webhooks brought.
//!
//! ```text
//! Applied ─> read ─> resolve ─┬─> index by namespace and type ─> matching()
//! Removed ─> gone             └─> a View for each UID ────────> follow(uid)
//! Materials changed ─> resolve those that refer to it
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::changes::{Announcer, Changes};
use super::freshness::Freshness;
use super::view::{Known, Unreadable, View, uid_of};
use super::watch::{Change, follow};
use super::{Materials, Namespaces, ObjectName, Scope};
use crate::api::{SpecError, StoredWebhook, Webhook};
use crate::model::{EventType, WebhookUid};

/// The dispatcher's view of the Webhooks. Clones share one table.
#[derive(Clone, Debug)]
pub struct Subscriptions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    namespaces: Namespaces,
    materials: Materials,
    /// Held while a view is made and shown, so that the older of two never comes last.
    updating: Mutex<()>,
    index: RwLock<Index>,
    entries: Mutex<Entries>,
    changed: Announcer<WebhookUid>,
    gone: Announcer<WebhookUid>,
    lists_awaited: watch::Sender<usize>,
    freshness: Freshness,
}

/// Who wants what, for the path of every event.
type Index = HashMap<String, HashMap<EventType, BTreeSet<WebhookUid>>>;

#[derive(Debug, Default)]
struct Entries {
    views: HashMap<WebhookUid, watch::Sender<View>>,
    names: HashMap<ObjectName, WebhookUid>,
    /// Which webhooks refer to a Secret or `ConfigMap` of this name.
    referrers: HashMap<ObjectName, HashSet<WebhookUid>>,
    /// The same, the other way round.
    referred: HashMap<WebhookUid, Vec<ObjectName>>,
}

impl Entries {
    fn refer(&mut self, uid: WebhookUid, names: Vec<ObjectName>) {
        for name in self.referred.remove(&uid).unwrap_or_default() {
            if let Some(webhooks) = self.referrers.get_mut(&name) {
                webhooks.remove(&uid);
                if webhooks.is_empty() {
                    self.referrers.remove(&name);
                }
            }
        }
        for name in &names {
            self.referrers.entry(name.clone()).or_default().insert(uid);
        }
        if !names.is_empty() {
            self.referred.insert(uid, names);
        }
    }
}

impl Subscriptions {
    /// An empty table, to be filled by [`Self::run`].
    pub fn new(namespaces: Namespaces, materials: Materials) -> Self {
        let lists_awaited = watch::Sender::new(namespaces.scopes().len());
        let freshness = Freshness::new(namespaces.scopes());
        Self(Arc::new(Shared {
            namespaces,
            materials,
            updating: Mutex::default(),
            index: RwLock::default(),
            entries: Mutex::default(),
            changed: Announcer::default(),
            gone: Announcer::default(),
            lists_awaited,
            freshness,
        }))
    }

    /// Keeps the table as the API server's until `shutdown`. The materials
    /// are to be kept by their own `run`.
    pub async fn run(self, client: Client, shutdown: CancellationToken) {
        // With the Secrets at hand, no webhook is seen without its own for a moment.
        let mut materials_changed = self.0.materials.changes();
        tokio::select! {
            () = self.0.materials.ready() => {}
            () = shutdown.cancelled() => return,
        }
        let mut watches = JoinSet::new();
        for watched in self.0.freshness.watches() {
            let table = self.clone();
            let apply = move |change| table.apply(change);
            watches.spawn(follow::<StoredWebhook>(
                watched.api(&client),
                watcher::Config::default(),
                apply,
                shutdown.clone(),
            ));
        }
        loop {
            tokio::select! {
                names = materials_changed.next() => names.iter().for_each(|name| self.resolve_again(name)),
                () = shutdown.cancelled() => break,
            }
        }
        watches.join_all().await;
    }

    /// Waits until every Webhook that exists has been seen.
    pub async fn ready(&self) {
        // The sender lives in `self`, so this ends only when the lists are in.
        let _ = self.0.lists_awaited.subscribe().wait_for(|awaited| *awaited == 0).await;
    }

    /// Whether every Webhook that exists has been seen.
    pub fn is_ready(&self) -> bool {
        *self.0.lists_awaited.borrow() == 0
    }

    /// How long ago the API server last confirmed all that is known of a
    /// namespace: its Webhooks and what they may refer to.
    pub fn age(&self, namespace: &str) -> Duration {
        let now = Instant::now();
        self.0.freshness.age(namespace, now).max(self.0.materials.age(namespace, now))
    }

    /// The same, where it is longest.
    pub fn oldest(&self) -> Duration {
        let now = Instant::now();
        self.0.freshness.oldest(now).max(self.0.materials.oldest(now))
    }

    /// The webhooks that an event accepted now goes to: in its namespace,
    /// enabled, wanting its type, and proved at least once.
    pub fn matching(&self, namespace: &str, event_type: EventType) -> Vec<WebhookUid> {
        let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
        index
            .get(namespace)
            .and_then(|types| types.get(&event_type))
            .map(|webhooks| webhooks.iter().copied().collect())
            .unwrap_or_default()
    }

    /// The webhook's view, now and whenever it changes.
    pub fn follow(&self, uid: WebhookUid) -> watch::Receiver<View> {
        let mut entries = self.entries();
        entries.views.entry(uid).or_insert_with(|| watch::Sender::new(View::Unknown)).subscribe()
    }

    /// The webhook's view now.
    pub fn view(&self, uid: WebhookUid) -> View {
        self.entries().views.get(&uid).map_or(View::Unknown, |view| view.borrow().clone())
    }

    /// The webhooks whose view changes from now on.
    pub fn changes(&self) -> Changes<WebhookUid> {
        self.0.changed.subscribe()
    }

    /// The webhooks that are confirmed gone from now on.
    pub fn gone(&self) -> Changes<WebhookUid> {
        self.0.gone.subscribe()
    }

    /// The webhook of this name, if it is in view.
    pub fn named(&self, name: &ObjectName) -> Option<WebhookUid> {
        self.entries().names.get(name).copied()
    }

    /// Every webhook of a namespace that is in view.
    pub fn in_namespace(&self, namespace: &str) -> Vec<(ObjectName, WebhookUid)> {
        let entries = self.entries();
        let here = entries.names.iter().filter(|(name, _)| name.namespace == namespace);
        here.map(|(name, uid)| (name.clone(), *uid)).collect()
    }

    /// Every webhook that is in view.
    pub fn all(&self) -> Vec<WebhookUid> {
        self.entries().names.values().copied().collect()
    }

    /// Asks the API server whether the webhook is gone, by a list that is read
    /// from its store: the watch may simply not have brought it yet.
    ///
    /// # Errors
    /// The API server did not answer; then nothing is known.
    pub async fn confirm_gone(
        &self,
        client: &Client,
        namespace: &str,
        uid: WebhookUid,
    ) -> Result<bool, kube::Error> {
        if !self.0.namespaces.contains(namespace) {
            return Ok(false);
        }
        let api = Scope::Namespace(namespace.to_owned()).api::<Webhook>(client);
        let list = api.list_metadata(&ListParams::default()).await?;
        Ok(list.items.iter().all(|webhook| uid_of(webhook) != Some(uid)))
    }

    fn apply(&self, change: Change<StoredWebhook>) {
        let _updating = self.0.updating.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Applied(object) => self.applied(object),
            Change::Removed(name) => {
                let gone = self.entries().names.remove(&name);
                if let Some(uid) = gone {
                    self.lose(&name, uid);
                }
            }
            Change::Listed => {
                self.0.lists_awaited.send_modify(|awaited| *awaited = awaited.saturating_sub(1));
            }
        }
    }

    fn applied(&self, object: StoredWebhook) {
        let name = ObjectName::of(&object);
        let Some(uid) = uid_of(&object) else {
            tracing::warn!(
                namespace = name.namespace,
                webhook = name.name,
                "a Webhook without a UUID is not used"
            );
            return;
        };
        let before = self.entries().names.insert(name.clone(), uid);
        if let Some(before) = before.filter(|before| *before != uid) {
            self.lose(&name, before);
        }
        let generation = object.meta().generation;
        let known = match object.0 {
            Ok(webhook) => self.read(webhook, uid).map_err(|error| error.to_string()),
            Err(invalid) => Err(invalid.error),
        };
        let view = match known {
            Ok(known) => View::Known(Arc::new(known)),
            Err(why) => {
                tracing::warn!(
                    namespace = name.namespace,
                    webhook = name.name,
                    why,
                    "a Webhook cannot be read"
                );
                View::Unreadable(Arc::new(Unreadable { object: name.clone(), generation, why }))
            }
        };
        self.show(&name, uid, view);
    }

    fn read(&self, webhook: Webhook, uid: WebhookUid) -> Result<Known, SpecError> {
        let namespace = webhook.namespace().unwrap_or_default();
        let names = referred(&webhook).map(|name| ObjectName::new(&namespace, name)).collect();
        self.entries().refer(uid, names);
        let credentials = self.0.materials.resolve(&namespace, &webhook.spec);
        Known::read(webhook, uid, credentials)
    }

    fn resolve_again(&self, name: &ObjectName) {
        let _updating = self.0.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let referrers = self.entries().referrers.get(name).cloned().unwrap_or_default();
        for uid in referrers {
            if let View::Known(known) = self.view(uid) {
                let credentials = self.0.materials.resolve(&known.object.namespace, &known.spec);
                let again = Known { credentials, ..(*known).clone() };
                self.show(&known.object, uid, View::Known(Arc::new(again)));
            }
        }
    }

    fn show(&self, name: &ObjectName, uid: WebhookUid, view: View) {
        {
            let mut index = self.0.index.write().unwrap_or_else(PoisonError::into_inner);
            let known = match &view {
                View::Known(known) if known.takes_events() => Some(known),
                View::Known(_) | View::Unknown | View::Unreadable(_) | View::Gone => None,
            };
            let types = index.entry(name.namespace.clone()).or_default();
            for event_type in EventType::ALL {
                let webhooks = types.entry(event_type).or_default();
                if known.is_some_and(|known| known.settings.filter.wants(event_type)) {
                    webhooks.insert(uid);
                } else {
                    webhooks.remove(&uid);
                }
            }
            types.retain(|_, webhooks| !webhooks.is_empty());
            if types.is_empty() {
                index.remove(&name.namespace);
            }
        }
        let mut entries = self.entries();
        entries.views.entry(uid).or_insert_with(|| watch::Sender::new(View::Unknown)).send_replace(view);
        drop(entries);
        self.0.changed.announce(&uid);
    }

    fn lose(&self, name: &ObjectName, uid: WebhookUid) {
        self.show(name, uid, View::Gone);
        let mut entries = self.entries();
        entries.views.remove(&uid);
        entries.refer(uid, Vec::new());
        drop(entries);
        self.0.gone.announce(&uid);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names of the Secrets and `ConfigMap`s that a webhook refers to.
fn referred(webhook: &Webhook) -> impl Iterator<Item = &str> {
    let spec = &webhook.spec;
    let tls = spec.tls.as_ref();
    [
        Some(spec.api_key_secret_ref.name.as_str()),
        spec.signing_secret_ref.as_ref().map(|reference| reference.name.as_str()),
        tls.and_then(|tls| tls.ca_config_map_ref.as_ref()).map(|reference| reference.name.as_str()),
        tls.and_then(|tls| tls.client_certificate_secret_ref.as_ref())
            .map(|reference| reference.name.as_str()),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests;
