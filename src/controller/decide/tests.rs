//! Decisions by table, on a Webhook and an API server that exist in memory alone.

mod challenges;
mod conditions;
mod on_demand;

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
    waited: bool,
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
            waited: false,
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
            waited: self.waited,
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
