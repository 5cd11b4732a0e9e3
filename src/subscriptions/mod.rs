//! Who wants what: this process's view of the cluster.
//!
//! ```text
//! Webhooks ─────────── watch ─> Subscriptions ─> matching(namespace, type)   for ingest
//!                                     ^      └─> view(uid), gone()           for dispatch
//! Secrets, ConfigMaps ─ watch ─> Materials ─> resolve(spec)                  for the controller too
//! ```
//!
//! **Guarantees.** A [`View`] holds one resourceVersion of one Webhook, so
//! that what is decided from it never mixes two states. A watch that breaks is
//! begun again and the view catches up; an object that cannot be read is shown
//! as such and disturbs no other.
//!
//! **Does not promise.** The view is as new as what the watches have brought.
//! [`Subscriptions::age`] tells how long ago the API server last said anything
//! on the one of them that has been silent for longest.

mod changes;
mod freshness;
mod materials;
mod namespaces;
mod table;
mod view;
mod watch;

pub use changes::Changes;
pub use materials::{Credentials, Materials, Problem};
pub use namespaces::{Namespaces, ObjectName, Scope};
pub use table::Subscriptions;
#[cfg(test)]
pub(crate) use view::samples;
pub use view::{Known, Proof, Reported, Standing, Unreadable, View};
pub(crate) use watch::{Change, follow};
