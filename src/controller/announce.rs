//! Kubernetes Events about Webhooks: what `kubectl describe` shows at its end.
//!
//! A sentence that has been said of an object within six minutes becomes a
//! series of the Event that is there. This is not `kube`'s Recorder because
//! that one takes another sentence for the same Event when only its reason is
//! the same, so that people would read the first cause and not the last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use super::decide::Announcement;
use super::watched::WatchedWebhook;
use crate::api::CONTROLLER_MANAGER;
use crate::model::line::short_line;

/// How long a repetition joins the Event that is there.
const SERIES: Duration = Duration::from_mins(6);
/// The API server takes no more bytes of a note.
const MOST_NOTE: usize = 1024;
/// How many Events are remembered for that.
const REMEMBERED: usize = 4096;

/// Publishes announcements.
pub(super) struct Announcer {
    client: Client,
    instance: String,
    said: Mutex<HashMap<Sentence, Said>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Sentence {
    uid: String,
    reason: &'static str,
    note: String,
}

#[derive(Clone)]
struct Said {
    event: String,
    count: i32,
    at: Instant,
}

impl Announcer {
    /// Announces in the name of `instance`, the process.
    pub(super) fn new(client: Client, instance: String) -> Self {
        Self { client, instance, said: Mutex::default() }
    }

    /// Publishes. A failure is logged and costs nothing else: the status holds the same.
    pub(super) async fn publish(&self, webhook: &WatchedWebhook, announcement: &Announcement) {
        let Announcement { warning, reason, note } = announcement;
        let (name, namespace) = (webhook.name_any(), webhook.namespace().unwrap_or_default());
        if *warning {
            tracing::warn!(%namespace, webhook = %name, reason, "{note}");
        } else {
            tracing::info!(%namespace, webhook = %name, reason, "{note}");
        }
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let sentence = Sentence { uid: webhook.uid().to_owned(), reason, note: note.clone() };
        let said = match self.remembered(&sentence) {
            Some(said) => repeat(&api, said).await,
            None => self.say(&api, webhook, announcement).await,
        };
        match said {
            Ok(said) => self.remember(sentence, said),
            Err(error) => {
                tracing::warn!(%namespace, webhook = %name, reason, %error, "cannot publish a Kubernetes Event");
            }
        }
    }

    async fn say(
        &self,
        api: &Api<Event>,
        webhook: &WatchedWebhook,
        announcement: &Announcement,
    ) -> kube::Result<Said> {
        let now = jiff::Timestamp::now();
        let name = event_name(&webhook.name_any(), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: webhook.namespace(),
                ..ObjectMeta::default()
            },
            action: Some("Verify".to_owned()),
            reason: Some(announcement.reason.to_owned()),
            note: Some(short_line(&announcement.note, MOST_NOTE)),
            type_: Some(if announcement.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(ObjectReference { resource_version: None, ..webhook.object_ref(&()) }),
            reporting_controller: Some(CONTROLLER_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.chars().take(128).collect()),
            ..Event::default()
        };
        api.create(&PostParams::default(), &event).await?;
        Ok(Said { event: name, count: 1, at: Instant::now() })
    }

    fn remembered(&self, sentence: &Sentence) -> Option<Said> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(sentence).filter(|said| said.at.elapsed() < SERIES).cloned()
    }

    fn remember(&self, sentence: Sentence, said: Said) {
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.retain(|_, said| said.at.elapsed() < SERIES);
        }
        // When that many are being said, a repetition more does not matter.
        if all.len() < REMEMBERED {
            all.insert(sentence, said);
        }
    }
}

async fn repeat(api: &Api<Event>, said: Said) -> kube::Result<Said> {
    let count = said.count.saturating_add(1);
    let series = EventSeries { count, last_observed_time: MicroTime(jiff::Timestamp::now()) };
    let patch = Patch::Merge(json!({ "series": series }));
    api.patch(&said.event, &PatchParams::default(), &patch).await?;
    Ok(Said { count, at: Instant::now(), ..said })
}

/// The object's name and a number, within the 253 characters that a name may have.
fn event_name(webhook: &str, number: i128) -> String {
    let short: String = webhook.chars().take(220).collect();
    format!("{}.{number:x}", short.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_name_is_a_name_whatever_the_webhook_is_called() {
        assert_eq!(event_name("audit", 255), "audit.ff");
        let long = format!("{}.-{}", "a".repeat(218), "b".repeat(33));
        let name = event_name(&long, i128::from(u64::MAX));
        assert!(name.len() <= 253 && !name.contains("-.") && !name.contains(".."), "{name}");
    }
}
