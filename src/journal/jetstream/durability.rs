//! Whether the servers have on their disks what they acknowledge.
//!
//! ```text
//! streams ── which servers keep them? ──┐
//! monitoring URLs ── every address ── how do you sync? ──┴─> verdict ──> open | refuse | warn
//! ```
//!
//! An acknowledgement of `JetStream` says that a majority has fsynced only where each server has
//! `sync_interval: always`. A client cannot see that, but the monitoring endpoint of a server says it.
//!
//! **Guarantees** that no journal is opened while a server that answers acknowledges before it syncs,
//! and none before a majority of the servers of each stream has said that it does not.
//!
//! **Assumes** that the endpoints are those of the servers: they are told apart by their names.
//!
//! **Does not do.** A server that comes back otherwise while the journal is open is counted and
//! warned of, and what it acknowledges is taken.

pub(super) mod ask;
pub(super) mod verdict;

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use reqwest::Url;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ask::Asker;
use self::verdict::{Gap, Home, Look, Syncing, Verdict, judge};
use super::config::{Config, Durability};
use super::streams::OpenError;
use crate::journal::metrics::Nats;

pub use self::verdict::Servers;

/// Between two looks at the start.
const AGAIN: Duration = Duration::from_secs(1);

/// Where servers say how they sync.
#[derive(Clone, Debug)]
pub struct Monitoring {
    /// Their monitoring endpoints. Of a name with several addresses each is asked.
    pub urls: Vec<Url>,
    /// For how long it is waited at the start for a server that does not answer.
    pub patience: Duration,
    /// How often they are asked again.
    pub every: Duration,
}

impl Monitoring {
    /// At these endpoints.
    pub const fn new(urls: Vec<Url>) -> Self {
        Self { urls, patience: Duration::from_secs(15), every: Duration::from_mins(1) }
    }
}

/// Why a journal on these servers would not keep its promise.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Somebody acknowledges before the fsync.
    #[error(
        "{0}: write `jetstream {{ sync_interval: always }}` into its configuration and start it again; \
         or let what was acknowledged be lost when the power fails, by --nats-sync-unchecked"
    )]
    Unsynced(Servers),
    /// Too few have said that they do not.
    #[error(
        "{0}: have --nats-monitoring lead to every server, by addresses or by a name that has all of them"
    )]
    Unknown(Gap),
}

/// Asks, and remembers what was said.
pub struct Checker {
    asker: Asker,
    monitoring: Monitoring,
    streams: Vec<(String, Stream<()>)>,
    replicas: usize,
    metrics: Nats,
}

impl Checker {
    /// Of these streams; `None` if nobody is to be asked.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub fn new(
        config: &Config,
        streams: Vec<(String, Stream<()>)>,
        metrics: &Nats,
    ) -> Result<Option<Self>, OpenError> {
        let monitoring = match &config.durability {
            Durability::Unchecked => return Ok(None),
            Durability::Checked(monitoring) => monitoring.clone(),
        };
        let asker = Asker::new(config.tls.authorities.as_deref())?;
        let metrics = metrics.clone();
        Ok(Some(Self { asker, monitoring, streams, replicas: config.replicas, metrics }))
    }

    /// Asks until all have answered, or some have for long enough.
    ///
    /// # Errors
    /// A server acknowledges before the fsync, or too few have answered.
    pub async fn at_start(&self) -> Result<(), Refusal> {
        let until = Instant::now() + self.monitoring.patience;
        loop {
            match self.look().await {
                Verdict::Synced => return Ok(()),
                Verdict::Unsynced(servers) => return Err(Refusal::Unsynced(servers)),
                Verdict::Unknown(gap) if Instant::now() < until => {
                    tracing::info!("{gap}; it is asked again");
                    tokio::time::sleep(AGAIN).await;
                }
                Verdict::Unknown(gap) if gap.is_minority() => {
                    tracing::warn!("{gap}; a majority has, so it is only asked on");
                    return Ok(());
                }
                Verdict::Unknown(gap) => return Err(Refusal::Unknown(gap)),
            }
        }
    }

    /// Asks on, until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut every =
            tokio::time::interval_at(Instant::now() + self.monitoring.every, self.monitoring.every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(every.tick()).await.is_some() {
            match shutdown.run_until_cancelled(self.look()).await {
                None | Some(Verdict::Synced) => {}
                Some(Verdict::Unsynced(servers)) => tracing::warn!(
                    "{servers}: what it acknowledges may be lost when its power fails; \
                     write `jetstream {{ sync_interval: always }}` into its configuration and start it again"
                ),
                Some(Verdict::Unknown(gap)) => tracing::warn!("{gap}"),
            }
        }
    }

    async fn look(&self) -> Verdict {
        let mut look = Look::default();
        for (name, stream) in &self.streams {
            let mut servers = BTreeSet::new();
            match stream.get_info().await {
                Ok(info) => {
                    let cluster = info.cluster.unwrap_or_default();
                    servers.extend(cluster.leader);
                    servers.extend(cluster.replicas.into_iter().map(|peer| peer.name));
                }
                Err(error) => look.failures.push(format!("{name}: {error}")),
            }
            look.homes.push(Home { stream: name.clone(), servers });
        }
        let asked = futures::future::join_all(self.monitoring.urls.iter().map(|url| self.asker.ask(url)));
        for answer in asked.await.into_iter().flatten() {
            match answer {
                Ok(server) => look.servers.push(server),
                Err(failure) => look.failures.push(failure),
            }
        }
        let said = look.servers.iter().filter_map(|server| match server.syncing {
            Syncing::Always => Some((server.name.as_str(), true)),
            Syncing::Every(_) => Some((server.name.as_str(), false)),
            Syncing::WithoutJetStream => None,
        });
        self.metrics.synced(said);
        judge(look, self.replicas)
    }
}
