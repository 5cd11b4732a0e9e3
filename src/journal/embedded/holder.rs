//! A claimed lane in memory: what is read ahead, leased, and to be retried.
//!
//! ```text
//!             retries ──due──┐
//!                            v
//! ready ──fill / handoff──> window   first <──released── out
//!                             │        │                  ^
//!                             └── take ┴──── leased ──────┘── settled ──> writer
//! ```
//!
//! All of it is bounded: the window by bytes and number, the rest by what is
//! leased. Nothing here does I/O; [`super::fill`] reads, the writer writes.
//! Of the same moment two truths exist until the writer has written: a
//! delivery that was settled stays in `out` until then, so that neither the
//! low-water mark nor a read from the disk is wrong about it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::op::Place;
use super::record::Ticket;
use super::retries::Retries;
use super::users::{Users, Verdict};
use crate::model::{Event, Ordering, Timestamp};

/// The most deliveries in a window.
pub const WINDOW: usize = 512;

/// The most that were taken out of the queue and not yet written: beyond it
/// nothing is read.
const UNWRITTEN: usize = 4096;

/// A delivery with its event.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The event's number.
    pub seq: u64,
    /// Where it is queued on the disk.
    pub place: Place,
    /// What is stored with it.
    pub ticket: Ticket,
    /// The event.
    pub event: Arc<Event>,
}

/// How a delivery that is out of the window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// It is in `first`, or its event is being read.
    Staged,
    /// Somebody delivers it.
    Leased,
    /// The writer has it.
    Settling,
}

/// See the module.
pub struct Holder {
    /// By the webhook's wish.
    pub ordering: Ordering,
    /// The first number in `ready` that was not read.
    pub cursor: u64,
    /// Nothing is in `ready` from `cursor` on.
    pub caught_up: bool,
    /// Somebody reads.
    pub filling: bool,
    /// What was offered while somebody read: it follows what they find.
    late: Vec<Queued>,
    late_bytes: u64,
    /// More was offered than is kept: it will be read.
    missed: bool,
    /// Read ahead, by number.
    pub window: VecDeque<Queued>,
    /// Of its records.
    pub window_bytes: u64,
    /// Due retries and what was released: given out first.
    pub first: BTreeMap<u64, Queued>,
    /// What is out of the window, by number.
    pub out: BTreeMap<u64, (Place, Out)>,
    /// How many of them are [`Out::Settling`].
    pub settling: usize,
    /// What waits for its time.
    pub retries: Retries,
    /// Who must wait for whom.
    pub users: Users,
}

/// What [`Holder::take`] found.
#[derive(Debug, Default)]
pub struct Taken {
    /// To be leased.
    pub leases: Vec<Queued>,
    /// To be ended, since they outlived the retention.
    pub expired: Vec<Queued>,
    /// Whether the caller has to read more now; the holder counts on it.
    pub fill: bool,
    /// When the next retry is due.
    pub due: Option<Timestamp>,
}

impl Holder {
    /// Of a lane whose queue begins at `low`.
    pub fn new(ordering: Ordering, low: u64, retries: Retries, users: Users) -> Self {
        Self {
            ordering,
            cursor: low,
            caught_up: false,
            filling: false,
            late: Vec::new(),
            late_bytes: 0,
            missed: false,
            window: VecDeque::new(),
            window_bytes: 0,
            first: BTreeMap::new(),
            out: BTreeMap::new(),
            settling: 0,
            retries,
            users,
        }
    }

    /// The least number in `ready` that may not have ended.
    pub fn low(&self) -> u64 {
        let out = self.out.iter().find(|(_, (place, _))| *place == Place::Ready).map(|(seq, _)| *seq);
        let window = self.window.front().map(|queued| queued.seq);
        self.cursor.min(out.unwrap_or(u64::MAX)).min(window.unwrap_or(u64::MAX))
    }

    /// Takes at most `n` deliveries: retries that are due, then what was
    /// released, then the oldest. `cutoff` is the moment before which nothing
    /// that was accepted is still delivered.
    pub fn take(&mut self, n: usize, now: Timestamp, cutoff: Timestamp, budget: u64) -> Taken {
        let mut taken = Taken::default();
        let due_on_disk = self.retries.is_due(now);
        while taken.leases.len() < n {
            let queued = if let Some((_, queued)) = self.first.pop_first() {
                queued
            } else if due_on_disk {
                // They go first, so what is read ahead waits until they are here.
                break;
            } else if let Some(queued) = self.window.pop_front() {
                self.window_bytes -= u64::from(queued.ticket.size);
                queued
            } else {
                break;
            };
            if queued.ticket.accepted_at < cutoff {
                self.settle(queued.seq, queued.place);
                taken.expired.push(queued);
            } else {
                self.out.insert(queued.seq, (queued.place, Out::Leased));
                taken.leases.push(queued);
            }
        }
        let low_window = self.window.len() < WINDOW / 4 && self.window_bytes < budget / 4;
        taken.fill = !self.filling
            && ((due_on_disk && self.first.is_empty())
                || self.retries.must_read()
                || (low_window && !self.caught_up && self.settling < UNWRITTEN));
        if taken.fill {
            // Here, under the same lock: what is offered before the reader's thread
            // has begun is kept for it, and not taken for what it will find.
            self.begin_fill();
        }
        taken.due = self.retries.next();
        taken
    }

    /// Marks a delivery as handed to the writer.
    pub fn settle(&mut self, seq: u64, place: Place) {
        if self.out.insert(seq, (place, Out::Settling)).is_none_or(|(_, out)| out != Out::Settling) {
            self.settling += 1;
        }
    }

    /// The writer has written what came of it. Whether more may be read now,
    /// after there was too much to write.
    pub fn written(&mut self, seq: u64) -> bool {
        if let Some((_, Out::Settling)) = self.out.remove(&seq) {
            self.settling -= 1;
            return self.settling == UNWRITTEN - 1;
        }
        false
    }

    /// A lease comes back.
    pub fn give_back(&mut self, queued: Queued) {
        self.out.insert(queued.seq, (queued.place, Out::Staged));
        self.first.insert(queued.seq, queued);
    }

    /// Whether the user's delivery must wait.
    pub fn verdict(&self, user: u64, seq: u64) -> Verdict {
        match self.ordering {
            Ordering::None => Verdict::Free,
            Ordering::PerUser => self.users.verdict(user, seq),
        }
    }

    /// Notes that the user's delivery goes to the window or to `first`.
    pub fn begin(&mut self, user: u64, seq: u64) {
        if self.ordering == Ordering::PerUser {
            self.users.begin(user, seq);
        }
    }

    /// Adds to the window what comes after all that is there.
    pub fn push(&mut self, queued: Queued) {
        self.window_bytes += u64::from(queued.ticket.size);
        self.cursor = self.cursor.max(queued.seq + 1);
        self.window.push_back(queued);
    }

    /// Somebody begins to read the queue from the cursor on. What is offered
    /// from now on may be more than they see.
    pub fn begin_fill(&mut self) {
        self.filling = true;
        self.late.clear();
        self.late_bytes = 0;
        self.missed = false;
    }

    /// They have read; `ended` if up to what was durable when they began.
    pub fn end_fill(&mut self, ended: bool, budget: u64) {
        self.filling = false;
        self.caught_up = ended && !self.missed;
        for queued in std::mem::take(&mut self.late) {
            self.offer(queued, budget);
        }
    }

    /// Offers a delivery that just became durable. What is not taken now is
    /// read from the disk later.
    pub fn offer(&mut self, queued: Queued, budget: u64) {
        if self.filling {
            self.missed |= self.late.len() == WINDOW || self.late_bytes >= budget;
            if self.missed {
                self.late.clear();
            } else {
                self.late_bytes += u64::from(queued.ticket.size);
                self.late.push(queued);
            }
            return;
        }
        if !self.caught_up || queued.seq < self.cursor {
            return;
        }
        let room = self.window.len() < WINDOW && self.window_bytes < budget;
        if !room || self.verdict(queued.ticket.user, queued.seq) != Verdict::Free {
            self.caught_up = false;
            return;
        }
        self.begin(queued.ticket.user, queued.seq);
        self.push(queued);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(seq: u64) -> Queued {
        let at = Timestamp::from_millis(1);
        let ticket = Ticket { accepted_at: at, user: seq, size: 100, shared: false, failures: 0 };
        let event = Event {
            namespace: String::new(),
            id: String::new(),
            source: String::new(),
            event_type: crate::model::EventType::UserCreated,
            subject: String::new(),
            time: at,
            data: bytes::Bytes::new(),
        };
        Queued { seq, place: Place::Ready, ticket, event: Arc::new(event) }
    }

    fn numbers(holder: &Holder) -> Vec<u64> {
        holder.window.iter().map(|queued| queued.seq).collect()
    }

    #[test]
    fn what_is_offered_while_somebody_reads_follows_what_they_read_and_the_lane_is_up_to_date() {
        let mut holder = Holder::new(Ordering::None, 1, Retries::new(false), Users::default());
        holder.begin_fill();
        // The reader sees 1 to 3, and is offered 3 as well.
        for seq in [3, 4, 6] {
            holder.offer(queued(seq), 1000);
        }
        for seq in [1, 2, 3] {
            holder.push(queued(seq));
        }
        holder.end_fill(true, 1000);
        assert_eq!(numbers(&holder), [1, 2, 3, 4, 6]);
        assert!(holder.caught_up);
        holder.offer(queued(7), 1000);
        assert_eq!(numbers(&holder), [1, 2, 3, 4, 6, 7]);
    }

    #[test]
    fn what_is_offered_to_a_reader_who_leaves_some_or_beyond_the_bounds_is_read_later() {
        let new = || Holder::new(Ordering::None, 1, Retries::new(false), Users::default());
        let mut behind = new();
        behind.begin_fill();
        behind.offer(queued(9), 1000);
        behind.push(queued(1));
        behind.end_fill(false, 1000);
        assert_eq!((numbers(&behind), behind.caught_up), (vec![1], false));
        for (offers, budget) in [(WINDOW as u64 + 1, u64::MAX), (11, 1000)] {
            let mut flooded = new();
            flooded.begin_fill();
            for seq in 1..=offers {
                flooded.offer(queued(seq), budget);
            }
            flooded.end_fill(true, budget);
            assert_eq!((numbers(&flooded), flooded.caught_up), (Vec::new(), false), "{offers}");
            assert!(flooded.late.is_empty());
        }
    }

    #[test]
    fn reading_stops_while_too_much_is_unwritten_and_the_writer_says_when_it_goes_on() {
        let now = Timestamp::from_millis(1);
        let mut holder = Holder::new(Ordering::None, 0, Retries::new(false), Users::default());
        for seq in 0..UNWRITTEN as u64 {
            assert!(holder.take(1, now, now, 1000).fill, "{seq}");
            holder.end_fill(false, 1000);
            holder.settle(seq, Place::Ready);
        }
        assert!(!holder.take(1, now, now, 1000).fill);
        assert!(holder.written(0), "whoever waits must be woken");
        assert!(holder.take(1, now, now, 1000).fill);
        assert!(!holder.written(1));
    }

    #[test]
    fn what_is_offered_before_a_reader_of_retries_has_begun_is_not_passed_over() {
        let (now, later) = (Timestamp::from_millis(1), Timestamp::from_millis(9));
        let mut holder = Holder::new(Ordering::None, 1, Retries::new(false), Users::default());
        holder.caught_up = true;
        holder.retries.add(now, 1, queued(1).ticket);
        assert!(holder.take(1, later, now, 1000).fill, "a retry is due, on the disk");
        assert!(holder.filling);
        // Its thread has not begun, and will only read retries.
        holder.offer(queued(2), 1000);
        holder.end_fill(holder.caught_up, 1000);
        holder.offer(queued(3), 1000);
        assert_eq!(numbers(&holder), [2, 3]);
        assert_eq!(holder.low(), 2);
    }
}
