//! What the API server makes of a Webhook before anyone acts on it.

use herald::api::Webhook;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::manifests::{client, install_definitions};

/// A namespace of its own for one test.
async fn namespace(client: &Client) -> String {
    let metadata = ObjectMeta { generate_name: Some("herald-e2e-".to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap()
}

fn webhook() -> Webhook {
    serde_json::from_value(json!({
        "apiVersion": "herald.dev/v1alpha1",
        "kind": "Webhook",
        "metadata": { "name": "audit-trail" },
        "spec": {
            "name": "Audit trail",
            "uri": "https://hooks.example.com/users",
            "apiKeySecretRef": { "name": "audit-trail", "key": "api-key" },
            "events": ["User created"],
        },
        "status": { "observedGeneration": 7 },
    }))
    .unwrap()
}

#[tokio::test]
async fn an_object_that_nobody_has_looked_at_does_not_pass_for_current() {
    let client = client().await;
    install_definitions(&client).await;
    let api: Api<Webhook> = Api::namespaced(client.clone(), &namespace(&client).await);
    let created = api.create(&PostParams::default(), &webhook()).await.unwrap();
    assert_eq!(created.status.and_then(|status| status.observed_generation), Some(-1));
    api.delete("audit-trail", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_list_of_webhooks_shows_the_columns() {
    let client = client().await;
    install_definitions(&client).await;
    let namespace = namespace(&client).await;
    let api: Api<Webhook> = Api::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &webhook()).await.unwrap();
    let request = http::Request::get(format!("/apis/herald.dev/v1alpha1/namespaces/{namespace}/webhooks"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let columns: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().collect();
    let shown = |wide: bool| -> Vec<_> {
        let columns = columns.iter().filter(|column| (column["priority"] != 0) == wide);
        columns.map(|column| column["name"].as_str().unwrap()).collect()
    };
    assert_eq!(shown(false), ["Name", "Display Name", "Status", "Delivering", "Description", "Age"]);
    assert_eq!(shown(true), ["URI", "Pending"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1]), (&json!("audit-trail"), &json!("Audit trail")));
    api.delete("audit-trail", &DeleteParams::default()).await.unwrap();
}
