//! The fold as bytes, and back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Entry, Fold, Held, LaneRecord, Letter, Number, Sample, Space};
use crate::journal::LaneState;
use crate::journal::jetstream::seen::Seen;
use crate::journal::limits::Window;
use crate::journal::record::{Corrupt, Reader, put};
use crate::model::{EventKey, Timestamp, WebhookUid};

/// In place of a time that there is not.
const NONE: u64 = u64::MAX;

fn count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// Nothing of which there is one stands in a snapshot twice.
fn once<T>(before: Option<T>) -> Result<(), Corrupt> {
    before.map_or(Ok(()), |_| Err(Corrupt("snapshot")))
}

fn time(bytes: &mut Vec<u8>, time: Timestamp) {
    bytes.extend(time.as_millis().to_be_bytes());
}

impl Fold {
    /// Adds all of it, to be read by [`Self::decode`].
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut names: HashMap<&Arc<str>, u32> = HashMap::new();
        count(bytes, self.spaces.len());
        for (index, (name, space)) in (0..).zip(&self.spaces) {
            names.insert(name, index);
            put(bytes, name.as_bytes());
            let parts: Vec<_> = space.seen.parts().collect();
            count(bytes, parts.len());
            for (until, ids) in parts {
                time(bytes, until);
                count(bytes, ids.len());
                for id in &ids {
                    bytes.extend(id.as_bytes());
                }
            }
        }
        count(bytes, self.lanes.len());
        for (webhook, lane) in &self.lanes {
            bytes.extend(webhook.as_bytes());
            lane.encode(bytes);
        }
        count(bytes, self.events.len());
        for (place, held) in &self.events {
            bytes.extend(held.number.get().to_be_bytes());
            bytes.extend(place.get().to_be_bytes());
            bytes.extend(held.size.to_be_bytes());
            bytes.extend(names.get(&held.namespace).copied().unwrap_or(u32::MAX).to_be_bytes());
        }
        count(bytes, self.void.len());
        for number in &self.void {
            bytes.extend(number.get().to_be_bytes());
        }
        count(bytes, self.samples.len());
        for sample in &self.samples {
            bytes.extend(sample.sequence.to_be_bytes());
            bytes.extend(sample.bytes.to_be_bytes());
            time(bytes, sample.at);
        }
        bytes.extend(self.bytes.to_be_bytes());
    }

    /// What [`Self::encode`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode(reader: &mut Reader<'_>, window: Window) -> Result<Self, Corrupt> {
        let mut fold = Self::new(window);
        let mut names: Vec<Arc<str>> = Vec::new();
        for _ in 0..reader.u32()? {
            let name: Arc<str> = reader.text()?.into();
            let mut parts = Vec::new();
            for _ in 0..reader.u32()? {
                let until = reader.timestamp()?;
                let ids = (0..reader.u32()?).map(|_| reader.array().map(EventKey::from_bytes));
                parts.push((until, ids.collect::<Result<Vec<_>, _>>()?));
            }
            let space = Space { seen: Seen::from_parts(parts), queued: 0 };
            once(fold.spaces.insert(Arc::clone(&name), space))?;
            names.push(name);
        }
        let mut left: HashMap<Number, u32> = HashMap::new();
        for _ in 0..reader.u32()? {
            let webhook = WebhookUid::from_bytes(reader.array()?);
            let lane = LaneRecord::decode(reader)?;
            for number in lane.entries.keys() {
                *left.entry(*number).or_default() += 1;
                fold.deliveries += 1;
            }
            once(fold.lanes.insert(webhook, lane))?;
        }
        for _ in 0..reader.u32()? {
            let (number, place) = (Number::from_u64(reader.u64()?), Number::from_u64(reader.u64()?));
            let (size, name) = (reader.u32()?, reader.u32()?);
            let namespace = names.get(name as usize).cloned().ok_or(Corrupt("snapshot"))?;
            // One that nobody waits for would never end.
            let Some(left) = left.get(&number).copied() else { continue };
            if let Some(space) = fold.spaces.get_mut(&namespace) {
                space.queued += u64::from(size);
            }
            fold.live += u64::from(size);
            once(fold.events.insert(place, Held { number, left, size, namespace }))?;
            if place != number {
                once(fold.carried.insert(number, place))?;
            }
        }
        let void = (0..reader.u32()?).map(|_| reader.u64().map(Number::from_u64));
        fold.void = void.collect::<Result<BTreeSet<_>, _>>()?;
        for _ in 0..reader.u32()? {
            let sample = Sample { sequence: reader.u64()?, bytes: reader.u64()?, at: reader.timestamp()? };
            fold.samples.push_back(sample);
        }
        fold.bytes = reader.u64()?;
        Ok(fold)
    }
}

impl LaneRecord {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.evicted.to_be_bytes());
        bytes.push(u8::from(self.state.is_some()));
        if let Some(state) = &self.state {
            put(bytes, &state.0);
        }
        count(bytes, self.entries.len());
        for (number, entry) in &self.entries {
            bytes.extend(number.get().to_be_bytes());
            time(bytes, entry.accepted_at);
            bytes.extend(entry.user.to_be_bytes());
            bytes.extend(entry.size.to_be_bytes());
            bytes.extend(entry.failures.to_be_bytes());
            bytes.extend(entry.at.map_or(NONE, Timestamp::as_millis).to_be_bytes());
        }
        count(bytes, self.letters.len());
        for (number, letter) in &self.letters {
            bytes.extend(number.get().to_be_bytes());
            bytes.extend(letter.sequence.to_be_bytes());
            bytes.extend(letter.size.to_be_bytes());
            time(bytes, letter.died_at);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut lane = Self { evicted: reader.u64()?, ..Self::default() };
        if reader.u8()? != 0 {
            lane.state = Some(LaneState(reader.block()?.to_vec()));
        }
        for _ in 0..reader.u32()? {
            let number = Number::from_u64(reader.u64()?);
            let (accepted_at, user, size, failures) =
                (reader.timestamp()?, reader.u64()?, reader.u32()?, reader.u16()?);
            let at = Some(reader.u64()?).filter(|at| *at != NONE).map(Timestamp::from_millis);
            lane.entries.insert(number, Entry { accepted_at, user, size, failures, at });
        }
        for _ in 0..reader.u32()? {
            let number = Number::from_u64(reader.u64()?);
            let letter =
                Letter { sequence: reader.u64()?, size: reader.u32()?, died_at: reader.timestamp()? };
            lane.bury(number, letter);
        }
        Ok(lane)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::jetstream::wire::{AppendIndex, Change, Changes, Indexed};
    use crate::journal::limits::Bounds;

    const WINDOW: Window = Window { age: Duration::from_hours(24), ids: 100_000 };

    fn uid(n: u8) -> WebhookUid {
        WebhookUid::from_bytes([n; 16])
    }

    fn sample() -> Fold {
        let mut fold = Fold::new(WINDOW);
        for sequence in 1..=20_u8 {
            let event = |n: u8| Indexed {
                key: EventKey::from_bytes([sequence, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                user: n.into(),
                size: 500,
                webhooks: vec![uid(n % 3), uid(9)],
                before: None,
            };
            let accepted_at = Timestamp::from_millis(u64::from(sequence) * 40_000);
            let index = AppendIndex { accepted_at, back: 0, events: (0..5).map(event).collect(), first: 0 };
            fold.append(sequence.into(), if sequence % 2 == 0 { "even" } else { "odd" }, &index);
            // Its repeat counts for nobody.
            fold.append(100 + u64::from(sequence), if sequence % 2 == 0 { "even" } else { "odd" }, &index);
        }
        let number = |sequence, place| Number::new(sequence, place);
        let at = Timestamp::from_millis(777);
        fold.change(Changes(vec![
            (uid(9), Change::Ended(number(1, 0))),
            (uid(9), Change::Retry { number: number(2, 0), at, failures: 3 }),
            (uid(9), Change::Dead { number: number(3, 0), letter: 5, size: 90, died_at: at }),
            (uid(9), Change::Dead { number: number(3, 1), letter: 6, size: 90, died_at: at }),
            (uid(9), Change::Evicted(number(3, 1))),
            (uid(4), Change::State(LaneState(vec![1, 2]))),
        ]));
        fold.moved(50, &[number(4, 1), number(4, 2)]);
        fold
    }

    #[test]
    fn what_was_written_of_a_fold_is_read_as_it_was() {
        let mut fold = sample();
        let mut bytes = Vec::new();
        fold.encode(&mut bytes);
        let mut reader = Reader { bytes: &bytes, kind: "snapshot" };
        let mut read = Fold::decode(&mut reader, WINDOW).expect("what was written");
        assert!(reader.bytes.is_empty());
        for webhook in [0, 1, 2, 4, 9, 7].map(uid) {
            let lane = |fold: &Fold| fold.lane(webhook).map(|lane| format!("{lane:?}"));
            assert_eq!(lane(&read), lane(&fold), "{webhook}");
        }
        let sums = |fold: &Fold| (fold.live(), fold.deliveries(), fold.queued("odd"), fold.first_needed());
        assert_eq!(sums(&read), sums(&fold));
        assert_eq!(read.void, fold.void);
        assert_eq!(read.place(Number::new(4, 1)), Number::new(50, 0));
        let bounds = Bounds { bytes: 20_000, age: Duration::from_hours(1) };
        let now = Timestamp::from_millis(900_000);
        assert_eq!(read.kept_from(bounds, now), fold.kept_from(bounds, now));
        for (name, sequence) in [("odd", 1_u8), ("even", 20)] {
            let mut key = [0; 16];
            key[0] = sequence;
            assert!(read.knows(name, &EventKey::from_bytes(key)), "{name}");
        }
        // Each of its deliveries ends as it would have.
        for (sequence, place) in (1..=20).flat_map(|sequence| (0..5).map(move |place| (sequence, place))) {
            for webhook in [0, 1, 2, 9].map(uid) {
                let changes = || Changes(vec![(webhook, Change::Ended(Number::new(sequence, place)))]);
                assert_eq!(read.change(changes()), fold.change(changes()));
            }
        }
        assert_eq!((read.live(), read.deliveries()), (0, 0));
    }

    #[test]
    fn a_part_of_it_is_an_error_and_no_panic() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for length in (0..bytes.len()).step_by(7) {
            let mut reader = Reader { bytes: &bytes[..length], kind: "snapshot" };
            assert!(Fold::decode(&mut reader, WINDOW).is_err(), "{length}");
        }
    }
}
