//! What the accounts of an installation may not do.

use super::installation::{Installation, Scope};
use super::rights::{Right, allowed};
use crate::support::{Cluster, Namespace};

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// What nobody of Herald may do anywhere: group, resource, verbs.
const NEVER: [(&str, &str, &[&str]); 20] = [
    // What people want is theirs to write.
    ("herald.dev", "webhooks", &WRITE),
    ("herald.dev", "webhooks/status", &["update"]),
    ("herald.dev", "hostpolicies", &WRITE),
    ("herald.dev", "userevents", &["create"]),
    // What would lead to other rights.
    ("rbac.authorization.k8s.io", "roles", &["create", "update", "patch", "bind", "escalate"]),
    ("rbac.authorization.k8s.io", "clusterroles", &["create", "update", "patch", "bind", "escalate"]),
    ("rbac.authorization.k8s.io", "rolebindings", &WRITE),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &WRITE),
    ("", "serviceaccounts", &["impersonate"]),
    ("", "serviceaccounts/token", &["create"]),
    ("", "users", &["impersonate"]),
    ("", "pods", &WRITE),
    ("", "pods/exec", &["create"]),
    ("", "namespaces", &WRITE),
    // What it reads of the cluster's networks, and no more of a node.
    ("", "nodes", &WRITE),
    ("", "nodes/proxy", &["get", "create"]),
    ("networking.k8s.io", "servicecidrs", &WRITE),
    ("discovery.k8s.io", "endpointslices", &WRITE),
    // By a name that is not Herald's, and all at once.
    ("", "secrets", &["patch", "deletecollection"]),
    ("", "configmaps", &["update", "deletecollection"]),
];

/// An account, and what it is asked about.
struct Questions<'i> {
    it: &'i Installation,
    user: String,
    asked: Vec<Right>,
}

impl Questions<'_> {
    /// In a namespace, or in all; about a name, or about any.
    fn ask(
        &mut self,
        place: Option<&Namespace>,
        group: &str,
        resource: &str,
        verbs: &[&str],
        name: Option<&str>,
    ) {
        self.asked.extend(verbs.iter().map(|verb| Right {
            user: self.user.clone(),
            namespace: place.map(|place| place.name().to_owned()),
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: (*verb).to_owned(),
            name: name.map(str::to_owned),
        }));
    }

    /// All are answered with no.
    async fn refused(self) {
        let allowed = allowed(self.it.own.cluster(), self.asked).await;
        assert!(allowed.is_empty(), "{:#?}", allowed.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}

fn nothing_but_its_work<'i>(it: &'i Installation, user: &str, elsewhere: &Namespace) -> Questions<'i> {
    let mut questions = Questions { it, user: user.to_owned(), asked: Vec::new() };
    for place in [None, Some(&it.own), Some(&it.served), Some(elsewhere)] {
        for (group, resource, verbs) in NEVER {
            questions.ask(place, group, resource, verbs, None);
        }
        questions.ask(place, "discovery.k8s.io", "endpointslices", &READ, None);
        questions.ask(place, "", "secrets", &["update", "delete"], Some("another"));
        questions.ask(place, "", "configmaps", &["create", "patch", "delete"], Some("another"));
        questions.ask(place, "coordination.k8s.io", "leases", &["update", "delete"], Some("another"));
        if place.map(Namespace::name) != Some(it.own.name()) {
            questions.ask(place, "", "secrets", &["create", "update", "delete"], Some(&it.tls_name()));
            questions.ask(
                place,
                "coordination.k8s.io",
                "leases",
                &["create", "get", "update"],
                Some(&it.lease_name()),
            );
        }
    }
    questions
}

async fn each_component_is_confined(scope: Scope) {
    let cluster = Cluster::connect().await;
    let elsewhere = cluster.namespace("elsewhere").await;
    let it = Installation::new(&cluster, scope, &[]).await;

    let [first, second] = &it.users;
    let mut controller = nothing_but_its_work(&it, first, &elsewhere);
    controller.ask(None, "authentication.k8s.io", "tokenreviews", &["create"], None);
    controller.ask(None, "authorization.k8s.io", "subjectaccessreviews", &["create"], None);
    controller.ask(None, "certificates.k8s.io", "signers", &["attest"], Some("example.com/another"));
    controller.ask(
        None,
        "certificates.k8s.io",
        "clustertrustbundles",
        &WRITE,
        Some("example.com:another:it"),
    );

    let mut dispatcher = nothing_but_its_work(&it, second, &elsewhere);
    for place in [&it.own, &it.served, &elsewhere].map(Some) {
        for name in [it.ca_name(), it.tls_name()] {
            dispatcher.ask(place, "", "secrets", &[&["get"][..], &WRITE].concat(), Some(&name));
            dispatcher.ask(place, "", "configmaps", &WRITE, Some(&name));
        }
        dispatcher.ask(place, "", "secrets", &["get"], None);
        dispatcher.ask(place, "coordination.k8s.io", "leases", &WRITE, Some(&it.lease_name()));
        dispatcher.ask(place, "events.k8s.io", "events", &WRITE, None);
    }
    // Of all of a cluster it needs what the API server gives of their metadata.
    let beyond = if scope == Scope::Cluster { &["get"][..] } else { &READ };
    dispatcher.ask(None, "", "namespaces", beyond, None);
    dispatcher.ask(None, "certificates.k8s.io", "clustertrustbundles", &WRITE, None);

    if scope != Scope::Cluster {
        for questions in [&mut controller, &mut dispatcher] {
            for place in [None, Some(&elsewhere), Some(&it.own)] {
                for (group, resource) in [("herald.dev", "webhooks"), ("", "secrets"), ("", "configmaps")] {
                    questions.ask(place, group, resource, &READ, None);
                }
                for (group, resource) in [("", "nodes"), ("networking.k8s.io", "servicecidrs")] {
                    questions.ask(place, group, resource, &READ, None);
                }
                questions.ask(place, "herald.dev", "webhooks/status", &["patch"], None);
                questions.ask(place, "events.k8s.io", "events", &["create", "patch"], None);
            }
            questions.ask(
                Some(&elsewhere),
                "",
                "configmaps",
                &["create", "patch", "delete"],
                Some(&it.ca_name()),
            );
            if scope == Scope::NamespaceAlone {
                questions.ask(None, "rbac.authorization.k8s.io", "clusterroles", &READ, None);
                questions.ask(None, "certificates.k8s.io", "clustertrustbundles", &WRITE, None);
                questions.ask(
                    None,
                    "certificates.k8s.io",
                    "signers",
                    &["attest"],
                    Some("herald.dev/ingestion"),
                );
            }
            questions.ask(None, "", "namespaces", &["list", "watch"], None);
            questions.ask(None, "", "namespaces", &["get"], Some(elsewhere.name()));
        }
    }
    controller.refused().await;
    dispatcher.refused().await;
    it.remove().await;
}

#[tokio::test]
async fn for_a_cluster_no_component_may_do_more_than_its_work() {
    each_component_is_confined(Scope::Cluster).await;
}

#[tokio::test]
async fn for_one_namespace_alone_nothing_of_the_cluster_is_anyones() {
    each_component_is_confined(Scope::NamespaceAlone).await;
}

#[tokio::test]
async fn for_one_namespace_no_component_may_do_more_nor_read_a_secret_elsewhere() {
    each_component_is_confined(Scope::Namespace).await;
}
