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
        let weight = AppendIndex::weight(event.webhooks.len(), fresh);
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
        let fits = weight <= MOST_INDEX;
        let (head, mut rest) = event.webhooks.split_at(if fits { event.webhooks.len() } else { Self::ALONE });
        let place = self.put(event, head);
        if let Some((_, places)) = self.messages.last_mut() {
            places.end = number + 1;
        }
        self.bytes += size;
        self.index += weight;
        self.known.extend(head);
        let mut back = 0;
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(Self::ALONE.min(rest.len()));
            rest = tail;
            back += 1;
            self.begin(back, place, number..number);
            self.put(event, head);
        }
    }

    /// So many webhooks fit into the index of a message with one event.
    const ALONE: usize =
        (MOST_INDEX - AppendIndex::weight(0, 0)) / (AppendIndex::weight(1, 1) - AppendIndex::weight(0, 0));

    fn begin(&mut self, back: u16, first: u16, places: Range<usize>) {
        (self.bytes, self.index) = (0, 0);
        self.known.clear();
        let accepted_at = self.accepted_at;
        self.messages.push((AppendIndex { accepted_at, back, events: Vec::new(), first }, places));
    }

    /// Adds an event to the last message; its place there.
    fn put(&mut self, event: &Indexed, webhooks: &[WebhookUid]) -> u16 {
        let Some((message, _)) = self.messages.last_mut() else { return 0 };
        let place = u16::try_from(message.events.len()).unwrap_or(u16::MAX);
        message.events.push(Indexed { webhooks: webhooks.to_vec(), ..*event });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKey;

    fn event(n: usize, bytes: u32, webhooks: usize) -> Indexed {
        let uid = |n: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            bytes
        };
        let key = EventKey::from_bytes(uid(n));
        let webhooks = (0..webhooks).map(|n| WebhookUid::from_bytes(uid(n))).collect();
        Indexed { key, user: 1, size: bytes, webhooks }
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
