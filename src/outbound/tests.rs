//! The client against real TLS servers on loopback. The servers, and the client's
//! settings for them, serve the tests of its users too.

mod corpus;
mod destinations;
mod failures;
mod hostile;
mod limits;
#[path = "../../tests/names/mod.rs"]
mod names;
mod proxy;
mod reuse;
pub(crate) mod server;
mod sessions;
pub(crate) mod subject;
mod unasked;

use std::time::Duration;

use super::Step;
use crate::model::Phases;

/// For what must come at once, on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(20);

/// For what is to run out of time.
const SHORT: Duration = Duration::from_millis(200);

/// Each step up to `last` has taken time, and none after it.
#[track_caller]
fn assert_steps(phases: &Phases, last: Step) {
    let steps = in_order(phases);
    let begun = steps.iter().position(|&(step, _)| step == last).unwrap();
    for (number, (step, took)) in steps.into_iter().enumerate() {
        assert_eq!(
            took > Duration::ZERO,
            number <= begun,
            "{step:?} took {took:?}, up to {last:?}: {phases:?}"
        );
    }
}

/// The time of [`SHORT`] went into `step`, for the better part.
#[track_caller]
fn assert_ran_out(phases: &Phases, step: Step) {
    assert_steps(phases, step);
    let (_, took) = in_order(phases).into_iter().find(|&(other, _)| other == step).unwrap();
    assert!(took > SHORT / 4, "{step:?} took only {took:?}: {phases:?}");
}

fn in_order(phases: &Phases) -> [(Step, Duration); 5] {
    let Phases { resolve, connect, tls, first_byte, body } = *phases;
    [
        (Step::Resolve, resolve),
        (Step::Connect, connect),
        (Step::Tls, tls),
        (Step::Head, first_byte),
        (Step::Body, body),
    ]
}
