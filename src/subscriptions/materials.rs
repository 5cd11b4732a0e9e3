//! The Secrets and `ConfigMap`s that agree to be used by webhooks.
//!
//! ```text
//! watch with the consent label ─> Materials ─ resolve(namespace, spec) ─> Credentials | Problem
//! ```
//!
//! Webhooks that name the same object share what was parsed of it; what is too
//! large for its use is not kept.
//!
//! Herald lists and watches only what carries the label, so nobody can have
//! any other Secret of a namespace sent to a server of theirs, and a cluster
//! full of unrelated Secrets costs nothing. From here, a Secret without the
//! label does not exist; who can ask the API server may tell the two apart.

mod stored;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::HeaderValue;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::stored::{StoredConfigMap, StoredSecret};
use super::changes::{Announcer, Changes};
use super::freshness::Freshness;
use super::watch::{Change, follow};
use super::{Namespaces, ObjectName};
use crate::api::{CONSENT_LABEL, CONSENT_SELECTOR, Reason, WebhookSpec};
use crate::outbound::{SigningKeys, TlsSettings};

/// What a webhook's requests carry and how its endpoint is checked.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The API key, marked as sensitive.
    pub api_key: HeaderValue,
    /// The keys to sign with, if the webhook has a signing secret.
    pub signing: Option<SigningKeys>,
    /// The webhook's CA and client certificate.
    pub tls: TlsSettings,
}

/// Why a webhook has no credentials, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// One word.
    pub reason: Reason,
    /// What to do.
    pub message: String,
    /// What is missing, if that is the problem: it may exist without the label.
    pub missing: Option<ObjectName>,
}

/// The labelled Secrets and `ConfigMap`s. Clones share one store.
#[derive(Clone, Debug)]
pub struct Materials(Arc<Store>);

#[derive(Debug)]
struct Store {
    secrets: RwLock<HashMap<ObjectName, Arc<StoredSecret>>>,
    config_maps: RwLock<HashMap<ObjectName, Arc<StoredConfigMap>>>,
    changed: Announcer<ObjectName>,
    lists_awaited: watch::Sender<usize>,
    of_secrets: Freshness,
    of_config_maps: Freshness,
}

impl Materials {
    /// An empty store, to be filled by [`Self::run`].
    pub fn new(namespaces: &Namespaces) -> Self {
        Self(Arc::new(Store {
            secrets: RwLock::default(),
            config_maps: RwLock::default(),
            changed: Announcer::default(),
            lists_awaited: watch::Sender::new(2 * namespaces.scopes().len()),
            of_secrets: Freshness::new(namespaces.scopes()),
            of_config_maps: Freshness::new(namespaces.scopes()),
        }))
    }

    /// Keeps the store as the API server's until `shutdown`.
    pub async fn run(self, client: Client, shutdown: CancellationToken) {
        let mut watches = JoinSet::new();
        let consenting = watcher::Config::default().labels(CONSENT_SELECTOR);
        for watched in self.0.of_secrets.watches() {
            let store = self.clone();
            let apply = move |change| store.secret(change);
            watches.spawn(follow(watched.api(&client), consenting.clone(), apply, shutdown.clone()));
        }
        for watched in self.0.of_config_maps.watches() {
            let store = self.clone();
            let apply = move |change| store.config_map(change);
            watches.spawn(follow(watched.api(&client), consenting.clone(), apply, shutdown.clone()));
        }
        watches.join_all().await;
    }

    /// Waits until everything that exists has been seen.
    pub async fn ready(&self) {
        // The sender lives in `self`, so this ends only when the lists are in.
        let _ = self.0.lists_awaited.subscribe().wait_for(|awaited| *awaited == 0).await;
    }

    /// Whether everything that exists has been seen.
    pub fn is_ready(&self) -> bool {
        *self.0.lists_awaited.borrow() == 0
    }

    /// How long ago the API server last confirmed both kinds in this namespace.
    pub(super) fn age(&self, namespace: &str, now: Instant) -> Duration {
        self.0.of_secrets.age(namespace, now).max(self.0.of_config_maps.age(namespace, now))
    }

    /// The same, where it is longest.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        self.0.of_secrets.oldest(now).max(self.0.of_config_maps.oldest(now))
    }

    /// The objects that come, change and go from now on.
    pub fn changes(&self) -> Changes<ObjectName> {
        self.0.changed.subscribe()
    }

    /// Everything that the webhook's spec refers to.
    ///
    /// # Errors
    /// The first thing that is missing or cannot be used.
    pub fn resolve(&self, namespace: &str, spec: &WebhookSpec) -> Result<Credentials, Problem> {
        let reference = &spec.api_key_secret_ref;
        let api_key = self.secret_named(namespace, &reference.name)?.api_key(reference)?;
        let signing = match &spec.signing_secret_ref {
            Some(reference) => Some(self.secret_named(namespace, &reference.name)?.signing_keys(reference)?),
            None => None,
        };
        Ok(Credentials { api_key, signing, tls: self.tls_settings(namespace, spec)? })
    }

    /// What the challenge needs: it carries no secret, so that a missing API
    /// key does not keep an endpoint from proving itself.
    ///
    /// # Errors
    /// The CA or the client certificate is missing or cannot be used.
    pub fn tls_settings(&self, namespace: &str, spec: &WebhookSpec) -> Result<TlsSettings, Problem> {
        let Some(tls) = &spec.tls else {
            return Ok(TlsSettings::default());
        };
        let ca = match &tls.ca_config_map_ref {
            Some(reference) => {
                let config_map = self.config_map_named(namespace, &reference.name)?;
                Some(config_map.authorities(&reference.name, &reference.key)?)
            }
            None => None,
        };
        let client = match &tls.client_certificate_secret_ref {
            Some(reference) => {
                let secret = self.secret_named(namespace, &reference.name)?;
                Some(secret.client_certificate(&reference.name)?)
            }
            None => None,
        };
        Ok(TlsSettings::new(ca, client))
    }

    fn secret_named(&self, namespace: &str, name: &str) -> Result<Arc<StoredSecret>, Problem> {
        let object = ObjectName::new(namespace, name);
        let secrets = self.0.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.get(&object).cloned().ok_or_else(|| missing(Reason::SecretMissing, "Secret", object))
    }

    fn config_map_named(&self, namespace: &str, name: &str) -> Result<Arc<StoredConfigMap>, Problem> {
        let object = ObjectName::new(namespace, name);
        let config_maps = self.0.config_maps.read().unwrap_or_else(PoisonError::into_inner);
        config_maps.get(&object).cloned().ok_or_else(|| missing(Reason::CaUnusable, "ConfigMap", object))
    }

    pub(super) fn secret(&self, change: Change<Secret>) {
        self.store(&self.0.secrets, change, |secret| StoredSecret::new(secret.data.unwrap_or_default()));
    }

    pub(super) fn config_map(&self, change: Change<ConfigMap>) {
        self.store(&self.0.config_maps, change, |config_map| {
            StoredConfigMap::new(config_map.data.unwrap_or_default())
        });
    }

    fn store<K: kube::Resource, V: PartialEq>(
        &self,
        kept: &RwLock<HashMap<ObjectName, Arc<V>>>,
        change: Change<K>,
        data: impl FnOnce(K) -> V,
    ) {
        let name = match change {
            Change::Applied(object) => {
                let name = ObjectName::of(&object);
                let data = data(object);
                let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
                if kept.get(&name).is_some_and(|known| **known == data) {
                    return;
                }
                kept.insert(name.clone(), Arc::new(data));
                name
            }
            Change::Removed(name) => {
                kept.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
                name
            }
            Change::Listed => {
                self.0.lists_awaited.send_modify(|awaited| *awaited = awaited.saturating_sub(1));
                return;
            }
        };
        self.0.changed.announce(&name);
    }
}

/// No object of this name consents.
fn missing(reason: Reason, kind: &str, object: ObjectName) -> Problem {
    let ObjectName { namespace, name } = &object;
    let message = format!(
        "there is no {kind} {name:?} with the label {CONSENT_LABEL}=true in this namespace; create it, or label it: \
         kubectl label {} -n {namespace} {name} {CONSENT_LABEL}=true",
        kind.to_lowercase()
    );
    Problem { reason, message, missing: Some(object) }
}

#[cfg(test)]
mod tests;
