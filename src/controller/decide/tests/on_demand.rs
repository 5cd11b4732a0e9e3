//! The annotation that asks for another try.

use super::*;

#[test]
fn a_try_on_demand_takes_the_proof_away_only_when_the_endpoint_refuses() {
    let table = [
        (Reason::NameNotResolved, true),
        (Reason::AddressForbidden, true),
        (Reason::ConnectionFailed, true),
        (Reason::TLSFailed, true),
        (Reason::TimedOut, true),
        (Reason::UnexpectedStatus, true),
        (Reason::MalformedAnswer, false),
        (Reason::KeyMismatch, false),
    ];
    for (reason, stands) in table {
        let mut scene = Scene::proved();
        scene.request = Some("first");
        let order = scene.decide(at(1), Progress::Idle).challenge;
        assert_eq!(order.and_then(|o| o.requested).as_deref(), Some("first"));
        let plan = scene.end(at(1), Some("first"), Err(fault(reason)));
        let proof = scene.status.verification.as_ref().expect("what was proved once is remembered");
        assert_eq!(proof.revoked_time.is_none(), stands, "{reason:?}");
        assert_eq!(plan.ready, if stands { Reason::Verified } else { reason });
        assert_eq!(scene.status.last_handled_verify_request.as_deref(), Some("first"));
        let told = if stands { "VerificationFailed" } else { "VerificationRevoked" };
        assert_eq!(plan.announcements.iter().map(|a| a.reason).collect::<Vec<_>>(), [told]);
        let verified = find(&scene.status, "Verified").map(|c| c.message.clone()).unwrap_or_default();
        assert!(verified.contains(&format!("what {} means", reason.as_str())), "{verified}");
        let after = scene.settle(at(2));
        assert_eq!(after.status.conditions, plan.status.conditions, "what was reported stays");
        assert_eq!(after.challenge.is_some(), !stands, "{reason:?}: only what is not proved is tried again");
    }
}

#[test]
fn tries_on_demand_keep_ten_seconds_between_them() {
    let mut scene = Scene::proved();
    scene.request = Some("first");
    assert!(scene.decide(at(1), Progress::Idle).challenge.is_some(), "the first is not held up by the proof");
    scene.end(at(1), Some("first"), Ok(()));
    assert_eq!(scene.settle(at(2)).challenge, None, "the same value asks for nothing");
    scene.request = Some("second");
    let early = scene.settle(at(3));
    assert_eq!((early.challenge, early.look_again), (None, Some(Duration::from_secs(8))));
    scene.request = Some("third");
    let order = scene.decide(at(11), Progress::Idle).challenge;
    assert_eq!(order.and_then(|o| o.requested).as_deref(), Some("third"));
    for nothing in [None, Some("")] {
        scene.request = nothing;
        assert_eq!(scene.decide(at(60), Progress::Idle).challenge, None, "its absence triggers nothing");
    }
}

#[test]
fn a_request_ends_the_wait_after_a_failure_and_a_due_try_does_not_wait_for_a_request() {
    let mut scene = Scene::failing(9, Reason::TimedOut);
    scene.request = Some("now");
    let order = scene.decide(at(1), Progress::Idle).challenge;
    assert_eq!(order.and_then(|o| o.requested).as_deref(), Some("now"));

    let mut scene = Scene::new();
    scene.end(T0, Some("first"), Err(fault(Reason::TimedOut)));
    scene.request = Some("second");
    let order = scene.decide(at(1), Progress::Idle).challenge;
    assert_eq!(order.map(|o| o.requested), Some(None), "one second is over, ten are not");
}

#[test]
fn a_clock_set_back_by_a_day_delays_a_request_by_ten_seconds_at_most() {
    let mut scene = Scene::proved();
    scene.end(at(1), Some("first"), Ok(()));
    scene.request = Some("second");
    let day_before = T0.before(Duration::from_hours(24));
    let waiting = scene.decide(day_before, Progress::Idle);
    assert_eq!((waiting.challenge, waiting.next_try), (None, Some(Duration::from_secs(10))));
    scene.waited = true;
    let order = scene.decide(day_before, Progress::Idle).challenge;
    assert_eq!(order.and_then(|o| o.requested).as_deref(), Some("second"));
}

/// The dispatcher takes a 410 for over when there is another proof.
#[test]
fn a_proof_has_a_time_that_none_before_it_had_also_while_the_clock_stands_still() {
    let mut scene = Scene::proved();
    let mut before = Vec::new();
    for request in ["first", "second", "third"] {
        before.extend(scene.status.verification.clone().map(|proof| proof.time));
        scene.request = Some(request);
        scene.end(T0, Some(request), Ok(()));
        let time = scene.status.verification.clone().map(|proof| proof.time);
        assert!(time.is_some_and(|time| !before.contains(&time)), "{request}");
        assert!(!scene.decide(T0, Progress::Idle).differs_from(&scene.status), "{request}");
    }
}
