//! One round: looks at everything, and brings everything up to date.
//!
//! ```text
//! look at bundles, then at NAME-tls, then at NAME-ca ─> decide ─> NAME-ca ─> bundles ─> NAME-tls
//! ```
//!
//! Looked at in the reverse order of writing: whoever sees an old NAME-ca has
//! seen older bundles too, and its writes over them are refused.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;

use super::Config;
use super::authorities::Authorities;
use super::call::CallError;
use super::marks::Marks;
use super::metrics::{Metrics, Which};
use super::publisher::Publisher;
use super::secrets::Kept;
use super::serving::{self, Served, Verdict};
use crate::model::Timestamp;

/// How often a conflict is answered by deciding again at once.
const ATTEMPTS: usize = 5;

/// Why a round did not bring everything up to date.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// Others wrote all the time.
    #[error("the objects changed under each of {ATTEMPTS} decisions")]
    Conflicts,
    /// Nothing may be made without its owner.
    #[error("the ClusterRole {0}, which is to own what is made, cannot be read: {1}")]
    Owner(String, String),
    /// A Secret cannot be read or written.
    #[error("the Secret {0}: {1}")]
    Secret(String, String),
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Making(#[from] rcgen::Error),
    /// The decisions have no end.
    #[error("the CAs come to no rest")]
    Restless,
    /// Some bundles are not as they should be; all else is.
    #[error("{0} of the bundles could not be looked at or written")]
    Bundles(usize),
}

/// Keeps CA, serving certificate and bundles.
#[derive(Clone)]
pub struct Keeper {
    pub(super) client: Client,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) publisher: Publisher,
    pub(super) ca: Kept,
    serving: Kept,
}

impl Keeper {
    /// Does nothing yet.
    pub fn new(client: Client, config: Config, metrics: Metrics) -> Self {
        let own = &config.own_namespace;
        Self {
            publisher: Publisher::new(client.clone(), &config),
            ca: Kept::new(&client, own, config.ca_name(), "Opaque"),
            serving: Kept::new(&client, own, config.tls_name(), "kubernetes.io/tls"),
            client,
            config,
            metrics,
        }
    }

    /// Brings everything up to date, and says when there is something to do again.
    ///
    /// # Errors
    /// Not everything could be; the next round goes on from there.
    pub async fn round(&mut self) -> Result<Timestamp, RoundError> {
        for _ in 0..ATTEMPTS {
            match self.attempt().await {
                Err(RoundError::Conflicts) => {}
                Ok(due) => return Ok(due),
                Err(error) => {
                    self.metrics.failed();
                    return Err(error);
                }
            }
        }
        self.metrics.failed();
        Err(RoundError::Conflicts)
    }

    async fn attempt(&mut self) -> Result<Timestamp, RoundError> {
        let marks = self.marks().await?;
        let looked = self.publisher.look().await;
        let served = self.serving.get().await.map_err(|error| self.tls_failed(&error))?;
        let (mut authorities, stored, due) = self.settle(&marks).await?;
        let bundle = authorities.bundle();
        let published = self.publisher.publish(looked, &marks, &bundle).await;
        let renewal = self.serve(served, &authorities, &bundle, &marks).await?;
        if published.conflicts > 0 {
            return Err(RoundError::Conflicts);
        }
        if published.failures > 0 {
            return Err(RoundError::Bundles(published.failures));
        }
        let now = self.config.clock.now();
        if authorities.is_next_published(now) {
            return Ok(due.min(renewal));
        }
        authorities.published(now);
        self.ca
            .store(Some(stored), authorities.data(), &marks)
            .await
            .map_err(|error| self.ca_failed(&error))?;
        let signs = now.after(self.config.lifetimes.lead());
        tracing::info!(certificate = %self.config.name, %signs, "the next CA is in every bundle");
        Ok(due.min(renewal).min(signs))
    }

    async fn marks(&self) -> Result<Marks, RoundError> {
        let marks = Marks::new(&self.config.own_namespace);
        match &self.config.owner {
            None => Ok(marks),
            Some(owner) => marks
                .owned_by(&self.client, owner)
                .await
                .map_err(|error| RoundError::Owner(owner.clone(), error.to_string())),
        }
    }

    /// Signs if it is time; says when it will be.
    async fn serve(
        &self,
        stored: Option<Secret>,
        authorities: &Authorities,
        bundle: &str,
        marks: &Marks,
    ) -> Result<Timestamp, RoundError> {
        let Config { names, lifetimes, clock, name, .. } = &self.config;
        let Some(ca) = authorities.signing() else { return Err(RoundError::Restless) };
        let now = clock.now();
        let data = stored.as_ref().and_then(|secret| secret.data.as_ref());
        let served = Served::read(data, names, ca.certificate());
        let verdict = serving::decide(served, ca.certificate().validity, lifetimes, now);
        let (data, until, due, why) = match (verdict, served) {
            (Verdict::Keep(due), Ok(served)) => {
                (serving::with_bundle(data, bundle), served.validity.until, due, None)
            }
            (Verdict::Keep(_), Err(why)) | (Verdict::Sign(why), _) => {
                let pair = ca.sign(names, lifetimes, now)?;
                let validity = pair.certificate.validity;
                (serving::data(&pair, bundle), validity.until, validity.last_third(), Some(why))
            }
        };
        self.serving.store(stored, data, marks).await.map_err(|error| self.tls_failed(&error))?;
        self.metrics.ends(Which::Serving, until);
        if let Some(why) = why {
            self.metrics.issued(Which::Serving);
            tracing::info!(certificate = %name, %names, %until, %why, "a serving certificate was signed");
        }
        Ok(due)
    }

    pub(super) fn ca_failed(&self, error: &CallError) -> RoundError {
        failed(self.config.ca_name(), error)
    }

    fn tls_failed(&self, error: &CallError) -> RoundError {
        failed(self.config.tls_name(), error)
    }
}

/// A Secret could not be read or written.
fn failed(secret: String, error: &CallError) -> RoundError {
    if matches!(error, CallError::Conflict) {
        RoundError::Conflicts
    } else {
        RoundError::Secret(secret, error.to_string())
    }
}
