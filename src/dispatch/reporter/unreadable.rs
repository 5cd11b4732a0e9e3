//! What the status says of a Webhook that this version cannot read.
//!
//! Its status is read anew each time, as JSON: the view has nothing of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Map, Value, json};

use super::super::Shared;
use super::super::report::condition;
use super::super::status::stored;
use super::write;
use crate::api::{ConditionType, DeliveringReason, Webhook};
use crate::journal::Journal;
use crate::model::{Timestamp, WebhookUid};
use crate::subscriptions::Unreadable;

/// What came of telling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The status says it already.
    Already,
    /// The status says it now.
    Now,
    /// It is to be tried again.
    Failed,
}

/// Says so in the status, if that does not say it.
pub(super) async fn tell<J: Journal>(shared: &Shared<J>, uid: WebhookUid, unreadable: &Unreadable) -> Told {
    let object = &unreadable.object;
    let stored = match stored::<Webhook>(&shared.client, object).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Told::Already,
        Err(_) => return Told::Failed,
    };
    match status(&stored, unreadable, shared.clock.now()) {
        None => Told::Already,
        Some(status) if write(shared, object, uid, &status).await => Told::Now,
        Some(_) => Told::Failed,
    }
}

/// The dispatcher's part of the status; `None` if `stored` says the same.
fn status(stored: &Value, unreadable: &Unreadable, now: Timestamp) -> Option<Value> {
    let delivering = stored.pointer("/status/conditions").and_then(Value::as_array).and_then(|conditions| {
        let kind = ConditionType::Delivering.as_str();
        conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
    });
    let delivering: Option<Condition> =
        delivering.and_then(|condition| serde_json::from_value(condition.clone()).ok());
    let held = (DeliveringReason::Unreadable, unreadable.message());
    let condition = condition(Some(held), unreadable.generation, delivering.as_ref(), now);
    if delivering.as_ref() == Some(&condition) {
        return None;
    }
    let mut status = Map::new();
    status.insert("conditions".to_owned(), json!([condition]));
    // What is left out of an apply is taken away.
    if let Some(delivery) = stored.pointer("/status/delivery") {
        status.insert("delivery".to_owned(), delivery.clone());
    }
    Some(Value::Object(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriptions::ObjectName;

    const THEN: Timestamp = Timestamp::from_millis(1_795_508_000_000);
    const NOW: Timestamp = Timestamp::from_millis(1_795_508_999_000);

    fn unreadable(why: &str) -> Unreadable {
        let object = ObjectName::new("identity", "audit");
        Unreadable { object, generation: Some(2), why: why.to_owned() }
    }

    #[test]
    fn it_is_said_once_and_what_was_delivered_before_stays() {
        let stored = json!({ "status": {
            "conditions": [
                { "type": "Ready", "status": "True" },
                {
                    "type": "Delivering", "status": "True", "reason": "Delivering", "message": "",
                    "observedGeneration": 1, "lastTransitionTime": "2026-11-24T00:00:00Z",
                },
            ],
            "delivery": { "pending": 3 },
        }});
        let written = status(&stored, &unreadable("unknown variant"), NOW).unwrap();
        assert_eq!(written["delivery"], json!({ "pending": 3 }));
        let condition = &written["conditions"][0];
        let told = ["type", "status", "reason"].map(|key| condition[key].as_str().unwrap());
        assert_eq!(told, ["Delivering", "False", "Unreadable"]);
        assert_eq!(condition["observedGeneration"], 2);
        assert_eq!(condition["lastTransitionTime"], "2026-11-24T08:29:59Z");
        assert!(condition["message"].as_str().unwrap().contains("unknown variant"));

        let stored = json!({ "status": written });
        assert_eq!(status(&stored, &unreadable("unknown variant"), NOW), None);
        let other = status(&stored, &unreadable("missing field"), NOW).unwrap();
        assert_eq!(other["conditions"][0]["lastTransitionTime"], condition["lastTransitionTime"]);
    }

    #[test]
    fn a_status_that_says_nothing_yet_gets_the_condition_alone() {
        let written = status(&json!({}), &unreadable("unknown variant"), THEN).unwrap();
        assert_eq!(written["conditions"][0]["reason"], "Unreadable");
        assert_eq!(written.get("delivery"), None);
    }
}
