//! The engine on NATS `JetStream`: many dispatchers, one log.
//!
//! ```text
//! append ──> one message for all that waits ──> stream LOG ──headers──> fold, in every dispatcher
//!                                                   ^                      │
//!  settle ──> outbox of the partition ── fenced ────┘                      v
//!                                                        lanes of the partitions that are run here
//! ```
//!
//! Every dispatcher reads the whole log, but only its headers: who is to be
//! sent what, and what came of it. So each has the whole state in memory, can
//! answer for any webhook, refuses repeats, and takes over a partition without
//! reading anything more. The events are in the bodies, which only who delivers
//! them reads. See `wire` for the messages, `partitions` for who may do what.
//!
//! **Guarantees** what [`crate::journal`] does, as far as the stream keeps what
//! the server acknowledged: with three replicas and `sync_interval: always`,
//! what a majority of the servers has on its disks.
//!
//! **Assumes** that nobody else writes to its subjects.
//!
//! **Bounds.** Memory: about 100 bytes for each delivery that waits, in every
//! dispatcher, [`Config::max_deliveries`] of them at most; 16 bytes for each
//! event that is known; [`Config::recent_bytes`] of events.

mod append;
mod ask;
mod bodies;
mod chores;
mod config;
mod core;
mod dead;
mod durability;
mod fold;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gauges;
mod history;
pub mod import;
mod lane;
mod layout;
mod line;
mod names;
mod partitions;
mod plan;
mod publish;
mod queue;
mod seen;
mod snapshot;
mod source;
mod streams;
mod sweep;
mod tail;
#[cfg(test)]
pub(super) mod tests;
mod wire;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::append::Appends;
use self::core::Core;
use self::durability::Checker;
use self::fold::LaneRecord;
use self::history::Waiting;
use self::names::{Names, PARTITIONS, partition};
use self::publish::{Outgoing, publish};
use self::source::{QUICK, Source};
use self::streams::Found;
use self::wire::{Change, Changes, INDEX, MOST_INDEX};
use super::calendar::Calendar;
use super::clock::JournalClock;
use super::inspect::{AttemptFilter, Cursor, Kept, KeptFilter, LetterId, Page, PendingDelivery};
use super::metrics::Metrics;
use super::{
    Append, Appended, AskError, Attempt, ClaimError, DeadLetter, Depth, Inspect, Journal, Question,
    Unavailable,
};
use crate::model::{Clock, Ordering, Timestamp, WebhookUid};

pub use config::{Config, Credentials, Durability, Tls};
pub use durability::Monitoring;
pub use lane::{JetStreamLane, JetStreamLease};
pub use streams::OpenError;

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
pub struct JetStream(Arc<Owner>);

/// Keeps the tasks; when the last handle, lane and lease is gone, so are they.
pub(super) struct Owner {
    core: Arc<Core>,
    appends: Appends,
    waiting: Arc<Waiting>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Question>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.shutdown.cancel();
        self.core.writers_end.cancel();
    }
}

impl JetStream {
    /// Connects, finds or makes the streams, and begins to read the log: until that was read to
    /// where it ended now, [`Self::is_open`] says no, and nothing is taken.
    ///
    /// # Errors
    /// The servers cannot be reached, or a stream cannot be made or is not as it has to be.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        let (core, checker, until) = connect(config, clock, Found::Change).await?;
        let (appends, calls) = append::channel();
        let waiting = Arc::new(Waiting::default());
        let (questions, asked) = mpsc::channel(ask::PLACES);
        let mut tasks = JoinSet::new();
        tasks.spawn(ask::serve(Arc::clone(&core), questions));
        tasks.spawn(tail::run(Arc::clone(&core), core.log.stream().clone(), until));
        tasks.spawn(append::run(Arc::clone(&core), calls));
        tasks.spawn(partitions::renew(Arc::clone(&core)));
        tasks.spawn(partitions::run(Arc::clone(&core)));
        tasks.spawn(gauges::run(Arc::clone(&core)));
        tasks.spawn(chores::run(Arc::clone(&core)));
        tasks.spawn(sweep::run(Arc::clone(&core)));
        tasks.spawn(history::run(Arc::clone(&core), Arc::clone(&waiting)));
        if let Some(checker) = checker {
            tasks.spawn(checker.run(core.shutdown.clone()));
        }
        for index in 0..PARTITIONS {
            tasks.spawn(writer::run(Arc::clone(&core), index));
        }
        let (asked, tasks) = (tokio::sync::Mutex::new(asked), Mutex::new(tasks));
        Ok(Self(Arc::new(Owner { core, appends, waiting, asked, tasks })))
    }

    /// What it counts, to be registered.
    pub fn metrics(&self) -> &Metrics {
        &self.0.core.metrics
    }

    /// Whether it takes and gives anything: not before the log was read, nor while NATS stores nothing.
    pub fn is_open(&self) -> bool {
        self.0.core.is_open()
    }

    /// Whether a new process would not help: a connection is made again by itself.
    pub fn is_alive(&self) -> bool {
        !self.0.core.broken.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Waits until it is open.
    pub async fn ready(&self) {
        self.0.core.when(Core::is_open).await;
    }

    /// Writes changes that anybody may make, and waits until they were read.
    async fn amend(&self, webhook: WebhookUid, changes: Vec<Change>) -> Result<(), Unavailable> {
        let core = &self.0.core;
        let piece = MOST_INDEX / Change::Dropped.weight();
        for changes in changes.chunks(piece) {
            let changes = Changes(changes.iter().map(|change| (webhook, change.clone())).collect());
            let mut headers = HeaderMap::new();
            headers.insert(INDEX, changes.encode());
            let subject = core.names.change(partition(webhook));
            let written = publish(&core.client, Outgoing { subject, headers, body: Bytes::new() }).await;
            let sequence = written.map_err(|error| Unavailable(error.to_string()))?;
            let (answer, read) = oneshot::channel();
            core.lock().when_read(sequence, answer);
            read.await.map_err(|_| core.unavailable())?;
        }
        Ok(())
    }
}

/// What the parts of the engine share, with what the last snapshot says; who goes on asking whether
/// the servers sync; and where the log ends now.
async fn connect(
    config: Config,
    clock: Clock,
    found: Found,
) -> Result<(Arc<Core>, Option<Checker>, u64), OpenError> {
    let client = streams::connect(&config).await?;
    let context = streams::context(&client);
    let names = Names::new(&config.prefix);
    let log = streams::prepare(&context, &names, &config, found).await?;
    let mut quick = context.clone();
    quick.set_timeout(QUICK);
    let source = async |name: String| {
        let streams = tokio::try_join!(context.get_stream_no_info(&name), quick.get_stream_no_info(&name));
        let (stream, quick) =
            streams.map_err(|error| OpenError::Stream { stream: name.clone(), cause: error.into() })?;
        Ok::<_, OpenError>(Source::new(client.clone(), stream, quick, &name))
    };
    let sources = [
        source(names.log()).await?,
        source(names.dead()).await?,
        source(names.attempts()).await?,
        source(names.snapshots()).await?,
    ];
    let metrics = Metrics::default();
    let [log_source, letters, _, snapshots] = &sources;
    let kept = [(names.log(), log_source), (names.dead(), letters), (names.snapshots(), snapshots)];
    let kept = kept.map(|(name, source)| (name, source.stream().clone())).into();
    let checker = Checker::new(&config, kept, &metrics.nats)?;
    if let Some(checker) = &checker {
        checker.at_start().await?;
    }
    let until = log.cached_info().state.last_sequence;
    let clock = JournalClock::new(clock, last_clock(&log, &names).await);
    let me = format!("{}-{}", names::token(&config.instance), uuid::Uuid::new_v4().simple());
    let core = Arc::new(Core::new(config, clock, client, names, me, metrics, sources));
    let unreadable =
        |error: Unavailable| OpenError::Stream { stream: core.names.snapshots(), cause: error.into() };
    let snapshot =
        snapshot::read(&core.snapshots, &core.names.snapshot_end(), core.config.limits.window).await;
    if let Some(snapshot) = snapshot.map_err(unreadable)? {
        tracing::info!(position = snapshot.position, "the journal begins with a snapshot");
        core.begin_with(snapshot);
    }
    Ok((core, checker, until))
}

/// The time on the clock of whoever wrote last that they are alive.
async fn last_clock(log: &async_nats::jetstream::stream::Stream, names: &Names) -> Option<Timestamp> {
    let message = log.direct_get_last_for_subject(names.members()).await.ok()?;
    let text = message.headers.get(tail::CLOCK)?;
    text.as_str().parse().ok().map(Timestamp::from_millis)
}

impl Journal for JetStream {
    type Lane = JetStreamLane;

    fn now(&self) -> Timestamp {
        self.0.core.clock.now()
    }

    async fn append_within(&self, batch: Vec<Append>, most: Option<u64>) -> Vec<Appended> {
        self.0.appends.append(&self.0.core, batch, most).await
    }

    fn runs(&self, webhook: WebhookUid) -> bool {
        self.0.core.lock().may_act(partition(webhook), Instant::now())
    }

    async fn ask(&self, webhook: WebhookUid, question: Bytes, patience: Duration) -> Result<Bytes, AskError> {
        ask::ask(&self.0.core, webhook, &question, patience).await
    }

    async fn asked(&self) -> Question {
        match self.0.asked.lock().await.recv().await {
            Some(question) => question,
            // It is closed.
            None => std::future::pending().await,
        }
    }

    async fn claim(&self, webhook: WebhookUid, ordering: Ordering) -> Result<JetStreamLane, ClaimError> {
        JetStreamLane::claim(Arc::clone(&self.0), webhook, ordering)
    }

    async fn unclaimed(&self) -> Vec<WebhookUid> {
        self.0.core.unclaimed().await
    }

    async fn drop_webhook(&self, webhook: WebhookUid) -> Result<(), Unavailable> {
        if !self.is_open() {
            return Err(self.0.core.unavailable());
        }
        if self.0.core.lock().fold.lane(webhook).is_none() {
            return Ok(());
        }
        self.amend(webhook, vec![Change::Dropped]).await
    }

    async fn depth(&self, webhook: WebhookUid) -> Result<Depth, Unavailable> {
        let core = &self.0.core;
        if !core.caught_up() {
            return Err(core.unavailable());
        }
        Ok(core.lock().fold.lane(webhook).map(LaneRecord::depth).unwrap_or_default())
    }

    async fn oldest(&self, webhook: WebhookUid) -> Result<Option<Timestamp>, Unavailable> {
        let core = &self.0.core;
        if !core.caught_up() {
            return Err(core.unavailable());
        }
        let inner = core.lock();
        let first = inner.fold.lane(webhook).and_then(|lane| lane.entries.first_key_value());
        Ok(first.map(|(_, entry)| entry.accepted_at))
    }

    fn note(&self, attempt: Attempt) {
        self.0.waiting.note(&self.0.core, &attempt);
    }

    async fn close(&self) -> Result<(), Unavailable> {
        let core = &self.0.core;
        partitions::leave_all(core).await;
        core.shutdown.cancel();
        core.writers_end.cancel();
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::time::timeout(CLOSE, async { while tasks.join_next().await.is_some() {} })
            .await
            .map_err(|_| Unavailable("not everything was written in time".to_owned()))
    }
}

impl Inspect for JetStream {
    fn calendar(&self) -> Calendar {
        self.0.core.calendar()
    }

    async fn pending(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PendingDelivery>, Unavailable> {
        queue::list(&self.0.core, webhook, cursor, limit).await
    }

    async fn dead_letters(
        &self,
        webhook: WebhookUid,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<DeadLetter>, Unavailable> {
        dead::list(&self.0.core, webhook, cursor, limit).await
    }

    async fn forget_dead(&self, webhook: WebhookUid, letters: Vec<LetterId>) -> Result<(), Unavailable> {
        let known = dead::known(&self.0.core, webhook, &letters);
        self.amend(webhook, known.into_iter().map(Change::Forgotten).collect()).await
    }

    async fn attempts(
        &self,
        of: AttemptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Attempt>, Unavailable> {
        self.0.waiting.store(&self.0.core).await;
        history::attempts(&self.0.core, &of, cursor, limit).await
    }

    async fn kept(
        &self,
        of: KeptFilter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Kept>, Unavailable> {
        history::kept(&self.0.core, &of, cursor, limit).await
    }
}
