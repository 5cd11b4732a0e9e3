//! Tells who cares which things have changed, without a queue that can grow.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// What has changed since it was last asked. A thing that changes many times
/// in between is named once, so it holds at most as many as there are things.
#[derive(Debug)]
pub struct Changes<T>(Arc<Pending<T>>);

#[derive(Debug)]
struct Pending<T> {
    things: Mutex<HashSet<T>>,
    some: Notify,
}

impl<T: Eq + Hash> Changes<T> {
    /// Waits until there is a change. Safe to drop while it waits.
    pub async fn next(&mut self) -> Vec<T> {
        loop {
            let things = std::mem::take(&mut *self.0.things.lock().unwrap_or_else(PoisonError::into_inner));
            if !things.is_empty() {
                return things.into_iter().collect();
            }
            self.0.some.notified().await;
        }
    }
}

/// The other end of any number of [`Changes`].
#[derive(Debug)]
pub(super) struct Announcer<T>(Mutex<Vec<Weak<Pending<T>>>>);

impl<T> Default for Announcer<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Eq + Hash> Announcer<T> {
    pub(super) fn subscribe(&self) -> Changes<T> {
        let pending = Arc::new(Pending { things: Mutex::default(), some: Notify::new() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&pending));
        Changes(pending)
    }

    pub(super) fn announce(&self, thing: &T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|subscriber| {
            let Some(pending) = subscriber.upgrade() else {
                return false;
            };
            pending.things.lock().unwrap_or_else(PoisonError::into_inner).insert(thing.clone());
            pending.some.notify_one();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_told_once_however_often_it_happened() {
        let announcer = Announcer::default();
        let mut changes = announcer.subscribe();
        announcer.announce(&1);
        announcer.announce(&1);
        announcer.announce(&2);
        let mut told = changes.next().await;
        told.sort_unstable();
        assert_eq!(told, [1, 2]);
        announcer.announce(&3);
        assert_eq!(changes.next().await, [3]);
    }
}
