//! The chart's roles: they suffice for all that Herald does, and nothing in them is needless.
//! And its policy of statuses, which takes from others what a role may have given them.

mod beyond;
mod installation;
mod rights;
mod statuses;
mod users;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;

use futures::StreamExt as _;
use futures::stream;

use self::installation::{Installation, Scope, manifests};
use self::rights::{Granted, Right, allowed, granted, needed, needless};
use self::walk::walk;
use crate::support::Cluster;
use crate::support::audit::{Asked, AuditLog, audit_log};
use crate::support::control_plane::ControlPlane;

/// Whether something can be done with it in this cluster.
async fn is_usable(cluster: &Cluster) -> impl Fn(&Granted) -> bool {
    let with_trust_bundles = cluster.serves_trust_bundles().await;
    move |it| with_trust_bundles || it.right.group != "certificates.k8s.io"
}

/// Walks with all rights: nothing is refused, and of each there is a request that only it allows.
async fn suffice_and_none_is_needless(cluster: &Cluster, log: &Path, scope: Scope) {
    let mut it = Installation::new(cluster, scope, &[]).await;
    it.guard_statuses().await;
    let mut log = AuditLog::from_now(log, &it.users);
    tokio::select! {
        () = walk(&mut it) => {}
        refused = log.find(|asked| asked.code == 403) => panic!("{refused:#?}"),
    }
    it.ask_the_last().await;
    log.complete().await;
    let refused: Vec<_> = log.asked.iter().filter(|asked| asked.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    it.granted.retain(is_usable(cluster).await);
    let mut needless: Vec<_> = needless(&it.granted, &log.asked).iter().map(ToString::to_string).collect();
    let anybody = format!("system:serviceaccount:{}:anybody", it.own.name());
    let as_anybody = it.granted.iter().map(|it| Right { user: anybody.clone(), ..it.right.clone() });
    needless.extend(allowed(it.own.cluster(), as_anybody).await.iter().map(ToString::to_string));
    assert!(needless.is_empty(), "granted, and never needed: {needless:#?}");
    it.remove().await;
}

/// Walks without these rights, until a request is refused that needs one of them.
async fn are_missed(cluster: &Cluster, log: &Path, scope: Scope, rights: &[usize]) {
    let mut it = Installation::new(cluster, scope, rights).await;
    let mut log = AuditLog::from_now(log, &it.users);
    let lost = it.lost.clone();
    let names: Vec<_> = lost.iter().map(ToString::to_string).collect();
    let lacks = |asked: &Asked| {
        asked.code == 403 && needed(asked).iter().any(|needed| lost.iter().any(|lost| lost.covers(needed)))
    };
    tokio::select! {
        _ = log.find(lacks) => {}
        () = walk(&mut it) => panic!("nothing was refused without: {}", names.join(", ")),
    }
    it.remove().await;
}

/// What to take away, all of the usable rights in the end: those that are alike, by their places.
async fn cuts<T: Ord>(
    cluster: &Cluster,
    scope: Scope,
    alike: impl Fn(usize, &Granted) -> T,
) -> Vec<Vec<usize>> {
    let granted = granted(&manifests(scope, "herald", "herald", "served").await);
    let is_usable = is_usable(cluster).await;
    let mut cuts = BTreeMap::<T, Vec<usize>>::new();
    for (place, it) in granted.iter().enumerate().filter(|(_, it)| is_usable(it)) {
        cuts.entry(alike(place, it)).or_default().push(place);
    }
    cuts.into_values().collect()
}

#[tokio::test]
async fn for_one_namespace_the_roles_suffice_and_no_right_is_needless() {
    let Some(log) = audit_log("the roles for one namespace") else { return };
    suffice_and_none_is_needless(&Cluster::connect().await, &log, Scope::Namespace).await;
}

#[tokio::test]
async fn for_one_namespace_alone_roles_and_reviews_suffice_and_no_right_is_needless() {
    let Some(log) = audit_log("the roles for one namespace alone") else { return };
    suffice_and_none_is_needless(&Cluster::connect().await, &log, Scope::NamespaceAlone).await;
}

#[tokio::test]
async fn for_one_namespace_each_right_is_missed_when_it_is_taken_away() {
    let Some(log) = audit_log("each right for one namespace") else { return };
    let cluster = Cluster::connect().await;
    let each = cuts(&cluster, Scope::Namespace, |place, _| place).await;
    let walks = each.iter().map(|right| are_missed(&cluster, &log, Scope::Namespace, right));
    stream::iter(walks).buffer_unordered(4).collect::<()>().await;
}

// Herald for a whole cluster would take the Webhooks of all other tests for its own,
// and those of a second one.
#[tokio::test]
async fn for_a_cluster_the_roles_suffice_no_right_is_needless_and_each_rule_is_missed() {
    if audit_log("the roles for a cluster").is_none() {
        return;
    }
    let control_plane = ControlPlane::start();
    let (cluster, log) = (Cluster::connect_to(control_plane.kubeconfig()).await, control_plane.audit_log());
    suffice_and_none_is_needless(&cluster, log, Scope::Cluster).await;
    for rule in cuts(&cluster, Scope::Cluster, |_, it| it.rule).await {
        are_missed(&cluster, log, Scope::Cluster, &rule).await;
    }
}
