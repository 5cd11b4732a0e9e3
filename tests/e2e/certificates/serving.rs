//! The certificate that is served.

use std::process::Stdio;

use herald::certificates::{Keeper, Metrics, ServingNames};
use herald::model::Clock;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::client::{client, send, trusts};
use super::installation::{HOST, Installation};
use super::objects::{bundle, bundles, entry, until_there};
use super::server::Server;
use crate::support::DEADLINE;
use crate::support::certificates::another_authority_pem;
use crate::support::cluster::kubeconfig_path;

#[tokio::test]
async fn a_producer_that_trusts_only_its_namespaces_bundle_gets_through() {
    let installation = Installation::of_the_cluster().await;
    let _running = installation.start();
    let server = Server::start(&installation.own.api(), &installation.tls_name()).await;
    let copies = bundles(&installation.producer);
    let trusted = bundle(&until_there(&copies, &installation.ca_name(), |_| true).await);
    let clock = Clock::default();
    assert_eq!(send(&client(&trusted, server.address, &clock), server.address).await.unwrap(), 202);
    let stranger = client(&another_authority_pem(), server.address, &clock);
    assert!(send(&stranger, server.address).await.unwrap_err().is_connect());
}

#[tokio::test]
async fn other_names_bring_another_certificate_of_the_same_ca() {
    let mut installation = Installation::of_one_namespace().await;
    let running = installation.start();
    let first = installation.tls(|_| true).await;
    let ca = entry(&installation.ca(|_| true).await, "ca.crt");
    drop(running);
    installation.config.names = ServingNames::new(["other.test", "10.1.2.3"]).unwrap();
    let _running = installation.start();
    let second = installation.tls(|tls| entry(tls, "tls.crt") != entry(&first, "tls.crt")).await;
    let served = entry(&second, "tls.crt");
    for (name, expected) in [("other.test", true), ("10.1.2.3", true), (HOST, false)] {
        assert_eq!(trusts(&ca, &served, name, &Clock::default()), expected, "{name}");
    }
    assert_eq!(entry(&installation.ca(|_| true).await, "ca.crt"), ca);
}

#[tokio::test]
async fn what_is_broken_or_deleted_is_made_anew() {
    let installation = Installation::of_one_namespace().await;
    installation.own.unlabelled_secret(&installation.tls_name(), &[("tls.crt", "of another type")]).await;
    let _running = installation.start();
    let tls = installation.tls(|tls| tls.type_.as_deref() == Some("kubernetes.io/tls")).await;
    let ca = installation.ca(|_| true).await;

    installation.own.delete::<Secret>(&installation.tls_name()).await;
    let again = installation.tls(|new| new.metadata.uid != tls.metadata.uid).await;
    assert!(trusts(&entry(&ca, "ca.crt"), &entry(&again, "tls.crt"), HOST, &Clock::default()));

    let broken = Patch::Merge(json!({"data": {"ca.key": ByteString(b"broken".to_vec())}}));
    installation
        .own
        .api::<Secret>()
        .patch(&installation.ca_name(), &PatchParams::default(), &broken)
        .await
        .unwrap();
    let old = entry(&ca, "ca.crt");
    let new = entry(&installation.ca(|ca| !["", &old].contains(&&*entry(ca, "ca.crt"))).await, "ca.crt");
    let served = installation.tls(|tls| entry(tls, "tls.crt") != entry(&again, "tls.crt")).await;
    assert!(trusts(&new, &entry(&served, "tls.crt"), HOST, &Clock::default()));
    assert!(entry(&served, "ca.crt").contains(&old), "what the old CA has signed may still be served");

    // What cannot be changed in place.
    for name in [installation.ca_name(), installation.tls_name()] {
        let secrets = installation.own.api::<Secret>();
        let secret = secrets.get(&name).await.unwrap();
        let immutable =
            Patch::Merge(json!({"immutable": true, "data": {"ca.key": "", "tls.key": "", "tls.crt": ""}}));
        secrets.patch(&name, &PatchParams::default(), &immutable).await.unwrap();
        until_there(&secrets, &name, |new| new.metadata.uid != secret.metadata.uid).await;
    }
    let ca = entry(&installation.ca(|ca| !entry(ca, "ca.key").is_empty()).await, "ca.crt");
    installation.tls(|tls| trusts(&ca, &entry(tls, "tls.crt"), HOST, &Clock::default())).await;
}

#[tokio::test]
async fn what_is_made_and_what_fails_is_counted() {
    let mut installation = Installation::of_one_namespace().await;
    let (metrics, mut registry) = (Metrics::default(), Registry::default());
    metrics.register(&mut registry);
    let (client, config) = (installation.cluster.client(), installation.config.clone());
    let mut keeper = Keeper::new(client.clone(), config, metrics.clone());
    keeper.round().await.unwrap();
    installation.config.owner = Some(installation.config.name.clone());
    Keeper::new(client, installation.config.clone(), metrics).round().await.unwrap_err();

    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let sample = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    for certificate in ["ca", "serving"] {
        let issued = format!("herald_controller_certificates_issued_total{{certificate=\"{certificate}\"}}");
        assert_eq!(sample(&issued), Some("1"), "{text}");
    }
    assert_eq!(sample("herald_controller_certificate_failures_total"), Some("1"), "{text}");
    for (certificate, days) in [("ca", 365), ("serving", 30)] {
        let expiry = format!(
            "herald_controller_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}}"
        );
        let left = sample(&expiry).unwrap().parse::<u64>().unwrap() - Clock::default().now().as_secs();
        assert!((days * 86_400 - 60..=days * 86_400).contains(&left), "{certificate}: {left}");
    }
}

#[tokio::test]
async fn the_controller_keeps_them_while_it_leads() {
    let installation = Installation::of_one_namespace().await;
    let controller = Command::new(env!("CARGO_BIN_EXE_herald"))
        .args(["controller", "--leader-election", "--metrics-listen", "127.0.0.1:0", "--log", "trace"])
        .args(["--own-namespace", installation.own.name(), "--namespace", installation.producer.name()])
        .args(["--serving-certificate", &installation.config.name, "--serving-name", HOST])
        .env("KUBECONFIG", kubeconfig_path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = controller.id().unwrap().to_string();
    let output = tokio::spawn(controller.wait_with_output());
    let tls = installation.tls(|_| true).await;
    let copies = bundles(&installation.producer);
    let copy = until_there(&copies, &installation.ca_name(), |_| true).await;
    assert!(trusts(&bundle(&copy), &entry(&tls, "tls.crt"), HOST, &Clock::default()));
    copies.delete(&installation.ca_name(), &DeleteParams::default()).await.unwrap();
    until_there(&copies, &installation.ca_name(), |new| new.metadata.uid != copy.metadata.uid).await;

    assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await.unwrap().success());
    let output = timeout(DEADLINE, output).await.expect("it ends").unwrap().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let last: Vec<_> = log.lines().rev().take(20).collect();
    assert!(output.status.success(), "{last:#?}");
    for said in ["a CA was made", "a serving certificate was signed", HOST, "the lease is given back"] {
        assert!(log.contains(said), "no {said:?}; the last lines: {last:#?}");
    }
    // As it is, and as a Secret has it.
    assert!(!log.contains("PRIVATE KEY") && !log.contains("LS0tLS1CRUdJTiBQ"), "a key is in the log");
}
