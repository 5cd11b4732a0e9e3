//! Values: each is documented, checked, and refused with a message when it is wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use super::render::{documents, file, refusal, rendered};

/// The paths of the values that are set in values.yaml; what a map of free keys holds is no value of its own.
fn set_values(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (value.as_object(), schema.get("properties")) {
        (Some(members), Some(properties)) => {
            for (name, member) in members {
                let schema =
                    properties.get(name).unwrap_or_else(|| panic!("{path}.{name} is not in the schema"));
                set_values(member, schema, &join(path, name), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// The paths of the values that the schema knows.
fn known_values(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            for (name, property) in properties {
                known_values(property, &join(path, name), found);
            }
        }
        None => {
            found.insert(path.to_owned());
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// With the schema's own definitions put in where they are named.
fn schema() -> Value {
    let schema: Value = serde_json::from_str(&file("values.schema.json")).unwrap();
    let definitions = schema["$defs"].clone();
    inlined(schema, &definitions)
}

fn inlined(schema: Value, definitions: &Value) -> Value {
    let Value::Object(members) = schema else { return schema };
    if let Some(name) = members.get("$ref").and_then(Value::as_str) {
        return inlined(definitions[name.trim_start_matches("#/$defs/")].clone(), definitions);
    }
    members.into_iter().map(|(name, member)| (name, inlined(member, definitions))).collect()
}

#[test]
fn the_schema_knows_exactly_the_values_that_there_are() {
    let schema = schema();
    let values = documents(&file("values.yaml")).remove(0);
    let (mut set, mut known) = (BTreeSet::new(), BTreeSet::new());
    set_values(&values, &schema, "", &mut set);
    known_values(&schema, "", &mut known);
    // Those of Kubernetes' own types have members that the chart hands on.
    for free in ["resources.requests", "resources.limits", "resources.claims"] {
        known.retain(|path| !path.ends_with(free));
        set.retain(|path| !path.ends_with(free));
    }
    known.remove("global");
    assert_eq!(set, known);
}

#[test]
fn every_value_is_explained_in_the_readme() {
    let values = documents(&file("values.yaml")).remove(0);
    let mut set = BTreeSet::new();
    set_values(&values, &schema(), "", &mut set);
    let readme = file("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let explained: BTreeSet<_> = rows
        .filter_map(|row| row.split_once(" | "))
        .filter(|(_, rest)| !rest.ends_with(" | "))
        .map(|(path, _)| path)
        .collect();
    for path in set {
        // A whole map may be explained by one line.
        let is_explained =
            explained.iter().any(|&known| path == known || path.starts_with(&format!("{known}.")));
        assert!(is_explained, "{path} has no line above it that begins with \"# -- \"");
    }
}

#[test]
fn a_wrong_or_misspelt_value_is_refused_with_its_place() {
    let table = [
        ("controller.replcas=3", "at '/controller': additional properties 'replcas' not allowed"),
        ("replicas=3", "additional properties 'replicas' not allowed"),
        ("controller.replicas=two", "at '/controller/replicas': got string, want integer"),
        (
            "controller.podDisruptionBudget.maxUnavailable=0",
            "at '/controller/podDisruptionBudget/maxUnavailable'",
        ),
        ("ingest.authCache=45", "at '/ingest/authCache': got number, want string"),
        ("ingest.authCache=46s", "at '/ingest/authCache': '46s' does not match pattern"),
        ("ingest.authCache=24h", "at '/ingest/authCache': '24h' does not match pattern"),
        ("ingest.tls.secret=x", "at '/ingest/tls': additional properties 'secret' not allowed"),
        ("image.digest=sha256:abc", "at '/image/digest': 'sha256:abc' does not match pattern"),
        ("image.repository=registry/herald@sha256:1", "at '/image/repository'"),
        ("journal.type=kafka", "at '/journal/type': value must be one of 'embedded', 'nats'"),
        ("journal.nats.servers={nats.nats.svc:4222}", "at '/journal/nats/servers/0'"),
        ("journal.nats.servers={tls://ada:secret@nats.nats.svc:4222}", "at '/journal/nats/servers/0'"),
        ("journal.nats.prefix=He.rald", "at '/journal/nats/prefix': 'He.rald' does not match pattern"),
        ("journal.nats.replicas=2", "at '/journal/nats/replicas': value must be one of 1, 3, 5"),
        (
            "journal.nats.nkeySecret.key=a/b",
            "at '/journal/nats/nkeySecret/key': 'a/b' does not match pattern",
        ),
        ("dispatcher.replicas=-1", "at '/dispatcher/replicas'"),
        ("dispatcher.autoscaling.minReplicas=0", "at '/dispatcher/autoscaling/minReplicas': minimum"),
        ("journal.retention=3days", "at '/journal/retention': '3days' does not match pattern"),
        ("journal.persistence.size=10GB", "at '/journal/persistence/size': '10GB' does not match pattern"),
        (
            "journal.persistence.accessMode=ReadWriteMany",
            "at '/journal/persistence/accessMode': value must be one of",
        ),
        ("outbound.forbid={10.0.0.0}", "at '/outbound/forbid/0': '10.0.0.0' does not match pattern"),
        ("outbound.nat64={64:ff9b::/95}", "at '/outbound/nat64/0': '64:ff9b::/95' does not match pattern"),
        ("outbound.proxy.url=https://proxy.example.com:3128", "at '/outbound/proxy/url'"),
        ("outbound.proxy.url=http://ada:secret@proxy.example.com:3128", "at '/outbound/proxy/url'"),
        ("outbound.allowByNamespace.Identity={10.0.0.0/8}", "invalid propertyName 'Identity'"),
        ("outbound.discoverCluster=yes", "at '/outbound/discoverCluster': value must be one of"),
        ("outbound.nameServers={dns.example.com}", "at '/outbound/nameServers/0'"),
        ("namespaces={a,a}", "at '/namespaces': items at 0 and 1 are equal"),
        ("namespaces={Identity}", "at '/namespaces/0': 'Identity' does not match pattern"),
        ("hostPolicy.default=allow", "at '/hostPolicy/default': value must be one of 'Allow', 'Deny'"),
        ("controller.extraArgs={debug}", "at '/controller/extraArgs/0': 'debug' does not match pattern"),
        ("commonLabels.on=true", "at '/commonLabels/on': got boolean, want string"),
        ("service.port=70000", "at '/service/port': maximum: got 70,000, want 65,535"),
    ];
    for (value, expected) in table {
        let said = refusal(&["--set", value]);
        assert!(said.contains(expected), "{value}: {said}");
    }
}

#[test]
fn values_end_up_where_they_belong() {
    let table = [
        (
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "image: \"ghcr.io/herald-dev/herald@sha256:0123456789abcdef",
        ),
        ("image.tag=v9", "image: \"ghcr.io/herald-dev/herald:v9\""),
        ("controller.priorityClassName=high", "priorityClassName: high"),
        ("journal.maxBacklog=2000000", "--max-backlog=2000000"),
        ("journal.maxBytes=80000000000", "--max-journal-bytes=80000000000"),
        ("journal.reserve=1000000000", "--journal-reserve=1000000000"),
        (
            "outbound.proxy.url=http://proxy.example.com:3128",
            "--outbound-proxy=http://proxy.example.com:3128",
        ),
        (
            "outbound.proxy.url=http://proxy.example.com:3128,outbound.proxy.credentialsSecret.name=proxy",
            "--outbound-proxy-credentials=/etc/herald/proxy/credentials",
        ),
        (
            "outbound.proxy.url=http://proxy.example.com:3128,outbound.proxy.credentialsSecret.name=proxy",
            "secretName: proxy",
        ),
        ("outbound.nat64={64:ff9b::/96}", "--outbound-nat64=64:ff9b::/96"),
        ("outbound.perDestination.maxPerSecond=2000000", "--max-per-second-per-destination=2000000"),
        ("service.port=8443", "--url=https://herald.herald-system.svc:8443"),
        ("dispatcher.extraEnv[0].name=A,dispatcher.extraEnv[0].value=b", "- name: A\n              value: b"),
        ("networkPolicy.egressExcept={10.0.0.0/8,fd00::/8}", "except: [\"fd00::/8\"]"),
    ];
    for (value, expected) in table {
        let text = rendered(&["--set", value]);
        assert!(text.contains(expected), "{value}: no {expected:?}");
    }
}
