//! Herald's own CA, and the serving certificate of ingestion that it signs.
//!
//! ```text
//! Secret NAME-ca ── signs ──> Secret NAME-tls ── mounted ──> ingestion
//!    │ certificates                                              ^ TLS, trusting the bundle
//!    └──> ConfigMap NAME-ca in every producer's namespace ── mounted ──> producers
//!    └──> ClusterTrustBundle, where there is such a kind
//! ```
//!
//! **Guarantees.** A CA is stored before it is in a bundle, and is in every
//! bundle for a lead before it signs; it stays there until it ends itself, so
//! after everything that it has signed. A producer that reads its bundle once a
//! lead never meets a certificate that it does not trust, as long as the
//! Secrets are not lost or broken: then a new CA signs at once. Replicas that
//! act at the same time agree, since every write is over a version that was
//! decided on. What is not Herald's is left alone. No private key is logged.
//!
//! **Assumes.** Mounted files follow their Secret and their `ConfigMap` within
//! a lead, and within a third of a certificate's lifetime.
//!
//! **Does not do.** It serves no certificate itself, and revokes none.

mod authorities;
mod authority;
mod bundle;
mod call;
mod certificate;
mod decide;
mod keeper;
mod lifetimes;
mod marks;
mod metrics;
mod names;
mod places;
mod publisher;
mod run;
mod secrets;
mod serving;
mod settle;
mod trust_bundle;

pub use self::keeper::{Keeper, RoundError};
pub use self::lifetimes::{Lifetimes, LifetimesError};
pub use self::metrics::Metrics;
pub use self::names::{NamesError, ServingNames};

use crate::model::Clock;
use crate::subscriptions::Namespaces;

/// What is kept, and for whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Herald runs, and its Secrets are.
    pub own_namespace: String,
    /// The namespaces among which producers are looked for.
    pub namespaces: Namespaces,
    /// What the names of all objects begin with.
    pub name: String,
    /// What the serving certificate is for.
    pub names: ServingNames,
    /// How long certificates live.
    pub lifetimes: Lifetimes,
    /// The `ClusterRole` with which everything goes.
    pub owner: Option<String>,
    /// Whether to keep a `ClusterTrustBundle`, which takes rights beyond any namespace.
    pub cluster_trust_bundle: bool,
    /// Tells the time.
    pub clock: Clock,
}

impl Config {
    /// Of the Secret that holds the CAs, and of the `ConfigMap` that publishes them.
    fn ca_name(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// Of the Secret that ingestion serves.
    fn tls_name(&self) -> String {
        format!("{}-tls", self.name)
    }
}
