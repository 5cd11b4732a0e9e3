//! The manifests below examples/ are what they seem to be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use herald::api::CONSENT_LABEL;
use serde_json::{Value, json};

use super::*;
use crate::support::Cluster;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Every YAML file below a folder, hidden ones too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let yaml = |path: &Path| path.extension().is_some_and(|extension| extension == "yaml");
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else if yaml(&path) {
                vec![path]
            } else {
                vec![]
            }
        })
        .collect()
}

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every object below examples/, with its file.
fn objects() -> Vec<(PathBuf, Value)> {
    let all = files(&folder()).into_iter().flat_map(|path| {
        let documents = documents(&path);
        documents.into_iter().map(move |document| (path.clone(), document))
    });
    all.filter(|(_, document)| document.get("kind").is_some()).collect()
}

#[tokio::test]
async fn the_api_server_takes_every_example_of_a_kind_that_it_knows() {
    let namespace = Cluster::connect().await.namespace("examples").await;
    // Those of Flux, of Argo CD and of External Secrets are strangers to this API server.
    let known = ["v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "herald.dev/v1alpha1"];
    let mut items = Vec::new();
    for (path, mut object) in objects() {
        let encrypted = object.get("sops").is_some();
        if encrypted || !known.contains(&object["apiVersion"].as_str().unwrap()) {
            continue;
        }
        if object["kind"] != "Namespace" {
            object["metadata"]["namespace"] = json!(namespace.name());
        }
        object["metadata"]["name"].as_str().unwrap_or_else(|| panic!("{}: {object}", path.display()));
        items.push(object);
    }
    let webhooks = items.iter().filter(|item| item["kind"] == "Webhook").count();
    assert!(webhooks >= 7, "{webhooks}");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let how =
        ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    let kubectl = Kubectl::of(&namespace);
    // What a controller makes elsewhere; no pod is taken without it.
    kubectl.ok(&["create", "serviceaccount", "default"], "").await;
    let said = kubectl.ok(&how, &list).await;
    assert_eq!(
        said.lines().filter(|line| line.starts_with("webhook.herald.dev/")).count(),
        webhooks,
        "{said}"
    );
}

#[test]
fn every_webhook_of_the_tenant_has_its_secret_and_no_secret_is_in_the_clear() {
    let tenant = objects().into_iter().filter(|(path, _)| path.starts_with(folder().join("gitops/tenants")));
    let (mut webhooks, mut keys) = (Vec::new(), Vec::new());
    for (path, object) in tenant {
        let name = object["metadata"]["name"].clone();
        match object["kind"].as_str().unwrap() {
            "Webhook" => webhooks.push((path, object)),
            "Secret" => {
                assert_eq!(object["metadata"]["labels"][CONSENT_LABEL], "true", "{}", path.display());
                for (key, value) in object["stringData"].as_object().unwrap() {
                    assert!(
                        value.as_str().unwrap().starts_with("ENC[AES256_GCM,"),
                        "{}: {key}",
                        path.display()
                    );
                    keys.push((name.clone(), json!(key)));
                }
            }
            "ExternalSecret" => {
                let target = &object["spec"]["target"];
                assert_eq!(
                    target["template"]["metadata"]["labels"][CONSENT_LABEL],
                    "true",
                    "{}",
                    path.display()
                );
                let data = object["spec"]["data"].as_array().unwrap();
                keys.extend(data.iter().map(|entry| (target["name"].clone(), entry["secretKey"].clone())));
            }
            _ => {}
        }
    }
    assert_eq!(webhooks.len(), 2);
    for (path, webhook) in webhooks {
        for reference in [&webhook["spec"]["apiKeySecretRef"], &webhook["spec"]["signingSecretRef"]] {
            let there = keys.contains(&(reference["name"].clone(), reference["key"].clone()));
            assert!(reference.is_null() || there, "{}: {reference}", path.display());
        }
    }
}

#[test]
fn the_settings_of_argo_cd_hold_the_health_check_word_for_word() {
    let settings = documents(&folder().join("gitops/argo-cd/argocd-cm.yaml")).remove(0);
    let script = fs::read_to_string(folder().join("gitops/argo-cd/health.lua")).unwrap();
    assert_eq!(settings["data"]["resource.customizations.health.herald.dev_Webhook"], script);
}

#[test]
fn the_check_of_the_repository_passes_and_its_workflow_runs_it() {
    let script = folder().join("gitops/validate");
    let output = Command::new(&script).env("HERALD", env!("CARGO_BIN_EXE_herald")).output().unwrap();
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && summary.starts_with("2 objects of Herald checked"), "{summary}");
    let workflow = documents(&folder().join("gitops/.github/workflows/validate.yaml")).remove(0);
    assert_eq!(workflow["jobs"]["webhooks"]["steps"][1]["run"], "./validate");
}
