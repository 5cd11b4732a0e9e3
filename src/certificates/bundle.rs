//! One object that publishes the bundle, and what is to be done about it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::call::{CallError, call};
use super::marks::Marks;
use crate::api::CONTROLLER_MANAGER;

/// Where an object is or would be.
pub(super) struct Slot {
    pub(super) api: Api<DynamicObject>,
    pub(super) resource: ApiResource,
    /// For people.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// Whether it should be there.
    pub(super) wanted: bool,
    /// What is there.
    pub(super) found: Option<DynamicObject>,
}

/// What is to be done about one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is as it should be.
    Nothing,
    /// It is not there, or not as it should be.
    Apply,
    /// It should not be there.
    Remove,
    /// Somebody else's has its name.
    Spare,
}

/// What is to be done about an object that should, or should not, hold this content.
pub(super) fn decide(wanted: bool, found: Option<&DynamicObject>, marks: &Marks, content: &Value) -> Act {
    match found {
        None if wanted => Act::Apply,
        None => Act::Nothing,
        Some(found) if !marks.are_on(&found.metadata) => {
            if wanted {
                Act::Spare
            } else {
                Act::Nothing
            }
        }
        Some(_) if !wanted => Act::Remove,
        Some(found) => {
            if holds(&json!(found.metadata), &json!(marks.metadata())) && holds(&found.data, content) {
                Act::Nothing
            } else {
                Act::Apply
            }
        }
    }
}

/// Whether everything that is wanted is there, whatever else is.
fn holds(found: &Value, wanted: &Value) -> bool {
    if let (Value::Object(found), Value::Object(wanted)) = (found, wanted) {
        wanted.iter().all(|(key, wanted)| holds(found.get(key).unwrap_or(&Value::Null), wanted))
    } else if let Value::Array(wanted) = wanted {
        let found = found.as_array().map_or(&[][..], Vec::as_slice);
        wanted.iter().all(|wanted| found.iter().any(|found| holds(found, wanted)))
    } else {
        found == wanted
    }
}

impl Slot {
    /// Does it, over what was found and nothing else: a replica that saw older
    /// CAs never takes a newer bundle back.
    pub(super) async fn act(&self, act: Act, marks: &Marks, content: &Value) -> Result<(), CallError> {
        let found = self.found.as_ref().map(|found| &found.metadata);
        let version = found.and_then(|found| found.resource_version.clone());
        match act {
            Act::Nothing | Act::Spare => {}
            Act::Apply => {
                let object = DynamicObject {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        resource_version: version,
                        ..marks.metadata()
                    },
                    data: content.clone(),
                    ..DynamicObject::new(&self.name, &self.resource)
                };
                let parameters = PatchParams::apply(CONTROLLER_MANAGER).force();
                call(self.api.patch(&self.name, &parameters, &Patch::Apply(object))).await?;
            }
            Act::Remove => {
                let uid = found.and_then(|found| found.uid.clone());
                let preconditions = Preconditions { resource_version: version, uid };
                let parameters = DeleteParams::default().preconditions(preconditions);
                match call(self.api.delete(&self.name, &parameters)).await {
                    Err(error) if error.is_code(404) => {}
                    removed => drop(removed?),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
