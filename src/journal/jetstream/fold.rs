//! What the log says, put together: the same in every dispatcher that has read as far.
//!
//! ```text
//! append ──> known? ── yes ──> void, nothing of it counts
//!               └── no ──> an entry in the lane of each of its webhooks
//! change ──> ended | due later | dead letter | forgotten | state | dropped
//! ```
//!
//! Nothing here does I/O or asks for the time. A change of what is not there
//! changes nothing, so that one that is written twice does no harm.

mod bytes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::seen::Seen;
use super::wire::{AppendIndex, Change, Changes, Indexed, Number, Standing};
use crate::journal::limits::{Bounds, Window};
use crate::journal::{Depth, LaneState};
use crate::model::{EventKey, Timestamp, WebhookUid};

/// A delivery that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When its event was accepted.
    pub accepted_at: Timestamp,
    /// A hash of the event's subject.
    pub user: u64,
    /// Bytes of the event's record.
    pub size: u32,
    /// Attempts that failed.
    pub failures: u16,
    /// When the next is due; `None` for at once.
    pub at: Option<Timestamp>,
}

/// A dead letter's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// Its bytes.
    pub size: u32,
    /// When the delivery was given up.
    pub died_at: Timestamp,
}

/// Everything of one webhook.
#[derive(Debug, Default)]
pub struct LaneRecord {
    /// What has not ended.
    pub entries: BTreeMap<Number, Entry>,
    letters: BTreeMap<Number, Letter>,
    /// The letters, oldest first.
    pub oldest_letters: BTreeSet<(Timestamp, Number)>,
    /// Bytes of the letters.
    pub dead_bytes: u64,
    evicted: u64,
    /// What its holder remembers.
    pub state: Option<LaneState>,
}

impl LaneRecord {
    /// How much there is of it.
    pub fn depth(&self) -> Depth {
        Depth { pending: self.entries.len() as u64, dead: self.letters.len() as u64, evicted: self.evicted }
    }

    /// A dead letter, if it is kept.
    pub fn letter(&self, number: Number) -> Option<&Letter> {
        self.letters.get(&number)
    }

    fn bury(&mut self, number: Number, letter: Letter) {
        self.unbury(number);
        self.dead_bytes += u64::from(letter.size);
        self.oldest_letters.insert((letter.died_at, number));
        self.letters.insert(number, letter);
    }

    fn unbury(&mut self, number: Number) -> bool {
        let Some(letter) = self.letters.remove(&number) else { return false };
        self.dead_bytes = self.dead_bytes.saturating_sub(u64::from(letter.size));
        self.oldest_letters.remove(&(letter.died_at, number));
        true
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.letters.is_empty() && self.evicted == 0 && self.state.is_none()
    }
}

/// An event with deliveries that have not ended.
#[derive(Debug)]
struct Held {
    number: Number,
    left: u32,
    size: u32,
    namespace: Arc<str>,
}

/// How much of the log there was at a moment: what is kept for people is bounded by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The message.
    pub sequence: u64,
    /// Bytes of all events up to it.
    pub bytes: u64,
    /// When it was accepted.
    pub at: Timestamp,
}

/// Between two samples.
const SAMPLE_BYTES: u64 = 256 << 10;
const SAMPLE_EVERY: Duration = Duration::from_mins(1);

/// What is known of a namespace.
#[derive(Debug, Default)]
struct Space {
    seen: Seen,
    queued: u64,
}

/// What whoever runs a lane has to know of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A delivery more.
    Added(WebhookUid, Number),
    /// One less, of this user.
    Ended(WebhookUid, Number, u64),
    /// One that is due then.
    Retried(WebhookUid, Number, Timestamp),
    /// Everything of a webhook is gone.
    Dropped(WebhookUid),
}

impl Effect {
    /// On which webhook's lane.
    pub const fn webhook(&self) -> WebhookUid {
        match self {
            Self::Added(webhook, _)
            | Self::Ended(webhook, _, _)
            | Self::Retried(webhook, _, _)
            | Self::Dropped(webhook) => *webhook,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Fold {
    window: Window,
    spaces: HashMap<Arc<str>, Space>,
    lanes: HashMap<WebhookUid, LaneRecord>,
    /// By where they stand in the log now.
    events: BTreeMap<Number, Held>,
    /// Where those stand that are written once more.
    carried: HashMap<Number, Number>,
    /// Repeats that were stored although they were known.
    void: BTreeSet<Number>,
    live: u64,
    deliveries: u64,
    samples: VecDeque<Sample>,
    /// Bytes of all events that were accepted.
    bytes: u64,
}

impl Fold {
    /// Of an empty log.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            spaces: HashMap::new(),
            lanes: HashMap::new(),
            events: BTreeMap::new(),
            carried: HashMap::new(),
            void: BTreeSet::new(),
            live: 0,
            deliveries: 0,
            samples: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Whether an event is known in a namespace.
    pub fn knows(&self, namespace: &str, key: &EventKey) -> bool {
        self.spaces.get(namespace).is_some_and(|space| space.seen.knows(key))
    }

    /// Bytes of events of a namespace that wait.
    pub fn queued(&self, namespace: &str) -> u64 {
        self.spaces.get(namespace).map_or(0, |space| space.queued)
    }

    /// Bytes of all events that wait.
    pub const fn live(&self) -> u64 {
        self.live
    }

    /// How many deliveries have not ended.
    pub const fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Whether a stored event is the repeat of an earlier one.
    pub fn is_void(&self, number: Number) -> bool {
        self.void.contains(&number)
    }

    /// Everything of a webhook, if there is anything.
    pub fn lane(&self, webhook: WebhookUid) -> Option<&LaneRecord> {
        self.lanes.get(&webhook)
    }

    /// All webhooks that have anything.
    pub fn lanes(&self) -> impl Iterator<Item = (WebhookUid, &LaneRecord)> {
        self.lanes.iter().map(|(webhook, lane)| (*webhook, lane))
    }

    /// A message of events was read.
    pub fn append(&mut self, sequence: u64, namespace: &str, index: &AppendIndex) -> Vec<Effect> {
        let mut effects = Vec::new();
        if index.back == 0 {
            self.sample(sequence, index);
        }
        let sequence = sequence.saturating_sub(index.back.into());
        for (place, event) in index.events.iter().enumerate() {
            let number = Number::new(sequence, usize::from(index.first) + place);
            if index.back == 0 && !self.is_new(namespace, number, event, index.accepted_at) {
                continue;
            }
            if !event.webhooks.is_empty() && !self.void.contains(&number) {
                self.queue(namespace, number, event, index.accepted_at, &mut effects);
            }
        }
        effects
    }

    fn is_new(&mut self, namespace: &str, number: Number, event: &Indexed, at: Timestamp) -> bool {
        let window = self.window;
        let seen = &mut self.space(namespace).1.seen;
        if seen.knows(&event.key) {
            self.void.insert(number);
            return false;
        }
        seen.add(event.key, at, window);
        true
    }

    fn space(&mut self, namespace: &str) -> (Arc<str>, &mut Space) {
        let name = match self.spaces.get_key_value(namespace) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(namespace),
        };
        let space = self.spaces.entry(Arc::clone(&name)).or_default();
        (name, space)
    }

    fn queue(
        &mut self,
        namespace: &str,
        number: Number,
        event: &Indexed,
        accepted_at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Indexed { user, size, webhooks, before, .. } = event;
        let accepted_at = before.as_ref().map_or(accepted_at, |before| before.accepted_at);
        let mut standings = before.iter().flat_map(|before| &before.deliveries);
        let mut more = 0;
        for webhook in webhooks {
            let (failures, at) = match standings.next() {
                None => (0, None),
                Some(Standing::Waits { failures, at }) => (*failures, *at),
                Some(Standing::Dead { letter, size, died_at }) => {
                    let letter = Letter { sequence: *letter, size: *size, died_at: *died_at };
                    self.lanes.entry(*webhook).or_default().bury(number, letter);
                    continue;
                }
            };
            let entry = Entry { accepted_at, user: *user, size: *size, failures, at };
            if self.lanes.entry(*webhook).or_default().entries.insert(number, entry).is_none() {
                more += 1;
                effects.push(Effect::Added(*webhook, number));
            }
        }
        if more == 0 {
            return;
        }
        self.deliveries += u64::from(more);
        if let Some(held) = self.events.get_mut(&self.place(number)) {
            held.left += more;
            return;
        }
        if more == 0 {
            return;
        }
        let (namespace, space) = self.space(namespace);
        space.queued += u64::from(*size);
        self.live += u64::from(*size);
        self.events.insert(number, Held { number, left: more, size: *size, namespace });
    }

    fn sample(&mut self, sequence: u64, index: &AppendIndex) {
        let bytes = index.events.iter().map(|event| u64::from(event.size)).sum();
        self.bytes = self.bytes.saturating_add(bytes);
        // A dispatcher whose clock is behind must not make what came before look older.
        let at = self.samples.back().map_or(index.accepted_at, |last| last.at.max(index.accepted_at));
        let sample = Sample { sequence, bytes: self.bytes, at };
        let due = self.samples.back().is_none_or(|last| {
            sample.bytes.saturating_sub(last.bytes) >= SAMPLE_BYTES
                || sample.at.since(last.at) >= SAMPLE_EVERY
        });
        if due {
            self.samples.push_back(sample);
        }
    }

    /// From which message on events are kept for people, at `now`. What is before is forgotten here.
    pub fn kept_from(&mut self, bounds: Bounds, now: Timestamp) -> u64 {
        if bounds.bytes == 0 {
            return u64::MAX;
        }
        let oldest = now.before(bounds.age);
        let is_beyond = |sample: &Sample, bytes: u64| {
            bytes.saturating_sub(sample.bytes) >= bounds.bytes || sample.at < oldest
        };
        while let [first, second, ..] = self.samples.make_contiguous()
            && is_beyond(second, self.bytes)
            && first.sequence < second.sequence
        {
            self.samples.pop_front();
        }
        match self.samples.front() {
            Some(first) if is_beyond(first, self.bytes) => first.sequence.saturating_add(1),
            Some(first) => first.sequence,
            None => u64::MAX,
        }
    }

    /// Where an event that waits stands in the log.
    pub fn place(&self, number: Number) -> Number {
        self.carried.get(&number).copied().unwrap_or(number)
    }

    /// The first message of the log in which an event stands that waits.
    pub fn first_needed(&self) -> u64 {
        self.events.first_key_value().map_or(u64::MAX, |(place, _)| place.sequence())
    }

    /// Events that wait and stand before a message, with their namespaces: at most so many.
    pub fn needed_before(&self, sequence: u64, most: usize) -> Vec<(Arc<str>, Number)> {
        let before = self.events.range(..Number::new(sequence, 0)).take(most);
        before.map(|(_, held)| (Arc::clone(&held.namespace), held.number)).collect()
    }

    /// A message was read in which these events stand once more.
    pub fn moved(&mut self, sequence: u64, numbers: &[Number]) {
        for (place, number) in numbers.iter().enumerate() {
            if let Some(held) = self.events.remove(&self.place(*number)) {
                let place = Number::new(sequence, place);
                self.events.insert(place, held);
                self.carried.insert(*number, place);
            }
        }
    }

    /// Repeats in messages that are no more.
    pub fn forget_before(&mut self, sequence: u64) {
        self.void = self.void.split_off(&Number::new(sequence, 0));
    }

    /// A message of changes was read.
    pub fn change(&mut self, changes: Changes) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (webhook, change) in changes.0 {
            effects.extend(self.apply(webhook, change));
        }
        effects
    }

    fn apply(&mut self, webhook: WebhookUid, change: Change) -> Option<Effect> {
        let lane = match &change {
            Change::State(_) => self.lanes.entry(webhook).or_default(),
            Change::Ended(_)
            | Change::Retry { .. }
            | Change::Dead { .. }
            | Change::Forgotten(_)
            | Change::Evicted(_)
            | Change::Dropped => self.lanes.get_mut(&webhook)?,
        };
        match change {
            Change::Ended(number) => {
                let entry = lane.entries.remove(&number)?;
                self.ended(webhook, number);
                Some(Effect::Ended(webhook, number, entry.user))
            }
            Change::Retry { number, at, failures } => {
                let entry = lane.entries.get_mut(&number)?;
                (entry.at, entry.failures) = (Some(at), failures);
                Some(Effect::Retried(webhook, number, at))
            }
            Change::Dead { number, letter, size, died_at } => {
                let entry = lane.entries.remove(&number)?;
                lane.bury(number, Letter { sequence: letter, size, died_at });
                self.ended(webhook, number);
                Some(Effect::Ended(webhook, number, entry.user))
            }
            Change::Forgotten(number) => {
                lane.unbury(number);
                self.tidy(webhook);
                None
            }
            Change::Evicted(number) => {
                if lane.unbury(number) {
                    lane.evicted = lane.evicted.saturating_add(1);
                }
                None
            }
            Change::State(state) => {
                lane.state = Some(state);
                None
            }
            Change::Dropped => {
                let numbers: Vec<_> = lane.entries.keys().copied().collect();
                *lane = LaneRecord::default();
                for number in numbers {
                    self.ended(webhook, number);
                }
                self.lanes.remove(&webhook);
                Some(Effect::Dropped(webhook))
            }
        }
    }

    /// One delivery of an event less.
    fn ended(&mut self, webhook: WebhookUid, number: Number) {
        self.deliveries = self.deliveries.saturating_sub(1);
        self.tidy(webhook);
        let place = self.place(number);
        let Some(held) = self.events.get_mut(&place) else { return };
        held.left = held.left.saturating_sub(1);
        if held.left > 0 {
            return;
        }
        let size = u64::from(held.size);
        if let Some(space) = self.spaces.get_mut(&held.namespace) {
            space.queued = space.queued.saturating_sub(size);
        }
        self.live = self.live.saturating_sub(size);
        self.events.remove(&place);
        self.carried.remove(&number);
    }

    fn tidy(&mut self, webhook: WebhookUid) {
        if self.lanes.get(&webhook).is_some_and(LaneRecord::is_empty) {
            self.lanes.remove(&webhook);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::jetstream::wire::Before;

    const AT: Timestamp = Timestamp::from_millis(5);

    fn uid(n: u8) -> WebhookUid {
        WebhookUid::from_bytes([n; 16])
    }

    fn fold() -> Fold {
        Fold::new(Window { age: Duration::from_hours(24), ids: 1000 })
    }

    fn index(events: &[(u8, &[u8])]) -> AppendIndex {
        let events = events
            .iter()
            .map(|(key, webhooks)| Indexed {
                key: EventKey::from_bytes([*key; 16]),
                user: u64::from(*key),
                size: 100,
                webhooks: webhooks.iter().map(|n| uid(*n)).collect(),
                before: None,
            })
            .collect();
        AppendIndex { accepted_at: AT, back: 0, events, first: 0 }
    }

    #[test]
    fn a_repeat_that_was_stored_counts_for_nobody_whomever_it_went_to() {
        let mut fold = fold();
        assert_eq!(fold.append(1, "a", &index(&[(1, &[1])])).len(), 1);
        assert_eq!(fold.append(2, "a", &index(&[(1, &[1, 2]), (2, &[2])])).len(), 1);
        assert!(fold.is_void(Number::new(2, 0)));
        assert_eq!(fold.lane(uid(2)).unwrap().depth().pending, 1);
        assert_eq!((fold.queued("a"), fold.live(), fold.deliveries()), (200, 200, 2));
        // The rest of the webhooks of a repeat, too.
        let rest = AppendIndex { back: 1, ..index(&[(1, &[3])]) };
        assert_eq!(fold.append(3, "a", &rest), []);
    }

    #[test]
    fn the_rest_of_an_event_s_webhooks_belongs_to_the_same_event() {
        let mut fold = fold();
        fold.append(10, "a", &index(&[(1, &[1]), (2, &[1])]));
        let rest = AppendIndex { back: 1, first: 1, ..index(&[(2, &[2, 3])]) };
        let number = Number::new(10, 1);
        let added = |n| Effect::Added(uid(n), number);
        assert_eq!(fold.append(11, "a", &rest), [added(2), added(3)]);
        assert_eq!((fold.live(), fold.deliveries()), (200, 4));
        for (n, live) in [(1, 200), (3, 200), (2, 100)] {
            fold.change(Changes(vec![(uid(n), Change::Ended(number))]));
            assert_eq!(fold.live(), live, "{n}");
        }
    }

    #[test]
    fn what_was_carried_is_needed_where_it_stands_now_until_it_has_ended() {
        let mut fold = fold();
        for sequence in 1..=3 {
            fold.append(sequence.into(), "a", &index(&[(sequence, &[1]), (sequence + 10, &[1])]));
        }
        let [first, second, other] = [(1, 0), (1, 1), (2, 0)].map(|(at, place)| Number::new(at, place));
        fold.moved(7, &[first, second]);
        fold.moved(9, &[first]);
        assert_eq!([first, second, other].map(|number| fold.place(number).sequence()), [9, 7, 2]);
        assert_eq!(fold.first_needed(), 2);
        let before = |sequence| fold.needed_before(sequence, 100).into_iter().map(|(_, number)| number);
        assert_eq!(before(3).count(), 2);
        assert_eq!(before(9).filter(|number| *number == second).count(), 1);
        for number in (1..=3).flat_map(|at| [0, 1].map(|place| Number::new(at, place))).skip(1) {
            fold.change(Changes(vec![(uid(1), Change::Ended(number))]));
        }
        assert_eq!((fold.first_needed(), fold.live()), (9, 100));
        fold.change(Changes(vec![(uid(1), Change::Ended(first))]));
        assert_eq!((fold.first_needed(), fold.place(first)), (u64::MAX, first));
    }

    #[test]
    fn an_event_of_another_journal_is_where_it_was_there() {
        let mut fold = fold();
        let mut index = index(&[(1, &[1, 2, 3])]);
        let (at, died_at) = (Timestamp::from_millis(90), Timestamp::from_millis(7));
        let deliveries = vec![
            Standing::Waits { failures: 4, at: Some(at) },
            Standing::Dead { letter: 6, size: 70, died_at },
            Standing::Waits { failures: 0, at: None },
        ];
        let accepted_at = Timestamp::from_millis(2);
        index.events[0].before = Some(Before { accepted_at, deliveries });
        let number = Number::new(9, 0);
        let effects = fold.append(9, "a", &index);
        assert_eq!(effects, [1, 3].map(|n| Effect::Added(uid(n), number)));
        let entry = fold.lane(uid(1)).unwrap().entries[&number];
        assert_eq!(entry, Entry { accepted_at, user: 1, size: 100, failures: 4, at: Some(at) });
        let lane = fold.lane(uid(2)).unwrap();
        assert_eq!(lane.depth(), Depth { pending: 0, dead: 1, evicted: 0 });
        assert_eq!(lane.letter(number), Some(&Letter { sequence: 6, size: 70, died_at }));
        assert_eq!((fold.live(), fold.deliveries()), (100, 2));
        assert_eq!(fold.append(10, "a", &index), [], "it is known");
        assert_eq!(fold.lane(uid(2)).unwrap().depth().dead, 1);
        // Of one that only was given up nothing waits.
        index.events[0].key = EventKey::from_bytes([2; 16]);
        let dead = Standing::Dead { letter: 7, size: 30, died_at };
        index.events[0].before = Some(Before { accepted_at, deliveries: vec![dead; 3] });
        assert_eq!(fold.append(11, "a", &index), []);
        assert_eq!((fold.live(), fold.deliveries(), fold.first_needed()), (100, 2, 9));
    }

    #[test]
    fn a_change_that_is_written_twice_changes_nothing_more() {
        let mut fold = fold();
        fold.append(1, "a", &index(&[(1, &[1]), (2, &[1]), (3, &[1])]));
        let [first, second, third] = [0, 1, 2].map(|place| Number::new(1, place));
        let changes = Changes(vec![
            (uid(1), Change::Ended(first)),
            (uid(1), Change::Retry { number: second, at: Timestamp::from_millis(90), failures: 1 }),
            (uid(1), Change::Dead { number: third, letter: 4, size: 70, died_at: AT }),
        ]);
        assert_eq!(fold.change(changes.clone()).len(), 3);
        assert_eq!(fold.change(changes), [Effect::Retried(uid(1), second, Timestamp::from_millis(90))]);
        let lane = fold.lane(uid(1)).unwrap();
        assert_eq!(lane.depth(), Depth { pending: 1, dead: 1, evicted: 0 });
        assert_eq!((lane.dead_bytes, fold.live(), fold.deliveries()), (70, 100, 1));
        fold.change(Changes(vec![(uid(1), Change::Evicted(third)), (uid(1), Change::Evicted(third))]));
        assert_eq!(fold.lane(uid(1)).unwrap().depth(), Depth { pending: 1, dead: 0, evicted: 1 });
        assert_eq!(fold.change(Changes(vec![(uid(1), Change::Dropped)])), [Effect::Dropped(uid(1))]);
        assert!(fold.lane(uid(1)).is_none());
        assert_eq!((fold.live(), fold.deliveries(), fold.queued("a")), (0, 0, 0));
        assert!(fold.knows("a", &EventKey::from_bytes([1; 16])), "it is still known");
    }
}
