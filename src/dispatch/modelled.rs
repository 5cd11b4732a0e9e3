//! A webhook's lane and its report, for the model in [`crate::tests::model`].
//!
//! What decides is the product's own: `View::standing`, [`Memory`], [`Mark`],
//! [`Circuit`], [`verdict`] and [`report`]. What is copied is the order in
//! which [`super::lane`] asks them; each step names the function that it
//! stands for. Time passes whenever something waits for it.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::circuit::{Circuit, Permission};
use super::memory::{Mark, Memory};
use super::report::{Worth, is_held_by_its_lane, report, worth};
use super::stats::Snapshot;
use super::verdict::{self, Verdict};
use crate::api::DeliveringReason;
use crate::journal::{Depth, LaneState, Outcome};
use crate::model::{EventKey, Jitter, Timestamp};
use crate::outbound::Answer;
use crate::subscriptions::{Known, Standing, View};

/// On both clocks: it stands still, and what waits is told that it has waited.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The dispatcher's process, as far as it concerns one webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ModelLane {
    /// Whether a task runs for it, with what that has read of the lane's state.
    task: Option<Memory>,
    claimed: Option<Claimed>,
    /// The board: why the lane holds what it has, and whether it has ever looked.
    held: Option<(DeliveringReason, String)>,
    looked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Claimed {
    uri: String,
    mark: Option<Mark>,
    circuit: Circuit,
    circuit_changed: bool,
    /// The version whose endpoint said 410.
    gone: Option<(String, Option<Mark>)>,
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nothing is to be sent.
    Rests,
    /// The queue is to be dropped.
    Drops,
    /// Attempts may start by this version.
    Delivers(Arc<Known>),
}

/// How an endpoint ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    /// 204
    Thanks,
    /// 500
    Failure,
    /// 410
    Gone,
}

/// What the lane has in the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    pub(crate) pending: usize,
    pub(crate) busy: usize,
}

impl ModelLane {
    /// One turn of `Lane::run`, up to where it waits. `stored` is the lane's state in the journal.
    pub(crate) fn turn(
        &mut self,
        view: &View,
        stored: &mut Option<String>,
        queue: Queue,
        threshold: usize,
    ) -> Turn {
        let remembered = self.task.is_none() && !self.looked && is_held_by_its_lane(view);
        if self.task.is_none() && queue.pending == 0 && queue.busy == 0 && !remembered {
            return Turn::Rests;
        }
        let memory = self.task.get_or_insert_default();
        // Delivering::mark_gone
        if let Some(claimed) = &mut self.claimed
            && let Some((uri, mark)) = claimed.gone.take()
            && uri == claimed.uri
            && mark.is_some()
        {
            memory.gone = mark;
            *stored = Some(text(memory));
        }
        // Lane::standing
        let known = match memory.restrict(view.standing()) {
            Standing::Gone => {
                *self = Self::default();
                return Turn::Drops;
            }
            Standing::Held(reason, message) => return self.holds(reason, message, queue),
            Standing::Sendable(known) => known,
        };
        if self.claimed.is_none() {
            // Lane::deliver
            *memory = read(stored.as_ref());
            if let Standing::Held(reason, message) = memory.restrict(view.standing()) {
                return self.holds(reason, message, queue);
            }
            let open = memory.circuit(&known);
            if open.is_none() {
                self.held = None;
                self.looked = true;
            }
            self.claimed = Some(Claimed {
                uri: known.settings.uri.to_string(),
                mark: Mark::of(&known),
                circuit_changed: open.is_some(),
                circuit: Circuit::new(threshold, open),
                gone: None,
            });
        }
        self.goes_on(&known, stored, queue, threshold)
    }

    /// `Delivering::run`
    fn goes_on(
        &mut self,
        known: &Arc<Known>,
        stored: &mut Option<String>,
        queue: Queue,
        threshold: usize,
    ) -> Turn {
        let (Some(claimed), Some(memory)) = (&mut self.claimed, &mut self.task) else {
            return Turn::Rests;
        };
        // Delivering::look
        if claimed.mark != Mark::of(known) {
            claimed.circuit = Circuit::new(threshold, None);
            claimed.circuit_changed = true;
        }
        claimed.mark = Mark::of(known);
        claimed.uri = known.settings.uri.to_string();
        // Delivering::note_circuit
        if std::mem::take(&mut claimed.circuit_changed) {
            let open = claimed.circuit.open().cloned();
            self.held = open
                .as_ref()
                .map(|open| (DeliveringReason::CircuitOpen, open.message(threshold, open.probe_at())));
            self.looked = true;
            let before = memory.clone();
            memory.circuit = claimed.mark.clone().zip(open);
            if *memory != before {
                *stored = Some(text(memory));
            }
        }
        let busy = queue.pending > 0 || queue.busy > 0;
        if !busy && claimed.gone.is_none() && claimed.circuit.open().is_none() {
            // End::Idle
            self.claimed = None;
            self.task = None;
            return Turn::Rests;
        }
        Turn::Delivers(known.clone())
    }

    /// `Lane::sendable`, for as long as it may not be.
    fn holds(&mut self, reason: DeliveringReason, message: String, queue: Queue) -> Turn {
        if queue.busy == 0 {
            self.claimed = None;
            self.held = (reason == DeliveringReason::Gone).then_some((reason, message));
            self.looked = true;
        }
        Turn::Rests
    }

    /// Whether an attempt of this event may start, when so many run; if so, it has started.
    /// What waits for its time has waited.
    pub(crate) fn starts(&mut self, event: EventKey, busy: usize) -> bool {
        let Some(claimed) = &mut self.claimed else { return false };
        if claimed.gone.is_some() {
            return false;
        }
        let permission = match claimed.circuit.permission(busy, NOW) {
            Permission::At(moment) if busy == 0 => claimed.circuit.permission(busy, moment),
            other @ (Permission::At(_)
            | Permission::Free
            | Permission::Probe { .. }
            | Permission::AfterProbe) => other,
        };
        match permission {
            Permission::Free => true,
            Permission::Probe { .. } if busy == 0 => {
                claimed.circuit.begin_probe(event);
                true
            }
            Permission::Probe { .. } | Permission::At(_) | Permission::AfterProbe => false,
        }
    }

    /// `Runner::request` and `Runner::delivered`: what the journal is told.
    pub(crate) fn ended(&mut self, event: EventKey, known: &Known, failures: u16, said: Said) -> Outcome {
        let status = match said {
            Said::Thanks => StatusCode::NO_CONTENT,
            Said::Failure => StatusCode::INTERNAL_SERVER_ERROR,
            Said::Gone => StatusCode::GONE,
        };
        let end = Ok(Answer { status, headers: HeaderMap::new(), body: Bytes::new(), truncated: false });
        let verdict = verdict::judge(&end, NOW);
        let policy = &known.settings.policy;
        if let Some(claimed) = &mut self.claimed {
            match &verdict {
                Verdict::Delivered => claimed.circuit_changed |= claimed.circuit.delivered(),
                Verdict::Failed(failed) => {
                    let jitter = Jitter::LONGEST;
                    claimed.circuit_changed |=
                        claimed.circuit.failed(event, failed, &policy.backoff, jitter, NOW);
                }
                Verdict::Gone => claimed.gone = Some((known.settings.uri.to_string(), Mark::of(known))),
            }
        }
        verdict::next(&verdict, failures, policy, Jitter::LONGEST)
    }

    /// The lane went to another.
    pub(crate) fn is_lost(&mut self) {
        self.claimed = None;
    }

    /// What the report is made of.
    pub(crate) const fn board(&self) -> (Option<&(DeliveringReason, String)>, bool) {
        (self.held.as_ref(), self.looked)
    }

    /// Whether a turn may do anything, though nothing is queued.
    pub(crate) const fn is_up(&self) -> bool {
        self.task.is_some() || !self.looked
    }

    /// The condition that the reporter would write. Counts and times are left
    /// out: nothing is decided by them.
    pub(crate) fn report(&self, known: &Arc<Known>) -> Option<Condition> {
        let snapshot = Snapshot { held: self.held.clone(), looked: self.looked, ..Snapshot::default() };
        let report = report(known, &snapshot, Depth::default(), NOW);
        match worth(known, &report) {
            Worth::Transition => Some(report.condition),
            Worth::Progress if known.reported.delivering.as_ref() != Some(&report.condition) => {
                Some(report.condition)
            }
            Worth::Progress | Worth::Nothing => None,
        }
    }
}

fn text(memory: &Memory) -> String {
    String::from_utf8(memory.store().0).unwrap()
}

fn read(stored: Option<&String>) -> Memory {
    stored.map(|stored| Memory::load(&LaneState(stored.clone().into_bytes()))).unwrap_or_default()
}

/// What the lane's state in the journal says of this version: why it is held.
pub(crate) fn remembers(stored: Option<&String>, known: &Known) -> Option<DeliveringReason> {
    let memory = read(stored);
    if memory.is_gone(known) {
        Some(DeliveringReason::Gone)
    } else {
        memory.circuit(known).map(|_| DeliveringReason::CircuitOpen)
    }
}
