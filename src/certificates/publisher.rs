//! Looks at the bundles and writes those that are not as they should be.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use kube::Client;
use serde_json::{Value, json};

use super::bundle::{Act, Slot, decide};
use super::call::CallError;
use super::marks::Marks;
use super::places::Places;
use super::{Config, trust_bundle};
use crate::subscriptions::Scope;

/// How many bundles are written at one time.
const WRITERS: usize = 8;

/// Publishes the bundle, and remembers what was said of those that it cannot write.
#[derive(Clone)]
pub(super) struct Publisher {
    client: Client,
    own_namespace: String,
    name: String,
    config_map: String,
    places: Places,
    with_trust_bundle: bool,
    /// Where somebody else's object has the name, as it was said.
    spared: BTreeSet<String>,
    /// Why there is no `ClusterTrustBundle`, as it was said.
    refused: Option<String>,
}

/// The bundles as they were found.
pub(super) struct Looked {
    slots: Vec<Slot>,
    trust: Option<Slot>,
    failures: usize,
}

/// What became of the bundles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    /// How many could not be looked at or written.
    pub(super) failures: usize,
    /// How many were written by somebody else in the meantime.
    pub(super) conflicts: usize,
}

impl Publisher {
    pub(super) fn new(client: Client, config: &Config) -> Self {
        Self {
            places: Places::new(client.clone(), config),
            client,
            own_namespace: config.own_namespace.clone(),
            name: config.name.clone(),
            config_map: config.ca_name(),
            with_trust_bundle: config.cluster_trust_bundle,
            spared: BTreeSet::new(),
            refused: None,
        }
    }

    /// The lists and watches that cover all places.
    pub(super) fn scopes(&self) -> Vec<Scope> {
        self.places.scopes()
    }

    /// What there is, before anything is decided.
    pub(super) async fn look(&mut self) -> Looked {
        let (slots, errors) = self.places.look().await;
        for error in &errors {
            tracing::warn!(config_map = %self.config_map, %error, "cannot look at a bundle");
        }
        let mut looked = Looked { slots, trust: None, failures: errors.len() };
        if !self.with_trust_bundle {
            return looked;
        }
        match trust_bundle::look(&self.client, &self.own_namespace, &self.name).await {
            Ok(Some(slot)) => looked.trust = Some(slot),
            Ok(None) => self.refuse("the API server does not serve them".to_owned()),
            Err(error) => looked.failures += self.trust_failure(&error),
        }
        looked
    }

    /// Writes what is not as it should be.
    pub(super) async fn publish(&mut self, looked: Looked, marks: &Marks, bundle: &str) -> Published {
        let content = json!({ "data": { "ca.crt": bundle } });
        let mut published = self.publish_all(&looked.slots, marks, &content).await;
        published.failures += looked.failures;
        if let Some(slot) = looked.trust {
            published.failures += self.publish_trust(slot, marks, &trust_bundle::content(bundle)).await;
        }
        published
    }

    async fn publish_all(&mut self, slots: &[Slot], marks: &Marks, content: &Value) -> Published {
        let acts: Vec<(&Slot, Act)> = slots
            .iter()
            .map(|slot| (slot, decide(slot.wanted, slot.found.as_ref(), marks, content)))
            .collect();
        self.say_what_is_spared(&acts);
        let writes: Vec<BoxFuture<'_, _>> = acts
            .into_iter()
            .map(|(slot, act)| async move { (slot, slot.act(act, marks, content).await) }.boxed())
            .collect();
        let written: Vec<_> = stream::iter(writes).buffer_unordered(WRITERS).collect().await;
        let mut published = Published { failures: 0, conflicts: 0 };
        for (slot, outcome) in written {
            match outcome {
                Ok(()) => {}
                Err(CallError::Conflict) => published.conflicts += 1,
                Err(error) => {
                    published.failures += 1;
                    tracing::warn!(namespace = slot.namespace, config_map = %slot.name, %error, "cannot write a bundle");
                }
            }
        }
        published
    }

    /// Says of each object that is not ours, once, that it stays as it is.
    fn say_what_is_spared(&mut self, acts: &[(&Slot, Act)]) {
        let spared = acts.iter().filter(|(_, act)| *act == Act::Spare);
        let spared: BTreeSet<String> = spared.filter_map(|(slot, _)| slot.namespace.clone()).collect();
        for namespace in spared.difference(&self.spared) {
            tracing::warn!(
                %namespace,
                config_map = %self.config_map,
                "the ConfigMap is not Herald's and stays as it is: producers here do not get the CA"
            );
        }
        self.spared = spared;
    }

    /// How many failures that was: what is refused for good is none.
    async fn publish_trust(&mut self, slot: Slot, marks: &Marks, content: &Value) -> usize {
        let act = decide(slot.wanted, slot.found.as_ref(), marks, content);
        if act == Act::Spare {
            self.refuse(format!("{} is not Herald's", slot.name));
            return 0;
        }
        match slot.act(act, marks, content).await {
            Ok(()) => {
                self.refused = None;
                0
            }
            Err(error) => self.trust_failure(&error),
        }
    }

    fn trust_failure(&mut self, error: &CallError) -> usize {
        if error.is_refusal() {
            self.refuse(error.to_string());
            return 0;
        }
        tracing::warn!(%error, "cannot write the ClusterTrustBundle");
        1
    }

    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            tracing::info!(why, "there is no ClusterTrustBundle; the ConfigMaps hold the same");
            self.refused = Some(why);
        }
    }
}
