//! The steps of the dispatcher, ingestion with it, and of the journal.

use std::sync::Arc;

use super::objects::{MAX_ATTEMPTS, Object};
use super::world::{Attempt, Dispatcher, Event, Stage, World};
use super::{Herald, Known};
use crate::dispatch::modelled::{ModelLane, Said, Turn};
use crate::journal::Outcome;
use crate::model::EventKey;
use crate::subscriptions::View;

/// The watch brings the next version, or the list the newest.
pub(super) fn sees(world: &mut World) {
    let before = world.dispatchers().map(|object| object.uid);
    let last = world.last();
    let next = world.dispatcher.watch.map_or(last, |watch| (watch + 1).min(last));
    world.dispatcher.watch = Some(next);
    let now = world.dispatchers().map(|object| object.uid);
    if let Some(before) = before.filter(|before| now != Some(*before)) {
        world.dispatcher.seen_gone[before] = true;
    }
}

/// `Lane::confirmed_gone`: a list read from the API server's store.
pub(super) fn asks(world: &mut World, uid: usize) {
    if world.now().is_none_or(|object| object.uid != uid) {
        world.drop_queue(uid);
        world.dispatcher.lanes[uid] = ModelLane::default();
    }
}

/// The journal makes its outcomes durable.
pub(super) fn syncs(world: &mut World) {
    for delivery in world.deliveries.iter_mut().flatten() {
        delivery.durable = delivery.state;
    }
}

/// The process ends at once, and begins anew. Its endpoint may have `taken` what was in flight.
pub(super) fn crashes(world: &mut World, taken: bool) {
    for delivery in world.deliveries.iter_mut().flatten() {
        delivery.is_cut_off(taken, delivery.durable);
    }
    world.dispatcher = Dispatcher { key: world.key, ..Dispatcher::default() };
    world.left.crashes -= 1;
}

/// The lane goes to another, or the store is opened again.
pub(super) fn loses_lane(world: &mut World, uid: usize, taken: bool) {
    for by_uid in &mut world.deliveries {
        let delivery = &mut by_uid[uid];
        delivery.is_cut_off(taken, delivery.state);
    }
    world.dispatcher.lanes[uid].is_lost();
    world.left.crashes -= 1;
}

impl Herald {
    /// A producer posts an event, or posts it again. The answer may get lost.
    pub(super) fn posts(&self, world: &mut World, event: usize, heard: bool) {
        let matched = match world.events[event] {
            // A duplicate: the first copy stands.
            Event::InDoubt(matched) | Event::Acknowledged(matched) => matched,
            Event::New => {
                world.left.events -= 1;
                let object = world.dispatchers();
                object.filter(|object| self.read(object, true).takes_events()).map(|object| object.uid)
            }
        };
        if world.events[event] == Event::New
            && let Some(uid) = matched
        {
            let delivery = &mut world.deliveries[event][uid];
            delivery.state = Stage::Pending(0);
            delivery.durable = Stage::Pending(0);
        }
        world.events[event] = if heard {
            Event::Acknowledged(matched)
        } else {
            world.left.crashes -= 1;
            Event::InDoubt(matched)
        };
    }

    /// The lane of this object looks, and may drop its queue.
    pub(super) fn turns(&self, world: &mut World, uid: usize) -> Option<Arc<Known>> {
        world.dispatcher.watch?;
        let (view, queue) = (self.view(world, uid), world.queue(uid));
        if matches!(view, View::Gone) && queue.busy > 0 {
            // What runs is awaited.
            return None;
        }
        let lane = &mut world.dispatcher.lanes[uid];
        match lane.turn(&view, &mut world.lane_states[uid], queue, self.threshold) {
            Turn::Rests => None,
            Turn::Drops => {
                world.drop_queue(uid);
                None
            }
            Turn::Delivers(known) => Some(known),
        }
    }

    /// An attempt starts: only after the lane has looked.
    pub(super) fn starts(&self, world: &mut World, event: usize, uid: usize) -> bool {
        let Some(known) = self.turns(world, uid) else { return false };
        let busy = world.queue(uid).busy;
        if !world.dispatcher.lanes[uid].starts(key(event), busy) {
            return false;
        }
        let Some(by) = world.dispatchers().cloned() else { return false };
        let attempt = Attempt {
            key: known.credentials.is_ok(),
            seen_gone: world.dispatcher.seen_gone[uid],
            after_410: by.is_gone(world.lane_states[uid].as_ref()),
            by,
        };
        world.deliveries[event][uid].flying = Some(attempt);
        true
    }

    /// The endpoint answers, and the outcome is settled.
    pub(super) fn says(&self, world: &mut World, event: usize, uid: usize, said: Said) {
        let delivery = &mut world.deliveries[event][uid];
        let Some(Attempt { by, key: has_key, .. }) = delivery.flying.take() else { return };
        match said {
            Said::Thanks => delivery.taken += 1,
            Said::Failure => delivery.failed = (delivery.failed + 1).min(MAX_ATTEMPTS),
            Said::Gone => delivery.refused = true,
        }
        let Stage::Pending(failures) = delivery.state else { return };
        let known = self.read(&by, has_key);
        let outcome = world.dispatcher.lanes[uid].ended(key(event), &known, failures.into(), said);
        delivery.state = match outcome {
            Outcome::Done => Stage::Done,
            Outcome::Retry { .. } => Stage::Pending(failures + 1),
            Outcome::Dead(_) => Stage::Dead,
            Outcome::Release => Stage::Pending(failures),
        };
        if said != Said::Thanks {
            world.left.failures -= 1;
        }
    }

    /// The reporter writes what it has to say of the object in view.
    pub(super) fn reports(&self, world: &mut World) {
        let Some(object) = world.dispatchers() else { return };
        let lane = &world.dispatcher.lanes[object.uid];
        let key = world.dispatcher.key;
        let said = self.reports.get((object, key, lane.board()), || lane.report(&self.read(object, key)));
        let Some(condition) = said else { return };
        // Over whatever version; but not over another object.
        if let Some(stored) = world.now().filter(|stored| stored.uid == object.uid) {
            let asked = (
                stored,
                &condition.status,
                &condition.reason,
                &condition.message,
                condition.observed_generation,
            );
            let written = self.written.get(asked, || stored.with_dispatchers(condition.clone()));
            world.store(Some(written));
        }
    }

    fn view(&self, world: &World, uid: usize) -> View {
        match world.dispatchers() {
            Some(object) if object.uid == uid => View::Known(self.read(object, world.dispatcher.key)),
            Some(_) | None if world.dispatcher.seen_gone[uid] => View::Gone,
            Some(_) | None => View::Unknown,
        }
    }

    pub(super) fn read(&self, object: &Object, has_key: bool) -> Arc<Known> {
        self.known.get((object, has_key), || Arc::new(object.read(has_key)))
    }
}

fn key(event: usize) -> EventKey {
    EventKey::from_bytes([u8::try_from(event).unwrap(); 16])
}
