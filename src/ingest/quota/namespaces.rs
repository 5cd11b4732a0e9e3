//! Brings the annotations of the Namespaces that are served.
//!
//! Of a whole cluster they are watched. Where some are named, each is read again
//! and again: a Role in a namespace can grant `get` on the Namespace itself, so
//! that no right beyond the namespace is needed, but no watch of it alone.
//!
//! Until they are known, and where they cannot be read, the flags hold.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Quotas;
use super::annotations::Overrides;
use crate::subscriptions::{Change, Namespaces, Scope, follow};

/// How often a namespace that is named is read.
const READ_EVERY: Duration = Duration::from_secs(15);
/// For one read.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Until `shutdown`.
pub async fn run(quotas: Quotas, client: Client, namespaces: Namespaces, shutdown: CancellationToken) {
    let scopes = namespaces.scopes();
    let each = scopes.iter().map(|scope| async {
        match scope {
            Scope::Cluster => watch(&quotas, &client, shutdown.clone()).await,
            Scope::Namespace(name) => {
                shutdown.run_until_cancelled(read(&quotas, &client, name)).await;
            }
        }
    });
    join_all(each).await;
}

async fn watch(quotas: &Quotas, client: &Client, shutdown: CancellationToken) {
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let apply = |change: Change<PartialObjectMeta<Namespace>>| match change {
        Change::Applied(namespace) => set(quotas, &namespace.metadata),
        Change::Removed(name) => quotas.set(&name.name, None),
        Change::Listed => {}
    };
    follow(namespaces, watcher::Config::default(), apply, shutdown).await;
}

async fn read(quotas: &Quotas, client: &Client, name: &str) {
    let namespaces = Api::<Namespace>::all(client.clone());
    let mut reads = interval(READ_EVERY);
    reads.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        reads.tick().await;
        let failure = match timeout(READ_WITHIN, namespaces.get_metadata_opt(name)).await {
            Ok(Ok(Some(namespace))) => {
                set(quotas, &namespace.metadata);
                None
            }
            Ok(Ok(None)) => {
                quotas.set(name, None);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        // Once, and not with every read.
        if let Some(error) = failure.as_ref().filter(|_| !failing) {
            tracing::warn!(
                namespace = name,
                error,
                "cannot read the quotas of a namespace; what is known holds"
            );
        }
        failing = failure.is_some();
    }
}

fn set(quotas: &Quotas, namespace: &ObjectMeta) {
    let Some(name) = &namespace.name else { return };
    quotas.set(name, namespace.annotations.as_ref().map(Overrides::read));
}
