//! Where the bundle is, and where it is not.

use herald::model::Clock;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Resource as _};
use serde_json::json;

use super::client::trusts;
use super::installation::{HOST, Installation, settle};
use super::objects::{bundle, bundles, entry, label_producer, until, until_there};
use crate::support::Namespace;

/// A namespace gets the bundle and loses it as it is labelled; what is there already is left alone.
async fn follows_the_label(installation: &Installation, other: &Namespace) {
    let (cluster, name) = (&installation.cluster, installation.ca_name());
    let theirs: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": name}, "data": {"ca.crt": "theirs"}})).unwrap();
    other.apply(&theirs).await;
    label_producer(cluster, other.name(), true).await;
    let _running = installation.start();
    let own = bundles(&installation.own);
    let kept = bundle(&until_there(&own, &name, |_| true).await);

    let copies = bundles(&installation.producer);
    let made = until_there(&copies, &name, |made| bundle(made) == kept).await;
    copies.delete(&name, &DeleteParams::default()).await.unwrap();
    until_there(&copies, &name, |new| new.metadata.uid != made.metadata.uid && bundle(new) == kept).await;
    let edit = Patch::Merge(json!({"data": {"ca.crt": "edited"}}));
    let edited = copies.patch(&name, &PatchParams::default(), &edit).await.unwrap();
    let is_newer = |new: &ConfigMap| new.metadata.resource_version != edited.metadata.resource_version;
    until_there(&copies, &name, |new| is_newer(new) && bundle(new) == kept).await;

    label_producer(cluster, installation.producer.name(), false).await;
    // For one that serves named namespaces, a change of a label is seen at the next look only.
    own.delete(&name, &DeleteParams::default()).await.unwrap();
    until(&copies, &name, |there| there.is_none()).await;
    label_producer(cluster, installation.producer.name(), true).await;
    own.delete(&name, &DeleteParams::default()).await.ok();
    until_there(&copies, &name, |new| bundle(new) == kept).await;

    let still = bundles(other).get(&name).await.unwrap();
    assert_eq!((bundle(&still).as_str(), still.metadata.labels), ("theirs", None));
}

#[tokio::test]
async fn bundles_follow_the_labels_of_the_namespaces_of_a_cluster() {
    let installation = Installation::of_the_cluster().await;
    let other = installation.cluster.namespace("producer").await;
    follows_the_label(&installation, &other).await;
}

#[tokio::test]
async fn bundles_follow_the_labels_of_the_namespaces_that_are_named() {
    let mut installation = Installation::of_one_namespace().await;
    let other = installation.cluster.namespace("producer").await;
    let named = [&installation.producer, &other].map(|namespace| namespace.name().to_owned());
    installation.config.namespaces = herald::subscriptions::Namespaces::new(named.to_vec());
    follows_the_label(&installation, &other).await;
}

#[tokio::test]
async fn a_namespace_that_is_labelled_later_has_the_bundle_at_once() {
    let installation = Installation::of_the_cluster().await;
    let _running = installation.start();
    installation.tls(|_| true).await;
    let late = installation.cluster.namespace("producer").await;
    assert_eq!(bundles(&late).get_opt(&installation.ca_name()).await.unwrap(), None);
    label_producer(&installation.cluster, late.name(), true).await;
    until_there(&bundles(&late), &installation.ca_name(), |_| true).await;
}

#[tokio::test]
async fn everything_goes_with_the_cluster_role_also_with_one_that_was_made_anew() {
    let mut installation = Installation::of_one_namespace().await;
    let roles: Api<ClusterRole> = Api::all(installation.cluster.client());
    let role = ClusterRole {
        metadata: ObjectMeta { name: Some(installation.config.name.clone()), ..ObjectMeta::default() },
        ..ClusterRole::default()
    };
    installation.config.owner = role.metadata.name.clone();
    let (secrets, name) = (installation.own.api::<Secret>(), installation.ca_name());
    let mut keeper = installation.keeper();
    keeper.round().await.unwrap_err();
    assert_eq!(secrets.get_opt(&name).await.unwrap(), None, "nothing is made that nobody would remove");

    for _ in 0..2 {
        let uid = roles.create(&PostParams::default(), &role).await.unwrap().metadata.uid.unwrap();
        settle(&mut keeper).await;
        let mut made: Vec<ObjectMeta> = Vec::new();
        for name in [name.clone(), installation.tls_name()] {
            made.push(secrets.get(&name).await.unwrap().metadata);
        }
        for namespace in [&installation.own, &installation.producer] {
            made.push(bundles(namespace).get(&name).await.unwrap().metadata);
        }
        for metadata in made {
            let owners = metadata.owner_references.unwrap_or_default();
            assert_eq!(owners.len(), 1, "{owners:?}");
            assert_eq!((owners[0].kind.as_str(), &owners[0].uid), ("ClusterRole", &uid));
            assert_eq!((owners[0].controller, owners[0].block_owner_deletion), (None, None));
        }
        roles.delete(&installation.config.name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn where_there_are_cluster_trust_bundles_there_is_one_of_ingestion() {
    let installation = Installation::of_one_namespace().await;
    let client = installation.cluster.client();
    let mut served = None;
    for version in ["v1", "v1beta1"] {
        let list = client.list_api_group_resources(&format!("certificates.k8s.io/{version}")).await;
        let kinds = list.map(|list| list.resources).unwrap_or_default();
        if kinds.iter().any(|kind| kind.name == "clustertrustbundles") {
            served = served.or(Some(version));
        }
    }
    settle(&mut installation.keeper()).await;
    let tls = installation.tls(|_| true).await;
    // Where there is none, all else is there all the same.
    assert!(trusts(&entry(&tls, "ca.crt"), &entry(&tls, "tls.crt"), HOST, &Clock::default()));
    let Some(version) = served else { return };
    let resource = ApiResource {
        group: "certificates.k8s.io".to_owned(),
        version: version.to_owned(),
        api_version: format!("certificates.k8s.io/{version}"),
        kind: "ClusterTrustBundle".to_owned(),
        plural: "clustertrustbundles".to_owned(),
    };
    let bundles: Api<DynamicObject> = Api::all_with(client, &resource);
    let name = format!("herald.dev:ingestion:{}.{}", installation.own.name(), installation.config.name);
    let made = bundles.get(&name).await.unwrap();
    assert_eq!(made.data["spec"]["signerName"], "herald.dev/ingestion", "{:?}", made.object_ref(&resource));
    assert_eq!(made.data["spec"]["trustBundle"], entry(&tls, "ca.crt").as_str());
}
