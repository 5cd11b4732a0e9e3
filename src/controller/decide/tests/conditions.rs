//! What each state says, in conditions, messages and Kubernetes Events.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn each_state_has_its_conditions() {
    let missing = Some(fault(Reason::SecretMissing));
    let table: [(&str, Scene, &str, &str); 17] = [
        (
            "just created",
            Scene::new(),
            "Ready=False/VerificationPending Verified=False/VerificationPending Reconciling=True/VerificationPending",
            "InProgress",
        ),
        (
            "one try failed",
            Scene::failing(1, Reason::TimedOut),
            "Ready=False/TimedOut Verified=False/TimedOut Reconciling=True/TimedOut",
            "InProgress",
        ),
        (
            "four tries failed",
            Scene::failing(4, Reason::KeyMismatch),
            "Ready=False/KeyMismatch Verified=False/KeyMismatch Reconciling=True/KeyMismatch",
            "InProgress",
        ),
        (
            "five tries failed",
            Scene::failing(5, Reason::UnexpectedStatus),
            "Ready=False/UnexpectedStatus Verified=False/UnexpectedStatus Stalled=True/UnexpectedStatus",
            "Failed",
        ),
        (
            "address forbidden",
            Scene::failing(1, Reason::AddressForbidden),
            "Ready=False/AddressForbidden Verified=False/AddressForbidden Stalled=True/AddressForbidden",
            "Failed",
        ),
        ("proved", Scene::proved(), "Ready=True/Verified Verified=True/Verified", "Current"),
        (
            "proved, then the Secret goes",
            Scene::proved().edit(|s| s.materials = missing.clone()),
            "Ready=False/SecretMissing Verified=True/Verified Stalled=True/SecretMissing",
            "Failed",
        ),
        (
            "never proved, Secret missing",
            Scene::new().edit(|s| s.materials = missing.clone()),
            "Ready=False/SecretMissing Verified=False/VerificationPending Stalled=True/SecretMissing",
            "Failed",
        ),
        (
            "failing, Secret missing",
            Scene::failing(2, Reason::TimedOut).edit(|s| s.materials = missing.clone()),
            "Ready=False/SecretMissing Verified=False/TimedOut Stalled=True/SecretMissing",
            "Failed",
        ),
        (
            "TLS material missing",
            Scene::new().edit(|s| {
                s.materials = Some(fault(Reason::CaUnusable));
                s.tls = Some(fault(Reason::CaUnusable));
            }),
            "Ready=False/CaUnusable Verified=False/VerificationPending Stalled=True/CaUnusable",
            "Failed",
        ),
        (
            "disabled and proved",
            Scene::proved().edit(|s| s.enabled = false),
            "Ready=True/Disabled Verified=True/Verified",
            "Current",
        ),
        (
            "disabled before the first try",
            Scene::new().edit(|s| s.enabled = false),
            "Ready=True/Disabled Verified=False/VerificationPending",
            "Current",
        ),
        (
            "disabled and failing",
            Scene::failing(7, Reason::TLSFailed).edit(|s| s.enabled = false),
            "Ready=True/Disabled Verified=False/TLSFailed",
            "Current",
        ),
        (
            "disabled with a missing Secret",
            Scene::proved().edit(|s| {
                s.enabled = false;
                s.materials = missing.clone();
            }),
            "Ready=True/Disabled Verified=True/Verified",
            "Current",
        ),
        (
            "another URI",
            Scene::proved().edit(|s| s.uri = OTHER_URI),
            "Ready=False/VerificationPending Verified=False/VerificationPending Reconciling=True/VerificationPending",
            "InProgress",
        ),
        (
            "unreadable, proved before",
            Scene::proved().edit(|s| s.unreadable = Some("missing field `uri`")),
            "Ready=False/Unreadable Verified=True/Verified Stalled=True/Unreadable",
            "Failed",
        ),
        (
            "unreadable from the start",
            Scene::new().edit(|s| s.unreadable = Some("missing field `uri`")),
            "Ready=False/Unreadable Stalled=True/Unreadable",
            "Failed",
        ),
    ];
    for (name, mut scene, conditions, health) in table {
        let plan = scene.settle(at(100));
        assert_eq!(line(&plan.status), conditions, "{name}");
        assert_eq!(kstatus(&plan.status, scene.generation), health, "{name}");
        assert_eq!(
            find(&plan.status, "Ready").map(|c| c.reason.as_str()),
            Some(plan.ready.as_str()),
            "{name}"
        );
        let again = scene.decide(at(101), Progress::Idle);
        assert!(!again.differs_from(&plan.status), "{name}: deciding again changes nothing");
        assert_eq!(again.announcements, [], "{name}: deciding again announces nothing");
    }
}

#[test]
fn an_object_nobody_has_looked_at_is_in_progress() {
    let scene = Scene::new();
    assert_eq!(kstatus(&scene.status, scene.generation), "InProgress");
    let edited = Scene::proved().edit(|s| s.uri = OTHER_URI);
    assert_eq!(kstatus(&edited.status, edited.generation), "InProgress");
}

#[test]
fn a_condition_dates_from_its_last_change_of_status() {
    let since =
        |scene: &Scene, kind| find(&scene.status, kind).map(|c| Timestamp::from(&c.last_transition_time));
    let mut scene = Scene::new();
    scene.settle(T0);
    scene.try_once(at(5), Err(fault(Reason::TimedOut)));
    assert_eq!((since(&scene, "Ready"), since(&scene, "Reconciling")), (Some(T0), Some(T0)));
    scene.try_once(at(9), Ok(()));
    assert_eq!((since(&scene, "Ready"), since(&scene, "Verified")), (Some(at(9)), Some(at(9))));
    let mut scene = scene.edit(|s| s.uri = OTHER_URI);
    scene.settle(at(20));
    assert_eq!(since(&scene, "Ready"), Some(at(20)));
    assert_eq!(find(&scene.status, "Ready").and_then(|c| c.observed_generation), Some(2));
}

#[test]
fn people_are_told_once() {
    let words = |plan: &Plan| plan.announcements.iter().map(|a| a.reason).collect::<Vec<_>>();
    let mut scene = Scene::new();
    let told = [
        (Reason::TimedOut, 1),
        (Reason::TimedOut, 0),
        (Reason::KeyMismatch, 1),
        (Reason::KeyMismatch, 0),
        (Reason::KeyMismatch, 1), // the fifth
        (Reason::KeyMismatch, 0),
    ];
    for (n, (reason, count)) in told.into_iter().enumerate() {
        let plan = scene.try_once(T0, Err(fault(reason)));
        assert_eq!(words(&plan), vec!["VerificationFailed"; count], "try {}", n + 1);
    }
    assert_eq!(words(&scene.try_once(T0, Ok(()))), ["Verified"]);
    let mut scene = scene.edit(|s| s.materials = Some(fault(Reason::SecretNotAllowed)));
    assert_eq!(words(&scene.settle(at(1))), ["SecretNotAllowed"]);
    assert_eq!(words(&scene.settle(at(2))), [""; 0]);
    let mut scene = Scene::proved().edit(|s| s.unreadable = Some("bad"));
    assert_eq!(words(&scene.settle(at(1))), ["Unreadable"]);
    assert_eq!(words(&scene.settle(at(2))), [""; 0]);
}

#[test]
fn what_an_endpoint_says_becomes_one_short_line() {
    let mut scene = Scene::new();
    let message = format!("first\nsecond\u{1b}[31m{}", "x".repeat(10_000));
    scene.try_once(T0, Err(Fault { reason: Reason::TLSFailed, message }));
    let ready = find(&scene.status, "Ready").map(|c| c.message.clone()).unwrap_or_default();
    assert!(ready.chars().count() == 500 && !ready.contains(char::is_control), "{ready}");
}

#[test]
fn the_dispatchers_part_is_left_to_the_dispatcher() {
    let mut scene = Scene::proved();
    scene.status.delivery = Some(crate::api::DeliveryStatus::default());
    let mut delivering = scene.status.conditions[0].clone();
    delivering.type_ = "Delivering".into();
    scene.status.conditions.push(delivering);
    let plan = scene.decide(at(1), Progress::Idle);
    assert!(!plan.differs_from(&scene.status));
    assert!(plan.status.delivery.is_none() && !line(&plan.status).contains("Delivering"));
}
