//! `kubectl explain` has a sentence for every field, out of the API server's own OpenAPI.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{interval, timeout};

use super::*;
use crate::support::{Cluster, DEADLINE};

/// One field as kubectl explains it.
#[derive(Debug)]
struct Field {
    name: String,
    is_object: bool,
    sentence: String,
}

/// The fields that kubectl lists: a name and a type in a line, and what it says of them below.
fn fields(text: &str) -> Vec<Field> {
    let Some((_, list)) = text.split_once("FIELDS:\n") else { return Vec::new() };
    let mut fields: Vec<Field> = Vec::new();
    for line in list.lines() {
        match (line.strip_prefix("    "), line.trim().split_once('\t'), fields.last_mut()) {
            (None, Some((name, type_)), _) => fields.push(Field {
                name: name.to_owned(),
                is_object: type_.contains("Object>"),
                sentence: String::new(),
            }),
            (Some(text), _, Some(field)) => field.sentence.extend([text.trim(), " "]),
            _ => {}
        }
    }
    fields
}

#[tokio::test]
async fn every_field_is_explained_by_a_sentence() {
    let namespace = Cluster::connect().await.namespace("explained").await;
    let kubectl = Kubectl::of(&namespace);
    until_published(&kubectl).await;
    let mut seen = Vec::new();
    for kind in ["webhook", "hostpolicy"] {
        let whole = kubectl.ok(&["explain", kind], "").await;
        assert!(whole.contains("\nDESCRIPTION:\n    A "), "{whole}");
        let mut objects: VecDeque<String> = [kind.to_owned()].into();
        while let Some(path) = objects.pop_front() {
            for field in fields(&kubectl.ok(&["explain", &path], "").await) {
                let path = format!("{path}.{}", field.name);
                let of_every_object = ["apiVersion", "kind", "metadata"].contains(&field.name.as_str());
                if path.matches('.').count() == 1 && of_every_object {
                    continue;
                }
                let words = field.sentence.split_whitespace().count();
                assert!(words >= 3 && field.sentence.trim().ends_with('.'), "{path}: {field:?}");
                if field.is_object {
                    objects.push_back(path.clone());
                }
                seen.push(path);
            }
        }
    }
    for path in [
        "webhook.spec.delivery.backoff.max",
        "webhook.status.conditions.reason",
        "hostpolicy.spec.allowedHosts",
    ] {
        assert!(seen.iter().any(|seen| seen == path), "{path} is not in {seen:#?}");
    }
    let delivery = kubectl.ok(&["explain", "webhook.spec.delivery"], "").await;
    assert!(delivery.contains("enum: None, PerUser") && delivery.contains("1s to 30s"), "{delivery}");
}

/// The API server publishes what it knows of a new definition a moment later, and tells nobody.
async fn until_published(kubectl: &Kubectl) {
    let asked = async {
        let mut asks = interval(Duration::from_millis(50));
        while kubectl.run(&["explain", "webhook.spec.delivery"], "").await.status != Some(0)
            || kubectl.run(&["explain", "hostpolicy.spec"], "").await.status != Some(0)
        {
            asks.tick().await;
        }
    };
    timeout(DEADLINE, asked).await.expect("the definitions are published");
}
