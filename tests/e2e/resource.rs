//! What the API server makes of a Webhook before anyone acts on it.

use herald::api::Webhook;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::Cluster;

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
    let namespace = Cluster::connect().await.namespace("resource").await;
    let created = namespace.api().create(&PostParams::default(), &webhook()).await.unwrap();
    assert_eq!(created.status.and_then(|status| status.observed_generation), Some(-1));
}

#[tokio::test]
async fn a_list_of_webhooks_shows_the_columns() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("resource").await;
    namespace.api().create(&PostParams::default(), &webhook()).await.unwrap();
    let path = format!("/apis/herald.dev/v1alpha1/namespaces/{}/webhooks", namespace.name());
    let request = http::Request::get(path)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = cluster.client().request(request).await.unwrap();
    let columns: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().collect();
    let shown = |wide: bool| -> Vec<_> {
        let columns = columns.iter().filter(|column| (column["priority"] != 0) == wide);
        columns.map(|column| column["name"].as_str().unwrap()).collect()
    };
    assert_eq!(shown(false), ["Name", "Display Name", "Status", "Delivering", "Description", "Age"]);
    assert_eq!(shown(true), ["URI", "Pending", "Dead"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1]), (&json!("audit-trail"), &json!("Audit trail")));
}
