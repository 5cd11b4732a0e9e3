//! All that a stopped journal has, for who takes it elsewhere.
//!
//! ```text
//! order, ready, dead ── what is left of which event ──> by the event's number ──> Moved, oldest first
//! seen ── what still counts ──> ids                     history ──> names of namespaces
//! ```
//!
//! **Guarantees.** It holds the directory's lock, and writes nothing but what opening repairs.
//!
//! **Bounds.** Memory: about 50 bytes for each delivery and dead letter.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::history::History;
use super::keys;
use super::open::{self, Opened};
use super::order::{self, AT_ONCE};
use super::record::{self, Ticket};
use super::seen::Seen;
use super::store::{Store, StoreError};
use super::{Config, OpenError};
use crate::journal::clock::JournalClock;
use crate::journal::import::{Left, Moved};
use crate::journal::inspect::LetterId;
use crate::journal::limits::Bounds;
use crate::journal::metrics::Metrics;
use crate::model::{Clock, EventKey, Timestamp, WebhookUid};

/// Nothing goes because it is too old.
const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

/// See the module.
pub struct Export {
    opened: Opened,
    history: History,
    now: Timestamp,
}

/// The id of an event that may have ended.
#[derive(Clone, Copy, Debug)]
pub struct Id {
    /// What a repeat has, too.
    pub key: EventKey,
    /// A hash of its namespace.
    pub namespace: u64,
}

/// Where something stands that is left of an event.
struct Slot {
    seq: u64,
    webhook: WebhookUid,
    place: Place,
}

enum Place {
    Ready,
    Order { at: Option<Timestamp>, ticket: Ticket },
    Dead(Timestamp),
}

/// What was read of one event.
struct Read {
    event: Option<Moved>,
    /// So much that is left of it cannot be read.
    unreadable: u64,
}

impl Export {
    /// Opens the journal in a directory where no process has it.
    ///
    /// # Errors
    /// It is in use, there is none, or it cannot be read.
    pub fn open(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        let path = &config.path;
        if !path.join("FORMAT").exists() {
            return Err(OpenError::Missing { path: path.clone() });
        }
        let metrics = Metrics::default();
        let opened = open::open(config, &metrics)?;
        let now = JournalClock::new(clock, opened.counters.map(|counters| counters.now)).now();
        let history =
            Self::history(path, &metrics).map_err(|cause| OpenError::Io { path: path.clone(), cause })?;
        Ok(Self { opened, history, now })
    }

    /// With everything that there is.
    fn history(path: &Path, metrics: &Metrics) -> std::io::Result<History> {
        let all = Bounds { bytes: u64::MAX, age: FOR_EVER };
        History::open(&path.join("history"), all, all, metrics)
    }

    fn store(&self) -> &Store {
        &self.opened.store
    }

    /// The time on the journal's clock.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Every event of which something is left, in the order of acceptance. Answers with how much
    /// of what is left cannot be read.
    ///
    /// # Errors
    /// The store cannot be read; `take` says no more.
    pub fn events(&self, mut take: impl FnMut(Moved) -> bool) -> Result<u64, StoreError> {
        let mut slots = self.slots()?;
        slots.sort_unstable_by_key(|slot| (slot.seq, slot.webhook));
        let mut unreadable = 0;
        for of_event in slots.chunk_by(|one, other| one.seq == other.seq) {
            let read = self.read(of_event)?;
            unreadable += read.unreadable;
            if read.event.is_some_and(|event| !take(event)) {
                break;
            }
        }
        Ok(unreadable)
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        let store = self.store();
        let mut slots = Vec::new();
        // What is to be retried stands here as well.
        for guard in store.order.iter() {
            let (key, value) = guard.into_inner()?;
            let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
            let (at, ticket) = order::decode(&value)?;
            let at = at.filter(|at| *at != AT_ONCE);
            slots.push(Slot { seq, webhook, place: Place::Order { at, ticket } });
        }
        for guard in store.ready.iter() {
            let key = guard.key()?;
            let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
            slots.push(Slot { seq, webhook, place: Place::Ready });
        }
        for guard in store.dead.iter() {
            let key = guard.key()?;
            let (Some(webhook), seq) = (keys::webhook(&key), keys::last(&key)?) else { continue };
            let died_at = Timestamp::from_millis(keys::middle(&key)?);
            slots.push(Slot { seq, webhook, place: Place::Dead(died_at) });
        }
        Ok(slots)
    }

    fn read(&self, of_event: &[Slot]) -> Result<Read, StoreError> {
        let store = self.store();
        let seq = of_event.first().map_or(0, |slot| slot.seq);
        let shared = store.events.get(keys::seq(seq))?;
        let mut event = shared.and_then(|record| record::decode_event(&record).ok()).map(Arc::new);
        let (mut accepted_at, mut waiting, mut letters, mut unreadable) = (None, Vec::new(), Vec::new(), 0);
        for Slot { webhook, place, .. } in of_event {
            match place {
                Place::Order { at, ticket } => {
                    accepted_at = Some(ticket.accepted_at);
                    waiting.push((*webhook, Left::Waits { failures: ticket.failures, at: *at }));
                }
                Place::Ready => {
                    let Some(entry) = store.ready.get(keys::ready(*webhook, seq))? else { continue };
                    let ticket = Ticket::decode(&entry)?;
                    accepted_at = Some(ticket.accepted_at);
                    if event.is_none() && !ticket.shared {
                        event = record::decode_event(record::event_of_entry(&entry)).ok().map(Arc::new);
                    }
                    waiting.push((*webhook, Left::Waits { failures: ticket.failures, at: None }));
                }
                Place::Dead(died_at) => {
                    let Some(value) = store.dead.get(keys::timed(*webhook, *died_at, seq))? else { continue };
                    match record::decode_death(&value, LetterId::default()) {
                        Ok(letter) => letters.push((*webhook, letter)),
                        Err(_) => unreadable += 1,
                    }
                }
            }
        }
        let of_letter = letters.first().map(|(_, letter)| (Arc::clone(&letter.event), letter.accepted_at));
        let (letter_event, letter_time) = of_letter.unzip();
        let Some((event, accepted_at)) = event.or(letter_event).zip(accepted_at.or(letter_time)) else {
            let unreadable = unreadable + waiting.len() as u64;
            return Ok(Read { event: None, unreadable });
        };
        let dead = letters.into_iter().map(|(webhook, letter)| (webhook, Left::Dead(letter)));
        let deliveries = waiting.into_iter().chain(dead).collect();
        Ok(Read {
            event: Some(Moved { number: seq, key: event.key(), event, accepted_at, deliveries }),
            unreadable,
        })
    }

    /// The ids by which repeats are told from new events.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ids(&self) -> Result<Vec<Id>, StoreError> {
        let mut ids = Vec::new();
        for guard in self.store().seen.iter() {
            let (key, value) = guard.into_inner()?;
            let seen = Seen::decode(&value)?;
            if let Ok(bytes) = <[u8; 16]>::try_from(&*key)
                && self.opened.spaces.knows(&seen, self.now)
            {
                ids.push(Id { key: EventKey::from_bytes(bytes), namespace: seen.space });
            }
        }
        Ok(ids)
    }

    /// The namespaces of events that are kept for people: an id says only a hash of its own.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn namespaces(&self) -> Result<BTreeSet<String>, StoreError> {
        Ok(self.history.namespaces()?)
    }
}
