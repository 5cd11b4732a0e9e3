//! The steps of the controller.

use super::objects::{Object, endpoint};
use super::world::{Controller, World};
use super::{Herald, Known};
use crate::controller::modelled::{Agrees, Challenge, Decided, Seen, reconcile};

/// Which version a reconcile begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The newest that it knows.
    Newest,
    /// What the watch has brought: what it has written itself is too long ago.
    Watch,
}

/// The watch brings the next version, or the list the newest.
pub(super) fn sees(world: &mut World) {
    let last = world.last();
    let Controller { watch, ahead, challenge, wait, .. } = &mut world.controller;
    let next = watch.map_or(last, |watch| (watch + 1).min(last));
    *watch = Some(next);
    if world.versions[next].is_none() {
        // Reconciler::forget
        (*ahead, *challenge, *wait) = (None, Challenge::None, None);
    }
}

/// The challenge under way ends.
pub(super) fn challenged(world: &mut World, agrees: Agrees) {
    if let Challenge::Running(aim) = &world.controller.challenge {
        if agrees == Agrees::Yes {
            world.agreed |= 1 << endpoint(&aim.uid, &aim.uri, &aim.tls_digest);
        } else {
            world.left.failures -= 1;
        }
        world.controller.challenge = Challenge::Ended(aim.clone(), agrees);
    }
}

pub(super) fn crashes(world: &mut World) {
    world.controller = Controller { key: world.key, ..Controller::default() };
    world.left.crashes -= 1;
}

impl Herald {
    /// `Reconciler::settle`: after a conflict it decides again on the newest.
    pub(super) fn reconciles(&self, world: &mut World, from: From, time_passes: bool) {
        let Some(watch) = world.controller.watch else { return };
        let mut at = match from {
            From::Newest => world.controller.ahead.map_or(watch, |ahead| ahead.max(watch)),
            From::Watch => {
                world.left.crashes -= 1;
                world.controller.ahead = None;
                watch
            }
        };
        loop {
            let Some(object) = world.versions[at].clone() else { return };
            let decided = self.decides(&object, &world.controller, time_passes);
            if decided.abandon {
                world.controller.challenge = Challenge::None;
            }
            if let Some(write) = &decided.write {
                if at != world.last() {
                    at = world.last();
                    continue;
                }
                world.store(Some(object.with_controllers(write)));
                world.controller.ahead = Some(world.last());
            }
            if matches!(world.controller.challenge, Challenge::Ended(..)) {
                world.controller.challenge = Challenge::None;
            }
            if let Some(aim) = decided.start {
                world.controller.challenge = Challenge::Running(aim);
            }
            world.controller.wait = decided.wait;
            return;
        }
    }

    fn decides(&self, object: &Object, controller: &Controller, time_passes: bool) -> Decided {
        let Controller { key, challenge, wait, .. } = controller;
        self.decisions.get((object, key, challenge, wait, time_passes), || {
            let Known { settings, .. } = &*self.read(object, *key);
            let requested = object.requested();
            let seen = Seen {
                uid: super::objects::UIDS[object.uid],
                generation: object.generation,
                uri: settings.uri.as_str(),
                tls_digest: &settings.tls_digest,
                enabled: settings.enabled,
                has_key: *key,
                requested: requested.as_deref(),
                status: object.status.get(),
            };
            reconcile(&seen, challenge, wait.as_ref(), time_passes)
        })
    }
}
