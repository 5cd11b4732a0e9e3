//! What can happen next, and what it does.

use std::fmt::Write as _;

use stateright::{Model, Path, Property};

use super::controller::From;
use super::objects::Object;
use super::world::{Delivery, EVENTS, Event, World};
use super::{Herald, controller, dispatcher, properties};
use crate::controller::modelled::{Agrees, Challenge};
use crate::dispatch::modelled::Said;

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Uri,
    Tls,
    Enabled,
    RequestVerification,
    Delete,
    /// Under the same name, another object.
    Create,
    /// As well, with the status of the one before it: from a backup.
    Restore,
    /// The Secret is deleted, or created.
    Secret,
}

impl Edit {
    pub(super) const ALL: [Self; 7] = [
        Self::Uri,
        Self::Tls,
        Self::Enabled,
        Self::RequestVerification,
        Self::Delete,
        Self::Create,
        Self::Secret,
    ];
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    // What Herald does by itself, in the end.
    ControllerSees,
    ControllerSeesSecret,
    Reconciles { from: From, time_passes: bool },
    DispatcherSees,
    DispatcherSeesSecret,
    AsksWhetherGone { uid: usize },
    Looks { uid: usize },
    Starts { event: usize, uid: usize },
    Syncs,
    Reports,
    // What endpoints do: they agree and take it, in the end.
    Challenged(Agrees),
    Says { event: usize, uid: usize, said: Said },
    // What happens to it.
    Edited(Edit),
    Posted { event: usize, heard: bool },
    ControllerCrashes,
    DispatcherCrashes { taken: bool },
    LaneIsLost { uid: usize, taken: bool },
}

impl Herald {
    /// What Herald does, and endpoints once failures stop. Some of it may change nothing.
    pub(super) fn own_steps(world: &World, steps: &mut Vec<Step>) {
        let (controller, dispatcher) = (&world.controller, &world.dispatcher);
        let mut step = |holds: bool, step: Step| steps.extend(holds.then_some(step));
        step(controller.watch != Some(world.last()), Step::ControllerSees);
        step(controller.key != world.key, Step::ControllerSeesSecret);
        let reconciles = |time_passes| Step::Reconciles { from: From::Newest, time_passes };
        step(controller.watch.is_some(), reconciles(false));
        step(controller.watch.is_some() && controller.wait.is_some(), reconciles(true));
        step(matches!(controller.challenge, Challenge::Running(_)), Step::Challenged(Agrees::Yes));
        step(dispatcher.watch != Some(world.last()), Step::DispatcherSees);
        step(dispatcher.key != world.key, Step::DispatcherSeesSecret);
        step(dispatcher.watch.is_some(), Step::Reports);
        step(world.deliveries.iter().flatten().any(|it| it.state != it.durable), Step::Syncs);
        for uid in 0..2 {
            let waiting = world.of(uid).any(Delivery::is_pending);
            step(waiting || dispatcher.lanes[uid].is_up(), Step::Looks { uid });
            step(waiting && dispatcher.watch.is_some(), Step::AsksWhetherGone { uid });
            for event in 0..EVENTS {
                let delivery = &world.deliveries[event][uid];
                let flies = delivery.flying.is_some();
                step(flies, Step::Says { event, uid, said: Said::Thanks });
                step(delivery.is_pending() && !flies, Step::Starts { event, uid });
            }
        }
        for (event, posted) in world.events.iter().enumerate() {
            step(matches!(posted, Event::InDoubt(_)), Step::Posted { event, heard: true });
        }
    }

    fn others_steps(&self, world: &World, steps: &mut Vec<Step>) {
        let left = world.left;
        if left.edits > 0 {
            steps.extend(self.edits.iter().copied().map(Step::Edited));
        }
        if left.events > 0
            && let Some(event) = world.events.iter().position(|it| *it == Event::New)
        {
            steps.push(Step::Posted { event, heard: true });
            if left.crashes > 0 {
                steps.push(Step::Posted { event, heard: false });
            }
        }
        if left.failures > 0 {
            if matches!(world.controller.challenge, Challenge::Running(_)) {
                steps.extend([Step::Challenged(Agrees::Refuses), Step::Challenged(Agrees::Silent)]);
            }
            for event in 0..EVENTS {
                for uid in (0..2).filter(|uid| world.deliveries[event][*uid].flying.is_some()) {
                    let says = |said| Step::Says { event, uid, said };
                    steps.extend([says(Said::Failure), says(Said::Gone)]);
                }
            }
        }
        if left.crashes > 0 {
            steps.push(Step::ControllerCrashes);
            if world.controller.ahead.is_some() {
                steps.push(Step::Reconciles { from: From::Watch, time_passes: false });
            }
            steps.extend([true, false].map(|taken| Step::DispatcherCrashes { taken }));
            for uid in (0..2).filter(|uid| world.queue(*uid).busy > 0) {
                steps.extend([true, false].map(|taken| Step::LaneIsLost { uid, taken }));
            }
        }
    }

    /// Where it ends when nothing more comes, by one of the ways there are.
    pub(super) fn rest_of(&self, mut world: World) -> World {
        loop {
            let mut steps = Vec::new();
            Self::own_steps(&world, &mut steps);
            match steps.into_iter().find_map(|step| self.after(&world, step)) {
                Some(next) => world = next,
                None => return world,
            }
        }
    }

    /// Whether nothing happens any more by itself.
    pub(super) fn rests(&self, world: &World) -> bool {
        let mut steps = Vec::new();
        Self::own_steps(world, &mut steps);
        steps.into_iter().all(|step| self.after(world, step).is_none())
    }

    /// The world after a step; `None` if that changes nothing.
    fn after(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::ControllerSees => controller::sees(&mut world),
            Step::ControllerSeesSecret => world.controller.key = world.key,
            Step::Reconciles { from, time_passes } => self.reconciles(&mut world, from, time_passes),
            Step::DispatcherSees => dispatcher::sees(&mut world),
            Step::DispatcherSeesSecret => world.dispatcher.key = world.key,
            Step::AsksWhetherGone { uid } => dispatcher::asks(&mut world, uid),
            Step::Looks { uid } => {
                self.turns(&mut world, uid);
            }
            Step::Starts { event, uid } => {
                // Otherwise it has only looked, which is a step of its own.
                if !self.starts(&mut world, event, uid) {
                    return None;
                }
            }
            Step::Syncs => dispatcher::syncs(&mut world),
            Step::Reports => self.reports(&mut world),
            Step::Challenged(agrees) => controller::challenged(&mut world, agrees),
            Step::Says { event, uid, said } => self.says(&mut world, event, uid, said),
            Step::Edited(edit) => {
                if !edited(&mut world, edit) {
                    return None;
                }
                world.left.edits -= 1;
            }
            Step::Posted { event, heard } => self.posts(&mut world, event, heard),
            Step::ControllerCrashes => controller::crashes(&mut world),
            Step::DispatcherCrashes { taken } => dispatcher::crashes(&mut world, taken),
            Step::LaneIsLost { uid, taken } => dispatcher::loses_lane(&mut world, uid, taken),
        }
        world.trim();
        (world != *before).then_some(world)
    }
}

/// Whether there was anything to edit.
fn edited(world: &mut World, edit: Edit) -> bool {
    let next = match (edit, world.now().cloned()) {
        (Edit::Secret, _) => {
            world.key = !world.key;
            return true;
        }
        // The first was created before the beginning, and the second is the last.
        (Edit::Create, None) => Some(Object::new(1)),
        (Edit::Delete, Some(_)) => None,
        (Edit::Restore, Some(it)) if it.uid == 0 => {
            world.store(None);
            Some(it.restored())
        }
        (Edit::RequestVerification, Some(it)) => Some(Object { request: it.request + 1, ..it }),
        (Edit::Uri, Some(it)) => Some(Object { uri: 1 - it.uri, generation: it.generation + 1, ..it }),
        (Edit::Tls, Some(it)) => Some(Object { tls: !it.tls, generation: it.generation + 1, ..it }),
        (Edit::Enabled, Some(it)) => {
            Some(Object { enabled: !it.enabled, generation: it.generation + 1, ..it })
        }
        (Edit::Create | Edit::Restore, Some(_))
        | (
            Edit::Delete | Edit::Restore | Edit::RequestVerification | Edit::Uri | Edit::Tls | Edit::Enabled,
            None,
        ) => {
            return false;
        }
    };
    world.store(next);
    true
}

impl Model for Herald {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        self.begin.clone()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        Self::own_steps(world, steps);
        self.others_steps(world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        self.after(world, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// A way to a state, for people: the steps, and the state at the end.
pub(super) fn told(path: &Path<World, Step>) -> String {
    let mut text = String::new();
    for (number, (_, step)) in path.clone().into_vec().into_iter().enumerate() {
        if let Some(step) = step {
            writeln!(text, "{:>3} {step:?}", number + 1).unwrap();
        }
    }
    write!(text, "{:?}", path.last_state()).unwrap();
    text
}
