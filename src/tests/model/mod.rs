//! The rules of sending, checked exhaustively on a small world.
//!
//! ```text
//!             edits                 agrees │ refuses │ silent
//!               v                              v
//! user ─> API server ─ watch ─> controller ─ challenge
//!               │   ^ status        │
//!               │   └───────────────┴──────────────┐
//!               └─ watch ─> dispatcher: lane, circuit, report ─ attempt ─> 2xx │ 500 │ 410
//! producer ─ POST ─> match ──────> journal ─ lease ─^ │ outcome
//!                                     ^───────────────┘ durable a little later
//! ```
//!
//! One Webhook, deleted and created again under its name, with two URIs and
//! two TLS settings; a Secret that comes and goes; two events. Each arrow is
//! a step of its own and may be late: each watch brings one version after the
//! other, and an outcome is lost by a crash until it is durable. Anything may
//! come between two steps. How many edits, failures and crashes come is
//! bounded by [`Left`]; in which order they come is not.
//!
//! **What runs.** [`decide`](crate::controller::decide::decide) and the
//! controller's `Wait`; `Settings::read`, `Known::read`, `Known::takes_events`
//! and `View::standing`; the dispatcher's `Memory`, `Mark`, `Circuit`,
//! `verdict` and `report`. The few lines that call them are copied in
//! [`crate::controller::modelled`] and [`crate::dispatch::modelled`].
//!
//! **Assumes.** The time of day stands still, and whatever waits for a moment
//! may find it come. Whoever waits for a change hears of it. The journal keeps
//! what its trait promises; its engines are tested elsewhere. An endpoint
//! agrees and takes what it is sent once failures stop, and every part that
//! can go on does so in the end.
//!
//! **Does not cover.** Retention, evicted dead letters, full backlogs, rates,
//! errands, the order of a user's events, webhooks that cannot be read, and a
//! view that is too old. A proof says that an endpoint has agreed for this
//! object, URI and TLS settings at some time, not that it would agree again.

mod controller;
mod dispatcher;
mod objects;
mod properties;
mod rounds;
mod steps;
mod world;

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stateright::{Checker as _, DiscoveryClassification, HasDiscoveries, Model as _};

use self::objects::{Memo, Object};
use self::steps::Edit;
use self::world::{Left, World};
use crate::controller::modelled::Decided;
use crate::subscriptions::Known;

/// The model.
#[derive(Default)]
struct Herald {
    begin: Vec<World>,
    edits: Vec<Edit>,
    /// How many distinct events open a circuit.
    threshold: usize,
    known: Memo<Arc<Known>>,
    decisions: Memo<Decided>,
    reports: Memo<Option<Condition>>,
    written: Memo<Object>,
}

impl Herald {
    fn new() -> Self {
        Self { edits: Edit::ALL.to_vec(), threshold: 2, ..Self::default() }
    }

    /// Also from a Webhook that is new, with so much to come.
    fn with_new(mut self, left: Left) -> Self {
        self.begin.push(World::new(left));
        self
    }

    /// Also from a Webhook that is proved, and everybody knows it.
    fn with_proved(mut self, left: Left) -> Self {
        let settled = self.rest_of(World::new(Left { edits: 0, failures: 0, crashes: 0, events: 0 }));
        self.begin.push(World { left, ..settled });
        self
    }
}

fn left(edits: u8, failures: u8, crashes: u8, events: u8) -> Left {
    Left { edits, failures, crashes, events }
}

/// Looks at every state that can be reached, and says how many those are.
#[expect(clippy::print_stdout, reason = "with --nocapture")]
fn check(what: &str, herald: Herald, meets: &[&str]) {
    let began = Instant::now();
    let builder = herald.checker().finish_when(HasDiscoveries::AnyFailures).threads(2);
    let checker = builder.spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{what}: {states} states, at most {depth} steps deep, {:.1?}", began.elapsed());
    let found = checker.discoveries();
    for (name, path) in &found {
        match checker.discovery_classification(name) {
            DiscoveryClassification::Counterexample => panic!("{name}:\n{}", steps::told(path)),
            DiscoveryClassification::Example => {}
        }
    }
    // Else the model no longer does what it is there for.
    assert!(states > 5000, "it has stopped exploring");
    for name in meets {
        assert!(found.contains_key(name), "never: {name}");
    }
}

#[test]
fn a_new_webhook_settles_whatever_fails() {
    check("new", Herald::new().with_new(left(0, 1, 0, 1)), &["an event is delivered"]);
}

#[test]
fn one_edit_one_failure_and_one_crash_break_no_promise() {
    let meets = [
        "an event dies",
        "a queue is dropped",
        "a 2xx is repeated after a crash",
        "a proof is revoked",
        "a webhook rests at a 410 with an event pending",
    ];
    let mut herald = Herald::new().with_proved(left(1, 1, 1, 1));
    herald.edits = vec![Edit::Uri, Edit::Enabled, Edit::RequestVerification, Edit::Delete];
    check("an edit, a failure, a crash", herald, &meets);
}

#[test]
fn two_edits_in_any_order_break_no_promise() {
    let mut herald = Herald::new().with_proved(left(2, 0, 0, 1));
    herald.edits = vec![Edit::Uri, Edit::Enabled, Edit::Delete, Edit::Create];
    check("two edits", herald, &["the second object has its own delivery"]);
}

#[test]
fn neither_another_objects_proof_nor_one_of_other_tls_settings_counts() {
    let mut herald = Herald::new().with_proved(left(1, 0, 1, 1));
    herald.edits = vec![Edit::Restore, Edit::Tls];
    check("restored, or TLS", herald, &["the second object has its own delivery"]);
}

#[test]
fn a_circuit_that_opens_delivers_or_kills_what_it_held_and_says_so() {
    let mut herald = Herald::new().with_proved(left(1, 2, 0, 1));
    herald.edits = vec![Edit::Uri, Edit::RequestVerification];
    herald.threshold = 1;
    check("a circuit", herald, &["a circuit opens", "an event dies"]);
}

#[test]
#[expect(clippy::print_stdout, reason = "with --nocapture")]
fn nothing_goes_round_for_ever() {
    let herald = Herald::new().with_new(left(0, 1, 0, 1)).with_proved(left(1, 1, 0, 1));
    let states = rounds::none_in(&herald);
    println!("rounds: {states} states");
    assert!(states > 1000, "the model has stopped exploring");
}

/// Some million states: with `make test-model`.
#[test]
#[ignore = "takes many minutes"]
fn more_of_everything_breaks_no_promise() {
    let proved = |left| Herald::new().with_proved(left);
    check("new, a crash", Herald::new().with_new(left(0, 1, 1, 1)), &["an event is delivered"]);
    check("one of each", proved(left(1, 1, 1, 1)), &["a queue is dropped"]);
    check("two edits, a failure", proved(left(2, 1, 0, 1)), &["a queue is dropped"]);
    check("two edits, a crash", proved(left(2, 0, 1, 1)), &["a 2xx is repeated after a crash"]);
    check("two events, an edit", proved(left(1, 2, 0, 2)), &["a circuit opens"]);
    let mut herald = proved(left(1, 2, 1, 2));
    herald.edits = vec![Edit::RequestVerification, Edit::Secret];
    check("a circuit and a crash", herald, &["a circuit opens"]);
}
