use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;

const UID: &str = "6f0e1c1e-5c38-4f0e-9c1a-0d6c5e0a7b11";
const URI: &str = "https://hooks.example.com/users";
const OTHER_URI: &str = "https://hooks.example.com/moved";
const DIGEST: &str = "none";
const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn at(seconds: u64) -> Timestamp {
    T0.after(Duration::from_secs(seconds))
}

fn fault(reason: Reason) -> Fault {
    Fault { reason, message: format!("what {} means", reason.as_str()) }
}

/// A Webhook and the API server that stores its status, without either.
#[derive(Clone)]
struct Scene {
    uid: &'static str,
    generation: i64,
    uri: &'static str,
    digest: &'static str,
    enabled: bool,
    unreadable: Option<&'static str>,
    materials: Option<Fault>,
    tls: Option<Fault>,
    request: Option<&'static str>,
    status: WebhookStatus,
}

impl Scene {
    fn new() -> Self {
        Self {
            uid: UID,
            generation: 1,
            uri: URI,
            digest: DIGEST,
            enabled: true,
            unreadable: None,
            materials: None,
            tls: None,
            request: None,
            status: WebhookStatus { observed_generation: Some(-1), ..WebhookStatus::default() },
        }
    }

    fn proved() -> Self {
        let mut scene = Self::new();
        scene.try_once(T0, Ok(()));
        scene
    }

    fn failing(failures: u32, reason: Reason) -> Self {
        let mut scene = Self::new();
        for _ in 0..failures {
            scene.try_once(T0, Err(fault(reason)));
        }
        scene
    }

    fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self.generation += 1;
        self
    }

    fn decide(&self, now: Timestamp, progress: Progress<'_>) -> Plan {
        let spec = match self.unreadable {
            Some(cause) => Err(cause),
            None => Ok(Wanted {
                uri: self.uri,
                tls_digest: self.digest,
                enabled: self.enabled,
                materials: self.materials.as_ref().map_or(Ok(()), Err),
                tls: self.tls.as_ref().map_or(Ok(()), Err),
            }),
        };
        let observed = Observed {
            uid: self.uid,
            generation: self.generation,
            spec,
            verify_requested: self.request,
            status: &self.status,
            progress,
        };
        decide(&observed, now, Jitter::LONGEST)
    }

    /// Decides and stores, as the actor does.
    fn settle(&mut self, now: Timestamp) -> Plan {
        let plan = self.decide(now, Progress::Idle);
        self.status = plan.status.clone();
        plan
    }

    fn target(&self) -> Target {
        Target { uid: self.uid.into(), uri: self.uri.into(), tls_digest: self.digest.into() }
    }

    fn end(&mut self, now: Timestamp, requested: Option<&str>, verdict: Result<(), Fault>) -> Plan {
        let order = Order { target: self.target(), requested: requested.map(str::to_owned), again: false };
        let trial = Trial { order, began: now, ended: now, verdict };
        let plan = self.decide(now, Progress::Ended(&trial));
        self.status = plan.status.clone();
        plan
    }

    fn try_once(&mut self, now: Timestamp, verdict: Result<(), Fault>) -> Plan {
        self.end(now, None, verdict)
    }
}

fn find<'a>(status: &'a WebhookStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.type_ == kind)
}

/// `Ready=True/Verified …` of the conditions that there are.
fn line(status: &WebhookStatus) -> String {
    let parts = status.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason));
    parts.collect::<Vec<_>>().join(" ")
}

/// What kstatus makes of an object, by its published rules.
fn kstatus(status: &WebhookStatus, generation: i64) -> &'static str {
    let is = |kind, value| find(status, kind).is_some_and(|c| c.status == value);
    if status.observed_generation != Some(generation) || is("Reconciling", "True") {
        "InProgress"
    } else if is("Stalled", "True") {
        "Failed"
    } else if is("Ready", "False") {
        "InProgress"
    } else {
        "Current"
    }
}

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
    let scene = Scene::failing(1, Reason::TimedOut).edit(|s| s.request = Some("now"));
    let day_before = Timestamp::from_millis(T0.as_millis() - 86_400_000);
    let unasked = Scene { request: None, ..scene };
    assert_eq!(unasked.decide(day_before, Progress::Idle).look_again, Some(Duration::from_mins(5)));
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
        assert_eq!(scene.status.verification.is_some(), stands, "{reason:?}");
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
fn a_missing_secret_is_looked_for_again() {
    let scene = Scene::proved().edit(|s| s.materials = Some(fault(Reason::SecretMissing)));
    assert_eq!(scene.decide(at(1), Progress::Idle).look_again, Some(LOOK_FOR_SECRET));
    let scene = Scene::proved().edit(|s| s.materials = Some(fault(Reason::SecretEmpty)));
    assert_eq!(scene.decide(at(1), Progress::Idle).look_again, None);
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
