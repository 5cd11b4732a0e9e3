//! What is promised, in terms of the world and not of the code that is judged.

use stateright::Property;

use super::Herald;
use super::objects::{MAX_ATTEMPTS, Object};
use super::world::{Delivery, Event, Stage, World};
use crate::api::{ConditionType, DeliveringReason, Reason};
use crate::controller::modelled::Challenge;
use crate::dispatch::modelled::remembers;
use crate::model::Timestamp;

/// All of them.
pub(super) fn all() -> Vec<Property<Herald>> {
    let holds = Property::<Herald>::always;
    let is_met = Property::<Herald>::sometimes;
    vec![
        holds(
            "1: what was acknowledged is delivered, pending, dead, or its webhook was deleted",
            |_, world| {
                world
                    .events
                    .iter()
                    .zip(&world.deliveries)
                    .all(|(event, to)| is_accounted_for(world, *event, to))
            },
        ),
        holds("a delivery that has failed as often as it may is not tried again", |_, world| {
            let states = world.deliveries.iter().flatten().map(|it| it.state);
            states.into_iter().all(|it| !matches!(it, Stage::Pending(failures) if failures >= MAX_ATTEMPTS))
        }),
        holds(
            "5: a delivery whose 2xx was received repeats only after a crash that found it unsettled",
            |_, world| world.deliveries.iter().flatten().all(|it| it.taken <= 1 + it.excused),
        ),
        holds(
            "6: an attempt starts only by one version that is enabled, proved as it is, and has its Secret",
            |_, world| attempts(world).all(|it| it.by.enabled && it.by.is_proved() && it.key),
        ),
        holds("6: an attempt goes only where this object's endpoint has agreed", |_, world| {
            attempts(world).all(|it| world.agreed & (1 << it.by.endpoint()) != 0)
        }),
        holds("6: an event is matched only to an object whose endpoint has agreed", |_, world| {
            world.events.iter().all(|event| match event {
                Event::InDoubt(Some(uid)) | Event::Acknowledged(Some(uid)) => {
                    Object::endpoints(*uid).any(|endpoint| world.agreed & (1 << endpoint) != 0)
                }
                Event::New | Event::InDoubt(None) | Event::Acknowledged(None) => true,
            })
        }),
        holds("6: no attempt starts for an object whose deletion the dispatcher has seen", |_, world| {
            attempts(world).all(|it| !it.seen_gone)
        }),
        holds("6: no attempt starts after a 410 before another proof", |_, world| {
            attempts(world).all(|it| !it.after_410)
        }),
        holds(
            "once changes stop, every status settles and every pending delivery ends or is held for a reason shown",
            |herald, world| is_settled(herald, world) || !herald.rests(world),
        ),
        holds("nobody challenges or writes again and again", |_, world| {
            let proof = world.now().and_then(|object| object.status.get().verification.as_ref());
            // Each proof is a millisecond later than the one before it.
            let proofs = proof.map_or(0, |proof| Timestamp::from(&proof.time).as_millis() % 1000);
            // One at first, and one for each edit, failure and crash that there may be.
            proofs < 7 && world.versions.len() < 20
        }),
        is_met("an event is delivered", |_, world| world.of(0).any(|it| it.state == Stage::Done)),
        is_met("an event dies", |_, world| world.of(0).any(|it| it.state == Stage::Dead)),
        is_met("a queue is dropped", |_, world| world.of(0).any(|it| it.state == Stage::Dropped)),
        is_met("a 2xx is repeated after a crash", |_, world| world.of(0).any(|it| it.taken == 2)),
        is_met("a proof is revoked", |_, world| {
            let proof = world.now().and_then(|object| object.status.get().verification.as_ref());
            proof.is_some_and(|proof| proof.revoked_time.is_some())
        }),
        is_met("a webhook rests at a 410 with an event pending", |herald, world| {
            shown(world) == Some("Gone") && world.of(0).any(Delivery::is_pending) && herald.rests(world)
        }),
        is_met("a circuit opens", |_, world| shown(world) == Some("CircuitOpen")),
        is_met("the second object has its own delivery", |_, world| {
            world.of(1).any(|it| it.state == Stage::Done)
        }),
    ]
}

fn attempts(world: &World) -> impl Iterator<Item = &super::world::Attempt> {
    world.deliveries.iter().flatten().filter_map(|delivery| delivery.flying.as_ref())
}

fn is_accounted_for(world: &World, event: Event, to: &[Delivery; 2]) -> bool {
    let Event::Acknowledged(Some(uid)) = event else { return true };
    let delivery = &to[uid];
    match delivery.state {
        Stage::Absent => false,
        Stage::Pending(_) => true,
        Stage::Done => delivery.taken > 0,
        Stage::Dead => delivery.refused || delivery.failed >= MAX_ATTEMPTS,
        Stage::Dropped => world.now().is_none_or(|object| object.uid != uid),
    }
}

/// The reason of Delivering.
fn shown(world: &World) -> Option<&str> {
    world.now()?.condition(ConditionType::Delivering).map(|condition| condition.reason.as_str())
}

fn is_settled(herald: &Herald, world: &World) -> bool {
    if attempts(world).next().is_some() || world.controller.challenge != Challenge::None {
        return false;
    }
    let now = world.now();
    let gone = |uid: usize| now.is_none_or(|object| object.uid != uid);
    let dropped = (0..2).filter(|uid| gone(*uid)).all(|uid| !world.of(uid).any(Delivery::is_pending));
    dropped
        && now.is_none_or(|object| {
            controller_is_done(world, object) && dispatcher_is_done(herald, world, object)
        })
}

/// The endpoint agrees in the end, so what can be proved is proved.
fn controller_is_done(world: &World, object: &Object) -> bool {
    let status = object.status.get();
    let (holds, reason) = match (object.enabled, world.key) {
        (false, _) => ("True", Reason::Disabled),
        (true, false) => ("False", Reason::SecretMissing),
        (true, true) => ("True", Reason::Verified),
    };
    let ready = object.condition(ConditionType::Ready);
    status.observed_generation == Some(object.generation)
        && object.is_proved()
        && object.requested().is_none_or(|value| status.last_handled_verify_request == Some(value))
        && ready.is_some_and(|ready| {
            (ready.status.as_str(), ready.reason.as_str()) == (holds, reason.as_str())
                && ready.observed_generation == Some(object.generation)
        })
        && object.condition(ConditionType::Verified).is_some_and(|verified| verified.status == "True")
}

/// What holds an event is what the status says.
fn dispatcher_is_done(herald: &Herald, world: &World, object: &Object) -> bool {
    let known = herald.read(object, world.key);
    let reason = match (object.enabled, world.key) {
        (false, _) => DeliveringReason::Disabled,
        (true, false) => DeliveringReason::SecretsUnresolved,
        (true, true) => {
            remembers(world.lane_states[object.uid].as_ref(), &known).unwrap_or(DeliveringReason::Delivering)
        }
    };
    let holds = if reason == DeliveringReason::Delivering { "True" } else { "False" };
    let condition = object.condition(ConditionType::Delivering);
    let says_so = condition.is_some_and(|it| {
        (it.status.as_str(), it.reason.as_str()) == (holds, reason.as_str())
            && it.observed_generation == Some(object.generation)
    });
    let may_wait = match reason {
        DeliveringReason::Disabled | DeliveringReason::SecretsUnresolved | DeliveringReason::Gone => true,
        DeliveringReason::Delivering
        | DeliveringReason::NotVerified
        | DeliveringReason::CircuitOpen
        | DeliveringReason::ViewStale
        | DeliveringReason::Unreadable => false,
    };
    // What only the lane knows is not looked up for a webhook that has nothing queued.
    let (_, looked) = world.dispatcher.lanes[object.uid].board();
    let queued = world.of(object.uid).any(Delivery::is_pending);
    let unheard = !looked && !queued && shown(world) == Some(DeliveringReason::Delivering.as_str());
    (says_so || unheard) && (may_wait || !queued)
}
