//! The events that were stored last, in memory, by bytes: a lane that is
//! nearly up to date finds them here, and lanes that share an event share it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Event;

/// See the module.
pub struct Recent {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their numbers.
    events: VecDeque<(u64, u32, Arc<Event>)>,
    bytes: usize,
}

impl Recent {
    /// Keeps so many bytes of records.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    /// Adds durable events, whose numbers are larger than those before.
    pub fn extend(&self, events: impl Iterator<Item = (u64, u32, Arc<Event>)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (seq, size, event) in events {
            state.bytes += size as usize;
            state.events.push_back((seq, size, event));
        }
        while state.bytes > self.capacity {
            let Some((_, size, _)) = state.events.pop_front() else { break };
            state.bytes -= size as usize;
        }
    }

    /// Forgets all: their numbers may be given again.
    pub fn clear(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// The event of a number, if it is still here.
    pub fn get(&self, seq: u64) -> Option<Arc<Event>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let index = state.events.binary_search_by_key(&seq, |(seq, ..)| *seq).ok()?;
        state.events.get(index).map(|(.., event)| Arc::clone(event))
    }
}
