//! The cluster's own networks are found out, and not called.

use herald::model::EndpointUri;
use herald::networks::{self, Metrics};
use herald::outbound::{ClusterNetworks, Guard, Outbound, OutboundConfig, Request, TlsSettings};
use http::{HeaderMap, Method};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::support::certificates::authority_pem;
use crate::support::webhook::condition;
use crate::support::{Cluster, DEADLINE, Endpoint, HeraldProcess, Namespace, webhook};

const OF_NODES: &str = "herald_outbound_cluster_ranges{source=\"Nodes\"}";
const OF_SERVICES: &str = "herald_outbound_cluster_ranges{source=\"Services\"}";
const OF_THE_API_SERVER: &str = "herald_outbound_cluster_ranges{source=\"ApiServer\"}";

/// A machine of the cluster, as its kubelet and a cloud write it down.
async fn node(cluster: &Cluster, external: &str) -> String {
    let name = format!("node-{:08x}", rand::random::<u32>());
    let nodes = Api::<Node>::all(cluster.client());
    let new = json!({"metadata": {"name": name}, "spec": {"podCIDR": "8.201.7.0/24", "podCIDRs": ["8.201.7.0/24"]}});
    nodes.create(&PostParams::default(), &serde_json::from_value(new).unwrap()).await.unwrap();
    let addresses =
        json!([{"type": "Hostname", "address": name}, {"type": "ExternalIP", "address": external}]);
    let status = Patch::Merge(json!({"status": {"addresses": addresses}}));
    nodes.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
    name
}

/// A webhook that names this address, which is none of a kind that is refused everywhere.
async fn is_refused(namespace: &Namespace, name: &str, address: &str) {
    namespace.secret(name, &[("api-key", "key")]).await;
    namespace.apply(&webhook(name, &format!("https://{address}/users"))).await;
    let refused = namespace.await_condition(name, "Verified", "False", "AddressForbidden").await;
    let message = &condition(&refused, "Verified").unwrap().message;
    assert!(message.contains("an address that Herald does not call"), "{message}");
    assert!(!message.contains("cluster") && !message.contains("node"), "{message}");
}

#[tokio::test]
async fn nodes_pods_services_and_the_api_server_are_refused_as_soon_as_they_are_known() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("networks").await;
    let first = node(&cluster, "8.201.1.1").await;
    let slices = Api::<EndpointSlice>::namespaced(cluster.client(), "default");
    let slice = json!({
        "metadata": {"name": first, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["8.201.9.9"]}],
    });
    slices.create(&PostParams::default(), &serde_json::from_value(slice).unwrap()).await.unwrap();
    // Nothing goes out before what is there is known, so this needs no wait.
    let mut herald = HeraldProcess::start_with(&[&namespace], &["--discover-cluster-networks"]).await;
    is_refused(&namespace, "node", "8.201.1.1").await;
    is_refused(&namespace, "pod", "8.201.7.77").await;
    is_refused(&namespace, "api-server", "8.201.9.9").await;
    herald.await_metric(OF_SERVICES, |ranges| ranges >= 1.0).await;
    assert!(herald.metric(OF_THE_API_SERVER).await >= 1.0);

    let known = herald.metric(OF_NODES).await;
    let second = node(&cluster, "8.201.1.2").await;
    herald.await_metric(OF_NODES, |ranges| ranges > known).await;
    is_refused(&namespace, "new-node", "8.201.1.2").await;
    herald.stop().await;
    let params = DeleteParams::default();
    for name in [first.as_str(), &second] {
        Api::<Node>::all(cluster.client()).delete(name, &params).await.unwrap();
    }
    slices.delete(&first, &params).await.unwrap();
}

#[tokio::test]
async fn what_may_not_be_found_out_holds_nothing_up() {
    let cluster = Cluster::connect().await;
    let namespace = cluster.namespace("networks").await;
    let endpoint = Endpoint::start().await;
    let mut config = cluster.config();
    // With no right at all.
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:nobody", namespace.name()));
    let networks = ClusterNetworks::awaited(Instant::now() + Duration::from_hours(1));
    let mut registry = Registry::default();
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    let surroundings = networks::Surroundings {
        client: Some(Client::try_from(config).unwrap()),
        api_servers: vec!["127.0.0.1".to_owned()],
        networks: networks.clone(),
        metrics,
    };
    let shutdown = CancellationToken::new();
    let looking = tokio::spawn(networks::run(surroundings, shutdown.clone()));

    let mut guard = Guard::default();
    guard.cluster = networks;
    // The API server has this address too: what an administrator allows wins.
    guard.allow("127.0.0.1".parse().unwrap());
    let extra_roots = Some(authority_pem().into_bytes());
    let outbound = Outbound::new(OutboundConfig { guard, extra_roots, ..OutboundConfig::default() }).unwrap();
    let uri: EndpointUri = endpoint.uri().parse().unwrap();
    let channel = outbound.channel(namespace.name(), &uri, &TlsSettings::default()).unwrap();
    let request = Request { method: Method::POST, headers: HeaderMap::new(), body: "{}".into() };
    let exchange = tokio::time::timeout(DEADLINE, channel.exchange(request, DEADLINE)).await;
    assert!(exchange.expect("it waits for what cannot be found out").end.unwrap().status.is_success());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for (source, ranges) in [("Nodes", 0), ("Services", 0), ("ApiServer", 0), ("Client", 1)] {
        let sample = format!("herald_outbound_cluster_ranges{{source=\"{source}\"}} {ranges}");
        assert!(text.contains(&sample), "{text}");
    }
    shutdown.cancel();
    looking.await.unwrap();
}
