//! What another journal had, written into the log.
//!
//! ```text
//! letters ──> stream of dead letters ─┐
//! events ─────────────────────────────┴─> known? ── no ──> appended, with where each delivery stood ──> read
//! ```
//!
//! One message says of an event what waits, since when and for when, and what was given up: so
//! no dispatcher can take up a part of it. It is no member of the dispatchers, and runs no lane.
//!
//! **Guarantees.** What was answered is in the log and was read there. To write the same once more
//! changes nothing, for as long as its ids are known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::append::{message, most_body};
use super::core::Core;
use super::layout::lay_out;
use super::publish::{PublishError, publish_all};
use super::streams::{Found, OpenError};
use super::wire::{Before, Indexed, Standing};
use super::{Config, connect, dead, tail};
use crate::journal::DeadLetter;
use crate::journal::import::{Left, Moved};
use crate::journal::record::{event_length, short_hash};
use crate::model::{Clock, Event, EventKey, Timestamp, WebhookUid};

/// How long a write that failed is tried again.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long it is waited between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// Letters that are written at one time.
const LETTERS: usize = 32;

/// Why something was not written, or may not be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The stream refuses it, or nobody answers.
    #[error("it cannot be written to NATS: {0}")]
    Refused(#[from] PublishError),
    /// There is no room in the memory of the dispatchers.
    #[error("{0} deliveries wait on NATS already, more than dispatchers have room for")]
    Full(u64),
    /// A part of the log went before it was read here, or it ended.
    #[error("the log on NATS was not read to its end; run it again")]
    Behind,
}

/// See the module.
pub struct Import {
    core: Arc<Core>,
    /// It reads the log for as long as this is there.
    _tail: JoinSet<()>,
}

impl Import {
    /// Connects, makes streams where there are none, and begins to read the log. Streams that
    /// there are stay as they are.
    ///
    /// # Errors
    /// The servers cannot be reached, or a stream cannot be made or is not as it has to be.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, OpenError> {
        let (core, _, until) = connect(config, clock, Found::Leave).await?;
        let mut tail = JoinSet::new();
        tail.spawn(tail::run(Arc::clone(&core), core.log.stream().clone(), until));
        Ok(Self { core, _tail: tail })
    }

    /// Waits until the log was read to where it ended.
    ///
    /// # Errors
    /// A part of it went before.
    pub async fn ready(&self) -> Result<(), WriteError> {
        self.core
            .shutdown
            .run_until_cancelled(self.core.when(Core::is_connected))
            .await
            .ok_or(WriteError::Behind)
    }

    /// The time on the journal's clock.
    pub fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Writes events of one namespace, of which all or none have deliveries that wait; whether
    /// each was there before. Times are by this journal's clock.
    ///
    /// # Errors
    /// Some of them may not be written.
    pub async fn put(&self, namespace: &str, events: Vec<Moved>) -> Result<Vec<bool>, WriteError> {
        let there: Vec<bool> = {
            let inner = self.core.lock();
            let waiting = inner.fold.deliveries();
            if waiting > self.core.config.max_deliveries {
                return Err(WriteError::Full(waiting));
            }
            events.iter().map(|event| inner.fold.knows(namespace, &event.key)).collect()
        };
        let new = events.into_iter().zip(&there).filter(|(_, there)| !**there);
        let (mut indexed, mut bodies) = (Vec::new(), Vec::new());
        for (event, _) in new {
            let waits = event.waits();
            indexed.push(self.index(&event).await?);
            bodies.extend(waits.then_some(event.event));
        }
        self.append(namespace, &indexed, &bodies).await?;
        Ok(there)
    }

    /// Has ids known, of events that have ended; how many were not before.
    ///
    /// # Errors
    /// Some of them may not be written.
    pub async fn put_ids(&self, namespace: &str, ids: &[EventKey]) -> Result<usize, WriteError> {
        let new: Vec<_> = {
            let inner = self.core.lock();
            let new = ids.iter().filter(|key| !inner.fold.knows(namespace, key));
            new.map(|key| Indexed { key: *key, user: 0, size: 0, webhooks: Vec::new(), before: None })
                .collect()
        };
        self.append(namespace, &new, &[]).await?;
        Ok(new.len())
    }

    /// Stores the letters of an event, and says of all its deliveries where they stand.
    async fn index(&self, event: &Moved) -> Result<Indexed, WriteError> {
        let standings = event.deliveries.iter().map(|(webhook, left)| async move {
            match left {
                Left::Waits { failures, at } => Ok(Standing::Waits { failures: *failures, at: *at }),
                Left::Dead(letter) => self.keep(*webhook, letter).await,
            }
        });
        let deliveries = futures::stream::iter(standings).buffered(LETTERS).try_collect().await?;
        // What is only kept as a letter has no body in the log.
        let size = if event.waits() { event_length(&event.event) } else { 0 };
        Ok(Indexed {
            key: event.key,
            user: short_hash(&event.event.subject),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            webhooks: event.deliveries.iter().map(|(webhook, _)| *webhook).collect(),
            before: Some(Before { accepted_at: event.accepted_at, deliveries }),
        })
    }

    async fn keep(&self, webhook: WebhookUid, letter: &DeadLetter) -> Result<Standing, WriteError> {
        let kept = persist(async || dead::keep(&self.core, webhook, letter).await).await?;
        Ok(kept.standing())
    }

    async fn append(
        &self,
        namespace: &str,
        indexed: &[Indexed],
        bodies: &[Arc<Event>],
    ) -> Result<(), WriteError> {
        if indexed.is_empty() {
            return Ok(());
        }
        let now = self.core.clock.now();
        let plan = lay_out(indexed, now, most_body(&self.core));
        let messages: Vec<_> = plan
            .into_iter()
            .map(|(index, places)| {
                message(&self.core, namespace, &index, bodies.get(places).unwrap_or_default())
            })
            .collect();
        // Of what is written twice, the second counts for nobody.
        let last = persist(async || publish_all(&self.core.client, messages.clone()).await).await?;
        let (answer, read) = oneshot::channel();
        self.core.lock().when_read(last, answer);
        let read = self.core.shutdown.run_until_cancelled(read).await;
        let known = |event: &Indexed| self.core.lock().fold.knows(namespace, &event.key);
        if matches!(read, Some(Ok(_))) && indexed.iter().all(known) {
            Ok(())
        } else {
            Err(WriteError::Behind)
        }
    }
}

/// Writes again what was not written, or may not be.
async fn persist<T>(mut write: impl AsyncFnMut() -> Result<T, PublishError>) -> Result<T, PublishError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match write().await {
            Ok(written) => return Ok(written),
            Err(error @ PublishError::Full(_)) => return Err(error),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(PublishError::Superseded | PublishError::NotStored(_) | PublishError::Unknown) => {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
