//! `herald journal import`, from a dispatcher's directory to NATS.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::delivery::{delivering, id_of};
use crate::support::nats::Server;
use crate::support::producer::event;
use crate::support::program::binary;
use crate::support::{Behaviour, Cluster, DEADLINE, Endpoint, HeraldProcess, Producer};

fn import(directory: &Path, server: &Server) -> Command {
    let mut command = binary();
    command.args(["journal", "import", "--journal-nats", &server.url(), "--nats-replicas", "1"]);
    command.args(["--nats-monitoring", &server.monitoring()]);
    command.arg("--journal-dir").arg(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Status, standard output and standard error.
async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output = timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The numbers of a line of the ledger.
fn numbers(ledger: &str, name: &str) -> Vec<u64> {
    let line = ledger.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {ledger}"));
    line.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_a_stopped_dispatcher_left_is_delivered_once_from_nats_although_its_import_is_killed() {
    let namespace = Cluster::connect().await.namespace("import").await;
    let mut herald = HeraldProcess::start(&[&namespace]).await;
    let producer = Producer::new(&namespace).await;
    let endpoint = Endpoint::start().await;
    delivering(&namespace, "audit", &endpoint).await;
    endpoint.on_delivery(Behaviour::status(503));
    let ids: Vec<_> = (0..1500).map(|n| format!("e{n:04}")).collect();
    for ids in ids.chunks(250) {
        let events: Vec<_> = ids.iter().map(|id| event("user.created", id)).collect();
        producer.send_batch(&herald, &events).await;
    }
    namespace.await_condition("audit", "Delivering", "False", "CircuitOpen").await;
    // What it has failed at waits for a retry, and the rest is held for as long as nobody enables it.
    namespace.edit("audit", json!({"spec": {"enabled": false}})).await;
    namespace.await_condition("audit", "Delivering", "False", "Disabled").await;
    let server = Arc::new(Server::start());
    let (status, out, err) = run(import(herald.journal(), &server)).await;
    assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("is in use by another process"), "{err}");
    herald.stop().await;

    for millis in [30, 60, 120, 240] {
        let mut child = import(herald.journal(), &server).kill_on_drop(true).spawn().unwrap();
        // It is killed wherever it is by then, if it has not ended.
        let _ = timeout(Duration::from_millis(millis), child.wait()).await;
        drop(child.kill().await);
    }
    let (status, out, err) = run(import(herald.journal(), &server)).await;
    assert_eq!(status, Some(0), "{out}{err}");
    let [read, written, there] = numbers(&out, "deliveries")[..] else { panic!("{out}") };
    assert_eq!((read, written + there), (1500, 1500), "{out}");
    let (status, out, _) = run(import(herald.journal(), &server)).await;
    assert_eq!((status, numbers(&out, "deliveries")), (Some(0), vec![1500, 0, 1500]), "{out}");

    let before = endpoint.deliveries().len();
    endpoint.on_delivery(Behaviour::ok());
    let mut on_nats = HeraldProcess::start_on_nats(&server, &namespace).await;
    namespace.edit("audit", json!({"spec": {"enabled": true}})).await;
    on_nats.await_metric("herald_journal_live_bytes", |bytes| bytes == 0.0).await;
    let delivered: Vec<_> = endpoint.deliveries().iter().skip(before).map(id_of).collect();
    assert_eq!(delivered.len(), 1500);
    assert_eq!(delivered.into_iter().collect::<BTreeSet<_>>(), ids.iter().cloned().collect());
    // An id that the volume's journal had taken is known.
    assert_eq!(producer.send(&on_nats, &event("user.created", "e0007")).await, 0);
    on_nats.stop().await;
}
