//! So many at one time, and never all of them of one namespace.
//!
//! ```text
//! take ─> a place of the namespace's own ─> one of all ─> Turn ── drop: both are free again
//!                  └─ its others wait here, and hold up nobody else
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    of_each: usize,
    /// Of the namespaces that have or want a turn.
    own: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A right to work. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    _own: OwnedSemaphorePermit,
    _one_of_all: OwnedSemaphorePermit,
}

impl Turns {
    /// At most `all` at one time, `of_each` of them for one namespace.
    pub(crate) fn new(all: usize, of_each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), of_each, own: Mutex::default() }
    }

    /// Waits for a turn, behind those who came before.
    pub(crate) async fn take(&self, namespace: &str) -> Turn {
        loop {
            let own = self.own(namespace).acquire_owned().await;
            let one_of_all = Arc::clone(&self.all).acquire_owned().await;
            // Nobody closes them.
            if let (Ok(own), Ok(one_of_all)) = (own, one_of_all) {
                return Turn { _own: own, _one_of_all: one_of_all };
            }
        }
    }

    fn own(&self, namespace: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has or wants a turn holds its semaphore.
        own.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let new = || Arc::new(Semaphore::new(self.of_each));
        Arc::clone(own.entry(namespace.to_owned()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_namespace_has_its_share_and_leaves_the_others_theirs() {
        let turns = Turns::new(4, 2);
        let take = |namespace| turns.take(namespace).now_or_never();
        let first = take("a").unwrap();
        let _second = take("a").unwrap();
        assert!(take("a").is_none());
        let _others = (take("b").unwrap(), take("c").unwrap());
        assert!(take("d").is_none(), "there are no more");
        drop(first);
        assert!(take("d").is_some());
        assert!(take("a").is_some());
    }

    #[test]
    fn who_waits_for_its_own_namespace_holds_up_nobody_else() {
        let turns = Turns::new(4, 1);
        let has = turns.take("a").now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(turns.take("a"))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(turns.take("b").now_or_never().is_some());
        drop(has);
        assert!(waiting.iter_mut().next().unwrap().now_or_never().is_some());
    }

    #[test]
    fn namespaces_that_want_nothing_are_forgotten() {
        let turns = Turns::new(4, 2);
        for namespace in ["a", "b", "c"] {
            drop(turns.take(namespace).now_or_never().unwrap());
        }
        let has = turns.take("d").now_or_never().unwrap();
        drop(turns.take("e").now_or_never());
        assert_eq!(turns.own.lock().unwrap().len(), 2);
        drop(has);
    }
}
