//! The events themselves: read when they are to be delivered, and kept for a while.
//!
//! A message holds events that were accepted together, which are as a rule
//! delivered about together: it is read once, and what is kept is bounded in
//! bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::source::Source;
use super::wire::{Number, decode_events};
use crate::journal::Unavailable;
use crate::model::Event;

/// The events of one message.
pub type Body = Arc<[Arc<Event>]>;

/// Messages that were stored last, or read last.
pub struct Bodies {
    log: Source,
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_sequence: HashMap<u64, (Body, usize)>,
    order: VecDeque<u64>,
    bytes: usize,
    reading: HashMap<u64, Arc<OnceCell<Option<Body>>>>,
}

impl Kept {
    fn put(&mut self, sequence: u64, body: Body, most: usize) {
        let bytes = body.iter().map(|event| event.data.len() + 300).sum();
        if self.by_sequence.insert(sequence, (body, bytes)).is_none() {
            self.order.push_back(sequence);
            self.bytes += bytes;
        }
        while self.bytes > most
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some((_, bytes)) = self.by_sequence.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }
}

impl Bodies {
    /// Of this stream, keeping at most so many bytes.
    pub fn new(log: Source, most: usize) -> Self {
        Self { log, most, kept: Mutex::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was just stored.
    pub fn put(&self, sequence: u64, body: Body) {
        self.kept().put(sequence, body, self.most);
    }

    /// The event of this number; `None` if the server has it no more, or it cannot be read.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn get(&self, number: Number) -> Result<Option<Arc<Event>>, Unavailable> {
        let sequence = number.sequence();
        let reading = {
            let mut kept = self.kept();
            if let Some((body, _)) = kept.by_sequence.get(&sequence) {
                return Ok(body.get(number.place()).cloned());
            }
            Arc::clone(kept.reading.entry(sequence).or_default())
        };
        let body = reading.get_or_try_init(|| self.read(sequence)).await;
        let mut kept = self.kept();
        kept.reading.remove(&sequence);
        let Some(body) = body? else { return Ok(None) };
        kept.put(sequence, Arc::clone(body), self.most);
        Ok(body.get(number.place()).cloned())
    }

    async fn read(&self, sequence: u64) -> Result<Option<Body>, Unavailable> {
        Ok(self.log.get(sequence).await?.and_then(|payload| Self::decode(sequence, &payload)))
    }

    fn decode(sequence: u64, payload: &[u8]) -> Option<Body> {
        match decode_events(payload) {
            Ok(events) => Some(events.into()),
            Err(error) => {
                tracing::error!(sequence, %error, "a message of the log is damaged");
                None
            }
        }
    }
}
