//! Alerts and the dashboard ask for metrics that Herald has.

use std::collections::BTreeSet;

use herald::{certificates, controller, dispatch, ingest, journal, outbound};
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::render::{documents, file, objects};

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

#[test]
fn every_alert_asks_for_metrics_that_there_are() {
    let samples = samples();
    let alerts = documents(&file("files/alerts.yaml")).remove(0);
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 10);
    for rule in rules {
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
    let rules = rule["spec"]["groups"][0]["rules"].as_array().unwrap();
    let expression = |alert: &str| {
        let rule = rules.iter().find(|rule| rule["alert"] == alert);
        rule.unwrap_or_else(|| panic!("there is no {alert}"))["expr"].as_str().unwrap()
    };
    let [live, free] = ["herald_journal_live_bytes", "herald_journal_disk_free_bytes"];
    assert_eq!(expression("HeraldJournalNearlyFull"), format!("{live} > 0.8 * 7340032"));
    assert_eq!(expression("HeraldDiskNearlyFull"), format!("{free} < 2 * 1048576 + {live} / 16"));
    assert_eq!(expression("HeraldDiskFull"), format!("{free} < 1048576 + {live} / 16"));
}

/// What is counted of a failing disk, and who is told.
#[test]
fn no_count_of_a_failing_disk_goes_unheard() {
    let alerts = documents(&file("files/alerts.yaml")).remove(0);
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let all: BTreeSet<_> = rules.iter().flat_map(|rule| asked(rule["expr"].as_str().unwrap())).collect();
    for counter in ["damages_total", "unreadable_deliveries_total", "reopened_total"] {
        assert!(all.contains(format!("herald_journal_{counter}").as_str()), "no alert asks for {counter}");
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
