//! What waits for the writer.
//!
//! ```text
//! append ─ urgent ──> ┌───────┐ take: everything at once
//! settle ───────────> │ inbox │ ─────────────────────────> writer
//! claim, close … ───> └───────┘   at once if something is urgent, else after LINGER
//! ```
//!
//! Its bounds are kept by who pushes: appends by bytes, outcomes by number
//! ([`super::core::Core`] has both semaphores).

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::op::Op;

/// How long outcomes wait for company. Nobody waits for them, and writing a
/// few together costs much less than one by one.
const LINGER: Duration = Duration::from_millis(2);

/// Outcomes that are enough company.
const ENOUGH: usize = 512;

/// See the module.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    urgent: bool,
    closed: bool,
}

impl Inbox {
    /// Queues an operation; `false` when nobody takes any more.
    pub fn push(&self, op: Op) -> bool {
        let urgent = op.is_urgent();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return false;
        }
        state.ops.push(op);
        let wake = state.ops.len() == 1 || state.ops.len() == ENOUGH || (urgent && !state.urgent);
        state.urgent |= urgent;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        true
    }

    /// Waits for operations, `patience` at most, and takes them all.
    pub fn take(&self, patience: Duration) -> Vec<Op> {
        let mut deadline = Instant::now() + patience;
        let mut lingers = false;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.urgent && state.ops.len() < ENOUGH {
            let now = Instant::now();
            if !state.ops.is_empty() && !lingers {
                lingers = true;
                deadline = deadline.min(now + LINGER);
            }
            let Some(left) = deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                break;
            };
            (state, _) = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        state.urgent = false;
        std::mem::take(&mut state.ops)
    }

    /// Takes what is left and lets nothing more in.
    pub fn close(&self) -> Vec<Op> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        std::mem::take(&mut state.ops)
    }
}
