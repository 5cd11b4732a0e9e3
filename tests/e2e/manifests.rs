//! The manifest table, asked of the API server itself: what it says to each is
//! what the comment says, and so what `herald validate` says.

use std::fs;
use std::path::Path;

use futures::{StreamExt as _, stream};
use http::Request;
use kube::Client;
use serde_json::Value;

use crate::support::Cluster;

fn manifests(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// What the API server has against a manifest: `path: message` each, as in the comments.
async fn refusals(client: &Client, text: &str) -> Vec<String> {
    let kinds = [("kind: HostPolicy", "hostpolicies"), ("kind: Replay", "replays")];
    let resource =
        kinds.iter().find(|(kind, _)| text.contains(kind)).map_or("webhooks", |(_, resource)| *resource);
    let request = Request::post(format!(
        "/apis/herald.dev/v1alpha1/namespaces/default/{resource}?dryRun=All&fieldValidation=Strict"
    ))
    .header("content-type", "application/yaml")
    .body(text.as_bytes().to_vec())
    .unwrap();
    let status = match client.request::<Value>(request).await {
        Ok(_) => return Vec::new(),
        Err(kube::Error::Api(status)) => status,
        Err(error) => panic!("{error}"),
    };
    // A number with a fraction is refused twice over; once is enough.
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes = causes.filter(|cause| !cause.message.contains("Checked value must be of type integer"));
    let causes: Vec<_> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    if causes.is_empty() { vec![status.message.clone()] } else { causes }
}

/// Whether a refusal says what a comment expects. Between the field and the
/// message the API server puts the value; a strict decoding error, which names
/// fields that the schema does not have, comes alone.
fn says(refusal: &str, expected: &str) -> bool {
    let (path, message) = expected.split_once(": ").unwrap_or(("<nil>", expected));
    let path = if path.contains(' ') { "<nil>" } else { path };
    if message.starts_with("unknown field") {
        return refusal.contains("strict decoding error") && refusal.contains(message);
    }
    // What is wrong with metadata Kubernetes says in words of its own, which are others in other releases.
    let others_words = path.starts_with("metadata.") && std::env::var_os("HERALD_KUBERNETES").is_some();
    let message = if path == "<nil>" { expected } else { message };
    let message = if others_words { "" } else { message };
    refusal.starts_with(&format!("{path}: ")) && refusal.contains(message)
}

#[tokio::test]
async fn the_api_server_says_of_every_manifest_what_the_table_says() {
    let client = Cluster::connect().await.client();
    let table = manifests("good").into_iter().chain(manifests("bad"));
    let answers = table.map(|(name, text)| async {
        let refusals = refusals(&client, &text).await;
        (name, text, refusals)
    });
    let answers: Vec<_> = stream::iter(answers).buffer_unordered(16).collect().await;
    let mut wrong = Vec::new();
    for (name, text, refusals) in &answers {
        let mut expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# refused: ")).collect();
        if expected.iter().any(|line| line.contains(": unknown field ")) {
            expected.retain(|line| line.contains(": unknown field "));
        }
        let all_said = expected.iter().all(|line| refusals.iter().any(|refusal| says(refusal, line)));
        if !all_said || refusals.len() != expected.len() {
            wrong.push(format!("{name}\n  expected {expected:#?}\n  got {refusals:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), answers.len(), wrong.join("\n"));
}
