//! The state: the API server, the controller's and the dispatcher's view of
//! it, the journal, and what the properties need to remember.

use super::objects::Object;
use crate::controller::modelled::{Challenge, ModelWait};
use crate::dispatch::modelled::{ModelLane, Queue};

/// How many events are ever posted.
pub(super) const EVENTS: usize = 2;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// What the API server stores under the name, oldest first; the last is now. What both
    /// watches have brought is cut off.
    pub(super) versions: Vec<Option<Object>>,
    /// Whether the Secret with the API key is there.
    pub(super) key: bool,
    pub(super) controller: Controller,
    pub(super) dispatcher: Dispatcher,
    /// By UID: the lane's state, durable.
    pub(super) lane_states: [Option<String>; 2],
    pub(super) events: [Event; EVENTS],
    /// By event and UID.
    pub(super) deliveries: [[Delivery; 2]; EVENTS],
    /// Which endpoints have agreed, as bits by [`Object::endpoint`].
    pub(super) agreed: u16,
    pub(super) left: Left,
}

/// How much may still happen to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) edits: u8,
    /// Endpoints that do not answer as one would like.
    pub(super) failures: u8,
    /// Ends of processes, lost lanes and answers of the journal that got lost.
    pub(super) crashes: u8,
    pub(super) events: u8,
}

/// The process of the controller. It is restarted at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Controller {
    /// Which of the versions the watch has brought; `None` before the first list.
    pub(super) watch: Option<usize>,
    /// What the API server answered to a write, if it is newer.
    pub(super) ahead: Option<usize>,
    pub(super) key: bool,
    pub(super) challenge: Challenge,
    pub(super) wait: Option<ModelWait>,
}

/// The process of the dispatcher. It is restarted at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Dispatcher {
    pub(super) watch: Option<usize>,
    pub(super) key: bool,
    /// By UID.
    pub(super) lanes: [ModelLane; 2],
    /// Which UIDs this process has seen to be gone.
    pub(super) seen_gone: [bool; 2],
}

/// An event and its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    New,
    /// It is stored, and its producer does not know.
    InDoubt(Option<usize>),
    /// The producer has its 202; it was matched to this UID.
    Acknowledged(Option<usize>),
}

/// One event on its way to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Delivery {
    pub(super) state: Stage,
    /// What a crash would leave.
    pub(super) durable: Stage,
    pub(super) flying: Option<Attempt>,
    /// How many 2xx the endpoint has given.
    pub(super) taken: u8,
    /// How many 500.
    pub(super) failed: u8,
    /// Whether it has given a 410.
    pub(super) refused: bool,
    /// How many crashes found it in flight, or with an outcome that was not durable.
    pub(super) excused: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It was not matched.
    #[default]
    Absent,
    /// So many attempts have failed.
    Pending(u8),
    Done,
    Dead,
    /// Its webhook is gone.
    Dropped,
}

/// An attempt in flight, and what was so when it began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// The version by which it was sent.
    pub(super) by: Object,
    pub(super) key: bool,
    /// The dispatcher had seen that the object is gone.
    pub(super) seen_gone: bool,
    /// The journal knew that this endpoint has answered 410 since its proof.
    pub(super) after_410: bool,
}

impl World {
    pub(super) fn new(left: Left) -> Self {
        Self {
            versions: vec![Some(Object::new(0))],
            key: true,
            controller: Controller::default(),
            dispatcher: Dispatcher::default(),
            lane_states: [None, None],
            events: [Event::New; EVENTS],
            deliveries: Default::default(),
            agreed: 0,
            left,
        }
    }

    pub(super) fn last(&self) -> usize {
        self.versions.len() - 1
    }

    /// What the API server stores now.
    pub(super) fn now(&self) -> Option<&Object> {
        self.versions[self.last()].as_ref()
    }

    /// Stores another version, unless it is the same.
    pub(super) fn store(&mut self, object: Option<Object>) {
        if self.now() != object.as_ref() {
            self.versions.push(object);
        }
    }

    /// Forgets the versions that nobody can see any more.
    pub(super) fn trim(&mut self) {
        let Controller { watch, ahead, .. } = &mut self.controller;
        if self.left.crashes == 0 {
            // What only a crash tells apart is the same.
            *watch = (*ahead).max(*watch);
            self.deliveries.iter_mut().flatten().for_each(|it| it.durable = it.state);
        }
        ahead.take_if(|ahead| Some(*ahead) <= *watch);
        let views = [watch, ahead, &mut self.dispatcher.watch];
        let oldest = views.iter().filter_map(|view| **view).min().unwrap_or(self.versions.len() - 1);
        for view in views {
            *view = view.map(|view| view - oldest);
        }
        self.versions.drain(..oldest);
    }

    /// The object that the dispatcher's watch has brought.
    pub(super) fn dispatchers(&self) -> Option<&Object> {
        self.versions[self.dispatcher.watch?].as_ref()
    }

    pub(super) fn of(&self, uid: usize) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter().map(move |by_uid| &by_uid[uid])
    }

    pub(super) fn queue(&self, uid: usize) -> Queue {
        Queue {
            pending: self.of(uid).filter(|it| it.is_pending()).count(),
            busy: self.of(uid).filter(|it| it.flying.is_some()).count(),
        }
    }

    /// What has not ended is dropped, durably.
    pub(super) fn drop_queue(&mut self, uid: usize) {
        for by_uid in &mut self.deliveries {
            let delivery = &mut by_uid[uid];
            if delivery.is_pending() {
                delivery.state = Stage::Dropped;
            }
            delivery.durable = delivery.state;
        }
    }
}

impl Delivery {
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, Stage::Pending(_))
    }

    /// The process that delivers it is no more; the endpoint may have `taken` what was in flight.
    pub(super) fn is_cut_off(&mut self, taken: bool, state: Stage) {
        if self.flying.take().is_some() {
            self.taken += u8::from(taken);
            self.excused += 1;
        } else if self.state != state {
            self.excused += 1;
        }
        self.state = state;
    }
}
