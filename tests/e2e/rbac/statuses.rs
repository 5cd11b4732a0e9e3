//! Who may write a status, whatever rights they were given.

use herald::api::{Replay, Webhook};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::{Duration, interval, timeout};

use super::installation::until_statuses_are_guarded;
use crate::support::chart::{api_of, apply, render, text};
use crate::support::{Cluster, DEADLINE, Namespace, webhook};

/// The policy and the binding of a release that serves one namespace.
async fn policy(release: &str, own: &Namespace, served: &Namespace) -> Vec<Value> {
    let values = [
        "crds.install=false".to_owned(),
        format!("namespaces={}", json!([served.name()])),
        // Accounts that are there already; what they may do is somebody else's to say.
        "rbac.create=false".to_owned(),
        format!("controller.serviceAccount={}", json!({"create": false, "name": "verifier"})),
    ];
    let mut objects = render(release, own.name(), &values).await;
    objects.retain(|object| text(object, "/apiVersion").starts_with("admissionregistration."));
    assert_eq!(objects.len(), 2, "{objects:#?}");
    objects
}

/// Somebody of whom RBAC refuses nothing.
fn almighty(cluster: &Cluster, user: &str) -> Client {
    let mut config = cluster.config();
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
    Client::try_from(config).unwrap()
}

fn proof() -> Value {
    json!({"verification": {
        "uid": "0", "uri": "https://elsewhere.example.com/", "tlsDigest": "", "time": "2026-01-01T00:00:00Z",
    }})
}

fn delivery() -> Value {
    json!({"delivery": {"pending": 7}})
}

/// Writes the status of the Webhook or the Replay `audit`.
async fn write(client: &Client, namespace: &Namespace, kind: &str, status: Value) -> Result<(), Error> {
    let (params, patch) = (PatchParams::default(), Patch::Merge(json!({"status": status})));
    if kind == "webhook" {
        let api = Api::<Webhook>::namespaced(client.clone(), namespace.name());
        api.patch_status("audit", &params, &patch).await.map(drop)
    } else {
        let api = Api::<Replay>::namespaced(client.clone(), namespace.name());
        api.patch_status("audit", &params, &patch).await.map(drop)
    }
}

fn refusal(written: Result<(), Error>) -> String {
    match written {
        Err(Error::Api(answer)) if answer.code == 403 => answer.message,
        other => panic!("{other:?} and no refusal"),
    }
}

async fn with_objects(cluster: &Cluster, prefix: &str) -> Namespace {
    let namespace = cluster.namespace(prefix).await;
    namespace.apply(&webhook("audit", "https://audit.example.com/")).await;
    let replay = json!({
        "apiVersion": "herald.dev/v1alpha1", "kind": "Replay", "metadata": {"name": "audit"},
        "spec": {"webhook": "audit", "which": "Everything"},
    });
    namespace.apply::<Replay>(&serde_json::from_value(replay).unwrap()).await;
    namespace
}

#[tokio::test]
async fn nobody_but_herald_writes_a_status_and_each_part_of_it_only_its_own() {
    let cluster = Cluster::connect().await;
    let (own, served) = (cluster.namespace("herald").await, with_objects(&cluster, "served").await);
    let objects = policy("herald", &own, &served).await;
    for object in &objects {
        apply(&cluster.client(), object).await;
    }
    until_statuses_are_guarded(&served).await;

    let of = |account: &str| almighty(&cluster, &format!("system:serviceaccount:{}:{account}", own.name()));
    let (controller, dispatcher) = (of("verifier"), of("herald-dispatcher"));
    write(&controller, &served, "webhook", proof()).await.unwrap();
    write(&dispatcher, &served, "webhook", delivery()).await.unwrap();
    write(&dispatcher, &served, "replay", json!({"matched": 1})).await.unwrap();

    // An administrator, a tenant who was given too much, and accounts of the same name elsewhere.
    let stranger = format!("system:serviceaccount:{}:verifier", served.name());
    for user in ["kubernetes-admin", "ada@example.com", &stranger] {
        let client = almighty(&cluster, user);
        for (kind, status, hint) in [
            ("webhook", proof(), "herald.dev/verify-requested-at"),
            ("webhook", delivery(), "herald.dev/verify-requested-at"),
            ("webhook", json!({"verification": null}), "herald.dev/verify-requested-at"),
            ("replay", json!({"matched": 2}), "create another"),
        ] {
            let message = refusal(write(&client, &served, kind, status).await);
            assert!(message.contains(&format!("{user} is not Herald")), "{message}");
            assert!(message.contains(hint), "{message}");
        }
    }
    // What a Webhook is to be stays whoever's it was.
    served.edit("audit", json!({"spec": {"description": "edited"}})).await;

    let forged = json!({"verification": {
        "uid": "1", "uri": "https://elsewhere.example.com/", "tlsDigest": "", "time": "2026-01-01T00:00:00Z",
    }});
    let message = refusal(write(&dispatcher, &served, "webhook", forged).await);
    assert!(message.contains("the controller's to write"), "{message}");
    refusal(write(&controller, &served, "replay", json!({"matched": 3})).await);
    let status = served.webhook("audit").await.status.unwrap();
    assert_eq!(json!(status.verification)["uid"], "0");
    assert_eq!(json!(status.delivery)["pending"], 7);

    // As docs/security.md says for an emergency.
    let binding = objects.iter().find(|it| text(it, "/kind").ends_with("Binding")).unwrap();
    let bindings = api_of(&cluster.client(), binding);
    bindings.delete(text(binding, "/metadata/name"), &DeleteParams::default()).await.unwrap();
    let let_in = async {
        let mut tries = interval(Duration::from_millis(50));
        while write(&cluster.client(), &served, "webhook", delivery()).await.is_err() {
            tries.tick().await;
        }
    };
    assert!(timeout(DEADLINE, let_in).await.is_ok(), "without its binding the policy refuses");
    remove(&cluster, &objects).await;
}

#[tokio::test]
async fn two_installations_write_each_their_own_and_let_the_other_be() {
    let cluster = Cluster::connect().await;
    let mut all = Vec::new();
    for _ in 0..2 {
        let own = cluster.namespace("herald").await;
        let served = with_objects(&cluster, "served").await;
        let objects = policy("herald", &own, &served).await;
        for object in &objects {
            apply(&cluster.client(), object).await;
        }
        until_statuses_are_guarded(&served).await;
        let client = almighty(&cluster, &format!("system:serviceaccount:{}:verifier", own.name()));
        all.push((client, served, objects));
    }
    for (client, served, _) in &all {
        for (_, other, objects) in &all {
            let written = write(client, other, "webhook", proof()).await;
            if other.name() == served.name() {
                written.unwrap_or_else(|e| panic!("{e}: {objects:#?}"));
            } else {
                refusal(written);
            }
        }
    }
    for (_, _, objects) in &all {
        remove(&cluster, objects).await;
    }
}

async fn remove(cluster: &Cluster, objects: &[Value]) {
    for object in objects {
        let api = api_of(&cluster.client(), object);
        drop(api.delete(text(object, "/metadata/name"), &DeleteParams::default()).await);
    }
}
