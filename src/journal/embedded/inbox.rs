//! What waits for the writer.
//!
//! ```text
//! append ─ urgent ──> ┌───────┐ take: everything at once
//! settle ───────────> │ inbox │ ─────────────────────────> writer
//! claim, close … ───> └───────┘   at once if something is urgent, else after LINGER
//! ```
//!
//! Where appends came together the last time, they most likely do again: then
//! the writer waits for them, for GATHER at most, since an fsync for many costs
//! as much as one for few. Who appends alone never waits.
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

/// How long what is urgent waits for as much company as it had the last time.
const GATHER: Duration = Duration::from_micros(250);

/// Urgent operations that came together from which on it is worth the wait.
const COMPANY: usize = 4;

/// See the module.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    urgent: usize,
    /// How many urgent ones were taken together the last time.
    expected: usize,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Open,
    /// The store is being reopened: only a wish to close is taken.
    Refusing,
    Closed,
}

impl State {
    /// Whether there is nothing to wait for.
    fn is_complete(&self) -> bool {
        let gathered = self.expected < COMPANY || self.urgent >= self.expected;
        (self.urgent > 0 && gathered) || self.ops.len() >= ENOUGH
    }
}

impl Inbox {
    /// Queues an operation; `false` when nobody takes any more.
    pub fn push(&self, op: Op) -> bool {
        let urgent = op.is_urgent();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.mode {
            Mode::Open => {}
            Mode::Refusing if matches!(op, Op::Close(_)) => {}
            Mode::Refusing | Mode::Closed => return false,
        }
        state.ops.push(op);
        state.urgent += usize::from(urgent);
        let enough = state.ops.len() == ENOUGH || (urgent && state.urgent == state.expected);
        let wake = state.ops.len() == 1 || enough || (urgent && state.urgent == 1);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        true
    }

    /// Waits for operations, `patience` at most, and takes them all.
    pub fn take(&self, patience: Duration) -> Vec<Op> {
        let mut deadline = Instant::now() + patience;
        let (mut lingers, mut gathers) = (false, false);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_complete() {
            let now = Instant::now();
            if state.urgent > 0 && !gathers {
                gathers = true;
                deadline = deadline.min(now + GATHER);
            } else if !state.ops.is_empty() && !lingers {
                lingers = true;
                deadline = deadline.min(now + LINGER);
            }
            let Some(left) = deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                break;
            };
            (state, _) = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        if state.urgent > 0 {
            state.expected = std::mem::take(&mut state.urgent);
        }
        std::mem::take(&mut state.ops)
    }

    /// Takes what is left and lets nothing more in.
    pub fn close(&self) -> Vec<Op> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mode = Mode::Closed;
        std::mem::take(&mut state.ops)
    }

    /// Takes what is left but a wish to close, and lets nothing else in.
    pub fn refuse(&self) -> Vec<Op> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mode = Mode::Refusing;
        state.urgent = 0;
        state.expected = 0;
        let (closing, left) =
            std::mem::take(&mut state.ops).into_iter().partition(|op| matches!(op, Op::Close(_)));
        state.ops = closing;
        left
    }

    /// Waits for a wish to close, `patience` at most; whether there is one.
    pub fn is_closing_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.ops.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            (state, _) = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        !state.ops.is_empty()
    }

    /// Lets everything in again.
    pub fn resume(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.urgent = state.ops.len();
        state.mode = Mode::Open;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn push(inbox: &Inbox, urgent: usize) {
        for _ in 0..urgent {
            assert!(inbox.push(Op::Barrier(oneshot::channel().0)));
        }
    }

    /// Long enough that a test which waited for it would be noticed.
    const PATIENCE: Duration = Duration::from_hours(1);

    #[test]
    fn what_is_urgent_is_taken_though_its_company_of_the_last_time_does_not_come() {
        let inbox = Inbox::default();
        for urgent in [1, 2 * COMPANY, 1, COMPANY, 2] {
            push(&inbox, urgent);
            assert_eq!(inbox.take(PATIENCE).len(), urgent);
        }
        assert!(inbox.take(Duration::ZERO).is_empty());
    }

    #[test]
    fn company_is_waited_for_until_it_is_there() {
        let state = |urgent, expected| State { urgent, expected, ..State::default() }.is_complete();
        assert!(!state(0, 0));
        assert!(state(1, 0) && state(1, 1) && state(1, COMPANY - 1), "who appends alone never waits");
        assert!(!state(1, COMPANY) && !state(COMPANY - 1, COMPANY));
        assert!(state(COMPANY, COMPANY) && state(COMPANY + 1, COMPANY));
    }
}
