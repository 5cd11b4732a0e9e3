//! A partition of the lanes: who runs it, its lanes that are claimed here, and what is to be
//! written of it.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::claims::Claims;
use crate::journal::jetstream::wire::Change;
use crate::model::WebhookUid;

/// For so long after another dispatcher's lease has ended, an attempt of a lane with an order may
/// still run: it is broken off when the lease ends, and a busy machine is late.
const LAST_ATTEMPT: Duration = Duration::from_secs(2);

/// For so long outcomes may wait for NATS before nothing more is begun.
const BEHIND: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub struct Partition {
    /// Who runs it, as the log says; `None` if it was given back, or never run.
    pub owner: Option<String>,
    /// The sequence of the message that says so: what writes of its owner depend on. 0 if none.
    pub epoch: u64,
    /// It is this dispatcher's, under this epoch.
    pub mine: Option<u64>,
    /// It is about to be given back: nothing new is leased.
    pub leaving: bool,
    /// Lanes with per-user order wait until then for attempts of who had it before.
    pub in_order_from: Option<Instant>,
    pub claims: Claims,
    outbox: Vec<(WebhookUid, Change)>,
    answers: Vec<oneshot::Sender<bool>>,
    /// Since when somebody writes what was in the outbox.
    writing: Option<Instant>,
    /// How many times it was lost: what was to be written before then is not.
    term: u64,
    pub wake: Arc<Notify>,
}

/// What the log says of who runs a partition, for who reads it.
pub enum Owned {
    /// Nothing is otherwise than before.
    AsBefore,
    /// It is this dispatcher's from now on; whether another had not given it back.
    Won { from_another: bool },
    /// It is another's.
    Lost,
}

/// What a partition's writer takes at a time.
pub struct Outgoing {
    pub term: u64,
    pub changes: Vec<(WebhookUid, Change)>,
    pub answers: Vec<oneshot::Sender<bool>>,
}

impl Partition {
    /// The log says who runs it from now on; whether that is this dispatcher.
    pub fn own(&mut self, epoch: u64, owner: Option<&str>, mine: bool) -> Owned {
        let before = mem::replace(&mut self.owner, owner.map(str::to_owned));
        self.epoch = epoch;
        match (self.mine, mine) {
            (None, false) => Owned::AsBefore,
            (Some(_), true) => {
                self.mine = Some(epoch);
                Owned::AsBefore
            }
            (Some(_), false) => Owned::Lost,
            // All that the last owner wrote was read by now.
            (None, true) => {
                self.mine = Some(epoch);
                self.leaving = false;
                // It was not given back: its owner may be late to break off what runs.
                self.in_order_from = before.as_ref().map(|_| Instant::now() + LAST_ATTEMPT);
                Owned::Won { from_another: before.is_some_and(|before| Some(before.as_str()) != owner) }
            }
        }
    }

    /// It is this dispatcher's no more: its lanes are lost, and what was to be written, which is
    /// the answer.
    pub fn lose(&mut self) -> Vec<(WebhookUid, Change)> {
        self.mine = None;
        self.leaving = false;
        self.term += 1;
        self.answers.clear();
        self.wake.notify_one();
        self.claims.lose();
        mem::take(&mut self.outbox)
    }

    /// A change is to be written, after those before it.
    pub fn send(&mut self, webhook: WebhookUid, change: Change) {
        self.outbox.push((webhook, change));
        self.wake.notify_one();
    }

    /// As [`Self::send`]; answers when it was written and read, and not at all if it was not.
    pub fn send_and_wait(&mut self, webhook: WebhookUid, change: Change) -> oneshot::Receiver<bool> {
        let (answer, written) = oneshot::channel();
        self.answers.push(answer);
        self.send(webhook, change);
        written
    }

    /// What is to be written; `None` if there is nothing, or it is another's.
    pub fn take_outbox(&mut self, most: usize) -> Option<Outgoing> {
        self.mine?;
        let mut weight = 0;
        let fits = |(_, change): &&(WebhookUid, Change)| {
            weight += change.weight();
            weight <= most
        };
        let count = self.outbox.iter().take_while(fits).count().max(1).min(self.outbox.len());
        if count == 0 {
            return None;
        }
        let rest = self.outbox.split_off(count);
        let changes = mem::replace(&mut self.outbox, rest);
        // Whoever waits, waits for all that was sent before.
        let answers = if self.outbox.is_empty() { mem::take(&mut self.answers) } else { Vec::new() };
        self.writing = Some(Instant::now());
        Some(Outgoing { term: self.term, changes, answers })
    }

    /// What was taken out of the outbox was written, or never will be.
    pub const fn written(&mut self) {
        self.writing = None;
    }

    /// Whether outcomes wait for long to be written: what is begun now would be repeated as well if
    /// they never were.
    pub fn is_behind(&self) -> bool {
        self.writing.is_some_and(|since| since.elapsed() > BEHIND)
    }

    /// The number of the ownership under which something of this term may be written; `None` if it
    /// may not any more.
    pub fn epoch_of(&self, term: u64) -> Option<u64> {
        self.mine.filter(|_| self.term == term)
    }

    /// Whether no attempt of it runs and nothing is on its way. What is leased and not begun will not
    /// be any more: a lane may hold it for long, such as until a probe of its endpoint.
    pub fn is_quiet(&self) -> bool {
        self.outbox.is_empty() && self.writing.is_none() && !self.claims.is_any_begun()
    }
}
