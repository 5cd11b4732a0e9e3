//! When a challenge starts, and what its outcome does to the proof.

use super::*;

#[test]
fn a_challenge_starts_only_when_there_is_something_to_prove() {
    let table: [(&str, Scene, u64, bool); 15] = [
        ("just created", Scene::new(), 0, true),
        ("disabled", Scene::new().edit(|s| s.enabled = false), 0, true),
        ("Secret missing", Scene::new().edit(|s| s.materials = Some(fault(Reason::SecretEmpty))), 0, true),
        ("TLS material missing", Scene::new().edit(|s| s.tls = Some(fault(Reason::CaUnusable))), 0, false),
        ("proved", Scene::proved(), 1_000_000, false),
        ("proved, another generation", Scene::proved().edit(|_| ()), 1, false),
        ("proved, then disabled", Scene::proved().edit(|s| s.enabled = false), 1, false),
        (
            "proved, Secret gone",
            Scene::proved().edit(|s| s.materials = Some(fault(Reason::SecretMissing))),
            1,
            false,
        ),
        ("proved, URI edited", Scene::proved().edit(|s| s.uri = OTHER_URI), 1, true),
        ("proved, TLS settings edited", Scene::proved().edit(|s| s.digest = "other"), 1, true),
        ("proved, deleted and created again", Scene::proved().edit(|s| s.uid = "another"), 1, true),
        ("failed, too early", Scene::failing(3, Reason::TimedOut), 3, false),
        ("failed, due", Scene::failing(3, Reason::TimedOut), 4, true),
        ("failed, URI edited", Scene::failing(3, Reason::TimedOut).edit(|s| s.uri = OTHER_URI), 1, true),
        ("unreadable", Scene::new().edit(|s| s.unreadable = Some("bad")), 0, false),
    ];
    for (name, scene, seconds, expected) in table {
        let plan = scene.decide(at(seconds), Progress::Idle);
        assert_eq!(plan.challenge.is_some(), expected, "{name}");
        if let Some(order) = plan.challenge {
            assert_eq!((order.target, order.requested), (scene.target(), None), "{name}");
        }
    }
}

#[test]
fn failures_are_tried_again_later_and_later() {
    let mut scene = Scene::new();
    let mut now = T0;
    for (failures, seconds) in
        [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (8, 128), (9, 256), (10, 300)]
    {
        scene.try_once(now, Err(fault(Reason::TimedOut)));
        assert_eq!(scene.status.attempts.as_ref().map(|a| a.failures), Some(failures));
        // All that is known of it is the stored status: a restart waits as long.
        let waiting = scene.settle(now);
        assert_eq!(waiting.challenge, None, "{failures}");
        assert_eq!(waiting.look_again, Some(Duration::from_secs(seconds)), "{failures}");
        now = now.after(Duration::from_secs(seconds));
        assert!(scene.decide(now, Progress::Idle).challenge.is_some_and(|order| order.again), "{failures}");
    }
}

#[test]
fn a_clock_set_back_by_a_day_delays_a_try_by_five_minutes_at_most() {
    let mut scene = Scene::failing(1, Reason::TimedOut);
    let day_before = T0.before(Duration::from_hours(24));
    let waiting = scene.decide(day_before, Progress::Idle);
    assert_eq!((waiting.challenge, waiting.next_try), (None, Some(Duration::from_mins(5))));
    // By the stored moment it would be as far off as before, and so on for the whole day.
    let later = day_before.after(Duration::from_mins(5));
    assert_eq!(scene.decide(later, Progress::Idle).next_try, Some(Duration::from_mins(5)));
    scene.waited = true;
    assert!(scene.decide(later, Progress::Idle).challenge.is_some());
    scene.waited = false;
    scene.try_once(later, Err(fault(Reason::TimedOut)));
    assert_eq!(scene.decide(later, Progress::Idle).next_try, Some(Duration::from_secs(2)), "as ever");
}

#[test]
fn a_clock_that_stands_still_holds_up_no_try() {
    let mut scene = Scene::failing(3, Reason::TimedOut);
    assert_eq!(scene.decide(T0, Progress::Idle).next_try, Some(Duration::from_secs(4)));
    scene.waited = true;
    assert!(scene.decide(T0, Progress::Idle).challenge.is_some_and(|order| order.again));
    let target = scene.target();
    assert_eq!(scene.decide(T0, Progress::Running(&target)).challenge, None, "one is enough");
    for done in [Scene::proved(), scene.edit(|s| s.tls = Some(fault(Reason::CaUnusable)))] {
        assert_eq!(Scene { waited: true, ..done }.decide(T0, Progress::Idle).challenge, None);
    }
}

#[test]
fn a_clock_set_ahead_by_a_day_changes_nothing_for_what_is_proved() {
    let scene = Scene::proved();
    let plan = scene.decide(at(86_400), Progress::Idle);
    assert_eq!((plan.challenge.as_ref(), plan.next_try, plan.look_again), (None, None, None));
    assert!(!plan.differs_from(&scene.status));
}

#[test]
fn the_old_proof_stands_until_another_is_proved() {
    let mut scene = Scene::proved().edit(|s| s.uri = OTHER_URI);
    let old = scene.status.verification.clone();
    scene.settle(at(1));
    assert_eq!(scene.status.verification, old);
    scene.try_once(at(2), Err(fault(Reason::KeyMismatch)));
    assert_eq!(scene.status.verification, old, "a refusal by the new URI says nothing of the old");

    let mut back = scene.clone().edit(|s| s.uri = URI);
    let plan = back.settle(at(3));
    assert_eq!(
        (line(&plan.status).as_str(), plan.challenge),
        ("Ready=True/Verified Verified=True/Verified", None)
    );
    assert_eq!(plan.status.attempts, None);

    scene.try_once(at(4), Ok(()));
    assert_eq!(scene.status.verification.as_ref().map(|v| v.uri.as_str()), Some(OTHER_URI));
}

#[test]
fn an_outcome_for_what_is_no_longer_wanted_changes_nothing() {
    let scene = Scene::new();
    let order = Order { target: scene.target(), requested: None, again: false };
    let trial = Trial { order, began: T0, ended: at(1), verdict: Ok(()) };
    for edited in [scene.clone().edit(|s| s.uri = OTHER_URI), scene.edit(|s| s.uid = "another")] {
        let plan = edited.decide(at(1), Progress::Ended(&trial));
        assert_eq!(plan.status.verification, None);
        assert_eq!(plan.challenge.map(|order| order.target), Some(edited.target()));
    }
}

#[test]
fn a_challenge_under_way_is_left_alone_unless_it_is_for_something_else() {
    let scene = Scene::new();
    let target = scene.target();
    let plan = scene.decide(at(1), Progress::Running(&target));
    assert_eq!((plan.challenge, plan.abandon), (None, false));
    let moved = scene.clone().edit(|s| s.uri = OTHER_URI);
    let plan = moved.decide(at(1), Progress::Running(&target));
    assert!(plan.abandon);
    assert_eq!(plan.challenge.map(|order| order.target), Some(moved.target()));
    let unreadable = scene.edit(|s| s.unreadable = Some("bad"));
    assert!(unreadable.decide(at(1), Progress::Running(&target)).abandon);
}

#[test]
fn a_missing_secret_is_looked_for_again() {
    let scene = Scene::proved().edit(|s| s.materials = Some(fault(Reason::SecretMissing)));
    assert_eq!(scene.decide(at(1), Progress::Idle).look_again, Some(LOOK_FOR_SECRET));
    let scene = Scene::proved().edit(|s| s.materials = Some(fault(Reason::SecretEmpty)));
    assert_eq!(scene.decide(at(1), Progress::Idle).look_again, None);
}
