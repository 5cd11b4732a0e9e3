//! The lanes of one partition that are claimed here, and what of them is on its way to the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::journal::jetstream::fold::{Effect, Fold};
use crate::journal::jetstream::line::Line;
use crate::journal::jetstream::wire::Number;
use crate::model::{Ordering, Timestamp, WebhookUid};

/// A lane that is claimed here.
pub struct Claim {
    generation: u64,
    pub line: Line,
    pub changed: Arc<Notify>,
}

/// A lease, as its holder names it.
#[derive(Clone, Copy, Debug)]
pub struct Leased {
    pub webhook: WebhookUid,
    /// Of the claim that it was given under.
    pub generation: u64,
    pub number: Number,
    pub user: u64,
}

/// See the module.
#[derive(Default)]
pub struct Claims {
    by_webhook: HashMap<WebhookUid, Claim>,
    /// Deliveries whose outcome is on its way to the log.
    settling: HashMap<WebhookUid, HashSet<Number>>,
}

impl Claims {
    /// Whether a lane is claimed.
    pub fn has(&self, webhook: WebhookUid) -> bool {
        self.by_webhook.contains_key(&webhook)
    }

    /// Claims a lane that is not claimed.
    pub fn add(
        &mut self,
        fold: &Fold,
        webhook: WebhookUid,
        ordering: Ordering,
        generation: u64,
    ) -> Arc<Notify> {
        let mut line = Line::new(ordering);
        let settling = self.settling.get(&webhook);
        if let Some(lane) = fold.lane(webhook) {
            for (number, entry) in &lane.entries {
                if settling.is_some_and(|settling| settling.contains(number)) {
                    line.add_settled(*number, entry.user);
                } else {
                    line.add(*number, entry.user, entry.at);
                }
            }
        }
        let changed = Arc::new(Notify::new());
        self.by_webhook.insert(webhook, Claim { generation, line, changed: Arc::clone(&changed) });
        changed
    }

    /// The claim, if it is still this one.
    pub fn get(&mut self, webhook: WebhookUid, generation: u64) -> Option<&mut Claim> {
        self.by_webhook.get_mut(&webhook).filter(|claim| claim.generation == generation)
    }

    /// A lane is given back; whether it was claimed.
    pub fn remove(&mut self, webhook: WebhookUid, generation: u64) -> bool {
        self.get(webhook, generation).is_some() && self.by_webhook.remove(&webhook).is_some()
    }

    /// All lanes are lost, and what was on its way.
    pub fn lose(&mut self) {
        self.wake();
        *self = Self::default();
    }

    /// Whoever waits for a lane looks at it again.
    pub fn wake(&self) {
        self.by_webhook.values().for_each(|claim| claim.changed.notify_one());
    }

    /// Whether an attempt of any runs.
    pub fn is_any_begun(&self) -> bool {
        self.by_webhook.values().any(|claim| claim.line.is_any_begun())
    }

    /// Whether a delivery waits for an earlier one of its user.
    pub fn is_behind(&self, webhook: WebhookUid, number: Number, user: u64) -> bool {
        self.by_webhook.get(&webhook).is_some_and(|claim| claim.line.is_behind(number, user))
    }

    /// What came of a lease: from now on it is on its way. `false` if the lease is none any more.
    pub fn settle(&mut self, fold: &Fold, leased: Leased, ended: bool) -> bool {
        let Leased { webhook, generation, number, user } = leased;
        let claim = self.get(webhook, generation);
        let Some(claim) = claim.filter(|claim| claim.line.is_leased(number)) else {
            return false;
        };
        claim.line.settle(number, user, ended, |next| due(fold, webhook, next));
        claim.changed.notify_one();
        self.settling.entry(webhook).or_default().insert(number);
        true
    }

    /// Takes a delivery out of what may be leased, to end it; `false` if somebody has it, or it
    /// is ending.
    pub fn withdraw(&mut self, webhook: WebhookUid, number: Number) -> bool {
        let claim = self.by_webhook.get_mut(&webhook);
        if claim.as_ref().is_some_and(|claim| claim.line.is_leased(number)) {
            return false;
        }
        if let Some(claim) = claim {
            claim.line.withdraw(number);
        }
        self.settling.entry(webhook).or_default().insert(number)
    }

    /// A delivery that was withdrawn may be leased after all.
    pub fn restore(&mut self, webhook: WebhookUid, number: Number) {
        self.settled(webhook, number);
        if let Some(claim) = self.by_webhook.get_mut(&webhook) {
            claim.line.release(number);
            claim.changed.notify_one();
        }
    }

    fn settled(&mut self, webhook: WebhookUid, number: Number) {
        if let Some(numbers) = self.settling.get_mut(&webhook) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.settling.remove(&webhook);
            }
        }
    }

    /// What was read of the log; whether somebody should claim its webhook because of it.
    pub fn follow(&mut self, fold: &Fold, effect: &Effect) -> bool {
        match *effect {
            Effect::Added(webhook, number) => {
                let Some(entry) = fold.lane(webhook).and_then(|lane| lane.entries.get(&number)) else {
                    return false;
                };
                let Some(claim) = self.by_webhook.get_mut(&webhook) else { return true };
                claim.line.add(number, entry.user, entry.at);
                claim.changed.notify_one();
                false
            }
            Effect::Ended(webhook, number, user) => {
                self.settled(webhook, number);
                if let Some(claim) = self.by_webhook.get_mut(&webhook) {
                    claim.line.end(number, user, |next| due(fold, webhook, next));
                    claim.changed.notify_one();
                }
                false
            }
            Effect::Retried(webhook, number, at) => {
                self.settled(webhook, number);
                let Some(claim) = self.by_webhook.get_mut(&webhook) else { return true };
                claim.line.retry(number, at);
                claim.changed.notify_one();
                false
            }
            Effect::Dropped(webhook) => {
                self.settling.remove(&webhook);
                if let Some(claim) = self.by_webhook.remove(&webhook) {
                    claim.changed.notify_one();
                }
                false
            }
        }
    }
}

fn due(fold: &Fold, webhook: WebhookUid, number: Number) -> Option<Timestamp> {
    fold.lane(webhook).and_then(|lane| lane.entries.get(&number)).and_then(|entry| entry.at)
}
