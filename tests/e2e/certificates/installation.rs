//! One installation's certificates, in namespaces of its own.

use std::time::Duration;

use herald::certificates::{Config, Keeper, Lifetimes, Metrics, ServingNames};
use herald::model::Clock;
use herald::subscriptions::Namespaces;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::objects::{label_producer, until_there};
use crate::support::{Cluster, DEADLINE, Namespace};

/// The name that every serving certificate here is for.
pub const HOST: &str = "herald.test";

/// An installation: where it runs, and one producer's namespace.
pub struct Installation {
    pub cluster: Cluster,
    pub own: Namespace,
    pub producer: Namespace,
    pub config: Config,
}

impl Installation {
    /// For the whole cluster.
    pub async fn of_the_cluster() -> Self {
        Self::new(|_, _| Namespaces::default()).await
    }

    /// For the producer's namespace alone.
    pub async fn of_one_namespace() -> Self {
        Self::new(|_, producer| Namespaces::new(vec![producer.name().to_owned()])).await
    }

    async fn new(namespaces: impl FnOnce(&Namespace, &Namespace) -> Namespaces) -> Self {
        let cluster = Cluster::connect().await;
        let (own, producer) = (cluster.namespace("herald").await, cluster.namespace("producer").await);
        label_producer(&cluster, producer.name(), true).await;
        let config = Config {
            own_namespace: own.name().to_owned(),
            namespaces: namespaces(&own, &producer),
            // Others' producers are in the same cluster.
            name: format!("herald-{:08x}", rand::random::<u32>()),
            names: ServingNames::new([HOST]).unwrap(),
            lifetimes: Lifetimes::default(),
            owner: None,
            cluster_trust_bundle: true,
            clock: Clock::default(),
        };
        Self { cluster, own, producer, config }
    }

    pub fn keeper(&self) -> Keeper {
        self.keeper_as(self.cluster.client())
    }

    pub fn keeper_as(&self, client: Client) -> Keeper {
        Keeper::new(client, self.config.clone(), Metrics::default())
    }

    /// Keeps everything up to date until it is dropped.
    pub fn start(&self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(self.keeper().run(CancellationToken::new())))
    }

    pub fn ca_name(&self) -> String {
        format!("{}-ca", self.config.name)
    }

    pub fn tls_name(&self) -> String {
        format!("{}-tls", self.config.name)
    }

    /// Waits for what holds the CAs.
    pub async fn ca(&self, wanted: impl Fn(&Secret) -> bool) -> Secret {
        until_there(&self.own.api(), &self.ca_name(), wanted).await
    }

    /// Waits for what is served.
    pub async fn tls(&self, wanted: impl Fn(&Secret) -> bool) -> Secret {
        until_there(&self.own.api(), &self.tls_name(), wanted).await
    }
}

impl Drop for Installation {
    /// What is of no namespace does not go with one. As [`Namespace`] does it.
    fn drop(&mut self) {
        let (config, own) = (self.cluster.config(), self.own.name().to_owned());
        let delete = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let bundles = Api::<ClusterTrustBundle>::all(Client::try_from(config)?);
                let ours = ListParams::default().labels(&format!("herald.dev/installation={own}"));
                timeout(DEADLINE, bundles.delete_collection(&DeleteParams::default(), &ours)).await??;
                anyhow::Ok(())
            })
        };
        drop(std::thread::spawn(delete).join());
    }
}

/// Rounds until one brings everything up to date. In a cluster that tests share,
/// another's namespace may go away while its bundle is written.
pub async fn settle(keeper: &mut Keeper) {
    let mut last = None;
    let settled = async {
        let mut rounds = interval(Duration::from_millis(20));
        loop {
            rounds.tick().await;
            match keeper.round().await {
                Ok(_) => return,
                Err(error) => last = Some(error),
            }
        }
    };
    let in_time = timeout(DEADLINE, settled).await.is_ok();
    assert!(in_time, "not settled after {DEADLINE:?}: {last:?}");
}
