//! Waiting for objects, and reading them.

use std::fmt::Debug;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as KubeNamespace, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, watch_object};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::{Cluster, DEADLINE, Namespace};

/// Waits until an object is as `wanted` says, `None` being one that is not
/// there; at the deadline fails with what it last was.
pub async fn until<K>(api: &Api<K>, name: &str, wanted: impl Fn(Option<&K>) -> bool) -> Option<K>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let watch = async {
        let mut states = Box::pin(watch_object(api.clone(), name));
        while let Some(state) = states.try_next().await.transpose() {
            match state {
                Ok(state) if wanted(state.as_ref()) => return state,
                Ok(state) => last = state,
                Err(watcher::Error::WatchError(_)) => {}
                Err(error) => panic!("watch of {name}: {error}"),
            }
        }
        panic!("the watch of {name} ended")
    };
    if let Ok(state) = timeout(DEADLINE, watch).await {
        return state;
    }
    if let Some(object) = &mut last {
        object.meta_mut().managed_fields = None;
    }
    panic!("{name} is not as wanted after {DEADLINE:?}; it last was {last:#?}")
}

/// Waits until an object is there and as `wanted` says.
pub async fn until_there<K>(api: &Api<K>, name: &str, wanted: impl Fn(&K) -> bool) -> K
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    until(api, name, |object| object.is_some_and(&wanted)).await.unwrap()
}

/// An entry of a Secret; empty if there is none.
pub fn entry(secret: &Secret, key: &str) -> String {
    let entry = secret.data.as_ref().and_then(|data| data.get(key));
    entry.map(|value| String::from_utf8(value.0.clone()).unwrap()).unwrap_or_default()
}

/// Where the bundle of a namespace is.
pub fn bundles(namespace: &Namespace) -> Api<ConfigMap> {
    namespace.api()
}

/// The bundle in a `ConfigMap`; empty if there is none.
pub fn bundle(config_map: &ConfigMap) -> String {
    let entry = config_map.data.as_ref().and_then(|data| data.get("ca.crt"));
    entry.cloned().unwrap_or_default()
}

/// The certificates of a bundle, each as PEM.
pub fn certificates(bundle: &str) -> Vec<String> {
    bundle.split_inclusive("-----END CERTIFICATE-----\n").map(ToOwned::to_owned).collect()
}

/// When a certificate ends, in seconds since the epoch.
pub fn end(pem: &str) -> i64 {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    certificate.validity().not_after.timestamp()
}

/// Says, or no longer says, that events come from a namespace.
pub async fn label_producer(cluster: &Cluster, namespace: &str, is_producer: bool) {
    let value = is_producer.then_some("true");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"herald.dev/producer": value}}}));
    let api = Api::<KubeNamespace>::all(cluster.client());
    api.patch(namespace, &PatchParams::default(), &patch).await.unwrap();
}
