//! Events on their way to the log: they are not in the fold yet, but count.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::EventKey;

/// See the module.
#[derive(Default)]
pub struct Coming {
    by_key: HashMap<EventKey, (Arc<str>, u64)>,
    /// Their bytes, by namespace.
    bytes: HashMap<Arc<str>, u64>,
    all: u64,
}

impl Coming {
    /// Whether an event is on its way.
    pub fn has(&self, key: &EventKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Bytes that are to wait of a namespace, and of all.
    pub fn bytes(&self, namespace: &str) -> (u64, u64) {
        (self.bytes.get(namespace).copied().unwrap_or(0), self.all)
    }

    /// From now on an event is on its way.
    pub fn add(&mut self, key: EventKey, namespace: &Arc<str>, bytes: u64) {
        self.by_key.insert(key, (Arc::clone(namespace), bytes));
        *self.bytes.entry(Arc::clone(namespace)).or_default() += bytes;
        self.all += bytes;
    }

    /// It was read, or is not coming; whether it was on its way.
    pub fn remove(&mut self, key: &EventKey) -> bool {
        let Some((namespace, bytes)) = self.by_key.remove(key) else { return false };
        self.all = self.all.saturating_sub(bytes);
        if let Some(left) = self.bytes.get_mut(&namespace) {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.bytes.remove(&namespace);
            }
        }
        true
    }
}
