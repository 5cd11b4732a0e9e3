//! Through an egress proxy, and past the one of the environment.

use super::{delivering, id_of};
use crate::support::producer::event;
use crate::support::proxy::Proxy;
use crate::support::{Cluster, Endpoint, HeraldProcess, Producer};

#[tokio::test]
async fn what_is_verified_and_delivered_goes_through_the_proxy_that_a_flag_names() {
    let namespace = Cluster::connect().await.namespace("proxied").await;
    let (endpoint, proxy) = (Endpoint::start().await, Proxy::start().await);
    let credentials = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(credentials.path(), "herald:canary-of-the-proxy\n").unwrap();
    let file = credentials.path().to_str().unwrap();
    let flags = ["--outbound-proxy", &proxy.url(), "--outbound-proxy-credentials", file];
    let herald = HeraldProcess::start_with(&[&namespace], &flags).await;
    delivering(&namespace, "audit", &endpoint).await;
    let producer = Producer::new(&namespace).await;
    producer.send(&herald, &event("user.created", "e")).await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "e");
    let asked = proxy.asked();
    assert_eq!(asked.len(), endpoint.connections(), "every connection is a tunnel of its");
    for head in asked {
        assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", endpoint.authority())), "{head}");
        // herald:canary-of-the-proxy
        let basic = "Proxy-Authorization: Basic aGVyYWxkOmNhbmFyeS1vZi10aGUtcHJveHk=\r\n";
        assert!(head.contains(basic), "{head}");
    }
    assert!(!herald.log().contains("canary-of-the-proxy") && !herald.log().contains("aGVyYWxkOm"));
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked_for_an_endpoint() {
    let namespace = Cluster::connect().await.namespace("direct").await;
    let (endpoint, proxy) = (Endpoint::start().await, Proxy::start().await);
    let url = proxy.url();
    let variables = ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"].map(|name| (name, url.as_str()));
    let herald = HeraldProcess::start_in(&[&namespace], &variables).await;
    delivering(&namespace, "audit", &endpoint).await;
    let producer = Producer::new(&namespace).await;
    producer.send(&herald, &event("user.created", "e")).await;
    assert_eq!(id_of(&endpoint.next_delivery().await), "e");
    assert_eq!(proxy.asked(), Vec::<String>::new());
}
