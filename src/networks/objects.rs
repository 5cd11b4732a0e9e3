//! What is read of the objects that name ranges, and nothing else of them: a
//! Node is large, and there are many.

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

use crate::outbound::parse_net;

/// An object that names ranges or addresses of the cluster.
pub(super) trait NamesRanges {
    /// As they are written.
    fn names(&self) -> Vec<&str>;

    /// Those that are ranges or addresses: a Node has host names among its addresses.
    fn ranges(&self) -> Vec<IpNet> {
        self.names().into_iter().filter_map(parse_net).collect()
    }
}

/// A machine, the range of its pods, and all of its addresses: a kubelet listens on each.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "k8s_openapi::api::core::v1::Node")]
pub(super) struct Node {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct NodeSpec {
    #[serde(default, rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    addresses: Option<Vec<NodeAddress>>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeAddress {
    #[serde(default)]
    address: String,
}

impl NamesRanges for Node {
    fn names(&self) -> Vec<&str> {
        let pods = self.spec.pod_cidrs.iter().flatten().chain(&self.spec.pod_cidr).map(String::as_str);
        pods.chain(self.status.addresses.iter().flatten().map(|it| it.address.as_str())).collect()
    }
}

/// A range of services; served since Kubernetes 1.33.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "k8s_openapi::api::networking::v1::ServiceCIDR")]
pub(super) struct ServiceCidr {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceCidrSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ServiceCidrSpec {
    #[serde(default)]
    cidrs: Option<Vec<String>>,
}

impl NamesRanges for ServiceCidr {
    fn names(&self) -> Vec<&str> {
        self.spec.cidrs.iter().flatten().map(String::as_str).collect()
    }
}

/// Where the API server listens.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "k8s_openapi::api::discovery::v1::EndpointSlice")]
pub(super) struct EndpointSlice {
    metadata: ObjectMeta,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Option<Vec<String>>,
}

impl NamesRanges for EndpointSlice {
    fn names(&self) -> Vec<&str> {
        let addresses =
            self.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter().flatten());
        addresses.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ranges<K: NamesRanges + serde::de::DeserializeOwned>(object: Value) -> Vec<String> {
        let object: K = serde_json::from_value(object).unwrap();
        object.ranges().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_s_pods_and_all_of_its_addresses_are_the_cluster_s() {
        let node = json!({
            "metadata": {"name": "a"},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd01:1::/64"], "providerID": "x"},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": "10.0.0.5"},
                    {"type": "ExternalIP", "address": "203.1.2.3"},
                    {"type": "Hostname", "address": "a.example"},
                    {"type": "InternalIP", "address": "2a00::5"},
                ],
                "images": [{"names": ["x"], "sizeBytes": 1}],
            },
        });
        let wanted =
            ["10.244.1.0/24", "fd01:1::/64", "10.244.1.0/24", "10.0.0.5/32", "203.1.2.3/32", "2a00::5/128"];
        assert_eq!(ranges::<Node>(node), wanted);
        assert_eq!(ranges::<Node>(json!({"metadata": {"name": "new"}})), [""; 0]);
        assert_eq!(ranges::<Node>(json!({"metadata": {}, "spec": {"podCIDR": ""}, "status": {}})), [""; 0]);
    }

    #[test]
    fn the_ranges_of_services_and_the_addresses_of_the_api_server_are_too() {
        let services = json!({"metadata": {}, "spec": {"cidrs": ["10.96.0.0/12", "fd02::/108"]}});
        assert_eq!(ranges::<ServiceCidr>(services), ["10.96.0.0/12", "fd02::/108"]);
        let slice = json!({
            "metadata": {}, "addressType": "IPv4", "ports": [],
            "endpoints": [{"addresses": ["203.1.2.9"], "conditions": {"ready": false}}, {"addresses": ["203.1.2.10"]}],
        });
        assert_eq!(ranges::<EndpointSlice>(slice), ["203.1.2.9/32", "203.1.2.10/32"]);
    }
}
