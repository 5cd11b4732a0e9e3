//! Rights: what the chart grants is what docs/security.md gives reasons for, and nothing else.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::render::{objects, variants};

fn is_role(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Role" | "ClusterRole"))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// Whose a role is, and where it holds.
fn whose(role: &Value) -> (&str, &str) {
    let name = role["metadata"]["name"].as_str().unwrap();
    let component = role["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
    match (component, role["metadata"]["namespace"].as_str()) {
        (None, namespace) if name.contains(':') => ("both", namespace.unwrap_or("cluster")),
        (None, _) => (name, "where it is bound"),
        (Some(component), Some("herald-system")) => (component, "own"),
        (Some(component), Some(_)) => (component, "served"),
        (Some(component), None) if name.ends_with(&format!(":{component}")) => (component, "served"),
        (Some(component), None) => (component, "cluster"),
    }
}

/// One line for each rule: who, where, what, verbs.
fn granted(arguments: &[&str]) -> BTreeSet<String> {
    let objects = objects(arguments);
    let rules = objects
        .iter()
        .filter(|object| is_role(object))
        .flat_map(|role| role["rules"].as_array().unwrap().iter().map(move |rule| (whose(role), rule)));
    let lines = rules.map(|((who, place), rule)| {
        let what = [texts(&rule["resources"]).join(", "), texts(&rule["resourceNames"]).join(", ")];
        format!("{who} | {place} | {} | {}", what.join(" ").trim(), texts(&rule["verbs"]).join(", "))
    });
    lines.collect()
}

#[test]
fn each_rule_has_its_reason_in_the_docs_and_each_reason_its_rule() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let docs = fs::read_to_string(path).unwrap();
    let (_, table) = docs.split_once("<!-- rules -->\n").unwrap();
    let (table, _) = table.split_once("<!-- /rules -->").unwrap();
    let mut explained = BTreeSet::new();
    for row in table.lines().skip(2).filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")) {
        let row = row.replace('`', "");
        let (rule, reason) = row.rsplit_once(" | ").unwrap();
        assert!(reason.split_whitespace().count() >= 3, "{row}: why?");
        assert!(explained.insert(rule.to_owned()), "{row}: twice");
    }
    let granted = &granted(&[]) | &granted(&["--set", "namespaces={identity}"]);
    let without_reason: Vec<_> = granted.difference(&explained).collect();
    let without_rule: Vec<_> = explained.difference(&granted).collect();
    assert!(without_reason.is_empty() && without_rule.is_empty(), "{without_reason:#?} {without_rule:#?}");
}

#[test]
fn no_role_for_people_writes_a_status_and_no_role_at_all_grants_by_a_wildcard() {
    let mut seen = BTreeSet::new();
    for (variant, path) in variants() {
        for role in objects(&["--values", &path]).iter().filter(|object| is_role(object)) {
            let (who, place) = whose(role);
            for rule in role["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains('*'), "{variant}: {who}: {rule}");
                let (resources, verbs) = (texts(&rule["resources"]), texts(&rule["verbs"]));
                assert!(
                    !verbs.iter().any(|verb| ["bind", "escalate", "impersonate"].contains(verb)),
                    "{rule}"
                );
                if place == "where it is bound" {
                    assert!(!resources.iter().any(|it| it.ends_with("/status")), "{variant}: {who}: {rule}");
                    assert!(!resources.contains(&"secrets"), "{variant}: {who}: {rule}");
                }
            }
            seen.insert(who.to_owned());
        }
    }
    for who in ["herald-view", "herald-edit", "herald-operator", "controller", "dispatcher"] {
        assert!(seen.contains(who), "{seen:?}");
    }
}

#[test]
fn for_some_namespaces_alone_nothing_of_the_cluster_is_granted_but_to_ask_who_calls() {
    let alone = ["--set", "namespaces={identity,billing}", "--set", "ingest.tls.clusterTrustBundle=false"];
    let rules = granted(&[&alone[..], &["--set", "rbac.userRoles=false"]].concat());
    let of_cluster: Vec<_> = rules.iter().filter(|rule| rule.contains(" | cluster | ")).collect();
    assert_eq!(
        of_cluster,
        [
            "dispatcher | cluster | subjectaccessreviews | create",
            "dispatcher | cluster | tokenreviews | create"
        ]
    );
    let objects = objects(&alone);
    let bindings = objects.iter().filter(|object| object["kind"] == "ClusterRoleBinding");
    let names: Vec<_> = bindings.map(|binding| binding["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["herald-system:herald:reviewer"]);
}
