//! Alerts and the dashboard ask for metrics that Herald has.

use std::collections::BTreeSet;

use herald::{certificates, controller, dispatch, ingest, journal, outbound};
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::render::{chart, documents, file, objects};

/// The names that samples of controller and dispatcher may have.
fn samples() -> BTreeSet<String> {
    let mut registry = Registry::default();
    controller::Metrics::default().register(&mut registry);
    dispatch::Metrics::default().register(&mut registry);
    ingest::Metrics::default().register(&mut registry);
    let of_the_journal = journal::metrics::Metrics::default();
    of_the_journal.register(&mut registry);
    of_the_journal.volume.register(&mut registry);
    of_the_journal.nats.register(&mut registry);
    outbound::Metrics::default().register(&mut registry);
    certificates::Metrics::default().register(&mut registry);
    // A family without samples is not encoded, and the registry gives no list of its names: only its debug text does.
    let text = format!("{registry:?}");
    let mut names = BTreeSet::new();
    for part in text.split("Registry { prefix: ").skip(1) {
        let prefix = between(part, "Some(Prefix(\"", "\")").filter(|_| part.starts_with("Some"));
        for descriptor in part.split("Descriptor { name: \"").skip(1) {
            let mut name = prefix.map(|prefix| format!("{prefix}_")).unwrap_or_default();
            name.push_str(descriptor.split('"').next().unwrap_or_default());
            if let Some(unit) = between(descriptor, ", unit: Some(", ")") {
                name = format!("{name}_{}", unit.to_lowercase());
            }
            names.extend(["", "_total", "_bucket"].map(|suffix| format!("{name}{suffix}")));
        }
    }
    names
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split(after).next()
}

/// The names of metrics in a Prometheus expression.
fn asked(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("herald_")).collect()
}

/// The alerts of a file.
fn alerts(name: &str) -> Vec<Value> {
    let file = documents(&file(&format!("files/{name}.yaml"))).remove(0);
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect()
}

/// The files of alerts: of every journal, and of each engine.
const FILES: [&str; 3] = ["alerts", "alerts-embedded", "alerts-nats"];

#[test]
fn every_alert_asks_for_metrics_that_there_are() {
    let samples = samples();
    for rule in &FILES.map(alerts).concat() {
        let names = asked(rule["expr"].as_str().unwrap());
        assert!(!names.is_empty(), "{rule}");
        for name in names {
            assert!(samples.contains(name), "{}: there is no {name}", rule["alert"]);
        }
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{rule}");
        }
        assert!(rule["labels"]["severity"].is_string(), "{rule}");
    }
}

#[test]
fn alerts_of_the_disk_go_by_the_limits_that_the_dispatcher_was_given() {
    let values =
        ["monitoring.prometheusRule.enabled=true", "journal.reserve=1048576", "journal.maxBytes=7340032"];
    let objects = objects(&values.map(|value| ["--set", value]).concat());
    let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let groups = rule["spec"]["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let expression = |alert: &str| {
        let rule = rules.iter().find(|rule| rule["alert"] == alert).copied();
        rule.unwrap_or_else(|| panic!("there is no {alert}"))["expr"].as_str().unwrap()
    };
    let [live, free] = ["herald_journal_live_bytes", "herald_journal_disk_free_bytes"];
    assert_eq!(expression("HeraldJournalNearlyFull"), format!("{live} > 0.8 * 7340032"));
    assert_eq!(expression("HeraldDiskNearlyFull"), format!("{free} < 2 * 1048576 + {live} / 16"));
    assert_eq!(expression("HeraldDiskFull"), format!("{free} < 1048576 + {live} / 16"));
}

/// What is counted of a failing journal, and who is told.
#[test]
fn no_count_of_a_failing_journal_goes_unheard() {
    let of_each = [
        ("alerts-embedded", &["damages_total", "unreadable_deliveries_total", "reopened_total"][..]),
        (
            "alerts-nats",
            &[
                "damages_total",
                "unreadable_deliveries_total",
                "nats_open",
                "nats_partitions_without_owner",
                "nats_lease_age_seconds",
                "nats_takeovers_total",
                "nats_append_duration_seconds_bucket",
                "nats_sync_always",
            ],
        ),
    ];
    for (file, metrics) in of_each {
        let rules = alerts(file);
        let all: BTreeSet<_> = rules.iter().flat_map(|rule| asked(rule["expr"].as_str().unwrap())).collect();
        for metric in metrics {
            assert!(
                all.contains(format!("herald_journal_{metric}").as_str()),
                "{file}: none asks for {metric}"
            );
        }
    }
}

/// Whoever is woken by one finds what to do.
#[test]
fn each_alert_of_a_journal_stands_in_the_docs_with_what_to_do() {
    let docs = std::fs::read_to_string(chart().join("../../docs/operations.md")).unwrap();
    for rule in ["alerts-embedded", "alerts-nats"].map(alerts).concat() {
        let row = format!("| `{}` |", rule["alert"].as_str().unwrap());
        assert!(docs.contains(&row), "docs/operations.md has no {row}");
    }
}

#[test]
fn every_panel_asks_for_metrics_that_there_are() {
    let samples = samples();
    let dashboard: Value = serde_json::from_str(&file("files/dashboard.json")).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|p| p["targets"].as_array().unwrap());
    let mut count = 0;
    for target in targets {
        for name in asked(target["expr"].as_str().unwrap()) {
            assert!(samples.contains(name), "there is no {name}");
            count += 1;
        }
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn the_chart_brings_the_dashboard_as_it_is() {
    let objects = objects(&["--set", "monitoring.dashboard.enabled=true"]);
    let map = objects.iter().find(|object| object["metadata"]["name"] == "herald-dashboard").unwrap();
    let brought: Value = serde_json::from_str(map["data"]["herald.json"].as_str().unwrap()).unwrap();
    assert_eq!(brought, serde_json::from_str::<Value>(&file("files/dashboard.json")).unwrap());
}
