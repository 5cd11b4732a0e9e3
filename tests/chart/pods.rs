//! The pods: restricted, and started with arguments that Herald takes.

use std::net::IpAddr;

use clap::Parser as _;
use herald::cli::Herald;
use serde_json::{Value, json};

use super::render::{objects, variants};

/// Name and spec of every pod that the chart makes, tests included.
fn pod_specs(objects: &[Value]) -> Vec<(String, Value)> {
    let spec = |object: &Value| match object["kind"].as_str() {
        Some("Pod") => Some(object["spec"].clone()),
        Some("Deployment" | "StatefulSet") => Some(object["spec"]["template"]["spec"].clone()),
        _ => None,
    };
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    objects.iter().filter_map(|object| Some((name(object), spec(object)?))).collect()
}

fn every_pod(mut check: impl FnMut(&str, &Value)) {
    for (variant, path) in variants() {
        let pods = pod_specs(&objects(&["--values", &path]));
        assert_eq!(pods.len(), 3, "{variant}");
        for (name, spec) in pods {
            check(&format!("{variant}: {name}"), &spec);
        }
    }
}

#[test]
fn every_pod_meets_the_restricted_standard_with_a_read_only_root() {
    every_pod(|name, spec| {
        let pod = &spec["securityContext"];
        assert_eq!(pod["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec[host].is_null(), "{name}: {host}");
        }
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            assert!(volume["hostPath"].is_null(), "{name}: {volume}");
        }
        for container in spec["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}");
            assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        }
    });
}

#[test]
fn herald_takes_the_arguments_of_every_pod() {
    every_pod(|name, spec| {
        for container in spec["containers"].as_array().unwrap() {
            let arguments = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
            let taken = Herald::try_parse_from(std::iter::once("herald").chain(arguments));
            assert!(taken.is_ok(), "{name}: {}", taken.unwrap_err());
        }
    });
}

/// Every variable that `POD_NAME` and the like are for is set, and no other of Herald's is.
#[test]
fn no_pod_is_configured_by_what_the_namespace_happens_to_hold() {
    every_pod(|name, spec| {
        if spec["restartPolicy"] != "Never" {
            assert_eq!(spec["enableServiceLinks"], false, "{name}");
        }
    });
}

#[test]
fn the_metadata_service_is_out_of_reach_by_default() {
    let objects = objects(&[]);
    let policies: Vec<_> = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
    assert_eq!(policies.len(), 2);
    for policy in policies {
        for metadata in ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::a9fe:a9fe"] {
            let address: IpAddr = metadata.parse().unwrap();
            let blocks = policy["spec"]["egress"].as_array().unwrap().iter();
            let blocks: Vec<_> = blocks
                .flat_map(|rule| rule["to"].as_array().into_iter().flatten())
                .map(|peer| &peer["ipBlock"])
                .filter(|block| block["cidr"].as_str().is_some_and(|cidr| covers(cidr, address)))
                .collect();
            assert_eq!(blocks.len(), 1, "{policy}");
            let excepted = blocks[0]["except"].as_array().unwrap();
            assert!(
                excepted.iter().any(|range| covers(range.as_str().unwrap(), address)),
                "{metadata}: {policy}"
            );
        }
    }
}

fn covers(cidr: &str, address: IpAddr) -> bool {
    cidr.parse::<ipnet::IpNet>().unwrap().contains(&address)
}
