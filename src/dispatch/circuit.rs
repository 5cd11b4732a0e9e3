//! A webhook's circuit breaker: pure.
//!
//! ```text
//! closed ── so many distinct events failed in a row ──> open: events are held
//!    ^                                                    │        ^
//!    │                                                probe_at     │ failed: later and later
//!    │                                                    v        │
//!    └───────────────────── delivered ─────────────── one probe ───┘
//! ```
//!
//! **Guarantees.** One event that always fails does not open it, however often
//! it is tried. While it is open at most one attempt runs, and each takes
//! another event where there is one, so that no event keeps it open alone.
//!
//! **Assumes.** Times are the journal's, so that no step of the time of day
//! probes at once or never.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verdict::Failed;
use crate::model::{Backoff, EventKey, Jitter, Timestamp};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Circuit {
    threshold: usize,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// With the events that failed since one was delivered.
    Closed { failing: Vec<EventKey> },
    /// With the event of the probe that runs, or ran last.
    Open { open: OpenCircuit, probe: Probe },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Probe {
    None,
    Runs(EventKey),
    Failed(EventKey),
}

/// What is remembered of a circuit that is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenCircuit {
    /// When the next probe may start: milliseconds on the journal's clock.
    probe_at: u64,
    /// Probes that failed.
    probes: u32,
    /// The last failure.
    reason: String,
    message: String,
}

impl OpenCircuit {
    pub(super) const fn probe_at(&self) -> Timestamp {
        Timestamp::from_millis(self.probe_at)
    }

    /// For the status. `probe_at` is the moment of the next probe by the time of day.
    pub(super) fn message(&self, threshold: usize, probe_at: Timestamp) -> String {
        let Self { probes, reason, message, .. } = self;
        let count = match probes {
            0 => format!("{threshold} events failed in a row"),
            1 => format!("{threshold} events failed in a row, and 1 probe since"),
            _ => format!("{threshold} events failed in a row, and {probes} probes since"),
        };
        format!(
            "{count}, the last with {reason}: {message}; events are held, the next probe is at {probe_at}"
        )
    }
}

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// As many as the webhook's other limits let.
    Free,
    /// One, of another event than this where there is another.
    Probe { not: Option<EventKey> },
    /// None before then.
    At(Timestamp),
    /// None before the probe that runs has ended.
    AfterProbe,
}

impl Circuit {
    /// Closed, or as it was remembered. With a threshold of 0 it never opens.
    pub(super) fn new(threshold: usize, remembered: Option<OpenCircuit>) -> Self {
        let state = match remembered.filter(|_| threshold > 0) {
            None => State::Closed { failing: Vec::new() },
            Some(open) => State::Open { open, probe: Probe::None },
        };
        Self { threshold, state }
    }

    /// What there is to remember.
    pub(super) const fn open(&self) -> Option<&OpenCircuit> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open { open, .. } => Some(open),
        }
    }

    /// Whether it is closed, and nothing has failed since the last delivery.
    pub(super) const fn is_calm(&self) -> bool {
        matches!(&self.state, State::Closed { failing } if failing.is_empty())
    }

    /// An attempt was successful. Whether that has closed it.
    pub(super) fn delivered(&mut self) -> bool {
        let was_open = self.open().is_some();
        self.state = State::Closed { failing: Vec::new() };
        was_open
    }

    /// An attempt of `event` has failed. Whether it is another circuit now.
    pub(super) fn failed(
        &mut self,
        event: EventKey,
        failed: &Failed,
        backoff: &Backoff,
        jitter: Jitter,
        now: Timestamp,
    ) -> bool {
        let probes = match &mut self.state {
            State::Closed { failing } => {
                if self.threshold == 0 || failing.contains(&event) {
                    return false;
                }
                failing.push(event);
                if failing.len() < self.threshold {
                    return false;
                }
                0
            }
            State::Open { open, probe: Probe::Runs(running) } if *running == event => {
                open.probes.saturating_add(1)
            }
            // It began before the circuit opened.
            State::Open { .. } => return false,
        };
        let asked = failed.retry_after.unwrap_or_default().min(backoff.max);
        let wait = backoff.delay(probes.saturating_add(1), jitter).max(asked);
        let open = OpenCircuit {
            probe_at: now.after(wait).as_millis(),
            probes,
            reason: failed.reason.as_str().to_owned(),
            message: failed.message.clone(),
        };
        self.state = State::Open { open, probe: Probe::Failed(event) };
        true
    }

    /// Whether an attempt may start, when `busy` run.
    pub(super) fn permission(&self, busy: usize, now: Timestamp) -> Permission {
        match &self.state {
            State::Closed { .. } => Permission::Free,
            // A probe that nobody runs any more was given back without an end.
            State::Open { probe: Probe::Runs(_), .. } if busy > 0 => Permission::AfterProbe,
            State::Open { open, .. } if now < open.probe_at() => Permission::At(open.probe_at()),
            State::Open { probe, .. } => Permission::Probe {
                not: match probe {
                    Probe::None => None,
                    Probe::Runs(event) | Probe::Failed(event) => Some(*event),
                },
            },
        }
    }

    /// The probe begins.
    pub(super) fn begin_probe(&mut self, event: EventKey) {
        if let State::Open { probe, .. } = &mut self.state {
            *probe = Probe::Runs(event);
        }
    }
}

/// How long until `probe_at`, for a wait that looks again at its end.
pub(super) fn until(probe_at: Timestamp, now: Timestamp) -> Duration {
    // The journal's clock takes no longer step.
    probe_at.since(now).min(Duration::from_mins(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(10) };

    fn event(number: u8) -> EventKey {
        EventKey::from_bytes([number; 16])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn fail_with(circuit: &mut Circuit, number: u8, now: u64, retry_after: Option<u64>) -> bool {
        let failed = Failed {
            reason: Reason::TimedOut,
            message: "too slow".to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
        };
        circuit.failed(event(number), &failed, &BACKOFF, Jitter::LONGEST, at(now))
    }

    fn fail(circuit: &mut Circuit, number: u8, now: u64) -> bool {
        fail_with(circuit, number, now, None)
    }

    /// One that has just opened, at second 100.
    fn opened() -> Circuit {
        let mut circuit = Circuit::new(3, None);
        assert!((1..=3).map(|number| fail(&mut circuit, number, 100)).eq([false, false, true]));
        circuit
    }

    #[test]
    fn it_opens_when_so_many_distinct_events_failed_in_a_row() {
        let circuit = opened();
        assert_eq!(circuit.permission(0, at(100)), Permission::At(at(101)));
        assert!(!circuit.is_calm());
    }

    #[test]
    fn one_event_that_always_fails_does_not_open_it() {
        let mut circuit = Circuit::new(3, None);
        for _ in 0..100 {
            assert!(!fail(&mut circuit, 1, 100));
            assert!(!fail(&mut circuit, 2, 100));
        }
        assert_eq!(circuit.permission(9, at(100)), Permission::Free);
    }

    #[test]
    fn a_delivery_between_the_failures_starts_the_count_again() {
        let mut circuit = Circuit::new(3, None);
        for number in 0..100 {
            assert!(!fail(&mut circuit, number, 100));
            if number % 2 == 1 {
                assert!(!circuit.delivered());
                assert!(circuit.is_calm());
            }
        }
    }

    #[test]
    fn one_probe_runs_at_a_time_and_the_next_takes_another_event() {
        let mut circuit = opened();
        assert_eq!(circuit.permission(0, at(101)), Permission::Probe { not: Some(event(3)) });
        circuit.begin_probe(event(4));
        assert_eq!(circuit.permission(1, at(500)), Permission::AfterProbe);
        assert!(!fail(&mut circuit, 9, 102), "of an attempt that began before it opened");
        assert_eq!(circuit.permission(1, at(500)), Permission::AfterProbe);
        assert!(fail(&mut circuit, 4, 102));
        assert_eq!(circuit.permission(0, at(102)), Permission::At(at(104)), "twice as long");
        assert_eq!(circuit.permission(0, at(104)), Permission::Probe { not: Some(event(4)) });
    }

    #[test]
    fn a_probe_that_was_given_back_does_not_block_the_next() {
        let mut circuit = opened();
        circuit.begin_probe(event(4));
        assert_eq!(circuit.permission(0, at(101)), Permission::Probe { not: Some(event(4)) });
    }

    #[test]
    fn probes_come_later_and_later_up_to_the_longest_delay() {
        let mut circuit = opened();
        let mut now = 101;
        for wait in [2, 4, 8, 10, 10] {
            circuit.begin_probe(event(4));
            assert!(fail(&mut circuit, 4, now));
            assert_eq!(circuit.permission(0, at(now)), Permission::At(at(now + wait)));
            now += wait;
        }
    }

    #[test]
    fn the_endpoint_may_ask_for_a_later_probe_within_the_longest_delay() {
        for (asked, wait) in [(0, 1), (5, 5), (99, 10)] {
            let mut circuit = Circuit::new(1, None);
            assert!(fail_with(&mut circuit, 1, 100, Some(asked)));
            assert_eq!(circuit.permission(0, at(100)), Permission::At(at(100 + wait)));
        }
    }

    #[test]
    fn any_delivery_closes_it() {
        let mut circuit = opened();
        assert!(circuit.delivered());
        assert_eq!(circuit.permission(16, at(100)), Permission::Free);
        assert_eq!(circuit.open(), None);
    }

    #[test]
    fn it_is_remembered_as_it_was() {
        let circuit = opened();
        let stored = serde_json::to_string(circuit.open().unwrap()).unwrap();
        let again = Circuit::new(3, Some(serde_json::from_str(&stored).unwrap()));
        assert_eq!(again.permission(0, at(100)), Permission::At(at(101)));
        assert_eq!(again.permission(0, at(101)), Permission::Probe { not: None });
    }

    #[test]
    fn without_a_threshold_it_is_always_closed() {
        let mut circuit = Circuit::new(0, opened().open().cloned());
        assert!((0..200).all(|number| !fail(&mut circuit, number, 100)));
        assert_eq!(circuit.permission(0, at(100)), Permission::Free);
    }

    #[test]
    fn the_message_says_what_failed_and_when_the_next_probe_is() {
        let mut circuit = opened();
        let message = |circuit: &Circuit| circuit.open().unwrap().message(3, at(1_700_000_000));
        assert_eq!(
            message(&circuit),
            "3 events failed in a row, the last with TimedOut: too slow; events are held, the next probe is \
             at 2023-11-14T22:13:20Z"
        );
        circuit.begin_probe(event(1));
        assert!(fail(&mut circuit, 1, 200));
        assert!(message(&circuit).starts_with("3 events failed in a row, and 1 probe since, the last"));
    }
}
