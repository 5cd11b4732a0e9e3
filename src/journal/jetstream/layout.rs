//! Which events go into which message.
//!
//! As many as its body and its index hold; the webhooks of an event that do not fit into one index
//! go on in messages of their own, right after it.

use std::collections::HashSet;
use std::ops::Range;

use super::wire::{AppendIndex, Indexed, MOST_EVENTS, MOST_INDEX};
use crate::model::{Timestamp, WebhookUid};

/// A message that is to be written, and the places of the events that stand in it: for one with
/// only the rest of an event's webhooks, none.
pub type Planned = (AppendIndex, Range<usize>);

/// The messages for these events, with bodies of at most so many bytes.
pub fn lay_out<'e>(
    events: impl IntoIterator<Item = &'e Indexed>,
    accepted_at: Timestamp,
    most: usize,
) -> Vec<Planned> {
    let mut layout = Layout { accepted_at, most, ..Layout::default() };
    for (number, event) in events.into_iter().enumerate() {
        layout.add(number, event);
    }
    layout.messages
}

/// Messages as they are filled.
struct Layout {
    accepted_at: Timestamp,
    /// Bytes of a body.
    most: usize,
    messages: Vec<Planned>,
    /// Of the last of them.
    bytes: usize,
    index: usize,
    known: HashSet<WebhookUid>,
}

impl Default for Layout {
    fn default() -> Self {
        let (messages, known) = (Vec::new(), HashSet::new());
        Self { accepted_at: Timestamp::from_millis(0), most: 0, messages, bytes: 0, index: 0, known }
    }
}

impl Layout {
    fn add(&mut self, number: usize, event: &Indexed) {
        let size = event.size as usize + 4;
        let fresh = event.webhooks.iter().filter(|webhook| !self.known.contains(webhook)).count();
        let weight = event.weight(fresh);
        let full = self.messages.last().is_none_or(|(last, _)| {
            last.back > 0
                || self.bytes + size > self.most
                || self.index + weight > MOST_INDEX
                || last.events.len() == MOST_EVENTS
        });
        if full {
            self.begin(0, 0, number..number);
        }
        // As many webhooks as fit, and the others in messages of their own.
        let all = event.webhooks.len();
        let head = if weight <= MOST_INDEX { all } else { event.alone().min(all) };
        let place = self.put(event.part(0..head));
        if let Some((_, places)) = self.messages.last_mut() {
            places.end = number + 1;
        }
        self.bytes += size;
        self.index += weight;
        self.known.extend(event.webhooks.iter().take(head));
        for (back, from) in (1..).zip((head..all).step_by(event.alone())) {
            self.begin(back, place, number..number);
            self.put(event.part(from..(from + event.alone()).min(all)));
        }
    }

    fn begin(&mut self, back: u16, first: u16, places: Range<usize>) {
        (self.bytes, self.index) = (0, 0);
        self.known.clear();
        let accepted_at = self.accepted_at;
        self.messages.push((AppendIndex { accepted_at, back, events: Vec::new(), first }, places));
    }

    /// Adds an event to the last message; its place there.
    fn put(&mut self, event: Indexed) -> u16 {
        let Some((message, _)) = self.messages.last_mut() else { return 0 };
        let place = u16::try_from(message.events.len()).unwrap_or(u16::MAX);
        message.events.push(event);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::jetstream::wire::{Before, Standing};
    use crate::model::EventKey;

    fn event(n: usize, bytes: u32, webhooks: usize) -> Indexed {
        let uid = |n: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            bytes
        };
        let key = EventKey::from_bytes(uid(n));
        let webhooks = (0..webhooks).map(|n| WebhookUid::from_bytes(uid(n))).collect();
        Indexed { key, user: 1, size: bytes, webhooks, before: None }
    }

    /// Every event once, every webhook of it once, and every message within its bounds.
    fn check(events: &[Indexed], most: usize) -> usize {
        let messages = lay_out(events, Timestamp::from_millis(1), most);
        let (mut bodies, mut deliveries) = (Vec::new(), Vec::new());
        for (at, (index, places)) in messages.iter().enumerate() {
            assert!(index.encode().len() <= 65_000, "{}", index.encode().len());
            assert!(index.events.len() <= MOST_EVENTS);
            let of = &messages[at - usize::from(index.back)];
            assert!(index.back == 0 || (of.0.back == 0 && places.is_empty()));
            let bytes: usize = events[places.clone()].iter().map(|event| event.size as usize + 4).sum();
            assert!(bytes <= most || places.len() == 1, "{bytes}");
            bodies.extend(places.clone());
            for (place, event) in index.events.iter().enumerate() {
                let number = of.1.start + usize::from(index.first) + place;
                assert_eq!(event.key, events[number].key);
                deliveries.extend(event.webhooks.iter().map(|webhook| (number, *webhook)));
            }
        }
        assert_eq!(bodies, (0..events.len()).collect::<Vec<_>>());
        deliveries.sort_unstable();
        let expected: Vec<_> = events
            .iter()
            .enumerate()
            .flat_map(|(number, event)| event.webhooks.iter().map(move |webhook| (number, *webhook)))
            .collect();
        assert_eq!(deliveries, expected);
        messages.len()
    }

    #[test]
    fn events_are_laid_out_in_as_few_messages_as_hold_them() {
        let many = |count, bytes, webhooks| (0..count).map(|n| event(n, bytes, webhooks)).collect::<Vec<_>>();
        assert_eq!(check(&many(1, 800, 1), 900_000), 1);
        assert_eq!(check(&many(500, 800, 3), 900_000), 1);
        assert_eq!(check(&many(1000, 100, 1), 900_000), 1);
        assert_eq!(check(&many(100, 20_000, 1), 900_000), 3);
        assert_eq!(check(&many(3, 1_000_000, 1), 900_000), 3);
        assert_eq!(check(&many(10, 800, 1000), 900_000), 1);
    }

    /// As it was in another journal.
    fn moved(mut event: Indexed) -> Indexed {
        let accepted_at = Timestamp::from_millis(1);
        let standing =
            |n: usize| Standing::Dead { letter: n as u64, size: 9, died_at: Timestamp::from_millis(2) };
        let deliveries = (0..event.webhooks.len()).map(standing).collect();
        event.before = Some(Before { accepted_at, deliveries });
        event
    }

    #[test]
    fn what_had_become_of_an_event_goes_with_each_of_its_webhooks() {
        assert_eq!(check(&[moved(event(0, 100, 10_000))], 900_000), 9);
        let events: Vec<_> = [3, 6000, 1, 900].map(|webhooks| moved(event(webhooks, 100, webhooks))).into();
        check(&events, 900_000);
        let standings = |(index, _): &Planned| {
            let of = |event: &Indexed| event.before.clone().expect("it is there").deliveries;
            index.events.iter().flat_map(of).collect::<Vec<_>>()
        };
        let laid_out = lay_out(&events, Timestamp::from_millis(1), 900_000);
        let found: Vec<_> = laid_out.iter().flat_map(standings).collect();
        let expected: Vec<_> =
            events.iter().flat_map(|event| event.before.clone().expect("it is there").deliveries).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_event_with_more_webhooks_than_an_index_holds_goes_on_in_the_next_messages() {
        assert_eq!(check(&[event(0, 100, 10_000)], 900_000), 5);
        let mixed: Vec<_> = [3, 6000, 1, 0, 2500, 2600]
            .iter()
            .enumerate()
            .map(|(n, webhooks)| event(n, 100, *webhooks))
            .collect();
        check(&mixed, 900_000);
    }
}
